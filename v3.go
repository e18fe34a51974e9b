package moco

import (
	"moco/graph"
)

// momentumBatch is MoCo v3 (Chen, Xie, He: "An Empirical Study of Training Self-Supervised Vision
// Transformers", ICCV 2021). Keys are made by a momentum encoder and are the batch's own, so there
// is no queue. Queries go through a predictor besides, which keys do not have.
//
// The authors take batch norm's statistics over the images of all devices (SyncBN). Here each
// replica, or each of bn_splits parts, has its own; with one of both the mathematics is theirs.
type momentumBatch struct{ contrastive }

func newMomentumBatch(r *Recipe) Mechanism { return momentumBatch{contrastive{r}} }

// build is Algorithm 1 of that paper ("MoCo v3: PyTorch-like Pseudocode"). N is the batch, or a
// replica's share of it, and C the dimension of features. The momentum update stands before the keys
// are made, as in the authors' code, and not at the step's end.
func (m momentumBatch) build(g *builder) {
	fq, fk := newEncoder(g, query), newEncoder(g, key) // backbone and projector each
	x1, x2 := g.view(firstViews), g.view(secondViews)  // two random views of each image

	fk.momentumUpdate(fq) // f_k.params = m*f_k.params + (1-m)*f_q.params

	k1, k2 := g.Detach(g.L2Normalise(fk.forward(x1))), g.Detach(g.L2Normalise(fk.forward(x2))) // keys: NxC each
	q1 := g.L2Normalise(fq.forward(x1))                                                        // queries: NxC
	q2 := g.L2Normalise(fq.forward(x2))

	first := m.against(g, q1, k2)
	g.report(first, q1, k2)
	loss := g.Add(m.ctr(g, first), m.ctr(g, m.against(g, q2, k1))) // symmetrised

	fq.update(loss) // optimizer update: f_q
	fk.keepStatistics()
}

// against is what queries are compared with: the keys of the whole batch, those of all replicas. A
// query's own key is the positive, the keys of other images are negatives.
func (m momentumBatch) against(g *builder, q, k *graph.Node) graph.Contrast {
	sharp := g.sharpen(q)
	return graph.Contrast{
		Positive:    g.RowDot(sharp, k),
		Negatives:   g.MatMul(sharp, g.GatherReplicas(k), false, true),
		QueryIDs:    g.ids(), // they leave the positive key, and others of its image, out of the negatives
		KeyIDs:      g.GatherReplicas(g.ids()),
		Temperature: m.Temperature,
	}
}

// ctr is the paper's function of that name: 2t times the cross-entropy, so that the gradient's size
// depends less on t.
func (m momentumBatch) ctr(g *builder, c graph.Contrast) *graph.Node {
	return g.WeightedSum(graph.Term{Coefficient: 2 * m.Temperature, X: g.InfoNCE(c)})
}

func (m momentumBatch) Negatives(n int) int  { return n - 1 }
func (m momentumBatch) Chance(n int) float64 { return 2 * m.Temperature * m.chance(m.Negatives(n)) }
func (m momentumBatch) KeyEncoder() bool     { return true }

func (m momentumBatch) check(wrong func(bool, string, ...any)) {
	wrong(m.Batch < 2, "batch: a batch of %d has no negatives; dictionary: momentum_batch needs at least 2 images", m.Batch)
	wrong(!m.Symmetric, "symmetric: the loss of momentum_batch takes each view as query and as key; set symmetric to true")
	wrong(m.ShuffleBN, "shuffle_bn: momentum_batch encodes keys in the order of queries; set shuffle_bn to false")
	wrong(m.Accumulate > 1, "accumulate: keys have no gradient, so nothing has to be encoded twice; "+
		"to encode a batch in parts set replicas to their number and leave accumulate at 1")
}

func (m momentumBatch) keys(g *builder) *graph.Node {
	return newEncoder(g, key).forward(g.view(secondViews))
}
