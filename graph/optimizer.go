package graph

import "moco/tensor"

// The kinds that optimizers need besides WeightedSum.
const (
	TrustRatio    Op = "TrustRatio"
	Orthogonalise Op = "Orthogonalise"
	SecondMoment  Op = "SecondMoment"
	AdamStep      Op = "AdamStep"
)

// TrustAttr belongs to TrustRatio.
type TrustAttr struct {
	Trust float64 // the trust coefficient, eta in the paper
	Decay float64 // the weight decay, beta in the paper
}

// NewtonSchulz is the polynomial of a step of Orthogonalise, x -> A*x + B*x^3 + C*x^5, and the number of
// steps.
type NewtonSchulz struct {
	A, B, C float64
	Steps   int
}

// SecondMomentAttr belongs to SecondMoment.
type SecondMomentAttr struct {
	Keep float64 // share of the old moment in the new one, beta2 in the paper
}

// AdamAttr belongs to AdamStep.
type AdamAttr struct {
	Epsilon float64 // is added to the root of the second moment
	Decay   float64 // the weight decay, lambda in the paper
}

// Adam is a parameter and what moves it: the moments of its gradient, both of its shape, and
// scalars.
type Adam struct {
	Parameter     *Node
	First, Second *Node   // moments that know of this step's gradient: m and v of the paper
	Rate          *Node   // the learning rate
	FirstScale    *Node   // 1/(1-beta1^t) at step t, which counts from 1
	SecondScale   *Node   // 1/sqrt(1-beta2^t)
	Epsilon       float64 // is added to the root of the second moment
	Decay         float64 // the weight decay
}

// TrustRatio is what LARS scales a layer's rate by (You et al. 2017, Eq. 6), a scalar:
//
//	trust*|w| / (|gradient| + decay*|w|), and 1 where a norm is 0
func (g *Graph) TrustRatio(w, gradient *Node, trust, decay float64) *Node {
	return g.add(TrustRatio, TrustAttr{Trust: trust, Decay: decay}, w, gradient)
}

// Orthogonalise is near the orthogonal matrix next to x: the directions of x, all about as strong. The
// first axis of x are rows, the others together are columns. It is zero where x is.
//
//	x = x / |x|
//	x = A*x + B*(x x')x + C*(x x')(x x')x, n.Steps times
func (g *Graph) Orthogonalise(x *Node, n NewtonSchulz) *Node { return g.add(Orthogonalise, n, x) }

// SecondMoment is the running mean of a gradient's squares: keep*v + (1-keep)*gradient*gradient.
func (g *Graph) SecondMoment(v, gradient *Node, keep float64) *Node {
	return g.add(SecondMoment, SecondMomentAttr{keep}, v, gradient)
}

// AdamStep is the parameter after a step of AdamW (Loshchilov and Hutter 2019, Algorithm 2, in the
// form of PyTorch, where the rate scales the decay too):
//
//	p - rate*decay*p - rate * (m*firstScale) / (sqrt(v)*secondScale + epsilon)
//
// An engine that finds the moments made by WeightedSum and SecondMoment, and all three assigned, can
// do the whole update in one pass over memory.
func (g *Graph) AdamStep(a Adam) *Node {
	return g.add(AdamStep, AdamAttr{Epsilon: a.Epsilon, Decay: a.Decay},
		a.Parameter, a.First, a.Second, a.Rate, a.FirstScale, a.SecondScale)
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
	register(Orthogonalise, rule[NewtonSchulz]{
		check: func(in []*Node, n NewtonSchulz) (tensor.Type, tensor.Shape, error) {
			if len(in) == 1 && len(in[0].Shape) < 2 {
				return bad("takes a matrix, not %v", in[0].Shape)
			}
			if n.Steps < 1 {
				return bad("takes at least one step, not %d", n.Steps)
			}
			return sameShape(1)(in, NoAttr{})
		},
		// Two products with x, and of its square four a step, without one in the first and two in the last.
		cost: func(n *Node, a NewtonSchulz) Cost {
			rows, all := int64(n.Shape[0]), elements(n.Shape)
			short := min(rows, all/rows)
			return n.costs(2 * short * (2*all + int64(4*a.Steps-3)*short*short))
		},
	})
	register(SecondMoment, rule[SecondMomentAttr]{
		check: func(in []*Node, _ SecondMomentAttr) (tensor.Type, tensor.Shape, error) {
			return sameShape(2)(in, NoAttr{})
		},
		cost: func(n *Node, _ SecondMomentAttr) Cost { return n.costs(4 * elements(n.Shape)) },
	})
	register(AdamStep, rule[AdamAttr]{
		check: func(in []*Node, _ AdamAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 6 {
				return bad("takes a parameter, two moments and three scalars")
			}
			if err := ranks(in[3:], 0, 0, 0); err != nil {
				return bad("the rate or a scale is no scalar: %w", err)
			}
			return sameShape(3)(in[:3], NoAttr{})
		},
		cost: func(n *Node, _ AdamAttr) Cost { return n.costs(8 * elements(n.Shape)) },
	})
}
