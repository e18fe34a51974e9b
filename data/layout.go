package data

import (
	"context"
	"fmt"
	"hash"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"moco/picture"
)

// extensionList names the files that are taken for images; what they really are is told by their
// content.
const extensionList = ".jpg .jpeg .jfif .jpe .mpo .png .gif .bmp .webp .tif .tiff"

// moreExtensions are rarer names for the same formats.
const moreExtensions = " .pjpeg .pjp .dib .apng"

// neverImages are endings of files that are not opened to see whether they are images: text,
// documents, programs, archives, sound, and pictures of kinds that are not read. Videos are known
// by videoExtensions.
const neverImages = ".txt .md .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .cfg .log .html .htm .css .js .ts .py .ipynb .go .c .h " +
	".cpp .java .rs .sh .bat .ps1 .mat .npy .npz .pt .pth .pkl .safetensors .onnx .h5 .hdf5 .parquet .arrow " +
	".feather .sqlite .db .lmdb " +
	".tar .gz .tgz .zip .7z .rar .bz2 .xz .zst .iso .pdf .doc .docx .xls .xlsx .ppt .pptx .odt .ods .rtf .tex " +
	".epub .svg .psd .ai .eps " +
	".xcf .jxl .jp2 .j2k .cr2 .cr3 .nef .arw .dng .orf .rw2 .raf .xmp .aae .thm .mp3 .wav .flac .ogg .m4a .aac " +
	".exe .dll .so .lnk .url .cls .crdownload"

var (
	imageEndings = endings(extensionList + moreExtensions)
	otherEndings = endings(neverImages + " " + videoExtensions)
)

func endings(list string) map[string]bool {
	set := map[string]bool{}
	for _, e := range strings.Fields(list) {
		set[e] = true
	}
	return set
}

// isImageName tells whether a file's extension, in any case, is that of an image.
func isImageName(name string) bool { return imageEndings[ending(name)] }

