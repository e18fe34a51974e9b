// Package pretrain runs a recipe: the loop over batches with its folder, checkpoints, monitor and log.
//
// A run's folder holds config.yaml (enough to repeat it), log.jsonl (every event, appended), checkpoints/step-N.safetensors with
// latest.json, and encoder.safetensors, the query encoder as of the last checkpoint. A run that was stopped anywhere goes on
// from its last checkpoint, or from its beginning if it has none yet, with the same bits as if nothing had happened.
package pretrain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"moco"
	"moco/data"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/loader"
	"moco/weights"
)

// ErrInterrupted is what Run returns when its context ended: the step was finished, and a checkpoint written.
var ErrInterrupted = errors.New("interrupted; the run is saved and --resume goes on with it")

// DivergedError is the error of a run whose numbers are no longer finite.
type DivergedError struct{ Err error }

func (e *DivergedError) Error() string { return e.Err.Error() }

// Unwrap returns what happened, and at which step.
func (e *DivergedError) Unwrap() error { return e.Err }

// Options say what to run.
type Options struct {
	Recipe   moco.Recipe
	Data     *data.Set
	DataPath string // for config.yaml
	DataArgs string // further flags that the run takes beside its recipe, such as "--pairs pairs.csv"; likewise
	Out      string // the run's folder
	// Resume goes on with the run in Out. Its data and recipe must be those it began with, but for epochs (the schedule is then stretched to
	// the new length), checkpoint_every and max_bad.
	Resume bool
	Steps  int // stop after so many steps; 0: at the end of the recipe. The schedule stays the recipe's.
	// Start is the encoder that training starts from (moco.InitialiseFrom); nil: random weights. The recipe then names it. A run that goes on from a
	// checkpoint needs it no more.
	Start *moco.Encoder
	// SaveEvery is epochs from one checkpoint to the next, where epochs are short; 0 is 1. The last epoch always has one.
	SaveEvery int

	MonitorTrain, MonitorTest *data.Set // labelled sets for the kNN monitor; both or none
	MonitorStart              bool      // also before the first step
	MonitorEvery              int       // epochs from one to the next; 0 is 1; the last epoch always is

	// Consistency measures, at each epoch's end, how alike the dictionary's keys are to the same views encoded now.
	Consistency bool

	Engine      engine.Engine
	Workers     int          // goroutines that decode and draw views
	MemoryLimit int64        // bytes that the run may plan for; 0: three quarters of what is free, the rest being for decoded images
	Events      func(Event)  // told everything; may be nil
	Log         *slog.Logger // names skipped images; may be nil
}

// monitorKNN is the classifier of the monitor.
var monitorKNN = evaluate.KNN{K: 200, T: 0.1}

// run is a run in progress.
type run struct {
	o           Options
	recipe      *moco.Recipe
	state       engine.State
	programs    map[int]engine.Program // by size of batch
	model       *evaluate.Model        // for the monitor
	loader      *loader.Loader
	checkpoints *checkpoints
	log         *os.File

	stepsPerEpoch, steps int
	step                 int // done
	spent                time.Duration
	counted              int  // images in spent
	warm                 bool // a step was done in this process
	fingerprint          string
	epochLoss, epochHits float64
	epochSteps           int
	lastLoss, lastHits   float64
	lastKNN              float64
	chanceSteps          int
	warned               map[string]bool
	pending              []Warning // found before the log was open
}

// Run runs a recipe to its end, or until ctx ends. The returned Done is also the last event.
func Run(ctx context.Context, o Options) (*Done, error) {
	return newRun(o).run(ctx)
}

func newRun(o Options) *run {
	return &run{o: o, recipe: &o.Recipe, programs: map[int]engine.Program{}, warned: map[string]bool{}, checkpoints: newCheckpoints(o.Out)}
}

