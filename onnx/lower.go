package onnx

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"moco/graph"
	"moco/tensor"
)

// lowering collects what the values of a graph become.
type lowering struct {
	options      Options
	graph        []byte   // the fields of the GraphProto, but for
	initialisers [][]byte // the weights, in pieces
	outputs      map[*graph.Node]string
	names        map[*graph.Node]string // of values that are there already
	taken        map[string]bool
	err          error // the first
}

// rules has an entry for each kind of node that inference is made of.
var rules map[graph.Op]func(l *lowering, n *graph.Node)

func init() { // the rules lower their operands by them
	rules = map[graph.Op]func(l *lowering, n *graph.Node){
		graph.Input:    (*lowering).input,
		graph.Variable: (*lowering).variable,
		graph.Conv: func(l *lowering, n *graph.Node) {
			a := n.Attr.(graph.ConvAttr)
			k, s, p := a.Kernel, a.Stride, a.Pad
			l.node(n, "Conv", l.values(n.In...), ints("kernel_shape", k, k), ints("strides", s, s), ints("pads", p, p, p, p))
		},
		graph.Normalise: (*lowering).normalise,
		graph.ReLU:      func(l *lowering, n *graph.Node) { l.node(n, "Relu", l.values(n.In...)) },
		graph.MaxPool: func(l *lowering, n *graph.Node) {
			a := n.Attr.(graph.PoolAttr)
			k, s, p := a.Kernel, a.Stride, a.Pad
			l.node(n, "MaxPool", l.values(n.In...), ints("kernel_shape", k, k), ints("strides", s, s), ints("pads", p, p, p, p))
		},
		graph.AveragePool: func(l *lowering, n *graph.Node) { // [N,C,1,1], and that flat
			pooled := l.step("GlobalAveragePool", l.values(n.In...))
			l.node(n, "Flatten", []string{pooled}, integer("axis", 1))
		},
		graph.WeightedSum: (*lowering).weightedSum,
		graph.MatMul: func(l *lowering, n *graph.Node) {
			l.node(n, "Gemm", l.values(n.In...), transposes(n)...)
		},
		graph.BiasAdd: func(l *lowering, n *graph.Node) {
			if product := n.In[0]; product.Op == graph.MatMul {
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
}

// value is the name of n's value, which is computed where it is not yet.
func (l *lowering) value(n *graph.Node) string {
	if name, ok := l.names[n]; ok {
		return name
	}
	rule, ok := rules[n.Op]
	if !ok {
		l.fail(fmt.Errorf("%v has no place in a model for inference", n))
		return ""
	}
	rule(l, n)
	return l.names[n]
}

func (l *lowering) values(nodes ...*graph.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, l.value(n))
	}
	return names
}

func (l *lowering) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// free is a name like want that no value has yet.
func (l *lowering) free(want string) string {
	name := want
	for i := 2; l.taken[name]; i++ {
		name = fmt.Sprintf("%s_%d", want, i)
	}
	l.taken[name] = true
	return name
}

// node writes a node whose value is n's. Its name is that of the output, or of the layer whose weights it reads, or of its operator.
func (l *lowering) node(n *graph.Node, op string, in []string, attributes ...[]byte) {
	name, ok := l.outputs[n]
	if !ok {
		name = op
		for _, operand := range n.In {
			if layer := strings.LastIndex(operand.Name, "."); operand.Op == graph.Variable && layer > 0 {
				name = operand.Name[:layer]
			}
		}
		name = l.free(name)
	}
	l.names[n] = name
	l.write(op, in, name, attributes)
}

// step writes a node whose value is none of the graph's, and returns its name.
func (l *lowering) step(op string, in []string, attributes ...[]byte) string {
	name := l.free(op)
	l.write(op, in, name, attributes)
	return name
}

func (l *lowering) write(op string, in []string, name string, attributes [][]byte) {
	var b []byte
	for _, i := range in {
		b = text(b, nodeInput, i)
	}
	b = text(text(text(b, nodeOutput, name), nodeName, name), nodeOp, op)
	for _, a := range attributes {
		b = message(b, nodeAttribute, a)
	}
	l.graph = message(l.graph, graphNode, b)
}

func integer(name string, v int) []byte {
	return number(number(text(nil, attributeName, name), attributeInt, uint64(v)), attributeType, typeInt)
}

func ints(name string, v ...int) []byte {
	b := text(nil, attributeName, name)
	for _, i := range v {
		b = number(b, attributeInts, uint64(i))
	}
	return number(b, attributeType, typeInts)
}

func real(name string, v float64) []byte {
	b := protowire.AppendTag(text(nil, attributeName, name), attributeFloat, protowire.Fixed32Type)
	return number(protowire.AppendFixed32(b, math.Float32bits(float32(v))), attributeType, typeFloat)
}

// transposes are Gemm's attributes for a product.
func transposes(n *graph.Node) (attributes [][]byte) {
	at := n.Attr.(graph.MatMulAttr)
	if at.TransposeA {
		attributes = append(attributes, integer("transA", 1))
	}
	if at.TransposeB {
		attributes = append(attributes, integer("transB", 1))
	}
	return attributes
}

// axes are those of a batch, with the channels where ONNX has them.
func (l *lowering) axes(n *graph.Node) []axis {
	if len(n.Shape) == 0 {
		l.fail(fmt.Errorf("%v has no axis for the batch", n))
		return nil
	}
	s := n.Shape
	if len(s) == 4 {
		s = tensor.Shape{s[0], s[3], s[1], s[2]}
	}
	out := []axis{0}
	for _, d := range s[1:] {
		out = append(out, axis(d))
	}
	return out
}

// input declares an input, and makes of bytes what the graph takes, in the order of augment's Policy.View, so that it is the same to the last bit.
func (l *lowering) input(n *graph.Node) {
	name := l.free(n.Name)
	p := l.options.Pixels
	if n.Type != tensor.Float32 || p != nil && (len(n.Shape) != 4 || n.Shape[3] != 3) {
		l.fail(fmt.Errorf("%v cannot be an input: those are features, or images of three channels", n))
		return
	}
	if p == nil {
		l.graph = message(l.graph, graphInput, valueInfo(name, float, l.axes(n)))
		l.names[n] = name
		return
	}
	l.graph = message(l.graph, graphInput, valueInfo(name, uint8s, l.axes(n)))
	x := l.step("Cast", []string{name}, integer("to", int(float)))
	x = l.step("Div", []string{x, l.constant(255)})
	x = l.step("Sub", []string{x, l.channels("mean", p.Mean)})
	l.names[n] = l.step("Div", []string{x, l.channels("std", p.Std)})
}

func (l *lowering) variable(n *graph.Node) {
	t := l.options.Weights(n.Name)
	if t == nil || t.Type != n.Type || !t.Shape.Equal(n.Shape) || t.Type != tensor.Float32 {
		l.fail(fmt.Errorf("there is no float32 tensor for %v", n))
		return
	}
	l.names[n] = l.free(n.Name)
	l.initialiser(l.names[n], t)
}

// initialiser keeps a constant: its bytes are not copied.
func (l *lowering) initialiser(name string, t *tensor.Tensor) {
	var head []byte
	for _, d := range t.Shape {
		head = number(head, tensorDims, uint64(d))
	}
	head = text(number(head, tensorType, uint64(float)), tensorName, name)
	head = protowire.AppendVarint(protowire.AppendTag(head, tensorRaw, protowire.BytesType), uint64(len(t.Bytes())))
	field := protowire.AppendTag(nil, graphInitialiser, protowire.BytesType)
	field = protowire.AppendVarint(field, uint64(len(head)+len(t.Bytes())))
	l.initialisers = append(l.initialisers, append(field, head...), t.Bytes())
}

// constant is a number.
func (l *lowering) constant(v float64) string {
	name := l.free("constant")
	l.initialiser(name, tensor.FromFloat32s([]float32{float32(v)}))
	return name
}

// channels is a number for each channel of images.
func (l *lowering) channels(name string, v [3]float32) string {
	name = l.free(name)
	l.initialiser(name, tensor.FromFloat32s(v[:], 3, 1, 1))
	return name
}

func (l *lowering) normalise(n *graph.Node) {
	x, mean, variance, gamma, beta := n.In[0], n.In[1], n.In[2], n.In[3], n.In[4]
	if len(mean.Shape) != 1 {
		l.fail(fmt.Errorf("%v takes its statistics from splits of the batch; only running statistics have a place in a model for inference", n))
		return
	}
	l.node(n, "BatchNormalization", l.values(x, gamma, beta, mean, variance), real("epsilon", n.Attr.(graph.NormAttr).Epsilon))
}

// weightedSum scales the terms that have a coefficient and adds them up, in order.
func (l *lowering) weightedSum(n *graph.Node) {
	a := n.Attr.(graph.WeightedSumAttr)
	if len(n.In) > len(a.Coefficients) {
		l.fail(fmt.Errorf("%v has a factor that is computed, which has no place in a model for inference", n))
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
