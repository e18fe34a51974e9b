package data

import (
	"fmt"

	"moco/picture"
)

// Reading says how images are read: which of several pictures a file becomes. Two readings are
// equal by ==.
type Reading struct {
	// Side is the shorter side, in pixels, that larger images are reduced to; see
	// [picture.Reduced]. 0 reduces none.
	Side int
	// Longest makes Side the longer side.
	Longest bool
	// Ground is what transparent pixels are laid on.
	Ground picture.Ground
}

// readingOf is the reading that a picture's options are of.
func readingOf(how picture.Options) Reading {
	return Reading{Side: how.Side, Longest: how.Longest, Ground: how.Ground}
}

// Whole is how [Set.Read] reads: nothing is reduced.
func (s *Set) Whole() Reading { return Reading{Ground: s.options.Ground} }

// Read decodes image i into dst, whole and on the ground of the set's [Options], reusing dst.Pix
// where it is large enough. An image that is in the cache is copied: dst is the caller's own. An
// image that cannot be read gives a *[BadImage], and dst is then undefined.
func (s *Set) Read(i int, dst *Image) error {
	return s.ReadAs(i, s.Whole(), dst)
}

// ReadAs is [Set.Read] in another way of reading.
func (s *Set) ReadAs(i int, r Reading, dst *Image) error {
	if err := s.check(i); err != nil {
		return err
	}
	if s.cache.get(i, r, dst) || s.cache.stored(i, r, dst) {
		return nil
	}
	if err := s.decode(i, r, dst); err != nil {
		return err
	}
	s.cache.keep(i, r, dst)
	s.cache.store(i, r, dst)
	return nil
}

// Borrow is ReadAs without a copy where the image is kept in memory: what it returns is either that,
// which must not be changed, or room.
func (s *Set) Borrow(i int, r Reading, room *Image) (*Image, error) {
	if err := s.check(i); err != nil {
		return nil, err
	}
	if m := s.cache.held(i, r); m != nil {
		return m, nil
	}
	return room, s.ReadAs(i, r, room)
}

// ReadOnce is ReadAs of an image that nobody will ask for again in this way: no cache is looked at,
// and none keeps it.
func (s *Set) ReadOnce(i int, r Reading, dst *Image) error {
	if err := s.check(i); err != nil {
		return err
	}
	return s.decode(i, r, dst)
}

// check refuses an image that the set does not have.
func (s *Set) check(i int) error {
	if i < 0 || i >= len(s.names) {
		return fmt.Errorf("image %d asked for in a set of %d", i, len(s.names))
	}
	return nil
}

// decode reads an image from where it lies.
func (s *Set) decode(i int, r Reading, dst *Image) error {
	how := picture.Options{MaxPixels: s.options.MaxPixels, Ground: r.Ground, Side: r.Side, Longest: r.Longest}
	if err := s.backend.read(i, how, dst); err != nil {
		return &BadImage{Name: s.names[i], Err: err}
	}
	reduce(dst, how)
	return nil
}

// Bytes returns how many bytes image i takes as it is stored, without looking at them. It is 0 if
// there is no such image.
func (s *Set) Bytes(i int) int64 {
	if s.check(i) != nil {
		return 0
	}
	return s.backend.size(i)
}

// Size returns the size of image i in pixels, as its header gives it: it may have to be turned
// upright.
func (s *Set) Size(i int) (width, height int, err error) {
	if err := s.check(i); err != nil {
		return 0, 0, err
	}
	if _, width, height, err = s.backend.header(i); err != nil {
		err = &BadImage{Name: s.names[i], Err: err}
	}
	return width, height, err
}

// reduce reduces an image that was not decoded from a file of its own: a drawn one, or a frame.
func reduce(m *Image, how picture.Options) {
	if w, h := how.Reduced(m.Width, m.Height); w != m.Width || h != m.Height {
		whole := *m
		*m = Image{}
		new(picture.Resizer).Reduce(m, &whole, how)
	}
}

// CacheLeft returns how many bytes of images may still be kept in memory.
func (s *Set) CacheLeft() int64 {
	if s.cache == nil {
		return 0
	}
	return max(0, s.cache.budget.Load())
}