func (r *run) run(ctx context.Context) (*Done, error) {
	began := time.Now()
	defer r.close()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	err := r.train(ctx)
	interrupted := errors.Is(err, ErrInterrupted)
	if err != nil && !interrupted {
		return nil, err
	}
	newest := r.checkpoints.list[0]
	done := &Done{"done", r.step, r.epoch(), r.lastLoss, r.lastHits, r.rate(), r.lastKNN, r.loader.Bad(), time.Since(began).Seconds(),
		filepath.Join(r.checkpoints.dir, newest.File), newest.SHA256, filepath.Join(r.o.Out, moco.EncoderFile), interrupted}
	r.tell(*done)
	return done, err
}

// epoch is the number of the epoch that the last step was in, counted from 1.
func (r *run) epoch() int { return max(0, r.step-1)/r.stepsPerEpoch + 1 }

// rate is the number of images a second so far.
func (r *run) rate() float64 {
	if r.spent == 0 {
		return 0
	}
	return float64(r.counted) / r.spent.Seconds()
}

// prepare checks everything that can be checked before anything is written.
func (r *run) prepare() error {
	o := r.o
	if err := r.recipe.Check(); err != nil {
		return &RecipeError{err}
	}
	n, batch := o.Data.Len(), r.recipe.Batch
	if err := r.fitData(); err != nil {
		return &RecipeError{err}
	}
	if o.Start != nil {
		if err := r.recipe.CheckStart(o.Start); err != nil {
			return &RecipeError{err}
		}
		r.recipe.Start = o.Start.SHA256
	}
	if batch > n {
		return &RecipeError{fmt.Errorf("batch: %d is more than the %d images there are; use --batch %d or less", batch, n, n)}
	}
	if r.recipe.Grouped() {
		if err := o.Data.CheckGroups(); err != nil {
			return &RecipeError{fmt.Errorf("positives: %s: %w", r.recipe.Positives, err)}
		}
	}
	policy, err := r.recipe.Views.Drawn()
	if err != nil {
		return err
	}
	r.loader = loader.New(o.Data, policy, loader.Options{Batch: batch, DropLast: r.recipe.DropLast, Seed: r.recipe.Seed, Workers: o.Workers, MaxBad: r.recipe.MaxBad,
		Grouped: r.recipe.Grouped(), MaxGap: r.recipe.MaxGap, Log: o.Log})
	r.stepsPerEpoch = r.loader.StepsPerEpoch()
	r.steps = r.stepsPerEpoch * r.recipe.Epochs
	if o.Steps > 0 {
		r.steps = min(r.steps, o.Steps)
	}
	r.state = o.Engine.NewState()
	for _, size := range []int{batch, r.loader.BatchSize(r.stepsPerEpoch - 1)} {
		if parts := max(r.recipe.BNSplits, r.recipe.Accumulate); size%parts != 0 {
			return fmt.Errorf("drop_last: the last batch of an epoch has %d images, which cannot be cut into %d equal parts (bn_splits, accumulate); set drop_last to true", size, parts)
		}
		if r.programs[size] == nil {
			if r.programs[size], err = r.compile(r.state, size); err != nil {
				return err
			}
		}
	}
	if o.MonitorTrain != nil {
		if r.model, err = evaluate.NewModel(*r.recipe, o.Engine, r.state, min(batch, 256)); err != nil {
			return err
		}
	}
	return r.checkMemory()
}

// fitData completes the recipe by what the data say, and refuses what they cannot give.
func (r *run) fitData() error {
	set := r.o.Data
	switch {
	case r.recipe.Objective == "supervised":
		classes := len(set.Classes())
		if classes < 2 {
			return fmt.Errorf("objective: supervised training needs labels, and %s has no class folders", r.o.DataPath)
		}
		r.recipe.Encoder.Dim = classes
	case r.recipe.Dictionary == "bank":
		if r.recipe.Images != 0 && r.recipe.Images != set.Len() {
			return fmt.Errorf("images: the recipe is for a bank of %d, and there are %d; leave the key out", r.recipe.Images, set.Len())
		}
		r.recipe.Images = set.Len()
	}
	return r.recipe.Check()
}

