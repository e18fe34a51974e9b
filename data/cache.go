package data

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"moco/internal/picturecache"
	"moco/picture"
)

// cache holds images as they were read: in memory, and in a folder if there is one. What it holds
// never decides what is read. A nil cache is empty and keeps nothing.
type cache struct {
	set    *Set
	budget atomic.Int64 // bytes that memory may still take

	dir    string // empty: none
	limit  int64
	source string // what the files in dir are for: the set's paths
	log    *slog.Logger
	told   sync.Once // that dir is full or fails

	mu sync.RWMutex
	of map[Reading]*shelf
}

// shelf holds the images of one way of reading.
type shelf struct {
	images []atomic.Pointer[Image] // an entry never changes once it is set
	file   *picturecache.File      // nil: none
}

func newCache(s *Set, paths []string, opts Options) (*cache, error) {
	c := &cache{set: s, of: map[Reading]*shelf{}, dir: opts.CacheDir, limit: opts.CacheLimit, log: opts.Log}
	c.budget.Store(opts.CacheBytes)
	if c.limit == 0 {
		c.limit = DefaultCacheLimit
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if _, ok := s.backend.(identified); !ok {
		c.dir = ""
	}
	if c.dir == "" {
		return c, nil
	}
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		c.source += fmt.Sprintf("%q", abs)
	}
	return c, picturecache.Usable(c.dir)
}

// shelf returns the images of one way of reading, which are begun if they are not there.
func (c *cache) shelf(r Reading) *shelf {
	c.mu.RLock()
	s := c.of[r]
	c.mu.RUnlock()
	if s != nil {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[r] == nil {
		c.of[r] = &shelf{images: make([]atomic.Pointer[Image], c.set.Len()), file: c.open(r)}
	}
	return c.of[r]
}

// open opens the file of one way of reading.
func (c *cache) open(r Reading) *picturecache.File {
	if c.dir == "" {
		return nil
	}
	f, err := picturecache.Open(c.dir, c.limit, c.id(r))
	if err != nil {
		c.fails(err)
		return nil
	}
	return f
}

// id names what all pixels depend on.
func (c *cache) id(r Reading) [32]byte {
	longest := ""
	if r.Longest {
		longest = " longer"
	}
	return sha256.Sum256(fmt.Appendf(nil, "pictures %d, %d pixels, from %d%s, on %v: %s",
		picture.Version, c.set.options.MaxPixels, r.Side, longest, r.Ground, c.source))
}

// key names an image that is stored, false if it cannot be.
func (c *cache) key(i int) (picturecache.Key, bool) { return c.set.Stamp(i) }

// Stamp names the file of image i and changes whenever the file does: a hash of its path, size and
// time, or those of the archive that holds it. It is false of an image that is no file of its own,
// as in CIFAR and IDX files, or that is not there.
func (s *Set) Stamp(i int) (stamp [16]byte, ok bool) {
	var room [256]byte
	id, ok := identity(s.backend, room[:0], i)
	if ok {
		sum := sha256.Sum256(id)
		copy(stamp[:], sum[:])
	}
	return stamp, ok
}

// identity appends what names a file and changes whenever it does: its path, size and time, or
// those of the archive that it is in. It is false of a file that is not there.
func (c *container) identity(b []byte, e entry) ([]byte, bool) {
	path, err := filepath.Abs(c.place(e))
	if err != nil {
		return b, false
	}
	info, err := os.Stat(path)
	if err != nil {
		return b, false
	}
	return fmt.Appendf(b, "%q of %d bytes at %d in %q of %d bytes at %d",
		e.name, e.size, e.at, path, info.Size(), info.ModTime().UnixNano()), true
}

// fails tells that the folder is of no use, once.
func (c *cache) fails(err error) {
	c.told.Do(func() { c.log.Warn("images are not kept on the disk", "folder", c.dir, "error", err) })
}

// held returns an image that is in memory, else nil. It is not to be changed.
func (c *cache) held(i int, r Reading) *Image {
	if c == nil {
		return nil
	}
	return c.shelf(r).images[i].Load()
}

// has tells whether an image is in memory.
func (c *cache) has(i int, r Reading) bool { return c.held(i, r) != nil }

// spare takes images that nobody has asked for yet.
func (c *cache) spare() spare {
	return spare{wanted: func(i int, r Reading) bool { return !c.has(i, r) }, keep: c.keep}
}

// get copies an image to dst if it is in memory.
func (c *cache) get(i int, r Reading, dst *Image) bool {
	hit := c.held(i, r)
	if hit == nil {
		return false
	}
	dst.Resize(hit.Width, hit.Height)
	copy(dst.Pix, hit.Pix)
	return true
}

// keep takes a copy of an image into memory if the budget allows. Two readers of the same image may
// both come here: one copy wins and the other's bytes go back to the budget.
func (c *cache) keep(i int, r Reading, img *Image) {
	const overhead = 64 // the Image and its allocation
	cost := int64(len(img.Pix)) + overhead
	if c == nil || c.budget.Load() < cost { // most calls once the cache is full: no write to the shared line
		return
	}
	if c.budget.Add(-cost) < 0 {
		c.budget.Add(cost)
		return
	}
	kept := &Image{Width: img.Width, Height: img.Height, Pix: append([]uint8(nil), img.Pix...)}
	if !c.shelf(r).images[i].CompareAndSwap(nil, kept) {
		c.budget.Add(cost)
	}
}

// stored reads an image from the folder to dst, and keeps it in memory. It is false if the image is
// not there.
func (c *cache) stored(i int, r Reading, dst *Image) bool {
	if c == nil || c.dir == "" {
		return false
	}
	file := c.shelf(r).file
	if file == nil {
		return false
	}
	k, ok := c.key(i)
	if !ok {
		return false
	}
	w, h, pix, ok := file.Get(k, dst.Pix)
	if !ok {
		return false
	}
	dst.Width, dst.Height, dst.Pix = w, h, pix
	c.keep(i, r, dst)
	return true
}

// store puts an image into the folder.
func (c *cache) store(i int, r Reading, img *Image) {
	if c == nil || c.dir == "" {
		return
	}
	file := c.shelf(r).file
	if file == nil || file.Full() {
		return
	}
	k, ok := c.key(i)
	if !ok {
		return
	}
	if err := file.Put(k, img.Width, img.Height, img.Pix); err != nil {
		c.fails(err)
	} else if file.Full() {
		c.told.Do(func() {
			c.log.Warn("the cache is full: other images are read from their files each time",
				"folder", c.dir, "limit", c.limit, "images", file.Len(), "of", c.set.Len())
		})
	}
}

// close closes the files.
func (c *cache) close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var first error
	for _, s := range c.of {
		if s.file == nil {
			continue
		}
		if err := s.file.Close(); first == nil {
			first = err
		}
	}
	return first
}
