package moco

import (
	"errors"
	"fmt"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// memoryBank learns from a stored feature of every image (Fig. 2b; Wu et al. 2018). The positive
// key is the image's own stored feature. The negatives are a sample of the other images' features,
// and all queries of a step share one sample. Only the stored feature is averaged, not the encoder:
// bank[i] = normalise(mix*bank[i] + (1-mix)*v).
type memoryBank struct{ contrastive }

// wholeBank takes every stored feature as a key: the non-parametric softmax over all images.
type wholeBank struct{ memoryBank }

// noiseContrast tells each query's own feature from noise. Each query has noise of its own.
type noiseContrast struct{ memoryBank }

// newMemoryBank reads a queue of 0 as the whole bank.
func newMemoryBank(r *Recipe) Mechanism {
	if r.Queue == 0 {
		return newWholeBank(r)
	}
	return memoryBank{contrastive{r}}
}

func newWholeBank(r *Recipe) Mechanism     { return wholeBank{memoryBank{contrastive{r}}} }
func newNoiseContrast(r *Recipe) Mechanism { return noiseContrast{memoryBank{contrastive{r}}} }

func (m memoryBank) Negatives(int) int    { return m.Queue }
func (m memoryBank) Chance(n int) float64 { return m.chance(m.Negatives(n)) }

func (m wholeBank) Negatives(int) int    { return m.Images - 1 }
func (m wholeBank) Chance(n int) float64 { return m.chance(m.Negatives(n)) }

// Remedy is the average that keeps Z with the features.
func (m noiseContrast) Remedy() string {
	if keepZ[m.Z] == 1 {
		return "set z to ema: Z was estimated from a bank of random features and is now too small; or take loss: info_nce"
	}
	return m.memoryBank.Remedy()
}

func (m memoryBank) check(wrong func(bool, string, ...any)) {
	wrong(m.Queue < 0 || m.Images > 0 && m.Queue >= m.Images,
		"queue: a bank of %d images cannot give a sample of %d; use less, or 0 for all", m.Images, m.Queue)
	wrong(m.Symmetric, "symmetric: a bank's keys are stored and not made from a second view; set symmetric to false")
	wrong(m.MaskSameImage, "mask_same_image: a bank holds one key an image, and the query's own is never a negative "+
		"(with nce it is noise like any other); set it to false")
	wrong(m.Accumulate > 1, "accumulate: a bank is as large whatever the batch; take a smaller batch and leave accumulate at 1")
	wrong(!(m.Mix >= 0 && m.Mix < 1), "mix: is the share of the old feature, at least 0 and below 1, is %v", m.Mix)
	_, known := keepZ[m.Z]
	wrong(!known, "z: must be frozen or ema, is %q", m.Z)
	_, known = bankVariables[m.BankPrecision]
	wrong(!known, "bank_precision: must be fp32 or bf16, is %q", m.BankPrecision)
	wrong(m.Grouped(), "positives: a bank stores a feature for each image, and with %s a positive pair is of two images; "+
		"use dictionary: queue", m.Positives)
}

func (m noiseContrast) check(wrong func(bool, string, ...any)) {
	m.memoryBank.check(wrong)
	wrong(m.Queue == 0,
		"queue: nce is a comparison with a sample of noise; give a number of draws, or use loss: softmax for all images")
	wrong(m.Temperature < 0.02, "t: nce adds up exp(1/t), which float32 cannot hold for t below 0.02; it is %v", m.Temperature)
}

// Fit makes the bank as large as the set.
func (m memoryBank) Fit(d DataSize) error {
	if m.Images != 0 && m.Images != d.Images {
		return fmt.Errorf("images: the recipe is for a bank of %d, and there are %d; leave the key out", m.Images, d.Images)
	}
	m.Images = d.Images
	return nil
}

func (m memoryBank) ready() error {
	if m.Images < 2 {
		return errors.New("images: a bank stores a feature for every image, so their number must be known and at least 2; " +
			fmt.Sprintf("it is %d", m.Images))
	}
	return nil
}

// The bank's variables.
const (
	bankKeys = "bank"     // [images,C]
	bankIDs  = "bank_ids" // 0..images-1
	bankZ    = "z"        // nce's constant
)

// bankVariables has a function for each precision of the bank. It declares the bank's variables.
var bankVariables = map[string]func(g *builder) *graph.Node{
	"fp32": func(g *builder) *graph.Node {
		return g.Variable(bankKeys, float, g.recipe.Images, g.recipe.Encoder.Dim)
	},
	"bf16": func(g *builder) *graph.Node {
		return g.BFloat16Variable(bankKeys, g.recipe.Images, g.recipe.Encoder.Dim)
	},
}

// keepZ is the share of the old Z that a step keeps, by the recipe's key z.
//
// Wu et al. 2018 and Tian et al. 2019 keep the Z of the first step. It is then that of random
// directions, which lie far apart, and the features of a new encoder lie close together. So most
// negatives are taken for the query's own, and all images are pushed away from the bank together.
// Their banks have a million rows and are replaced slowly; one of a few thousand is replaced in some
// dozen steps, and the loss only rises (docs/results.md). An averaged Z follows the features. MoCo's
// authors found an average with 0.99 to work on ImageNet; where an epoch has 78 steps that is slow.
var keepZ = map[string]float64{"frozen": 1, "ema": 0.9}

// bankStep is the part of a step that the three mechanisms share: the encoded batch and its stored
// features.
type bankStep struct {
	g             *builder
	f             *encoder
	bank          *graph.Node // [images,C]
	ids           *graph.Node // [N]
	own, v, sharp *graph.Node // [N,C]: stored features, features, features for the loss
	encoded       []*encoded  // what v comes from, if it was encoded twice
}

// begin encodes the batch. twice tells that the loss waits for features of all replicas: see encode.
func (m memoryBank) begin(g *builder, twice bool) *bankStep {
	s := &bankStep{g: g, f: newEncoder(g, query), bank: bankVariables[m.BankPrecision](g), ids: g.ids()}
	s.own = g.GatherRows(s.bank, s.ids)
	if twice {
		s.encoded = []*encoded{s.f.encode(g.view(firstViews))}
		s.v = s.encoded[0].features
	} else {
		s.v = g.L2Normalise(s.f.forward(g.view(firstViews)))
	}
	s.sharp = g.sharpen(s.v)
	return s
}

// end learns from the loss and mixes the new features into the bank. Every replica has the whole
// bank, and gets the rows of all: each of its queries may meet any image.
func (s *bankStep) end(loss *graph.Node) {
	g, mix := s.g, s.g.recipe.Mix
	s.f.update(loss, s.encoded...)
	mixed := g.WeightedSum(graph.Term{Coefficient: mix, X: s.own}, graph.Term{Coefficient: 1 - mix, X: g.Detach(s.v)})
	g.Assign(s.bank, g.ReplaceRows(s.bank, g.GatherReplicas(g.L2Normalise(mixed)), g.GatherReplicas(s.ids)))
}

// contrast is InfoNCE with some rows of the bank as keys. images holds the row numbers: a row's
// number is its image's.
func (s *bankStep) contrast(keys, images *graph.Node) *graph.Node {
	g := s.g
	c := graph.Contrast{Positive: g.RowDot(s.sharp, s.own), Negatives: g.MatMul(s.sharp, keys, false, true),
		QueryIDs: s.ids, KeyIDs: images, Temperature: g.recipe.Temperature}
	loss := g.InfoNCE(c)
	g.report(c, s.v, s.own)
	return loss
}

func (m memoryBank) build(g *builder) {
	s := m.begin(g, false)
	images := g.sample(m.Queue)
	s.end(s.contrast(g.GatherRows(s.bank, images), images))
}

func (m wholeBank) build(g *builder) {
	s := m.begin(g, false)
	s.end(s.contrast(s.bank, g.Variable(bankIDs, int32s, m.Images)))
}

func (m noiseContrast) build(g *builder) {
	s := m.begin(g, true)
	// First comes each query's own image, behind it the query's own noise.
	draws := g.draws(1 + m.Queue)
	z := g.Variable(bankZ, float, 1)
	similarities := g.GatherDot(s.sharp, s.bank, draws)
	e := graph.Estimate{Similarities: similarities, Z: z, Temperature: m.Temperature, Population: m.Images}
	e.Z = g.mean(g.Partition(e, keepZ[m.Z]))
	g.Assign(z, e.Z)
	loss := g.NCE(e)
	g.report(
		graph.Contrast{Positive: g.RowDot(s.sharp, s.own), Negatives: e.Similarities, Temperature: m.Temperature},
		s.v, s.own)
	s.end(loss)
}

// draw fills the sample of a step. It is uniform, and follows from the recipe's seed and the step's
// number alone.
func (m memoryBank) draw(draws, _ []int32, at drawing) {
	random := rng.New(m.Seed, drawStream, uint64(at.step))
	for i := range draws {
		draws[i] = int32(random.IntN(m.Images))
	}
}

func (m wholeBank) draw(_, _ []int32, _ drawing) {}

// draw puts each image's own id in front of the image's noise.
func (m noiseContrast) draw(draws, ids []int32, at drawing) {
	random := rng.New(m.Seed, drawStream, uint64(at.step))
	each := len(draws) / len(ids)
	for range at.first / each * (each - 1) { // the noise of queries that other processes have
		random.IntN(m.Images)
	}
	for i := range draws {
		if i%each == 0 {
			draws[i] = ids[i/each]
			continue
		}
		draws[i] = int32(random.IntN(m.Images))
	}
}

func (m memoryBank) initialise(s engine.State) error {
	keys := tensor.New(float, m.Images, m.Encoder.Dim)
	randomRows(keys, m.seeded(bankStream))
	return s.Write(bankKeys, keys)
}

func (m wholeBank) initialise(s engine.State) error {
	if err := m.memoryBank.initialise(s); err != nil {
		return err
	}
	ids := tensor.New(int32s, m.Images)
	for i := range ids.Int32s() {
		ids.Int32s()[i] = int32(i)
	}
	return s.Write(bankIDs, ids)
}

// storedBank is a bank between two steps.
type storedBank struct {
	keys []float32
	dim  int
}

func (m memoryBank) Stored(s engine.State) (Stored, error) {
	keys, err := s.Read(bankKeys)
	if err != nil {
		return nil, err
	}
	return &storedBank{keys: keys.Float32s(), dim: m.Encoder.Dim}, nil
}

// Holds is true within an epoch. An epoch meets no image twice, so its keys are still there.
func (b *storedBank) Holds(at Earlier, _ int) bool { return at.SameEpoch }

func (b *storedBank) Key(_ Earlier, _, _ int, id int32) []float32 {
	return b.keys[int(id)*b.dim : (int(id)+1)*b.dim]
}
