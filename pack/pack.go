// Package pack writes the pictures of a set as tar shards in WebDataset's form: FOLDER/000000.tar
// and so on, each picture with its name and label beside it, so that they can be read in order from
// a disk or a share. Pictures may be made smaller once, here, instead of in every epoch: as package
// picture reduces them everywhere, a JPEG at a smaller scale while it is decoded, and from there by
// PIL's bilinear resize with antialiasing. What is reduced becomes a JPEG of 4:2:0 chroma; what is not
// keeps the bytes of its file.
//
// A shard holds for picture number 42 of the set
//
//	000000042.cls    the number of its class, where there are labels
//	000000042.jpg    the picture
//	000000042.json   {"name": "cat/x.jpg", "label": "cat"}
//
// The same set and options give the same bytes. A shard appears whole or not at all, and
// FOLDER/pack.json says which are done, so that a run which was stopped goes on. The folder is a
// path for package data.
package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"moco/data"
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/internal/job"
	"moco/internal/lock"
)

// Options say what to pack. Of Images and Bytes, what is reached first ends a shard.
type Options struct {
	Data     *data.Set
	Out      string            // a folder
	Side     int               // pixels that the shorter side is made smaller to; 0 leaves all pictures as they are
	Longest  bool              // Side is the longer side
	Quality  int               // of the JPEGs that pictures become when they are made smaller, 1 to 100; 0: DefaultQuality
	Images   int               // in a shard at most; 0: DefaultImages
	Bytes    int64             // in a shard at most, but for a single larger picture; 0: DefaultBytes
	MaxBad   float64           // share of the images that may be unreadable; they are left out
	Resume   bool              // go on with a run that was stopped. Without a manifest the run begins
	Progress func(event.Event) // told Start, Bad, Shard and Done; may be nil
}

// What Options take where they are 0.
const (
	DefaultQuality = 90
	DefaultImages  = 10_000
	DefaultBytes   = 256 << 20
)

// run is a run in progress.
type run struct {
	o        Options
	manifest manifest
	began    time.Time
	first    int      // image of this process
	ready    []packed // made and not yet in a shard, in order
	next     int      // image that is made next
}

// Run packs, until the end or until ctx ends. The returned Done is also the last event.
func Run(ctx context.Context, o Options) (*Done, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	ctx, release, err := job.Hold(ctx, o.Out)
	if err != nil {
		return nil, err
	}
	defer release()
	r := &run{o: o, began: time.Now()}
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.next = r.manifest.next()
	r.first = r.next
	o.Progress(Start{Images: o.Data.Len(), First: r.next, Out: o.Out})
	for !r.manifest.Done {
		if err := r.shard(ctx); err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				err = &StoppedError{Done: r.manifest.next(), Images: o.Data.Len()}
			}
			return nil, err
		}
	}
	done := r.done()
	o.Progress(*done)
	return done, nil
}

// check fills in defaults and refuses what makes no sense.
func (o *Options) check() error {
	if o.Quality == 0 {
		o.Quality = DefaultQuality
	}
	if o.Images == 0 {
		o.Images = DefaultImages
	}
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	if o.Progress == nil {
		o.Progress = func(event.Event) {}
	}
	switch {
	case o.Side < 0 || o.Images < 1 || o.Bytes < 1:
		return fmt.Errorf("pack with a side of %d pixels, %d images and %d bytes a shard: none can be negative",
			o.Side, o.Images, o.Bytes)
	case o.Quality < 1 || o.Quality > 100:
		return fmt.Errorf("a JPEG quality of %d: must be 1 to 100", o.Quality)
	case o.MaxBad < 0 || o.MaxBad > 1:
		return fmt.Errorf("a share of %v unreadable images: must be 0 to 1", o.MaxBad)
	}
	return nil
}

