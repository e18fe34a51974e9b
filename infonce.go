package moco

import (
	"math"

	"moco/graph"
)

// infoNCE is the contrastive loss (Eqn. 1), the mean over the batch of
//
//	-log( exp(q.k+ / t) / (exp(q.k+ / t) + sum_i exp(q.k_i / t)) ),
//
// given positive, q.k+ [N], and negatives, q.k_i [N,K]. With mask_same_image a key in the queue that came from the query's own image is no
// negative and is left out of the sum.
func infoNCE(g *graph.Graph, q *queue, positive, negatives *graph.Node, r *Recipe) *graph.Node {
	return g.InfoNCE(contrast(q, positive, negatives, r))
}

// contrastAccuracy is the share of queries that are more similar to their positive key than to every negative.
func contrastAccuracy(g *graph.Graph, q *queue, positive, negatives *graph.Node, r *Recipe) *graph.Node {
	return g.ContrastAccuracy(contrast(q, positive, negatives, r))
}

func contrast(q *queue, positive, negatives *graph.Node, r *Recipe) graph.Contrast {
	c := graph.Contrast{Positive: positive, Negatives: negatives, Temperature: r.Temperature}
	if q.ids != nil {
		c.QueryIDs, c.KeyIDs = q.imagesOf(positive), q.ids
	}
	return c
}

// ChanceLoss is the loss of an encoder that cannot tell the positive key from the K others: ln(K+1), twice that when symmetric.
func (r *Recipe) ChanceLoss() float64 {
	chance := math.Log(float64(r.Queue + 1))
	if r.Symmetric {
		chance *= 2
	}
	return chance
}
