// Package choose makes a recipe for images and a machine, for whoever has no recipe: the views by
// the pictures' size, the encoder and the length of training by the time there is, the batch by the
// number of pictures and steps, and, for a queue, its length and momentum. What it returns is a plain
// recipe, which repeats the run without looking at anything again.
package choose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"moco"
	"moco/data"
	"moco/engine"
	"moco/internal/sys"
	"moco/recipe"
)

// Options say what a recipe is chosen for. Only Engine has to be given.
type Options struct {
	Engine  engine.Engine
	Workers int   // processors that the engine computes on, and goroutines that decode; 0 is 1
	Memory  int64 // bytes that a run may plan for; 0: three quarters of what is free

	// Budget is how long opening the images, choosing and training may take together. The speed of
	// this machine is then measured on the images. With 0 nothing is measured: the recipe takes
	// about an hour on an ordinary machine with so many processors, and is the same whenever it is
	// chosen.
	Budget time.Duration
	// Began is when the budget's time began; the zero value is when Recipe is called.
	Began time.Time

	// Measuring is told each recipe before it is measured, which takes about half a minute at most,
	// and a minute more for the first. It may be nil.
	Measuring func(moco.Recipe)

	// Recipe is one of which only the epochs are fitted to the budget; nil: everything is chosen.
	Recipe *moco.Recipe
	// Change is applied to each recipe that is considered: what the user has fixed. What follows
	// from it (the queue from the batch, say) is chosen to go with it. nil changes nothing.
	Change func(moco.Recipe) (moco.Recipe, error)
}

// Choice is a recipe with its reasons.
type Choice struct {
	Recipe moco.Recipe `json:"-"` // MarshalJSON writes it
	// SaveEvery is epochs between checkpoints (pretrain.Options): epochs of few images are short.
	// It changes nothing in what is learned.
	SaveEvery int      `json:"save_every"`
	Facts     Facts    `json:"facts"`
	Reasons   []string `json:"reasons"`  // what was chosen and why, in up to three lines
	Warnings  []string `json:"warnings"` // what about the images will limit the result
	// Pace is what a step and an image take here, in seconds; measured if there was a budget.
	Pace Pace `json:"pace"`
}

// Kind names the event that a Choice is in a command's log.
func (Choice) Kind() string { return "choice" }

// MarshalJSON writes the recipe with the keys that it has as a file.
func (c Choice) MarshalJSON() ([]byte, error) {
	r, err := recipe.JSON(c.Recipe)
	if err != nil {
		return nil, err
	}
	type fields Choice // without this method
	return json.Marshal(struct {
		Recipe json.RawMessage `json:"recipe"`
		fields
	}{r, fields(c)})
}

// BudgetError is the error of a budget in which nothing can be learned.
type BudgetError struct {
	Budget, Spent time.Duration // Spent is what looking at the images and measuring took
	Enough        time.Duration // what would be enough
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("a budget of %s is too short: looking at the images and measuring took %s; %s would be enough",
		plain(e.Budget), plain(e.Spent), plain(e.Enough))
}

// ErrOnePicture is the error of a set in which there is nothing to tell apart.
var ErrOnePicture = errors.New("there is a single picture, and nothing to tell it apart from")

// Recipe chooses a recipe for a set of images. Labels count only where Change asks to learn from
// them. When ctx ends, so does it, with ctx's error.
func Recipe(ctx context.Context, set *data.Set, o Options) (*Choice, error) {
	if o.Engine == nil {
		return nil, errors.New("choosing a recipe takes an engine")
	}
	if o.Budget < 0 {
		return nil, fmt.Errorf("the budget must not be negative, is %v", o.Budget)
	}
	if o.Began.IsZero() {
		o.Began = time.Now()
	}
	o.Workers = max(1, o.Workers)
	if o.Memory == 0 {
		o.Memory = sys.FreeMemory() / 4 * 3
	}
	facts, err := Look(ctx, set, o.Workers)
	if err != nil {
		return nil, err
	}
	p := &planner{facts: *facts, options: o, now: time.Now}
	p.machine = &nominal{engine: o.Engine, workers: o.Workers, facts: *facts}
	if o.Budget > 0 {
		m := newMeasured(set, facts, o)
		defer m.close()
		p.machine = m
	}
	return p.choose(ctx)
}
