package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moco"
	"moco/choose"
	"moco/encoder"
	"moco/pretrain"
	"moco/recipe"
)

// choosing is how `moco train` gets a recipe that nobody has written, or the epochs of one.
type choosing struct {
	budget  time.Duration // 0: none
	given   bool          // there is a recipe, of which only the epochs are fitted
	resume  bool          // the run has its recipe
	changes []string      // by --set and the flags that stand for it
	began   time.Time
}

// parse holds the time to what it can go with.
func (c *choosing) parse(cmd *cobra.Command, changes []string, resume bool) error {
	c.began, c.changes, c.resume = time.Now(), changes, resume
	switch time := cmd.Flags().Changed("time"); {
	case time && c.budget <= 0:
		return usagef("--time %v: must be above 0, such as 30m or 2h", c.budget)
	case time && slices.ContainsFunc(changes, func(s string) bool { return strings.HasPrefix(s, "epochs=") }):
		return usagef("--time and --epochs exclude each other: the time decides how many epochs there are")
	}
	return nil
}

// recipe is what is known before the images are opened: the named recipe, or what choices begin with.
func (c *choosing) recipe(name string) (moco.Recipe, error) {
	if c.given = name != ""; c.given {
		return recipe.Load(name, c.changes)
	}
	return choose.Base(func(r moco.Recipe) (moco.Recipe, error) { return recipe.Change(r, c.changes) })
}

// needed tells whether anything is left to choose.
func (c *choosing) needed() bool { return !c.resume && (!c.given || c.budget > 0) }

// choose replaces the recipe of o by one for its images where one is needed, and says why.
func (a *app) choose(ctx context.Context, o *pretrain.Options, c *choosing) error {
	if !c.needed() {
		return nil
	}
	if err := pretrain.CheckNew(o.Out); err != nil { // before time is spent on measuring
		return err
	}
	options := choose.Options{Engine: o.Engine, Workers: o.Workers, Budget: c.budget, Began: c.began}
	if c.given {
		options.Recipe = &o.Recipe
	}
	options.Change = func(r moco.Recipe) (moco.Recipe, error) {
		if o.Start != nil && !c.given {
			goOnFrom(&r, o.Start)
		}
		return recipe.Change(r, c.changes)
	}
	options.Measuring = func(r moco.Recipe) {
		a.say("Measuring on the images: %s, %s, batches of %d ...", r.Encoder.Describe(), r.Precision, r.Batch)
	}
	choice, err := choose.Recipe(ctx, o.Data, options)
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before the first step, and nothing is written: %w", ctx.Err())
	}
	if err != nil {
		return err
	}
	o.Recipe, o.SaveEvery = choice.Recipe, choice.SaveEvery
	if err := a.tell(*choice, func() {
		for _, reason := range choice.Reasons {
			a.say("Chosen: %s.", reason)
		}
	}); err != nil {
		return err
	}
	for _, w := range choice.Warnings {
		a.warn("warning: %s", w)
	}
	return nil
}

// goOnFrom makes the recipe one that can start from a trained encoder: with its backbone and views,
// and its head if that was not made for classes.
func goOnFrom(r *moco.Recipe, start *encoder.Encoder) {
	was := start.Recipe
	if start.Classifier() || was.Encoder.Head == "none" {
		r.Encoder = was.Encoder.WithHeadOf(r.Encoder)
	} else {
		r.Encoder = was.Encoder
	}
	r.Views = was.Views
	r.Views.CropOnly = false
}
