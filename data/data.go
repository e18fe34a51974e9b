// Package data is where images come from: folders, tar and zip archives, lists, CIFAR-10/100 binary
// files, IDX files (the MNIST family) and a built-in drawn set. [Open] finds out which of them a
// path is.
//
// A [Set] is a fixed list of images in byte-wise order of their names, the same on every machine,
// whatever the file system's own order is. Any of them may be read at any time, from any goroutine.
// Labels are there when the images lie in class folders or the format carries them; they are
// indices into [Set.Classes], so labels of two sets compare only through the class names.
//
// Every image arrives as package picture reads it: 8-bit RGB, upright, transparent pixels laid on
// white or on what Options.Ground says.
package data

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"moco/internal/text"
	"moco/picture"
)

// Part names a half of a data set that comes divided into training and test images.
type Part int

// The parts. Any is both of them together.
const (
	Any Part = iota
	Train
	Test
)

// String returns "any", "train" or "test".
func (p Part) String() string {
	switch p {
	case Train:
		return "train"
	case Test:
		return "test"
	}
	return "any"
}

// Options tune [Open]; the zero value is fine.
type Options struct {
	// Part picks a half where a path holds both, as CIFAR and IDX folders do, and folders that hold
	// a train folder beside a test or val folder. A path that is not divided ignores it.
	Part Part
	// MaxPixels refuses larger images by their header, before anything is allocated; see
	// [picture.Options]. 0 means 100 million.
	MaxPixels int
	// Ground is what transparent pixels are laid on by [Set.Read]. The zero value is white.
	Ground picture.Ground
	// CacheBytes is how much memory images may take once they have been read: the first ones read
	// are kept, as they were asked for, until it is spent. 0 keeps none. CIFAR and IDX files are in
	// memory in any case.
	CacheBytes int64
	// CacheDir is a folder that keeps images once they have been read, those that there is no
	// memory for and those of the next run; see package internal/picturecache. Only images that are
	// files of their own, in a folder or an archive, are kept there: as long as the file's name,
	// size and time are the same. Empty keeps none.
	CacheDir string
	// CacheLimit is the most bytes that all of CacheDir may take. 0 means DefaultCacheLimit.
	CacheLimit int64
	// Log, if not nil, is told when CacheDir is full or cannot be used.
	Log *slog.Logger

	// Frames takes the path for videos and the set for their frames: each folder that holds images
	// is a video, its frames in order of their names (with numbers counted, so that 9 comes before
	// 10), and so is each animated GIF, and each video file (.mp4 and others) if ffmpeg is
	// installed. Without it a GIF is its first frame, and video files are passed over.
	Frames bool
	FPS    float64 // frames a second that are taken from a video file; 0 means DefaultFPS
	// Progress, if not nil, is told how many video files of how many ffmpeg has unpacked.
	Progress func(done, total int)
	// Pairs is a CSV file of path,group: the set is then the images that it lists, grouped. Paths
	// are those within the set's own path, or relative to the CSV's folder.
	Pairs string
}

// picture returns the options that decoding takes.
func (o Options) picture() picture.Options {
	return picture.Options{MaxPixels: o.MaxPixels, Ground: o.Ground}
}

// DefaultCacheLimit is what a cache on the disk may take.
const DefaultCacheLimit = 10 << 30

// The largest single file or unpacked archive that is read into memory.
const (
	maxFileBytes     = 1 << 30
	maxUnpackedBytes = 2 << 30
)

// Set is a list of images, ready to be read. It is safe for concurrent use until it is closed.
type Set struct {
	kind    string
	names   []string // as they are shown; see Text
	files   []string // as they are stored; nil: as they are shown
	common  int      // bytes of folders that all files begin with, which the fingerprint passes over
	labels  []int32  // nil: unlabelled
	classes []string
	left    LeftOut
	backend backend

	noun    string // what a group is: "video" or "group"
	groups  []group
	groupOf []int32 // by image; nil without groups
	place   []int32 // of an image among its group's members

	options picture.Options // of Read
	cache   *cache          // nil: none
}

// backend is what differs between the kinds of sets.
type backend interface {
	// read decodes image i as the options say, but may leave reducing it to its caller.
	read(i int, how picture.Options, dst *Image) error
	header(i int) (format string, width, height int, err error) // without decoding the pixels
	size(i int) int64                                           // bytes as stored
	// stored returns the bytes that an image is made of, in buf if they fit, and whether they are
	// those of a file that holds nothing else; if not, they are whatever tells the image from
	// others.
	stored(i int, buf []byte) (content []byte, file bool, err error)
	fingerprint(h hash.Hash) // whatever tells two sets with the same names apart
	close() error
}

