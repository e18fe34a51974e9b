// Package pretrain runs a recipe: the loop over batches with its folder, checkpoints, monitor and
// log.
//
// A run's folder (folder.go) holds enough to repeat the run and to go on with it. A run that was
// stopped anywhere goes on from its last checkpoint, or from its beginning if it has none yet, with
// the same bits as if nothing had happened.
package pretrain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/internal/loader"
	"moco/internal/lock"
	"moco/internal/sys"
	"moco/ranks"
	"moco/recipe"
)

// Options say what to run.
type Options struct {
	Recipe   moco.Recipe
	Data     *data.Set
	DataPath string // for config.yaml
	DataArgs string // further flags that the run takes beside its recipe, such as "--pairs pairs.csv"; likewise
	Out      string // the run's folder
	// Resume goes on with the run in Out. Its data and recipe must be those it began with, but for
	// epochs (the schedule is then stretched to the new length), checkpoint_every and max_bad.
	Resume bool
	Steps  int // stop after so many steps; 0: at the end of the recipe. The schedule stays the recipe's.
	// Start is the encoder that training starts from; nil: random weights. The recipe then names
	// it. A run that goes on from a checkpoint needs it no more.
	Start *encoder.Encoder
	// SaveEvery is epochs from one checkpoint to the next, where epochs are short; 0 is 1. The last
	// epoch always has one.
	SaveEvery int

	Monitor MonitorOptions

	// Consistency measures, at each epoch's end, how alike the dictionary's keys are to the same
	// views encoded now.
	Consistency bool

	// Ranks is the processes that run this together; nil: this one alone. Each has a share of the
	// recipe's replicas, and all run with the same options but for Events, Log and what rank 0 alone
	// reads. The engine must have been made for the same group.
	Ranks ranks.Group

	Engine  engine.Engine
	Workers int // goroutines that decode and draw views
	// MemoryLimit is bytes that the run may plan for; 0: three quarters of what is free, the rest being
	// for decoded images.
	MemoryLimit int64
	Events      func(event.Event) // told everything; may be nil
	Log         *slog.Logger      // names skipped images; may be nil
}

// stepKind is what differs between the compiled steps of a run: the size of the batch, and the side
// of its views.
type stepKind struct{ images, pixels int }

// run is a run in progress.
type run struct {
	o           Options
	recipe      *moco.Recipe
	mechanism   moco.Mechanism
	state       engine.State
	steps       map[stepKind]*moco.Step
	loader      *loader.Loader
	folder      folder
	checkpoints *checkpoints
	fingerprint string // of the data
	events      *recorder
	files       files // what is written goes through it
	// hold locks a folder, as lock.Folder does; release gives the lock back.
	hold    func(ctx context.Context, folder string) (context.Context, func(), error)
	release func()

	monitor *monitor // nil: none
	watch   watch
	hosts   []string // of each rank

	stepsPerEpoch, last int // the last step of the run
	step                int // done
	rate                rate
	epochMean           epochMean
	metrics             moco.Metrics // of the last step
}

// Run runs a recipe to its end, or until ctx ends. The returned Done is also the last event; with
// ErrInterrupted it tells how far the run came.
func Run(ctx context.Context, o Options) (*Done, error) {
	return newRun(o).run(ctx)
}

// files is what a run needs of a file system to write with. Tests put one below it that loses what
// was not synced.
type files interface {
	atomicfile.FS
	Append(name string) (atomicfile.File, error)
	MkdirAll(dir string) error
}

func newRun(o Options) *run { return newRunOn(o, atomicfile.OS{}) }

func newRunOn(o Options, system files) *run {
	if o.Ranks == nil {
		o.Ranks = ranks.Alone{}
	}
	if o.Ranks.Rank() != 0 {
		o.Events = nil
	}
	r := &run{
		o: o, recipe: &o.Recipe, steps: map[stepKind]*moco.Step{}, folder: folder(o.Out),
		files: system, hold: lock.Folder, release: func() {},
	}
	r.checkpoints = &checkpoints{dir: r.folder.checkpoints(), files: system}
	r.events = &recorder{told: o.Events}
	return r
}

