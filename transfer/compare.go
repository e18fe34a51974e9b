package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
	"moco/tensor"
)

// Compare does the parts of the comparison that are not done yet, seed by seed, so that a
// comparison that stops early has the first seed of every arm. After each arm it writes
// results.json and table.md anew. When the context ends, Compare saves the run in progress and
// returns the outcomes so far with pretrain.ErrInterrupted. A folder with another comparison's part
// is a *pretrain.OtherError, one in which another process works a *pretrain.LockedError, and one
// that holds a file of a result's name and no arm a *job.OccupiedError.
func Compare(ctx context.Context, c Comparison) ([]Outcome, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	ctx, release, err := job.Hold(ctx, c.Out)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := job.Free(c.Out, Arms(), Files); err != nil {
		return nil, err
	}
	r := comparing{Comparison: &c}
	for _, arm := range c.Arms {
		r.of += c.Seeds * (1 + len(c.Labels))
		if Pretrains(arm, c.Model != nil) {
			r.of += c.Seeds
		}
	}
	var all []Outcome
	for seed := range c.Seeds {
		for _, arm := range c.Arms {
			one, err := r.arm(ctx, arm, seed)
			if err == nil {
				all = append(all, *one)
				err = c.write(all)
			}
			if err != nil {
				return all, stopped(ctx, err)
			}
		}
	}
	return all, nil
}

// comparing is a comparison in progress.
type comparing struct {
	*Comparison
	number, of int // parts
}

// begin reports that a part begins.
func (c *comparing) begin(p Part, before bool) job.Place {
	c.number++
	at := job.Place{Number: c.number, Of: c.of, Before: before}
	c.Watch.Begin(p, at)
	return at
}

// do runs a part's job, or takes the result from its folder.
func do[T job.Result](ctx context.Context, c *comparing, p Part, j job.Job[T], top1 func(T) float64) (T, error) {
	state, result, err := j.State()
	if err == nil {
		at := c.begin(p, state == job.Done)
		if result, err = j.Do(ctx); err == nil {
			c.Watch.End(p, at, top1(result))
			return result, nil
		}
	}
	return result, fmt.Errorf("%v: %w", p, err)
}

// arm pretrains and measures one arm with one seed.
func (c *comparing) arm(ctx context.Context, arm string, seed int) (*Outcome, error) {
	start, err := c.encoder(ctx, arm, seed)
	if err != nil {
		return nil, err
	}
	if start != nil && start != c.Model {
		defer start.Close()
	}
	one := &Outcome{Arm: arm, Seed: seed}
	p := Part{Arm: arm, Seed: seed, What: linear}
	probe, err := c.linear(p, start)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", p, err)
	}
	if one.Linear, err = do(ctx, c, p, probe, func(l Linear) float64 { return l.Top1 }); err != nil {
		return nil, err
	}
	for _, share := range c.Labels {
		p.What = labelled(share)
		tuning, err := c.tuning(arm, share, start).job(p)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", p, err)
		}
		tuned, err := do(ctx, c, p, tuning, func(t Tuned) float64 { return t.Top1 })
		if err != nil {
			return nil, err
		}
		one.Tuned = append(one.Tuned, tuned)
	}
	return one, nil
}

// tuning is the fine-tuning of an arm with one of the shares, from an encoder or, if that is nil,
// from scratch.
func (c *Comparison) tuning(arm string, share data.Share, start *encoder.Encoder) *Tuning {
	return &Tuning{
		Start: start, Like: c.Recipe, Settings: c.TuningSettings, Labels: share,
		Train: c.Train, Test: c.Test, TrainPath: c.TrainPath, Out: filepath.Join(c.Out, arm, labelled(share)),
		Engine: c.Engine, Workers: c.Workers, Log: c.Log, Watch: TuningWatch{Events: c.Watch.Events},
	}
}

func (c *Comparison) folder(p Part) string {
	return filepath.Join(c.Out, p.Arm, p.What, fmt.Sprint("seed-", p.Seed))
}

