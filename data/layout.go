package data

import (
	"context"
	"fmt"
	"hash"
	"path"
	"slices"
	"strings"
	"sync"

	"moco/picture"
)

// extensionList names the files that are taken for images; what they really are is told by their content.
const extensionList = ".jpg .jpeg .png .gif .bmp .webp .tif .tiff"

// isImageName tells whether a file's extension, in any case, is one of extensionList.
func isImageName(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext != "" && slices.Contains(strings.Fields(extensionList), ext)
}

// openImages makes a set of the image files in a container, nil if there are none.
func openImages(_ context.Context, box *container, opts Options) (*Set, error) {
	var images []entry
	skipped := ignored{hidden: box.hidden}
	for _, e := range box.entries {
		if isImageName(e.name) {
			images = append(images, e)
			continue
		}
		if skipped.other == 0 {
			skipped.example = e.name
		}
		skipped.other++
		if isVideoName(e.name) {
			skipped.videos++
		}
	}
	if len(images) == 0 {
		return nil, nil
	}
	if err := anyLooksLikeImage(box, images); err != nil {
		return nil, err
	}
	full := make([]string, len(images))
	for i, e := range images {
		full[i] = e.name
	}
	lay := arrange(full, opts.Part)
	if len(lay.keep) == 0 {
		return nil, fmt.Errorf("this %s has no %s part", box.what, opts.Part)
	}
	s := &Set{names: lay.names, labels: lay.labels, classes: lay.classes, ignored: skipped}
	kept := make([]entry, len(lay.keep))
	for k, i := range lay.keep {
		kept[k] = images[i]
	}
	s.backend = &encodedImages{box: box, entries: kept, options: opts.picture()}
	switch box.what {
	case "folder":
		s.kind = lay.kind
		if lay.kind == "flat" || lay.kind == "nested" {
			s.kind += " folder"
		}
	case "file":
		s.kind = "one image"
	default:
		s.kind = box.what + " of " + lay.kind
		if lay.kind == "flat" || lay.kind == "nested" {
			s.kind = box.what + " of " + map[string]string{"flat": "images", "nested": "nested folders"}[lay.kind]
		}
	}
	return s, nil
}