func (r *run) run(ctx context.Context) (*Done, error) {
	began := time.Now()
	defer r.close()
	for _, stage := range []func() error{
		r.findHosts,
		func() error { return r.together(r.prepare) },
		r.agree,
		func() error { return r.together(func() error { return r.begin(ctx) }) },
		r.follow,
	} {
		if err := stage(); err != nil {
			return nil, err
		}
	}
	err := r.train(ctx)
	interrupted := errors.Is(err, ErrInterrupted)
	if err != nil && !interrupted {
		return nil, err
	}
	if err := r.shareUnreadable(); err != nil {
		return nil, err
	}
	done := &Done{
		Step: r.step, Epoch: r.epoch(), Loss: r.metrics.Loss, Accuracy: r.metrics.Accuracy, ImagesPerSecond: r.rate.perSecond(),
		BadImages: r.loader.Bad(), Seconds: time.Since(began).Seconds(), Interrupted: interrupted,
	}
	if r.leads() {
		newest := r.checkpoints.list[0]
		done.Checkpoint, done.SHA256 = filepath.Join(r.checkpoints.dir, newest.File), newest.SHA256
		done.Encoder = r.folder.encoder()
	}
	if r.monitor != nil {
		done.KNNTop1 = r.monitor.top1
	}
	r.events.tell(*done)
	return done, err
}

// epoch is the number of the epoch that the last step was in, counted from 1.
func (r *run) epoch() int { return max(0, r.step-1)/r.stepsPerEpoch + 1 }

// prepare checks everything that can be checked before anything is written.
func (r *run) prepare() error {
	o := r.o
	if err := r.prepareRecipe(); err != nil {
		return &recipe.Error{Err: err}
	}
	policy, err := r.recipe.Views.Drawn()
	if err != nil {
		return err
	}
	reading, err := r.recipe.Views.Reading()
	if err != nil {
		return err
	}
	share, err := o.Engine.Share(r.recipe.Replicas)
	if err != nil {
		return &recipe.Error{Err: fmt.Errorf("replicas: %w", err)}
	}
	r.loader = loader.New(o.Data, policy, loader.Options{
		Batch: r.recipe.Batch, Reading: reading, DropLast: r.recipe.DropLast, Seed: r.recipe.Seed, Workers: o.Workers, MaxBad: r.recipe.MaxBad,
		Grouped: r.recipe.Grouped(), MaxGap: r.recipe.MaxGap, Share: share, Log: o.Log})
	r.stepsPerEpoch = r.loader.StepsPerEpoch()
	r.last = r.recipe.Epochs.Steps(r.stepsPerEpoch)
	if o.Steps > 0 {
		r.last = min(r.last, o.Steps)
	}
	r.state = o.Engine.NewState()
	if err := r.compile(); err != nil {
		return err
	}
	if o.Monitor.Train != nil {
		if r.monitor, err = newMonitor(r, r.state, r.recipe.Batch); err != nil {
			return err
		}
	}
	return r.checkMemory()
}

// prepareRecipe completes the recipe by what the data say, and refuses what they cannot give.
func (r *run) prepareRecipe() error {
	o := r.o
	if err := r.recipe.Check(); err != nil {
		return err
	}
	var err error
	if r.mechanism, err = r.recipe.Mechanism(); err != nil {
		return err
	}
	if err := r.mechanism.Fit(moco.DataSize{Images: o.Data.Len(), Classes: len(o.Data.Classes())}); err != nil {
		return fmt.Errorf("%s: %w", o.DataPath, err)
	}
	if err := r.recipe.Check(); err != nil {
		return err
	}
	if o.Start != nil {
		if err := o.Start.CheckStart(r.recipe); err != nil {
			return err
		}
		r.recipe.Start = o.Start.SHA256
	}
	if r.recipe.Batch > o.Data.Len() {
		return &BatchError{Batch: r.recipe.Batch, Images: o.Data.Len()}
	}
	if r.recipe.Grouped() {
		if err := o.Data.CheckGroups(); err != nil {
			return fmt.Errorf("positives: %s: %w", r.recipe.Positives, err)
		}
	}
	return nil
}

// kind is the kind of a step of the run, by the number of steps before it.
func (r *run) kind(step int) stepKind {
	done := moco.Progress{Step: step, StepsPerEpoch: r.stepsPerEpoch}.Of(r.recipe.Epochs)
	return stepKind{r.loader.BatchSize(step % r.stepsPerEpoch), r.recipe.Views.SizeAt(done)}
}

