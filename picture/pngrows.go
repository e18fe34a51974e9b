package picture

import "encoding/binary"

// rows returns what writes an unfiltered row as RGB onto a ground.
func (f *pngFile) rows(g Ground) func(dst, src []byte) {
	switch {
	case f.kind == pngPalette:
		return indexRow(f.colours().onto(g), f.depth)
	case f.kind == pngGray && f.depth <= 8:
		return indexRow(f.grays().onto(g), f.depth)
	case f.kind == pngGray:
		return f.gray16(g)
	case f.kind == pngColour && f.depth == 8:
		return f.colour8(g)
	case f.kind == pngColour:
		return f.colour16(g)
	case f.kind == pngGrayAlpha && f.depth == 8:
		return g.layGrayAlpha
	case f.kind == pngGrayAlpha:
		return func(dst, src []byte) {
			for ; len(src) >= 4; dst, src = dst[3:], src[4:] {
				g.lay(dst, src[0], src[0], src[0], src[2])
			}
		}
	case f.depth == 8:
		return g.layRGBA
	}
	return func(dst, src []byte) {
		for ; len(src) >= 8; dst, src = dst[3:], src[8:] {
			g.lay(dst, src[0], src[2], src[4], src[6])
		}
	}
}

// colours are PLTE with the opacities of tRNS.
func (f *pngFile) colours() *colourTable {
	p := grayRamp()
	for i := range min(len(f.palette)/3, 256) {
		copy(p[i][:3], f.palette[3*i:3*i+3])
	}
	for i, a := range f.transparent {
		if i == 256 {
			break
		}
		p[i][3] = a
	}
	return &p
}

// grays are the values of up to 8 bits, the one in tRNS being transparent.
func (f *pngFile) grays() *colourTable {
	p := colourTable{}
	top := 1<<f.depth - 1
	for i := range top + 1 {
		v := uint8(i * 255 / top)
		p[i] = [4]uint8{v, v, v, 255}
	}
	if key, ok := f.key(1); ok && int(key[0]) <= top {
		p[key[0]][3] = 0
	}
	return &p
}

// key returns the transparent colour, the first n values of tRNS; a tRNS that is shorter counts for
// none.
func (f *pngFile) key(n int) (key [3]uint16, ok bool) {
	if len(f.transparent) < 2*n {
		return key, false
	}
	for i := range n {
		key[i] = binary.BigEndian.Uint16(f.transparent[2*i:])
	}
	return key, true
}

// indexRow unpacks values of 1, 2, 4 or 8 bits, highest bits first, and looks them up.
func indexRow(table *[256][3]uint8, depth uint8) func(dst, src []byte) {
	if depth == 8 {
		return func(dst, src []byte) { lookUp(dst, src, table) }
	}
	mask := uint8(1<<depth - 1)
	return func(dst, src []byte) {
		for _, v := range src {
			for shift := 8 - int(depth); shift >= 0; shift -= int(depth) {
				if len(dst) < 3 {
					return
				}
				c := &table[v>>shift&mask]
				dst[0], dst[1], dst[2] = c[0], c[1], c[2]
				dst = dst[3:]
			}
		}
	}
}

func (f *pngFile) gray16(g Ground) func(dst, src []byte) {
	key, keyed := f.key(1)
	return func(dst, src []byte) {
		for ; len(src) >= 2; dst, src = dst[3:], src[2:] {
			a := uint8(255)
			if keyed && binary.BigEndian.Uint16(src) == key[0] {
				a = 0
			}
			g.lay(dst, src[0], src[0], src[0], a)
		}
	}
}

func (f *pngFile) colour8(g Ground) func(dst, src []byte) {
	key, keyed := f.key(3)
	if !keyed {
		return func(dst, src []byte) { copy(dst, src) }
	}
	return func(dst, src []byte) {
		copy(dst, src)
		for ; len(src) >= 3; dst, src = dst[3:], src[3:] {
			if uint16(src[0]) == key[0] && uint16(src[1]) == key[1] && uint16(src[2]) == key[2] {
				g.lay(dst, src[0], src[1], src[2], 0)
			}
		}
	}
}

func (f *pngFile) colour16(g Ground) func(dst, src []byte) {
	key, keyed := f.key(3)
	return func(dst, src []byte) {
		for ; len(src) >= 6; dst, src = dst[3:], src[6:] {
			a := uint8(255)
			r, gr, b := binary.BigEndian.Uint16(src), binary.BigEndian.Uint16(src[2:]), binary.BigEndian.Uint16(src[4:])
			if keyed && [3]uint16{r, gr, b} == key {
				a = 0
			}
			g.lay(dst, src[0], src[2], src[4], a)
		}
	}
}
