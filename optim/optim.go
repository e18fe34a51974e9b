// Package optim has the optimizer as graph nodes and the schedule of its learning rate.
package optim

import (
	"fmt"
	"math"
	"slices"

	"moco/graph"
)

// Optimizer turns a gradient into a step of one parameter.
type Optimizer interface {
	// Update appends one step: parameter and velocity are variables of one shape, lr a scalar.
	Update(g *graph.Graph, parameter, velocity, gradient, lr *graph.Node)
}

// SGD is stochastic gradient descent with momentum, as PyTorch defines it:
//
//	v = Momentum*v + (gradient + WeightDecay*p)
//	p = p - lr*v
//
// Weight decay is applied to every parameter, batch norm's and biases too, as the MoCo authors' code does.
type SGD struct {
	Momentum, WeightDecay float64
}

// Update appends one step: parameter and velocity are the variables p and v, lr a scalar.
func (s SGD) Update(g *graph.Graph, parameter, velocity, gradient, lr *graph.Node) {
	next := g.WeightedSum(
		graph.Term{Coefficient: s.Momentum, X: velocity},
		graph.Term{Coefficient: 1, X: gradient},
		graph.Term{Coefficient: s.WeightDecay, X: parameter})
	g.Assign(velocity, next)
	g.Assign(parameter, g.WeightedSum(
		graph.Term{Coefficient: 1, X: parameter},
		graph.Term{Coefficient: -1, Scalar: lr, X: next}))
}

// LARS is SGD with a rate for each layer, for large batches (You et al. 2017):
//
//	v = Momentum*v + ratio*(gradient + WeightDecay*p),  ratio = Trust*|p| / (|gradient| + WeightDecay*|p|)
//	p = p - lr*v
//
// As in SimCLR, batch norm's parameters and biases (whatever has one axis) are trained by plain momentum, without decay.
type LARS struct {
	Momentum, WeightDecay, Trust float64
}

// Update appends one step: parameter and velocity are the variables p and v, lr a scalar.
func (l LARS) Update(g *graph.Graph, parameter, velocity, gradient, lr *graph.Node) {
	if len(parameter.Shape) < 2 {
		SGD{Momentum: l.Momentum}.Update(g, parameter, velocity, gradient, lr)
		return
	}
	ratio := g.TrustRatio(parameter, gradient, l.Trust, l.WeightDecay)
	next := g.WeightedSum(
		graph.Term{Coefficient: l.Momentum, X: velocity},
		graph.Term{Coefficient: 1, Scalar: ratio, X: gradient},
		graph.Term{Coefficient: l.WeightDecay, Scalar: ratio, X: parameter})
	g.Assign(velocity, next)
	g.Assign(parameter, g.WeightedSum(
		graph.Term{Coefficient: 1, X: parameter},
		graph.Term{Coefficient: -1, Scalar: lr, X: next}))
}

// Schedule is how the learning rate goes down over training.
type Schedule struct {
	Kind       string  // "cosine" or "step"
	Epochs     float64 // length of training
	Warmup     float64 // epochs during which the rate rises linearly to its base
	Milestones []int   // "step": epochs at which the rate is multiplied by Factor
	Factor     float64 // "step"; 0 is 0.1
}

// Kinds are the schedules there are.
var Kinds = []string{"cosine", "step"}

// Rate is the learning rate at a time counted in epochs, with fractions: each step has its own. For "cosine" it is
// base * (1 + cos(pi * epoch/Epochs)) / 2.
func (s Schedule) Rate(base, epoch float64) float64 {
	if epoch < s.Warmup {
		return base * epoch / s.Warmup
	}
	if s.Kind == "step" {
		factor := s.Factor
		if factor == 0 {
			factor = 0.1
		}
		for _, m := range s.Milestones {
			if epoch >= float64(m) {
				base *= factor
			}
		}
		return base
	}
	return base * 0.5 * (1 + math.Cos(math.Pi*min(epoch/s.Epochs, 1)))
}

// Check says what is wrong with the schedule.
func (s Schedule) Check() error {
	if !slices.Contains(Kinds, s.Kind) {
		return fmt.Errorf("schedule: %q is not known; there are cosine and step", s.Kind)
	}
	if s.Warmup < 0 {
		return fmt.Errorf("warmup: must not be negative, is %v", s.Warmup)
	}
	if !slices.IsSorted(s.Milestones) {
		return fmt.Errorf("milestones: must rise, are %v", s.Milestones)
	}
	return nil
}
