package pretrain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"moco"
	"moco/encoder"
)

// rate is how fast a run goes: views and steps, without compilation, the first step of a process,
// which also makes buffers, monitors and checkpoints.
type rate struct {
	warm   bool
	images int
	flops  int64
	spent  time.Duration
}

func (r *rate) add(images int, flops int64, d time.Duration) {
	if r.warm {
		r.images, r.flops, r.spent = r.images+images, r.flops+flops, r.spent+d
	}
	r.warm = true
}

// seconds is how long so many operations take, 0 before there is a figure.
func (r *rate) seconds(flops float64) float64 {
	if r.flops == 0 {
		return 0
	}
	return r.spent.Seconds() * flops / float64(r.flops)
}

// perSecond is the number of images a second so far, 0 before there is a figure.
func (r *rate) perSecond() float64 {
	if r.spent == 0 {
		return 0
	}
	return float64(r.images) / r.spent.Seconds()
}

// epochMean is the mean of an epoch's metrics, over the steps in this process.
type epochMean struct {
	loss, accuracy float64
	steps          int
}

func (m *epochMean) add(s moco.Metrics) {
	m.loss, m.accuracy, m.steps = m.loss+s.Loss, m.accuracy+s.Accuracy, m.steps+1
}

// train is the loop.
func (r *run) train(ctx context.Context) error {
	if err := r.catchUp(ctx); err != nil {
		return r.stopped(ctx, err)
	}
	for r.step < r.last {
		if err := r.one(ctx); err != nil {
			return r.stopped(ctx, err)
		}
		if err := r.after(ctx); err != nil {
			return err
		}
	}
	return r.together(r.saveOnce) // resumed at its end, or a run of no steps
}

// catchUp makes what the run was stopped before, behind its last checkpoint: how consistent the
// keys are, and the monitor; or the monitor before the first step.
func (r *run) catchUp(ctx context.Context) error {
	var told recalled
	err := r.together(func() (err error) {
		told, err = r.recall()
		return err
	})
	if err == nil {
		err = r.fromFirst(&told)
	}
	if err != nil {
		return err
	}
	ended := r.step > 0 && r.step%r.stepsPerEpoch == 0
	if ended && !told.Consistency {
		if err := r.measureKeys(ctx); err != nil {
			return err
		}
	}
	if r.monitor == nil || told.Monitor {
		return nil
	}
	switch {
	case r.step == 0 && r.o.Monitor.Start:
		return r.measure(ctx, 0)
	case ended && r.epoch()%r.o.Monitor.every() == 0, r.step > 0 && r.step >= r.last:
		return r.measure(ctx, r.epoch())
	}
	return nil
}

// measure asks the monitor, which rank 0 has.
func (r *run) measure(ctx context.Context, epoch int) error {
	return r.together(func() error {
		if !r.leads() {
			return nil
		}
		return r.monitor.measure(ctx, epoch)
	})
}

// one is a single step.
func (r *run) one(ctx context.Context) error {
	start := time.Now()
	epoch, inEpoch := r.step/r.stepsPerEpoch, r.step%r.stepsPerEpoch
	kind := r.kind(r.step)
	s := r.steps[kind]
	err := r.together(func() error {
		if ctx.Err() != nil { // the step before was finished
			return ctx.Err()
		}
		return r.loader.Fill(ctx, epoch, inEpoch, s.Batch())
	})
	if err != nil {
		return err
	}
	m, err := s.Run(moco.Progress{Step: r.step, StepsPerEpoch: r.stepsPerEpoch})
	if err != nil {
		return err
	}
	if math.IsNaN(m.Loss) || math.IsInf(m.Loss, 0) {
		return r.alike(r.diverged(fmt.Sprintf("the loss is %v at step %d", m.Loss, r.step+1)))
	}
	r.step++
	r.rate.add(kind.images, s.Cost().FLOPs, time.Since(start))
	r.metrics = m
	r.epochMean.add(m)
	spread := r.spread(s)
	r.events.tell(Step{Step: r.step, Epoch: epoch + 1, Loss: m.Loss, Accuracy: m.Accuracy, LR: m.LR,
		Spread: spread, ImagesPerSecond: r.rate.perSecond(), SecondsLeft: r.rate.seconds(r.workLeft())})
	r.watch.step(r, spread, m)
	return nil
}

// workLeft is the FLOPs of the steps that are left, as if all had whole batches. Views only grow, so
// that the steps of a size lie in one piece, whose end is searched for.
func (r *run) workLeft() (flops float64) {
	for step := r.step; step < r.last; {
		size := r.kind(step).pixels
		steps := sort.Search(r.last-step, func(i int) bool { return r.kind(step+i).pixels != size })
		flops += float64(steps) * float64(r.steps[stepKind{r.recipe.Batch, size}].Cost().FLOPs)
		step += steps
	}
	return flops
}

// after does what is due behind a step: a checkpoint, and at an epoch's end its mean, the
// consistency of the keys, and the monitor.
func (r *run) after(ctx context.Context) error {
	epoch, ended := r.epoch(), r.step%r.stepsPerEpoch == 0
	if r.step == r.last {
		if err := r.together(func() error { return r.checkLast(ctx) }); err != nil {
			return err
		}
	}
	if ended && epoch%max(1, r.o.SaveEvery) == 0 || r.step == r.last || r.step%r.recipe.CheckpointEvery == 0 {
		if err := r.together(r.save); err != nil {
			return err
		}
	}
	if ended {
		if err := r.shareUnreadable(); err != nil {
			return err
		}
		n := float64(r.epochMean.steps)
		r.events.tell(Epoch{Epoch: epoch, Step: r.step, Loss: r.epochMean.loss / n, Accuracy: r.epochMean.accuracy / n,
			ImagesPerSecond: r.rate.perSecond(), BadImages: r.loader.Bad()})
		r.epochMean = epochMean{}
	}
	if ended {
		if err := r.measureKeys(ctx); err != nil {
			return r.stopped(ctx, err)
		}
	}
	if r.monitor != nil && (ended && epoch%r.o.Monitor.every() == 0 || r.step == r.last) {
		if err := r.measure(ctx, epoch); err != nil {
			return r.stopped(ctx, err)
		}
	}
	return nil
}

