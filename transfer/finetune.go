// Package transfer asks what an encoder is worth where it was not trained: it trains on from it with labels, and sets the ways to come by an
// encoder side by side (He et al. 2020, Sec. 4).
package transfer

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
	"strings"
	"time"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/pretrain"
	"moco/recipe"
)

// Tuning says how an encoder is fine-tuned: all its weights are trained with labels, from where they are, below a new classifier.
type Tuning struct {
	Start    *encoder.Encoder // nil: from scratch, random weights
	Like     moco.Recipe      // its Encoder, Views and Precision are what is trained; those of Start if there is one
	Settings []string         // change the recipe (TuningRecipe): key=value
	Labels   data.Share       // of the training images
	Seeds    int              // runs: each draws its own share of the labels, head, order and views, and from scratch its own weights

	Train, Test *data.Set // labelled
	TrainPath   string
	Out         string // gets a run's folder seed-N for each seed

	Engine  engine.Engine
	Workers int
	Started func(seed int)                // of a run that is not done yet; may be nil
	Events  func(seed int, e event.Event) // may be nil
	Ended   func(Tuned)                   // a seed is done, or was before; may be nil
	Log     *slog.Logger
}

// Tuned is what became of one seed; it lies in the run's folder, and a seed that has it is not done again.
type Tuned struct {
	Seed   int    `json:"seed"`
	Labels string `json:"labels"` // the share
	Images int    `json:"images"` // that were learned from
	Epochs int    `json:"epochs"`
	Steps  int    `json:"steps"`
	evaluate.Score
	TestImages      int     `json:"test_images"`
	Bad             int     `json:"bad_images"`
	Loss            float64 `json:"loss"`           // of the last step
	TrainAccuracy   float64 `json:"train_accuracy"` // of the last step
	ImagesPerSecond float64 `json:"images_per_second"`
	Seconds         float64 `json:"seconds"`

	Recipe string `json:"recipe"` // and the fingerprints of the images: what the result holds for
	Data   string `json:"data"`
	Test   string `json:"test"`
}

// TuningRecipe is how a number of labelled images is learned from, by an encoder as that of like. Labels are learned with crops and flips only; the batch is small,
// because few labels make few steps. The number of epochs falls with the root of the number of images, so that fewer labels are
// seen more often in less time: 10 for 50,000 images, 32 for 5,000, 100 for 500. Rate and decay are the same from an encoder and from scratch, and
// both did best with them, or within a point of it (docs/design.md).
func TuningRecipe(like moco.Recipe, images int) moco.Recipe {
	r := moco.Default()
	r.Objective, r.Encoder, r.Views, r.Precision = "supervised", like.Encoder, like.Views, like.Precision
	r.Encoder.Head, r.Views.CropOnly, r.BNSplits = "linear", true, 1
	r.Batch = min(64, images)
	r.Epochs = max(10, int(math.Round(10*math.Sqrt(50000/float64(images)))))
	r.LR, r.WeightDecay = 0.05, 5e-4
	return r
}

// Finetune fine-tunes with each seed, from where an earlier call stopped, and classifies the test images with the result. When the context ends, the run in
// progress is saved, and the seeds that are done are returned with pretrain.ErrInterrupted.
func Finetune(ctx context.Context, t Tuning) ([]Tuned, error) {
	var all []Tuned
	for seed := range t.Seeds {
		one, err := t.one(ctx, seed)
		if err != nil && ctx.Err() != nil {
			err = pretrain.ErrInterrupted
		}
		if err != nil {
			return all, err
		}
		all = append(all, *one)
		if t.Ended != nil {
			t.Ended(*one)
		}
	}
	return all, nil
}

