// Package picture turns the bytes of one picture file into upright 8-bit RGB.
//
// The format is told by the content, never by a name. JPEG, PNG, GIF, WebP, TIFF and BMP are read,
// HEIC and AVIF by builds with the tags heic and nodynamic; [Sniff] knows many more by name, so
// that a program can say what it left out. Orientation (EXIF, XMP) is obeyed, transparent pixels
// are laid on a [Ground], 16-bit samples keep their high byte. Values are those of Pillow's
// ImageOps.exif_transpose(im).convert("RGB"), and so is the leniency: data after the picture, a
// missing end and the like are passed over. docs/use.md lists the kinds that are not read.
//
// What cannot be read is an error that says what it is: [UnsupportedError], [DamagedError],
// [TooLargeError] or [NotPictureError].
package picture

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"slices"
)

// Version is raised whenever the pixels of any picture change, so that those kept of an older version
// are not taken for those of today.
const Version = 1

// DefaultMaxPixels is the largest picture that is read unless [Options] say otherwise.
const DefaultMaxPixels = 100_000_000

// maxFileBytes is the longest file that Decode reads.
const maxFileBytes = 1 << 30

// Image is a decoded picture: 8-bit RGB, three bytes a pixel, row by row from the top, no padding.
// A *Image is an [image.Image].
type Image struct {
	Width, Height int
	Pix           []uint8 // 3*Width*Height bytes
}

// Resize sets the size in pixels and makes Pix that long, keeping its memory where it is large
// enough. The pixels are then undefined.
func (m *Image) Resize(width, height int) {
	n := 3 * width * height
	if cap(m.Pix) < n {
		m.Pix = make([]uint8, n)
	}
	m.Width, m.Height, m.Pix = width, height, m.Pix[:n]
}

// ColorModel is that of opaque 8-bit colours.
func (m *Image) ColorModel() color.Model { return color.RGBAModel }

// Bounds begin at the origin.
func (m *Image) Bounds() image.Rectangle { return image.Rect(0, 0, m.Width, m.Height) }

// At returns the colour of a pixel, opaque; outside of the image it is transparent black.
func (m *Image) At(x, y int) color.Color {
	if x < 0 || y < 0 || x >= m.Width || y >= m.Height {
		return color.RGBA{}
	}
	p := m.Pix[3*(y*m.Width+x):]
	return color.RGBA{p[0], p[1], p[2], 255}
}

// row returns row y.
func (m *Image) row(y int) []uint8 { return m.Pix[3*y*m.Width:][:3*m.Width] }

// Decode reads one encoded picture with default [Options]: upright, on white.
func Decode(r io.Reader) (*Image, error) {
	content, err := readAll(r)
	if err != nil {
		return nil, err
	}
	m := &Image{}
	if err := new(Decoder).Decode(content, Options{}, m); err != nil {
		return nil, err
	}
	return m, nil
}

// readAll reads r to its end, but no more than maxFileBytes.
func readAll(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = fmt.Errorf("more than the %d MiB that one file may have", maxFileBytes>>20)
	}
	return content, err
}

// FromImage returns any decoded picture as an Image, as [Decoder.Decode] with that ground would
// have given it. A *Image is returned as it is, not copied. An image without pixels, or of more
// than [DefaultMaxPixels], is an error.
func FromImage(src image.Image, ground Ground) (m *Image, err error) {
	defer recovered(&err) // a value that lies about its bounds, or a nil pointer in the interface
	if src == nil {
		return nil, errors.New("the image is nil")
	}
	size := src.Bounds().Size()
	if size.X <= 0 || size.Y <= 0 {
		return nil, fmt.Errorf("the image has %dx%d pixels", size.X, size.Y)
	}
	if size.X > DefaultMaxPixels/size.Y { // image.Uniform is two billion pixels wide
		return nil, &TooLargeError{Width: size.X, Height: size.Y, MaxPixels: DefaultMaxPixels}
	}
	if m, ok := src.(*Image); ok {
		if len(m.Pix) != 3*m.Width*m.Height {
			return nil, fmt.Errorf("the image of %dx%d holds %d bytes, not %d",
				m.Width, m.Height, len(m.Pix), 3*m.Width*m.Height)
		}
		return m, nil
	}
	m = &Image{}
	m.Resize(size.X, size.Y)
	switch src.(type) {
	case *image.YCbCr:
		// A part of one may begin between two samples of chroma, which decoders never give.
		if src.Bounds().Min != (image.Point{}) {
			throughModel(m, src, ground)
			return m, nil
		}
	}
	new(Decoder).fromImage(m, src, ground)
	return m, nil
}

// grown returns a slice of n bytes, in b if it fits. The bytes are undefined.
func grown(b []byte, n int) []byte { return slices.Grow(b[:0], n)[:n] }