func (r *run) compile(s engine.State, batch int) (engine.Program, error) {
	g, err := moco.Step(r.recipe, batch)
	if err != nil {
		return nil, err
	}
	return r.o.Engine.Compile(g, s)
}

// memory is what a run with these programs takes: its variables, a copy of them while a checkpoint is written, and the largest plan, since
// programs of one state work in the same memory.
func memory(costs ...engine.Cost) int64 {
	var variables, work int64
	for _, c := range costs {
		variables, work = max(variables, c.VariableBytes), max(work, c.WorkBytes)
	}
	return 2*variables + work
}

// checkMemory refuses a run that would not fit, with the batch that would.
func (r *run) checkMemory() error {
	limit := r.o.MemoryLimit
	if limit == 0 {
		limit = FreeMemory() / 4 * 3
	}
	var costs []engine.Cost
	for _, p := range r.programs {
		costs = append(costs, p.Cost())
	}
	if r.model != nil {
		costs = append(costs, r.model.Cost())
	}
	need := memory(costs...)
	if limit <= 0 || need <= limit {
		return nil
	}
	fits := 0
	splits := r.recipe.BNSplits
	for lo, hi := 0, r.recipe.Batch/splits; hi-lo > 1; {
		middle := (lo + hi) / 2
		p, err := r.compile(r.o.Engine.NewState(), middle*splits)
		if err != nil {
			return err
		}
		if memory(p.Cost()) <= limit {
			lo, fits = middle, middle*splits
		} else {
			hi = middle
		}
		p.Close()
	}
	advice := fmt.Sprintf("--batch %d would fit", fits)
	if fits == 0 {
		advice = "no batch fits; use a smaller encoder, queue or views.size"
	}
	return fmt.Errorf("a batch of %d needs %d MB and %d MB are free; %s", r.recipe.Batch, need>>20, limit>>20, advice)
}

// begin makes or opens the run's folder and gives the variables their values.
func (r *run) begin() error {
	o := r.o
	r.fingerprint = o.Data.Fingerprint()
	var err error
	if o.Resume {
		err = r.resume()
	} else {
		err = r.start()
	}
	if err != nil {
		return err
	}
	if r.log, err = openLog(filepath.Join(o.Out, logFile)); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	parameters := 0
	for _, p := range r.recipe.Encoder.Parameters() {
		parameters += p.Shape.Elements()
	}
	cost := r.programs[r.recipe.Batch].Cost()
	r.tell(Start{"start", o.Out, o.Engine.Name(), o.Data.Len(), r.recipe.Encoder.Arch, parameters, r.recipe.Batch, r.compared(), r.keys(), r.stepsPerEpoch,
		r.steps, r.step, r.recipe.ChanceLoss(r.recipe.Batch), cost.FLOPs, cost.PeakBytes()})
	for _, w := range r.pending {
		r.tell(w)
	}
	if r.hasQueue() && r.recipe.Queue > o.Data.Len() && !r.recipe.Grouped() {
		r.warn("queue", fmt.Sprintf("the queue of %d keys is longer than the data set of %d images: most queries will meet older views of their own image as negatives; use --set queue=%d or less, or mask_same_image=true", r.recipe.Queue, o.Data.Len(), o.Data.Len()))
	}
	return nil
}

func (r *run) hasQueue() bool {
	return r.recipe.Objective == "contrastive" && r.recipe.Dictionary == "queue"
}

// compared is what the loss compares with what, in words of the recipe.
func (r *run) compared() string {
	if r.recipe.Objective == "supervised" {
		return "supervised"
	}
	return r.recipe.Loss + " with " + r.recipe.Dictionary
}

