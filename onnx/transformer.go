package onnx

import (
	"math"

	"moco/graph"
	"moco/tensor"
)

// What transformers are made of.

// constantNode declares the elements of a constant of the graph.
func (l *lowering) constantNode(n *graph.Node) {
	t := tensor.New(tensor.Float32, n.Shape...)
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(n.Attr.(graph.ConstantAttr).At(i))
	}
	l.names[n] = l.free("constant")
	l.initialiser(l.names[n], t)
}

// reshape goes by way of the graph's order of axes. The length of the batch follows from what else
// there is: whoever changes the first axis multiplies or divides it by a constant.
func (l *lowering) reshape(n *graph.Node) {
	x, shape := n.In[0], append([]int{}, n.Shape...)
	if l.hasBatch(n) {
		if len(shape) < 2 {
			l.refuse(n, "nothing is left of the axis for the batch")
			return
		}
		shape[0] = -1
	}
	name := l.value(x)
	if l.hasPixels(x) {
		name = l.step("Transpose", []string{name}, ints("perm", 0, 2, 3, 1))
	}
	in := []string{name, l.integers(shape...)}
	if l.hasPixels(n) {
		l.node(n, "Transpose", []string{l.step("Reshape", in)}, ints("perm", 0, 3, 1, 2))
		return
	}
	l.node(n, "Reshape", in)
}

// axisOf is the place of one of n's axes in the model.
func (l *lowering) axisOf(n *graph.Node, axis int) int {
	if l.hasPixels(n) {
		return [...]int{0, 2, 3, 1}[axis]
	}
	return axis
}

// alongBatch refuses a node that works along the batch's axis, whose length is not known.
func (l *lowering) alongBatch(n *graph.Node, axis int) bool {
	if axis != 0 || !l.hasBatch(n) {
		return false
	}
	l.refuse(n, "batches are neither cut nor joined")
	return true
}

func (l *lowering) slice(n *graph.Node) {
	a := n.Attr.(graph.SliceAttr)
	if l.alongBatch(n, a.Axis) {
		return
	}
	x := l.value(n.In[0])
	l.node(n, "Slice", []string{x, l.integers(a.From), l.integers(a.From + a.Count), l.integers(l.axisOf(n, a.Axis))})
}

func (l *lowering) concat(n *graph.Node) {
	axis := n.Attr.(graph.ConcatAttr).Axis
	if l.alongBatch(n, axis) {
		return
	}
	for _, x := range n.In {
		if l.hasBatch(x) != l.hasBatch(n) {
			l.refuse(n, "it joins values with a batch and without one")
			return
		}
	}
	l.node(n, "Concat", l.values(n.In...), integer("axis", l.axisOf(n, axis)))
}

// repeat gives each image of the batch a copy.
func (l *lowering) repeat(n *graph.Node) {
	x := n.In[0]
	if l.hasBatch(x) || l.hasPixels(n) || !l.perImage(n) {
		l.refuse(n, "only copies for each image, without pixels, are written")
		return
	}
	images := l.value(l.images)
	batch := l.step("Shape", []string{images}, integer("start", 0), integer("end", 1))
	shape := batch
	if len(x.Shape) > 0 {
		shape = l.step("Concat", []string{batch, l.integers(x.Shape...)}, integer("axis", 0))
	}
	l.node(n, "Expand", []string{l.value(x), shape})
}

func (l *lowering) layerNorm(n *graph.Node) {
	if l.hasPixels(n) {
		l.refuse(n, "the channels do not stand last where there are pixels")
		return
	}
	epsilon := n.Attr.(graph.NormAttr).Epsilon
	l.node(n, "LayerNormalization", l.values(n.In...), integer("axis", len(n.Shape)-1), real("epsilon", epsilon))
}

// gelu is the form that runtimes know again and compute at once: opset 17 has no node for it.
func (l *lowering) gelu(n *graph.Node) {
	x := l.value(n.In[0])
	erf := l.step("Erf", []string{l.step("Div", []string{x, l.constant(math.Sqrt2)})})
	twice := l.step("Mul", []string{x, l.step("Add", []string{erf, l.constant(1)})})
	l.node(n, "Mul", []string{twice, l.constant(0.5)})
}

// attention writes the products and the softmax, which have an axis for the heads.
func (l *lowering) attention(n *graph.Node) {
	heads := n.Attr.(graph.AttentionAttr).Heads
	tokens, channels := n.Shape[1], n.Shape[2]
	size := channels / heads
	parts := []string{l.free("Split"), l.free("Split"), l.free("Split")}
	split := []string{l.value(n.In[0]), l.integers(channels, channels, channels)}
	l.write("Split", split, parts, [][]byte{integer("axis", 2)})
	apart := l.integers(-1, tokens, heads, size)
	head := func(part string, axes ...int) string {
		return l.step("Transpose", []string{l.step("Reshape", []string{part, apart})}, ints("perm", axes...))
	}
	q, k, v := head(parts[0], 0, 2, 1, 3), head(parts[1], 0, 2, 3, 1), head(parts[2], 0, 2, 1, 3)
	q = l.step("Mul", []string{q, l.constant(1 / math.Sqrt(float64(size)))})
	weights := l.step("Softmax", []string{l.step("MatMul", []string{q, k})}, integer("axis", 3))
	y := l.step("Transpose", []string{l.step("MatMul", []string{weights, v})}, ints("perm", 0, 2, 1, 3))
	l.node(n, "Reshape", []string{y, l.integers(-1, tokens, channels)})
}
