package data

import (
	"bytes"
	"errors"
	"fmt"
	"image/gif"
)

// maxAnimationBytes is how large an animation may get when it is unpacked, frame by frame as stored.
const maxAnimationBytes = 1 << 29

// errCut is the error of a GIF that ends before its trailer, inside of a block.
var errCut = errors.New("the gif data end too early: the file is cut short")

// gifFrames counts the frames of a GIF by walking its blocks, without unpacking them (GIF89a specification, sections 18 to 27).
func gifFrames(b []byte) (int, error) {
	const header = 13
	if len(b) < header || sniff(b) != "gif" {
		return 0, notImage(b)
	}
	table := func(flags byte) int { // bytes of a colour table
		if flags&0x80 == 0 {
			return 0
		}
		return 3 << (flags&7 + 1)
	}
	at := header + table(b[10])
	blocks := func() bool { // skips sub-blocks, up to the empty one
		for at < len(b) {
			n := int(b[at])
			at += 1 + n
			if n == 0 {
				return true
			}
		}
		return false
	}
	for frames := 0; ; {
		if at >= len(b) {
			return frames, errCut
		}
		switch b[at] {
		case 0x3b: // trailer
			return frames, nil
		case 0x21: // extension: its label, then sub-blocks
			at += 2
		case 0x2c: // image: place, size, flags, colour table, code size
			if at+10 > len(b) {
				return frames, errCut
			}
			frames++
			at += 10 + table(b[at+9]) + 1
		case 0: // stray zeros, which decoders let pass
			at++
			continue
		default:
			return frames, fmt.Errorf("the gif data are damaged: no block begins with the byte %#02x", b[at])
		}
		if !blocks() {
			return frames, errCut
		}
	}
}

// animate composes the frames of a GIF, each as one sees it: what it does not cover shows the frames before it, as far as their disposal left them. Places that
// nothing has covered are black. Each frame is lent to see until it returns; false ends the walk.
func animate(content []byte, maxPixels int, see func(k int, m *Image) bool) (err error) {
	defer recovered(&err)
	_, width, height, err := readHeader(content, maxPixels)
	if err != nil {
		return err
	}
	frames, err := gifFrames(content)
	if err != nil {
		return err
	}
	if int64(frames)*int64(width)*int64(height) > maxAnimationBytes {
		return fmt.Errorf("its %d frames of %dx%d pixels are more than the %d MiB that an animation may unpack to; unpack it to a folder of frames", frames, width, height, maxAnimationBytes>>20)
	}
	all, err := gif.DecodeAll(bytes.NewReader(content))
	if err != nil {
		return damaged(find(content), err)
	}
	var screen, before Image
	screen.resize(width, height)
	clear(screen.Pix)
	for k, frame := range all.Image {
		disposal := all.Disposal[k]
		if disposal == gif.DisposalPrevious {
			before.resize(width, height)
			copy(before.Pix, screen.Pix)
		}
		var table [256][3]uint8
		var opaque [256]bool
		for i, c := range frame.Palette {
			r, g, b, a := c.RGBA()
			table[i&0xff], opaque[i&0xff] = [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}, a != 0
		}
		area := frame.Rect
		if area.Min.X < 0 || area.Min.Y < 0 || area.Max.X > width || area.Max.Y > height {
			return fmt.Errorf("frame %d of the gif lies outside of its %dx%d pixels", k, width, height)
		}
		for y := area.Min.Y; y < area.Max.Y; y++ {
			row := screen.Pix[3*(y*width+area.Min.X):]
			for x, i := range frame.Pix[(y-area.Min.Y)*frame.Stride:][:area.Dx()] {
				if opaque[i] {
					copy(row[3*x:3*x+3], table[i][:])
				}
			}
		}
		if !see(k, &screen) {
			return nil
		}
		switch disposal {
		case gif.DisposalPrevious:
			screen, before = before, screen
		case gif.DisposalBackground: // to nothing, as everybody does, rather than to the background colour
			for y := area.Min.Y; y < area.Max.Y; y++ {
				clear(screen.Pix[3*(y*width+area.Min.X):][:3*area.Dx()])
			}
		}
	}
	return nil
}
