package moco

import (
	"fmt"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// bankStep is one training step with a memory bank (Fig. 2b; Wu et al. 2018): a stored feature for every image. The positive key is the
// image's own, the negatives are drawn from the others (or are all of them), and only the stored feature is averaged, not the
// encoder: bank[i] = normalise(mix*bank[i] + (1-mix)*v).
func bankStep(g *graph.Graph, r *Recipe, n int) {
	f := newEncoder(g, r, "encoder_q")
	var bank *graph.Node
	if r.BankPrecision == "bf16" {
		bank = g.HalfVariable("bank", r.Images, r.Encoder.Dim)
	} else {
		bank = g.Variable("bank", float, r.Images, r.Encoder.Dim)
	}
	ids := g.Input("ids", int32s, n)
	own := g.GatherRows(bank, ids)

	v := g.L2Normalise(f.forward(view(g, r, "x1", n)))
	query := sharpen(g, r, v)
	var loss *graph.Node
	if r.Loss == "nce" { // noise of its own for each query, behind its positive
		z := g.Variable("z", float, 1)
		e := graph.Estimate{Similarities: g.GatherDot(query, bank, g.Input("draws", int32s, n*(1+bankNegatives(r, n)))), Z: z, Temperature: r.Temperature, Population: r.Images}
		e.Z = g.Partition(e, keepZ[r.Z])
		g.Assign(z, e.Z)
		loss = g.NCE(e)
		report(g, graph.Contrast{Positive: g.RowDot(query, own), Negatives: e.Similarities, Temperature: r.Temperature}, v, own)
	} else {
		keys, images := bank, g.Variable("bank_ids", int32s, r.Images) // the whole bank: its ids are 0..images-1
		if !r.wholeBank() {
			images = g.Input("draws", int32s, bankNegatives(r, n)) // one sample for all queries of the step
			keys = g.GatherRows(bank, images)
		}
		c := graph.Contrast{Positive: g.RowDot(query, own), Negatives: g.MatMul(query, keys, false, true),
			QueryIDs: ids, KeyIDs: images, Temperature: r.Temperature}
		loss = g.InfoNCE(c)
		report(g, c, v, own)
	}
	f.update(r, loss)

	mixed := g.WeightedSum(graph.Term{Coefficient: r.Mix, X: own}, graph.Term{Coefficient: 1 - r.Mix, X: g.Detach(v)})
	g.Assign(bank, g.ReplaceRows(bank, g.L2Normalise(mixed), ids))
}

// keepZ is the share of Z that a step keeps, by the recipe's z.
var keepZ = map[string]float64{"frozen": 1, "ema": 0.9}

// wholeBank tells whether every stored feature is a key of every step.
func (r *Recipe) wholeBank() bool { return r.Queue == 0 || r.Loss == "softmax" }

func bankNegatives(r *Recipe, _ int) int {
	if r.wholeBank() {
		return r.Images - 1
	}
	return r.Queue
}

// DrawCount is the length of the "draws" of a step on n images, 0 where it has none.
func (r *Recipe) DrawCount(n int) int {
	switch {
	case r.Objective == "supervised" || r.Dictionary != "bank":
		return 0
	case r.Loss == "nce":
		return n * (1 + r.Negatives(n))
	case r.wholeBank():
		return 0
	}
	return r.Queue
}

// drawStream is the purpose of the random numbers that a bank's keys are drawn with.
const drawStream = 2

// Draw fills the "draws" of a step, uniformly, from the recipe's seed and the step's number alone. With nce the images' own ids stand in
// front of each query's noise.
func (r *Recipe) Draw(draws, ids []int32, step int) {
	random := rng.New(r.Seed, drawStream, uint64(step))
	each := len(draws)
	if r.Loss == "nce" {
		each = len(draws) / len(ids)
	}
	for i := range draws {
		if r.Loss == "nce" && i%each == 0 {
			draws[i] = ids[i/each]
			continue
		}
		draws[i] = int32(random.IntN(r.Images))
	}
}

const bankStart = 3

func initialiseBank(r *Recipe, s engine.State) error {
	keys := tensor.New(float, r.Images, r.Encoder.Dim)
	randomRows(keys, r.seeded(bankStart))
	if err := s.Write("bank", keys); err != nil {
		return err
	}
	if r.Loss == "nce" || !r.wholeBank() {
		return nil
	}
	ids := tensor.New(int32s, r.Images)
	for i := range ids.Int32s() {
		ids.Int32s()[i] = int32(i)
	}
	return s.Write("bank_ids", ids)
}

func checkBank(r *Recipe, wrong func(string, ...any)) {
	if r.Queue < 0 || r.Images > 0 && r.Queue >= r.Images {
		wrong("queue: a bank of %d images cannot give a sample of %d; use less, or 0 for all", r.Images, r.Queue)
	}
	if r.Loss == "nce" && r.Queue == 0 {
		wrong("queue: nce is a comparison with a sample of noise; give a number of draws, or use loss: softmax for all images")
	}
	if r.Loss == "nce" && r.Temperature < 0.02 {
		wrong("t: nce adds up exp(1/t), which float32 cannot hold for t below 0.02; it is %v", r.Temperature)
	}
	if r.Symmetric {
		wrong("symmetric: a bank's keys are stored and not made from a second view; set symmetric to false")
	}
	if r.MaskSameImage {
		wrong("mask_same_image: a bank holds one key an image, and the query's own is never a negative (with nce it is noise like any other); set it to false")
	}
	if r.Accumulate > 1 {
		wrong("accumulate: a bank is as large whatever the batch; take a smaller batch and leave accumulate at 1")
	}
	if !(r.Mix >= 0 && r.Mix < 1) {
		wrong("mix: is the share of the old feature, at least 0 and below 1, is %v", r.Mix)
	}
	if _, ok := keepZ[r.Z]; !ok {
		wrong("z: must be frozen or ema, is %q", r.Z)
	}
	if r.BankPrecision != "fp32" && r.BankPrecision != "bf16" {
		wrong("bank_precision: must be fp32 or bf16, is %q", r.BankPrecision)
	}
}

// bankSize is the error of a bank for a set whose size is not known.
func (r *Recipe) bankSize() error {
	if r.Objective == "contrastive" && r.Dictionary == "bank" && r.Images < 2 {
		return fmt.Errorf("images: a bank stores a feature for every image, so their number must be known and at least 2; it is %d", r.Images)
	}
	return nil
}
