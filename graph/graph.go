// Package graph describes a computation as data: nodes with shapes, what they read, and which variables
// they change. It does no arithmetic; an engine compiles a graph and runs it.
//
// A graph is built through methods named after the node kinds (g.Conv, g.ReLU, ...), each documented with
// its equation in ops.go. Build errors (shapes that do not fit) are collected: build everything, then
// call Check once.
//
// All nodes are pure: a node that reads a variable sees the value from before the run. Assign names the
// value that a variable takes when the run is over.
package graph

import (
	"errors"
	"fmt"

	"moco/tensor"
)

// Node is one value of the computation. Nodes are immutable once built.
type Node struct {
	Op    Op
	Name  string // of an Input or Variable; empty elsewhere
	Type  tensor.Type
	Shape tensor.Shape
	In    []*Node
	Attr  Attr
	ID    int // position in Graph.Nodes
}

// Attr holds the constants of a node; ops.go says which kind uses which.
type Attr struct {
	Kernel, Stride, Pad    int
	Splits                 int
	Height, Width          int
	TransposeA, TransposeB bool
	By, Modulo             int
	From, Count            int
	Epsilon, Temperature   float64
	Value, Keep, Decay     float64
	Half                   bool      // Variable: kept as bfloat16
	Coefficients           []float64 // WeightedSum: one a term
	Scalars                []int     // WeightedSum: index into In of each term's scalar factor, or -1
}

// String names the node in errors and tables: its kind, its name or that of its weights, its shape.
func (n *Node) String() string {
	name := n.Name
	if name == "" {
		for _, in := range n.In {
			if in.Op == Variable {
				name = in.Name
			}
		}
	}
	if name == "" {
		return fmt.Sprintf("%v #%d (%v)", n.Op, n.ID, n.Shape)
	}
	return fmt.Sprintf("%v %s (%v)", n.Op, name, n.Shape)
}

// Assignment gives a variable its value for the next run.
type Assignment struct {
	Variable, Value *Node
}

// Output is a value that the caller reads after a run.
type Output struct {
	Name string
	Node *Node
}

// Graph is a computation: nodes in an order in which they can run, and what becomes of their values.
type Graph struct {
	Nodes       []*Node // every node stands behind those that it reads
	Assignments []Assignment
	Outputs     []Output
	Precision   Precision

	errs   []error
	broken *Node          // stands for every value that could not be built
	wanted map[*Node]bool // while Gradients runs: the nodes whose gradient is needed
}

// Precision is how exact an engine has to be with activations: the values of rank 4 that are computed from images. Everything else (inputs, variables and what
// becomes of them, statistics, features, losses) is float32 either way.
type Precision int

const (
	// Float32 keeps activations in float32 and adds up products in it.
	Float32 Precision = iota
	// BFloat16 lets an engine keep activations as bfloat16, and multiply them so; products are added up in float32.
	BFloat16
)

// New returns an empty graph.
func New() *Graph { return &Graph{} }

// Input is a value that the caller supplies at each run.
func (g *Graph) Input(name string, t tensor.Type, shape ...int) *Node {
	return g.leaf(Input, name, t, shape)
}

// Variable is a value that the engine keeps between runs, zero until it is written. A variable of rank 4 is
// a convolution's weights (OIHW) or something of their form.
func (g *Graph) Variable(name string, t tensor.Type, shape ...int) *Node {
	return g.leaf(Variable, name, t, shape)
}

// HalfVariable is a float32 matrix that the engine keeps as bfloat16: what is assigned or written is rounded. It halves the memory of a
// large one.
func (g *Graph) HalfVariable(name string, shape ...int) *Node {
	n := g.leaf(Variable, name, tensor.Float32, shape)
	if n == g.broken {
		return n
	}
	if len(shape) != 2 {
		return g.fail(fmt.Errorf("variable %q: only a matrix is kept as bfloat16", name))
	}
	n.Attr.Half = true
	return n
}