// begin reads the manifest of a stopped run, or writes one. It refuses to touch what another run
// made.
func (r *run) begin() error {
	path := filepath.Join(r.o.Out, manifestName)
	fresh := newManifest(&r.o)
	old, err := readManifest(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		list, err := os.ReadDir(r.o.Out)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() != lock.File }) {
			return &NotEmptyError{Folder: r.o.Out}
		}
		r.manifest = fresh
		return r.manifest.write(path)
	case err != nil:
		return err
	case !r.o.Resume:
		return &NotEmptyError{Folder: r.o.Out, Packed: true}
	}
	if d := old.Terms.differences(fresh.Terms); d != "" {
		return &OtherRunError{Manifest: path, Differences: d}
	}
	r.manifest = *old
	return r.manifest.check(r.o.Out)
}

// done is the last event.
func (r *run) done() *Done {
	d := &Done{Out: r.o.Out, Shards: len(r.manifest.Shards), BadImages: len(r.manifest.Bad), BadNames: []string{}}
	for _, s := range r.manifest.Shards {
		d.Images, d.Bytes = d.Images+s.Images, d.Bytes+s.Bytes
	}
	for _, i := range r.manifest.Bad[:min(data.MaxBadNames, len(r.manifest.Bad))] {
		d.BadNames = append(d.BadNames, r.o.Data.Name(i))
	}
	return d
}

// shard writes the next shard, and then the manifest.
func (r *run) shard(ctx context.Context) error {
	entry := shardEntry{Name: shardName(len(r.manifest.Shards))}
	bad := slices.Clone(r.manifest.Bad)
	path := filepath.Join(r.o.Out, entry.Name)
	_, err := atomicfile.Save(path, func(w io.Writer) error {
		count := &counter{to: w}
		out := tar.NewWriter(count)
		for entry.Next = r.manifest.next(); ; entry.Next++ {
			p, err := r.peek(ctx)
			if err != nil {
				return err
			}
			if p == nil || p.err == nil && entry.Images > 0 && (entry.Images == r.o.Images || count.n+p.size() > r.o.Bytes) {
				break
			}
			r.ready = r.ready[1:]
			if p.err != nil {
				if bad, err = r.skip(bad, p); err != nil {
					return err
				}
				continue
			}
			if err := p.write(out); err != nil {
				return err
			}
			entry.Images++
		}
		if err := out.Close(); err != nil {
			return err
		}
		entry.Bytes = count.n
		return nil
	})
	if err != nil {
		return err
	}
	r.manifest.Done = entry.Next == r.o.Data.Len()
	r.manifest.Bad = bad
	if entry.Images == 0 { // only unreadable images were left
		if err := os.Remove(path); err != nil {
			return err
		}
		if len(r.manifest.Shards) == 0 {
			return fmt.Errorf("none of the %d images can be read", r.o.Data.Len())
		}
	} else {
		r.manifest.Shards = append(r.manifest.Shards, entry)
	}
	if err := r.manifest.write(filepath.Join(r.o.Out, manifestName)); err != nil {
		return err
	}
	rate := float64(entry.Next-r.first) / max(1e-9, time.Since(r.began).Seconds())
	r.o.Progress(Shard{Name: entry.Name, Images: entry.Images, Bytes: entry.Bytes, Done: entry.Next, ImagesPerSecond: rate})
	return nil
}

// skip notes an image that cannot be read; too many are an error.
func (r *run) skip(bad []int, p *packed) ([]int, error) {
	set := r.o.Data
	r.o.Progress(Bad{Image: set.Name(p.image), Error: p.err.Error()})
	bad = append(bad, p.image)
	if len(bad) > int(r.o.MaxBad*float64(set.Len())) {
		return bad, &BadImagesError{Bad: len(bad), Images: set.Len(), Limit: r.o.MaxBad, Last: p.err}
	}
	return bad, nil
}

// peek returns the next picture, nil after the last. Several are made at once.
func (r *run) peek(ctx context.Context) (*packed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(r.ready) > 0 {
		return &r.ready[0], nil
	}
	workers := runtime.GOMAXPROCS(0)
	lot := make([]packed, min(8*workers, r.o.Data.Len()-r.next))
	if len(lot) == 0 {
		return nil, nil
	}
	var group errgroup.Group
	group.SetLimit(workers)
	for k := range lot {
		group.Go(func() error {
			lot[k] = r.o.make(r.next + k)
			return nil
		})
	}
	group.Wait()
	r.ready, r.next = lot, r.next+len(lot)
	return &r.ready[0], nil
}
