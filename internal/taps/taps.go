// Package taps has the weighted sums of neighbouring values, 8-bit in and out, that resizing and
// blurring consist of. Every kernel path gives the same bits; portable.go says what they are.
package taps

//go:generate go -C _generate run . -out ../taps_amd64.s -stubs ../stubs_amd64.go -pkg taps

// path is one implementation of the sums.
type path struct {
	name   string
	rows   func(dst []uint8, rows [][]uint8, weights []uint32, shift uint)
	box    func(dst []uint8, rows [][]uint8, b Box)
	pixels func(dst, src Lines, w *Windows)
}

// fastest is the first of the paths that this machine runs.
var fastest = paths()[0]

// Rows writes weighted sums of rows, place by place: dst[i] is the sum of rows[k][i]*weights[k] over
// k, divided by 1<<shift and rounded to the nearest. Each row has at least the length of dst, which is
// none of them. The sums must be below 1<<32 and the results below 256.
func Rows(dst []uint8, rows [][]uint8, weights []uint32, shift uint) {
	fastest.rows(dst, rows, weights, shift)
}

// Box has the weights of rows of which all but the first and the last count the same, in units of
// 1/(1<<Shift).
type Box struct {
	Middle, Edge uint32
	Shift        uint
}

// Rows is [Rows] with these weights, of three rows or more.
func (b Box) Rows(dst []uint8, rows [][]uint8) { fastest.box(dst, rows, b) }

// Windows says which pixels of a row make each pixel of another: Count[o] of them from First[o] on,
// with the weights Factors[o*Width:], in units of 1/(1<<[Precision]).
type Windows struct {
	First, Count []int32
	Factors      []uint32
	Width        int

	stream   []int32  // the same in the order in which assembly reads it
	row      []uint8  // a copy of a source's row, with room behind it
	to, from [4]*byte // rows that are made at once
}

// Precision is the number of fractional bits of a Windows' factors: 32 less 8 for the value and 2 for
// the sum.
const Precision = 32 - 8 - 2

// Lines are rows of pixels of three bytes each.
type Lines struct {
	Pix          []uint8
	Stride, Rows int // Stride is the bytes from one row to the next
}

// Pixels writes weighted sums of the pixels of each row of src to the same row of dst, one for each
// window. Rows of dst need room for a byte more than their pixels have: what it holds is lost. The
// windows serve one call at a time.
func Pixels(dst, src Lines, w *Windows) { fastest.pixels(dst, src, w) }