// identified is a backend that can tell whether an image is still the one that was read before.
type identified interface {
	// identity appends what names image i and changes whenever its file does. It is false if
	// nothing does.
	identity(b []byte, i int) ([]byte, bool)
}

// identity appends the identity of image i of a backend, if it has one.
func identity(of backend, b []byte, i int) ([]byte, bool) {
	if of, ok := of.(identified); ok {
		return of.identity(b, i)
	}
	return b, false
}

// BadImage is the error of an image that cannot be read; the set's other images are not affected.
type BadImage struct {
	Name string // as Set.Name gives it
	Err  error
}

// Error returns the image's name and what is wrong with it.
func (e *BadImage) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BadImage) Unwrap() error { return e.Err }

// Open finds out what path holds and returns it as a set of images:
//
//   - a folder of class folders (label: the first-level folder), a flat folder (unlabelled),
//     nested folders (labelled when every image lies in a subfolder). A single folder wrapped round
//     everything is passed over. A train folder beside a test or val folder is understood as a
//     division; see [Options].
//   - .tar, .tar.gz, .tgz or .zip of any of these, and tars in WebDataset's form; a folder of
//     archives
//   - a list of images: a CSV or Parquet file with the columns path and, for labels, label
//   - CIFAR-10 (data_batch_*.bin, test_batch.bin) or CIFAR-100 (train.bin, test.bin) binary files
//   - IDX files: a folder with *-images-idx3-ubyte[.gz] and *-labels-idx1-ubyte[.gz], or one
//     images file
//   - with Options.Frames, videos: folders of frames, animated GIFs, video files
//   - "builtin:train" and "builtin:test", with "?n=2000&size=32&seed=0" to vary them
//
// What a file is is told by its content, not its name. A path that does not exist may be a pattern
// for several, as shells have them: *, ?, [abc], {a,b} and {000..127}; see [OpenAll].
//
// A path that holds none of these, or is damaged as a whole, is an error; a single damaged image is
// not: it shows when it is read. Close the set after use.
func Open(ctx context.Context, path string, opts Options) (*Set, error) {
	return OpenAll(ctx, []string{path}, opts)
}

// OpenAll opens several paths or patterns as one set. A single path gives the names that [Open]
// gives, relative to it. Of several, or of a pattern, each image's name begins with its path's own
// last name, such as "000003.tar/cat/1.jpg"; where two are the same, with as many folders before as
// make them differ; a path that is an image file gives that image just its own last name. So a name
// does not change when a path is added, unless that one has the same last name.
func OpenAll(ctx context.Context, patterns []string, opts Options) (*Set, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if len(patterns) == 0 || slices.Contains(patterns, "") {
		return nil, errors.New("no data path given; give a folder, an archive, CIFAR or IDX files, or builtin:train")
	}
	s, places, err := openAll(ctx, patterns, opts)
	if err != nil {
		return nil, err
	}
	if opts.Pairs != "" {
		paired, err := s.pair(ctx, opts.Pairs, places)
		if err != nil {
			s.Close()
			return nil, err
		}
		s = paired
	}
	s.options = opts.picture()
	if (opts.CacheBytes > 0 || opts.CacheDir != "") && !s.inMemory() {
		if s.cache, err = newCache(s, patterns, opts); err != nil {
			s.Close()
			return nil, err
		}
		if filler, ok := s.backend.(cacheFiller); ok {
			filler.lend(s.cache.spare())
		}
	}
	return s, nil
}

// cacheFiller is a backend that comes by images which were not asked for, and gives away those that
// are wanted.
type cacheFiller interface {
	lend(s spare)
}

// spare is where such images go.
type spare struct {
	wanted func(i int, r Reading) bool
	keep   func(i int, r Reading, m *Image)
}

// place is where a set, or a part of it, lies on the disk.
type place struct {
	path   string
	prefix string // of the names of its images; "" or with a slash at the end
}

// check fills in defaults and refuses what makes no sense.
func (o *Options) check() error {
	if o.MaxPixels == 0 {
		o.MaxPixels = picture.DefaultMaxPixels
	}
	if o.FPS == 0 {
		o.FPS = DefaultFPS
	}
	switch {
	case o.MaxPixels < 0 || o.CacheBytes < 0 || o.CacheLimit < 0 || o.Part < Any || o.Part > Test:
		return fmt.Errorf("data options %+v: Part must be one of Any, Train, Test, the rest not negative", *o)
	case !(o.FPS > 0 && o.FPS <= 1000):
		return fmt.Errorf("%v frames a second: must be above 0 and at most 1000", o.FPS)
	case o.Frames && o.Pairs != "":
		return errors.New("frames and pairs exclude each other: a set is grouped by its videos or by a list")
	}
	return nil
}

