package cpu

import (
	"slices"

	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// Operations that give values another form: they cut, join and copy along an axis.
var shapeOperations = operations{
	graph.Reshape:   {kind: engine.Move, element: activation, operands: likeResultType, emit: emitReshape},
	graph.Slice:     {kind: engine.Move, layout: imagesStay, element: likeRows, operands: sliceOperand, emit: emitSlice},
	graph.SliceGrad: {kind: engine.Move, element: likeRows, operands: storedOperand, emit: emitSliceGrad},
	graph.Concat: {
		kind: engine.Move, layout: imagesOnly, element: joinedType, operands: sameRows, emit: emitConcat,
	},
	graph.Repeat:   {kind: engine.Move, element: likeRows, operands: storedOperand, emit: emitRepeat},
	graph.SumBatch: {operands: storedOperand, emit: emitSumBatch},
}

// likeResultType takes rows of the result's type.
func likeResultType(c *compiler, s *step) { c.want(s, 0, inRows, s.out[0].element) }

// sliceOperand takes rows of a batch as they lie; what is cut within an example is rows.
func sliceOperand(c *compiler, s *step) {
	if s.node.Attr.(graph.SliceAttr).Axis > 0 {
		c.stored(s, 0)
		return
	}
	anyRows(c, s)
}

// joinedType is the type of all operands or, if they differ, of an activation.
func joinedType(c *compiler, s *step) element {
	if slices.ContainsFunc(s.in, func(v *value) bool { return v.element != s.in[0].element }) {
		return activation(c, s)
	}
	return s.in[0].element
}

// axis is how a value lies in memory around one of its axes: `outer` groups, `pitch` values apart, of
// places that have `inner` values each.
type axis struct{ outer, pitch, inner int }

// along is how a value of a shape lies around axis k in buffer b.
func along(s tensor.Shape, k int, b *buffer) axis {
	last := len(s) - 1
	a := axis{outer: s[:k].Elements(), inner: s[k+1:].Elements()}
	if k < last && b.element != int32s {
		a.inner = s[k+1:last].Elements() * b.stride
	}
	a.pitch = s[k] * a.inner
	if k == last && b.element != int32s {
		a.pitch = b.stride // padded
	}
	return a
}

// run is `count` values from `from` on, in each group along an axis.
type run struct {
	axis
	from, count int
}

// places is the run of so many places from one on.
func (a axis) places(from, count int) run { return run{a, from * a.inner, count * a.inner} }

// behind is the rest of each group behind so many places: the padding.
func (a axis) behind(places int) run {
	return run{a, places * a.inner, a.pitch - places*a.inner}
}

// eachRun makes a phase that calls f with a part of a run in some group: the group, and values lo to
// hi of the run.
func eachRun(outer, count int, f func(group, lo, hi int)) phase {
	pieces := (count + elementsEach - 1) / elementsEach
	if pieces > 1 {
		return phase{outer * pieces, func(_ *worker, part int) {
			lo := part % pieces * elementsEach
			f(part/pieces, lo, min(lo+elementsEach, count))
		}}
	}
	return rowsPhase(outer, count, func(_ *worker, group int) { f(group, 0, count) })
}

// copyRuns makes a phase that copies runs of as many values from one buffer to another of its type.
func copyRuns(y *buffer, to run, x *buffer, from run) phase {
	size := y.element.size()
	return eachRun(to.outer, to.count, func(group, lo, hi int) {
		at, src := group*to.pitch+to.from, group*from.pitch+from.from
		copy(y.raw[(at+lo)*size:(at+hi)*size], x.raw[(src+lo)*size:(src+hi)*size])
	})
}

// clearRuns makes phases that clear runs: none of empty ones.
func clearRuns(y *buffer, r run) []phase {
	if r.count == 0 {
		return nil
	}
	size := y.element.size()
	return []phase{eachRun(r.outer, r.count, func(group, lo, hi int) {
		at := group*r.pitch + r.from
		clear(y.raw[(at+lo)*size : (at+hi)*size])
	})}
}

// emitReshape copies nothing where the memory is the same and nobody needs the operand any more.
func emitReshape(_ *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	from, to := s.node.In[0].Shape, s.node.Shape
	_, wide := rowsOf(from)
	_, narrow := rowsOf(to)
	if y.element == int32s || x.count == y.count && (wide == narrow || wide == x.stride && narrow == y.stride) {
		o.reuse = []*buffer{x}
		o.then(copyPhase(y, x))
		return
	}
	size := y.element.size()
	o.then(rowsPhase(y.count/y.stride, y.stride, func(_ *worker, r int) {
		for c := 0; c < narrow; {
			i := r*narrow + c // of the elements in their order
			n := min(narrow-c, wide-i%wide)
			at, src := r*y.stride+c, i/wide*x.stride+i%wide
			copy(y.raw[at*size:(at+n)*size], x.raw[src*size:(src+n)*size])
			c += n
		}
		clear(y.raw[(r*y.stride+narrow)*size : (r+1)*y.stride*size])
	}))
}

func emitSlice(_ *compiler, s *step, o *op) {
	x, y, a := s.in[0].buffer, s.out[0].buffer, s.node.Attr.(graph.SliceAttr)
	from, to := along(s.node.In[0].Shape, a.Axis, x), along(s.node.Shape, a.Axis, y)
	o.then(copyRuns(y, to.places(0, a.Count), x, from.places(a.From, a.Count)))
	o.then(clearRuns(y, to.behind(a.Count))...)
}

func emitSliceGrad(_ *compiler, s *step, o *op) {
	dy, dx, a := s.in[0].buffer, s.out[0].buffer, s.node.Attr.(graph.SliceGradAttr)
	count := s.node.In[0].Shape[a.Axis]
	from, to := along(s.node.In[0].Shape, a.Axis, dy), along(s.node.Shape, a.Axis, dx)
	o.then(copyRuns(dx, to.places(a.From, count), dy, from.places(0, count)))
	o.then(clearRuns(dx, to.places(0, a.From))...)
	o.then(clearRuns(dx, to.behind(a.From+count))...)
}

func emitConcat(_ *compiler, s *step, o *op) {
	y, k, at := s.out[0].buffer, s.node.Attr.(graph.ConcatAttr).Axis, 0
	to := along(s.node.Shape, k, y)
	for i, v := range s.in {
		x, count := v.buffer, s.node.In[i].Shape[k]
		o.then(copyRuns(y, to.places(at, count), x, along(s.node.In[i].Shape, k, x).places(0, count)))
		at += count
	}
	o.then(clearRuns(y, to.behind(at))...)
}

func emitRepeat(_ *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	if len(s.node.Shape) == 1 { // of a scalar
		o.then(serial(func(*worker) {
			clear(y.f32)
			for i := range s.node.Shape[0] {
				y.f32[i] = x.f32[0]
			}
		}))
		return
	}
	once := axis{outer: s.node.Shape[0], inner: x.count} // read again for each copy
	o.then(copyRuns(y, axis{outer: s.node.Shape[0], pitch: x.count, inner: x.count}.places(0, 1), x, once.places(0, 1)))
}

// emitSumBatch adds examples up in their order.
func emitSumBatch(c *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	if len(s.node.Shape) == 0 { // of a vector
		o.then(serial(func(*worker) {
			var sum float64
			for _, v := range x.f32[:s.node.In[0].Shape[0]] {
				sum += float64(v)
			}
			clear(y.f32)
			y.f32[0] = float32(sum)
		}))
		return
	}
	const each = 1024
	o.then(cut(y.count, each, func(_ *worker, lo, hi int) {
		clear(y.f32[lo:hi])
		c.engine.path.Sums(x.values(lo, x.count), y.count, y.f32[lo:hi])
	}))
}
