package picture

import (
	"encoding/binary"
	"math"
)

// rows returns what writes a row of samples as RGB onto a ground.
func (f *tiffFile) rows(g Ground) (func(dst, src []byte), error) {
	switch {
	case f.float:
		return f.floatRow, nil
	case f.samples == 1 && f.bits <= 8:
		return indexRow(f.table().onto(g), uint8(f.bits)), nil
	case f.samples == 3 && f.bits == 8:
		return func(dst, src []byte) { copy(dst, src) }, nil
	}
	if f.planar && f.bits%8 != 0 {
		return nil, unsupportedTIFF("planes of %d bits a sample", f.bits)
	}
	return f.pixelRow(g), nil
}

// table is what a single sample of up to 8 bits means.
func (f *tiffFile) table() *colourTable {
	p := grayRamp()
	top := 1<<f.bits - 1
	switch f.photometric {
	case tiffPalette:
		f.readColourMap(&p)
		return &p
	case whiteIsZero:
		for i := range top + 1 {
			v := uint8((top - i) * 255 / top)
			p[i] = [4]uint8{v, v, v, 255}
		}
	default:
		for i := range top + 1 {
			v := uint8(i * 255 / top)
			p[i] = [4]uint8{v, v, v, 255}
		}
	}
	return &p
}

// readColourMap reads the colours, of 16 bits: all reds, greens, blues. Some writers give them 8
// bits.
func (f *tiffFile) readColourMap(p *colourTable) {
	m := f.ints(tagColourMap)
	shift := 0
	for _, v := range m {
		if v > 255 {
			shift = 8
		}
	}
	n := len(m) / 3
	for i := range min(n, 1<<f.bits) {
		p[i] = [4]uint8{uint8(m[i] >> shift), uint8(m[n+i] >> shift), uint8(m[2*n+i] >> shift), 255}
	}
}

// pixelRow reads pixels of several samples, or of more than 8 bits.
func (f *tiffFile) pixelRow(g Ground) func(dst, src []byte) {
	var p colourTable
	if f.photometric == tiffPalette {
		p = *f.table()
	}
	var narrow []byte
	return func(dst, src []byte) {
		if f.bits != 8 {
			narrow = f.narrow(narrow[:0], src)
			src = narrow
		}
		for ; len(dst) >= 3; dst, src = dst[3:], src[f.samples:] {
			f.pixel(dst[:3], src[:f.samples], &p, g)
		}
	}
}

// narrow appends a row's samples to dst as 8 bits each: of 16 and 12 the highest 8, fewer are
// scaled up. An index is not scaled.
func (f *tiffFile) narrow(dst, row []byte) []byte {
	switch f.bits {
	case 16:
		high := 0
		if f.order == binary.LittleEndian {
			high = 1
		}
		for i := high; i < len(row); i += 2 {
			dst = append(dst, row[i])
		}
		return dst
	case 12: // two samples in three bytes
		for ; len(row) >= 2; row = row[min(3, len(row)):] {
			dst = append(dst, row[0])
			if len(row) >= 3 {
				dst = append(dst, row[1]<<4|row[2]>>4)
			}
		}
		return dst
	}
	top, scale := 1<<f.bits-1, 255
	if f.photometric == tiffPalette {
		scale = top
	}
	for _, v := range row {
		for shift := 8 - f.bits; shift >= 0; shift -= f.bits {
			dst = append(dst, uint8(int(v)>>shift&top*scale/top))
		}
	}
	return dst
}

// pixel writes one pixel of 8-bit samples.
func (f *tiffFile) pixel(dst, s []uint8, p *colourTable, g Ground) {
	if f.photometric == separated {
		inkRow(dst, s[:4])
		return
	}
	r, gr, b := s[0], s[0], s[0]
	switch f.photometric {
	case whiteIsZero:
		r, gr, b = 255-r, 255-r, 255-r
	case tiffPalette:
		c := p[s[0]]
		r, gr, b = c[0], c[1], c[2]
	case tiffRGB:
		gr, b = s[1], s[2]
	}
	a := uint8(255)
	switch f.extra {
	case extraNotMultiplied:
		a = s[f.colours]
	case extraMultiplied:
		a = s[f.colours]
		r, gr, b = divided(r, a), divided(gr, a), divided(b, a)
	}
	g.lay(dst, r, gr, b, a)
}

// divided takes an opacity out of a colour that was multiplied with it, rounding down as Pillow
// does.
func divided(v, a uint8) uint8 {
	if a == 0 {
		return 0
	}
	return uint8(min(uint32(v)*255/uint32(a), 255))
}

// floatRow clips to 0 to 255 and rounds down.
func (f *tiffFile) floatRow(dst, src []byte) {
	for ; len(dst) >= 3; dst, src = dst[3:], src[4:] {
		v := math.Float32frombits(f.order.Uint32(src))
		n := uint8(0)
		switch {
		case v >= 255:
			n = 255
		case v > 0:
			n = uint8(v)
		}
		dst[0], dst[1], dst[2] = n, n, n
		f.highest = max(f.highest, v)
	}
}

// checkFloats refuses floats that are fractions of white: clipped, as Pillow does it, they would be
// a black picture.
func (f *tiffFile) checkFloats() error {
	if f.float && f.highest > 0 && f.highest <= 1 {
		return unsupportedTIFF("float samples from 0 to 1")
	}
	return nil
}
