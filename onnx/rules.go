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
	graph.MatMul: (*lowering).matMul,
	graph.BiasAdd: func(l *lowering, n *graph.Node) {
		if product := n.In[0]; isGemm(product) {
			l.node(n, "Gemm", l.values(product.In[0], product.In[1], n.In[1]), transposes(product)...)
			return
		}
		l.node(n, "Add", l.values(n.In...))
	},
	graph.L2Normalise: func(l *lowering, n *graph.Node) {
		x := l.value(n.In[0])
		norm := l.step("ReduceL2", []string{x}, ints("axes", 1), integer("keepdims", 1))
		l.node(n, "Div", []string{x, l.step("Max", []string{norm, l.constant(1e-12)})})
	},
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

func (l *lowering) matMul(n *graph.Node) {
	if !isGemm(n) {
		l.refuse(n, "only products of two matrices are written")
		return
	}
	l.node(n, "Gemm", l.values(n.In...), transposes(n)...)
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
