package graph

import (
	"errors"

	"moco/tensor"
)

// Constant is the kind of values that are known when a graph is built.
const Constant Op = "Constant"

// ConstantAttr belongs to Constant.
type ConstantAttr struct {
	Value *tensor.Tensor // nobody changes it
}

// Constant is a float32 value that is the same in each run. It must not be changed afterwards.
func (g *Graph) Constant(value *tensor.Tensor) *Node { return g.add(Constant, ConstantAttr{value}) }

func init() {
	register(Constant, rule[ConstantAttr]{
		check: func(in []*Node, a ConstantAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 0 {
				return bad("takes no operands")
			}
			if a.Value == nil || a.Value.Type != tensor.Float32 {
				return 0, nil, errors.New("is a float32 value")
			}
			return floats(a.Value.Shape...)
		},
		cost: func(*Node, ConstantAttr) Cost { return Cost{} },
	})
}
