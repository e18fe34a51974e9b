package enginetest

import (
	"fmt"
	"slices"

	"moco/graph"
	"moco/tensor"
)

// family is what the tests know of the operations of one file in package graph.
type family struct {
	// cases hold an engine to the definitions, over shapes that fit no vector. Every kind of the
	// family is in one of them.
	cases func() []Case
	// differentiable has graphs y(x, ...) whose gradients are compared with finite differences,
	// some for each kind that has a gradient. Of the inputs, those named i... are integers, and
	// those named d... get no gradient.
	differentiable map[graph.Op][]func(g *graph.Graph) *graph.Node
}

var families = []family{
	convolutions, norms, elementwise, poolings, matrices, rows, shapes, constants, contrasts, labels, estimations, optimizers,
	replicas, layerNorms, attentions,
}

// kindCases has cases for every kind of node.
func kindCases() []Case {
	var cases []Case
	for _, f := range families {
		cases = append(cases, f.cases()...)
	}
	return cases
}

const f32, i32 = tensor.Float32, tensor.Int32

// setting gives inputs and variables their values, by index.
type setting = map[string]func(i int) float64

// unary makes a case of one float input.
func unary(name string, shape []int, build func(g *graph.Graph, x *graph.Node) *graph.Node) Case {
	return Case{Name: fmt.Sprintf("%s of %v", name, tensor.Shape(shape)), Build: func(g *graph.Graph) {
		g.Output("y", build(g, g.Input("x", f32, shape...)))
	}}
}

// tokens are features of n examples of t tokens that an engine may keep as bfloat16: a product of an
// input of a name and a variable.
func tokens(g *graph.Graph, name string, n, t, channels int) *graph.Node {
	return g.MatMul(g.Input(name, f32, n, t, 5), g.Variable("w."+name, f32, channels, 5), false, true)
}

// outputGradients makes outputs of the gradients of y, named "d" and the operand's name, given an
// input "dy". It leaves y itself to the caller.
func outputGradients(g *graph.Graph, y *graph.Node, wrt ...*graph.Node) {
	dy := g.Input("dy", f32, slices.Clone(y.Shape)...)
	for i, d := range g.Gradients(y, dy, wrt) {
		g.Output("d"+wrt[i].Name, d)
	}
}

// builds is short for the graphs of one kind's gradient tests.
type builds = []func(g *graph.Graph) *graph.Node
