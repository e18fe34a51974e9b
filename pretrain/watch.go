package pretrain

import (
	"fmt"
	"math"

	"moco"
)

// watch warns of a run that learns nothing.
type watch struct {
	atChance int // steps in a row
	warned   map[string]bool
}

// begin warns of a dictionary that does not go with the data.
func (w *watch) begin(r *run) {
	queue, images := r.recipe.Queue, r.o.Data.Len()
	if r.mechanism.Filling() > 0 && queue > images && !r.recipe.Grouped() {
		w.warn(r, "queue", fmt.Sprintf("the queue of %d keys is longer than the data set of %d images: most queries will meet older views "+
			"of their own image as negatives; set queue to %d or less, or mask_same_image to true", queue, images, images))
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
	chance := r.mechanism.Chance(r.recipe.Batch)
	if r.step < 2*r.mechanism.Filling() || math.Abs(m.Loss-chance) > 0.01*chance {
		w.atChance = 0
		return
	}
	if w.atChance++; w.atChance == 100 {
		w.warn(r, "chance", fmt.Sprintf("for 100 steps the loss has been within 1%% of chance (%.3f): the encoder tells nothing apart; "+
			"raise lr, lower t, or train longer", chance))
	}
}

// collapse warns of features that all point one way.
func (w *watch) collapse(r *run, spread float64) {
	sphere := 1 / math.Sqrt(float64(r.recipe.Encoder.Dim))
	if spread < 0.1 {
		w.warn(r, "collapse", fmt.Sprintf("the features have collapsed: their standard deviation is %.2g, where %.2g is what a sphere gives; "+
			"lower lr, or raise m", spread*sphere, sphere))
	}
}

// warn tells something once.
func (w *watch) warn(r *run, what, message string) {
	if w.warned[what] {
		return
	}
	if w.warned == nil {
		w.warned = map[string]bool{}
	}
	w.warned[what] = true
	r.events.tell(Warning{Step: r.step, Message: message})
}
