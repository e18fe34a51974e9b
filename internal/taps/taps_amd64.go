package taps

import (
	"slices"

	"golang.org/x/sys/cpu"
)

// kernels are the routines of one instruction set.
type kernels struct {
	block int // how many values rows and box make at once
	lines int // how many rows pixels makes at once

	rows            func(dst *byte, from, to int, rows *[]byte, weights *uint32, n int, shift uint)
	box, box3, box5 func(dst *byte, from, to int, rows *[]byte, n int, lower, upper, shift uint)
	pixels          func(dst, src *[4]*byte, stream *int32, n, ahead int)
}

var (
	avx2   = kernels{16, 2, rowsAVX2, boxAVX2, box3AVX2, box5AVX2, pixelsAVX2}
	avx512 = kernels{32, 4, rowsAVX512, boxAVX512, box3AVX512, box5AVX512, pixelsAVX512}
)

// paths are the implementations that this machine runs, fastest first.
func paths() []path {
	var list []path
	if x86 := cpu.X86; x86.HasAVX512F && x86.HasAVX512DQ && x86.HasAVX512BW && x86.HasAVX512VL {
		list = append(list, path{"avx512", avx512.rowSums, avx512.boxSums, avx512.pixelSums})
	}
	if cpu.X86.HasAVX2 {
		list = append(list, path{"avx2", avx2.rowSums, avx2.boxSums, avx2.pixelSums})
	}
	return append(list, portable)
}

// blocks calls f for parts of n values, of which there is at least a block. The last one overlaps the
// one before it.
func (k *kernels) blocks(n int, f func(from, to int)) {
	whole := n &^ (k.block - 1)
	f(0, whole)
	if whole < n {
		f(n-k.block, n)
	}
}

// rowSums is rows.
func (k *kernels) rowSums(dst []uint8, list [][]uint8, weights []uint32, shift uint) {
	n := len(dst)
	if n < k.block || len(weights) == 0 {
		rows(dst, list, weights, shift)
		return
	}
	for _, row := range list[:len(weights)] {
		_ = row[n-1]
	}
	k.blocks(n, func(from, to int) { k.rows(&dst[0], from, to, &list[0], &weights[0], len(weights), shift) })
}

const (
	// boxLow is the number of bits in the lower part of a box's weight.
	boxLow = 12
	// widestBox is the longest box whose sum fits a signed 16-bit number.
	widestBox = 1 << 15 / 256
)

// boxSums is box.
func (k *kernels) boxSums(dst []uint8, rows [][]uint8, b Box) {
	n := len(dst)
	if n < k.block || len(rows) > widestBox || max(b.Middle, b.Edge)>>boxLow >= 1<<15 {
		box(dst, rows, b)
		return
	}
	for _, row := range rows {
		_ = row[n-1]
	}
	_ = rows[2]
	kernel := k.box
	switch len(rows) {
	case 3:
		kernel = k.box3
	case 5:
		kernel = k.box5
	}
	const mask = 1<<boxLow - 1
	lower, upper := uint(b.Middle&mask|b.Edge&mask<<16), uint(b.Middle>>boxLow|b.Edge>>boxLow<<16)
	k.blocks(n, func(from, to int) { kernel(&dst[0], from, to, &rows[0], len(rows), lower, upper, b.Shift) })
}

const (
	// atOnce is how many pixels of a window the kernels weigh at once, and loaded the bytes that they
	// read for them.
	atOnce, loaded = 4, 16
	// factorLow is the number of bits in the lower part of a window's factor.
	factorLow = 15
)

// pixelSums is pixels. The last rows, behind which the assembly would read beyond the source, are
// made of copies.
func (k *kernels) pixelSums(dst, src Lines, w *Windows) {
	n := len(w.First)
	if n == 0 || dst.Rows == 0 {
		return
	}
	length, reach := w.arrange()
	_ = dst.Pix[(dst.Rows-1)*dst.Stride+3*n]
	_ = src.Pix[(dst.Rows-1)*src.Stride+length-1]
	y := 0
	for ; y+k.lines <= dst.Rows && (y+k.lines-1)*src.Stride+reach <= len(src.Pix); y += k.lines {
		for i := range k.lines {
			w.to[i], w.from[i] = &dst.Pix[(y+i)*dst.Stride], &src.Pix[(y+i)*src.Stride]
		}
		k.pixels(&w.to, &w.from, &w.stream[0], n, k.lines*src.Stride)
	}
	w.row = slices.Grow(w.row[:0], reach)[:reach]
	for ; y < dst.Rows; y++ {
		copy(w.row, src.Pix[y*src.Stride:][:length])
		for i := range k.lines { // the same one in each place
			w.to[i], w.from[i] = &dst.Pix[y*dst.Stride], &w.row[0]
		}
		k.pixels(&w.to, &w.from, &w.stream[0], n, k.lines*src.Stride)
	}
	w.to, w.from = [4]*byte{}, [4]*byte{} // so that nothing is kept
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
