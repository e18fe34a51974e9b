package graph

import (
	"fmt"
	"maps"
	"slices"

	"moco/tensor"
)

// Op is the kind of a node, by its name. Each kind stands in the file of its family: the method
// that builds it, whose comment is its definition, and its rule. The letters in the comments are N
// images, H x W pixels, T tokens of an image, C channels in, O channels out and S splits of the
// batch.
type Op string

// String is the kind's name.
func (o Op) String() string { return string(o) }

// NoAttr is the attribute of every kind that has no constants.
type NoAttr struct{}

// rule is what the graph knows of a kind whose attribute is an A.
type rule[A any] struct {
	// check returns the type and shape that follow from the operands, or says why they do not fit.
	check func(in []*Node, a A) (tensor.Type, tensor.Shape, error)
	// gradient appends the gradients of the operands, given the gradient dy of n's value; it
	// returns nil for an operand that gets none. A kind without this function is not
	// differentiable.
	gradient func(g *Graph, n, dy *Node, a A) []*Node
	// cost counts a node; nil is a few operations for each element of the largest value.
	cost func(n *Node, a A) Cost
	// activation says whether a value is an activation; nil is never. See Node.Activation.
	activation func(in []*Node, shape tensor.Shape) bool
	// varies says whether a value differs from replica to replica; nil: if an operand does.
	varies func(in []*Node) bool
}

// kinds holds the rule of every kind. The files of the families fill it in their init functions. A
// variable's initialiser cannot: the gradient of a product is made of products, so the rule would
// refer to itself.
var kinds = map[Op]rule[any]{}

// register adds the rule of a kind to the table.
func register[A any](op Op, r rule[A]) {
	if _, ok := kinds[op]; ok {
		panic(fmt.Sprintf("graph: %v is registered twice", op))
	}
	erased := rule[any]{
		check: func(in []*Node, attr any) (tensor.Type, tensor.Shape, error) {
			a, ok := attr.(A)
			if !ok {
				return bad("the attribute is a %T, not a %T", attr, a)
			}
			return r.check(in, a)
		},
		activation: r.activation,
		varies:     r.varies,
	}
	if r.gradient != nil {
		erased.gradient = func(g *Graph, n, dy *Node, attr any) []*Node { return r.gradient(g, n, dy, attr.(A)) }
	}
	if r.cost != nil {
		erased.cost = func(n *Node, attr any) Cost { return r.cost(n, attr.(A)) }
	}
	kinds[op] = erased
}

// Ops lists the kinds that compute something, by name: all but Input and Variable.
func Ops() []Op { return slices.Sorted(maps.Keys(kinds)) }

// Differentiable lists the kinds that have a gradient, by name.
func Differentiable() []Op {
	return slices.DeleteFunc(Ops(), func(op Op) bool { return kinds[op].gradient == nil })
}

// add builds a node of the given kind. Its type and shape follow from the kind's rule.
func (g *Graph) add(op Op, attr any, in ...*Node) *Node {
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
	return g.append(&Node{Op: op, Type: t, Shape: s, In: in, Attr: attr, Activation: activation(op, in, s),
		Varies: varies(op, in)})
}

// infer is the type and shape of a node by its kind's rule.
func infer(op Op, attr any, in []*Node) (tensor.Type, tensor.Shape, error) {
	kind, ok := kinds[op]
	if !ok {
		return 0, nil, fmt.Errorf("%v has no rule", op)
	}
	t, s, err := kind.check(in, attr)
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

// activation says whether a node is an activation by its kind's rule.
func activation(op Op, in []*Node, shape tensor.Shape) bool {
	rule := kinds[op].activation
	return rule != nil && rule(in, shape)
}

// always is the rule of kinds whose values have a row of channels for each pixel.
func always([]*Node, tensor.Shape) bool { return true }

// asOperands is the rule of kinds whose values have the form of their operands: activations give
// one.
func asOperands(in []*Node, _ tensor.Shape) bool {
	return slices.ContainsFunc(in, func(x *Node) bool { return x.Activation })
}
