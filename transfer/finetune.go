// Package transfer measures what an encoder is worth on images that it was not trained on. It
// fine-tunes the encoder with labels, and compares encoders from different kinds of training (He et
// al. 2020, Sec. 4).
package transfer

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
)

// Tuning says how an encoder is fine-tuned: all its weights are trained with labels, below a new
// classifier.
type Tuning struct {
	Start *encoder.Encoder // nil: from scratch, random weights
	// Like gives Encoder, Views and Precision of what is trained. With Start, they are Start's.
	Like     moco.Recipe
	Settings []string   // applied to the recipe (TuningRecipe), key=value
	Labels   data.Share // of the training images
	// Seeds is the number of runs. Each run draws its own share of the labels, head, order and
	// views. From scratch it draws its own weights too.
	Seeds int

	Train, Test *data.Set // labelled
	TrainPath   string
	Out         string // gets the folder seed-N of each run

	Engine  engine.Engine
	Workers int
	Watch   TuningWatch
	Log     *slog.Logger
}

// TuningWatch is told about the seeds of a fine-tuning. Its parts have no arm.
type TuningWatch = job.Watch[Part, Tuned]

// Tuned is the outcome of one seed. It lies in the seed's folder. A seed that has one is not
// repeated.
type Tuned struct {
	Seed   int         `json:"seed"`
	Labels string      `json:"labels"` // the share
	Images int         `json:"images"` // training images
	Epochs moco.Epochs `json:"epochs"`
	Steps  int         `json:"steps"`
	evaluate.Score
	TestImages      int     `json:"test_images"`
	Bad             int     `json:"bad_images"`
	Loss            float64 `json:"loss"`           // of the last step
	TrainAccuracy   float64 `json:"train_accuracy"` // of the last step
	ImagesPerSecond float64 `json:"images_per_second"`
	Seconds         float64 `json:"seconds"`

	// The result holds for this recipe and for images with these fingerprints.
	Recipe string `json:"recipe"`
	Data   string `json:"data"`
	Test   string `json:"test"`
}

// Identity is the recipe and the images that the result holds for.
func (t Tuned) Identity() job.Identity {
	return job.Identity{
		{Name: "recipe", Value: t.Recipe}, {Name: "images", Value: t.Data}, {Name: "test images", Value: t.Test},
	}
}

// TuningRecipe is the recipe for learning from a number of labelled images, by an encoder like the
// one of like.
//
// Views are crops and flips only, the policy's own. The batch is small, because few labels make few
// steps. The number of epochs falls with the root of the number of images, so fewer labels are seen
// more often in less time: 10 for 50,000 images, 32 for 5,000, 100 for 500. Rate and decay are the
// same from an encoder and from scratch: with them, both did best or within a point of it
// (docs/design.md).
// Transformers learn by AdamW, with MoCo v3's rate and decay and a warm-up (Chen, Xie and He 2021).
func TuningRecipe(like moco.Recipe, images int) moco.Recipe {
	r := moco.Default()
	r.Encoder, r.Views, r.Precision = like.Encoder, like.Views, like.Precision
	r = r.Supervised()
	r.Views.CropOnly, r.Views.CropMin, r.BNSplits = true, 0, 1
	r.Batch = min(64, images)
	r.Epochs = moco.Epochs(max(10, math.Round(10*math.Sqrt(50000/float64(images)))))
	r.LR, r.WeightDecay = 0.05, 5e-4
	r.Encoder = r.Encoder.Unfrozen()
	if r.Optimizer = r.Encoder.Optimizer(); r.Optimizer == "adamw" {
		r.LR, r.WeightDecay, r.Warmup = 5e-4, 0.05, float64(r.Epochs)/20
	}
	return r
}

// layerDecay is how the rates of a pretrained transformer fall from layer to layer when it is
// fine-tuned, as published transformers are (Bao et al. 2022).
const layerDecay = 0.75

// Finetune fine-tunes with each seed that is not done yet, and classifies the test images with the
// result. When the context ends, Finetune saves the run in progress and returns the finished seeds
// with pretrain.ErrInterrupted. A seed's folder with another run is a *pretrain.OtherError, one in
// which another process works a *pretrain.LockedError.
func Finetune(ctx context.Context, t Tuning) ([]Tuned, error) {
	list := job.List[Part, Tuned]{Watch: t.Watch}
	for seed := range t.Seeds {
		p := Part{Seed: seed, What: labelled(t.Labels)}
		j, err := t.job(p)
		if err != nil {
			return nil, err
		}
		list.Tasks = append(list.Tasks, job.Task[Part, Tuned]{Part: p, Job: j})
	}
	all, err := list.Do(ctx)
	return all, stopped(ctx, err)
}

// stopped is the error of work that the end of its context stopped.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return pretrain.ErrInterrupted
	}
	return err
}

