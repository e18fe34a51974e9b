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

// The arms of a comparison: the kinds of training of an encoder.
const (
	MoCo       = "moco"       // pretrained without labels
	Supervised = "supervised" // pretrained with the labels of the same images
	Scratch    = "scratch"    // random weights, not pretrained
)

// Arms lists them in the order of the table.
func Arms() []string { return []string{MoCo, Supervised, Scratch} }

// Comparison asks the paper's question. Encoders are pretrained on some images. Linear classifiers
// and fine-tuning on other images tell what the pretraining was worth.
type Comparison struct {
	Arms []string // some of the list Arms, in its order
	// Seeds is the number of runs of each arm. Each pretrains, draws labels and trains anew.
	Seeds int

	// Recipe is MoCo's pretraining; each run sets its seed. All arms share its encoder, views and
	// precision.
	Recipe moco.Recipe
	// Model replaces MoCo's pretraining for every seed. It may be nil. Recipe's encoder must be the
	// model's.
	Model *encoder.Encoder
	// SupervisedSettings change the recipe of supervised pretraining: TuningRecipe with as many
	// epochs as Recipe.
	SupervisedSettings []string
	Linear             evaluate.Linear
	Labels             []data.Share // each arm is fine-tuned with each of them
	TuningSettings     []string     // applied to the recipe of fine-tuning

	Pretraining     *data.Set // labelled, for the supervised arm
	PretrainingPath string
	Train, Test     *data.Set // labelled
	TrainPath       string
	// Out gets ARM/WHAT/seed-N/ for each part, results.json and table.md.
	Out string

	Engine  engine.Engine
	Workers int
	Watch   Watch
	// Probing is told about the linear classifiers' training; may be nil.
	Probing func(p Part, at evaluate.Progress)
	Log     *slog.Logger
}

// Watch is told about the parts of a comparison. A part's result is the accuracy of its classifier,
// in percent. Pretraining has none, and its end is not reported.
type Watch = job.Watch[Part, float64]

// Place is a part's place in a comparison, or a seed's place in a fine-tuning.
type Place = job.Place

// SetError is the error of a setting of a key that fine-tuning itself sets.
type SetError = job.SetError

// Part is one piece of work in a comparison.
type Part struct {
	Arm  string `json:"arm"`
	Seed int    `json:"seed"`
	// What is pretrain, linear, or the share of the labels for fine-tuning: labels-1% and so on.
	What string `json:"what"`
}

// The values of Part.What. Fine-tuning adds labels-1% and so on.
const (
	pretraining = "pretrain"
	linear      = "linear"
)

func labelled(share data.Share) string { return "labels-" + share.String() }

// String is the part as text for people.
func (p Part) String() string { return fmt.Sprintf("%s, %s, seed %d", p.Arm, p.What, p.Seed) }

// Outcome is the result of one arm with one seed.
type Outcome struct {
	Arm    string  `json:"arm"`
	Seed   int     `json:"seed"`
	Linear Linear  `json:"linear"`
	Tuned  []Tuned `json:"finetuned"` // in the order of Comparison.Labels
}

// Linear is the result of a linear classifier on an arm's frozen features.
type Linear struct {
	evaluate.LinearResult
	Holds string `json:"holds"` // encoder, settings and images that the result holds for
}

// Identity is the encoder, the settings and the images that the result holds for.
func (l Linear) Identity() job.Identity {
	return job.Identity{{Name: "the classifier", Value: l.Holds}}
}

// Check returns, before any training, an error if something cannot work.
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

// recipe is the pretraining of an arm with a seed. From scratch there is none.
func (c *Comparison) recipe(arm string, seed int) (moco.Recipe, error) {
	r := c.Recipe
	if arm != MoCo {
		r = TuningRecipe(c.Recipe, c.Pretraining.Len())
		r.Warmup *= float64(c.Recipe.Epochs / r.Epochs) // the same share of the training
		r.Epochs = c.Recipe.Epochs
		r.Encoder.Dim = max(1, len(c.Pretraining.Classes()))
	}
	r.Seed = uint64(seed)
	if arm != Supervised {
		return r, nil
	}
	return recipe.Change(r, c.SupervisedSettings)
}
