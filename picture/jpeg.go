package picture

import (
	"bytes"
	"encoding/binary"
	"errors"

	"moco/internal/jpeg"
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

// jpegSize reads the frame header.
func jpegSize(content []byte) (width, height int, err error) {
	c, err := jpeg.DecodeConfig(content)
	return c.Width, c.Height, jpegError(err)
}

// jpegError gives an error of the decoder this package's words.
func jpegError(err error) error {
	var unsupported jpeg.UnsupportedError
	var format jpeg.FormatError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jpeg.ErrTruncated):
		return errShort
	case errors.As(err, &unsupported):
		return &UnsupportedError{Format: "jpeg", Kind: string(unsupported)}
	case errors.As(err, &format):
		return errors.New(string(format))
	}
	return err
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

// decodeJPEG decodes a picture at the smallest scale that Options allow.
func (d *Decoder) decodeJPEG(content []byte, dst *Image) (orientation int, err error) {
	m, err := jpeg.Decode(content, jpeg.Options{
		MinSide: d.needed, MaxPixels: d.options.maxPixels(), Pix: dst.Pix[:cap(dst.Pix)]})
	if err != nil {
		return 0, jpegError(err)
	}
	*dst = Image{Width: m.Width, Height: m.Height, Pix: m.Pix}
	return jpegOrientation(content), nil
}
