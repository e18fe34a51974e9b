package choose

import (
	"context"
	"runtime/debug"
	"time"

	"moco"
	"moco/data"
	"moco/engine"
	"moco/internal/loader"
)

// Shares of a budget that measuring may take, and their bounds.
const (
	readingShare, mostReading   = 0.02, time.Minute       // reading pictures, with the first size of views
	anotherShare, mostAnother   = 0.005, 10 * time.Second // any further size
	steppingShare, mostStepping = 0.004, 10 * time.Second // steps of one recipe and size, with their views

	enoughSteps = 50 // of one recipe have a mean that will do
)

// measured measures this machine on the images that are going to be learned from.
type measured struct {
	set   *data.Set
	o     Options
	facts *Facts

	read map[data.Reading]*firstReadings
}

// firstReadings are what reading images for the first time took, in one way of reading.
type firstReadings struct {
	images  int     // so far, in the order of the first epoch
	seconds float64 // that their first readings took more than the second ones
}

func newMeasured(set *data.Set, facts *Facts, o Options) *measured {
	return &measured{set: set, o: o, facts: facts, read: map[data.Reading]*firstReadings{}}
}

// close gives back the memory of the measured steps: training is about to plan for it.
func (m *measured) close() { debug.FreeOSMemory() }

func (m *measured) cost(r *moco.Recipe) (engine.Cost, error) { return costOf(m.o.Engine, r, m.facts) }

func (m *measured) pace(ctx context.Context, r *moco.Recipe) (Pace, error) {
	if m.o.Measuring != nil {
		m.o.Measuring(*r)
	}
	reading, err := r.Views.Reading()
	if err != nil {
		return Pace{}, err
	}
	if m.read[reading] == nil {
		if err := m.readFirst(ctx, r, reading); err != nil {
			return Pace{}, err
		}
	}
	// Where views grow, what counts is the mean of their sizes.
	var p Pace
	var again float64
	sizes := r.Views.Sizes()
	for _, size := range sizes {
		of, drawing, err := m.steps(ctx, r.ForSize(size), reading)
		if err != nil {
			return p, err
		}
		p.Start, p.Save = p.Start+of.Start, of.Save
		p.Step += of.Step / float64(len(sizes))
		again += drawing / float64(len(sizes))
	}
	n, read := float64(m.set.Len()), m.read[reading]
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

// loader draws as training will.
func (m *measured) loader(r *moco.Recipe, reading data.Reading, batch int) (*loader.Loader, error) {
	policy, err := r.Views.Drawn()
	if err != nil {
		return nil, err
	}
	return loader.New(m.set, policy, loader.Options{Batch: batch, Reading: reading, DropLast: true, Seed: r.Seed,
		Workers: m.o.Workers, MaxBad: 1, Grouped: r.Grouped(), MaxGap: r.MaxGap}), nil
}

// readFirst reads pictures for the first time, and measures how much longer than later that takes.
func (m *measured) readFirst(ctx context.Context, r *moco.Recipe, reading data.Reading) error {
	chunk := min(smallBatch, m.set.Len())
	l, err := m.loader(r, reading, chunk)
	if err != nil {
		return err
	}
	limit := slice(m.o.Budget, readingShare, mostReading)
	if len(m.read) > 0 {
		limit = slice(m.o.Budget, anotherShare, mostAnother)
	}
	read, views := new(firstReadings), chunk*r.Views.Size*r.Views.Size*3
	var b moco.Batch
	for range r.Views.Count() {
		b.Views = append(b.Views, make([]float32, views))
	}
	began := time.Now()
	for read.images == 0 || read.images/chunk < l.StepsPerEpoch() && time.Since(began) < limit {
		at := read.images / chunk
		first, err := timed(func() error { return l.Fill(ctx, 0, at, b) })
		if err != nil {
			return err
		}
		again, err := timed(func() error { return l.Fill(ctx, 0, at, b) })
		if err != nil {
			return err
		}
		read.seconds += max(0, first-again)
		read.images += chunk
	}
	m.read[reading] = read
	return nil
}

// steps measures a recipe's step, and the seconds that drawing an image takes. Both are measured in
// turn, as they come in training: each finds in the processor's caches what the other has left.
func (m *measured) steps(ctx context.Context, r *moco.Recipe, reading data.Reading) (p Pace, again float64, err error) {
	began := time.Now()
	fitted, err := m.facts.fitted(r)
	if err != nil {
		return p, 0, err
	}
	state := m.o.Engine.NewState()
	s, err := moco.Compile(fitted, fitted.Batch, m.o.Engine, state)
	if err != nil {
		return p, 0, err
	}
	defer s.Close()
	if err := moco.Initialise(fitted, state, nil); err != nil {
		return p, 0, err
	}
	f, err := m.filler(fitted, reading, s.Batch())
	if err != nil {
		return p, 0, err
	}
	var stepping float64
	one := func() error {
		if err := f.fill(ctx); err != nil {
			return err
		}
		took, err := timed(func() error {
			_, err := s.Run(moco.Progress{StepsPerEpoch: 1})
			return err
		})
		stepping += took
		return err
	}
	if err := one(); err != nil { // it makes buffers, too
		return p, 0, err
	}
	p = Pace{Start: time.Since(began).Seconds() - f.seconds, Save: saving(s.Cost())}
	began, f.seconds, f.images, stepping = time.Now(), 0, 0, 0
	n := 0
	for ; n < 3 || n < enoughSteps && time.Since(began) < slice(m.o.Budget, steppingShare, mostStepping); n++ {
		if err := one(); err != nil {
			return p, 0, err
		}
	}
	p.Step = stepping / float64(n)
	return p, f.seconds / float64(f.images), nil
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
