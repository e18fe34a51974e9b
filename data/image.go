package data

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"os"
)

// Image is a decoded picture: 8-bit RGB, three bytes a pixel, row by row from the top, no padding. A *Image is an [image.Image].
type Image struct {
	Width, Height int
	Pix           []uint8 // 3*Width*Height bytes
}

// resize sets the size and makes Pix that long; its contents are then undefined.
func (m *Image) resize(width, height int) {
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

// FromImage returns any decoded picture as an Image, as [Set.Read] would have given it: transparency is dropped, 16-bit samples keep their high
// byte. A *Image is returned as it is, not copied. An image without pixels is an error.
func FromImage(src image.Image) (m *Image, err error) {
	defer recovered(&err) // a value that lies about its bounds, or a nil pointer in the interface
	if src == nil {
		return nil, errors.New("the image is nil")
	}
	size := src.Bounds().Size()
	if size.X <= 0 || size.Y <= 0 {
		return nil, fmt.Errorf("the image has %dx%d pixels", size.X, size.Y)
	}
	if size.X > defaultMaxPixels/size.Y { // image.Uniform is two billion pixels wide
		return nil, fmt.Errorf("the image has %dx%d pixels, more than the %d allowed", size.X, size.Y, defaultMaxPixels)
	}
	if m, ok := src.(*Image); ok {
		if len(m.Pix) != 3*m.Width*m.Height {
			return nil, fmt.Errorf("the image of %dx%d holds %d bytes, not %d", m.Width, m.Height, len(m.Pix), 3*m.Width*m.Height)
		}
		return m, nil
	}
	m = &Image{}
	switch src.(type) {
	case *image.YCbCr, *image.NYCbCrA: // a part of one may begin between two samples of chroma, which decoders never give
		if src.Bounds().Min != (image.Point{}) {
			m.resize(size.X, size.Y)
			throughModel(m, src)
			return m, nil
		}
	}
	new(desk).toRGB(m, src, "")
	return m, nil
}

// Decode reads one encoded image (JPEG, PNG, GIF, BMP, WebP, TIFF) as [Set.Read] does: recognised by content, upright, 8-bit RGB. Images of
// more than 100 million pixels and files of more than 1 GiB are refused.
func Decode(r io.Reader) (*Image, error) {
	content, err := readAll(r, nil)
	if err != nil {
		return nil, err
	}
	m := &Image{}
	if err := new(desk).decode(content, defaultMaxPixels, m); err != nil {
		return nil, err
	}
	return m, nil
}

// DecodeFile is [Decode] on a file; its error names the file.
func DecodeFile(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := Decode(f)
	if err != nil {
		return nil, &BadImage{path, err}
	}
	return m, nil
}
