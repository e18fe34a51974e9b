package graph

import "moco/tensor"

// TrustRatio is the kind that optimizers need besides WeightedSum.
const TrustRatio Op = "TrustRatio"

// TrustAttr belongs to TrustRatio.
type TrustAttr struct {
	Trust float64 // the trust coefficient, eta in the paper
	Decay float64 // the weight decay, beta in the paper
}

// TrustRatio is what LARS scales a layer's rate by (You et al. 2017, Eq. 6), a scalar:
//
//	trust*|w| / (|gradient| + decay*|w|), and 1 where a norm is 0
func (g *Graph) TrustRatio(w, gradient *Node, trust, decay float64) *Node {
	return g.add(TrustRatio, TrustAttr{Trust: trust, Decay: decay}, w, gradient)
}

func init() {
	register(TrustRatio, rule[TrustAttr]{
		check: func(in []*Node, _ TrustAttr) (tensor.Type, tensor.Shape, error) {
			if _, _, err := sameShape(2)(in, NoAttr{}); err != nil {
				return bad("%w", err)
			}
			return floats()
		},
	})
}
