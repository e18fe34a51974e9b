package moco

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"moco/engine"
	"moco/graph"
)

// Mechanism is what the query encoder learns from: one of the three dictionaries of Fig. 2 with one
// of its losses, MoCo v3, or labels. A recipe chooses it once (Recipe.Mechanism). Code that depends
// on the choice asks the mechanism; nothing else compares the recipe's words.
//
// To add one, write a file with a type that has these methods, and add a line to mechanisms.
type Mechanism interface {
	// String says what the loss compares with what: "info_nce with queue".
	String() string
	// Negatives is the number of keys, K, that a query is compared with beside its positive key, in
	// a batch of n. For a classifier it is the number of classes.
	Negatives(n int) int
	// Chance is the loss of an encoder that cannot tell the positive key from the others.
	Chance(n int) float64
	// KeyEncoder tells whether there is a second network, the momentum encoder, for keys.
	KeyEncoder() bool
	// Classifier tells whether the head's outputs are classes, learned from labels.
	Classifier() bool
	// ManyViews tells whether an image may have more than two views (Views.PerImage).
	ManyViews() bool
	// Filling is the number of steps until no key of the random start is left in the dictionary.
	Filling() int
	// Remedy says what to change in the recipe where the loss stays far above chance.
	Remedy() string
	// Fit completes the recipe from the data, and refuses data that cannot give what the mechanism
	// needs.
	Fit(d DataSize) error
	// Stored opens the keys that earlier steps left in s. It is nil where no key outlives its step.
	Stored(s engine.State) (Stored, error)

	// predicts tells whether queries go through the recipe's predictor.
	predicts() bool
	// check reports the settings of the recipe that make no sense with the mechanism.
	check(wrong func(bad bool, format string, a ...any))
	// ready returns the error of a recipe that Fit has not completed yet.
	ready() error
	build(g *builder)                    // adds the step to the graph
	keys(g *builder) *graph.Node         // adds to the graph only what makes the keys of a step
	initialise(s engine.State) error     // writes what the dictionary starts with
	draw(draws, ids []int32, at drawing) // fills the step's drawn keys, if it has any
}

// drawing is which of a batch's draws are asked for.
type drawing struct {
	step  int
	first int // where queries have draws of their own: the first one of this process's share
}

// DataSize is what a mechanism needs to know about the images.
type DataSize struct{ Images, Classes int }

// Stored gives a dictionary's keys from earlier steps. They are compared with what the encoder
// makes of the same views now.
type Stored interface {
	// Holds tells whether the keys of an earlier step on n images are still there.
	Holds(at Earlier, n int) bool
	// Key is the stored key [C] of image i of that step's n images. Its id is the image's number in
	// the set.
	Key(at Earlier, n, i int, id int32) []float32
}

// Earlier is the place of an earlier step: the number of images that training has learned from
// since, and whether the step belongs to the epoch of the last one.
type Earlier struct {
	Newer     int
	SameEpoch bool
}

// mechanisms holds the contrastive mechanisms, by dictionary and loss.
var mechanisms = map[string]map[string]func(r *Recipe) Mechanism{
	"queue": {"info_nce": newMomentumContrast},                                             // Fig. 2c: MoCo
	"batch": {"info_nce": newEndToEnd, "nt_xent": newSimCLR, "dcl": newSimCLR},             // Fig. 2a
	"bank":  {"info_nce": newMemoryBank, "softmax": newWholeBank, "nce": newNoiseContrast}, // Fig. 2b
	// MoCo v3: the batch, and a momentum encoder.
	"momentum_batch": {"info_nce": newMomentumBatch},
}

// Mechanism is the recipe's mechanism. It works on r itself, not on a copy.
func (r *Recipe) Mechanism() (Mechanism, error) {
	switch r.Objective {
	case "contrastive":
	case "supervised":
		return supervised{r}, nil
	default:
		return nil, fmt.Errorf("objective: %q is not known; there are contrastive, supervised", r.Objective)
	}
	var errs []error
	ofDictionary, known := mechanisms[r.Dictionary]
	if !known {
		errs = append(errs, fmt.Errorf("dictionary: %q is not known; there are %s", r.Dictionary, names(mechanisms)))
	}
	l, ok := losses[r.Loss]
	if !ok {
		errs = append(errs, fmt.Errorf("loss: %q is not known; there are %s", r.Loss, names(losses)))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	of, ok := ofDictionary[r.Loss]
	if !ok {
		return nil, fmt.Errorf("loss: %s needs dictionary: %s, not %s: %s", r.Loss, l.only, r.Dictionary, l.why)
	}
	return of(r), nil
}

func names[T any](table map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(table)), ", ")
}

// remedy is what most often helps against steps that are too large.
const remedy = "lower lr, or raise warmup"

// contrastive is the part that all mechanisms with keys share.
type contrastive struct{ *Recipe }

func (c contrastive) String() string             { return c.Loss + " with " + c.Dictionary }
func (contrastive) KeyEncoder() bool             { return false }
func (contrastive) Classifier() bool             { return false }
func (contrastive) Filling() int                 { return 0 }
func (contrastive) Remedy() string               { return remedy }
func (contrastive) Fit(DataSize) error           { return nil }
func (contrastive) predicts() bool               { return false }
func (contrastive) ManyViews() bool              { return false }
func (contrastive) ready() error                 { return nil }
func (contrastive) draw(_, _ []int32, _ drawing) {}

func (contrastive) initialise(engine.State) error       { return nil }
func (contrastive) Stored(engine.State) (Stored, error) { return nil, nil }

func (contrastive) keys(g *builder) *graph.Node {
	return newEncoder(g, query).forward(g.view(firstViews))
}

// chance is the loss at chance among so many negatives, added up over the halves of a symmetric
// loss.
func (c contrastive) chance(negatives int) float64 {
	chance := losses[c.Loss].chance(float64(negatives))
	if c.Symmetric {
		chance *= 2
	}
	return chance
}
