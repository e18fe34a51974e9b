package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"moco/graph"
	"moco/tensor"
)

// lowering collects the parts of the ONNX model while values of the graph are written.
type lowering struct {
	options      Options
	rules        map[graph.Op]func(l *lowering, n *graph.Node)
	graph        []byte   // the fields of the GraphProto except the weights
	initialisers [][]byte // the weights, in pieces
	outputs      map[*graph.Node]string
	names        map[*graph.Node]string // of the values that have been written
	taken        map[string]bool        // names of values, written or reserved
	batched      map[*graph.Node]bool   // whether a value has the batch as its first axis; see hasBatch
	images       *graph.Node            // an input, which knows the length of the batch; nil: none
	err          error                  // the first one
}

// hasBatch reports whether n's first axis is the batch, which is free in the model: it depends on an
// input, or repeats a value for each image.
func (l *lowering) hasBatch(n *graph.Node) bool {
	known, ok := l.batched[n]
	if !ok {
		known = n.Op == graph.Input || l.perImage(n) || slices.ContainsFunc(n.In, l.hasBatch)
		l.batched[n] = known
	}
	return known
}

// perImage reports whether n has a copy of a value for each image.
func (l *lowering) perImage(n *graph.Node) bool {
	return n.Op == graph.Repeat && l.images != nil && n.Shape[0] == l.images.Shape[0]
}

// hasPixels reports whether n's channels stand before its height and width in the model.
func (l *lowering) hasPixels(n *graph.Node) bool { return len(n.Shape) == 4 && l.hasBatch(n) }

// value is the name of n's value. It writes the value first if that has not happened yet.
func (l *lowering) value(n *graph.Node) string {
	if name, ok := l.names[n]; ok {
		return name
	}
	rule, ok := l.rules[n.Op]
	if !ok {
		l.refuse(n, "")
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

// free takes a name that no value has yet: the wanted one, with a number appended if it is taken.
func (l *lowering) free(want string) string {
	name := want
	for i := 2; l.taken[name]; i++ {
		name = fmt.Sprintf("%s_%d", want, i)
	}
	l.taken[name] = true
	return name
}

// node writes a node that makes n's value. The node is named after its output, or the layer whose
// weights it reads, or its operator.
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
	l.write(op, in, []string{name}, attributes)
}

// step writes a node whose value does not exist on the graph, and returns the value's name.
func (l *lowering) step(op string, in []string, attributes ...[]byte) string {
	name := l.free(op)
	l.write(op, in, []string{name}, attributes)
	return name
}

// write writes a node that is named after its first output.
func (l *lowering) write(op string, in, out []string, attributes [][]byte) {
	var b []byte
	for _, i := range in {
		b = text(b, nodeInput, i)
	}
	for _, o := range out {
		b = text(b, nodeOutput, o)
	}
	b = text(text(b, nodeName, out[0]), nodeOp, op)
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

// axes are the axes of a batch in ONNX's order: channels before height and width.
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

// input declares an input. It turns bytes into the graph's input by the steps of augment's
// Policy.View, in their order, so that pixels are the same to the last bit.
func (l *lowering) input(n *graph.Node) {
	name := l.free(n.Name)
	p := l.options.Pixels
	if n.Type != tensor.Float32 || p != nil && (len(n.Shape) != 4 || n.Shape[3] != 3) {
		l.fail(fmt.Errorf("%v cannot be an input: inputs are features, or images of three channels", n))
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

// initialiser keeps a constant without copying its bytes.
func (l *lowering) initialiser(name string, t *tensor.Tensor) { l.raw(name, float, t.Shape, t.Bytes()) }

// raw keeps a constant of any type by its bytes, in the order of little-endian machines.
func (l *lowering) raw(name string, t elementType, shape tensor.Shape, content []byte) {
	var head []byte
	for _, d := range shape {
		head = number(head, tensorDims, uint64(d))
	}
	head = text(number(head, tensorType, uint64(t)), tensorName, name)
	head = protowire.AppendVarint(protowire.AppendTag(head, tensorRaw, protowire.BytesType), uint64(len(content)))
	field := protowire.AppendTag(nil, graphInitialiser, protowire.BytesType)
	field = protowire.AppendVarint(field, uint64(len(head)+len(content)))
	l.initialisers = append(l.initialisers, append(field, head...), content)
}

// integers declares a vector of int64, such as a shape.
func (l *lowering) integers(v ...int) string {
	var content []byte
	for _, i := range v {
		content = binary.LittleEndian.AppendUint64(content, uint64(i))
	}
	name := l.free("integers")
	l.raw(name, int64s, tensor.Shape{len(v)}, content)
	return name
}

// constant declares one number.
func (l *lowering) constant(v float64) string {
	name := l.free("constant")
	l.initialiser(name, tensor.FromFloat32s([]float32{float32(v)}))
	return name
}

// channels declares one number for each channel of images.
func (l *lowering) channels(name string, v [3]float32) string {
	name = l.free(name)
	l.initialiser(name, tensor.FromFloat32s(v[:], 3, 1, 1))
	return name
}
