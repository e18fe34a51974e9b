package onnx

import (
	"fmt"

	"moco/graph"
)

// rules says for each kind of node in inference what it becomes in ONNX.
var rules = map[graph.Op]func(l *lowering, n *graph.Node){
	graph.Input:       (*lowering).input,
	graph.Variable:    (*lowering).variable,
	graph.WeightedSum: (*lowering).weightedSum,
	graph.Conv: func(l *lowering, n *graph.Node) {
		l.node(n, "Conv", l.values(n.In...), window(n.Attr.(graph.ConvAttr).Window)...)
	},
	graph.Normalise: (*lowering).normalise,
	graph.ReLU:      func(l *lowering, n *graph.Node) { l.node(n, "Relu", l.values(n.In...)) },
	graph.MaxPool: func(l *lowering, n *graph.Node) {
		l.node(n, "MaxPool", l.values(n.In...), window(n.Attr.(graph.PoolAttr).Window)...)
	},
	// The pooled value is [N,C,1,1], then flattened.
	graph.AveragePool: func(l *lowering, n *graph.Node) {
		pooled := l.step("GlobalAveragePool", l.values(n.In...))
		l.node(n, "Flatten", []string{pooled}, integer("axis", 1))
	},
	graph.MatMul:  (*lowering).matMul,
	graph.BiasAdd: (*lowering).biasAdd,
	graph.ScaleChannels: func(l *lowering, n *graph.Node) {
		l.node(n, "Mul", []string{l.value(n.In[0]), l.lastAxes(n)})
	},
	graph.L2Normalise: func(l *lowering, n *graph.Node) {
		x := l.value(n.In[0])
		norm := l.step("ReduceL2", []string{x}, ints("axes", 1), integer("keepdims", 1))
		l.node(n, "Div", []string{x, l.step("Max", []string{norm, l.constant(1e-12)})})
	},
	graph.Constant:  (*lowering).constantNode,
	graph.Reshape:   (*lowering).reshape,
	graph.Slice:     (*lowering).slice,
	graph.Concat:    (*lowering).concat,
	graph.Repeat:    (*lowering).repeat,
	graph.LayerNorm: (*lowering).layerNorm,
	graph.GELU:      (*lowering).gelu,
	graph.Attention: (*lowering).attention,
}

// UnsupportedError says that a node of the graph has no place in a model for inference.
type UnsupportedError struct {
	Node   *graph.Node
	Reason string // empty: no rule for this kind of node
}

func (e *UnsupportedError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%v has no place in a model for inference", e.Node)
	}
	return fmt.Sprintf("%v has no place in a model for inference: %s", e.Node, e.Reason)
}

// refuse ends the lowering at a node.
func (l *lowering) refuse(n *graph.Node, reason string) {
	l.fail(&UnsupportedError{Node: n, Reason: reason})
}

// window is the attributes of an operation that moves over an image.
func window(w graph.Window) [][]byte {
	return [][]byte{
		ints("kernel_shape", w.Kernel, w.Kernel),
		ints("strides", w.Stride, w.Stride),
		ints("pads", w.Pad, w.Pad, w.Pad, w.Pad),
	}
}

func (l *lowering) normalise(n *graph.Node) {
	x, mean, variance, gamma, beta := n.In[0], n.In[1], n.In[2], n.In[3], n.In[4]
	if len(mean.Shape) != 1 {
		l.refuse(n, "its statistics are those of splits of the batch, and only running statistics are written")
		return
	}
	if len(x.Shape) != 2 && !l.hasPixels(x) {
		l.refuse(n, "ONNX takes the second axis for the channels")
		return
	}
	epsilon := n.Attr.(graph.NormAttr).Epsilon
	l.node(n, "BatchNormalization", l.values(x, gamma, beta, mean, variance), real("epsilon", epsilon))
}

// weightedSum scales the terms that have a coefficient, and adds all terms in order.
func (l *lowering) weightedSum(n *graph.Node) {
	a := n.Attr.(graph.WeightedSumAttr)
	if len(n.In) > len(a.Coefficients) {
		l.refuse(n, "it has a factor that is computed")
		return
	}
	terms := l.values(n.In...)
	if len(terms) == 1 {
		l.node(n, "Mul", []string{terms[0], l.constant(a.Coefficients[0])})
		return
	}
	for i, c := range a.Coefficients {
		if c != 1 {
			terms[i] = l.step("Mul", []string{terms[i], l.constant(c)})
		}
	}
	for len(terms) > 2 {
		terms = append([]string{l.step("Add", terms[:2])}, terms[2:]...)
	}
	l.node(n, "Add", terms)
}

func (l *lowering) biasAdd(n *graph.Node) {
	switch product := n.In[0]; {
	case isGemm(product):
		l.node(n, "Gemm", l.values(product.In[0], product.In[1], n.In[1]), transposes(product)...)
	case product.Op == graph.Conv && len(n.In[1].Shape) == 1:
		in := l.values(product.In[0], product.In[1], n.In[1])
		l.node(n, "Conv", in, window(product.Attr.(graph.ConvAttr).Window)...)
	default:
		l.node(n, "Add", []string{l.value(product), l.lastAxes(n)})
	}
}

// lastAxes is the second operand of n, whose axes are the last ones of the first operand, as ONNX
// spreads it over the rest.
func (l *lowering) lastAxes(n *graph.Node) string {
	v := n.In[1]
	if !l.hasPixels(n.In[0]) {
		return l.value(v)
	}
	if len(v.Shape) != 1 {
		l.refuse(n, "only one value for each channel is written where there are pixels")
		return ""
	}
	return l.step("Reshape", []string{l.value(v), l.integers(v.Shape[0], 1, 1)})
}

func (l *lowering) matMul(n *graph.Node) {
	switch {
	case isGemm(n):
		l.node(n, "Gemm", l.values(n.In...), transposes(n)...)
		return
	case n.Attr.(graph.MatMulAttr).SumBatch:
		l.refuse(n, "sums over a batch are not written")
		return
	case l.hasPixels(n) || l.hasPixels(n.In[0]) || l.hasPixels(n.In[1]):
		l.refuse(n, "products of values with four axes are not written")
		return
	}
	a := n.Attr.(graph.MatMulAttr)
	l.node(n, "MatMul", []string{l.turned(n.In[0], a.TransposeA), l.turned(n.In[1], a.TransposeB)})
}

// turned is the value of x with its last two axes changed, if asked.
func (l *lowering) turned(x *graph.Node, change bool) string {
	if !change {
		return l.value(x)
	}
	var order []int
	for i := range x.Shape {
		order = append(order, i)
	}
	k := len(order)
	order[k-1], order[k-2] = order[k-2], order[k-1]
	return l.step("Transpose", []string{l.value(x)}, ints("perm", order...))
}

// isGemm reports whether n is the product of two matrices.
func isGemm(n *graph.Node) bool {
	return n.Op == graph.MatMul && len(n.In[0].Shape) == 2 && len(n.In[1].Shape) == 2
}

// transposes are Gemm's attributes for a product.
func transposes(n *graph.Node) (attributes [][]byte) {
	a := n.Attr.(graph.MatMulAttr)
	if a.TransposeA {
		attributes = append(attributes, integer("transA", 1))
	}
	if a.TransposeB {
		attributes = append(attributes, integer("transB", 1))
	}
	return attributes
}
