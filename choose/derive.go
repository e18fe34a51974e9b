package choose

import (
	"math"

	"moco"
)

// What follows from the number of pictures and of steps. The figures behind the rules stand in
// docs/results.md: in runs of a thousand steps a short queue and a momentum of 0.99 are ahead of a
// long one and 0.999.
const (
	mostKeys   = 4096 // more have not helped in any run that we made
	smallBatch = 32
	knownBatch = 128 // images of two views, for which the rates below are known
)

// tuning is what suits an optimizer: SGD learns most in many small steps, Muon in fewer and larger
// ones.
type tuning struct {
	rate     float64 // the learning rate for two views of knownBatch images
	batch    int     // the largest, of images of two views
	fewSteps float64 // below it a smaller batch, which makes more of them, learns more
}

func tuningOf(optimizer string) tuning {
	switch optimizer {
	case "muon":
		return tuning{rate: 0.03, batch: 1024, fewSteps: 500}
	case "adamw":
		return tuning{rate: 0.001, batch: knownBatch, fewSteps: 1500}
	}
	return tuning{rate: 0.06, batch: knownBatch, fewSteps: 1500}
}

// batchFor is the number of images a step: of two views an eighth of the set, so that an epoch has
// steps to make, and fewer where an image has more views.
func batchFor(r *moco.Recipe, images int) int {
	most := tuningOf(r.Optimizer).batch
	batch := min(most, max(powerOfTwo(images/8), min(16, images/2))) * 2 / r.Views.Count()
	if queues(r) {
		return max(1, batch)
	}
	return max(2, batch) // the other images of a batch are the negatives
}

// queueAtMost is the longest queue for a set, half of it: always below the number of pictures,
// where most negatives would be older views of images that are in the batch.
func queueAtMost(images int) int { return max(1, min(mostKeys, powerOfTwo(images/2))) }

// smallerBatch is a recipe's batch, or less of it for a number of images drawn in all.
func smallerBatch(r *moco.Recipe, images float64) int {
	batch, few := r.Batch, tuningOf(r.Optimizer).fewSteps
	for batch > 2*smallBatch/r.Views.Count() && images/float64(batch) < few {
		batch /= 2
	}
	return batch
}

// derive fills in what goes with a recipe's batch and epochs. The momentum encoder should
// come a long way from its start within the run, so m rises with the steps; the keys in the queue
// should be of encoders that are much alike, so the queue's age is bounded by m.
func derive(r *moco.Recipe, images int) {
	steps := r.Epochs.Steps(stepsPerEpoch(images, r.Batch))
	rest := min(0.05, max(0.001, 10/float64(steps)))
	r.Momentum = 1 - significant(rest, 1)
	r.Momentum = math.Round(r.Momentum*1e4) / 1e4 // 1-0.003 has a tail in binary
	batches := min(32, max(2, 0.04/rest))
	nearest := math.Exp2(math.Round(math.Log2(batches * float64(r.Batch))))
	r.Queue = min(queueAtMost(images), int(nearest))
	// With few pictures a queue holds older views of a batch's own. Other dictionaries have rules
	// of their own.
	r.MaskSameImage = queues(r)
	r.LR = significant(tuningOf(r.Optimizer).rate*math.Sqrt(float64(r.Batch*r.Views.Count())/(2*knownBatch)), 2)
	r.Warmup = significant(min(1, float64(r.Epochs)/20), 2)
}

// queues tells whether a recipe keeps keys in a queue.
func queues(r *moco.Recipe) bool {
	m, err := r.Mechanism()
	return err == nil && m.Filling() > 0
}

// powerOfTwo is the largest one that n holds, 0 below one.
func powerOfTwo(n int) int {
	p := 0
	for q := 1; q <= n; q *= 2 {
		p = q
	}
	return p
}

// significant rounds to some digits.
func significant(x float64, digits int) float64 {
	if x == 0 {
		return 0
	}
	unit := math.Pow(10, float64(digits-1)-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*unit) / unit
}

// floored is significant, never above x.
func floored(x float64, digits int) float64 {
	unit := math.Pow(10, float64(digits-1)-math.Floor(math.Log10(x)))
	return math.Floor(x*unit) / unit
}
