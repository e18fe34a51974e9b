package taps

import (
	"slices"

	"golang.org/x/sys/cpu"
)

// paths are the implementations that this machine runs, fastest first.
func paths() []path {
	if cpu.X86.HasAVX2 {
		return []path{{"avx2", rowsWide, boxWide, pixelsWide}, portable}
	}
	return []path{portable}
}

// block is how many values rowsAVX2 and the kernels of boxes make at once.
const block = 16

// rowsWide is rows. The last block overlaps the one before it.
func rowsWide(dst []uint8, list [][]uint8, weights []uint32, shift uint) {
	n := len(dst)
	if n < block || len(weights) == 0 {
		rows(dst, list, weights, shift)
		return
	}
	for _, row := range list[:len(weights)] {
		_ = row[n-1]
	}
	whole := n &^ (block - 1)
	rowsAVX2(&dst[0], 0, whole, &list[0], &weights[0], len(weights), shift)
	if whole < n {
		rowsAVX2(&dst[0], n-block, n, &list[0], &weights[0], len(weights), shift)
	}
}

const (
	// boxLow is the number of bits in the lower part of a box's weight.
	boxLow = 12
	// widestBox is the longest box whose sum fits a signed 16-bit number.
	widestBox = 1 << 15 / 256
)

// boxWide is box. The last block overlaps the one before it.
func boxWide(dst []uint8, rows [][]uint8, b Box) {
	n := len(dst)
	if n < block || len(rows) > widestBox || max(b.Middle, b.Edge)>>boxLow >= 1<<15 {
		box(dst, rows, b)
		return
	}
	for _, row := range rows {
		_ = row[n-1]
	}
	_ = rows[2]
	const lower = 1<<boxLow - 1
	weights := [2]int32{
		int32(b.Middle&lower | b.Edge&lower<<16),
		int32(b.Middle>>boxLow | b.Edge>>boxLow<<16),
	}
	whole := n &^ (block - 1)
	boxBlocks(&dst[0], 0, whole, rows, &weights, b.Shift)
	if whole < n {
		boxBlocks(&dst[0], n-block, n, rows, &weights, b.Shift)
	}
}

// boxBlocks calls the kernel for so many rows. A function value would let weights escape.
func boxBlocks(dst *uint8, from, to int, rows [][]uint8, weights *[2]int32, shift uint) {
	switch len(rows) {
	case 3:
		box3AVX2(dst, from, to, &rows[0], 3, weights, shift)
	case 5:
		box5AVX2(dst, from, to, &rows[0], 5, weights, shift)
	default:
		boxAVX2(dst, from, to, &rows[0], len(rows), weights, shift)
	}
}

const (
	// atOnce is how many pixels of a window pixelsAVX2 weighs at once, and loaded the bytes that it
	// reads for them.
	atOnce, loaded = 4, 16
	// factorLow is the number of bits in the lower part of a window's factor.
	factorLow = 15
)

// pixelsWide is pixels. Two rows are made at once; the last ones, behind which the assembly would
// read beyond the source, from a copy.
func pixelsWide(dst, src Lines, w *Windows) {
	n := len(w.First)
	if n == 0 || dst.Rows == 0 {
		return
	}
	length, reach := w.arrange()
	_ = dst.Pix[(dst.Rows-1)*dst.Stride+3*n]
	_ = src.Pix[(dst.Rows-1)*src.Stride+length-1]
	make2 := func(y0, y1 int, from0, from1 *uint8) {
		pixelsAVX2(&dst.Pix[y0*dst.Stride], &dst.Pix[y1*dst.Stride], from0, from1, &w.stream[0], n)
	}
	y := 0
	for ; y+1 < dst.Rows && (y+1)*src.Stride+reach <= len(src.Pix); y += 2 {
		make2(y, y+1, &src.Pix[y*src.Stride], &src.Pix[(y+1)*src.Stride])
	}
	w.row = slices.Grow(w.row[:0], reach)[:reach]
	for ; y < dst.Rows; y++ {
		copy(w.row, src.Pix[y*src.Stride:][:length])
		make2(y, y, &w.row[0], &w.row[0])
	}
}

// arrange writes the stream: for each window where it begins, in bytes, the number of groups of
// pixels, and for each group two pairs of factors, the lower and the upper parts of each. It returns
// how many bytes of a row the windows cover, and how many are read.
func (w *Windows) arrange() (length, reach int) {
	w.stream = w.stream[:0]
	for o, first := range w.First {
		count := int(w.Count[o])
		groups := (count + atOnce - 1) / atOnce
		length = max(length, 3*(int(first)+count))
		reach = max(reach, 3*(int(first)+atOnce*(groups-1))+loaded)
		w.stream = append(w.stream, 3*first, int32(groups))
		factors := w.Factors[o*w.Width:][:count]
		for i := 0; i < atOnce*groups; i += 2 {
			var a, b uint32
			if i < count {
				a = factors[i]
			}
			if i+1 < count {
				b = factors[i+1]
			}
			const lower = 1<<factorLow - 1
			w.stream = append(w.stream, int32(a&lower|b&lower<<16), int32(a>>factorLow|b>>factorLow<<16))
		}
	}
	return length, max(length, reach)
}
