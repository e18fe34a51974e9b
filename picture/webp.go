package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"

	"golang.org/x/image/webp"
)

// webpFile is a WebP (its container specification) taken apart: a still picture, or the first of an
// animation.
type webpFile struct {
	width, height int // of the canvas
	x, y          int // where the picture lies on it
	alpha         bool
	opacity       []byte // the ALPH chunk, if any
	kind          string // "VP8 " (lossy) or "VP8L"
	data          []byte
	exif          []byte
}

// riffChunks calls see with each chunk from offset at until it returns false. Bodies are padded to
// an even length.
func riffChunks(b []byte, at int, see func(kind string, body []byte) bool) {
	for at+8 <= len(b) {
		n := int64(binary.LittleEndian.Uint32(b[at+4:]))
		left := int64(len(b) - at - 8)
		if !see(string(b[at:at+4]), b[at+8:][:min(n, left)]) || n > left {
			return
		}
		at += 8 + int(n+n&1)
	}
}

// uint24 reads three bytes, the lowest first.
func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// parseWebP finds the first picture.
func parseWebP(b []byte) (*webpFile, error) {
	const head = 12 // "RIFF", a length, "WEBP"
	f := &webpFile{}
	extended := false
	riffChunks(b, head, func(kind string, body []byte) bool {
		switch kind {
		case "VP8X":
			if len(body) >= 10 {
				extended, f.alpha = true, body[0]&0x10 != 0
				f.width, f.height = 1+uint24(body[4:]), 1+uint24(body[7:])
			}
		case "ANMF":
			const frameHead = 16
			if len(body) >= frameHead && f.data == nil {
				f.x, f.y = 2*uint24(body), 2*uint24(body[3:])
				riffChunks(body, frameHead, f.pictureChunk)
			}
		case "EXIF":
			f.exif = body
		default:
			if f.data == nil {
				f.pictureChunk(kind, body)
			}
		}
		return true
	})
	if f.data == nil {
		return nil, errShort
	}
	w, h, err := f.pictureSize()
	if err != nil {
		return nil, err
	}
	if !extended {
		f.width, f.height = w, h
	}
	if f.x+w > f.width || f.y+h > f.height {
		return nil, fmt.Errorf("a picture of %dx%d beyond its canvas of %dx%d", w, h, f.width, f.height)
	}
	return f, nil
}

// pictureChunk keeps the compressed pixels; false ends the walk.
func (f *webpFile) pictureChunk(kind string, body []byte) bool {
	switch kind {
	case "ALPH":
		f.opacity = body
	case "VP8 ", "VP8L":
		f.kind, f.data = kind, body
		return false
	}
	return true
}

// pictureSize reads the size from the head of the compressed pixels.
func (f *webpFile) pictureSize() (width, height int, err error) {
	b := f.data
	if f.kind == "VP8L" {
		if len(b) < 5 {
			return 0, 0, errShort
		}
		bits := binary.LittleEndian.Uint32(b[1:])
		if bits>>28&1 != 0 {
			f.alpha = true
		}
		return 1 + int(bits&0x3fff), 1 + int(bits>>14&0x3fff), nil
	}
	if len(b) < 10 {
		return 0, 0, errShort
	}
	if b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
		return 0, 0, errors.New("no key frame")
	}
	return int(binary.LittleEndian.Uint16(b[6:]) & 0x3fff), int(binary.LittleEndian.Uint16(b[8:]) & 0x3fff), nil
}

func webpSize(content []byte) (width, height int, err error) {
	f, err := parseWebP(content)
	if err != nil {
		return 0, 0, err
	}
	return f.width, f.height, nil
}

