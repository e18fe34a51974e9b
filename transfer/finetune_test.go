package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/engine/cpu"
	"moco/internal/event"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
)

// quick holds settings that make training fast.
var quick = []string{"encoder.width=0.0625", "views.size=8"}

func newEngine(t *testing.T) engine.Engine {
	t.Helper()
	e, err := cpu.New(cpu.Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func images(t *testing.T, path string) *data.Set {
	t.Helper()
	set, err := data.Open(context.Background(), path, data.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// testEncoder is an encoder that MoCo has trained for three steps.
func testEncoder(t *testing.T, e engine.Engine) *encoder.Encoder {
	t.Helper()
	r, err := recipe.Load("cifar", append([]string{"encoder.dim=8", "queue=8", "bn_splits=1", "batch=4"}, quick...))
	if err != nil {
		t.Fatal(err)
	}
	return trained(t, e, r)
}

// trained is an encoder that a recipe has trained for three steps.
func trained(t *testing.T, e engine.Engine, r moco.Recipe) *encoder.Encoder {
	t.Helper()
	done, err := pretrain.Run(context.Background(),
		pretrain.Options{Recipe: r, Data: images(t, "builtin:train?n=20&size=8"),
			Out: filepath.Join(t.TempDir(), "run"), Steps: 3, Engine: e, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	start, err := encoder.OpenWith(context.Background(), done.Encoder, encoder.Options{Batch: 1, Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { start.Close() })
	return start
}

func tuning(t *testing.T) Tuning {
	t.Helper()
	e := newEngine(t)
	return Tuning{Start: testEncoder(t, e), Settings: []string{"epochs=2", "batch=4"},
		Labels: data.Share{PerClass: 1}, Seeds: 2,
		Train: images(t, "builtin:train?n=40&size=8"), Test: images(t, "builtin:test?n=20&size=8"),
		TrainPath: "builtin", Out: t.TempDir(), Engine: e, Workers: 2}
}

// other tells whether an error is about a folder with another run, and names the change.
func other(err error, change string) bool {
	var e *pretrain.OtherError
	return errors.As(err, &e) && strings.Contains(err.Error(), change)
}

// facts is the part of the results that does not depend on the clock.
func facts(runs []Tuned) string {
	var b strings.Builder
	for _, r := range runs {
		fmt.Fprintln(&b, r.Seed, r.Labels, r.Images, r.Epochs, r.Steps, r.Top1, r.Confusion, r.Loss, r.TrainAccuracy)
	}
	return b.String()
}

// encoders are the bytes of the classifiers.
func encoders(t *testing.T, dir string) (all string) {
	t.Helper()
	for seed := range 2 {
		raw, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("seed-", seed), encoder.File))
		if err != nil {
			t.Fatal(err)
		}
		all += string(raw)
	}
	return all
}

func TestFinetune(t *testing.T) {
	ctx := context.Background()
	o := tuning(t)
	want, err := Finetune(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	classes := len(o.Train.Classes())
	for seed, r := range want {
		if r.Seed != seed || r.Images != classes || r.Steps != 2*(classes/4) || r.TestImages != 20 ||
			len(r.Confusion) != classes {
			t.Errorf("seed %d ends as %+v", seed, r)
		}
	}
	if want[0].Data == want[1].Data {
		t.Error("both seeds draw the same labels")
	}

	t.Run("done is done", func(t *testing.T) {
		again, ran := o, 0
		again.Watch.Started = func(_ Part, at job.Place) {
			if !at.Before {
				ran++
			}
		}
		got, err := Finetune(ctx, again)
		if err != nil || ran != 0 || facts(got) != facts(want) {
			t.Errorf("%d runs begin again, %v\n%s", ran, err, facts(got))
		}
		again.Settings = []string{"epochs=3", "batch=4"}
		if _, err := Finetune(ctx, again); !other(err, "epochs is 3 and was 2") {
			t.Errorf("another recipe gives %v", err)
		}
		again.Settings, again.Test = o.Settings, again.Train
		if _, err := Finetune(ctx, again); !other(err, "test images is ") {
			t.Errorf("other test images give %v", err)
		}
	})
	t.Run("interrupted at every step", func(t *testing.T) {
		stopped := o
		stopped.Out = t.TempDir()
		for stops := 0; ; stops++ {
			ctx, cancel := context.WithCancel(ctx)
			stopped.Watch.Events = func(_ Part, e event.Event) {
				if _, step := e.(pretrain.Step); step {
					cancel()
				}
			}
			got, err := Finetune(ctx, stopped)
			cancel()
			if err == nil {
				if stops < 3 || facts(got) != facts(want) || encoders(t, stopped.Out) != encoders(t, o.Out) {
					t.Errorf("after %d stops the runs end as\n%swant\n%s", stops, facts(got), facts(want))
				}
				return
			}
			if !errors.Is(err, pretrain.ErrInterrupted) {
				t.Fatal(err)
			}
		}
	})
	t.Run("from scratch", func(t *testing.T) {
		scratch := o
		scratch.Start, scratch.Like, scratch.Out = nil, o.Start.Recipe, t.TempDir()
		got, err := Finetune(ctx, scratch)
		if err != nil || got[0].Data != want[0].Data {
			t.Fatalf("from scratch seed 0 learns from other images: %v", err)
		}
		if encoders(t, scratch.Out) == encoders(t, o.Out) {
			t.Error("from scratch the classifiers are the same")
		}
	})
}

func TestRefusals(t *testing.T) {
	o := tuning(t)
	for name, c := range map[string]struct {
		change func(*Tuning)
		want   string
	}{
		"more labels than there are": {func(o *Tuning) { o.Labels = data.Share{PerClass: 50} },
			"50 images of each class are asked for"},
		"an unknown key": {func(o *Tuning) { o.Settings = []string{"bacth=3"} }, "bacth"},
		"a rate below 0": {func(o *Tuning) { o.Settings = []string{"lr=-1"} }, "lr"},
	} {
		o := o
		c.change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

func TestTuningRecipe(t *testing.T) {
	for images, want := range map[int]string{500: "100 64", 5000: "32 64", 50000: "10 64", 5_000_000: "10 64", 20: "500 20"} {
		r := TuningRecipe(moco.Default(), images)
		r.Encoder.Dim = 10
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(r.Epochs, " ", r.Batch); got != want {
			t.Errorf("%d images are learned from in %s epochs and images a batch, want %s", images, got, want)
		}
	}
}

// TestTuningTransformers: a transformer is fine-tuned by AdamW with a warm-up that is a share of the
// training, with rates that fall from layer to layer if it was pretrained, and as a whole.
func TestTuningTransformers(t *testing.T) {
	t.Parallel()
	like, err := recipe.Load("cifar-vit", nil)
	if err != nil {
		t.Fatal(err)
	}
	train := images(t, "builtin:train?n=40&size=8")
	for _, c := range []struct {
		start    *encoder.Encoder
		settings []string
		decay    float64
		epochs   moco.Epochs
		warmup   float64
	}{
		{nil, nil, 0, 100, 5},
		{&encoder.Encoder{Recipe: like, SHA256: "x"}, nil, layerDecay, 100, 5},
		{&encoder.Encoder{Recipe: like, SHA256: "x"}, []string{"epochs=20", "layer_decay=0.5"}, 0.5, 20, 1},
		{nil, []string{"epochs=20", "warmup=3"}, 0, 20, 3},
	} {
		tuning := Tuning{Start: c.start, Like: like, Settings: c.settings, Train: train}
		r, err := tuning.recipe(0, 500)
		if err != nil {
			t.Fatal(err)
		}
		if r.Optimizer != "adamw" || r.LayerDecay != c.decay || r.Epochs != c.epochs || r.Warmup != c.warmup ||
			r.Encoder.FrozenPatches || r.Encoder.Head != "linear" {
			t.Errorf("from an encoder %v, %v: %s, layer decay %v, %v epochs, warm-up %v, %+v",
				c.start != nil, c.settings, r.Optimizer, r.LayerDecay, r.Epochs, r.Warmup, r.Encoder)
		}
	}
}

// TestTuningFromScratch: from random weights the training is that from an encoder of the same recipe,
// so that a comparison of the two is of the weights they start from.
func TestTuningFromScratch(t *testing.T) {
	t.Parallel()
	e, train := newEngine(t), images(t, "builtin:train?n=40&size=8")
	batch := []string{"dictionary=batch", "loss=dcl", "shuffle_bn=false", "mask_same_image=false", "queue=0"}
	for name, settings := range map[string][]string{
		"growing views":  append(batch, "views.size=16", "views.train_sizes=[8,12]", "views.per_image=4"),
		"other crops":    {"views.size=8", "views.crop_min=0.5"},
		"other pictures": {"views.size=8", "views.from=12", "views.ground=black", "views.normalise=half", "views.resize=bicubic"},
	} {
		t.Run(name, func(t *testing.T) {
			like, err := recipe.Load("cifar", append([]string{"encoder.width=0.0625", "encoder.dim=8", "queue=8", "bn_splits=1",
				"batch=4", "precision=bf16"}, settings...))
			if err != nil {
				t.Fatal(err)
			}
			with, err := (&Tuning{Start: trained(t, e, like), Train: train}).recipe(1, 500)
			if err != nil {
				t.Fatal(err)
			}
			scratch, err := (&Tuning{Like: like, Train: train}).recipe(1, 500)
			if err != nil {
				t.Fatal(err)
			}
			with.Start = ""
			if got, want := recipe.Write(scratch), recipe.Write(with); got != want {
				t.Errorf("from scratch the recipe is\n%s\nand from an encoder\n%s", got, want)
			}
		})
	}
}