// checkLast encodes with what the last step has made of the encoder. The loss of a step is that of the
// weights before it, so nothing else has seen the last ones. Where the recipe goes on, features that
// are not finite are a warning: batch norm's running statistics can be behind the weights for some
// steps, and catch up.
func (r *run) checkLast(ctx context.Context) error {
	e, err := r.following(r.state, 2)
	if err != nil {
		return err
	}
	defer e.Close()
	err = e.Check(context.WithoutCancel(ctx)) // an interruption now finds a run that is done
	if !errors.As(err, new(*encoder.FeaturesError)) {
		return err
	}
	if r.step < r.recipe.Epochs.Steps(r.stepsPerEpoch) {
		r.events.tell(Warning{Step: r.step, Message: fmt.Sprintf("%v; go on with the run, or lower lr", err)})
		return nil
	}
	return r.diverged(fmt.Sprintf("%v: at step %d", err, r.step))
}

// measureKeys measures how consistent the keys are, where that is asked for.
func (r *run) measureKeys(ctx context.Context) error {
	if !r.o.Consistency || r.mechanism.Classifier() {
		return nil
	}
	measured, err := r.consistency(ctx)
	if err == nil {
		r.events.tell(measured)
	}
	return err
}

// stopped saves a run that is ending early because it was interrupted; any other error is passed
// on.
func (r *run) stopped(ctx context.Context, err error) error {
	if !isInterrupted(ctx, err) {
		return err
	}
	if err := r.together(r.saveOnce); err != nil {
		return err
	}
	return ErrInterrupted
}

// saved tells whether the newest checkpoint is of the last step.
func (r *run) saved() bool { return r.kept() == r.step && len(r.checkpoints.list) > 0 }

// kept is the step of the newest checkpoint, 0 if there is none.
func (r *run) kept() int {
	if len(r.checkpoints.list) == 0 {
		return 0
	}
	return r.checkpoints.list[0].Step
}

// saveOnce is save, unless the last step has a checkpoint.
func (r *run) saveOnce() error {
	if r.saved() {
		return nil
	}
	return r.save()
}

// save writes a checkpoint, and the encoder as of now. Rank 0 does it for all.
func (r *run) save() error {
	if !r.leads() {
		return nil
	}
	at := position{r.step, *r.recipe, r.fingerprint}
	r.events.sync() // before latest.json says that the run has come so far
	if err := r.makeFolder(r.folder.checkpoints()); err != nil {
		return &SaveError{What: fmt.Sprintf("step %d", r.step), Kept: r.kept(), Err: err}
	}
	if err := r.checkpoints.write(r.state, r.step, at.metadata()); errors.Is(err, errDiverged) {
		return r.diverged(fmt.Sprintf("%v at step %d", err, r.step))
	} else if err != nil {
		return &SaveError{What: fmt.Sprintf("step %d", r.step), Kept: r.kept(), Err: err}
	}
	if err := r.saveEncoder(); err != nil {
		return err
	}
	r.events.tell(Saved{Step: r.step, File: r.checkpoints.list[0].File})
	return nil
}

// diverged is the error of a run that no longer computes with numbers.
func (r *run) diverged(what string) error {
	kept := "there is no checkpoint yet"
	if len(r.checkpoints.list) > 0 {
		kept = fmt.Sprintf("the checkpoint of step %d is kept", r.kept())
	}
	return &DivergedError{fmt.Errorf("%s; %s; lower lr (it is %.4g) or raise t, and start anew", what, kept, r.recipe.LR)}
}

// saveEncoder writes the query encoder of the step that the newest checkpoint holds.
func (r *run) saveEncoder() error {
	f, err := encoder.Export(r.recipe, r.state, r.step)
	if err != nil {
		return err
	}
	if r.mechanism.Classifier() { // what the head tells apart
		classes, err := json.Marshal(r.o.Data.Classes())
		if err != nil {
			return err
		}
		f.Metadata["classes"] = string(classes)
	}
	if _, err := r.checkpoints.save(r.folder.encoder(), f); err != nil {
		return &SaveError{What: fmt.Sprintf("the encoder of step %d", r.step), Kept: r.kept(), Err: err}
	}
	return nil
}

// recalled says what the log holds of the step that the run stands at.
type recalled struct{ Monitor, Consistency bool }

// recall reads what the log knows of the step that the run stands at.
func (r *run) recall() (told recalled, err error) {
	if !r.leads() {
		return told, nil
	}
	for e, err := range ReadLog(r.folder.log()) {
		if err != nil {
			return told, err
		}
		switch e := e.(type) {
		case *Step:
			if e.Step == r.step {
				r.metrics.Loss, r.metrics.Accuracy = e.Loss, e.Accuracy
			}
		case *Consistency:
			told.Consistency = told.Consistency || e.Step == r.step
		case *Monitor:
			if e.Step == r.step && r.monitor != nil {
				r.monitor.top1, told.Monitor = e.KNNTop1, true
			}
		}
	}
	return told, nil
}
