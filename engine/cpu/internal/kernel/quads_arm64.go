package kernel

import "unsafe"

// useQuads sets the routines of right operands of a PairDepth of 4. The first one takes blocks of
// 16.
func (p *Path) useQuads(quads, gatherQuads, transpose8 func(*uintptr)) {
	p.PairDepth = 4
	plain := pairs(p.PairDepth)
	p.Pair = func(dst []uint16, rows []float32, block int) {
		if block != 16 {
			plain(dst, rows, block)
			return
		}
		a := args{p: pointers{ptr16(dst), ptr(rows)}, n: [5]int{len(rows) / (4 * block)}}
		a.call(quads)
	}
	p.GatherRight = func(dst []float32, pitch int, src Values, offsets []int32, width int) {
		a := args{
			p: pointers{ptr(dst), src.p, unsafe.Pointer(unsafe.SliceData(offsets))},
			n: [5]int{len(offsets) / 4, 8 * pitch, width / 16},
		}
		a.call(gatherQuads)
	}
	p.TransposeRight = func(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
		t := transposition{transpose8, transposeQuads, 2}
		t.blocks(dst, dstStride, src, srcStride, rows, cols)
	}
}

// transposeQuads is Path.TransposeRight for a PairDepth of 4.
func transposeQuads(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
	for r := range rows {
		for c, v := range src[r*srcStride : r*srcStride+cols] {
			dst[(c-c%2)*dstStride+2*r+c%2] = v
		}
	}
}
