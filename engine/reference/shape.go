package reference

import (
	"moco/graph"
	"moco/tensor"
)

func init() {
	register(graph.Reshape, plain(func(in []*Value, y *Value) { copy(y.x, in[0].x) }))
	register(graph.Slice, with(func(a graph.SliceAttr, in []*Value, y *Value) {
		eachPart(in[0].shape, a.Axis, a.From, y, func(x, part int) { y.x[part] = in[0].x[x] })
	}))
	register(graph.SliceGrad, with(func(a graph.SliceGradAttr, in []*Value, dx *Value) {
		eachPart(dx.shape, a.Axis, a.From, in[0], func(x, part int) { dx.x[x] = in[0].x[part] })
	}))
	register(graph.Concat, with(func(a graph.ConcatAttr, in []*Value, y *Value) {
		from := 0
		for _, v := range in {
			eachPart(y.shape, a.Axis, from, v, func(whole, part int) { y.x[whole] = v.x[part] })
			from += v.shape[a.Axis]
		}
	}))
	register(graph.Repeat, plain(func(in []*Value, y *Value) {
		for i := range y.x {
			y.x[i] = in[0].x[i%len(in[0].x)]
		}
	}))
	register(graph.SumBatch, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].x {
			y.x[i%len(y.x)] += x
		}
	}))
}

// eachPart calls f for every element of part, which lies in a value of shape `whole` from a place on
// an axis on, with the element's place in both.
func eachPart(whole tensor.Shape, axis, from int, part *Value, f func(whole, part int)) {
	inner := whole[axis+1:].Elements()
	each := part.shape[axis] * inner // elements of part that lie one behind the other
	for i := range part.x {
		f(i/each*whole[axis]*inner+from*inner+i%each, i)
	}
}