func (g *Graph) leaf(op Op, name string, t tensor.Type, shape []int) *Node {
	for _, n := range g.Nodes {
		if n.Op == op && n.Name == name {
			if op == Variable && n.Type == t && n.Shape.Equal(shape) {
				return n // a variable may be asked for again by its name
			}
			return g.fail(fmt.Errorf("%v %q is declared twice", op, name))
		}
	}
	if t != tensor.Float32 && t != tensor.Int32 {
		return g.fail(fmt.Errorf("%v %q: type %v is not one that graphs compute with", op, name, t))
	}
	for _, d := range shape {
		if d <= 0 {
			return g.fail(fmt.Errorf("%v %q: shape %v has an empty axis", op, name, tensor.Shape(shape)))
		}
	}
	return g.append(&Node{Op: op, Name: name, Type: t, Shape: append(tensor.Shape(nil), shape...)})
}

// Assign makes variable take value's value when the run is over.
func (g *Graph) Assign(variable, value *Node) {
	if variable == g.broken || value == g.broken {
		return // told already
	}
	switch {
	case variable.Op != Variable:
		g.fail(fmt.Errorf("cannot assign to %v: it is no variable", variable))
	case variable.Type != value.Type || !variable.Shape.Equal(value.Shape):
		g.fail(fmt.Errorf("cannot assign %v to %v: another type or shape", value, variable))
	default:
		for _, a := range g.Assignments {
			if a.Variable == variable {
				g.fail(fmt.Errorf("%v is assigned twice", variable))
			}
		}
		g.Assignments = append(g.Assignments, Assignment{variable, value})
	}
}

// Output makes the value of n readable under a name after each run.
func (g *Graph) Output(name string, n *Node) {
	for _, o := range g.Outputs {
		if o.Name == name {
			g.fail(fmt.Errorf("output %q is declared twice", name))
		}
	}
	if n != g.broken {
		g.Outputs = append(g.Outputs, Output{name, n})
	}
}

// Check returns every error made while building, and states the rules of a legal graph: operands stand
// before their users, shapes are those that the kind's rule gives.
func (g *Graph) Check() error {
	errs := append([]error(nil), g.errs...)
	for i, n := range g.Nodes {
		if n.ID != i {
			errs = append(errs, fmt.Errorf("%v stands at place %d", n, i))
		}
		for _, in := range n.In {
			if in.ID >= i || g.Nodes[in.ID] != in {
				errs = append(errs, fmt.Errorf("%v reads %v, which does not stand before it in this graph", n, in))
			}
		}
		if n.Op == Input || n.Op == Variable {
			continue
		}
		if t, s, err := infer(n.Op, n.Attr, n.In); err != nil {
			errs = append(errs, err)
		} else if t != n.Type || !s.Equal(n.Shape) {
			errs = append(errs, fmt.Errorf("%v should have shape %v and type %v", n, s, t))
		}
	}
	return errors.Join(errs...)
}

// fail records err and returns the node that stands for a value that could not be built.
func (g *Graph) fail(err error) *Node {
	g.errs = append(g.errs, err)
	if g.broken == nil {
		g.broken = &Node{Type: tensor.Float32, Shape: tensor.Shape{1, 1, 1, 1}}
	}
	return g.broken
}

// add builds a node of the given kind; its type and shape follow from the kind's rule.
func (g *Graph) add(op Op, attr Attr, in ...*Node) *Node {
	for i, n := range in {
		if n == nil {
			return g.fail(fmt.Errorf("%v: operand %d is missing", op, i))
		}
		if n == g.broken {
			return g.broken // the first error is enough
		}
	}
	t, s, err := infer(op, attr, in)
	if err != nil {
		return g.fail(err)
	}
	return g.append(&Node{Op: op, Type: t, Shape: s, In: in, Attr: attr})
}

func (g *Graph) append(n *Node) *Node {
	n.ID = len(g.Nodes)
	g.Nodes = append(g.Nodes, n)
	return n
}

func infer(op Op, attr Attr, in []*Node) (tensor.Type, tensor.Shape, error) {
	if int(op) >= len(kinds) || kinds[op].shape == nil {
		return 0, nil, fmt.Errorf("%v has no rule", op)
	}
	t, s, err := kinds[op].shape(in, attr)
	if err != nil {
		shapes := ""
		for i, n := range in {
			if i > 0 {
				shapes += ", "
			}
			shapes += fmt.Sprintf("%v %v", n.Type, n.Shape)
		}
		err = fmt.Errorf("%v(%s): %w", op, shapes, err)
	}
	return t, s, err
}
