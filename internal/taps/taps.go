// Package taps has the weighted sums of neighbouring values, 8-bit in and out, that resizing and
// blurring consist of. Every kernel path gives the same bits; portable.go says what they are.
package taps

//go:generate go -C _generate run . -out ../taps_amd64.s -stubs ../stubs_amd64.go -pkg taps

// path is one implementation of the two sums.
type path struct {
	name   string
	rows   func(dst []uint8, rows [][]uint8, weights []uint32, shift uint)
	pixels func(dst, src []uint8, w *Windows)
}

// fastest is the first of the paths that this machine runs.
var fastest = paths()[0]

// Rows writes weighted sums of rows, place by place: dst[i] is the sum of rows[k][i]*weights[k] over
// k, divided by 1<<shift and rounded to the nearest. Each row has at least the length of dst, which is
// none of them. The sums must be below 1<<32 and the results below 256.
func Rows(dst []uint8, rows [][]uint8, weights []uint32, shift uint) {
	fastest.rows(dst, rows, weights, shift)
}

// Windows says which pixels of a row make each pixel of another: Count[o] of them from First[o] on,
// with the weights Factors[o*Width:], in units of 1/(1<<[Precision]).
type Windows struct {
	First, Count []int32
	Factors      []uint32
	Width        int
}

// Precision is the number of fractional bits of a Windows' factors: 32 less 8 for the value and 2 for
// the sum.
const Precision = 32 - 8 - 2

// Pixels writes weighted sums of the pixels of src, three bytes each, to dst, one for each window.
func Pixels(dst, src []uint8, w *Windows) { fastest.pixels(dst, src, w) }
