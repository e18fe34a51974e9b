package evaluate

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"moco/encoder"
	"moco/internal/rng"
)

// Linear is the linear classification protocol (He et al. 2020, Sec. 4.1) on the features of a
// frozen encoder: SGD with momentum 0.9, no weight decay, the rate divided by ten at the
// milestones.
//
// The right rate differs by orders of magnitude between encoders (30 in the paper). So classifiers
// with all Rates are trained side by side, in one pass over the features. A held-out part of the
// training set chooses among them. One set of classifiers never sees that part; another set learns
// from everything in the same pass.
//
// Features have length one here. They are multiplied by the root of their dimension, so that a
// value is about 1, as in the paper.
type Linear struct {
	Rates      []float64
	Epochs     int
	Milestones []int
	Batch      int
	HeldOut    float64 // share of each class of the training set; it chooses the rate
	Seed       uint64  // for the held-out part, the order and the views
}

// DefaultLinear is the paper's schedule with a sweep over five orders of magnitude.
func DefaultLinear() Linear {
	return Linear{Rates: []float64{0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100}, Epochs: 100,
		Milestones: []int{60, 80}, Batch: 256, HeldOut: 0.1}
}

// Check returns an error if the settings cannot train a classifier.
func (l Linear) Check() error {
	switch {
	case len(l.Rates) == 0 || slices.Min(l.Rates) <= 0 || math.IsInf(slices.Max(l.Rates), 1) ||
		slices.ContainsFunc(l.Rates, math.IsNaN):
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

// Rate is the outcome of one learning rate, in percent. A classifier that diverged has 0.
type Rate struct {
	Rate float64 `json:"rate"`
	// HeldOut is the accuracy on the held-out part, trained without it.
	HeldOut float64 `json:"held_out"`
	// Test is the accuracy on the test set, trained on everything.
	Test float64 `json:"test"`
}

// LinearResult is the outcome of a linear classifier.
type LinearResult struct {
	Rate    float64  `json:"rate"`           // the best on the held-out part
	Top1    float64  `json:"top1"`           // percent of the test set, at that rate
	Top5    float64  `json:"top5,omitempty"` // percent; where there are more than five classes
	Rates   []Rate   `json:"rates"`
	Train   int      `json:"train"`
	Test    int      `json:"test"`
	Classes []string `json:"classes"`
	Views   bool     `json:"views"` // trained on random views
	// Bad counts, with views, the training images that could not be read. Each was replaced by
	// another.
	Bad int `json:"-"`

	// Probe is the classifier of the chosen rate. The caller knows which layer of which encoder it
	// takes.
	Probe encoder.Probe `json:"-"`
}

// Progress tells how far the training of linear classifiers has come.
type Progress struct {
	Epoch int     // epochs done
	Share float64 // of all the work, 0 to 1
}

// Each purpose has its own random stream.
const (
	heldOutStream = 400 + iota
	linearStream
)

// split divides the training images into those to train on and those that choose the rate. It takes
// the same share of each class.
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
