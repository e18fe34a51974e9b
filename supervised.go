package moco

import (
	"errors"
	"math"

	"moco/engine"
	"moco/graph"
)

// ErrNoLabels is the error of supervised training on images without classes.
var ErrNoLabels = errors.New("objective: supervised training needs labels, and the images have no class folders")

// Supervised is the recipe with labels in place of a dictionary: the same encoder below a linear
// classifier. Fit gives the classifier an output for each class.
func (r Recipe) Supervised() Recipe {
	r.Objective, r.Encoder, r.Predictor, r.Views.PerImage = "supervised", r.Encoder.WithLinearHead(), Predictor{}, 0
	return r
}

// supervised trains the same encoder with labels: the baseline that the paper compares itself with.
// The head is the classifier, and encoder.dim is the number of classes.
type supervised struct{ *Recipe }

func (supervised) String() string               { return "supervised" }
func (m supervised) Negatives(int) int          { return m.Encoder.Dim }
func (m supervised) Chance(int) float64         { return math.Log(float64(m.Encoder.Dim)) }
func (supervised) KeyEncoder() bool             { return false }
func (supervised) Classifier() bool             { return true }
func (supervised) Filling() int                 { return 0 }
func (supervised) predicts() bool               { return false }
func (supervised) ManyViews() bool              { return false }
func (supervised) Remedy() string               { return remedy }
func (supervised) ready() error                 { return nil }
func (supervised) draw(_, _ []int32, _ drawing) {}

func (supervised) initialise(engine.State) error       { return nil }
func (supervised) Stored(engine.State) (Stored, error) { return nil, nil }
func (supervised) keys(*builder) *graph.Node           { return nil }

func (m supervised) check(wrong func(bool, string, ...any)) {
	wrong(m.Accumulate > 1, "accumulate: is for the contrastive losses of a batch; leave it at 1")
	wrong(m.Encoder.Head != "linear",
		"encoder.head: a supervised encoder ends in a linear classifier; set encoder.head to linear")
	wrong(m.Grouped(), "positives: supervised training compares images with labels and not with each other; leave it at views")
}

// Fit gives the head an output for each class.
func (m supervised) Fit(d DataSize) error {
	if d.Classes < 2 {
		return ErrNoLabels
	}
	m.Encoder.Dim = d.Classes
	return nil
}

func (m supervised) build(g *builder) {
	f := newEncoder(g, query)
	labels := g.labels()
	logits := f.forward(g.onlyView())
	loss := g.CrossEntropy(logits, labels)
	g.Output(outAccuracy, g.mean(g.LabelAccuracy(logits, labels)))
	g.Output(outQueries, logits)
	f.update(loss)
}
