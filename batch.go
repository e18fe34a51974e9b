package moco

import (
	"moco/graph"
)

// batchStep is one training step end to end (Fig. 2a): the keys are the batch's own, made by the same encoder as the queries, and the gradient
// reaches both. The dictionary is consistent, but as small as the batch.
//
// With accumulate: A the batch is encoded in A parts, twice: first for the features alone, from which the loss and its gradient with regard to
// each feature follow; then again part by part, to take that gradient to the weights (gradient caching, Gao et al. 2021). The
// result is that of the whole batch with bn_splits: A, in the memory of one part.
func batchStep(g *graph.Graph, r *Recipe, n int) {
	f := newEncoder(g, r, "encoder_q")
	ids := g.Input("ids", int32s, n)
	var loss *graph.Node
	var batches []*encoded
	if r.Loss == "nt_xent" { // SimCLR: each of 2N views finds its partner among 2N-1 others (Chen et al. 2020, Eq. 1)
		z := f.encode(r, view(g, r, "x", 2*n))
		batches = append(batches, z)
		z1, z2 := g.Rows(z.features, 0, n), g.Rows(z.features, n, n)
		positive, every := g.RowDot(sharpen(g, r, z1), z2), g.Concat(ids, ids)
		for _, half := range []*graph.Node{z1, z2} {
			c := graph.Contrast{Positive: positive, Negatives: g.MatMul(sharpen(g, r, half), z.features, false, true),
				QueryIDs: ids, KeyIDs: every, Temperature: r.Temperature} // the view itself and its partner are no negatives
			if loss == nil {
				report(g, c, z1, z2)
			}
			loss = sum(g, loss, g.InfoNCE(c))
		}
		loss = g.WeightedSum(graph.Term{Coefficient: 0.5, X: loss}) // the mean over all views
	} else {
		q, k := f.encode(r, view(g, r, "x1", n)), f.encode(r, view(g, r, "x2", n))
		batches = append(batches, q, k)
		pairs := []pair{{q.features, k.features}}
		if r.Symmetric {
			pairs = append(pairs, pair{k.features, q.features})
		}
		for _, p := range pairs {
			query := sharpen(g, r, p.query)
			c := graph.Contrast{Positive: g.RowDot(query, p.key), Negatives: g.MatMul(query, p.key, false, true),
				QueryIDs: ids, KeyIDs: ids, Temperature: r.Temperature}
			if loss == nil {
				report(g, c, p.query, p.key)
			}
			loss = sum(g, loss, g.InfoNCE(c))
		}
	}
	f.update(r, loss, batches...)
}

func checkBatch(r *Recipe, wrong func(string, ...any)) {
	if r.Batch < 2 {
		wrong("batch: a batch of %d has no negatives; dictionary: batch needs at least 2 images", r.Batch)
	}
	if r.Loss == "nt_xent" && r.Symmetric {
		wrong("symmetric: nt_xent compares both views with all others already; set symmetric to false")
	}
	if r.Accumulate > 1 && (r.Batch%r.Accumulate != 0 || r.BNSplits%r.Accumulate != 0) {
		wrong("accumulate: the %d parts must divide the batch (%d) and hold whole parts of batch norm (bn_splits: %d); set bn_splits to a multiple of accumulate", r.Accumulate, r.Batch, r.BNSplits)
	}
}
