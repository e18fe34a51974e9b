package reference

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.MatMul, matMul)
	register(graph.BiasAdd, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].x {
			y.x[i] = x + in[1].x[i%len(in[1].x)]
		}
	}))
	register(graph.L2Normalise, plain(l2Normalise))
	register(graph.L2NormaliseGrad, plain(l2NormaliseGrad))
	register(graph.RowDot, plain(func(in []*Value, y *Value) {
		eachRow(in[0], func(r, lo, hi int) { y.x[r] = dot(in[0].x[lo:hi], in[1].x[lo:hi]) })
	}))
	register(graph.RowSum, plain(func(in []*Value, y *Value) {
		eachRow(in[0], func(r, lo, hi int) {
			for _, x := range in[0].x[lo:hi] {
				y.x[r] += x
			}
		})
	}))
	register(graph.ScaleRows, plain(func(in []*Value, y *Value) {
		each := y.shape[1:].Elements()
		for i, x := range in[0].x {
			y.x[i] = x * in[1].x[i/each]
		}
	}))
	register(graph.ScaleChannels, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].x {
			y.x[i] = x * in[1].x[i%len(in[1].x)]
		}
	}))
	register(graph.ScaleChannelsGradScale, plain(func(in []*Value, y *Value) {
		for i, x := range in[1].x {
			y.x[i%len(y.x)] += in[0].x[i] * x
		}
	}))
}

func matMul(n *graph.Node, in []*Value, y *Value) {
	at, p := n.Attr.(graph.MatMulAttr), graph.ProductOf(n)
	for b := range p.Batch {
		left, right, result := matrix(in[0], p.Batch, b), matrix(in[1], p.Batch, b), y.x
		if !at.SumBatch {
			result = matrix(y, p.Batch, b)
		}
		for i := range p.Rows {
			for j := range p.Columns {
				var s float64
				for k := range p.Inner {
					s += left[place(i, k, p.Rows, p.Inner, at.TransposeA)] * right[place(k, j, p.Inner, p.Columns, at.TransposeB)]
				}
				result[i*p.Columns+j] += s
			}
		}
	}
}

// matrix is matrix b of a batch. A value without a batch is the same matrix for each.
func matrix(v *Value, batch, b int) []float64 {
	if len(v.shape) == 2 {
		return v.x
	}
	size := len(v.x) / batch
	return v.x[b*size : (b+1)*size]
}

// place is the place of row i, column j of a matrix that is stored as it is, or transposed.
func place(i, j, rows, columns int, transposed bool) int {
	if transposed {
		return j*rows + i
	}
	return i*columns + j
}

// smallestNorm is what a row is divided by at least: the eps of F.normalize.
const smallestNorm = 1e-12

func l2Normalise(in []*Value, y *Value) {
	x := in[0].x
	eachRow(y, func(_, lo, hi int) {
		norm := max(math.Sqrt(dot(x[lo:hi], x[lo:hi])), smallestNorm)
		for i := lo; i < hi; i++ {
			y.x[i] = x[i] / norm
		}
	})
}

func l2NormaliseGrad(in []*Value, dx *Value) {
	dy, x := in[0].x, in[1].x
	eachRow(dx, func(_, lo, hi int) {
		norm := math.Sqrt(dot(x[lo:hi], x[lo:hi]))
		along := dot(dy[lo:hi], x[lo:hi]) / (norm * norm)
		if norm < smallestNorm {
			norm, along = smallestNorm, 0 // the norm is a constant there
		}
		for i := lo; i < hi; i++ {
			dx.x[i] = (dy[i] - along*x[i]) / norm
		}
	})
}
