// Package reference says what each operation of a graph computes: one function in float64 for each
// kind of node, plain enough to be checked by eye. The equations stand in package graph. Engines
// are tested against these definitions, and may run an operation by its definition where they have
// no kernel.
package reference

import (
	"fmt"
	"slices"

	"moco/graph"
	"moco/tensor"
)

// Value is an array in float64, in row-major order. Integers are exact in it.
type Value struct {
	t     tensor.Type
	shape tensor.Shape
	x     []float64
}

// NewValue returns an array of zeros.
func NewValue(t tensor.Type, shape tensor.Shape) *Value {
	return View(t, shape, make([]float64, shape.Elements()))
}

// View returns an array whose storage is x, which must have as many elements as the shape.
func View(t tensor.Type, shape tensor.Shape, x []float64) *Value {
	return &Value{t: t, shape: slices.Clone(shape), x: x}
}

// Type is the type of tensor that the array stands for.
func (v *Value) Type() tensor.Type { return v.t }

// Shape is the array's shape.
func (v *Value) Shape() tensor.Shape { return v.shape }

// Float64s is the array's own storage.
func (v *Value) Float64s() []float64 { return v.x }

// Read copies t, which must have the array's type and shape.
func (v *Value) Read(t *tensor.Tensor) {
	if v.t == tensor.Int32 {
		for i, x := range t.Int32s() {
			v.x[i] = float64(x)
		}
		return
	}
	for i, x := range t.Float32s() {
		v.x[i] = float64(x)
	}
}

// Write rounds the array to t, which must have its type and shape.
func (v *Value) Write(t *tensor.Tensor) {
	if v.t == tensor.Int32 {
		to := t.Int32s()
		for i, x := range v.x {
			to[i] = int32(x)
		}
		return
	}
	to := t.Float32s()
	for i, x := range v.x {
		to[i] = float32(x)
	}
}

// definition computes a node's value from those of its operands. y is zero when it begins.
type definition func(n *graph.Node, in []*Value, y *Value)

// definitions holds the definition of every kind. The files of the families fill it.
var definitions = map[graph.Op]definition{}

func register(op graph.Op, d definition) { definitions[op] = d }

// plain is the definition of a kind without constants.
func plain(f func(in []*Value, y *Value)) definition {
	return func(_ *graph.Node, in []*Value, y *Value) { f(in, y) }
}

// with is the definition of a kind whose attribute is an A.
func with[A any](f func(a A, in []*Value, y *Value)) definition {
	return func(n *graph.Node, in []*Value, y *Value) { f(n.Attr.(A), in, y) }
}

// UndefinedError is returned for a kind of node that has no definition.
type UndefinedError struct {
	Node *graph.Node
}

func (e *UndefinedError) Error() string { return fmt.Sprintf("%v has no definition", e.Node) }

// Defined reports whether a kind has a definition. Every kind in graph.Ops has one, inputs and
// variables have none.
func Defined(op graph.Op) bool { return definitions[op] != nil || collectives[op] != nil }

// Compute computes the value of n into y, from the values of its operands in their order. The node
// must be one of a graph that passed Check, and the values must have the types and shapes of their
// nodes. A kind that takes the values of all replicas is for ComputeReplicas.
func Compute(n *graph.Node, in []*Value, y *Value) error {
	define, ok := definitions[n.Op]
	if !ok {
		return &UndefinedError{n}
	}
	clear(y.x)
	define(n, in, y)
	return nil
}

// eachRow calls f for each row of a matrix or of a batch of them, with its number and where it lies.
func eachRow(m *Value, f func(r, lo, hi int)) {
	each := m.shape[len(m.shape)-1]
	for r := range len(m.x) / each {
		f(r, r*each, (r+1)*each)
	}
}

func dot(a, b []float64) float64 {
	var s float64
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}
