// Package graph describes a computation as data: nodes with shapes, what they read, and which
// variables they change. It does no arithmetic; an engine compiles a graph and runs it.
//
// A graph is built through methods named after the kinds of nodes (g.Conv, g.ReLU, ...). Each
// stands in the file of its family, with its equation, and beside it the kind's attribute, check,
// gradient and cost: adding a kind is adding to one such file. Errors of building, such as shapes
// that do not fit, are collected: build everything, then call Check once.
//
// All nodes are pure: a node that reads a variable sees the value from before the run. Assign names
// the value that a variable takes when the run is over.
package graph

import (
	"errors"
	"fmt"

	"moco/tensor"
)

// Input and Variable are the kinds of nodes that compute nothing.
const (
	Input    Op = "Input"
	Variable Op = "Variable"
)

// Node is one value of the computation. Nodes are immutable once built.
type Node struct {
	Op    Op
	Name  string // of an Input or Variable; empty elsewhere
	Type  tensor.Type
	Shape tensor.Shape
	In    []*Node
	// Attr holds the constants of the node. Its type is the one that the kind's file says: a
	// ConvAttr for Conv, NoAttr for kinds without constants. Check makes sure of the type, so
	// n.Attr.(ConvAttr) is safe in a checked graph.
	Attr any
	// Activation is true of a value that has a row of channels for each of several places of an
	// example, and was computed from inputs: what a layer gives to the next one, or its gradient.
	// Inputs, variables, statistics, weights' gradients, features and losses are none. See
	// Precision.
	Activation bool
	// Varies is true of a value that may differ from replica to replica: see Graph.Replicas.
	Varies bool
	ID     int // position in Graph.Nodes
}

// VariableAttr belongs to Variable.
type VariableAttr struct {
	Stored Precision // how the engine keeps the values
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

// errVaries says why a value cannot be assigned.
var errVaries = errors.New("it varies from replica to replica; sum it over the replicas first, or gather it")

// Assignment gives a variable its value for the next run.
type Assignment struct {
	Variable, Value *Node
}

// Output is a value that the caller reads after a run.
type Output struct {
	Name string
	Node *Node
}

// Graph is a computation: nodes in an order in which they can run, and what becomes of their
// values.
type Graph struct {
	Nodes       []*Node // every node stands behind those that it reads
	Assignments []Assignment
	Outputs     []Output
	Precision   Precision
	// Replicas is how many replicas run the graph together, each on a share of the batch; 0 is 1. It
	// is set before anything is built. See ShareInput.
	Replicas int

	errs   []error
	broken *Node          // stands for every value that could not be built
	wanted map[*Node]bool // while Gradients runs: the nodes whose gradient is needed
}

// Precision is how exact an engine has to be with activations (see Node.Activation). Everything
// else is float32 either way.
type Precision int

const (
	// Float32 keeps activations in float32 and adds up products in it.
	Float32 Precision = iota
	// BFloat16 lets an engine keep activations as bfloat16, and multiply them so; products are
	// added up in float32.
	BFloat16
)

// String is the precision's name: "float32" or "bfloat16".
func (p Precision) String() string {
	if p == BFloat16 {
		return "bfloat16"
	}
	return "float32"
}

// New returns an empty graph.
func New() *Graph { return &Graph{} }

// Input is a value that the caller supplies at each run.
func (g *Graph) Input(name string, t tensor.Type, shape ...int) *Node {
	return g.leaf(&Node{Op: Input, Name: name, Type: t, Shape: shape, Attr: NoAttr{}})
}

// Variable is a value that the engine keeps between runs, zero until it is written. Weights of a
// convolution are OIHW.
func (g *Graph) Variable(name string, t tensor.Type, shape ...int) *Node {
	return g.leaf(&Node{Op: Variable, Name: name, Type: t, Shape: shape, Attr: VariableAttr{}})
}

// BFloat16Variable is a float32 variable that the engine keeps as bfloat16: what is assigned or
// written is rounded. It halves the memory of a large one.
func (g *Graph) BFloat16Variable(name string, shape ...int) *Node {
	return g.leaf(&Node{Op: Variable, Name: name, Type: tensor.Float32, Shape: shape, Attr: VariableAttr{BFloat16}})
}

// leaf adds an input or variable. A variable may be asked for again by its name.
func (g *Graph) leaf(leaf *Node) *Node {
	for _, n := range g.Nodes {
		if n.Op != leaf.Op || n.Name != leaf.Name {
			continue
		}
		if n.Op == Variable && n.Type == leaf.Type && n.Shape.Equal(leaf.Shape) && n.Attr == leaf.Attr {
			return n
		}
		return g.fail(fmt.Errorf("%v %q is declared twice", leaf.Op, leaf.Name))
	}
	if err := checkLeaf(leaf); err != nil {
		return g.fail(fmt.Errorf("%v %q: %w", leaf.Op, leaf.Name, err))
	}
	leaf.Shape = append(tensor.Shape(nil), leaf.Shape...)
	return g.append(leaf)
}

// checkLeaf states the rules of inputs and variables.
func checkLeaf(n *Node) error {
	if n.Type != tensor.Float32 && n.Type != tensor.Int32 {
		return fmt.Errorf("type %v is not one that graphs compute with", n.Type)
	}
	for _, d := range n.Shape {
		if d <= 0 {
			return fmt.Errorf("shape %v has an empty axis", n.Shape)
		}
	}
	switch a := n.Attr.(type) {
	case NoAttr:
		if n.Op == Input {
			return nil
		}
	case VariableAttr:
		if n.Op == Variable && (a.Stored == Float32 || n.Type == tensor.Float32) {
			return nil
		}
	}
	return fmt.Errorf("the attribute %v is not that of a %v", n.Attr, n.Type)
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
	case value.Varies:
		g.fail(fmt.Errorf("cannot assign %v to %v: %w", value, variable, errVaries))
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

// Check returns every error made while building, and states the rules of a legal graph: operands
// stand before their users, and types, shapes and attributes are those that the kind's rule gives.
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
		if err := g.checkReplicas(n); err != nil {
			errs = append(errs, err)
		}
		if n.Op == Input || n.Op == Variable {
			if err := checkLeaf(n); err != nil {
				errs = append(errs, fmt.Errorf("%v: %w", n, err))
			}
			continue
		}
		t, s, err := infer(n.Op, n.Attr, n.In)
		switch {
		case err != nil:
			errs = append(errs, err)
		case t != n.Type || !s.Equal(n.Shape):
			errs = append(errs, fmt.Errorf("%v should have shape %v and type %v", n, s, t))
		case n.Activation != activation(n.Op, n.In, s):
			errs = append(errs, fmt.Errorf("%v is taken for an activation, or not for one", n))
		}
	}
	for _, a := range g.Assignments {
		if a.Value.Varies {
			errs = append(errs, fmt.Errorf("%v is assigned to %v: %w", a.Value, a.Variable, errVaries))
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

func (g *Graph) append(n *Node) *Node {
	n.ID = len(g.Nodes)
	g.Nodes = append(g.Nodes, n)
	return n
}