// findImages parts a container's files into images and others. Images are known by their endings;
// files with none or an unknown one, and HEIC (which cameras and programs give to JPEG too), are
// opened and looked at.
func findImages(ctx context.Context, box *container) (images, others []entry, err error) {
	var doubtful []int
	for i, e := range box.entries {
		if ext := ending(e.name); !imageEndings[ext] && !otherEndings[ext] && e.size > 0 {
			doubtful = append(doubtful, i)
		}
	}
	is := make(map[int]bool, len(doubtful))
	var mu sync.Mutex
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	const lot = 256
	for part := range slices.Chunk(doubtful, lot) {
		workers.Go(func() error {
			var buf []byte
			for _, i := range part {
				if err := ctx.Err(); err != nil {
					return err
				}
				head, err := box.head(box.entries[i], buf)
				if err != nil {
					continue // it is counted among the others
				}
				if buf = head; picture.Check(head) == nil {
					mu.Lock()
					is[i] = true
					mu.Unlock()
				}
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, nil, err
	}
	for i, e := range box.entries {
		if is[i] || isImageName(e.name) {
			images = append(images, e)
		} else {
			others = append(others, e)
		}
	}
	return images, others, nil
}

// openImages makes a set of the image files in a container, nil if there are none.
func openImages(ctx context.Context, box *container, opts Options) (*Set, error) {
	images, others, err := findImages(ctx, box)
	if err != nil || len(images) == 0 {
		return nil, err
	}
	if err := anyLooksLikeImage(box, images); err != nil {
		return nil, err
	}
	paths := make([]string, len(images))
	for i, e := range images {
		paths[i] = e.name
	}
	lay := arrange(paths, opts.Part)
	if len(lay.keep) == 0 {
		return nil, fmt.Errorf("this %s has no %s part", box.what, opts.Part)
	}
	kept := make([]entry, len(lay.keep))
	for k, i := range lay.keep {
		kept[k] = images[i]
	}
	if others, err = besides(ctx, box, images, others, &lay); err != nil {
		return nil, err
	}
	left := box.left.clone()
	for _, e := range others {
		left.file(e.name)
	}
	s := &Set{kind: lay.describe(box.what), labels: lay.labels, classes: lay.classes, left: left.sum()}
	s.setNames(lay.names, lay.common)
	s.backend = &encodedImages{box: box, entries: kept, options: opts.picture()}
	return s, nil
}

// anyLooksLikeImage opens files spread over the set until one is an image, a thousand at most: a
// set without any is refused at once. Single ones that are none are found out when they are read,
// because opening a million files here would take minutes.
func anyLooksLikeImage(box *container, images []entry) error {
	const looks = 1000
	var buf []byte
	var first error
	for k := range min(looks, len(images)) {
		e := images[k*len(images)/min(looks, len(images))]
		head, err := box.head(e, buf)
		if err == nil {
			if buf, err = head, picture.Check(head); err == nil {
				return nil
			}
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", Text(e.name), err)
		}
	}
	return fmt.Errorf("the files named like images are none (%w); want %s", first, extensionList)
}

// layout is how the paths of a set's images are understood.
type layout struct {
	kind    string   // "flat", "nested" (unlabelled, on several levels), "class folders", or another way of labelling
	part    string   // of a divided set: which
	keep    []int    // the images that belong to the part asked for
	names   []string // of the kept ones: their whole paths
	common  int      // bytes of the folders that all of them begin with
	labels  []int32  // nil: unlabelled
	classes []string
}

// oneImage is the kind of a set that is an image file.
const oneImage = "one image"

// describe says in words what a container of that layout is.
func (l *layout) describe(what string) string {
	kind := l.kind
	switch {
	case what == "file":
		return oneImage
	case what == "folder" && (kind == "flat" || kind == "nested"):
		return kind + " folder" + l.part
	case what == "folder":
		return kind + l.part
	case kind == "flat":
		kind = "images"
	case kind == "nested":
		kind = "nested folders"
	}
	return what + " of " + kind + l.part
}

// arrange finds classes in sorted paths. What wraps everything is passed over. Then, if every image
// lies in a folder, the first-level folders are the classes; otherwise the images are unlabelled.
// Where the first-level folders are exactly the halves of a divided set, the same holds one level
// further down. Names stay the whole paths, so that they do not depend on what else there is.
func arrange(paths []string, part Part) layout {
	common := len(commonFolder(paths))
	lay := layout{keep: make([]int, 0, len(paths)), common: common}
	divided, test := division(paths, common)
	for i, p := range paths {
		top, _, _ := strings.Cut(p[common:], "/")
		if !divided || part == Any || (part == Train && partOf(top) == Train) || (part == Test && top == test) {
			lay.keep = append(lay.keep, i)
			lay.names = append(lay.names, p)
		}
	}
	if len(lay.keep) == 0 {
		return lay
	}
	below := func(p string) string { return p[common:] }
	switch {
	case divided && part == Any: // classes lie below the parts
		below = func(p string) string { _, rest, _ := strings.Cut(p[common:], "/"); return rest }
	case divided:
		common = len(commonFolder(lay.names))
		lay.common = common
	}
	if divided && part == Any {
		lay.part = " in train and test parts"
	} else if divided {
		lay.part = ", " + part.String() + " part"
	}
	lay.byFolder(below)
	return lay
}

// byFolder labels images by the first folder of the paths that below gives.
func (l *layout) byFolder(below func(name string) string) {
	folders := map[string]bool{}
	loose, deep := false, false
	for _, p := range l.names {
		if folder, rest, ok := strings.Cut(below(p), "/"); ok {
			folders[folder] = true
			deep = deep || strings.Contains(rest, "/")
		} else {
			loose = true
		}
	}
	switch {
	case len(folders) == 0:
		l.kind = "flat"
	case loose:
		l.kind = "nested"
	default:
		l.kind = "class folders"
		if deep {
			l.kind = "nested class folders"
		}
		of := make(map[string]string, len(folders))
		for f := range folders {
			of[f] = className(f)
		}
		labels := make([]string, len(l.names))
		for i, p := range l.names {
			folder, _, _ := strings.Cut(below(p), "/")
			labels[i] = of[folder]
		}
		l.label(labels, strings.Compare)
	}
}

// label gives each image its class; the classes are put in the order of compare.
func (l *layout) label(of []string, compare func(a, b string) int) {
	l.classes = slices.Clone(of)
	slices.SortFunc(l.classes, compare)
	l.classes = slices.Clone(slices.Compact(l.classes)) // a copy, so that the long list can go
	index := make(map[string]int32, len(l.classes))
	for i, c := range l.classes {
		index[c] = int32(i)
	}
	l.labels = make([]int32, len(of))
	for i, c := range of {
		l.labels[i] = index[c]
	}
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

// division tells whether the first-level folders, which begin at byte common of the paths, are a
// training half and one or two others, and names the folder that counts as the test half: a test
// folder rather than a validation folder.
func division(paths []string, common int) (divided bool, test string) {
	train := false
	for _, p := range paths {
		top, _, ok := strings.Cut(p[common:], "/")
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

func (e *encodedImages) read(i int, how picture.Options, dst *Image) error {
	return e.with(i, func(content []byte, d *desk) error { return d.Decode(content, how, dst) })
}

func (e *encodedImages) identity(b []byte, i int) ([]byte, bool) {
	return e.box.identity(b, e.entries[i])
}

func (e *encodedImages) header(i int) (format string, width, height int, err error) {
	err = e.with(i, func(content []byte, _ *desk) error {
		h, err := picture.ReadHeader(content, e.options)
		format, width, height = h.Format, h.Width, h.Height
		return err
	})
	return format, width, height, err
}

func (e *encodedImages) stored(i int, buf []byte) ([]byte, bool, error) {
	content, err := e.box.read(e.entries[i], buf)
	return content, true, err
}

func (e *encodedImages) changed(i int) int64   { return e.entries[i].time }
func (e *encodedImages) size(i int) int64      { return e.entries[i].size }
func (e *encodedImages) fingerprint(hash.Hash) {}
func (e *encodedImages) close() error          { return e.box.close() }
