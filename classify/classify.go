// Package classify says what unlabelled pictures are, from a few labelled ones: a linear classifier
// on the features of a frozen encoder.
//
// Fit learns from rows of features, of which some have labels. It chooses its own regularisation,
// calibrates its probabilities, and estimates how accurate it will be. Predict gives each row the
// most likely class, with a confidence. Save and Open keep a classifier in the file of an
// encoder.Probe.
package classify

import (
	"context"
	"errors"
	"fmt"
	"math"

	"moco/encoder"
	"moco/engine"
	"moco/engine/cpu" // so that Open needs nothing but a path
	"moco/evaluate"
)

// Options say how a classifier is fitted. The zero value is right for most programs.
type Options struct {
	// Engine computes. Nil takes the CPU, with all processors that Go may use.
	Engine engine.Engine
	// Layer and Encoder tell where the features come from: the layer, and Encoder.SHA256. The
	// classifier keeps them, so that its use with another encoder is an error. Without them it
	// cannot be saved.
	Layer   encoder.Layer
	Encoder string
	// C is the weight of the losses beside the penalty. 0: chosen by cross-validation.
	C float64
	// From is an earlier classifier to start from, for a program that fits again after each label.
	// The result is the same to the tolerance of the fit, sooner: only the two neighbours of the
	// earlier C are tried beside it, unless the labels have doubled since. A classifier on features
	// of another length is passed over. Classes are matched by name.
	From *Classifier
}

// Classifier is multinomial logistic regression on features, with calibrated probabilities. It is
// safe for concurrent use; calls take turns. Do not change the exported fields.
type Classifier struct {
	// Classes are the classes that had a labelled row, in the order of the labelled set, with names
	// in Unicode's NFC.
	Classes []string
	// Dim is the length of the features' rows.
	Dim int
	// C is the weight of the losses that was chosen or given.
	C float64
	// Temperature is what the logits of the fit were divided by for the probabilities.
	Temperature float64
	// Estimate is how accurate predictions are expected to be.
	Estimate Estimate
	// Layer and Encoder tell which features it takes, as in Options. They are empty if unknown.
	Layer   encoder.Layer
	Encoder string

	// The calibrated logits of features x are weight x + bias.
	weight []float32 // [classes,dim]
	bias   []float32 // [classes]

	predictor predictor
}

// Errors of Fit, beside *encoder.FeaturesError.
var (
	// ErrFewClasses is the error of labels that name fewer than two classes.
	ErrFewClasses = errors.New("a classifier needs labelled pictures of at least 2 classes")
	// ErrNoFeatures is the error of rows of length 0, or of a matrix that does not fit its labels.
	ErrNoFeatures = errors.New("the features are no matrix with a row for each label")
)

// DimError is the error of features of another length than the classifier's.
type DimError struct{ Classifier, Features int }

func (e *DimError) Error() string {
	return fmt.Sprintf("the classifier takes features of %d numbers, and these have %d; "+
		"take the encoder and layer that it was made for", e.Classifier, e.Features)
}

// Fit learns from the labelled rows of a set; rows with label -1 are left out. Rows are used as
// they are, and those of an encoder have length one.
//
// It minimises C * (sum of the losses) + |W|^2/2, with cross-entropy for the losses and W without
// the intercepts, as scikit-learn's LogisticRegression does. C is chosen by stratified
// cross-validation: the one whose held-out rows have the least cross-entropy once calibrated. Where
// no class has two labelled rows nothing can be held out, and DefaultC is taken.
//
// The held-out rows also give the temperature that the logits are divided by, and the Estimate.
//
// The same rows and options give the same bits for any number of workers.
func Fit(ctx context.Context, set *evaluate.Embedded, o Options) (*Classifier, error) {
	if set.Dim < 1 || len(set.Features) != set.Dim*set.Len() {
		return nil, ErrNoFeatures
	}
	if !(o.C >= 0) || math.IsInf(o.C, 1) {
		return nil, fmt.Errorf("the weight of the losses must be a positive number, or 0 to choose it, and is %v", o.C)
	}
	x, err := labelledOf(set)
	if err != nil {
		return nil, err
	}
	if o.Engine == nil {
		if o.Engine, err = cpu.New(cpu.Options{}); err != nil {
			return nil, err
		}
	}
	f := fitter{engine: o.Engine, rows: x, from: o.From}
	c := &Classifier{Classes: x.classes, Dim: x.dim, Layer: o.Layer, Encoder: o.Encoder}
	c.predictor.engine = o.Engine
	if err := f.fit(ctx, c, o.C); err != nil {
		return nil, fmt.Errorf("fit a classifier: %w", err)
	}
	return c, nil
}