// share is the labelled images of a seed. The same seed gives the same, whatever is trained.
func (t *Tuning) share(seed int) (*data.Set, error) {
	classes := t.Train.Classes()
	if len(classes) < 2 {
		return nil, fmt.Errorf("fine-tuning needs labelled images of at least 2 classes, and %s holds none: give class folders", t.TrainPath)
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

// recipe is that of a seed on so many images.
func (t *Tuning) recipe(seed, images int) (moco.Recipe, error) {
	like := t.Like
	if t.Start != nil {
		like = t.Start.Recipe
	}
	for _, setting := range t.Settings {
		switch key, _, _ := strings.Cut(setting, "="); key {
		case "seed":
			return moco.Recipe{}, &recipe.Error{Err: fmt.Errorf("--set %s: the runs have the seeds 0, 1, ...; say how many with --seeds", setting)}
		case "objective", "start":
			return moco.Recipe{}, &recipe.Error{Err: fmt.Errorf("--set %s: fine-tuning says itself what the %s is", setting, key)}
		}
	}
	r := TuningRecipe(like, images)
	r.Encoder.Dim, r.Seed = len(t.Train.Classes()), uint64(seed)
	if t.Start != nil {
		r.Start = t.Start.SHA256
	}
	r, err := recipe.Change(r, t.Settings)
	if err == nil && t.Start != nil {
		if err = t.Start.CheckStart(&r); err != nil {
			err = &recipe.Error{Err: err}
		}
	}
	return r, err
}

// Check says before anything is trained what cannot be.
func (t *Tuning) Check() error {
	set, err := t.share(0)
	if err != nil {
		return err
	}
	_, err = t.recipe(0, set.Len())
	return err
}

// stepsASave is about how many steps lie between two checkpoints: epochs of few images are over in no time.
const stepsASave = 300

// one fine-tunes with a seed, unless that is done.
func (t *Tuning) one(ctx context.Context, seed int) (*Tuned, error) {
	set, err := t.share(seed)
	if err != nil {
		return nil, err
	}
	learned, err := t.recipe(seed, set.Len())
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(t.Out, fmt.Sprint("seed-", seed))
	r := &Tuned{Seed: seed, Labels: t.Labels.String(), Images: set.Len(), Epochs: learned.Epochs,
		Recipe: recipe.Write(learned), Data: set.Fingerprint(), Test: t.Test.Fingerprint()}
	var old Tuned
	if done, err := readResult(folder, &old); err != nil {
		return nil, err
	} else if done && old.Recipe == r.Recipe && old.Data == r.Data && old.Test == r.Test {
		return &old, nil
	} else if done {
		return nil, fmt.Errorf("%s holds a run of another recipe or other images; give another --out, or remove that folder to run it anew", folder)
	}
	began, resume := pretrain.Began(folder)
	if resume && began.Epochs != learned.Epochs {
		return nil, fmt.Errorf("%s began as a run of %d epochs, not %d; give another --out, or remove that folder to run it anew", folder, began.Epochs, learned.Epochs)
	}
	if t.Started != nil {
		t.Started(seed)
	}
	start := time.Now()
	done, err := pretrain.Run(ctx, pretrain.Options{Recipe: learned, Start: t.Start, Data: set, DataPath: t.TrainPath, Out: folder, Resume: resume,
		SaveEvery: max(1, stepsASave/max(1, set.Len()/learned.Batch)), Engine: t.Engine, Workers: t.Workers, Log: t.Log,
		Events: func(e event.Event) {
			if t.Events != nil {
				t.Events(seed, e)
			}
		}})
	if err != nil {
		return nil, err
	}
	r.Steps, r.Bad, r.Loss, r.TrainAccuracy, r.ImagesPerSecond = done.Step, done.BadImages, done.Loss, 100*done.Accuracy, done.ImagesPerSecond
	model, err := encoder.OpenWith(done.Encoder, encoder.Options{Engine: t.Engine, Batch: 256})
	if err != nil {
		return nil, err
	}
	defer model.Close()
	logits, err := evaluate.Features(ctx, model, t.Test, encoder.Head, nil)
	if err != nil {
		return nil, err
	}
	if r.Score, err = evaluate.Classified(model.Classes, logits); err != nil {
		return nil, err
	}
	r.TestImages, r.Bad = logits.Len(), r.Bad+logits.Bad
	r.Seconds = time.Since(start).Seconds()
	return r, writeResult(folder, r)
}

// Accuracy is the spread of the top-1 accuracy over seeds, in percent.
func Accuracy(runs []Tuned) evaluate.Spread {
	var values []float64
	for _, r := range runs {
		values = append(values, r.Top1)
	}
	return evaluate.SpreadOf(values)
}

// resultFile is the name of a run's result in its folder.
const resultFile = "result.json"

// readResult reads the result that lies in a folder, and tells whether there is one.
func readResult(folder string, result any) (bool, error) {
	path := filepath.Join(folder, resultFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, result)
	}
	if err != nil {
		return false, fmt.Errorf("read the result %s: %w; remove the file to have it measured again", path, err)
	}
	return true, nil
}

// writeResult puts a result into a folder.
func writeResult(folder string, result any) error {
	raw, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return err
	}
	_, err = atomicfile.Save(filepath.Join(folder, resultFile), func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
	return err
}
