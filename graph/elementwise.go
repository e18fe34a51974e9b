package graph

import "moco/tensor"

// The kinds that work element by element.
const (
	Detach      Op = "Detach"
	WeightedSum Op = "WeightedSum"
	ReLU        Op = "ReLU"
	ReLUGrad    Op = "ReLUGrad"
	GELU        Op = "GELU"
	GELUGrad    Op = "GELUGrad"
)

// Detach is x, through which no gradient flows.
func (g *Graph) Detach(x *Node) *Node { return g.add(Detach, NoAttr{}, x) }

// Term is one summand of a WeightedSum: Coefficient * Scalar * X. Scalar may be nil, for 1.
type Term struct {
	Coefficient float64
	Scalar      *Node
	X           *Node
}

// WeightedSumAttr belongs to WeightedSum. Each slice has one entry for each term. The operands are
// the terms' values, and behind them the scalars that are not constant.
type WeightedSumAttr struct {
	Coefficients []float64
	Scalars      []int // index of the term's scalar among the operands, or -1
}

// WeightedSum adds up to three values of one shape: y = ((c0*s0*x0) + c1*s1*x1) + c2*s2*x2.
func (g *Graph) WeightedSum(terms ...Term) *Node {
	var a WeightedSumAttr
	var in []*Node
	for _, t := range terms {
		in = append(in, t.X)
	}
	for _, t := range terms {
		a.Coefficients = append(a.Coefficients, t.Coefficient)
		if t.Scalar == nil {
			a.Scalars = append(a.Scalars, -1)
			continue
		}
		a.Scalars = append(a.Scalars, len(in))
		in = append(in, t.Scalar)
	}
	return g.add(WeightedSum, a, in...)
}

// Add is x + y.
func (g *Graph) Add(x, y *Node) *Node {
	return g.WeightedSum(Term{Coefficient: 1, X: x}, Term{Coefficient: 1, X: y})
}

// ReLU is max(x, 0).
func (g *Graph) ReLU(x *Node) *Node { return g.add(ReLU, NoAttr{}, x) }

// ReLUGrad is dy where y = ReLU(x) is positive, else 0.
func (g *Graph) ReLUGrad(dy, y *Node) *Node { return g.add(ReLUGrad, NoAttr{}, dy, y) }

// GELU is x*Phi(x), where Phi is the normal distribution's cumulative function (Hendrycks and Gimpel
// 2016):
//
//	y = x * (1 + erf(x/sqrt(2))) / 2
func (g *Graph) GELU(x *Node) *Node { return g.add(GELU, NoAttr{}, x) }

// GELUGrad is the gradient of GELU with regard to x, where phi is the normal distribution's density:
// dy * (Phi(x) + x*phi(x)).
func (g *Graph) GELUGrad(dy, x *Node) *Node { return g.add(GELUGrad, NoAttr{}, dy, x) }

func init() {
	register(Detach, rule[NoAttr]{
		check: func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 1 {
				return bad("takes 1 operand")
			}
			return in[0].Type, in[0].Shape, nil
		},
		gradient:   func(*Graph, *Node, *Node, NoAttr) []*Node { return make([]*Node, 1) },
		cost:       func(*Node, NoAttr) Cost { return Cost{} },
		activation: asOperands,
	})
	register(WeightedSum, rule[WeightedSumAttr]{
		check:    checkWeightedSum,
		gradient: gradWeightedSum,
		cost: func(n *Node, a WeightedSumAttr) Cost {
			return n.costs(elements(n.Shape) * int64(2*len(a.Coefficients)-1))
		},
		activation: asOperands,
	})
	register(ReLU, rule[NoAttr]{
		check:      sameShape(1),
		gradient:   func(g *Graph, n, dy *Node, _ NoAttr) []*Node { return []*Node{g.ReLUGrad(dy, n)} },
		activation: asOperands,
	})
	register(ReLUGrad, rule[NoAttr]{check: sameShape(2), activation: asOperands})
	register(GELU, rule[NoAttr]{
		check: sameShape(1),
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			return []*Node{g.lazy(n.In[0], func() *Node { return g.GELUGrad(dy, n.In[0]) })}
		},
		cost:       gelu,
		activation: asOperands,
	})
	register(GELUGrad, rule[NoAttr]{check: sameShape(2), cost: gelu, activation: asOperands})
}

// gelu counts the error function as the ten operations or so that a polynomial takes.
func gelu(n *Node, _ NoAttr) Cost { return n.costs(15 * elements(n.Shape)) }

func checkWeightedSum(in []*Node, a WeightedSumAttr) (tensor.Type, tensor.Shape, error) {
	terms := len(a.Coefficients)
	if terms < 1 || terms > 3 || len(a.Scalars) != terms || len(in) < terms {
		return bad("takes one to three terms")
	}
	for _, s := range a.Scalars {
		if s >= 0 && (s >= len(in) || in[s].Shape.Elements() != 1) {
			return bad("a factor is no scalar")
		}
	}
	return sameShape(terms)(in[:terms], NoAttr{})
}

// gradWeightedSum gives the terms their gradients. The scalars are constants.
func gradWeightedSum(g *Graph, n, dy *Node, a WeightedSumAttr) []*Node {
	out := make([]*Node, len(n.In))
	for i, c := range a.Coefficients {
		out[i] = dy
		if s := a.Scalars[i]; s >= 0 {
			out[i] = g.WeightedSum(Term{Coefficient: c, Scalar: n.In[s], X: dy})
		} else if c != 1 {
			out[i] = g.WeightedSum(Term{Coefficient: c, X: dy})
		}
	}
	return out
}
