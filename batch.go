package moco

import (
	"moco/graph"
)

// endToEnd learns end to end (Fig. 2a). The keys are the batch's own, one encoder makes both
// queries and keys, and the gradient reaches both. The dictionary is consistent, but only as large
// as the batch.
//
// With accumulate: A the batch is encoded in A parts, twice (gradient caching, Gao et al. 2021).
// The first time makes the features alone; the loss and its gradient with regard to each feature
// follow from them. The second time takes that gradient to the weights, part by part. The result is
// that of the whole batch with bn_splits: A, in the memory of one part. The shares of replicas are such
// parts too.
type endToEnd struct{ contrastive }

func newEndToEnd(r *Recipe) Mechanism { return endToEnd{contrastive{r}} }

func (m endToEnd) Negatives(n int) int  { return n - 1 }
func (m endToEnd) Chance(n int) float64 { return m.chance(m.Negatives(n)) }

func (m endToEnd) check(wrong func(bool, string, ...any)) {
	wrong(m.Batch < 2, "batch: a batch of %d has no negatives; dictionary: batch needs at least 2 images", m.Batch)
	wrong(m.Accumulate > 1 && (m.Batch%m.Accumulate != 0 || m.BNSplits%m.Accumulate != 0),
		"accumulate: the %d parts must divide the batch (%d) and hold whole parts of batch norm (bn_splits: %d); "+
			"set bn_splits to a multiple of accumulate", m.Accumulate, m.Batch, m.BNSplits)
	wrong(m.Accumulate > 1 && m.Replicas > 1,
		"accumulate: replicas are parts already, and the memory is that of one; take more of them and leave accumulate at 1")
}

func (m endToEnd) build(g *builder) {
	f, ids := newEncoder(g, query), g.ids()
	everyID := g.GatherReplicas(ids)
	q, k := f.encode(g.view(firstViews)), f.encode(g.view(secondViews))
	pairs := []pair{{q.features, k.features}}
	if m.Symmetric {
		pairs = append(pairs, pair{k.features, q.features})
	}
	var loss *graph.Node
	for _, p := range pairs {
		sharp := g.sharpen(p.query)
		every := g.GatherReplicas(p.key) // the keys of all replicas, through which the gradient goes to each
		c := graph.Contrast{Positive: g.RowDot(sharp, p.key), Negatives: g.MatMul(sharp, every, false, true),
			QueryIDs: ids, KeyIDs: everyID, Temperature: m.Temperature}
		if loss == nil {
			g.report(c, p.query, p.key)
		}
		loss = g.sum(loss, g.InfoNCE(c))
	}
	f.update(loss, q, k)
}

// simCLR is NT-Xent (Chen et al. 2020, Eq. 1): each of a batch's 2N views finds its partner among the
// 2N-1 others. With the loss dcl the partner is left out of the denominator (Yeh et al. 2022): as it
// comes nearer, the gradient does not fade, which small batches gain from.
//
// With dcl an image may have more than two views. The loss is then the mean over all pairs of an
// image's views, each against the views of the other images. Since the positive stands outside of the
// denominator, that is the loss of one positive, the mean of the image's other views.
type simCLR struct{ endToEnd }

func newSimCLR(r *Recipe) Mechanism { return simCLR{endToEnd{contrastive{r}}} }

func (m simCLR) Negatives(n int) int  { return m.Views.Count() * (n - 1) }
func (m simCLR) Chance(n int) float64 { return m.chance(m.Negatives(n)) }

// ManyViews holds for dcl: the losses of pairs add up to that of their mean where they are linear in the
// positive.
func (m simCLR) ManyViews() bool { return m.Loss == "dcl" }

func (m simCLR) check(wrong func(bool, string, ...any)) {
	m.endToEnd.check(wrong)
	wrong(m.Symmetric, "symmetric: %s compares both views with all others already; set symmetric to false", m.Loss)
}

func (m simCLR) build(g *builder) {
	f, ids, count := newEncoder(g, query), g.ids(), m.Views.Count()
	z := f.encode(g.allViews())
	views, keyIDs := make([]*graph.Node, count), make([]*graph.Node, count)
	for i := range views {
		views[i], keyIDs[i] = g.Slice(z.features, 0, i*g.n, g.n), ids
	}
	every, everyID := g.GatherReplicas(z.features), g.GatherReplicas(g.Concat(0, keyIDs...))
	positives := g.positives(views)
	var loss *graph.Node
	for i, view := range views {
		// The ids exclude the image's own views from the negatives.
		c := graph.Contrast{Positive: positives[i], Negatives: g.MatMul(g.sharpen(view), every, false, true),
			QueryIDs: ids, KeyIDs: everyID, Temperature: m.Temperature, Decoupled: m.Loss == "dcl"}
		if loss == nil {
			g.report(c, views[0], views[1])
		}
		loss = g.sum(loss, g.InfoNCE(c))
	}
	loss = g.WeightedSum(graph.Term{Coefficient: 1 / float64(count), X: loss}) // the mean over all views
	f.update(loss, z)
}

// positives are the positive logits [N] of each view: its similarity to the mean of the image's others.
func (g *builder) positives(views []*graph.Node) []*graph.Node {
	if len(views) == 2 { // the same both ways round
		p := g.RowDot(g.sharpen(views[0]), views[1])
		return []*graph.Node{p, p}
	}
	var total *graph.Node
	for _, z := range views {
		total = g.sum(total, z)
	}
	share := 1 / float64(len(views)-1)
	all := make([]*graph.Node, len(views))
	for i, z := range views {
		others := g.WeightedSum(graph.Term{Coefficient: share, X: total}, graph.Term{Coefficient: -share, X: z})
		all[i] = g.RowDot(g.sharpen(z), others)
	}
	return all
}
