// Package pretrain runs a recipe: the loop over batches with its folder, checkpoints, monitor and log.
//
// A run's folder holds config.yaml (enough to repeat it), log.jsonl (every event, appended), checkpoints/step-N.safetensors with
// latest.json, and encoder.safetensors, the query encoder as of the last checkpoint. A run that was stopped anywhere goes on
// from its last checkpoint with the same bits as if nothing had happened.
package pretrain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"moco"
	"moco/augment"
	"moco/data"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/loader"
	"moco/weights"
)

// ErrInterrupted is what Run returns when its context ended: the step was finished, and a checkpoint written.
var ErrInterrupted = errors.New("interrupted; the run is saved and --resume goes on with it")

// Options say what to run.
type Options struct {
	Recipe   moco.Recipe
	Data     *data.Set
	DataPath string // for config.yaml
	Out      string // the run's folder
	Resume   bool   // go on with the run in Out
	Steps    int    // stop after so many steps; 0: at the end of the recipe. The schedule stays the recipe's.

	MonitorTrain, MonitorTest *data.Set // labelled sets for the kNN monitor; both or none
	MonitorStart              bool      // also before the first step

	Engine      engine.Engine
	Workers     int          // goroutines that decode and draw views
	MemoryLimit int64        // bytes that the run may plan for; 0: what the machine has free
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
	began := time.Now()
	r := &run{o: o, recipe: &o.Recipe, programs: map[int]engine.Program{}, warned: map[string]bool{}, checkpoints: newCheckpoints(o.Out)}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	defer r.close()
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
		filepath.Join(r.checkpoints.dir, newest.File), newest.SHA256, filepath.Join(o.Out, evaluate.EncoderFile), interrupted}
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
	if batch > n {
		return &RecipeError{fmt.Errorf("batch: %d is more than the %d images there are; use --batch %d or less", batch, n, n)}
	}
	policy, err := augment.Named(r.recipe.Views.Policy, r.recipe.Views.Size)
	if err != nil {
		return err
	}
	r.loader = loader.New(o.Data, policy, loader.Options{Batch: batch, DropLast: r.recipe.DropLast, Seed: r.recipe.Seed, Workers: o.Workers, MaxBad: r.recipe.MaxBad, Log: o.Log})
	r.stepsPerEpoch = r.loader.StepsPerEpoch()
	r.steps = r.stepsPerEpoch * r.recipe.Epochs
	if o.Steps > 0 {
		r.steps = min(r.steps, o.Steps)
	}
	r.state = o.Engine.NewState()
	for _, size := range []int{batch, r.loader.BatchSize(r.stepsPerEpoch - 1)} {
		if size%r.recipe.BNSplits != 0 {
			return fmt.Errorf("drop_last: the last batch of an epoch has %d images, which cannot be cut into %d equal parts (bn_splits); set drop_last to true", size, r.recipe.BNSplits)
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

func (r *run) compile(s engine.State, batch int) (engine.Program, error) {
	g, err := moco.Step(r.recipe, batch)
	if err != nil {
		return nil, err
	}
	return r.o.Engine.Compile(g, s)
}

// checkMemory refuses a run that would not fit, with the batch that would.
func (r *run) checkMemory() error {
	limit := r.o.MemoryLimit
	if limit == 0 {
		limit = FreeMemory()
	}
	need := r.programs[r.recipe.Batch].Cost().PeakBytes()
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
		if p.Cost().PeakBytes() <= limit {
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
	at := position{recipe: *r.recipe, fingerprint: r.fingerprint}
	if o.Resume {
		if err := r.resume(at); err != nil {
			return err
		}
	} else {
		if entries, err := os.ReadDir(o.Out); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is not empty; give another --out, or --resume to go on with the run there", o.Out)
		}
		if err := os.MkdirAll(r.checkpoints.dir, 0o755); err != nil {
			return fmt.Errorf("make the run's folder: %w", err)
		}
		config := fmt.Sprintf("# Repeat with: moco train --recipe config.yaml --data %q\n# data: %d images, fingerprint %s\n%s", o.DataPath, o.Data.Len(), at.fingerprint, WriteRecipe(*r.recipe))
		if _, err := weights.SaveFunc(filepath.Join(o.Out, "config.yaml"), func(w io.Writer) error {
			_, err := io.WriteString(w, config)
			return err
		}); err != nil {
			return err
		}
		if err := moco.Initialise(r.recipe, r.state); err != nil {
			return err
		}
	}
	var err error
	if r.log, err = openLog(filepath.Join(o.Out, "log.jsonl")); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	parameters := 0
	for _, p := range r.recipe.Encoder.Parameters() {
		parameters += p.Shape.Elements()
	}
	cost := r.programs[r.recipe.Batch].Cost()
	r.tell(Start{"start", o.Out, o.Engine.Name(), o.Data.Len(), r.recipe.Encoder.Arch, parameters, r.recipe.Batch, r.recipe.Queue, r.stepsPerEpoch,
		r.steps, r.step, r.recipe.ChanceLoss(), cost.FLOPs, cost.PeakBytes()})
	for _, w := range r.pending {
		r.tell(w)
	}
	if r.recipe.Queue > o.Data.Len() {
		r.warn("queue", fmt.Sprintf("the queue of %d keys is longer than the data set of %d images: most queries will meet older views of their own image as negatives; use --set queue=%d or less, or mask_same_image=true", r.recipe.Queue, o.Data.Len(), o.Data.Len()))
	}
	return nil
}

// resume loads the newest checkpoint that is whole and holds it to the run that was asked for.
func (r *run) resume(want position) error {
	f, err := r.checkpoints.load(func(file string, err error) {
		r.pending = append(r.pending, Warning{"warning", 0, fmt.Sprintf("checkpoint %s is damaged (%v); going back to the one before it", file, err)})
	})
	if err != nil {
		return err
	}
	at, err := readPosition(f)
	if err != nil {
		return err
	}
	if d := differences(at.recipe, want.recipe); len(d) > 0 {
		return fmt.Errorf("resume: the recipe is not the run's: %s; start anew in another folder", d[0])
	}
	if at.fingerprint != want.fingerprint {
		return fmt.Errorf("resume: the data are not those that the run began with (%s has another fingerprint); start anew in another folder", r.o.DataPath)
	}
	r.step = at.step
	return restore(f, r.state)
}

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
	if r.step == 0 && r.o.MonitorStart {
		if err := r.monitor(ctx, 0); err != nil {
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
		if ended || r.step == r.steps || r.step%r.recipe.CheckpointEvery == 0 {
			if err := r.save(); err != nil {
				return err
			}
		}
		if ended {
			n := float64(r.epochSteps)
			r.tell(Epoch{"epoch", epoch + 1, r.step, r.epochLoss / n, r.epochHits / n, r.rate(), r.loader.Bad()})
			r.epochLoss, r.epochHits, r.epochSteps = 0, 0, 0
		}
		if r.model != nil && (ended || r.step == r.steps) {
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

// one is a single step.
func (r *run) one(ctx context.Context, epoch, inEpoch int) error {
	start := time.Now()
	n := r.loader.BatchSize(inEpoch)
	p := r.programs[n]
	b := loader.Batch{X1: p.Input("x1").Float32s(), X2: p.Input("x2").Float32s(), Shuffle: p.Input("shuffle").Int32s(), Unshuffle: p.Input("unshuffle").Int32s()}
	if r.recipe.MaskSameImage {
		b.IDs = p.Input("ids").Int32s()
	}
	if err := r.loader.Fill(ctx, epoch, inEpoch, b); err != nil {
		return err
	}
	lr := r.recipe.Rate(float64(r.step) / float64(r.stepsPerEpoch))
	p.Input("lr").Float32s()[0] = float32(lr)
	if err := p.Run(); err != nil {
		return err
	}
	loss := float64(p.Output("loss").Float32s()[0])
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		kept := "there is no checkpoint yet"
		if len(r.checkpoints.list) > 0 {
			kept = "the checkpoint of step " + fmt.Sprint(r.checkpoints.list[0].Step) + " is kept"
		}
		return fmt.Errorf("the loss is %v at step %d; %s; lower lr (it is %.4g) or raise t, and start anew", loss, r.step+1, kept, lr)
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
	if r.step%50 == 0 {
		if q := p.Output("q"); q.Shape[0] > 1 {
			if spread := moco.Spread(q.Float32s(), dim); spread < 0.1/math.Sqrt(float64(dim)) {
				r.warn("collapse", fmt.Sprintf("the features have collapsed: their standard deviation is %.2g, where %.2g is what a sphere gives; lower lr, or raise m", spread, 1/math.Sqrt(float64(dim))))
			}
		}
	}
	turnover := 2 * (r.recipe.Queue + r.recipe.Batch - 1) / r.recipe.Batch
	if r.step < turnover || math.Abs(loss-r.recipe.ChanceLoss()) > 0.01*r.recipe.ChanceLoss() {
		r.chanceSteps = 0
		return
	}
	if r.chanceSteps++; r.chanceSteps == 100 {
		r.warn("chance", fmt.Sprintf("for 100 steps the loss has been within 1%% of chance (%.3f): the encoder tells nothing apart; raise lr, lower t, or train longer", r.recipe.ChanceLoss()))
	}
}

// save writes a checkpoint, and the encoder as of now.
func (r *run) save() error {
	at := position{r.step, *r.recipe, r.fingerprint}
	if err := r.checkpoints.write(r.state, r.step, at.metadata()); err != nil {
		return r.cannotSave(err)
	}
	encoder, err := evaluate.Export(r.recipe, r.state, r.step)
	if err != nil {
		return err
	}
	if _, err := r.checkpoints.save(filepath.Join(r.o.Out, evaluate.EncoderFile), encoder); err != nil {
		return r.cannotSave(err)
	}
	r.tell(Saved{"checkpoint", r.step, r.checkpoints.list[0].File})
	return nil
}

func (r *run) cannotSave(err error) error {
	if len(r.checkpoints.list) > 0 {
		return fmt.Errorf("step %d cannot be saved; the checkpoint of step %d is kept, and --resume goes on from there: %w", r.step, r.checkpoints.list[0].Step, err)
	}
	return fmt.Errorf("step %d cannot be saved, and there is no checkpoint before it: %w", r.step, err)
}

// monitor classifies the test set by its neighbours in the training set.
func (r *run) monitor(ctx context.Context, epoch int) error {
	start := time.Now()
	bank, err := r.model.Embed(ctx, r.o.MonitorTrain, evaluate.Head, nil)
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	queries, err := r.model.Embed(ctx, r.o.MonitorTest, evaluate.Head, nil)
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
