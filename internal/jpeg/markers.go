package jpeg

import (
	"bytes"
	"encoding/binary"
)

// Markers of ITU-T T.81, table B.1, without their first byte 0xFF.
const (
	markerSOF0  = 0xC0
	markerSOF15 = 0xCF
	markerDHT   = 0xC4
	markerDAC   = 0xCC
	markerRST0  = 0xD0
	markerRST7  = 0xD7
	markerSOI   = 0xD8
	markerEOI   = 0xD9
	markerSOS   = 0xDA
	markerDQT   = 0xDB
	markerDNL   = 0xDC
	markerDRI   = 0xDD
	markerAPP0  = 0xE0
	markerAPP14 = 0xEE
	markerAPP15 = 0xEF
	markerCOM   = 0xFE
	markerTEM   = 0x01
)

// decoder holds what the marker segments say, and where the reader stands.
type decoder struct {
	data []byte
	pos  int
	opt  Options

	quant   [4]*[64]uint16 // in natural order
	huffman [2][4]*huffman // class (0: DC, 1: AC) and destination
	cond    conditioning   // of arithmetic coding
	restart int            // restart interval in MCUs, 0: none

	jfif      bool
	adobe     bool
	transform byte // Adobe's colour transform

	frame frame
	bits  bitReader

	kernels  *kernels
	skipped  bool // a scan was passed over
	thorough bool // none may be
}

// start checks that the data begin as a JPEG does.
func (d *decoder) start() error {
	if len(d.data) < 3 || d.data[0] != 0xFF || d.data[1] != markerSOI || d.data[2] != 0xFF {
		return FormatError("the file does not begin with an SOI marker")
	}
	d.pos = 2
	return nil
}

// nextMarker skips to the next marker, over whatever lies before it.
func (d *decoder) nextMarker() (byte, error) {
	marker, next := findMarker(d.data, d.pos)
	d.pos = next
	if marker == 0 {
		return 0, ErrTruncated
	}
	return marker, nil
}

// findMarker returns the first marker at or behind pos, and the position behind it. The marker is 0
// where the data end first. A zero after 0xFF is a stuffed byte; further 0xFF are padding.
func findMarker(data []byte, pos int) (byte, int) {
	for pos < len(data) {
		next := bytes.IndexByte(data[pos:], 0xFF)
		if next < 0 || pos+next+1 >= len(data) {
			break
		}
		pos += next + 1
		switch code := data[pos]; code {
		case 0:
			pos++
		case 0xFF:
		default:
			return code, pos + 1
		}
	}
	return 0, len(data)
}

// body returns the content of the segment that starts at d.pos, and steps over it.
func (d *decoder) body() ([]byte, error) {
	if d.pos+2 > len(d.data) {
		return nil, ErrTruncated
	}
	n := int(binary.BigEndian.Uint16(d.data[d.pos:]))
	if n < 2 {
		return nil, FormatError("a segment is shorter than its own length")
	}
	if d.pos+n > len(d.data) {
		return nil, ErrTruncated
	}
	b := d.data[d.pos+2 : d.pos+n]
	d.pos += n
	return b, nil
}

// segment reads the segment of any marker but SOS and EOI.
func (d *decoder) segment(marker byte) error {
	if marker == markerTEM || marker >= markerRST0 && marker <= markerRST7 {
		return nil // these have no body
	}
	if marker == markerSOI {
		return FormatError("a second SOI marker")
	}
	if marker < markerSOF0 || marker > markerAPP15 && marker != markerCOM {
		return FormatError("an unknown marker")
	}
	b, err := d.body()
	if err != nil {
		return err
	}
	switch {
	case marker == markerDHT:
		return d.readHuffman(b)
	case marker == markerDAC:
		return d.cond.read(b)
	case marker == markerDQT:
		return d.readQuant(b)
	case marker == markerDRI:
		if len(b) != 2 {
			return FormatError("a DRI segment of a wrong length")
		}
		d.restart = int(binary.BigEndian.Uint16(b))
	case marker == markerAPP0:
		d.jfif = d.jfif || len(b) >= 14 && string(b[:5]) == "JFIF\x00"
	case marker == markerAPP14:
		if len(b) >= 12 && string(b[:5]) == "Adobe" {
			d.adobe, d.transform = true, b[11]
		}
	case marker >= markerSOF0 && marker <= markerSOF15:
		return d.readFrame(marker, b)
	}
	return nil
}

func (d *decoder) readQuant(b []byte) error {
	for len(b) > 0 {
		wide, to := b[0]>>4 != 0, b[0]&15
		b = b[1:]
		size := 64
		if wide {
			size = 128
		}
		if to > 3 || len(b) < size {
			return FormatError("a broken quantization table")
		}
		table := new([64]uint16)
		for i := range 64 {
			if wide {
				table[zigzag[i]] = binary.BigEndian.Uint16(b[2*i:])
			} else {
				table[zigzag[i]] = uint16(b[i])
			}
		}
		d.quant[to] = table
		b = b[size:]
	}
	return nil
}

func (d *decoder) readHuffman(b []byte) error {
	for len(b) > 0 {
		if len(b) < 17 {
			return FormatError("a broken Huffman table")
		}
		class, to := b[0]>>4, b[0]&15
		n := 0
		for _, count := range b[1:17] {
			n += int(count)
		}
		if class > 1 || to > 3 || n > 256 || len(b) < 17+n {
			return FormatError("a broken Huffman table")
		}
		d.huffman[class][to] = codeOf(class, b[1:17], b[17:17+n])
		b = b[17+n:]
	}
	return nil
}

// zigzag maps the order of coefficients in a file to their place in a block. Damaged data can count
// up to 15 beyond the last coefficient; those all stand for the last place.
var zigzag = [80]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
	63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
}
