package transfer

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/job"
	"moco/recipe"
)

// The arms of a comparison: how an encoder was come by.
const (
	MoCo       = "moco"       // pretrained without labels
	Supervised = "supervised" // pretrained with the labels of the same images
	Scratch    = "scratch"    // not at all: random weights
)

// Arms lists them in the order of the table.
func Arms() []string { return []string{MoCo, Supervised, Scratch} }

// Comparison is the paper's question: encoders are pretrained on some images, and linear
// classifiers and fine-tuning on others tell what that was worth.
type Comparison struct {
	Arms  []string // some of Arms, in its order
	Seeds int      // each pretrains, draws labels and trains anew

	// Recipe is MoCo's pretraining, seed apart. Its encoder, views and precision are those of all
	// arms.
	Recipe moco.Recipe
	// Model stands for MoCo's pretraining with every seed; may be nil. Recipe's encoder must be
	// its.
	Model *encoder.Encoder
	// SupervisedSettings change the recipe of supervised pretraining, which is TuningRecipe's with
	// as many epochs as Recipe.
	SupervisedSettings []string
	Linear             evaluate.Linear
	Labels             []data.Share // with which each arm is fine-tuned
	TuningSettings     []string     // change the recipe of fine-tuning

	Pretraining     *data.Set // labelled, for the supervised arm
	PretrainingPath string
	Train, Test     *data.Set // labelled
	TrainPath       string
	Out             string // gets ARM/WHAT/seed-N/ for each part, results.json and table.md

	Engine  engine.Engine
	Workers int
	Watch   Watch
	Probing func(p Part, at evaluate.Progress) // of the linear classifiers; may be nil
	Log     *slog.Logger
}

// Watch is told how the parts of a comparison go. The result of one is the accuracy of its
// classifier, in percent; pretraining has none, and its end is not told.
type Watch = job.Watch[Part, float64]

// Place is where among the parts of a comparison, or the seeds of fine-tuning, one stands.
type Place = job.Place

// SetError is the error of a setting that fine-tuning makes itself.
type SetError = job.SetError

// Part is one thing to do in a comparison.
type Part struct {
	Arm  string `json:"arm"`
	Seed int    `json:"seed"`
	What string `json:"what"` // pretrain, linear, or labels-1% and so on: fine-tuning with that share
}

// What is done with an arm: pretrain, linear, or labels-1% and so on.
const (
	pretraining = "pretrain"
	linear      = "linear"
)

func labelled(share data.Share) string { return "labels-" + share.String() }

// String is the part for people.
func (p Part) String() string { return fmt.Sprintf("%s, %s, seed %d", p.Arm, p.What, p.Seed) }

// Outcome is what came of one arm with one seed.
type Outcome struct {
	Arm    string  `json:"arm"`
	Seed   int     `json:"seed"`
	Linear Linear  `json:"linear"`
	Tuned  []Tuned `json:"finetuned"` // in the order of Comparison.Labels
}

// Linear is how a linear classifier on an arm's frozen features did.
type Linear struct {
	evaluate.LinearResult
	Holds string `json:"holds"` // what the result holds for: encoder, settings and images
}

// Identity is the encoder, the settings and the images that the result holds for.
func (l Linear) Identity() job.Identity {
	return job.Identity{{Name: "the classifier", Value: l.Holds}}
}

// Check says before anything is trained what cannot be.
func (c *Comparison) Check() error {
	if len(c.Arms) == 0 || c.Seeds < 1 || len(c.Labels) == 0 {
		return fmt.Errorf("a comparison needs arms, seeds and shares of labels, not %v, %d and %v", c.Arms, c.Seeds, c.Labels)
	}
	for _, arm := range c.Arms {
		if !slices.Contains(Arms(), arm) {
			return &recipe.Error{Err: fmt.Errorf("arm %q is not known; there are %s", arm, strings.Join(Arms(), ", "))}
		}
		if _, err := c.recipe(arm, 0); err != nil {
			return err
		}
		for i := range c.Labels {
			if err := c.tuning(arm, c.Labels[i], nil).Check(); err != nil {
				return err
			}
		}
	}
	if len(c.Pretraining.Classes()) < 2 && slices.Contains(c.Arms, Supervised) {
		return fmt.Errorf("supervised pretraining needs labelled images, and %s holds none: give class folders, or leave that arm out",
			c.PretrainingPath)
	}
	if c.Model != nil {
		if err := c.Model.CheckStart(&c.Recipe); err != nil {
			return &recipe.Error{Err: err}
		}
	}
	return c.Linear.Check()
}

// recipe is how an arm is pretrained with a seed; from scratch, that it is not.
func (c *Comparison) recipe(arm string, seed int) (moco.Recipe, error) {
	r := c.Recipe
	if arm != MoCo {
		r = TuningRecipe(c.Recipe, c.Pretraining.Len())
		r.Epochs = c.Recipe.Epochs
		r.Encoder.Dim = max(1, len(c.Pretraining.Classes()))
	}
	r.Seed = uint64(seed)
	if arm != Supervised {
		return r, nil
	}
	return recipe.Change(r, c.SupervisedSettings)
}
