package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/internal/loader"
	"moco/internal/rng"
	"moco/optim"
)

// Linear is the linear classification protocol (He et al. 2020, Sec. 4.1): SGD with momentum 0.9, no weight decay, the rate divided by ten at
// the milestones, on the features of a frozen encoder. The right rate differs by orders of magnitude between encoders (30 in the paper), so classifiers
// with all Rates are trained side by side, in one pass over the features, and a part of the training set chooses among them: in the same pass, classifiers
// that never see that part are trained beside those that learn from everything.
//
// Features have length one here; they are multiplied by the root of their dimension, so that a value is about 1, as it is in the paper.
type Linear struct {
	Rates      []float64
	Epochs     int
	Milestones []int
	Batch      int
	HeldOut    float64 // share of each class of the training set that chooses the rate
	Seed       uint64  // of the held-out part, the order and the views
}

// DefaultLinear is the paper's schedule with a sweep over five orders of magnitude.
func DefaultLinear() Linear {
	return Linear{Rates: []float64{0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100}, Epochs: 100, Milestones: []int{60, 80}, Batch: 256, HeldOut: 0.1}
}

// Check says what no classifier can be trained with.
func (l Linear) Check() error {
	switch {
	case len(l.Rates) == 0 || slices.Min(l.Rates) <= 0 || math.IsInf(slices.Max(l.Rates), 1) || slices.ContainsFunc(l.Rates, math.IsNaN):
		return fmt.Errorf("rates: give positive learning rates, not %v", l.Rates)
	case l.Epochs < 1:
		return fmt.Errorf("epochs: must be at least 1, is %d", l.Epochs)
	case l.Batch < 1:
		return fmt.Errorf("batch: must be at least 1, is %d", l.Batch)
	case !(l.HeldOut > 0 && l.HeldOut < 1):
		return fmt.Errorf("held-out share: must lie between 0 and 1, is %v", l.HeldOut)
	}
	return nil
}

// Rate is how one learning rate did, in percent. A classifier that diverged has 0.
type Rate struct {
	Rate    float64 `json:"rate"`
	HeldOut float64 `json:"held_out"` // trained without the held-out part, on it
	Test    float64 `json:"test"`     // trained on everything, on the test set
}

// LinearResult is how a linear classifier did.
type LinearResult struct {
	Rate    float64  `json:"rate"`           // chosen by the held-out part
	Top1    float64  `json:"top1"`           // percent of the test set, with that rate
	Top5    float64  `json:"top5,omitempty"` // percent; where there are more than five classes
	Rates   []Rate   `json:"rates"`
	Train   int      `json:"train"`
	Test    int      `json:"test"`
	Classes []string `json:"classes"`
	Views   bool     `json:"views"` // trained on random views, not on plain ones
	Bad     int      `json:"-"`     // with views: training images that could not be read; each gave its place to another

	// Probe is the classifier of the chosen rate; which layer of which encoder it takes, the caller knows.
	Probe encoder.Probe `json:"-"`
}

// Progress is how far the training of linear classifiers has come.
type Progress struct {
	Epoch int     // epochs that are done
	Share float64 // of all the work, 0 to 1
}

// Classify trains on one set of features, made once, and classifies another. progress, if not nil, is told after each epoch.
func (l Linear) Classify(ctx context.Context, e engine.Engine, train, test *Embedded, progress func(Progress)) (*LinearResult, error) {
	if train.Dim != test.Dim {
		return nil, fmt.Errorf("the training features have %d dimensions, the test features %d; make both with the same encoder and layer", train.Dim, test.Dim)
	}
	rest, heldOut, err := l.split(train.Labels, train.Classes)
	if err != nil {
		return nil, err
	}
	t := &lesson{Linear: l, labels: train.Labels, classes: train.Classes, dim: train.Dim, rest: rest, held: train, heldRows: heldOut, test: test, progress: progress}
	order := make([]int, train.Len())
	return t.run(ctx, e, func(epoch int, learn func(rows []float32, images []int) error) error {
		random := rng.New(l.Seed, linearStream, uint64(epoch)+1)
		random.Perm(order)
		for i := range order {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := learn(train.Features[order[i]*train.Dim:(order[i]+1)*train.Dim], order[i:i+1]); err != nil {
				return err
			}
		}
		t.tell(epoch, 1)
		return nil
	})
}

