package graph

import (
	"slices"

	"moco/tensor"
)

// The kinds that give values another form: they cut them, join them and copy them along an axis.
const (
	Reshape   Op = "Reshape"
	Slice     Op = "Slice"
	SliceGrad Op = "SliceGrad"
	Concat    Op = "Concat"
	Repeat    Op = "Repeat"
	SumBatch  Op = "SumBatch"
)

// ReshapeAttr belongs to Reshape.
type ReshapeAttr struct {
	Shape tensor.Shape
}

// SliceAttr belongs to Slice.
type SliceAttr struct {
	Axis, From, Count int
}

// SliceGradAttr belongs to SliceGrad.
type SliceGradAttr struct {
	Axis  int
	From  int // the place in the result that the gradient's first one is
	Total int // extent of the result along the axis
}

// ConcatAttr belongs to Concat.
type ConcatAttr struct {
	Axis int
}

// RepeatAttr belongs to Repeat.
type RepeatAttr struct {
	Count int
}

// Reshape is the elements of x, in row-major order, under another shape of as many elements.
func (g *Graph) Reshape(x *Node, shape ...int) *Node {
	return g.add(Reshape, ReshapeAttr{slices.Clone(tensor.Shape(shape))}, x)
}

// Slice is the part of x from..from+count-1 along an axis; axis 0 gives rows of a batch.
func (g *Graph) Slice(x *Node, axis, from, count int) *Node {
	return g.add(Slice, SliceAttr{Axis: axis, From: from, Count: count}, x)
}

// SliceGrad is the gradient of Slice with regard to an x that has the extent `total` along the axis:
// dy from place `from` on, zero elsewhere.
func (g *Graph) SliceGrad(dy *Node, axis, from, total int) *Node {
	return g.add(SliceGrad, SliceGradAttr{Axis: axis, From: from, Total: total}, dy)
}

// Concat joins values of one type along an axis, in their order. The other axes are the same.
func (g *Graph) Concat(axis int, xs ...*Node) *Node { return g.add(Concat, ConcatAttr{axis}, xs...) }

// Repeat is n copies of x along a new first axis: [..] -> [n,..].
func (g *Graph) Repeat(x *Node, n int) *Node { return g.add(Repeat, RepeatAttr{n}, x) }

// SumBatch adds up what lies along the first axis: [N,..] -> [..]. It is the gradient of Repeat.
func (g *Graph) SumBatch(x *Node) *Node { return g.add(SumBatch, NoAttr{}, x) }

func init() {
	register(Reshape, rule[ReshapeAttr]{
		check: checkReshape,
		gradient: func(g *Graph, n, dy *Node, _ ReshapeAttr) []*Node {
			return []*Node{g.Reshape(dy, n.In[0].Shape...)}
		},
		cost: func(*Node, ReshapeAttr) Cost { return Cost{} },
		// With two axes, what was tokens or pixels is features.
		activation: func(in []*Node, shape tensor.Shape) bool { return len(shape) > 2 && asOperands(in, shape) },
	})
	register(Slice, rule[SliceAttr]{
		check: checkSlice,
		gradient: func(g *Graph, n, dy *Node, a SliceAttr) []*Node {
			x := n.In[0]
			return []*Node{g.lazy(x, func() *Node { return g.SliceGrad(dy, a.Axis, a.From, x.Shape[a.Axis]) })}
		},
		cost:       moves[SliceAttr],
		activation: asOperands,
	})
	register(SliceGrad, rule[SliceGradAttr]{
		check: func(in []*Node, a SliceGradAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1); err != nil {
				return bad("%w", err)
			}
			s := slices.Clone(in[0].Shape)
			if a.Axis < 0 || a.Axis >= len(s) {
				return bad("there is no axis %d", a.Axis)
			}
			if a.From < 0 || a.From+s[a.Axis] > a.Total {
				return bad("%d from %d do not fit in %d", s[a.Axis], a.From, a.Total)
			}
			s[a.Axis] = a.Total
			return floats(s...)
		},
		cost:       moves[SliceGradAttr],
		activation: asOperands,
	})
	register(Concat, rule[ConcatAttr]{
		check:      checkConcat,
		gradient:   gradConcat,
		cost:       moves[ConcatAttr],
		activation: asOperands,
	})
	register(Repeat, rule[RepeatAttr]{
		check: func(in []*Node, a RepeatAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1); err != nil {
				return bad("%w", err)
			}
			if a.Count < 1 {
				return bad("%d copies are none", a.Count)
			}
			return floats(append([]int{a.Count}, in[0].Shape...)...)
		},
		gradient: func(g *Graph, n, dy *Node, _ RepeatAttr) []*Node {
			return []*Node{g.lazy(n.In[0], func() *Node { return g.SumBatch(dy) })}
		},
		cost:       moves[RepeatAttr],
		activation: asOperands,
	})
	register(SumBatch, rule[NoAttr]{
		check: func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1); err != nil {
				return bad("%w", err)
			}
			if len(in[0].Shape) == 0 {
				return bad("takes a batch")
			}
			return floats(in[0].Shape[1:]...)
		},
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			return []*Node{g.lazy(n.In[0], func() *Node { return g.Repeat(dy, n.In[0].Shape[0]) })}
		},
		cost: func(n *Node, _ NoAttr) Cost { return n.costs(elements(n.In[0].Shape)) },
	})
}

func gradConcat(g *Graph, n, dy *Node, a ConcatAttr) []*Node {
	out := make([]*Node, len(n.In))
	from := 0
	for i, x := range n.In {
		out[i] = g.lazy(x, func() *Node { return g.Slice(dy, a.Axis, from, x.Shape[a.Axis]) })
		from += x.Shape[a.Axis]
	}
	return out
}

func checkReshape(in []*Node, a ReshapeAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 1 {
		return bad("takes 1 operand")
	}
	have := in[0].Shape.Elements()
	// Divided step by step: a product of extents may be larger than an int.
	left := have
	for _, d := range a.Shape {
		if d < 1 || left%d != 0 {
			return bad("%d elements do not make %v", have, a.Shape)
		}
		left /= d
	}
	if left != 1 {
		return bad("%d elements do not make %v", have, a.Shape)
	}
	return in[0].Type, a.Shape, nil
}

func checkSlice(in []*Node, a SliceAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 1 {
		return bad("takes 1 operand")
	}
	s := slices.Clone(in[0].Shape)
	if a.Axis < 0 || a.Axis >= len(s) {
		return bad("there is no axis %d", a.Axis)
	}
	if a.From < 0 || a.Count < 1 || a.From+a.Count > s[a.Axis] {
		return bad("axis %d has no places %d to %d", a.Axis, a.From, a.From+a.Count-1)
	}
	s[a.Axis] = a.Count
	return in[0].Type, s, nil
}

func checkConcat(in []*Node, a ConcatAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) == 0 {
		return bad("takes at least 1 operand")
	}
	s := slices.Clone(in[0].Shape)
	if a.Axis < 0 || a.Axis >= len(s) {
		return bad("there is no axis %d", a.Axis)
	}
	for _, x := range in[1:] {
		if x.Type != in[0].Type || !joins(s, x.Shape, a.Axis) {
			return bad("what is joined differs in type or in another axis than %d", a.Axis)
		}
		s[a.Axis] += x.Shape[a.Axis]
	}
	return in[0].Type, s, nil
}

// joins reports whether b has the shape of a but for one axis.
func joins(a, b tensor.Shape, axis int) bool {
	return len(a) == len(b) && a[:axis].Equal(b[:axis]) && a[axis+1:].Equal(b[axis+1:])
}
