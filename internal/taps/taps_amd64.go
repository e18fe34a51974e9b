package taps

import "golang.org/x/sys/cpu"

// paths are the implementations that this machine runs, fastest first.
func paths() []path {
	if cpu.X86.HasAVX2 {
		return []path{{"avx2", rowsWide, pixelsWide}, portable}
	}
	return []path{portable}
}

// block is how many values rowsAVX2 makes at once.
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

// pixelsWide is pixels. The assembly reads and writes a byte behind each pixel, so those at the end
// are made aside.
func pixelsWide(dst, src []uint8, w *Windows) {
	n := len(w.First) - 1
	for n > 0 && 3*int(w.First[n-1]+w.Count[n-1]) >= len(src) {
		n--
	}
	if n > 0 {
		_, _, _ = dst[3*n], w.Count[n-1], w.Factors[(n-1)*w.Width+int(w.Count[n-1])-1]
		pixelsAVX2(&dst[0], &src[0], &w.First[0], &w.Count[0], &w.Factors[0], w.Width, n)
	}
	for o := max(n, 0); o < len(w.First); o++ {
		pixel((*[3]uint8)(dst[3*o:]), src[3*w.First[o]:], w.Factors[o*w.Width:][:w.Count[o]])
	}
}