// share is the labelled images of a seed. The same seed gives the same images, whatever is trained.
func (t *Tuning) share(seed int) (*data.Set, error) {
	classes := t.Train.Classes()
	if len(classes) < 2 {
		return nil, fmt.Errorf("fine-tuning needs labelled images of at least 2 classes, and %s holds none: give class folders",
			t.TrainPath)
	}
	if t.Labels == data.All {
		return t.Train, nil
	}
	labels := make([]int, t.Train.Len())
	for i := range labels {
		labels[i] = t.Train.Label(i)
	}
	in, _, err := t.Labels.Choose(labels, classes, uint64(seed))
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	return t.Train.Subset(in)
}

// recipe is the recipe of a seed on a number of images.
func (t *Tuning) recipe(seed, images int) (moco.Recipe, error) {
	like := t.Like
	if t.Start != nil {
		like = t.Start.Recipe
	}
	for _, setting := range t.Settings {
		if err := checkSetting(setting); err != nil {
			return moco.Recipe{}, &recipe.Error{Err: err}
		}
	}
	like.Views.TrainSizes = nil // they are of pretraining, and an encoder's file does not tell them
	r := TuningRecipe(like, images)
	r.Encoder.Dim, r.Seed = len(t.Train.Classes()), uint64(seed)
	if t.Start != nil {
		r.Start = t.Start.SHA256
		if r.Optimizer == "adamw" {
			r.LayerDecay = layerDecay
		}
	}
	epochs := r.Epochs
	r, err := recipe.Change(r, t.Settings)
	if !slices.ContainsFunc(t.Settings, func(s string) bool { return strings.HasPrefix(s, "warmup=") }) {
		r.Warmup *= float64(r.Epochs / epochs) // the same share of a length that was set
	}
	if err == nil && t.Start != nil {
		if err = t.Start.CheckStart(&r); err != nil {
			err = &recipe.Error{Err: err}
		}
	}
	return r, err
}

// checkSetting refuses a setting of a key that fine-tuning itself sets.
func checkSetting(setting string) error {
	values := map[string]string{"seed": "0, 1, ...", "objective": "that of labels", "start": "the encoder"}
	key, _, _ := strings.Cut(setting, "=")
	if to, ok := values[key]; ok {
		return &job.SetError{Setting: setting, By: "fine-tuning", Values: to}
	}
	return nil
}

// Check returns, before any training, an error if something cannot work.
func (t *Tuning) Check() error {
	set, err := t.share(0)
	if err != nil {
		return err
	}
	_, err = t.recipe(0, set.Len())
	return err
}

// job makes a job of the fine-tuning of a part's seed.
func (t *Tuning) job(p Part) (j job.Job[Tuned], err error) {
	set, err := t.share(p.Seed)
	if err != nil {
		return j, err
	}
	r, err := t.recipe(p.Seed, set.Len())
	if err != nil {
		return j, err
	}
	blank := Tuned{Seed: p.Seed, Labels: t.Labels.String(), Images: set.Len(), Epochs: r.Epochs,
		Recipe: recipe.Write(r), Data: set.Fingerprint(), Test: t.Test.Fingerprint()}
	folder := filepath.Join(t.Out, fmt.Sprint("seed-", p.Seed))
	return job.Job[Tuned]{
		Folder: folder, Identity: blank.Identity(),
		Begun: func() (bool, error) { return pretrain.Begun(folder, r.Epochs) },
		Work: func(ctx context.Context, resume bool) (Tuned, error) {
			start, result := time.Now(), blank
			done, err := pretrain.Run(ctx, pretrain.Options{
				Recipe: r, Start: t.Start, Data: set, DataPath: t.TrainPath, Out: folder, Resume: resume,
				SaveEvery: max(1, stepsASave/max(1, set.Len()/r.Batch)),
				Engine:    t.Engine, Workers: t.Workers, Log: t.Log, Events: t.Watch.Tell(p)})
			if err == nil {
				err = t.score(ctx, done, &result)
			}
			result.Seconds = time.Since(start).Seconds()
			return result, err
		},
	}, nil
}

// stepsASave is about the number of steps between two checkpoints. Epochs of few images are too
// short for a checkpoint each.
const stepsASave = 300

// score completes a result with figures of the run, and with its classifier's accuracy on the test
// images.
func (t *Tuning) score(ctx context.Context, done *pretrain.Done, r *Tuned) error {
	model, err := encoder.OpenWith(ctx, done.Encoder, encoder.Options{Engine: t.Engine, Batch: embeddingBatch})
	if err != nil {
		return err
	}
	defer model.Close()
	logits, err := evaluate.Features(ctx, model, t.Test, encoder.Head, nil)
	if err != nil {
		return err
	}
	if r.Score, err = evaluate.Classified(model.Classes, logits); err != nil {
		return err
	}
	r.Steps, r.Loss, r.TrainAccuracy, r.ImagesPerSecond = done.Step, done.Loss, 100*done.Accuracy, done.ImagesPerSecond
	r.TestImages, r.Bad = logits.Len(), done.BadImages+logits.Bad
	return nil
}

// Accuracy summarises the top-1 accuracy over seeds, in percent.
func Accuracy(runs []Tuned) evaluate.Summary {
	var values []float64
	for _, r := range runs {
		values = append(values, r.Top1)
	}
	return evaluate.Summarise(values)
}