// keys is the number of keys that a query is compared with, or of classes.
func (r *run) keys() int {
	if r.recipe.Objective == "supervised" {
		return r.recipe.Encoder.Dim
	}
	return r.recipe.Negatives(r.recipe.Batch)
}

// start makes the folder of a new run.
func (r *run) start() error {
	if entries, err := os.ReadDir(r.o.Out); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty; give another --out, or --resume to go on with the run there", r.o.Out)
	}
	if err := r.startGiven(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.o.Out, 0o755); err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	if err := r.writeConfig(); err != nil {
		return err
	}
	return r.initialise()
}

// startGiven refuses a recipe that names an encoder to start from, which is not there.
func (r *run) startGiven() error {
	if r.recipe.Start != "" && r.o.Start == nil {
		return &RecipeError{fmt.Errorf("start: the recipe starts from the encoder with the SHA-256 %s; give it with --init, or leave the key out", r.recipe.Start)}
	}
	return nil
}

// initialise gives the variables their values before the first step.
func (r *run) initialise() error {
	if r.o.Start != nil {
		return moco.InitialiseFrom(r.recipe, r.state, r.o.Start)
	}
	return moco.Initialise(r.recipe, r.state)
}

// configFile is the name of the recipe in a run's folder.
const configFile = "config.yaml"

// Began is the recipe of the run that has begun in a folder, and whether one has. A damaged one is for Run to tell.
func Began(folder string) (moco.Recipe, bool) {
	raw, err := os.ReadFile(filepath.Join(folder, configFile))
	if err != nil {
		return moco.Recipe{}, false
	}
	r, err := ParseRecipe(string(raw))
	return r, err == nil
}

// writeConfig writes the recipe with what else the run depends on.
func (r *run) writeConfig() error {
	config := fmt.Sprintf("# Repeat with: moco train --recipe config.yaml --data %q%s\n# data: %d images, fingerprint %s\n%s",
		r.o.DataPath, r.o.DataArgs, r.o.Data.Len(), r.fingerprint, WriteRecipe(*r.recipe))
	_, err := weights.SaveFunc(filepath.Join(r.o.Out, configFile), func(w io.Writer) error {
		_, err := io.WriteString(w, config)
		return err
	})
	return err
}

// resume loads the newest checkpoint that is whole and holds it to the run that was asked for.
func (r *run) resume() error {
	f, err := r.checkpoints.load(func(file string, err error) {
		r.later("checkpoint %s is damaged (%v); going back to the one before it", file, err)
	})
	if errors.Is(err, errNoCheckpoint) {
		return r.restart(err)
	}
	if err != nil {
		return err
	}
	at, err := readPosition(f)
	if err != nil {
		return err
	}
	if at.fingerprint != r.fingerprint {
		return fmt.Errorf("resume: the data are not those that the run began with (%s has another fingerprint); start anew in another folder", r.o.DataPath)
	}
	if err := r.sameRun(at.recipe); err != nil {
		return err
	}
	r.step = at.step
	if err := restore(f, r.state); err != nil {
		return err
	}
	if WriteRecipe(at.recipe) != WriteRecipe(*r.recipe) {
		if err := r.writeConfig(); err != nil {
			return err
		}
	}
	return r.saveEncoder() // a kill may have left that of another step
}

// restart begins a run again that was killed before its first checkpoint: it has a recipe, and nothing learned to lose.
func (r *run) restart(none error) error {
	raw, err := os.ReadFile(filepath.Join(r.o.Out, configFile))
	if errors.Is(err, os.ErrNotExist) {
		return none
	}
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	began, err := ParseRecipe(string(raw))
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	if err := r.sameRun(began); err != nil {
		return err
	}
	if err := r.startGiven(); err != nil {
		return err
	}
	r.later("the run was stopped before its first checkpoint; it begins again")
	if err := r.writeConfig(); err != nil {
		return err
	}
	return r.initialise()
}

