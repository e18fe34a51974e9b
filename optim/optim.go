// Package optim has the optimizers as graph nodes and the schedule of their learning rate.
package optim

import (
	"math"

	"moco/graph"
)

// Update is one step of one parameter: what an Optimizer reads.
type Update struct {
	// Name is the parameter's. The optimizer's variables are named after it.
	Name string
	// Parameter is a variable, Gradient its gradient in the same shape.
	Parameter, Gradient *graph.Node
	// Decays tells whether the parameter is one of those that AdamW lets decay.
	Decays bool
	// Rate is the learning rate, a scalar.
	Rate *graph.Node
	// Scalar gives the input of a name, a number that Optimizer.Scalars sets before each step.
	Scalar func(name string) *graph.Node
}

// Optimizer turns gradients into steps. What it remembers of a parameter from step to step are
// variables of the graph, which it declares itself. Their names are part of the checkpoint format.
type Optimizer interface {
	// Update appends a step of one parameter to the graph.
	Update(g *graph.Graph, u Update)
	// Scalars are the inputs that depend on the number of a step, which counts from 1. It is nil for
	// optimizers without any.
	Scalars(step int) map[string]float64
}

// velocity is the variable that SGD and LARS have for a parameter.
func (u Update) velocity(g *graph.Graph) *graph.Node { return u.state(g, "sgd.") }

// state is a variable of the parameter's shape.
func (u Update) state(g *graph.Graph, prefix string) *graph.Node {
	return g.Variable(prefix+u.Name, u.Parameter.Type, u.Parameter.Shape...)
}

// SGD is stochastic gradient descent with momentum, as PyTorch defines it:
//
//	v = Momentum*v + (gradient + WeightDecay*p)
//	p = p - rate*v
//
// Every parameter decays, even batch norm's and biases, as in the MoCo authors' code. v is the
// variable "sgd.NAME".
type SGD struct {
	Momentum, WeightDecay float64
}

// Update appends one step.
func (s SGD) Update(g *graph.Graph, u Update) {
	v := u.velocity(g)
	descend(g, u, v, g.WeightedSum(
		graph.Term{Coefficient: s.Momentum, X: v},
		graph.Term{Coefficient: 1, X: u.Gradient},
		graph.Term{Coefficient: s.WeightDecay, X: u.Parameter}))
}

// Scalars is nil.
func (SGD) Scalars(int) map[string]float64 { return nil }

// LARS is SGD with a rate for each layer, for large batches (You et al. 2017):
//
//	ratio = Trust*|p| / (|gradient| + WeightDecay*|p|)
//	v = Momentum*v + ratio*(gradient + WeightDecay*p)
//	p = p - rate*v
//
// As in SimCLR, parameters with one axis (batch norm's and biases) are trained by plain momentum
// and do not decay. v is the variable "sgd.NAME".
type LARS struct {
	Momentum, WeightDecay, Trust float64
}

// Update appends one step.
func (l LARS) Update(g *graph.Graph, u Update) {
	if len(u.Parameter.Shape) < 2 {
		SGD{Momentum: l.Momentum}.Update(g, u)
		return
	}
	v := u.velocity(g)
	ratio := g.TrustRatio(u.Parameter, u.Gradient, l.Trust, l.WeightDecay)
	descend(g, u, v, g.WeightedSum(
		graph.Term{Coefficient: l.Momentum, X: v},
		graph.Term{Coefficient: 1, Scalar: ratio, X: u.Gradient},
		graph.Term{Coefficient: l.WeightDecay, Scalar: ratio, X: u.Parameter}))
}

// Scalars is nil.
func (LARS) Scalars(int) map[string]float64 { return nil }

// descend gives the velocity its next value, and subtracts the rate times that from the parameter.
func descend(g *graph.Graph, u Update, velocity, next *graph.Node) {
	g.Assign(velocity, next)
	g.Assign(u.Parameter, g.WeightedSum(
		graph.Term{Coefficient: 1, X: u.Parameter},
		graph.Term{Coefficient: -1, Scalar: u.Rate, X: next}))
}

// AdamW is Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch defines it. At
// step t, counted from 1:
//
//	m = Beta1*m + (1-Beta1)*gradient
//	v = Beta2*v + (1-Beta2)*gradient^2
//	p = p - rate*WeightDecay*p
//	p = p - rate * m/(1-Beta1^t) / (sqrt(v/(1-Beta2^t)) + Epsilon)
//
// Only parameters that Update.Decays names decay: matrices, and no biases, norms, tokens or
// positions. m and v are the variables "adam.m.NAME" and "adam.v.NAME".
type AdamW struct {
	Beta1, Beta2, Epsilon, WeightDecay float64
}

// The inputs of AdamW: the corrections of its two moments, which start at zero.
const (
	adamFirst  = "adam_m" // 1/(1-Beta1^t)
	adamSecond = "adam_v" // 1/sqrt(1-Beta2^t)
)

// Update appends one step.
func (a AdamW) Update(g *graph.Graph, u Update) {
	m, v := u.state(g, "adam.m."), u.state(g, "adam.v.")
	first := g.WeightedSum(
		graph.Term{Coefficient: a.Beta1, X: m},
		graph.Term{Coefficient: 1 - a.Beta1, X: u.Gradient})
	second := g.SecondMoment(v, u.Gradient, a.Beta2)
	g.Assign(m, first)
	g.Assign(v, second)
	step := graph.Adam{
		Parameter: u.Parameter, First: first, Second: second, Rate: u.Rate,
		FirstScale: u.Scalar(adamFirst), SecondScale: u.Scalar(adamSecond), Epsilon: a.Epsilon,
	}
	if u.Decays {
		step.Decay = a.WeightDecay
	}
	g.Assign(u.Parameter, g.AdamStep(step))
}

// Scalars are the corrections of the moments' start at zero.
func (a AdamW) Scalars(step int) map[string]float64 {
	t := float64(step)
	return map[string]float64{
		adamFirst:  1 / (1 - math.Pow(a.Beta1, t)),
		adamSecond: 1 / math.Sqrt(1-math.Pow(a.Beta2, t)),
	}
}

// LayerRate is what multiplies the learning rate of a parameter under layer-wise decay: decay for each
// layer between it and the head (Clark et al. 2020). depth is the parameter's, 0 to layers+1; the
// head has layers+1. A decay of 0 or 1 gives 1.
func LayerRate(decay float64, depth, layers int) float64 {
	if decay == 0 {
		return 1
	}
	return math.Pow(decay, float64(layers+1-depth))
}
