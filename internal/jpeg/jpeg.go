// Package jpeg decodes JPEG pictures to interleaved 8-bit RGB, at full size or reduced on the way.
//
// At full size the pixels are those that Pillow gives, to the last bit: libjpeg-turbo's accurate
// integer inverse DCT, its smooth upsampling of chroma, its rounding of colours, its estimate of
// coefficients that a progressive file leaves out. A reduced picture (1/2, 1/4 or 1/8) comes from a
// smaller inverse DCT and gives the pixels of Pillow's draft mode.
//
// The decoder reads baseline, extended and progressive pictures of 8 bits, with Huffman or
// arithmetic coding, in grey, Y'CbCr, RGB, CMYK and YCCK. It forgives what Pillow forgives: bytes
// between markers, a missing or misplaced restart marker, codes that no table has, an end of image
// that comes too early. A file that stops before its end-of-image marker is refused, unless it has
// one scan and every block of it was there.
package jpeg

import (
	"errors"
	"fmt"
)

// Options say how much of a picture is wanted. The zero value is the whole picture.
type Options struct {
	// MinSide is the shorter side, in pixels, that the caller needs. The picture is reduced to the
	// smallest of 1/2, 1/4 and 1/8 whose shorter side is at least that. Zero asks for full size.
	MinSide int
	// MaxPixels refuses pictures of more pixels (at full size). Zero means 1<<28. Besides its
	// pixels, a picture of several scans takes up to 6 bytes a pixel (8 with four components) while
	// it is decoded, at any scale but for what 1/8 saves; one of a single scan next to nothing.
	MaxPixels int
	// Pix is memory for the pixels, which is used if it is large enough: fresh memory for a large
	// picture costs a good part of the time that decoding takes.
	Pix []byte
	// Path names a kernel path, one of Paths; all give the same pixels. Empty: the fastest.
	Path string
}

// Config is what a file's header says.
type Config struct {
	Width, Height int // in pixels, as stored
	Components    int // 1: grey, 3: colour, 4: CMYK or YCCK
	Progressive   bool
}

// Image is a decoded picture: Pix holds Height rows of Width pixels, three bytes each, without
// gaps.
type Image struct {
	Width, Height int
	Scale         int // 1, 2, 4 or 8: the stored size divided by this, rounded up, is the size above
	Pix           []byte
}

// ErrTruncated is the error for files that end before their picture does.
var ErrTruncated = errors.New("jpeg: the file ends before its picture does")

// FormatError says how a file breaks the format.
type FormatError string

func (e FormatError) Error() string { return "jpeg: " + string(e) }

// UnsupportedError names a kind of JPEG that this package does not read.
type UnsupportedError string

func (e UnsupportedError) Error() string { return "jpeg: " + string(e) + " is not supported" }

// SizeError is the error for pictures larger than allowed, or than their file can hold.
type SizeError struct {
	Width, Height int
	Reason        string
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("jpeg: a picture of %dx%d pixels is %s", e.Width, e.Height, e.Reason)
}

// DecodeConfig reads a file's header. It stops at the frame header and allocates next to nothing.
func DecodeConfig(data []byte) (Config, error) {
	d := decoder{data: data}
	if err := d.start(); err != nil {
		return Config{}, err
	}
	for !d.frame.seen {
		marker, err := d.nextMarker()
		if err != nil {
			return Config{}, err
		}
		if marker == markerSOS || marker == markerEOI {
			return Config{}, FormatError("there is no frame header before the picture")
		}
		if err := d.segment(marker); err != nil {
			return Config{}, err
		}
	}
	f := &d.frame
	return Config{Width: f.width, Height: f.height, Components: len(f.comps), Progressive: f.progressive}, nil
}

// Decode reads a picture. Errors are FormatError, UnsupportedError, *SizeError or ErrTruncated.
func Decode(data []byte, opt Options) (*Image, error) {
	if opt.MaxPixels <= 0 {
		opt.MaxPixels = 1 << 28
	}
	d := decoder{data: data, opt: opt}
	return d.decode()
}

// scale returns the divisor for a picture's size.
func (o Options) scale(width, height int) int {
	if o.MinSide <= 0 {
		return 1
	}
	for scale := 8; scale > 1; scale /= 2 {
		if min(width, height)/scale >= o.MinSide {
			return scale
		}
	}
	return 1
}