// sameRun holds the recipe to the one that the run began with.
func (r *run) sameRun(began moco.Recipe) error {
	if d := differences(began, *r.recipe); len(d) > 0 {
		return fmt.Errorf("resume: the recipe is not the run's: %s; leave it as it was, or start anew in another folder", strings.Join(d, ", "))
	}
	if began.Epochs != r.recipe.Epochs {
		r.later("the run began with %d epochs and goes on with the schedule of %d: its result is not that of a run of %d epochs from the start", began.Epochs, r.recipe.Epochs, r.recipe.Epochs)
	}
	return nil
}

// later keeps a warning until the log is open.
func (r *run) later(format string, a ...any) {
	r.pending = append(r.pending, Warning{"warning", r.step, fmt.Sprintf(format, a...)})
}

const logFile = "log.jsonl"

// openLog opens the log for appending; a line that a kill cut short is closed.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			f.WriteString("\n")
		}
	}
	return f, nil
}

// tell logs an event and passes it on.
func (r *run) tell(e Event) {
	if raw, err := json.Marshal(e); err == nil && r.log != nil {
		r.log.Write(append(raw, '\n')) // a log that cannot be written must not stop a run that can be saved
	}
	if r.o.Events != nil {
		r.o.Events(e)
	}
}

// warn tells something once.
func (r *run) warn(what, message string) {
	if !r.warned[what] {
		r.warned[what] = true
		r.tell(Warning{"warning", r.step, message})
	}
}

func (r *run) close() {
	for _, p := range r.programs {
		p.Close()
	}
	if r.model != nil {
		r.model.Close()
	}
	if r.log != nil {
		r.log.Close()
	}
}

// train is the loop.
func (r *run) train(ctx context.Context) error {
	monitored := r.recall()
	switch {
	case r.model == nil || monitored:
	case r.step == 0 && r.o.MonitorStart:
		if err := r.monitor(ctx, 0); err != nil {
			return r.stopped(ctx, err)
		}
	case r.step > 0 && (r.step%(r.stepsPerEpoch*max(1, r.o.MonitorEvery)) == 0 || r.step >= r.steps): // stopped between a checkpoint and its monitor
		if err := r.monitor(ctx, r.epoch()); err != nil {
			return r.stopped(ctx, err)
		}
	}
	for r.step < r.steps {
		if ctx.Err() != nil {
			return r.stopped(ctx, ctx.Err())
		}
		epoch, inEpoch := r.step/r.stepsPerEpoch, r.step%r.stepsPerEpoch
		if err := r.one(ctx, epoch, inEpoch); err != nil {
			return r.stopped(ctx, err)
		}
		ended := inEpoch == r.stepsPerEpoch-1
		if ended && (epoch+1)%max(1, r.o.SaveEvery) == 0 || r.step == r.steps || r.step%r.recipe.CheckpointEvery == 0 {
			if err := r.save(); err != nil {
				return err
			}
		}
		if ended {
			n := float64(r.epochSteps)
			r.tell(Epoch{"epoch", epoch + 1, r.step, r.epochLoss / n, r.epochHits / n, r.rate(), r.loader.Bad()})
			r.epochLoss, r.epochHits, r.epochSteps = 0, 0, 0
		}
		if ended && r.o.Consistency && r.recipe.Objective == "contrastive" {
			event, err := r.consistency(ctx)
			if err != nil {
				return r.stopped(ctx, err)
			}
			r.tell(event)
		}
		if r.model != nil && (ended && (epoch+1)%max(1, r.o.MonitorEvery) == 0 || r.step == r.steps) {
			if err := r.monitor(ctx, epoch+1); err != nil {
				return r.stopped(ctx, err)
			}
		}
	}
	if len(r.checkpoints.list) == 0 || r.checkpoints.list[0].Step != r.step { // resumed at its end, or a run of no steps
		return r.save()
	}
	return nil
}

