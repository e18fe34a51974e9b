package moco

import (
	"fmt"
	"slices"

	"moco/graph"
	"moco/optim"
)

// Step builds one training step on batches of n images: Algorithm 1 of the paper ("Pseudocode of MoCo in a PyTorch-like style"), as
// a graph. N is the batch, C the dimension of features, K the length of the queue.
//
// Inputs: "x1", "x2" [N,S,S,3], two views of each image; "shuffle" [N], a permutation, and "unshuffle", its inverse; "lr"; and with
// mask_same_image "ids" [N]. Outputs: "loss", "accuracy" (share of queries whose positive key is the nearest), "q" and "k" [N,C].
func Step(r *Recipe, n int) (*graph.Graph, error) {
	g := newGraph(r)
	fq, fk := newEncoder(g, r, "encoder_q"), newEncoder(g, r, "encoder_k") // f_q, f_k: encoder networks for query and key
	queue := newQueue(g, r)                                                // queue: dictionary as a queue of K keys (KxC)
	shuffle := newShuffle(g, n)
	pairs := views(g, r, n) // x_q = aug(x), x_k = aug(x): two random views; both ways round if symmetric

	fk.momentumUpdate(fq, r.Momentum) // f_k.params = m*f_k.params + (1-m)*f_q.params

	var loss *graph.Node
	var keys []*graph.Node
	for _, x := range pairs {
		q := g.L2Normalise(fq.forward(x.query))                         // queries: NxC
		k := g.L2Normalise(shuffle.undo(fk.forward(shuffle.do(x.key)))) // keys: NxC
		k = g.Detach(k)                                                 // no gradient to keys

		positive := g.RowDot(q, k)                        // positive logits: Nx1
		negatives := g.MatMul(q, queue.keys, false, true) // negative logits: NxK
		l := infoNCE(g, queue, positive, negatives, r)    // contrastive loss, Eqn.(1)
		loss, keys = sum(g, loss, l), append(keys, k)
		if len(keys) == 1 {
			g.Output("accuracy", contrastAccuracy(g, queue, positive, negatives, r))
			g.Output("q", q)
			g.Output("k", k)
		}
	}
	g.Output("loss", loss)

	sgd := optim.SGD{Momentum: r.SGDMomentum, WeightDecay: r.WeightDecay} // SGD update: query network
	fq.update(loss, sgd)
	fk.keepStatistics()

	for _, k := range slices.Backward(keys) {
		queue.enqueue(k) // enqueue the current minibatch; dequeue the earliest
	}
	queue.keep()
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("build the step for batches of %d: %w", n, err)
	}
	return g, nil
}

// pair is what one half of the loss compares: one view encoded as queries, the other as keys.
type pair struct{ query, key *graph.Node }

// views declares the inputs and says which is encoded as what.
func views(g *graph.Graph, r *Recipe, n int) []pair {
	x1 := g.Input("x1", float, n, r.Views.Size, r.Views.Size, 3)
	x2 := g.Input("x2", float, n, r.Views.Size, r.Views.Size, 3)
	if r.Symmetric {
		return []pair{{x1, x2}, {x2, x1}}
	}
	return []pair{{x1, x2}}
}

// newGraph is an empty graph of the recipe's precision.
func newGraph(r *Recipe) *graph.Graph {
	g := graph.New()
	if r.Precision == "bf16" {
		g.Precision = graph.BFloat16
	}
	return g
}

func sum(g *graph.Graph, a, b *graph.Node) *graph.Node {
	if a == nil {
		return b
	}
	return g.Add(a, b)
}
