package moco

import (
	"fmt"
	"slices"

	"moco/graph"
)

// build is Algorithm 1 of the paper ("Pseudocode of MoCo in a PyTorch-like style"): one training
// step with a queue and a momentum encoder. N is the batch, C the dimension of features, K the
// length of the queue. With replicas it is the step of one of them, and N is its share of the batch;
// concat_all_gather is then GatherReplicas.
func (m momentumContrast) build(g *builder) {
	r := m.Recipe
	fq, fk := newEncoder(g, query), newEncoder(g, key) // f_q, f_k: encoder networks for query and key
	queue := newQueue(g)                               // queue: dictionary as a queue of K keys (KxC)
	shuffle := newShuffle(g)
	pairs := g.views() // x_q = aug(x), x_k = aug(x): two random views; both ways round if symmetric

	fk.momentumUpdate(fq) // f_k.params = m*f_k.params + (1-m)*f_q.params

	var loss *graph.Node
	var keys []*graph.Node
	for _, x := range pairs {
		q := g.L2Normalise(fq.forward(x.query))                         // queries: NxC
		k := g.L2Normalise(shuffle.undo(fk.forward(shuffle.do(x.key)))) // keys: NxC
		k = g.Detach(k)                                                 // no gradient to keys

		sharp := g.sharpen(q)
		c := queue.masked(graph.Contrast{
			Positive:    g.RowDot(sharp, k),                       // positive logits: Nx1
			Negatives:   g.MatMul(sharp, queue.keys, false, true), // negative logits: NxK
			Temperature: r.Temperature})
		loss, keys = g.sum(loss, g.InfoNCE(c)), append(keys, k) // contrastive loss, Eqn.(1)
		if len(keys) == 1 {
			g.report(c, q, k)
		}
	}
	fq.update(loss) // SGD update: query network
	fk.keepStatistics()

	for _, k := range slices.Backward(keys) {
		queue.enqueue(g.GatherReplicas(k)) // enqueue the current minibatch of all; dequeue the earliest
	}
	queue.keep()
}

// Graph builds one training step of a recipe on batches of n images as a graph: its mechanism, the
// gradients, the optimizer. Compile makes a Step of it that runs. The graph itself is for programs
// that count, draw or lower it.
func Graph(r *Recipe, n int) (*graph.Graph, error) {
	m, err := r.Mechanism()
	if err != nil {
		return nil, err
	}
	if err := m.ready(); err != nil {
		return nil, err
	}
	if err := r.Encoder.Check(); err != nil {
		return nil, err
	}
	g := newBuilder(r, n)
	g.trains = true
	m.build(g)
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("build the step for batches of %d: %w", n, err)
	}
	return g.Graph, nil
}

// pair is what one half of the loss compares: one view encoded as queries, the other as keys.
type pair struct{ query, key *graph.Node }

// views declares the two views of the batch and tells which one is encoded as what.
func (g *builder) views() []pair {
	pairs := []pair{{g.view(firstViews), g.keyView(secondViews)}}
	if g.recipe.Symmetric {
		pairs = append(pairs, pair{g.view(secondViews), g.keyView(firstViews)})
	}
	return pairs
}

// report makes outputs of how well the queries find their keys.
func (g *builder) report(c graph.Contrast, q, k *graph.Node) {
	g.Output(outAccuracy, g.mean(g.ContrastAccuracy(c)))
	g.Output(outQueries, q)
	g.Output(outKeys, k)
}

// sum is a + b, where a may be nil.
func (g *builder) sum(a, b *graph.Node) *graph.Node {
	if a == nil {
		return b
	}
	return g.Add(a, b)
}