// ClassifyViews is Classify on new random views in every epoch, crops and flips (augment's CropAndFlip), which the frozen encoder encodes as they are
// drawn: the paper's protocol, at the price of a forward pass over the training images for each epoch. The held-out part and the test set are plain views.
// As there, the encoder is held to have stayed as it was. progress, if not nil, is told after each batch.
func (l Linear) ClassifyViews(ctx context.Context, e engine.Engine, m *encoder.Encoder, layer encoder.Layer, train *data.Set, test *Embedded, progress func(Progress)) (*LinearResult, error) {
	dim, err := m.DimOf(layer)
	if err != nil {
		return nil, err
	}
	if dim != test.Dim {
		return nil, fmt.Errorf("the encoder's features have %d dimensions, the test features %d; make both with the same encoder and layer", dim, test.Dim)
	}
	labels := make([]int, train.Len())
	for i := range labels {
		labels[i] = train.Label(i)
	}
	rest, heldOut, err := l.split(labels, train.Classes())
	if err != nil {
		return nil, err
	}
	policy, err := m.Recipe.Views.Drawn()
	if err != nil {
		return nil, err
	}
	plain := func(images []int) (*Embedded, error) {
		some, err := train.Subset(images)
		if err != nil {
			return nil, err
		}
		return Features(ctx, m, some, layer, nil)
	}
	held, err := plain(heldOut)
	if err != nil {
		return nil, err
	}
	sample := heldOut[:min(len(heldOut), m.Batch())]
	before, err := plain(sample)
	if err != nil {
		return nil, err
	}
	t := &lesson{Linear: l, labels: labels, classes: train.Classes(), dim: dim, rest: rest, held: held, test: test, progress: progress}
	views := loader.New(train, policy.CropAndFlip(), loader.Options{Batch: m.Batch(), Seed: l.Seed, Workers: runtime.GOMAXPROCS(0), MaxBad: 1})
	x := make([]float32, m.Batch()*3*policy.Size*policy.Size)
	rows, ids, images := make([]float32, m.Batch()*dim), make([]int32, m.Batch()), make([]int, m.Batch())
	r, err := t.run(ctx, e, func(epoch int, learn func(rows []float32, images []int) error) error {
		steps := views.StepsPerEpoch()
		for step := range steps {
			n := views.BatchSize(step)
			x := x[:n*3*policy.Size*policy.Size]
			if err := views.Fill(ctx, epoch, step, moco.Batch{X1: x, IDs: ids[:n]}); err != nil {
				return err
			}
			if err := m.EncodeViews(x, n, []encoder.Layer{layer}, [][]float32{rows[:n*dim]}); err != nil {
				return err
			}
			for i, id := range ids[:n] {
				images[i] = int(id)
			}
			if err := learn(rows[:n*dim], images[:n]); err != nil {
				return err
			}
			t.tell(epoch, float64(step+1)/float64(steps))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	after, err := plain(sample)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(before.Features, after.Features) {
		return nil, errors.New("the encoder did not stay as it was while classifiers were trained on its features; this is a bug")
	}
	r.Views, r.Bad = true, views.Bad()
	return r, nil
}

// lesson is one training of linear classifiers.
type lesson struct {
	Linear
	labels   []int // of the training images
	classes  []string
	dim      int
	rest     []int     // the images that are not held out
	held     *Embedded // features of the held-out images,
	heldRows []int     // which are these rows; nil: all
	test     *Embedded
	progress func(Progress)
}

// tell tells the progress: a share of an epoch.
func (t *lesson) tell(epoch int, share float64) {
	if t.progress == nil {
		return
	}
	p := Progress{Epoch: epoch, Share: (float64(epoch) + share) / float64(t.Epochs)}
	if share == 1 {
		p.Epoch++
	}
	t.progress(p)
}

// run trains and measures. features gives the rows of all training images in an epoch, in some order, and the images that they are of.
func (t *lesson) run(ctx context.Context, e engine.Engine, features func(epoch int, learn func(rows []float32, images []int) error) error) (*LinearResult, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	testLabels, err := sameClasses(&Embedded{Classes: t.classes}, t.test)
	if err != nil {
		return nil, err
	}
	if slices.Min(testLabels) < 0 {
		return nil, errors.New("a linear classifier needs labelled test images; give folders with one folder a class")
	}
	chooser, err := t.probe(e, t.dim, len(t.classes), len(t.rest)) // learns from the rest
	if err != nil {
		return nil, err
	}
	defer chooser.close()
	final, err := t.probe(e, t.dim, len(t.classes), len(t.labels)) // learns from everything
	if err != nil {
		return nil, err
	}
	defer final.close()
	isRest := make([]bool, len(t.labels))
	for _, i := range t.rest {
		isRest[i] = true
	}
	schedule := optim.Schedule{Kind: "step", Epochs: float64(t.Epochs), Milestones: t.Milestones}
	for epoch := range t.Epochs {
		rate := float32(schedule.Rate(1, float64(epoch)))
		chooser.begin(rate)
		final.begin(rate)
		err := features(epoch, func(rows []float32, images []int) error {
			for row, i := range images {
				x := rows[row*t.dim : (row+1)*t.dim]
				if err := final.learn(x, t.labels[i]); err != nil {
					return err
				}
				if !isRest[i] {
					continue
				}
				if err := chooser.learn(x, t.labels[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	chosen, err := chooser.accuracy(ctx, t.held, t.held.Labels, t.heldRows, nil)
	if err != nil {
		return nil, err
	}
	top5 := make([]float64, len(t.Rates))
	tested, err := final.accuracy(ctx, t.test, testLabels, nil, top5)
	if err != nil {
		return nil, err
	}
	r := &LinearResult{Train: len(t.labels), Test: t.test.Len(), Classes: t.classes, Rates: make([]Rate, len(t.Rates)), Probe: encoder.Probe{Scale: final.scale, Classes: t.classes}}
	best := 0
	for i, rate := range t.Rates {
		r.Rates[i] = Rate{rate, chosen[i], tested[i]}
		if chosen[i] > chosen[best] {
			best = i
		}
	}
	r.Rate, r.Top1 = t.Rates[best], tested[best]
	if len(t.classes) > 5 {
		r.Top5 = top5[best]
	}
	if r.Probe.Weight, err = final.state.Read(name("weight", best)); err != nil {
		return nil, err
	}
	r.Probe.Bias, err = final.state.Read(name("bias", best))
	return r, err
}

// Purposes of random streams.
const (
	heldOutStream = 400 + iota
	linearStream
)

// split divides the training images into those to train on and those that choose the rate: the same share of each class.
func (l Linear) split(labels []int, classes []string) (rest, heldOut []int, err error) {
	if err := l.Check(); err != nil {
		return nil, nil, err
	}
	if len(classes) < 2 || len(labels) == 0 || slices.Min(labels) < 0 {
		return nil, nil, errors.New("a linear classifier needs labelled images of at least 2 classes to train on: give class folders")
	}
	order := make([]int, len(labels))
	random := rng.New(l.Seed, heldOutStream)
	random.Perm(order)
	byClass := make([][]int, len(classes))
	for _, i := range order {
		byClass[labels[i]] = append(byClass[labels[i]], i)
	}
	for _, images := range byClass {
		n := int(math.Round(l.HeldOut * float64(len(images))))
		if n == 0 && len(images) > 1 {
			n = 1
		}
		heldOut, rest = append(heldOut, images[:n]...), append(rest, images[n:]...)
	}
	if len(rest) == 0 || len(heldOut) == 0 {
		return nil, nil, fmt.Errorf("%d training images are too few to hold some out of each class; give more", len(labels))
	}
	slices.Sort(heldOut)
	slices.Sort(rest)
	return rest, heldOut, nil
}
