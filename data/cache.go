package data

import (
	"sync"
	"sync/atomic"
)

// cache holds images as they were read, in memory. A nil cache is empty and keeps nothing.
type cache struct {
	images int
	budget atomic.Int64 // bytes that may still be taken

	mu sync.RWMutex
	of map[Reading][]atomic.Pointer[Image] // by image; an entry never changes once it is set
}

func newCache(images int, bytes int64) *cache {
	c := &cache{images: images, of: map[Reading][]atomic.Pointer[Image]{}}
	c.budget.Store(bytes)
	return c
}

// shelf returns the images of one way of reading, nil if there are none yet and none are to come.
func (c *cache) shelf(r Reading, create bool) []atomic.Pointer[Image] {
	c.mu.RLock()
	list := c.of[r]
	c.mu.RUnlock()
	if list != nil || !create {
		return list
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[r] == nil {
		c.of[r] = make([]atomic.Pointer[Image], c.images)
	}
	return c.of[r]
}

// held returns an image that is held, else nil. It is not to be changed.
func (c *cache) held(i int, r Reading) *Image {
	if c == nil {
		return nil
	}
	if list := c.shelf(r, false); list != nil {
		return list[i].Load()
	}
	return nil
}

// has tells whether an image is held.
func (c *cache) has(i int, r Reading) bool { return c.held(i, r) != nil }

// spare takes images that nobody has asked for yet.
func (c *cache) spare() spare {
	return spare{wanted: func(i int, r Reading) bool { return !c.has(i, r) }, keep: c.keep}
}

// get copies an image to dst if it is held.
func (c *cache) get(i int, r Reading, dst *Image) bool {
	hit := c.held(i, r)
	if hit == nil {
		return false
	}
	dst.Resize(hit.Width, hit.Height)
	copy(dst.Pix, hit.Pix)
	return true
}

// keep takes a copy of an image in if the budget allows. Two readers of the same image may both come
// here: one copy wins and the other's bytes go back to the budget.
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
	if !c.shelf(r, true)[i].CompareAndSwap(nil, kept) {
		c.budget.Add(cost)
	}
}
