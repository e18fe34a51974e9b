package choose

import (
	"context"
	"runtime/debug"
	"time"

	"moco"
	"moco/data"
	"moco/internal/loader"

	"moco/engine"
)

// Shares of a budget that measuring may take, and their bounds.
const (
	readingShare, mostReading   = 0.04, time.Minute      // reading pictures, with the first size of views
	drawingShare, mostDrawing   = 0.01, 10 * time.Second // any further size
	steppingShare, mostStepping = 0.01, 10 * time.Second // steps of one recipe

	leastImages = 256 // of a small set are drawn, over and over, to have a mean
	enoughSteps = 50  // and so many steps are enough for one
)

// measured measures this machine on the images that are going to be learned from.
type measured struct {
	set   *data.Set
	o     Options
	facts *Facts

	read    map[data.Reading]*firstReadings
	drawing map[moco.Views]float64 // seconds an image takes that has been read before
}

// firstReadings are what reading images for the first time took, in one way of reading.
type firstReadings struct {
	images  int     // so far, in the order of the first epoch
	seconds float64 // that their first readings took more than the second ones
}

func newMeasured(set *data.Set, facts *Facts, o Options) *measured {
	return &measured{set: set, o: o, facts: facts,
		read: map[data.Reading]*firstReadings{}, drawing: map[moco.Views]float64{}}
}

// close gives back the memory of the measured steps: training is about to plan for it.
func (m *measured) close() { debug.FreeOSMemory() }

func (m *measured) cost(r *moco.Recipe) (engine.Cost, error) { return costOf(m.o.Engine, r) }

func (m *measured) pace(ctx context.Context, r *moco.Recipe) (Pace, error) {
	if _, known := m.drawing[r.Views]; !known {
		if err := m.draw(ctx, r); err != nil {
			return Pace{}, err
		}
	}
	p, err := m.steps(ctx, r)
	if err != nil {
		return p, err
	}
	reading, err := r.Views.Reading()
	if err != nil {
		return p, err
	}
	again, n, read := m.drawing[r.Views], float64(m.set.Len()), m.read[reading]
	first := again + read.seconds/float64(read.images)
	unread := n - float64(read.images)
	kept := 1.0 // share of the images that later epochs find in memory
	if unread > 0 {
		kept = min(1, float64(m.set.CacheLeft())/(3*m.facts.drawn(reading)*unread))
	}
	p.First = (first*unread + again*float64(read.images)) / n
	p.Again = kept*again + (1-kept)*first
	return p, nil
}

// draw measures pictures with their views: when they are read for the first time, and again.
func (m *measured) draw(ctx context.Context, r *moco.Recipe) error {
	policy, err := r.Views.Drawn()
	if err != nil {
		return err
	}
	reading, err := r.Views.Reading()
	if err != nil {
		return err
	}
	if m.read[reading] == nil {
		m.read[reading] = &firstReadings{}
	}
	read, chunk := m.read[reading], min(smallBatch, m.set.Len())
	l := loader.New(m.set, policy, loader.Options{Batch: chunk, Reading: reading, DropLast: true, Seed: r.Seed,
		Workers: m.o.Workers, MaxBad: 1, Grouped: r.Grouped(), MaxGap: r.MaxGap})
	views := chunk * r.Views.Size * r.Views.Size * 3
	b := moco.Batch{X1: make([]float32, views), X2: make([]float32, views)}
	limit := slice(m.o.Budget, readingShare, mostReading)
	if len(m.drawing) > 0 {
		limit = slice(m.o.Budget, drawingShare, mostDrawing)
	}
	began, drawn, images := time.Now(), 0.0, 0
	for images == 0 || images < max(m.set.Len(), leastImages) && time.Since(began) < limit {
		at := read.images / chunk
		if at >= l.StepsPerEpoch() { // everything has been read
			at = 0
		}
		first, err := timed(func() error { return l.Fill(ctx, 0, at, b) })
		if err != nil {
			return err
		}
		again, err := timed(func() error { return l.Fill(ctx, 0, at, b) })
		if err != nil {
			return err
		}
		if at*chunk == read.images {
			read.seconds += max(0, first-again)
			read.images += chunk
		}
		drawn, images = drawn+again, images+chunk
	}
	m.drawing[r.Views] = drawn / float64(images)
	return nil
}

// steps measures a recipe's step on noise.
func (m *measured) steps(ctx context.Context, r *moco.Recipe) (Pace, error) {
	began, fitted := time.Now(), *r
	mechanism, err := fitted.Mechanism()
	if err != nil {
		return Pace{}, err
	}
	if err := mechanism.Fit(moco.DataSize{Images: m.set.Len(), Classes: len(m.set.Classes())}); err != nil {
		return Pace{}, err
	}
	state := m.o.Engine.NewState()
	s, err := moco.Compile(&fitted, fitted.Batch, m.o.Engine, state)
	if err != nil {
		return Pace{}, err
	}
	defer s.Close()
	if err := moco.Initialise(&fitted, state, nil); err != nil {
		return Pace{}, err
	}
	noise(s.Batch())
	run := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := s.Run(moco.Progress{StepsPerEpoch: 1})
		return err
	}
	if err := run(); err != nil { // it makes buffers, too
		return Pace{}, err
	}
	p := Pace{Start: time.Since(began).Seconds(), Save: saving(s.Cost())}
	began = time.Now()
	n := 0
	for ; n < 3 || n < enoughSteps && time.Since(began) < slice(m.o.Budget, steppingShare, mostStepping); n++ {
		if err := run(); err != nil {
			return Pace{}, err
		}
	}
	p.Step = time.Since(began).Seconds() / float64(n)
	return p, nil
}

// noise fills a batch with views that no picture has, and the order in which they came.
func noise(b moco.Batch) {
	state := uint32(1)
	for _, x := range [][]float32{b.X1, b.X2, b.K1, b.K2} {
		for i := range x {
			state = state*1664525 + 1013904223
			x[i] = float32(state>>8)/(1<<23) - 1
		}
	}
	for _, order := range [][]int32{b.IDs, b.Shuffle, b.Unshuffle} {
		for i := range order {
			order[i] = int32(i)
		}
	}
}

// slice is a share of a budget, up to a bound.
func slice(budget time.Duration, share float64, most time.Duration) time.Duration {
	return min(most, time.Duration(share*float64(budget)))
}

// timed is how long f takes, in seconds.
func timed(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return time.Since(began).Seconds(), err
}
