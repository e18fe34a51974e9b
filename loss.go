package moco

import (
	"math"

	"moco/graph"
)

// loss describes a contrastive loss beside its node on the graph.
type loss struct {
	only string // the one dictionary that it works with; empty: any
	why  string // why it works with no other
	// chance is the loss of an encoder that cannot tell the positive key from the negatives.
	chance func(negatives float64) float64
}

var losses = map[string]loss{
	"info_nce": {chance: logOneOf}, // He et al. 2020, Eq. 1
	"nt_xent": {only: "batch", why: "its negatives are the other views of the same batch (Chen et al. 2020)",
		chance: logOneOf},
	"dcl": {only: "batch", why: "it is nt_xent with the positive left out of the denominator (Yeh et al. 2022)",
		chance: math.Log},
	"nce": {only: "bank", why: "its noise is drawn uniformly from a stored feature of every image (Wu et al. 2018)",
		chance: func(k float64) float64 { return logOneOf(k) + k*math.Log((k+1)/k) }},
	"softmax": {only: "bank", why: "it is a softmax over a stored feature of every image (Wu et al. 2018)",
		chance: logOneOf},
}

func logOneOf(negatives float64) float64 { return math.Log(negatives + 1) }

// sharpen scales queries by t over this step's temperature. A loss that is built with the recipe's
// t then has the temperature of this step.
func (g *builder) sharpen(q *graph.Node) *graph.Node {
	if g.recipe.TemperatureEnd == 0 {
		return q
	}
	return g.WeightedSum(graph.Term{Coefficient: 1, Scalar: g.scalar(inSharpen), X: q})
}