// anyLooksLikeImage opens files spread over the set until one is an image, a thousand at most: a set without
// any is refused at once. Single ones that are none are found out when they are read, because opening a
// million files here would take minutes.
func anyLooksLikeImage(box *container, images []entry) error {
	const looks = 1000
	var buf []byte
	var first error
	for k := range min(looks, len(images)) {
		e := images[k*len(images)/min(looks, len(images))]
		content, err := box.read(e, buf)
		if err == nil {
			if buf, err = content, picture.Check(content); err == nil {
				return nil
			}
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return fmt.Errorf("the files named like images are none (%w); want %s", first, extensionList)
}

// layout is how the paths of a set's images are understood.
type layout struct {
	kind    string   // "flat", "nested" (unlabelled, on several levels), "class folders", either of a divided set
	keep    []int    // the images that belong to the part asked for
	names   []string // of the kept ones, without what is common to all
	labels  []int32  // nil: unlabelled
	classes []string
}

// arrange finds classes in sorted paths. What wraps everything is stripped. Then, if every image lies in a
// folder, the first-level folders are the classes; otherwise the images are unlabelled. Where the
// first-level folders are exactly the halves of a divided set, the same holds one level further down.
func arrange(paths []string, part Part) layout {
	paths = stripCommon(paths)
	lay := layout{keep: make([]int, 0, len(paths))}
	divided, test := division(paths)
	for i, p := range paths {
		top, _, _ := strings.Cut(p, "/")
		if !divided || part == Any || (part == Train && partOf(top) == Train) || (part == Test && top == test) {
			lay.keep = append(lay.keep, i)
			lay.names = append(lay.names, p)
		}
	}
	if divided && part != Any {
		lay.names = stripCommon(lay.names)
	}
	inner := lay.names
	if divided && part == Any { // classes lie below the parts, but names keep them to stay unique
		inner = make([]string, len(lay.names))
		for i, p := range lay.names {
			_, inner[i], _ = strings.Cut(p, "/")
		}
	}
	folders := map[string]bool{}
	loose, deep := false, false
	for _, p := range inner {
		if folder, rest, ok := strings.Cut(p, "/"); ok {
			folders[folder] = true
			deep = deep || strings.Contains(rest, "/")
		} else {
			loose = true
		}
	}
	switch {
	case len(folders) == 0:
		lay.kind = "flat"
	case loose:
		lay.kind = "nested"
	default:
		lay.kind = "class folders"
		if deep {
			lay.kind = "nested class folders"
		}
		index := map[string]int32{}
		for f := range folders {
			lay.classes = append(lay.classes, f)
		}
		slices.Sort(lay.classes)
		for i, c := range lay.classes {
			index[c] = int32(i)
		}
		lay.labels = make([]int32, len(inner))
		for i, p := range inner {
			folder, _, _ := strings.Cut(p, "/")
			lay.labels[i] = index[folder]
		}
	}
	if divided {
		if part == Any {
			lay.kind += " in train and test parts"
		} else {
			lay.kind += ", " + part.String() + " part"
		}
	}
	return lay
}

// partOf tells which half a folder name stands for, Any if none.
func partOf(folder string) Part {
	switch strings.ToLower(folder) {
	case "train", "training":
		return Train
	case "test", "testing", "val", "valid", "validation":
		return Test
	}
	return Any
}

// division tells whether the first-level folders are a training half and one or two others, and names the
// folder that counts as the test half: a test folder rather than a validation folder.
func division(paths []string) (divided bool, test string) {
	train := false
	for _, p := range paths {
		top, _, ok := strings.Cut(p, "/")
		switch {
		case !ok || partOf(top) == Any:
			return false, ""
		case partOf(top) == Train:
			train = true
		case test == "" || strings.HasPrefix(strings.ToLower(top), "test"):
			test = top
		}
	}
	return train && test != "", test
}

// stripCommon removes the folders that every path begins with.
func stripCommon(paths []string) []string {
	common := path.Dir(paths[0]) + "/"
	for _, p := range paths {
		for !strings.HasPrefix(p, common) {
			common = common[:strings.LastIndexByte(common[:max(len(common)-1, 0)], '/')+1]
		}
		if common == "" {
			return paths
		}
	}
	short := make([]string, len(paths))
	for i, p := range paths {
		short[i] = p[len(common):]
	}
	return short
}

// encodedImages reads images that are files of their own.
type encodedImages struct {
	box     *container
	entries []entry
	options picture.Options
	desks   sync.Pool // *desk
}

// with calls use with the bytes of image i, which are lent for the call only.
func (e *encodedImages) with(i int, use func(content []byte, d *desk) error) error {
	d, ok := e.desks.Get().(*desk)
	if !ok {
		d = new(desk)
	}
	defer e.desks.Put(d)
	content, err := e.box.read(e.entries[i], d.file)
	if err != nil {
		return err
	}
	d.file = content
	return use(content, d)
}

func (e *encodedImages) read(i int, dst *Image) error {
	return e.with(i, func(content []byte, d *desk) error { return d.Decode(content, e.options, dst) })
}

func (e *encodedImages) header(i int) (format string, width, height int, err error) {
	err = e.with(i, func(content []byte, _ *desk) error {
		h, err := picture.ReadHeader(content, e.options)
		format, width, height = h.Format, h.Width, h.Height
		return err
	})
	return format, width, height, err
}

func (e *encodedImages) size(i int) int64      { return e.entries[i].size }
func (e *encodedImages) fingerprint(hash.Hash) {}
func (e *encodedImages) close() error          { return e.box.close() }
