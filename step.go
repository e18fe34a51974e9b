package moco

import (
	"fmt"
	"slices"

	"moco/graph"
)

// queueStep is one training step with a queue and a momentum encoder: Algorithm 1 of the paper ("Pseudocode of MoCo in a PyTorch-like
// style"). N is the batch, C the dimension of features, K the length of the queue.
func queueStep(g *graph.Graph, r *Recipe, n int) {
	fq, fk := newEncoder(g, r, "encoder_q"), newEncoder(g, r, "encoder_k") // f_q, f_k: encoder networks for query and key
	queue := newQueue(g, r)                                                // queue: dictionary as a queue of K keys (KxC)
	shuffle := newShuffle(g, r, n)
	pairs := views(g, r, n) // x_q = aug(x), x_k = aug(x): two random views; both ways round if symmetric

	fk.momentumUpdate(fq, r) // f_k.params = m*f_k.params + (1-m)*f_q.params

	var loss *graph.Node
	var keys []*graph.Node
	for _, x := range pairs {
		q := g.L2Normalise(fq.forward(x.query))                         // queries: NxC
		k := g.L2Normalise(shuffle.undo(fk.forward(shuffle.do(x.key)))) // keys: NxC
		k = g.Detach(k)                                                 // no gradient to keys

		sharp := sharpen(g, r, q)
		c := contrast(r, queue, graph.Contrast{
			Positive:  g.RowDot(sharp, k),                        // positive logits: Nx1
			Negatives: g.MatMul(sharp, queue.keys, false, true)}) // negative logits: NxK
		loss, keys = sum(g, loss, g.InfoNCE(c)), append(keys, k) // contrastive loss, Eqn.(1)
		if len(keys) == 1 {
			report(g, c, q, k)
		}
	}
	fq.update(r, loss) // SGD update: query network
	fk.keepStatistics()

	for _, k := range slices.Backward(keys) {
		queue.enqueue(k) // enqueue the current minibatch; dequeue the earliest
	}
	queue.keep()
}

// Step builds one training step on batches of n images as a graph: the recipe's dictionary with the recipe's loss, or supervised training.
//
// Inputs: "x1", "x2" [N,S,S,3], two views of each image (with nt_xent "x" [2N,S,S,3], the first views above the second; with a bank "x1"
// alone; supervised "x" [N,S,S,3]); "lr"; and, where the step has them, "ids" int32 [N], each image's number; "labels" int32 [N]; "shuffle" int32 [N], a
// permutation, and "unshuffle", its inverse; "draws" int32, a bank's keys to compare with (Recipe.Draw); "m" and "rest" (1-m) of a ramped momentum, "sharpen" of a
// ramped temperature.
//
// Outputs: "loss"; "accuracy", the share of queries whose positive key is the nearest, or of images that get their label; "q" [N,C], the queries.
func Step(r *Recipe, n int) (*graph.Graph, error) {
	if err := r.bankSize(); err != nil {
		return nil, err
	}
	g := newGraph(r)
	if r.Objective == "supervised" {
		supervisedStep(g, r, n)
	} else {
		dictionaries[r.Dictionary].step(g, r, n)
	}
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("build the step for batches of %d: %w", n, err)
	}
	return g, nil
}

// pair is what one half of the loss compares: one view encoded as queries, the other as keys.
type pair struct{ query, key *graph.Node }

// views declares the inputs and says which is encoded as what.
func views(g *graph.Graph, r *Recipe, n int) []pair {
	x1, x2 := view(g, r, "x1", n), view(g, r, "x2", n)
	if r.Symmetric {
		return []pair{{x1, x2}, {x2, x1}}
	}
	return []pair{{x1, x2}}
}

// view declares an input of n views.
func view(g *graph.Graph, r *Recipe, name string, n int) *graph.Node {
	return g.Input(name, float, n, r.Views.Size, r.Views.Size, 3)
}

// report makes readable how well the queries find their keys.
func report(g *graph.Graph, c graph.Contrast, q, k *graph.Node) {
	g.Output("accuracy", g.ContrastAccuracy(c))
	g.Output("q", q)
	g.Output("k", k)
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