// openAll opens the paths that the patterns stand for.
func openAll(ctx context.Context, patterns []string, opts Options) (*Set, []place, error) {
	var paths []string
	several := len(patterns) > 1
	for _, p := range patterns {
		found, pattern, err := expand(p)
		if err != nil {
			return nil, nil, err
		}
		paths, several = append(paths, found...), several || pattern
	}
	if !several {
		s, err := openPath(ctx, paths[0], opts)
		return s, []place{{path: paths[0]}}, err
	}
	before, err := prefixes(paths)
	if err != nil {
		return nil, nil, err
	}
	list, err := openMembers(ctx, paths, before, opts)
	if err != nil {
		return nil, nil, err
	}
	places := make([]place, len(paths))
	for i, p := range paths {
		places[i] = place{p, before[i] + "/"}
	}
	s, err := together(list)
	return s, places, err
}

// isBuiltin tells whether a path is that of the drawn set.
func isBuiltin(path string) bool {
	return path == "builtin" || strings.HasPrefix(path, "builtin:") || strings.HasPrefix(path, "builtin?")
}

// openPath opens one path.
func openPath(ctx context.Context, path string, opts Options) (*Set, error) {
	if !isBuiltin(path) {
		return openFiles(ctx, path, opts)
	}
	if opts.Frames {
		return nil, fmt.Errorf("%s: the built-in set holds no videos", path)
	}
	return openBuiltin(path, opts)
}

// openFiles opens what lies on a disk: first as a list of files, then by what the files are.
func openFiles(ctx context.Context, path string, opts Options) (*Set, error) {
	box, err := openContainer(ctx, path)
	if err != nil {
		return nil, err
	}
	openers := []func(context.Context, *container, Options) (*Set, error){openCIFAR, openIDX, openImages, openList}
	if opts.Frames {
		openers = append(openers[:0], openFrames, openList)
	}
	for _, open := range openers {
		s, err := open(ctx, box, opts)
		if err != nil {
			box.close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if s != nil {
			return s, nil
		}
	}
	if archives, left := box.archives(); len(archives) > 0 && !opts.Frames {
		box.close()
		return openShards(ctx, path, ofPart(archives, opts.Part), left, opts)
	}
	err = box.nothingFound()
	if opts.Frames {
		err = fmt.Errorf("this %s holds no videos; want a folder of frames for each video, animated GIFs or "+
			"video files (%s)",
			box.what, videoExtensions)
	}
	box.close()
	return nil, fmt.Errorf("%s: %w", path, err)
}

// PackManifest is the file that package pack writes beside its shards. It is none of those that are
// left out.
const PackManifest = "pack.json"

// archives returns the archives in a folder, by their endings, and what else is there.
func (c *container) archives() (names []string, left LeftOut) {
	if c.what != "folder" {
		return nil, left
	}
	others := c.left.clone()
	for _, e := range c.entries {
		switch ext := ending(e.name); {
		case ext == ".tar", ext == ".tgz", ext == ".zip", strings.HasSuffix(strings.ToLower(e.name), ".tar.gz"):
			names = append(names, e.name)
		case e.name != PackManifest:
			others.file(e.name)
		}
	}
	return names, others.sum()
}

// ofPart returns those archives of a divided collection that belong to a part. It is divided if the
// name of each has a word, or lies in a folder, that says train, or test or val, and both are
// there.
func ofPart(names []string, part Part) []string {
	by := map[Part][]string{}
	for _, n := range names {
		which := Any
		for _, word := range strings.FieldsFunc(n, func(r rune) bool { return strings.ContainsRune("/-_. ", r) }) {
			which = cmp.Or(which, partOf(word))
		}
		by[which] = append(by[which], n)
	}
	if part == Any || len(by[Any]) > 0 || len(by[Train]) == 0 || len(by[Test]) == 0 {
		return names
	}
	return by[part]
}

// openShards opens the archives of a folder as one set.
func openShards(ctx context.Context, root string, names []string, left LeftOut, opts Options) (*Set, error) {
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = filepath.Join(root, filepath.FromSlash(n))
	}
	list, err := openMembers(ctx, paths, names, opts)
	if err != nil {
		return nil, err
	}
	s, err := together(list)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	s.kind = fmt.Sprintf("folder of %d archives, the first a %s", len(list), list[0].set.kind)
	s.left = merge([]LeftOut{left, s.left})
	return s, nil
}

// Len returns the number of images, at least 1.
func (s *Set) Len() int { return len(s.names) }