// alone returns a file of just the picture, which the library reads.
func (f *webpFile) alone(width, height int) []byte {
	chunk := func(b []byte, kind string, body []byte) []byte {
		b = binary.LittleEndian.AppendUint32(append(b, kind...), uint32(len(body)))
		b = append(b, body...)
		return append(b, make([]byte, len(body)&1)...)
	}
	b := []byte("RIFF\x00\x00\x00\x00WEBP")
	if f.kind == "VP8 " && f.opacity != nil {
		w, h := width-1, height-1
		b = chunk(b, "VP8X", []byte{0x10, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
		b = chunk(b, "ALPH", f.opacity)
	}
	b = chunk(b, f.kind, f.data)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

func (d *Decoder) decodeWebP(content []byte, dst *Image) (orientation int, err error) {
	f, err := parseWebP(content)
	if err != nil {
		return 0, err
	}
	w, h, err := f.pictureSize()
	if err != nil {
		return 0, err
	}
	m, err := webp.Decode(bytes.NewReader(f.alone(w, h)))
	if err != nil {
		return 0, err
	}
	if size := m.Bounds().Size(); size.X != w || size.Y != h {
		return 0, fmt.Errorf("the decoder gave %v pixels after a header of %dx%d", size, w, h)
	}
	orientation, _ = exifOrientation(f.exif)
	if w == f.width && h == f.height {
		d.fromWebP(dst, m)
		return orientation, nil
	}
	// What the first picture of an animation does not cover is transparent, or black where there is
	// no opacity.
	var rest [3]uint8
	if f.alpha {
		d.options.Ground.lay(rest[:], 0, 0, 0, 0)
	}
	for i := range dst.Width * dst.Height {
		copy(dst.Pix[3*i:3*i+3], rest[:])
	}
	part := &Image{}
	part.Resize(w, h)
	d.fromWebP(part, m)
	for y := range h {
		copy(dst.row(f.y + y)[3*f.x:], part.row(y))
	}
	return orientation, nil
}

// fromWebP converts what the library gives: Y'CbCr of half the chroma both ways, with opacity or
// without, or RGB.
func (d *Decoder) fromWebP(dst *Image, m image.Image) {
	switch m := m.(type) {
	case *image.YCbCr:
		d.fromVideo(dst, m, nil, 0)
	case *image.NYCbCrA:
		d.fromVideo(dst, &m.YCbCr, m.A, m.AStride)
	default:
		d.fromImage(dst, m, d.options.Ground)
	}
}

// fromVideo converts Y'CbCr of ITU-R BT.601's video range (luma 16 to 235), chroma interpolated, to
// libwebp's last bit. Opacity is nil or a value a pixel.
func (d *Decoder) fromVideo(dst *Image, src *image.YCbCr, opacity []uint8, stride int) {
	w, h := dst.Width, dst.Height
	cw, ch := (w+1)/2, (h+1)/2
	d.cb, d.cr = grown(d.cb, 2*cw), grown(d.cr, 2*cw)
	for y := range h {
		at, other := y/2*src.CStride, min(max(y/2-1+y%2*2, 0), ch-1)*src.CStride
		videoChroma(d.cb, src.Cb[at:][:cw], src.Cb[other:][:cw])
		videoChroma(d.cr, src.Cr[at:][:cw], src.Cr[other:][:cw])
		out := dst.row(y)
		videoRow(out, src.Y[y*src.YStride:][:w], d.cb, d.cr)
		if opacity != nil {
			for x, a := range opacity[y*stride:][:w] {
				d.options.Ground.lay(out[3*x:], out[3*x], out[3*x+1], out[3*x+2], a)
			}
		}
	}
}

// videoChroma doubles a row of chroma in width, between it and the other row that the pixels lie
// between: of four samples the nearest weighs 9, its neighbours 3 each, the last 1, in libwebp's
// order of rounding.
func videoChroma(out, row, other []uint8) {
	one := func(near, left, below, across uint8) uint8 {
		diagonal := (uint32(near) + uint32(across) + 3*(uint32(left)+uint32(below)) + 8) >> 3
		return uint8((diagonal + uint32(near)) >> 1)
	}
	for i, c := range row {
		l, r := max(i-1, 0), min(i+1, len(row)-1)
		out[2*i] = one(c, row[l], other[i], other[l])
		out[2*i+1] = one(c, row[r], other[i], other[r])
	}
}

// videoRow converts a row: 1.164, 1.596, 0.391, 0.813 and 2.018 in 14 bits, of which 8 go before
// the sum.
func videoRow(out, luma, cb, cr []uint8) {
	for x, l := range luma {
		yy, u, v := 19077*int32(l)>>8, int32(cb[x]), int32(cr[x])
		out[3*x] = clamp((yy + 26149*v>>8 - 14234) >> 6)
		out[3*x+1] = clamp((yy - 6419*u>>8 - 13320*v>>8 + 8708) >> 6)
		out[3*x+2] = clamp((yy + 33050*u>>8 - 17685) >> 6)
	}
}
