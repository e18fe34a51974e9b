package choose

import (
	"context"
	"math"
	"reflect"
	"time"

	"moco"
	"moco/engine"
)

const (
	// nominalHour is the time that a choice without a budget is made for.
	nominalHour = time.Hour
	// margin is the share of what is left of a budget that is planned for.
	margin = 0.98
	// Lengths beyond which more of the same pictures teaches nothing: a short one without a budget,
	// and one that ends a budget early.
	mostEpochs, mostEpochsInBudget = 400, 2000
	// fewestSteps is the least that is worth a run.
	fewestSteps = 20
	// cheap is the share of the views that a costlier rung may take for nothing in return: where
	// pictures are slow to read, a small encoder waits for them most of the time.
	cheap = 0.75
)

// planner chooses by facts and what a machine says. It reads no pictures, and no clock but now.
type planner struct {
	facts   Facts
	options Options
	machine machine
	now     func() time.Time
}

// candidate is a recipe with what it would come to in the time that is left.
type candidate struct {
	recipe moco.Recipe
	pace   Pace
	views  float64 // drawn in all
}

// left is the time for training, in seconds.
func (p *planner) left() float64 {
	if p.options.Budget == 0 {
		return nominalHour.Seconds()
	}
	return margin * (p.options.Budget - p.spent()).Seconds()
}

func (p *planner) mostEpochs() float64 {
	if p.options.Budget == 0 {
		return mostEpochs
	}
	return mostEpochsInBudget
}

func (p *planner) spent() time.Duration { return p.now().Sub(p.options.Began) }

func (p *planner) choose(ctx context.Context) (*Choice, error) {
	if p.facts.Images < 2 {
		return nil, ErrOnePicture
	}
	if given := p.options.Recipe; given != nil {
		r, err := p.fixed(*given)
		if err != nil {
			return nil, err
		}
		c, err := p.paced(ctx, r)
		if err != nil {
			return nil, err
		}
		if c.recipe.Epochs, err = p.length(c); err != nil {
			return nil, err
		}
		return p.done(c)
	}
	c, err := p.climb(ctx)
	if err != nil {
		return nil, err
	}
	if c, err = p.moreSteps(ctx, c); err != nil {
		return nil, err
	}
	if c.recipe.Epochs, err = p.length(c); err != nil {
		return nil, err
	}
	if c.recipe, err = p.changed(c.recipe); err != nil { // the user may have fixed the epochs
		return nil, err
	}
	derive(&c.recipe, p.facts.Images)
	if c.recipe, err = p.changed(c.recipe); err != nil { // or what follows from them
		return nil, err
	}
	return p.done(c)
}

// fixed is a recipe with what the user has fixed.
func (p *planner) fixed(r moco.Recipe) (moco.Recipe, error) {
	if p.options.Change == nil {
		return r, nil
	}
	return p.options.Change(r)
}

// changed is a chosen recipe with what the user has fixed, and views that go with it.
func (p *planner) changed(r moco.Recipe) (moco.Recipe, error) {
	r.Views.TrainSizes, r.Views.PerImage = nil, 0
	r, err := p.fixed(r)
	if err != nil {
		return r, err
	}
	return withViews(r), nil
}

// begin is a rung's recipe with what the user has fixed. A queue's length, a momentum, or anything
// that a batch as dictionary refuses belongs to another dictionary.
func (p *planner) begin(of rung) (moco.Recipe, error) {
	batch := of.recipe(p.facts)
	r, err := p.changed(batch)
	if err == nil && r.Queue == batch.Queue && r.Momentum == batch.Momentum {
		if r.Batch == batch.Batch { // the views and the optimizer may be others
			r.Batch = batchFor(&r, p.facts.Images)
		}
		return p.changed(r)
	}
	return p.changed(of.withQueue(p.facts))
}

// climb goes up the rungs as far as the time carries.
func (p *planner) climb(ctx context.Context) (*candidate, error) {
	ladder := rungs(p.facts)
	first, err := p.first(ctx, ladder[0])
	if err != nil {
		return nil, err
	}
	best := first
	for _, rung := range ladder[1:] {
		r, fits, err := p.fitting(rung, best.recipe.Precision)
		if err != nil {
			return nil, err
		}
		if sameCost(&r, &best.recipe) {
			continue // the user has fixed what would change
		}
		guess, err := p.guess(best, r)
		if err != nil {
			return nil, err
		}
		if !fits || !p.worth(rung, guess, first) || p.measuredEnough() {
			break
		}
		c, err := p.paced(ctx, r)
		if err != nil {
			return nil, err
		}
		if !p.worth(rung, c.views, first) {
			break
		}
		best = c
	}
	return best, nil
}

// measuredEnough tells whether measuring has taken what it may of a budget.
func (p *planner) measuredEnough() bool {
	return p.options.Budget > 0 && p.spent() > p.options.Budget/10
}

func sameCost(a, b *moco.Recipe) bool {
	return a.Encoder.SameBackbone(b.Encoder) == nil && reflect.DeepEqual(a.Views, b.Views)
}

