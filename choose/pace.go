package choose

import (
	"context"

	"moco"
	"moco/engine"
)

// Pace is what training takes, in seconds.
type Pace struct {
	Start float64 `json:"start"` // once: making the step ready, and the first one's buffers
	Step  float64 `json:"step"`  // a step without its views
	First float64 `json:"first"` // an image when it is read for the first time, with its views
	Again float64 `json:"again"` // an image in later epochs
	Save  float64 `json:"save"`  // a checkpoint
}

// seconds is the time for a number of epochs of a set in batches.
func (p Pace) seconds(epochs float64, images, batch, saveEvery int) float64 {
	perEpoch := stepsPerEpoch(images, batch)
	steps := epochs * float64(perEpoch)
	drawn := float64(perEpoch * batch) // images an epoch
	saves := 1 + epochs/float64(saveEvery) + steps/checkpointEvery
	return p.Start + steps*p.Step + drawn*(min(1, epochs)*p.First+max(0, epochs-1)*p.Again) + saves*p.Save
}

// epochs is the length that takes a number of seconds, 0 if none does.
func (p Pace) epochs(seconds float64, images, batch, saveEvery int) float64 {
	one := p.seconds(1, images, batch, saveEvery)
	none := p.seconds(0, images, batch, saveEvery)
	if seconds <= one {
		return max(0, (seconds-none)/(one-none))
	}
	return 1 + (seconds-one)/(p.seconds(2, images, batch, saveEvery)-one)
}

// stepsPerEpoch is at least one: a batch that the user has fixed may be larger than the set, which
// training then refuses.
func stepsPerEpoch(images, batch int) int { return max(1, images/batch) }

// saveEvery is epochs between checkpoints, so that there are some hundreds of steps between them.
func saveEvery(images, batch int) int { return max(1, 300/stepsPerEpoch(images, batch)) }

// checkpointEvery is the steps after which moco.Default's recipe saves within an epoch.
const checkpointEvery = 1000

// machine is what a planner asks about the computer.
type machine interface {
	// cost is what a step takes as planned.
	cost(r *moco.Recipe) (engine.Cost, error)
	// pace is how long things take with a recipe.
	pace(ctx context.Context, r *moco.Recipe) (Pace, error)
}

// costOf compiles a step, which takes little time and memory. Where views grow it is the mean work of
// their sizes and the memory of the last.
func costOf(e engine.Engine, r *moco.Recipe, f *Facts) (cost engine.Cost, err error) {
	if r, err = f.fitted(r); err != nil {
		return cost, err
	}
	var flops int64
	sizes := r.Views.Sizes()
	for _, size := range sizes {
		s, err := moco.Compile(r.ForSize(size), r.Batch, e, e.NewState())
		if err != nil {
			return cost, err
		}
		cost = s.Cost()
		flops += cost.FLOPs
		s.Close()
	}
	cost.FLOPs = flops / int64(len(sizes))
	return cost, nil
}

// nominal is an ordinary machine: nothing of it is measured, so that a choice can be made again.
type nominal struct {
	engine  engine.Engine
	workers int
	facts   Facts
}

// What a processor of an ordinary machine does.
const (
	nominalFLOPs  = 1e11    // products and sums a second, of small convolutions in float32
	nominalDecode = 2e-8    // seconds a pixel: JPEG, PNG
	nominalDraw   = 4e-9    // seconds a pixel that they are drawn from, for two views
	nominalDisk   = 1.5e8   // bytes a second: writing, hashing and syncing a checkpoint
	nominalSync   = 0.05    // seconds to sync a file
	cachedBytes   = 1 << 31 // of reduced images that are kept
)

func (n *nominal) cost(r *moco.Recipe) (engine.Cost, error) { return costOf(n.engine, r, &n.facts) }

func (n *nominal) pace(_ context.Context, r *moco.Recipe) (Pace, error) {
	cost, err := n.cost(r)
	if err != nil {
		return Pace{}, err
	}
	reading, err := r.Views.Reading()
	if err != nil {
		return Pace{}, err
	}
	workers, pixels := float64(n.workers), n.facts.drawn(reading)
	draw := pixels * nominalDraw / workers * float64(r.Views.Count()) / 2
	first := draw + n.facts.Pixels*nominalDecode/workers
	kept := min(1, cachedBytes/(3*pixels*float64(n.facts.Images)))
	return Pace{Step: float64(cost.FLOPs) / nominalFLOPs / workers, First: first, Again: kept*draw + (1-kept)*first,
		Save: saving(cost)}, nil
}

// saving is the seconds that a checkpoint of all variables, and the encoder beside it, take.
func saving(c engine.Cost) float64 {
	return 3*nominalSync + 1.3*float64(c.VariableBytes)/nominalDisk
}