// compile makes the steps of each kind that there will be.
func (r *run) compile() error {
	for _, size := range []int{r.recipe.Batch, r.loader.BatchSize(r.stepsPerEpoch - 1)} {
		if parts := r.recipe.BatchUnit(); size%parts != 0 {
			return fmt.Errorf("drop_last: the last batch of an epoch has %d images, which cannot be cut into %d equal parts "+
				"(bn_splits, replicas, accumulate); set drop_last to true", size, parts)
		}
		for _, pixels := range r.recipe.Views.Sizes() {
			kind := stepKind{size, pixels}
			if r.steps[kind] != nil {
				continue
			}
			step, err := moco.Compile(r.recipe.ForSize(pixels), size, r.o.Engine, r.state)
			if err != nil {
				return err
			}
			r.steps[kind] = step
		}
	}
	return nil
}

// checkMemory refuses a run that would not fit, and finds the batch that would.
func (r *run) checkMemory() error {
	limit := r.o.MemoryLimit
	if limit == 0 {
		limit = sys.FreeMemory() / 4 * 3 / r.neighbours()
	}
	monitoring, err := r.monitor.cost()
	if err != nil {
		return err
	}
	costs := []engine.Cost{monitoring}
	for _, s := range r.steps {
		costs = append(costs, s.Cost())
	}
	need := engine.TrainingBytes(costs...)
	if limit <= 0 || need <= limit {
		return nil
	}
	fits, err := r.largestBatch(limit)
	if err != nil {
		return err
	}
	return &MemoryError{Batch: r.recipe.Batch, Need: need, Limit: limit, Fits: fits}
}

// largestBatch is the largest batch that fits into a memory, 0 if none does.
func (r *run) largestBatch(limit int64) (fits int, err error) {
	splits := r.recipe.BatchUnit()
	for lo, hi := 0, r.recipe.Batch/splits; hi-lo > 1; {
		middle := (lo + hi) / 2
		need, err := r.memoryOf(middle * splits)
		if err != nil {
			return 0, err
		}
		if need <= limit {
			lo, fits = middle, middle*splits
		} else {
			hi = middle
		}
	}
	return fits, nil
}

// memoryOf is what the run would take with another batch.
func (r *run) memoryOf(batch int) (int64, error) {
	state := r.o.Engine.NewState()
	s, err := moco.Compile(r.recipe.ForSize(r.recipe.Views.Largest()), batch, r.o.Engine, state)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if r.monitor == nil {
		return engine.TrainingBytes(s.Cost()), nil
	}
	m, err := newMonitor(r, state, batch)
	if err != nil {
		return 0, err
	}
	defer m.encoder.Close()
	monitoring, err := m.cost()
	return engine.TrainingBytes(s.Cost(), monitoring), err
}

// begin makes or opens the run's folder and gives the variables their values.
func (r *run) begin(ctx context.Context) error {
	if !r.leads() {
		return nil
	}
	o := r.o
	r.fingerprint = o.Data.Fingerprint()
	begin := r.start
	if o.Resume {
		begin = r.resume
	}
	if err := begin(ctx); err != nil {
		return err
	}
	if err := r.events.open(r.files, r.folder.log(), r.step); err != nil {
		return err
	}
	parameters := 0
	for _, p := range r.recipe.Encoder.Parameters() {
		parameters += p.Shape.Elements()
	}
	batch := r.recipe.Batch
	cost := r.steps[stepKind{batch, r.recipe.Views.Largest()}].Cost()
	r.events.tell(Start{
		Out: o.Out, Engine: o.Engine.Name(), Images: o.Data.Len(), Arch: r.recipe.Encoder.Arch, Parameters: parameters, Batch: batch,
		Mechanism: r.mechanism.String(), Keys: r.mechanism.Negatives(batch), Filling: r.mechanism.Filling(), Labels: r.mechanism.Classifier(),
		StepsPerEpoch: r.stepsPerEpoch, Steps: r.last, FirstStep: r.step, ChanceLoss: r.mechanism.Chance(batch),
		FLOPs: cost.FLOPs, PeakBytes: cost.PeakBytes(), Processes: o.Ranks.Size(), SentBytes: cost.SentBytes,
	})
	r.events.release()
	r.watch.begin(r)
	return nil
}

func (r *run) close() {
	for _, s := range r.steps {
		s.Close()
	}
	if r.monitor != nil {
		r.monitor.encoder.Close()
	}
	r.events.close()
	r.release()
}