// worth tells whether a rung is worth its cost with a number of views.
func (p *planner) worth(r rung, views float64, lowest *candidate) bool {
	most := p.mostEpochs() * float64(p.facts.Images*lowest.recipe.Views.Count())
	return min(views, most) >= r.enough(p.facts.Images, lowest.recipe.Optimizer) || views >= cheap*lowest.views
}

// first is the lowest rung, in the faster precision where that is measured.
func (p *planner) first(ctx context.Context, lowest rung) (*candidate, error) {
	r, _, err := p.fitting(lowest, "fp32")
	if err != nil {
		return nil, err
	}
	first, err := p.paced(ctx, r)
	if err != nil || p.options.Budget == 0 {
		return first, err
	}
	half := r
	half.Precision = "bf16"
	if half, err = p.changed(half); err != nil || half.Precision == r.Precision {
		return first, err
	}
	faster, err := p.paced(ctx, half)
	if err != nil {
		return nil, err
	}
	if faster.pace.Step < 0.95*first.pace.Step {
		return faster, nil
	}
	return first, nil
}

// fitting is a rung's recipe with the largest batch for which there is memory, and whether there
// is.
func (p *planner) fitting(rung rung, precision string) (r moco.Recipe, fits bool, err error) {
	if r, err = p.begin(rung); err != nil {
		return r, false, err
	}
	r.Precision = precision
	for {
		asked := r.Batch
		if r, err = p.changed(r); err != nil {
			return r, false, err
		}
		cost, err := p.machine.cost(&r)
		if err != nil {
			return r, false, err
		}
		if p.options.Memory <= 0 || engine.TrainingBytes(cost) <= p.options.Memory {
			return r, true, nil
		}
		if r.Batch != asked || r.Batch <= smallBatch/4 {
			return r, false, nil
		}
		r.Batch /= 2
	}
}

// guess is the views that a recipe would come to, by what another one took and their costs.
func (p *planner) guess(from *candidate, r moco.Recipe) (float64, error) {
	was, err := p.machine.cost(&from.recipe)
	if err != nil {
		return 0, err
	}
	is, err := p.machine.cost(&r)
	if err != nil {
		return 0, err
	}
	pace := from.pace
	pace.Step *= float64(is.FLOPs) / float64(was.FLOPs)
	return p.views(r, pace), nil
}

// paced asks the machine about a recipe.
func (p *planner) paced(ctx context.Context, r moco.Recipe) (*candidate, error) {
	pace, err := p.machine.pace(ctx, &r)
	if err != nil {
		return nil, err
	}
	return &candidate{r, pace, p.views(r, pace)}, nil
}

func (p *planner) views(r moco.Recipe, pace Pace) float64 {
	n, b := p.facts.Images, r.Batch
	return pace.epochs(p.left(), n, b, saveEvery(n, b)) * float64(n*r.Views.Count())
}

// imagesDrawn is the number of images that a run draws in all: by its length where the user has fixed
// that, and not by what the machine would do in the time.
func (p *planner) imagesDrawn(c *candidate) (float64, error) {
	const free = math.SmallestNonzeroFloat64 // a length that nobody asks for
	r := c.recipe
	r.Epochs = free
	r, err := p.fixed(r)
	if err != nil || r.Epochs != free {
		return float64(r.Epochs) * float64(p.facts.Images), err
	}
	return c.views / float64(r.Views.Count()), nil
}

// moreSteps makes the batch smaller where the run would have few steps.
func (p *planner) moreSteps(ctx context.Context, c *candidate) (*candidate, error) {
	r := c.recipe
	images, err := p.imagesDrawn(c)
	if err != nil {
		return nil, err
	}
	if r.Batch = smallerBatch(&r, images); r.Batch == c.recipe.Batch {
		return c, nil
	}
	r, err = p.changed(r)
	if err != nil || r.Batch == c.recipe.Batch { // the user has fixed it
		return c, err
	}
	return p.paced(ctx, r)
}

// length is the epochs that fit into what is left of the time.
func (p *planner) length(c *candidate) (moco.Epochs, error) {
	n, b := p.facts.Images, c.recipe.Batch
	left, budget := p.left(), p.options.Budget
	epochs := min(p.mostEpochs(), c.pace.epochs(left, n, b, saveEvery(n, b)))
	perEpoch := stepsPerEpoch(n, b)
	if budget > 0 && epochs*float64(perEpoch) < fewestSteps {
		enough := 1.1 / margin * c.pace.seconds(5*fewestSteps/float64(perEpoch), n, b, saveEvery(n, b))
		spent := p.spent()
		return 0, &BudgetError{Budget: budget, Spent: spent, Enough: spent + time.Duration(enough*float64(time.Second))}
	}
	return moco.Epochs(floored(epochs, 3)), nil
}

// done is the choice with its reasons.
func (p *planner) done(c *candidate) (*Choice, error) {
	if err := c.recipe.Check(); err != nil {
		return nil, err
	}
	return &Choice{
		Recipe: c.recipe, Facts: p.facts, Pace: c.pace,
		SaveEvery: saveEvery(p.facts.Images, c.recipe.Batch),
		Reasons:   p.reasons(c), Warnings: p.warnings(),
	}, nil
}
