// Package onnx writes graphs for inference as ONNX models, for runtimes that know nothing of moco.
//
// It lowers a graph as an engine does, but to nodes of opset 17. rules.go has a line for each kind
// of node. A graph is NHWC and ONNX is NCHW: values with four axes that come of an input change their
// axes, and the weights of convolutions are OIHW in both. The first axis of inputs and outputs is
// free and named N, whatever batch the graph was built for, so no node may cut or join batches.
package onnx

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"moco/graph"
	"moco/tensor"
)

// Opset is the version of ONNX's operators that the files require.
const Opset = 17

// irVersion is the version of the file format that belongs to Opset.
const irVersion = 8

// Options give the parts of a model that are not in its graph.
type Options struct {
	// Weights returns the value of a variable of the graph. The model keeps the variable's name.
	Weights func(name string) *tensor.Tensor
	// Pixels, if not nil, makes the input of images bytes. The model divides each channel by 255,
	// subtracts Mean and divides by Std.
	Pixels   *Pixels
	Doc      string            // a description for people
	Metadata map[string]string // the same for programs
}

// Pixels has, for each channel, the numbers that turn bytes into the graph's input.
type Pixels struct{ Mean, Std [3]float32 }

// Write writes the outputs of g, and only what they need, as an ONNX model. The same graph, weights
// and options give the same bytes. A node that has no place in inference gives an
// *UnsupportedError.
func Write(w io.Writer, g *graph.Graph, o Options) error {
	if err := g.Check(); err != nil {
		return fmt.Errorf("ONNX: %w", err)
	}
	l := &lowering{
		options: o, rules: rules,
		outputs: map[*graph.Node]string{}, names: map[*graph.Node]string{}, taken: map[string]bool{},
		batched: map[*graph.Node]bool{}, images: batchOf(g),
	}
	for _, out := range g.Outputs {
		if l.outputs[out.Node] != "" {
			return fmt.Errorf("ONNX: outputs %q and %q are one value; write one of them", l.outputs[out.Node], out.Name)
		}
		l.outputs[out.Node] = out.Name
		l.taken[out.Name] = true
	}
	for _, out := range g.Outputs {
		l.value(out.Node)
		l.graph = message(l.graph, graphOutput, valueInfo(out.Name, float, l.axes(out.Node)))
	}
	if l.err != nil {
		return fmt.Errorf("ONNX: %w", l.err)
	}
	l.graph = text(l.graph, graphName, "moco")

	var model []byte
	model = number(model, modelIRVersion, irVersion)
	model = message(model, modelOpset, number(nil, opsetVersion, Opset))
	model = text(model, modelProducer, "moco")
	model = text(model, modelDoc, o.Doc)
	for _, key := range slices.Sorted(maps.Keys(o.Metadata)) {
		model = message(model, modelMetadata, text(text(nil, pairKey, key), pairValue, o.Metadata[key]))
	}
	// The graph is written in pieces, so that no weights are copied.
	size := len(l.graph)
	for _, piece := range l.initialisers {
		size += len(piece)
	}
	if size > math.MaxInt32-len(model)-16 {
		return errors.New("ONNX: the weights take more than the 2 GiB that a file can hold; export a smaller encoder")
	}
	model = protowire.AppendVarint(protowire.AppendTag(model, modelGraph, protowire.BytesType), uint64(size))
	for _, piece := range append([][]byte{model, l.graph}, l.initialisers...) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// batchOf is an input of the graph, by which a model knows the length of a batch; nil if there is
// none.
func batchOf(g *graph.Graph) *graph.Node {
	for _, n := range g.Nodes {
		if n.Op == graph.Input && len(n.Shape) > 0 {
			return n
		}
	}
	return nil
}

// Numbers of the fields that are written, from onnx.proto3 (github.com/onnx/onnx), by message.
const (
	// ModelProto
	modelIRVersion, modelProducer, modelDoc, modelGraph, modelOpset, modelMetadata = 1, 2, 6, 7, 8, 14
	// OperatorSetIdProto; without a domain it is ONNX's own
	opsetVersion = 2
	// StringStringEntryProto
	pairKey, pairValue = 1, 2
	// GraphProto
	graphNode, graphName, graphInitialiser, graphInput, graphOutput = 1, 2, 5, 11, 12
	// NodeProto
	nodeInput, nodeOutput, nodeName, nodeOp, nodeAttribute = 1, 2, 3, 4, 5
	// AttributeProto, and the values of its type
	attributeName, attributeFloat, attributeInt, attributeInts = 1, 2, 3, 8
	attributeType, typeFloat, typeInt, typeInts                = 20, 1, 2, 7
	// TensorProto, and the values of its DataType
	tensorDims, tensorType, tensorName, tensorRaw = 1, 2, 8, 9
	float, uint8s, int64s                         = elementType(1), elementType(2), elementType(7)
	// ValueInfoProto, TypeProto and TypeProto.Tensor
	valueName, valueType, typeTensor, tensorElement, tensorShape = 1, 2, 1, 1, 2
	// TensorShapeProto and its Dimension
	shapeAxis, axisValue, axisName = 1, 1, 2
)

// elementType is ONNX's number for a tensor's type.
type elementType uint64

func number(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func text(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func message(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

// axis is the length of an axis. 0 is the free axis of the batch.
type axis int

func valueInfo(name string, t elementType, axes []axis) []byte {
	var shape []byte
	for _, a := range axes {
		if a == 0 {
			shape = message(shape, shapeAxis, text(nil, axisName, "N"))
		} else {
			shape = message(shape, shapeAxis, number(nil, axisValue, uint64(a)))
		}
	}
	tensorOf := message(number(nil, tensorElement, uint64(t)), tensorShape, shape)
	return message(text(nil, valueName, name), valueType, message(nil, typeTensor, tensorOf))
}
