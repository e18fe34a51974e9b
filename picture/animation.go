package picture

import (
	"errors"
	"fmt"
)

// maxAnimationPixels is how many pixels the frames of an animation may have together.
const maxAnimationPixels = 1 << 29

// maxFrames is how many frames an animation may have.
const maxFrames = 1 << 20

// Frames counts the frames of a GIF by walking its blocks, without unpacking them; a picture of
// another format counts as one frame. A GIF that ends within a frame is an error, beside the number
// of frames that begin before its end.
func Frames(content []byte) (int, error) {
	if err := Check(content); err != nil {
		return 0, err
	}
	if sniff(content) != "gif" {
		return 1, nil
	}
	f, err := parseGIF(content)
	if err != nil {
		return 0, damaged("gif", err)
	}
	for frames := 0; ; frames++ {
		frame, err := f.next()
		if err != nil {
			return frames, damaged("gif", err)
		}
		if frame == nil {
			return frames, nil
		}
	}
}

// Animate composes the frames of a GIF, each as one sees it: what it does not cover shows the
// frames before it, as far as their disposal left them, and at last the ground. All have the same
// size. Each frame is lent to see until it returns; false ends the walk.
func (d *Decoder) Animate(content []byte, o Options, see func(k int, m *Image) bool) (err error) {
	defer recovered(&err)
	if h, err := ReadHeader(content, o); err != nil {
		return err
	} else if h.Format != "gif" {
		return fmt.Errorf("a %s is no animation", h.Format)
	}
	frames, err := gifAll(content)
	if err != nil {
		return damaged("gif", err)
	}
	f, err := parseGIF(content)
	if err != nil {
		return damaged("gif", err)
	}
	for _, frame := range frames {
		f.enlarge(frame)
	}
	if limit := o.maxPixels(); f.width > limit/f.height {
		return &TooLargeError{Format: "gif", Width: f.width, Height: f.height, MaxPixels: limit}
	}
	if int64(len(frames))*int64(f.width)*int64(f.height) > maxAnimationPixels {
		return fmt.Errorf("its %d frames of %dx%d pixels are more than the %d million pixels that an animation may "+
			"unpack to; unpack it to a folder of frames", len(frames), f.width, f.height, maxAnimationPixels/1_000_000)
	}
	d.options = o
	s := newScreen(f, frames[0])
	var m Image
	m.Resize(f.width, f.height)
	for k, frame := range frames {
		indices, err := d.gifIndices(f, frame)
		if err != nil {
			return damaged("gif", err)
		}
		s.draw(frame, indices, f.colours(frame))
		o.Ground.layRGBA(m.Pix, s.pix)
		if !see(k, &m) {
			return nil
		}
		s.dispose(frame)
	}
	return nil
}

// gifAll returns all frames.
func gifAll(content []byte) ([]*gifFrame, error) {
	f, err := parseGIF(content)
	if err != nil {
		return nil, err
	}
	var frames []*gifFrame
	for {
		frame, err := f.next()
		if err != nil {
			return nil, err
		}
		if frame == nil {
			break
		}
		if frames = append(frames, frame); len(frames) > maxFrames {
			return nil, fmt.Errorf("it holds more than %d frames", maxFrames)
		}
	}
	if len(frames) == 0 {
		return nil, errors.New("it holds no frame")
	}
	return frames, nil
}

// screen is what the frames of a GIF are drawn on.
type screen struct {
	width  int
	pix    []uint8  // r, g, b, a
	before []uint8  // what was there before a frame that is to be taken off again
	empty  [4]uint8 // of a place that nothing covers
}

// newScreen begins as the first frame alone would be seen: transparent, or where it has no
// transparency its index 0.
func newScreen(f *gifFile, first *gifFrame) *screen {
	s := &screen{width: f.width, pix: make([]uint8, 4*f.width*f.height)}
	s.empty = f.colours(first)[max(first.transparent, 0)]
	for i := range f.width * f.height {
		copy(s.pix[4*i:], s.empty[:])
	}
	return s
}

// How a frame is disposed of (section 23): its place is cleared, or shows again what was there
// before.
const (
	disposeClear  = 2
	disposeBefore = 3
)

// draw lays a frame over the screen.
func (s *screen) draw(frame *gifFrame, indices []byte, table *colourTable) {
	if frame.disposal == disposeBefore {
		s.before = append(s.before[:0], s.pix...)
	}
	for y := range frame.height {
		row := s.pix[4*((frame.y+y)*s.width+frame.x):]
		for x, i := range indices[y*frame.width:][:frame.width] {
			if c := &table[i]; c[3] != 0 {
				copy(row[4*x:4*x+4], c[:])
			}
		}
	}
}

// dispose clears a frame's place to nothing, as everybody does, rather than to the background
// colour.
func (s *screen) dispose(frame *gifFrame) {
	switch frame.disposal {
	case disposeBefore:
		copy(s.pix, s.before)
	case disposeClear:
		clear := s.empty
		clear[3] = 0
		for y := range frame.height {
			row := s.pix[4*((frame.y+y)*s.width+frame.x):]
			for x := range frame.width {
				copy(row[4*x:4*x+4], clear[:])
			}
		}
	}
}