// stopped saves a run that is ending early because it was interrupted; any other error is passed on.
func (r *run) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	if len(r.checkpoints.list) == 0 || r.checkpoints.list[0].Step != r.step {
		if err := r.save(); err != nil {
			return err
		}
	}
	return ErrInterrupted
}

// batchOf is where the loader puts a batch: whatever of it the program takes.
func batchOf(p engine.Program) loader.Batch {
	floats := func(name string) []float32 {
		if in := p.Input(name); in != nil {
			return in.Float32s()
		}
		return nil
	}
	ints := func(name string) []int32 {
		if in := p.Input(name); in != nil {
			return in.Int32s()
		}
		return nil
	}
	b := loader.Batch{X1: floats("x1"), X2: floats("x2"), IDs: ints("ids"), Labels: ints("labels"), Shuffle: ints("shuffle"), Unshuffle: ints("unshuffle")}
	if x := floats("x"); x != nil && b.Labels != nil {
		b.X1 = x
	} else if x != nil { // both views in one
		b.X1, b.X2 = x[:len(x)/2], x[len(x)/2:]
	}
	return b
}

// one is a single step.
func (r *run) one(ctx context.Context, epoch, inEpoch int) error {
	start := time.Now()
	n := r.loader.BatchSize(inEpoch)
	p := r.programs[n]
	b := batchOf(p)
	if err := r.loader.Fill(ctx, epoch, inEpoch, b); err != nil {
		return err
	}
	if draws := p.Input("draws"); draws != nil {
		r.recipe.Draw(draws.Int32s(), b.IDs, r.step)
	}
	progress := float64(r.step) / float64(r.stepsPerEpoch)
	lr := r.recipe.Rate(progress)
	progress /= float64(r.recipe.Epochs)
	m := r.recipe.MomentumAt(progress)
	for name, v := range map[string]float64{"lr": lr, "m": m, "rest": 1 - m, "sharpen": r.recipe.Temperature / r.recipe.TemperatureAt(progress)} {
		if in := p.Input(name); in != nil {
			in.Float32s()[0] = float32(v)
		}
	}
	if err := p.Run(); err != nil {
		return err
	}
	loss := float64(p.Output("loss").Float32s()[0])
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return r.diverged(fmt.Sprintf("the loss is %v at step %d", loss, r.step+1))
	}
	r.step++
	if r.warm { // the first step of a process also makes buffers
		r.spent += time.Since(start)
		r.counted += n
	}
	r.warm = true
	hits := float64(p.Output("accuracy").Float32s()[0])
	r.lastLoss, r.lastHits = loss, hits
	r.epochLoss += loss
	r.epochHits += hits
	r.epochSteps++
	left := 0.0
	if rate := r.rate(); rate > 0 {
		left = float64((r.steps-r.step)*r.recipe.Batch) / rate
	}
	r.tell(Step{"step", r.step, epoch + 1, loss, hits, lr, r.rate(), left})
	r.watch(p, loss)
	return nil
}

// watch warns of a run that learns nothing.
func (r *run) watch(p engine.Program, loss float64) {
	dim := r.recipe.Encoder.Dim
	if r.step%50 == 0 && r.recipe.Objective == "contrastive" {
		if q := p.Output("q"); q.Shape[0] > 1 {
			if spread := moco.Spread(q.Float32s(), dim); spread < 0.1/math.Sqrt(float64(dim)) {
				r.warn("collapse", fmt.Sprintf("the features have collapsed: their standard deviation is %.2g, where %.2g is what a sphere gives; lower lr, or raise m", spread, 1/math.Sqrt(float64(dim))))
			}
		}
	}
	turnover := 0
	if r.hasQueue() {
		turnover = 2 * (r.recipe.Queue + r.recipe.Batch - 1) / r.recipe.Batch
	}
	chance := r.recipe.ChanceLoss(r.recipe.Batch)
	if r.step < turnover || math.Abs(loss-chance) > 0.01*chance {
		r.chanceSteps = 0
		return
	}
	if r.chanceSteps++; r.chanceSteps == 100 {
		r.warn("chance", fmt.Sprintf("for 100 steps the loss has been within 1%% of chance (%.3f): the encoder tells nothing apart; raise lr, lower t, or train longer", chance))
	}
}