// Pretrains tells whether an arm needs pretraining. A model that is given stands for MoCo's.
func Pretrains(arm string, model bool) bool { return arm == Supervised || arm == MoCo && !model }

// encoder is the start of an arm: the model that is given, a new pretrained one, or nil.
func (c *comparing) encoder(ctx context.Context, arm string, seed int) (*encoder.Encoder, error) {
	switch {
	case Pretrains(arm, c.Model != nil):
		p := Part{Arm: arm, Seed: seed, What: pretraining}
		start, err := c.pretrain(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", p, err)
		}
		return start, nil
	case arm == MoCo:
		return c.Model, nil
	}
	return nil, nil
}

// pretrain runs an arm's pretraining, or continues it, and opens the encoder. If the run is done,
// it takes no step.
func (c *comparing) pretrain(ctx context.Context, p Part) (*encoder.Encoder, error) {
	r, err := c.recipe(p.Arm, p.Seed)
	if err != nil {
		return nil, err
	}
	folder := c.folder(p)
	resume, err := pretrain.Begun(folder, r.Epochs)
	if err != nil {
		return nil, err
	}
	c.begin(p, false)
	done, err := pretrain.Run(ctx, pretrain.Options{
		Recipe: r, Data: c.Pretraining, DataPath: c.PretrainingPath, Out: folder, Resume: resume,
		Engine: c.Engine, Workers: c.Workers, Log: c.Log, Events: c.Watch.Tell(p)})
	if err != nil {
		return nil, err
	}
	return encoder.OpenWith(ctx, done.Encoder, encoder.Options{Engine: c.Engine, Batch: 1})
}

// embeddingBatch is the number of images that are encoded at once for classifiers.
const embeddingBatch = 256

// linear makes a job of training linear classifiers on features, of an encoder or, if that is nil,
// of random weights.
func (c *Comparison) linear(p Part, start *encoder.Encoder) (j job.Job[Linear], err error) {
	learned, err := c.recipe(p.Arm, p.Seed)
	if err != nil {
		return j, err
	}
	if start != nil {
		learned = start.Recipe
		learned.Start = start.SHA256
	}
	l := c.Linear
	l.Seed = uint64(p.Seed)
	settings, err := json.Marshal(l)
	if err != nil {
		return j, err
	}
	blank := Linear{Holds: strings.Join([]string{
		recipe.Write(learned), string(settings), c.Train.Fingerprint(), c.Test.Fingerprint()}, "\n")}
	return job.Job[Linear]{
		Folder: c.folder(p), Identity: blank.Identity(),
		Work: func(ctx context.Context, _ bool) (Linear, error) {
			train, test, err := c.features(ctx, learned, start)
			if err != nil {
				return blank, err
			}
			result, err := l.Classify(ctx, c.Engine, train, test, func(at evaluate.Progress) {
				if c.Probing != nil {
					c.Probing(p, at)
				}
			})
			if err != nil {
				return blank, err
			}
			return Linear{LinearResult: *result, Holds: blank.Holds}, nil
		},
	}, nil
}

// features are those of the training and the test images, by an encoder like start or, if that is
// nil, by random weights.
func (c *Comparison) features(
	ctx context.Context, learned moco.Recipe, start *encoder.Encoder,
) (train, test *evaluate.Embedded, err error) {
	var trained map[string]*tensor.Tensor // nil: random weights
	if start != nil {
		if trained, err = start.Start(&learned); err != nil {
			return nil, nil, err
		}
	}
	model, err := encoder.Untrained(learned, trained, encoder.Options{Engine: c.Engine, Batch: embeddingBatch})
	if err != nil {
		return nil, nil, err
	}
	defer model.Close()
	if train, err = evaluate.Features(ctx, model, c.Train, encoder.Backbone, nil); err != nil {
		return nil, nil, err
	}
	test, err = evaluate.Features(ctx, model, c.Test, encoder.Backbone, nil)
	return train, test, err
}
