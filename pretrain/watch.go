package pretrain

import (
	"fmt"
	"math"

	"moco"
)

// watch warns of a run that learns nothing.
type watch struct {
	atChance int // steps in a row
	above    aboveChance
	warned   map[Reason]bool
}

// aboveChance finds a loss that stays far above chance. It compares stretches of an epoch each, of
// which the second must have no lower mean than the first: with a memory bank the loss rises far
// above chance too while its random features are replaced, and falls then.
type aboveChance struct {
	steps  int     // in this stretch
	sum    float64 // of their losses
	before float64 // mean of the stretch before; 0: there is none
}

// far is a loss over that of chance. An encoder that tells nothing apart has 1.
const far = 1.5

// add takes the loss of a step, in multiples of chance, and tells whether it has stayed far above 1.
func (a *aboveChance) add(loss float64, stretch int) bool {
	a.sum += loss
	if a.steps++; a.steps < stretch {
		return false
	}
	mean := a.sum / float64(a.steps)
	stays := a.before > far && mean >= a.before
	*a = aboveChance{before: mean}
	return stays
}

// begin warns of a dictionary that does not go with the data.
func (w *watch) begin(r *run) {
	queue, images := r.recipe.Queue, r.o.Data.Len()
	if r.mechanism.Filling() > 0 && queue > images && !r.recipe.Grouped() {
		w.warn(r, LongQueue, fmt.Sprintf("the queue of %d keys is longer than the data set of %d images: "+
			"most queries will meet older views of their own image as negatives; "+
			"set queue to %d or less, or mask_same_image to true", queue, images, images))
	}
}

// spreadEvery is steps from one measurement of the features' spread to the next.
const spreadEvery = 50

// spread is how far the queries of a step lie apart, where it is to be measured; else nil.
func (r *run) spread(s *moco.Step) *float64 {
	dim := r.recipe.Encoder.Dim
	if r.step != 1 && r.step%spreadEvery != 0 || r.mechanism.Classifier() || len(s.Queries()) <= dim {
		return nil
	}
	spread := moco.Spread(s.Queries(), dim) * math.Sqrt(float64(dim))
	return &spread
}

// step looks at a step that was done.
func (w *watch) step(r *run, spread *float64, m moco.Metrics) {
	if spread != nil && r.step%spreadEvery == 0 {
		w.collapse(r, *spread)
	}
	over := m.Loss / r.mechanism.Chance(r.recipe.Batch)
	w.nearChance(r, over)
	// In the first epoch a dictionary still has features of its random start.
	stretch := max(r.stepsPerEpoch, 100)
	if r.step > max(stretch, 2*r.mechanism.Filling()) && w.above.add(over, stretch) {
		w.farAboveChance(r, stretch)
	}
}

// nearChance warns of a loss that is what an encoder has that tells nothing apart. over is the loss
// in multiples of it.
func (w *watch) nearChance(r *run, over float64) {
	if r.step < 2*r.mechanism.Filling() || math.Abs(over-1) > 0.01 {
		w.atChance = 0
		return
	}
	if w.atChance++; w.atChance == 100 {
		w.warn(r, AtChance, fmt.Sprintf("for 100 steps the loss has been within 1%% of chance (%.3f): "+
			"the encoder tells nothing apart; raise lr, lower t, or train longer", r.mechanism.Chance(r.recipe.Batch)))
	}
}

// farAboveChance warns of a loss that is worse than guessing, and does not fall.
func (w *watch) farAboveChance(r *run, stretch int) {
	chance := r.mechanism.Chance(r.recipe.Batch)
	w.warn(r, AboveChance, fmt.Sprintf("the loss stays far above chance: its mean over the last %d steps is %.3f, "+
		"no lower than before, where an encoder that tells nothing apart has %.3f; %s",
		stretch, w.above.before*chance, chance, r.mechanism.Remedy()))
}

// collapse warns of features that all point one way.
func (w *watch) collapse(r *run, spread float64) {
	sphere := 1 / math.Sqrt(float64(r.recipe.Encoder.Dim))
	if spread < 0.1 {
		w.warn(r, Collapse, fmt.Sprintf("the features have collapsed: their standard deviation is %.2g, "+
			"where %.2g is what a sphere gives; lower lr, or raise m", spread*sphere, sphere))
	}
}

// warn tells something once.
func (w *watch) warn(r *run, why Reason, message string) {
	if w.warned[why] {
		return
	}
	if w.warned == nil {
		w.warned = map[Reason]bool{}
	}
	w.warned[why] = true
	r.events.tell(Warning{Step: r.step, Reason: why, Message: message})
}
