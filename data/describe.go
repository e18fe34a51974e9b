package data

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Survey says how thoroughly [Set.Describe] looks.
type Survey struct {
	Sample int  // images looked at, evenly spread; 0 means 1000, negative all
	Decode bool // decode them instead of reading their headers, which also finds damage further in
}

// Info is what `moco data info` tells about a set.
type Info struct {
	Kind        string       `json:"kind"`
	Images      int          `json:"images"`
	Bytes       int64        `json:"bytes"`                 // as stored, before decoding
	Classes     []ClassCount `json:"classes"`               // in order of the labels; empty: unlabelled
	Groups      *Groups      `json:"groups,omitempty"`      // videos, or those of a list of pairs
	LeftOut     LeftOut      `json:"left_out"`              // what lies beside the images
	VideoFiles  int          `json:"video_files,omitempty"` // among the ignored: the set was not opened for its videos
	Ignored     int          `json:"ignored"`               // the files of left_out
	IgnoredName string       `json:"ignored_example,omitempty"`
	Looked      int          `json:"looked"`  // images looked at; the fields below are about these
	Formats     []Format     `json:"formats"` // most frequent first
	MinWidth    int          `json:"min_width"`
	MaxWidth    int          `json:"max_width"`
	MinHeight   int          `json:"min_height"`
	MaxHeight   int          `json:"max_height"`
	Bad         int          `json:"bad"`       // unreadable images
	BadNames    []string     `json:"bad_names"` // the first MaxBadNames of them, each with its reason
	Fingerprint string       `json:"fingerprint"`
}

// MaxBadNames is how many unreadable images an Info names.
const MaxBadNames = 20

// ClassCount is a class and the number of its images.
type ClassCount struct {
	Name   string `json:"name"`
	Images int    `json:"images"`
}

// Format is an image format and how many of the images looked at have it.
type Format struct {
	Name   string `json:"name"`
	Images int    `json:"images"`
}

// Groups tells about a set's groups.
type Groups struct {
	Noun   string `json:"noun"` // "video" or "group"
	Count  int    `json:"count"`
	Min    int    `json:"min"` // images in the smallest
	Max    int    `json:"max"`
	Reason string `json:"reason,omitempty"` // why they cannot be trained on; "" if they can
}

// describeGroups returns nil for a set without groups.
func (s *Set) describeGroups() *Groups {
	if s.groups == nil {
		return nil
	}
	g := &Groups{Noun: s.noun, Count: len(s.groups), Min: len(s.groups[0].members)}
	for i := range s.groups {
		g.Min, g.Max = min(g.Min, len(s.groups[i].members)), max(g.Max, len(s.groups[i].members))
	}
	if err := s.CheckGroups(); err != nil {
		g.Reason = err.Error()
	}
	return g
}

// Describe counts the classes and looks at a sample of the images. Widths and heights are as
// stored, before EXIF orientation, in pixels. When ctx ends, it returns what it has seen so far;
// Looked tells how much.
func (s *Set) Describe(ctx context.Context, survey Survey) Info {
	n := s.Len()
	info := Info{
		Kind: s.kind, Images: n, Fingerprint: s.Fingerprint(),
		Groups: s.describeGroups(), VideoFiles: s.left.Videos,
		LeftOut: s.LeftOut(), Ignored: s.left.Files, IgnoredName: s.left.Example,
		Classes: make([]ClassCount, len(s.classes)), Formats: []Format{}, BadNames: []string{},
	}
	for i, name := range s.classes {
		info.Classes[i].Name = name
	}
	for i := range n {
		info.Bytes += s.backend.size(i)
		if s.labels != nil {
			info.Classes[s.labels[i]].Images++
		}
	}
	looks := survey.Sample
	if looks == 0 {
		looks = 1000
	}
	if looks < 0 || looks > n {
		looks = n
	}
	info.add(s.look(ctx, looks, survey.Decode))
	return info
}

// look is what one image looked like.
type look struct {
	done          bool
	format        string
	width, height int
	err           error
}

// look looks at so many images, evenly spread. When ctx ends, some are not done.
func (s *Set) look(ctx context.Context, looks int, decode bool) []look {
	seen := make([]look, looks)
	var images sync.Pool // *Image
	var workers errgroup.Group
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for k := range seen {
		if ctx.Err() != nil {
			break
		}
		workers.Go(func() error {
			l, i := look{done: true}, k*s.Len()/looks
			l.format, l.width, l.height, l.err = s.backend.header(i)
			if l.err != nil {
				l.err = &BadImage{Name: s.names[i], Err: l.err}
			} else if decode {
				img, ok := images.Get().(*Image)
				if !ok {
					img = new(Image)
				}
				l.err = s.Read(i, img)
				images.Put(img)
			}
			seen[k] = l
			return nil
		})
	}
	workers.Wait()
	return seen
}

// add sums up what was seen.
func (info *Info) add(seen []look) {
	formats := map[string]int{}
	for _, l := range seen {
		if !l.done {
			continue
		}
		info.Looked++
		if l.err != nil {
			info.Bad++
			if len(info.BadNames) < MaxBadNames {
				info.BadNames = append(info.BadNames, l.err.Error())
			}
			continue
		}
		if len(formats) == 0 {
			info.MinWidth, info.MinHeight = l.width, l.height
		}
		formats[l.format]++
		info.MinWidth, info.MaxWidth = min(info.MinWidth, l.width), max(info.MaxWidth, l.width)
		info.MinHeight, info.MaxHeight = min(info.MinHeight, l.height), max(info.MaxHeight, l.height)
	}
	for name, images := range formats {
		info.Formats = append(info.Formats, Format{name, images})
	}
	slices.SortFunc(info.Formats, func(a, b Format) int {
		return cmp.Or(cmp.Compare(b.Images, a.Images), cmp.Compare(a.Name, b.Name))
	})
}
