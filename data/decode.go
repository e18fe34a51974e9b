package data

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"unicode"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// codec is one image format.
type codec struct {
	name   string
	magics []string // a file starts with one of these; '?' stands for any byte
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

// codecs are the formats understood. They are called by name and not through image.Decode, whose registry is
// shared with whatever else the program imports.
var codecs = [...]codec{
	{"jpeg", []string{"\xff\xd8"}, jpeg.DecodeConfig, jpeg.Decode},
	{"png", []string{"\x89PNG\r\n\x1a\n"}, png.DecodeConfig, png.Decode},
	{"gif", []string{"GIF87a", "GIF89a"}, gif.DecodeConfig, gif.Decode},
	{"webp", []string{"RIFF????WEBPVP8"}, webp.DecodeConfig, webp.Decode},
	{"tiff", []string{"II*\x00", "MM\x00*"}, tiff.DecodeConfig, tiff.Decode},
	{"bmp", []string{"BM????\x00\x00\x00\x00"}, bmp.DecodeConfig, bmp.Decode},
}

// find returns the codec for an encoded image, nil if there is none.
func find(content []byte) *codec {
	for i := range codecs {
		for _, magic := range codecs[i].magics {
			if matches(content, magic) {
				return &codecs[i]
			}
		}
	}
	return nil
}

func matches(content []byte, magic string) bool {
	if len(content) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != content[i] {
			return false
		}
	}
	return true
}

// sniff returns the name of the format that content is in, "" if it is no image.
func sniff(content []byte) string {
	if c := find(content); c != nil {
		return c.name
	}
	return ""
}

// notImage says what a file is instead of an image.
func notImage(content []byte) error {
	if len(content) == 0 {
		return errors.New("the file is empty (0 bytes)")
	}
	head := content[:min(len(content), 64)]
	text := func(r rune) bool { return unicode.IsPrint(r) || unicode.IsSpace(r) }
	if strings.IndexFunc(string(head[:max(1, len(head)-3)]), func(r rune) bool { return !text(r) }) < 0 {
		return fmt.Errorf("it is text (%.20q), not an image", head)
	}
	return fmt.Errorf("its first bytes (% x) are those of no known image format", head[:min(len(head), 8)])
}

// readHeader returns the format and the size in pixels, as stored, of an encoded image, or why it is not
// acceptable.
func readHeader(content []byte, maxPixels int) (format string, width, height int, err error) {
	defer recovered(&err)
	c := find(content)
	if c == nil {
		return "", 0, 0, notImage(content)
	}
	config, err := c.config(bytes.NewReader(content))
	if err != nil {
		return "", 0, 0, damaged(c, err)
	}
	if config.Width <= 0 || config.Height <= 0 {
		return "", 0, 0, fmt.Errorf("the %s header gives a size of %dx%d", c.name, config.Width, config.Height)
	}
	if config.Width > maxPixels/config.Height {
		return "", 0, 0, fmt.Errorf("the %s header gives %dx%d pixels, more than the %d allowed", c.name, config.Width, config.Height, maxPixels)
	}
	return c.name, config.Width, config.Height, nil
}

// damaged words a decoder's error.
func damaged(c *codec, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, jpeg.FormatError("short Huffman data")) {
		return fmt.Errorf("the %s data end too early: the file is cut short", c.name)
	}
	return fmt.Errorf("the %s data are damaged or of a kind not supported (%w)", c.name, err)
}

// recovered turns a decoder's panic into an error: one hostile file must not end a run of days.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the decoder failed on it (%v)", p)
	}
}

// desk is the scratch memory of one decoding at a time.
type desk struct {
	file   []byte  // the encoded image
	stored Image   // the image before it is turned upright
	cb, cr []uint8 // one row of chroma at full width
}

// decode turns an encoded image into upright RGB.
func (d *desk) decode(content []byte, maxPixels int, dst *Image) (err error) {
	defer recovered(&err)
	format, width, height, err := readHeader(content, maxPixels)
	if err != nil {
		return err
	}
	c := find(content)
	img, err := c.decode(bytes.NewReader(content))
	if err != nil {
		return damaged(c, err)
	}
	size := img.Bounds().Size()
	if size.X <= 0 || size.Y <= 0 || size.X > maxPixels/size.Y {
		return fmt.Errorf("the %s decoder gave %dx%d pixels after a header of %dx%d", format, size.X, size.Y, width, height)
	}
	upright := orientation(content, format)
	target := dst
	if upright != 1 {
		target = &d.stored
	}
	if format == "gif" && size != (image.Point{X: width, Y: height}) {
		// The first frame covers a part of the screen; the rest of it is black.
		frame := Image{}
		d.toRGB(&frame, img, format)
		target.resize(width, height)
		clear(target.Pix)
		at := img.Bounds().Min
		for y := range frame.Height {
			copy(target.Pix[3*((at.Y+y)*width+at.X):], frame.Pix[3*y*frame.Width:][:3*frame.Width])
		}
	} else {
		d.toRGB(target, img, format)
	}
	if upright != 1 {
		turn(dst, &d.stored, upright)
	}
	return nil
}
