package graph

import (
	"slices"

	"moco/tensor"
)

// Constant is the kind of values that are known when a graph is built.
const Constant Op = "Constant"

// ConstantAttr belongs to Constant.
type ConstantAttr struct {
	Shape  tensor.Shape
	Values []float64 // in row-major order; a single one stands for all elements. Nobody changes it
}

// At is the value of element i, in row-major order.
func (a ConstantAttr) At(i int) float64 {
	if len(a.Values) == 1 {
		return a.Values[0]
	}
	return a.Values[i]
}

// Constant is a value of the given shape, whose elements are values in row-major order. The slice
// must not be changed afterwards.
func (g *Graph) Constant(values []float64, shape ...int) *Node {
	return g.add(Constant, ConstantAttr{Shape: slices.Clone(tensor.Shape(shape)), Values: values})
}

// Fill is a constant that is the same everywhere: a scalar, or a value of the given shape.
func (g *Graph) Fill(value float64, shape ...int) *Node {
	return g.Constant([]float64{value}, shape...)
}

func init() {
	register(Constant, rule[ConstantAttr]{
		check: func(in []*Node, a ConstantAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 0 {
				return bad("takes no operands")
			}
			for _, d := range a.Shape {
				if d < 1 {
					return bad("shape %v has an empty axis", a.Shape)
				}
			}
			if n := len(a.Values); n != 1 && n != a.Shape.Elements() {
				return bad("%d values for %v", n, a.Shape)
			}
			return floats(a.Shape...)
		},
		cost: func(*Node, ConstantAttr) Cost { return Cost{} },
	})
}