// Name returns the path of image i relative to the set's own path, with slashes, as [Text] shows
// it. No two images of a set share one, or have names that look alike. It depends on what else the
// set holds only where two would.
func (s *Set) Name(i int) string { return s.names[i] }

// setNames gives the images their names, as they are stored. The fingerprint passes over their
// first bytes, common of them.
func (s *Set) setNames(files []string, common int) {
	s.files, s.names, s.common = files, text.Names(files), common
}

// take returns a set of the images at these places, with names and labels and without a backend.
func (s *Set) take(keep []int) *Set {
	some := &Set{classes: s.classes, left: s.left, common: s.common, options: s.options}
	for _, i := range keep {
		some.names = append(some.names, s.names[i])
		if s.files != nil {
			some.files = append(some.files, s.files[i])
		}
		if s.labels != nil {
			some.labels = append(some.labels, s.labels[i])
		}
	}
	return some
}

// LeftOut tells what lies at the set's path and is not in the set.
func (s *Set) LeftOut() LeftOut {
	l := s.left
	if l.Endings == nil { // as JSON a list, not null
		l.Endings = []Count{}
	}
	return l
}

// Label returns the class of image i as an index into Classes, -1 if the set is unlabelled.
func (s *Set) Label(i int) int {
	if s.labels == nil {
		return -1
	}
	return int(s.labels[i])
}

// Classes returns the class names in order of their labels, nil if the set is unlabelled. Do not
// change them.
func (s *Set) Classes() []string { return s.classes }

// Kind says in words what the path holds, such as "class folders" or "CIFAR-10 binary".
func (s *Set) Kind() string { return s.kind }

// inMemory tells whether the backend already holds decoded images, so that a cache would be a
// second copy.
func (s *Set) inMemory() bool {
	held, ok := s.backend.(interface{ inMemory() bool })
	return ok && held.inMemory()
}

// Fingerprint returns a hash in hexadecimal over the names, sizes, labels and groups (for CIFAR and
// IDX, over some of the pixels too). A set and its tar have the same. A run records it, so that a
// resume with other data can be refused; it does not guard against a file replaced by another of
// the same name and size.
func (s *Set) Fingerprint() string {
	h := sha256.New()
	var word [8]byte
	names := s.files
	if names == nil {
		names = s.names
	}
	for i, name := range names {
		h.Write([]byte(name[s.common:]))
		binary.LittleEndian.PutUint64(word[:], uint64(s.backend.size(i)))
		h.Write([]byte{0})
		h.Write(word[:])
		binary.LittleEndian.PutUint64(word[:], uint64(s.Label(i)))
		h.Write(word[:])
		if s.groups != nil {
			binary.LittleEndian.PutUint64(word[:], uint64(s.groupOf[i])<<32|uint64(s.place[i]))
			h.Write(word[:])
		}
	}
	s.backend.fingerprint(h)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Digest is what tells one image from another of the same name: the length and the SHA-256 of the
// bytes that it is made of. These are its file's; of a frame in an animated GIF, those of the whole
// GIF; of an image in a CIFAR or IDX file, its pixels.
type Digest struct {
	Size   int64
	SHA256 [sha256.Size]byte
}

// Digest reads the bytes of image i, without decoding them. An image that cannot be read gives a
// *[BadImage].
func (s *Set) Digest(i int) (Digest, error) {
	if i < 0 || i >= len(s.names) {
		return Digest{}, fmt.Errorf("image %d asked for in a set of %d", i, len(s.names))
	}
	buf, ok := digestBuffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer digestBuffers.Put(buf)
	content, _, err := s.backend.stored(i, *buf)
	if err != nil {
		return Digest{}, &BadImage{Name: s.names[i], Err: err}
	}
	*buf = content
	return Digest{int64(len(content)), sha256.Sum256(content)}, nil
}

// digestBuffers holds the memory of Digest, *[]byte.
var digestBuffers sync.Pool

// Stored returns the bytes that image i is made of, in buf if they fit, and their format as package
// picture names it: "" for an image that is no file of its own. See [Set.Digest].
func (s *Set) Stored(i int, buf []byte) (content []byte, format string, err error) {
	if i < 0 || i >= len(s.names) {
		return nil, "", fmt.Errorf("image %d asked for in a set of %d", i, len(s.names))
	}
	content, file, err := s.backend.stored(i, buf)
	if err != nil {
		return nil, "", &BadImage{Name: s.names[i], Err: err}
	}
	if file {
		format, _ = picture.Sniff(content)
	}
	return content, format, nil
}

// Close releases the files behind the set. Reads after it fail.
func (s *Set) Close() error { return errors.Join(s.backend.close(), s.cache.close()) }
