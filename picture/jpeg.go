package picture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
)

// jpegSegments calls see with each marker segment before the first scan until see returns false.
// Bytes that are no marker are passed over.
func jpegSegments(b []byte, see func(marker byte, body []byte) bool) {
	for at := 2; at+4 <= len(b); {
		if b[at] != 0xff {
			at++
			continue
		}
		marker := b[at+1]
		switch {
		case marker == 0xff || marker == 0: // a fill byte, or no marker
			at++
			continue
		case marker == 0x01 || marker >= 0xd0 && marker <= 0xd8: // alone, without a length
			at += 2
			continue
		case marker == 0xd9 || marker == 0xda:
			return
		}
		end := at + 2 + int(binary.BigEndian.Uint16(b[at+2:]))
		if end < at+4 || end > len(b) || !see(marker, b[at+4:end]) {
			return
		}
		at = end
	}
}

// frameKinds name the processes (ITU-T T.81 table B.1) that are not read.
var frameKinds = map[byte]string{
	0xc3: "lossless coding", 0xc5: "hierarchical coding", 0xc6: "hierarchical coding", 0xc7: "hierarchical coding",
	0xc9: "arithmetic coding", 0xca: "arithmetic coding", 0xcb: "lossless coding", 0xcd: "hierarchical coding",
	0xce: "hierarchical coding", 0xcf: "hierarchical coding",
}

// jpegSize reads the frame header.
func jpegSize(content []byte) (width, height int, err error) {
	err = errShort
	jpegSegments(content, func(marker byte, body []byte) bool {
		if marker < 0xc0 || marker > 0xcf || marker == 0xc4 || marker == 0xc8 || marker == 0xcc {
			return true
		}
		if len(body) < 6 {
			return false
		}
		height, width = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
		err = nil
		if kind, known := frameKinds[marker]; known {
			err = &UnsupportedError{Format: "jpeg", Kind: kind}
		} else if body[0] != 8 {
			err = &UnsupportedError{Format: "jpeg", Kind: fmt.Sprintf("%d bits a sample", body[0])}
		}
		return false
	})
	return width, height, err
}

// jpegOrientation looks into the first EXIF segment.
func jpegOrientation(content []byte) (o int) {
	o = 1
	jpegSegments(content, func(marker byte, body []byte) bool {
		if marker == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) {
			o, _ = exifOrientation(body)
			return false
		}
		return true
	})
	return o
}

func (d *Decoder) decodeJPEG(content []byte, dst *Image) (orientation int, err error) {
	m, err := jpeg.Decode(bytes.NewReader(content))
	if err != nil {
		return 0, err
	}
	if err := sameSize(m, dst); err != nil {
		return 0, err
	}
	d.fromImage(dst, m, d.options.Ground)
	return jpegOrientation(content), nil
}

// sameSize checks that a library found what the header says.
func sameSize(m image.Image, dst *Image) error {
	if size := m.Bounds().Size(); size.X != dst.Width || size.Y != dst.Height {
		return fmt.Errorf("the decoder gave %v pixels after a header of %dx%d", size, dst.Width, dst.Height)
	}
	return nil
}
