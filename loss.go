package moco

import (
	"math"

	"moco/graph"
)

// loss is what is known of a contrastive loss beside its node on the graph.
type loss struct {
	only   string                          // the dictionary that it needs; empty: any
	why    string                          // what the others lack
	chance func(negatives float64) float64 // of an encoder that cannot tell the positive key from the negatives
}

var losses = map[string]loss{
	"info_nce": {chance: logOneOf}, // He et al. 2020, Eq. 1
	"nt_xent": {only: "batch", why: "its negatives are the other views of the same batch (Chen et al. 2020)",
		chance: logOneOf},
	"nce": {only: "bank", why: "its noise is drawn uniformly from a stored feature of every image (Wu et al. 2018)",
		chance: func(k float64) float64 { return logOneOf(k) + k*math.Log((k+1)/k) }},
	"softmax": {only: "bank", why: "it is a softmax over a stored feature of every image (Wu et al. 2018)",
		chance: logOneOf},
}

func logOneOf(negatives float64) float64 { return math.Log(negatives + 1) }

// contrast completes what a query is matched against: the temperature, and with mask_same_image the ids, so that a key in the queue that came from the
// query's own image is no negative.
func contrast(r *Recipe, q *queue, c graph.Contrast) graph.Contrast {
	c.Temperature = r.Temperature
	if q.ids != nil {
		c.QueryIDs, c.KeyIDs = q.imagesOf(c.Positive), q.ids
	}
	return c
}

// sharpen scales queries so that a loss with the recipe's t has the temperature of this step, if that is ramped.
func sharpen(g *graph.Graph, r *Recipe, q *graph.Node) *graph.Node {
	if r.TemperatureEnd == 0 {
		return q
	}
	return g.WeightedSum(graph.Term{Coefficient: 1, Scalar: scalar(g, "sharpen"), X: q})
}

// ChanceLoss is the loss of an encoder that cannot tell the positive key from the others, for a batch of n: ln(K+1) for K negatives, twice that when symmetric.
// An encoder trained with labels has ln(classes).
func (r *Recipe) ChanceLoss(n int) float64 {
	if r.Objective == "supervised" {
		return math.Log(float64(r.Encoder.Dim))
	}
	chance := losses[r.Loss].chance(float64(r.Negatives(n)))
	if r.Symmetric {
		chance *= 2
	}
	return chance
}

// Negatives is the number of keys, K, that a query is told apart from in a batch of n.
func (r *Recipe) Negatives(n int) int {
	if r.Loss == "nt_xent" {
		return 2*n - 2
	}
	return dictionaries[r.Dictionary].negatives(r, n)
}
