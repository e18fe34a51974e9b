package optim

import "moco/graph"

// Muon is momentum whose steps have no favoured direction (Jordan et al. 2024): a matrix takes the
// orthogonal matrix that is next to its Nesterov momentum, so that all directions of the gradient move
// by about the same, however strong each is.
//
//	v = Momentum*v + gradient
//	o = orthogonalise(gradient + Momentum*v)
//	q = p - rate * |p|/|o| * o
//	p = |p|/|q| * q
//
// The filters of a convolution are the rows of a matrix. A step is rate times as long as the
// parameter, and changes its direction alone, as in Jordan's rule for CIFAR-10, where filters are
// brought to one norm before each step. Batch norm behind them makes their length meaningless, and a
// weight decay would only set it. Left free it overflows: steps that follow each other point much the
// same way, and a thousand of them made filters up to ten million times as long (docs/results.md, "Muon").
//
// Parameters that are no matrices (Update.Decays is false, or they have one axis) are trained by SGD
// with the same momentum and rate, and WeightDecay. v is the variable "sgd.NAME".
type Muon struct {
	Momentum, WeightDecay float64
}

// Update appends one step.
func (m Muon) Update(g *graph.Graph, u Update) {
	if !u.Decays || len(u.Parameter.Shape) < 2 {
		SGD(m).Update(g, u)
		return
	}
	v := u.velocity(g)
	next := g.WeightedSum(
		graph.Term{Coefficient: m.Momentum, X: v},
		graph.Term{Coefficient: 1, X: u.Gradient})
	g.Assign(v, next)
	o := g.Orthogonalise(g.WeightedSum(
		graph.Term{Coefficient: m.Momentum, X: next},
		graph.Term{Coefficient: 1, X: u.Gradient}), schulz)
	moved := g.WeightedSum(
		graph.Term{Coefficient: 1, X: u.Parameter},
		graph.Term{Coefficient: -1, Scalar: u.Rate, X: asLongAs(g, u.Parameter, o)})
	g.Assign(u.Parameter, asLongAs(g, u.Parameter, moved))
}

// asLongAs is |p|/|x| * x, and x where either is zero.
func asLongAs(g *graph.Graph, p, x *graph.Node) *graph.Node {
	return g.WeightedSum(graph.Term{Coefficient: 1, Scalar: g.TrustRatio(p, x, 1, 0), X: x})
}

// Scalars is nil.
func (Muon) Scalars(int) map[string]float64 { return nil }

// schulz takes singular values to about 1 (0.7 to 1.2) in five steps, not to 1 itself, which makes no
// difference to the training: it is as steep at zero as can be (Jordan et al.).
var schulz = graph.NewtonSchulz{A: 3.4445, B: -4.7750, C: 2.0315, Steps: 5}