// save writes a checkpoint, and the encoder as of now.
func (r *run) save() error {
	at := position{r.step, *r.recipe, r.fingerprint}
	if err := r.checkpoints.write(r.state, r.step, at.metadata()); errors.Is(err, errDiverged) {
		return r.diverged(fmt.Sprintf("%v at step %d", err, r.step))
	} else if err != nil {
		if len(r.checkpoints.list) > 0 {
			return fmt.Errorf("step %d cannot be saved; the checkpoint of step %d is kept, and --resume goes on from there: %w", r.step, r.checkpoints.list[0].Step, err)
		}
		return fmt.Errorf("step %d cannot be saved, and there is no checkpoint before it: %w", r.step, err)
	}
	if err := r.saveEncoder(); err != nil {
		return err
	}
	r.tell(Saved{"checkpoint", r.step, r.checkpoints.list[0].File})
	return nil
}

// diverged is the error of a run that no longer computes with numbers.
func (r *run) diverged(what string) error {
	kept := "there is no checkpoint yet"
	if len(r.checkpoints.list) > 0 {
		kept = fmt.Sprintf("the checkpoint of step %d is kept", r.checkpoints.list[0].Step)
	}
	return &DivergedError{fmt.Errorf("%s; %s; lower lr (it is %.4g) or raise t, and start anew", what, kept, r.recipe.LR)}
}

// saveEncoder writes the query encoder of the step that the newest checkpoint holds.
func (r *run) saveEncoder() error {
	encoder, err := moco.Export(r.recipe, r.state, r.step)
	if err != nil {
		return err
	}
	if r.recipe.Objective == "supervised" { // the head is a classifier: what it tells apart
		classes, err := json.Marshal(r.o.Data.Classes())
		if err != nil {
			return err
		}
		encoder.Metadata["classes"] = string(classes)
	}
	if _, err := r.checkpoints.save(filepath.Join(r.o.Out, moco.EncoderFile), encoder); err != nil {
		return fmt.Errorf("the encoder of step %d cannot be saved; its checkpoint is kept, and --resume goes on from there: %w", r.step, err)
	}
	return nil
}

// recall reads what the log knows of the step that the run stands at, and tells whether that was monitored.
func (r *run) recall() (monitored bool) {
	raw, err := os.ReadFile(filepath.Join(r.o.Out, logFile))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(raw) {
		var e struct {
			Event    string
			Step     int
			Loss     float64
			Accuracy float64
			KNNTop1  float64 `json:"knn_top1"`
		}
		switch {
		case json.Unmarshal(line, &e) != nil || e.Step != r.step: // or a line that a kill cut short
		case e.Event == "step":
			r.lastLoss, r.lastHits = e.Loss, e.Accuracy
		case e.Event == "monitor":
			r.lastKNN, monitored = e.KNNTop1, true
		}
	}
	return monitored
}

// monitor classifies the test set by its neighbours in the training set.
func (r *run) monitor(ctx context.Context, epoch int) error {
	start := time.Now()
	layer := evaluate.Head
	if r.recipe.Objective == "supervised" { // its head has the classes for features
		layer = evaluate.Backbone
	}
	bank, err := r.model.Embed(ctx, r.o.MonitorTrain, layer, nil)
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	queries, err := r.model.Embed(ctx, r.o.MonitorTest, layer, nil)
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	result, err := monitorKNN.Classify(ctx, r.o.Engine, bank, queries)
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	r.lastKNN = result.Top1
	r.tell(Monitor{"monitor", epoch, r.step, result.Top1, result.K, result.T, time.Since(start).Seconds()})
	return nil
}
