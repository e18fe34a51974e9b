package reference

import (
	"moco/graph"
	"moco/tensor"
)

func init() {
	register(graph.MaxPool, with(func(a graph.PoolAttr, in []*Value, y *Value) {
		for i, from := range firstLargest(a.Window, in[0], y.shape) {
			y.x[i] = in[0].x[from]
		}
	}))
	register(graph.MaxPoolGrad, with(func(a graph.PoolAttr, in []*Value, dx *Value) {
		dy, x := in[0], in[1]
		for i, from := range firstLargest(a.Window, x, dy.shape) {
			dx.x[from] += dy.x[i]
		}
	}))
	register(graph.AveragePool, plain(func(in []*Value, y *Value) {
		s := in[0].shape
		for i, x := range in[0].x {
			y.x[pooled(s, i)] += x / float64(s[1]*s[2])
		}
	}))
	register(graph.AveragePoolGrad, plain(func(in []*Value, dx *Value) {
		s := dx.shape
		for i := range dx.x {
			dx.x[i] = in[0].x[pooled(s, i)] / float64(s[1]*s[2])
		}
	}))
}

// pooled is the place in [N,C] of element i of [N,H,W,C].
func pooled(s tensor.Shape, i int) int { return i/(s[1]*s[2]*s[3])*s[3] + i%s[3] }

// firstLargest is, for every element of a pooling's output of shape y, the index of the first
// largest of its window in x.
func firstLargest(w graph.Window, x *Value, y tensor.Shape) []int {
	channels := x.shape[3]
	from := make([]int, y.Elements())
	for i := range from {
		from[i] = -1
	}
	eachTap(w, x.shape, y, func(_, xi, yi int) {
		for c := range channels {
			if best := &from[yi*channels+c]; *best < 0 || x.x[xi*channels+c] > x.x[*best] {
				*best = xi*channels + c
			}
		}
	})
	return from
}
