package picture

import (
	"bytes"
	"encoding/hex"
	"regexp"
	"strings"
)

// tagOrientation is EXIF's and TIFF's Orientation (CIPA DC-008 section 4.6.4): 1 is upright, 2 to 8
// are turned or mirrored.
const tagOrientation = 0x0112

// orientationIn returns the orientation in a directory, 1 when there is none or it makes no sense.
func orientationIn(d *directory) int {
	if o := d.int(tagOrientation, 1); o >= 1 && o <= 8 {
		return int(o)
	}
	return 1
}

// exifOrientation returns the orientation in EXIF data, with or without their "Exif" mark; found is
// false if they hold none.
func exifOrientation(b []byte) (o int, found bool) {
	for {
		rest, ok := bytes.CutPrefix(b, []byte("Exif\x00\x00"))
		if !ok {
			break
		}
		b = rest // some writers put the mark twice
	}
	d, err := readDirectory(b)
	if err != nil || !d.has(tagOrientation) {
		return 1, false
	}
	return orientationIn(d), true
}

var xmpPattern = regexp.MustCompile(`tiff:Orientation(?:="|>)([0-9])`)

// xmpOrientation returns the orientation in an XMP packet, 1 if there is none.
func xmpOrientation(text []byte) int {
	if m := xmpPattern.FindSubmatch(text); m != nil && m[1][0] >= '1' && m[1][0] <= '8' {
		return int(m[1][0] - '0')
	}
	return 1
}

// rawProfile reads EXIF data from the text that ImageMagick writes into PNGs: a name, a length,
// then hexadecimal in lines.
func rawProfile(text string) []byte {
	lines := strings.Split(strings.TrimLeft(text, "\n"), "\n")
	if len(lines) < 3 {
		return nil
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(strings.Join(lines[2:], "")), ""))
	if err != nil {
		return nil
	}
	return b
}

// turn writes src into dst as an orientation of 2 to 8 says that it is to be seen.
func turn(dst, src *Image, orientation int) {
	w, h := src.Width, src.Height
	if orientation >= 5 {
		dst.Resize(h, w)
	} else {
		dst.Resize(w, h)
	}
	// The source pixel of dst's (x, y) is at start + x*across + y*down.
	var start, across, down int
	switch orientation {
	case 2: // mirrored left to right
		start, across, down = w-1, -1, w
	case 3: // upside down
		start, across, down = w*h-1, -1, -w
	case 4: // mirrored top to bottom
		start, across, down = w*(h-1), 1, -w
	case 5: // transposed
		start, across, down = 0, w, 1
	case 6: // to be turned clockwise
		start, across, down = w*(h-1), -w, 1
	case 7: // transposed along the other diagonal
		start, across, down = w*h-1, -w, -1
	case 8: // to be turned counter-clockwise
		start, across, down = w-1, w, -1
	default:
		start, across, down = 0, 1, w
	}
	out := dst.Pix
	for y := range dst.Height {
		at := start + y*down
		for range dst.Width {
			copy(out[:3], src.Pix[3*at:3*at+3])
			out = out[3:]
			at += across
		}
	}
}
