package kernel

import (
	"math"
	"unsafe"
)

// Attention holds the routines of attention beside its products: they walk over rows that lie a
// pitch apart, many rows a call. Rows are as wide as a head's dimension or a tile of keys.
type Attention struct {
	Softmax     func(SoftmaxArgs)
	SoftmaxGrad func(SoftmaxGradArgs)
	// SoftmaxGradPairs is SoftmaxGrad with results of bfloat16. Rows must be even. Pairs of rows
	// are interleaved value by value, as Pair does it, in the place of the first row of the pair;
	// what is left in that of the second is undefined. Gradients are also left row by row, a pitch
	// apart.
	SoftmaxGradPairs func(a SoftmaxGradArgs, rounded []uint16, pitch int)
	ScaleRows        func(ScaleRowsArgs)
	// PrefetchRows asks for rows, a pitch apart, of so many columns to be brought into the
	// second-level cache. It does not wait.
	PrefetchRows func(x Values, pitch, rows, columns int)
	DotRows      func(DotRowsArgs)
}

// SoftmaxArgs are the operands of Softmax, one tile of keys of a softmax over rows of scores: row r
// < Rows starts at Scores[r*Pitch] and has Columns values, at least 1. With m = max(Max[r], the
// row's largest score), it leaves exp(Scale*(score-m)) in place of each score, m in Max[r], and the
// sum of the exponentials in Sum[r]. An exponent below -87 counts as minus infinity. The row's
// values beyond the columns, up to a multiple of 16, become 0; they may have been any finite
// numbers. A row with a NaN has a sum that is NaN. If BF16 is set, exponentials are left as
// bfloat16, from the row's start on; the sum is of what they were before they were rounded.
type SoftmaxArgs struct {
	Scores               []float32
	Rows, Columns, Pitch int
	Scale                float64
	Max, Sum             []float32
	BF16                 bool
}

// SoftmaxGradArgs are the operands of SoftmaxGrad: p *= Inverse[r] and then g = p*(g-Along[r]), for
// each p of the weights and g of the gradients in row r. Rows start a pitch apart, and each has a
// multiple of 16 values. With p the exponentials, Inverse one over their sum, g the gradients of
// the weights and Along the sum of g*p, this is the gradient of the scores.
type SoftmaxGradArgs struct {
	Weights, Gradients   []float32
	Rows, Columns, Pitch int
	Inverse, Along       []float32
}

// ScaleRowsArgs are the operands of ScaleRows: dst = Factors[r]*src, or src if there are no
// factors, for the first Columns values of each row r. Each of both is float32 or bfloat16.
type ScaleRowsArgs struct {
	Dst, Src           Values
	DstPitch, SrcPitch int
	Rows, Columns      int
	Factors            []float32
}

// DotRowsArgs are the operands of DotRows: Sum[r] = the sum of a*b over the first Columns values of
// row r. Both are float32 or both bfloat16.
type DotRowsArgs struct {
	Sum           []float32
	A, B          Values
	APitch        int
	BPitch        int
	Rows, Columns int
}

func portableAttention() Attention {
	return Attention{
		Softmax: softmax, SoftmaxGrad: softmaxGrad, SoftmaxGradPairs: softmaxGradPairs, ScaleRows: scaleRows,
		PrefetchRows: func(Values, int, int, int) {}, DotRows: dotRows,
	}
}

// leastExponent is the exponent below which a softmax's weight counts as 0.
const leastExponent = -87

func softmax(a SoftmaxArgs) {
	for r := range a.Rows {
		row := a.Scores[r*a.Pitch:][:(a.Columns+15)/16*16]
		m := max(a.Max[r], rowMaximum(row[:a.Columns]))
		var sum float32
		for i, v := range row[:a.Columns] {
			row[i] = 0
			if exponent := a.Scale * float64(v-m); !(exponent < leastExponent) {
				row[i] = float32(math.Exp(exponent))
			}
			sum += row[i]
		}
		clear(row[a.Columns:])
		a.Max[r], a.Sum[r] = m, sum
		if a.BF16 {
			narrow(halves(row), row)
		}
	}
}

func softmaxGrad(a SoftmaxGradArgs) {
	for r := range a.Rows {
		p, g := a.Weights[r*a.Pitch:][:a.Columns], a.Gradients[r*a.Pitch:][:a.Columns]
		for i := range p {
			p[i] *= a.Inverse[r]
			g[i] = p[i] * (g[i] - a.Along[r])
		}
	}
}

func softmaxGradPairs(a SoftmaxGradArgs, rounded []uint16, pitch int) {
	softmaxGrad(a)
	for r := range a.Rows {
		narrow(rounded[r*pitch:][:a.Columns], a.Gradients[r*a.Pitch:])
	}
	for _, x := range [][]float32{a.Weights, a.Gradients} {
		for r := 0; r < a.Rows; r += 2 {
			first, second := x[r*a.Pitch:][:a.Columns], x[(r+1)*a.Pitch:][:a.Columns]
			for i, v := range first { // the first value of a pair is the lower half
				narrow(halves(first[i : i+1])[:1], []float32{v})
				narrow(unsafe.Slice((*uint16)(unsafe.Pointer(&first[i])), 2)[1:], second[i:i+1])
			}
		}
	}
}

func scaleRows(a ScaleRowsArgs) {
	a.columns(0)
}

// columns does the columns from the first one on.
func (a *ScaleRowsArgs) columns(first int) {
	factor := float32(1)
	for r := range a.Rows {
		if a.Factors != nil {
			factor = a.Factors[r]
		}
		for c := first; c < a.Columns; c++ {
			a.Dst.put(r*a.DstPitch+c, factor*a.Src.get(r*a.SrcPitch+c))
		}
	}
}

func dotRows(a DotRowsArgs) {
	clear(a.Sum[:a.Rows])
	a.columns(0)
}

// columns adds the columns from the first one on.
func (a *DotRowsArgs) columns(first int) {
	for r := range a.Rows {
		for c := first; c < a.Columns; c++ {
			a.Sum[r] = fma(a.A.get(r*a.APitch+c), a.B.get(r*a.BPitch+c), a.Sum[r])
		}
	}
}
