package data

import (
	"bytes"
	"encoding/binary"
)

// orientation returns the EXIF orientation of an encoded image, 1 (upright) to 8, as CIPA DC-008 section
// 4.6.4 defines it; 1 when there is none or it makes no sense. It looks where each format keeps it: JPEG's
// APP1 segment, PNG's eXIf chunk, WebP's EXIF chunk, TIFF's first directory.
func orientation(content []byte, format string) int {
	switch format {
	case "jpeg":
		return jpegOrientation(content)
	case "png":
		return chunkOrientation(content, 8, binary.BigEndian, 0, 4, 4, "eXIf")
	case "webp":
		return chunkOrientation(content, 12, binary.LittleEndian, 4, 0, 0, "EXIF")
	case "tiff":
		return tiffOrientation(content)
	}
	return 1
}

// jpegOrientation walks the segments before the first scan.
func jpegOrientation(b []byte) int {
	for at := 2; at+4 <= len(b) && b[at] == 0xff; {
		marker := b[at+1]
		if marker == 0xff { // fill byte
			at++
			continue
		}
		if marker == 0xd9 || marker == 0xda {
			break
		}
		end := at + 2 + int(binary.BigEndian.Uint16(b[at+2:]))
		if end < at+4 || end > len(b) {
			break
		}
		if body, ok := bytes.CutPrefix(b[at+4:end], []byte("Exif\x00\x00")); ok && marker == 0xe1 {
			return tiffOrientation(body)
		}
		at = end
	}
	return 1
}

// chunkOrientation walks PNG or RIFF chunks from offset at: a length and a four-letter kind at the given
// places of an eight-byte head, then the body and a trailer; RIFF pads bodies to an even length.
func chunkOrientation(b []byte, at int, order binary.ByteOrder, lengthAt, kindAt, trailer int, kind string) int {
	for at+8 <= len(b) {
		length := int64(order.Uint32(b[at+lengthAt:]))
		if length > int64(len(b)-at-8) {
			break
		}
		body := b[at+8 : at+8+int(length)]
		if string(b[at+kindAt:at+kindAt+4]) == kind {
			return tiffOrientation(bytes.TrimPrefix(body, []byte("Exif\x00\x00")))
		}
		at += 8 + int(length) + trailer
		if trailer == 0 {
			at += int(length & 1)
		}
	}
	return 1
}

// tiffOrientation reads tag 0x0112 of the first directory of a TIFF structure.
func tiffOrientation(b []byte) int {
	if len(b) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 1
	}
	count := int64(order.Uint16(b[at:]))
	for i := range count {
		field := at + 2 + 12*i
		if field+12 > int64(len(b)) {
			break
		}
		const tag, short = 0x0112, 3
		if order.Uint16(b[field:]) != tag {
			continue
		}
		value := int(order.Uint16(b[field+8:]))
		if order.Uint16(b[field+2:]) == short && value >= 1 && value <= 8 {
			return value
		}
		return 1
	}
	return 1
}

// turn writes src into dst as an EXIF orientation of 2 to 8 says that it is to be seen.
func turn(dst, src *Image, orientation int) {
	w, h := src.Width, src.Height
	if orientation >= 5 {
		dst.resize(h, w)
	} else {
		dst.resize(w, h)
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
