package define

import (
	"moco/graph"
	"moco/tensor"
)

func init() {
	register(graph.MaxPool, with(func(a graph.PoolAttr, in []*Value, y *Value) {
		for i, from := range firstLargest(a.Window, in[0], y.Shape) {
			y.X[i] = in[0].X[from]
		}
	}))
	register(graph.MaxPoolGrad, with(func(a graph.PoolAttr, in []*Value, dx *Value) {
		dy, x := in[0], in[1]
		for i, from := range firstLargest(a.Window, x, dy.Shape) {
			dx.X[from] += dy.X[i]
		}
	}))
	register(graph.AveragePool, plain(func(in []*Value, y *Value) {
		s := in[0].Shape
		for i, x := range in[0].X {
			y.X[pooled(s, i)] += x / float64(s[1]*s[2])
		}
	}))
	register(graph.AveragePoolGrad, plain(func(in []*Value, dx *Value) {
		s := dx.Shape
		for i := range dx.X {
			dx.X[i] = in[0].X[pooled(s, i)] / float64(s[1]*s[2])
		}
	}))
}

// pooled is the place in [N,C] of element i of [N,H,W,C].
func pooled(s tensor.Shape, i int) int { return i/(s[1]*s[2]*s[3])*s[3] + i%s[3] }

// firstLargest is, for every element of a pooling's output of shape y, the index of the first
// largest of its window in x.
func firstLargest(w graph.Window, x *Value, y tensor.Shape) []int {
	channels := x.Shape[3]
	from := make([]int, y.Elements())
	for i := range from {
		from[i] = -1
	}
	eachTap(w, x.Shape, y, func(_, xi, yi int) {
		for c := range channels {
			if best := &from[yi*channels+c]; *best < 0 || x.X[xi*channels+c] > x.X[*best] {
				*best = xi*channels + c
			}
		}
	})
	return from
}
