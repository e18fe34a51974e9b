package evaluate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"moco/encoder"
	"moco/engine"
	"moco/internal/rng"
	"moco/optim"
)

// Classify trains on one set of features, made once, and classifies another. progress, if not nil,
// is told after each epoch.
func (l Linear) Classify(ctx context.Context, e engine.Engine, train, test *Embedded, progress func(Progress)) (*LinearResult, error) {
	if train.Dim != test.Dim {
		return nil, fmt.Errorf("the training features have %d dimensions, the test features %d; "+
			"make both with the same encoder and layer",
			train.Dim, test.Dim)
	}
	rest, heldOut, err := l.split(train.Labels, train.Classes)
	if err != nil {
		return nil, err
	}
	t := &linearRun{Linear: l, labels: train.Labels, classes: train.Classes, dim: train.Dim,
		rest: rest, heldOut: train, heldOutRows: heldOut, test: test, progress: progress}
	order := make([]int, train.Len())
	return t.run(ctx, e, func(epoch int) error {
		random := rng.New(l.Seed, linearStream, uint64(epoch)+1)
		random.Perm(order)
		for _, i := range order {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.learn(train.Row(i), i); err != nil {
				return err
			}
		}
		t.tell(epoch, 1)
		return nil
	})
}

// linearRun is one training of linear classifiers.
type linearRun struct {
	Linear
	labels      []int // of the training images
	classes     []string
	dim         int
	rest        []int     // the training images outside the held-out part
	heldOut     *Embedded // features of the held-out images
	heldOutRows []int     // rows of heldOut that are held-out images; nil: all
	test        *Embedded
	progress    func(Progress)

	isRest []bool
	onRest *probe // learns from the rest; measured on the held-out part
	onAll  *probe // learns from everything; measured on the test set
}

// tell reports the progress: share is a share of an epoch.
func (t *linearRun) tell(epoch int, share float64) {
	if t.progress == nil {
		return
	}
	p := Progress{Epoch: epoch, Share: (float64(epoch) + share) / float64(t.Epochs)}
	if share == 1 {
		p.Epoch++
	}
	t.progress(p)
}

// run trains and measures. features calls learn with the features of every training image, in the
// order of an epoch.
func (t *linearRun) run(ctx context.Context, e engine.Engine, features func(epoch int) error) (*LinearResult, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	testLabels, err := t.test.labelsAs(t.classes)
	if err != nil {
		return nil, err
	}
	if slices.Min(testLabels) < 0 {
		return nil, errors.New("a linear classifier needs labelled test images; give folders with one folder a class")
	}
	if t.onRest, err = t.probe(e, t.dim, len(t.classes), len(t.rest)); err != nil {
		return nil, err
	}
	defer t.onRest.close()
	if t.onAll, err = t.probe(e, t.dim, len(t.classes), len(t.labels)); err != nil {
		return nil, err
	}
	defer t.onAll.close()
	t.isRest = make([]bool, len(t.labels))
	for _, i := range t.rest {
		t.isRest[i] = true
	}
	schedule := optim.Schedule{Kind: "step", Epochs: float64(t.Epochs), Milestones: t.Milestones}
	for epoch := range t.Epochs {
		rate := float32(schedule.Rate(1, float64(epoch)))
		t.onRest.begin(rate)
		t.onAll.begin(rate)
		if err := features(epoch); err != nil {
			return nil, err
		}
	}
	return t.measure(ctx, testLabels)
}

// learn takes the features of training image i.
func (t *linearRun) learn(x []float32, i int) error {
	if err := t.onAll.learn(x, t.labels[i]); err != nil {
		return err
	}
	if !t.isRest[i] {
		return nil
	}
	return t.onRest.learn(x, t.labels[i])
}

// ErrDiverged is the error of linear classifiers none of which has finite weights in the end.
var ErrDiverged = errors.New("the classifiers have diverged at every rate; give smaller rates")

// finite tells whether the classifiers of a rate have finite weights.
func (t *linearRun) finite(rate int) (bool, error) {
	for _, p := range []*probe{t.onRest, t.onAll} {
		for _, name := range []string{weightName(rate), biasName(rate)} {
			v, err := p.state.Read(name)
			if err != nil || !encoder.Finite(v.Float32s()) {
				return false, err
			}
		}
	}
	return true, nil
}

// measure chooses a rate by the held-out part, and scores all rates on the test set.
func (t *linearRun) measure(ctx context.Context, testLabels []int) (*LinearResult, error) {
	heldOut, err := t.onRest.accuracy(ctx, t.heldOut, t.heldOut.Labels, t.heldOutRows, nil)
	if err != nil {
		return nil, err
	}
	top5 := make([]float64, len(t.Rates))
	tested, err := t.onAll.accuracy(ctx, t.test, testLabels, nil, top5)
	if err != nil {
		return nil, err
	}
	r := &LinearResult{Train: len(t.labels), Test: t.test.Len(), Classes: t.classes, Rates: make([]Rate, len(t.Rates)),
		Probe: encoder.Probe{Scale: t.onAll.scale, Classes: t.classes}}
	best := -1
	for i, rate := range t.Rates {
		r.Rates[i] = Rate{Rate: rate}
		sound, err := t.finite(i)
		if err != nil {
			return nil, err
		}
		if !sound { // what it hits, it hits by chance
			continue
		}
		r.Rates[i].HeldOut, r.Rates[i].Test = heldOut[i], tested[i]
		if best < 0 || heldOut[i] > heldOut[best] {
			best = i
		}
	}
	if best < 0 {
		return nil, fmt.Errorf("%w: %v", ErrDiverged, t.Rates)
	}
	r.Rate, r.Top1 = t.Rates[best], tested[best]
	if len(t.classes) > 5 {
		r.Top5 = top5[best]
	}
	if r.Probe.Weight, err = t.onAll.state.Read(weightName(best)); err != nil {
		return nil, err
	}
	r.Probe.Bias, err = t.onAll.state.Read(biasName(best))
	return r, err
}
