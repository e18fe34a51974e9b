package moco

import (
	"moco/engine"
	"moco/graph"
	"moco/nn"
	"moco/tensor"
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
// replica's share of it, and C the dimension of features. As in the authors' code, the momentum
// update stands before the keys are made, and not at the step's end.
func (m momentumBatch) build(g *builder) {
	fq, fk := newEncoder(g, query), newEncoder(g, key) // backbone and projector
	predict := fq.predictor(m.Predictor)               // the part of f_q that f_k does not have
	x1, x2 := g.view(firstViews), g.view(secondViews)  // aug(x), aug(x): two random views

	fk.momentumUpdate(fq) // f_k.params = m*f_k.params + (1-m)*f_q.params

	k1, k2 := g.L2Normalise(fk.forward(x1)), g.L2Normalise(fk.forward(x2)) // keys: NxC each
	k1, k2 = g.Detach(k1), g.Detach(k2)                                    // no gradient to keys
	q1 := g.L2Normalise(predict(fq.forward(x1)))                           // queries: NxC each
	q2 := g.L2Normalise(predict(fq.forward(x2)))

	first, second := m.contrast(g, q1, k2), m.contrast(g, q2, k1) // logits: NxN each
	loss := g.Add(m.ctr(g, first), m.ctr(g, second))              // symmetrised
	g.report(first, q1, k2)

	fq.update(loss) // optimizer update: f_q
	fk.keepStatistics()
}

// ctr is the paper's contrastive loss: 2t times the cross-entropy, so that the size of its gradient
// depends less on t.
func (m momentumBatch) ctr(g *builder, c graph.Contrast) *graph.Node {
	return g.WeightedSum(graph.Term{Coefficient: 2 * m.Temperature, X: g.InfoNCE(c)})
}

// contrast compares queries with the keys of the whole batch, which are those of all replicas. The
// positive is the key of the query's own image.
func (m momentumBatch) contrast(g *builder, q, k *graph.Node) graph.Contrast {
	sharp := g.sharpen(q)
	return graph.Contrast{
		Positive:    g.RowDot(sharp, k),
		Negatives:   g.MatMul(sharp, g.GatherReplicas(k), false, true),
		QueryIDs:    g.ids(), // a negative of the same id is left out: the positive itself is among them
		KeyIDs:      g.GatherReplicas(g.ids()),
		Temperature: m.Temperature,
	}
}

func (m momentumBatch) Negatives(n int) int  { return n - 1 }
func (m momentumBatch) Chance(n int) float64 { return 2 * m.Temperature * m.chance(m.Negatives(n)) }
func (m momentumBatch) KeyEncoder() bool     { return true }
func (m momentumBatch) predicts() bool       { return true }

func (m momentumBatch) check(wrong func(bool, string, ...any)) {
	wrong(m.Batch < 2, "batch: a batch of %d has no negatives; dictionary: momentum_batch needs at least 2 images", m.Batch)
	wrong(!m.Symmetric, "symmetric: the loss of momentum_batch takes each view as query and as key; set symmetric to true")
	wrong(m.ShuffleBN, "shuffle_bn: momentum_batch encodes keys in the order of queries; set shuffle_bn to false")
	wrong(m.Accumulate > 1, "accumulate: keys have no gradient, so nothing has to be encoded twice; "+
		"to encode a batch in parts set replicas to their number and leave accumulate at 1")
	m.Predictor.check(wrong)
}

func (m momentumBatch) keys(g *builder) *graph.Node {
	return newEncoder(g, key).forward(g.view(secondViews))
}

func (m momentumBatch) initialise(s engine.State) error {
	p := m.Predictor.network(m.Encoder)
	return writeStart(m.Seed, p.Parameters(), p.Buffers(), func(name string, t *tensor.Tensor) error {
		return s.Write(query.variable(name), t)
	})
}

// Predictor is the network that MoCo v3's queries go through behind the projector: linear layers with
// batch norm and ReLU between them, as in the head mlp_bn. The zero value is none.
type Predictor struct {
	Layers int  `yaml:"layers"`
	Hidden int  `yaml:"hidden"` // features between the layers
	Norm   bool `yaml:"norm"`   // batch norm behind the last layer, too; the paper has it for transformers
}

// check reports what is wrong with p.
func (p Predictor) check(wrong func(bool, string, ...any)) {
	wrong(p.Layers < 0 || p.Layers > 16, "predictor.layers: must be at most 16, or 0 for no predictor, is %d", p.Layers)
	wrong(p.Layers > 1 && (p.Hidden < 1 || p.Hidden > 1<<16), "predictor.hidden: must be 1 to 65536 features, is %d", p.Hidden)
	wrong(p.Layers == 0 && p != (Predictor{}), "predictor.layers: is 0, so there is no predictor, and hidden and norm mean nothing")
}

// network is the predictor behind an encoder. Its variables are the query side's alone:
// "encoder_q.predictor.0.weight".
func (p Predictor) network(c nn.Config) nn.MLP {
	return nn.MLP{Name: "predictor", Layers: p.Layers, In: c.Dim, Hidden: p.Hidden, Out: c.Dim, LastNorm: p.Norm}
}

// predictor declares a predictor as a part of e, which learns and is saved with it, and returns its
// forward pass.
func (e *encoder) predictor(p Predictor) func(x *graph.Node) *graph.Node {
	network := p.network(e.Config)
	parameters := network.Parameters()
	for i := range parameters {
		parameters[i].Depth = e.Config.Depth() + 1 // it is no nearer to the image than the head
	}
	e.declare(parameters, network.Buffers())
	return func(x *graph.Node) *graph.Node { return network.Apply(&e.Encoder, e.g.Graph, x) }
}
