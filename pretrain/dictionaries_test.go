package pretrain

import (
	"context"
	"errors"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/data"
	"moco/internal/event"
)

// dictionarySettings are recipes with each dictionary and loss.
var dictionarySettings = map[string][]string{
	"queue":         {"m=0.5", "m_end=1", "t_end=0.2"},
	"end to end":    {"dictionary=batch", "symmetric=false"},
	"SimCLR":        {"dictionary=batch", "loss=nt_xent", "optimizer=lars", "accumulate=2", "symmetric=false"},
	"bank, InfoNCE": {"dictionary=bank", "symmetric=false", "mask_same_image=false"},
	"bank, NCE":     {"dictionary=bank", "loss=nce", "z=ema", "bank_precision=bf16", "symmetric=false", "mask_same_image=false"},
	"bank, softmax": {"dictionary=bank", "loss=softmax", "symmetric=false", "mask_same_image=false"},
	"momentum batch": {"dictionary=momentum_batch", "shuffle_bn=false", "m=0.5", "m_end=1", "encoder.head=mlp_bn",
		"encoder.head_layers=2", "encoder.hidden=8", "predictor.layers=2", "predictor.hidden=8"},
	"transformer":    transformerSettings,
	"supervised":     {"objective=supervised"},
	"no shuffled BN": {"shuffle_bn=false"},
	"four views":     {"dictionary=batch", "loss=dcl", "symmetric=false", "views.per_image=4", "accumulate=2"},
	"growing views":  {"views.train_sizes=[4, 6, 7]"},
}

// transformerSettings are those of MoCo v3 with a transformer that drops branches.
var transformerSettings = []string{"encoder.arch=vit_ti4", "encoder.layers=[2]", "encoder.width=0.08333333333333333",
	"encoder.heads=2", "encoder.image=8", "encoder.drop_path=0.3", "encoder.position=sincos", "encoder.frozen_patches=true",
	"encoder.head=mlp_bn", "encoder.head_layers=3", "encoder.hidden=8", "predictor.layers=2", "predictor.hidden=8",
	"predictor.norm=true", "dictionary=momentum_batch", "shuffle_bn=false", "optimizer=adamw", "lr=1e-3"}

// TestDictionariesResume: every kind of step is the same bits on other workers and after an
// interruption.
func TestDictionariesResume(t *testing.T) {
	for name, settings := range dictionarySettings {
		t.Run(name, func(t *testing.T) {
			settings = append(settings, "epochs=2")
			want := finish(t, options(t, 1, settings...))
			o := options(t, 2, settings...)
			for stop := 1; ; stop += 2 {
				ctx, cancel := context.WithCancel(context.Background())
				o.Events = func(e event.Event) {
					if s, ok := e.(Step); ok && s.Step >= stop {
						cancel()
					}
				}
				done, err := Run(ctx, o)
				cancel()
				if err == nil {
					if done.SHA256 != want.SHA256 {
						t.Errorf("SHA-256 %s after interruptions, want %s", done.SHA256, want.SHA256)
					}
					break
				}
				if !errors.Is(err, ErrInterrupted) {
					t.Fatal(err)
				}
				o.Resume = true
			}
		})
	}
}

func TestSupervisedNeedsLabels(t *testing.T) {
	o := options(t, 1, "objective=supervised")
	folder := t.TempDir()
	for _, name := range []string{"a.png", "b.png", "c.png", "d.png"} {
		f, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(f, image.NewRGBA(image.Rect(0, 0, 9, 9))); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	flat, err := data.Open(context.Background(), folder, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer flat.Close()
	o.Data, o.DataPath = flat, "photos"
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "photos: objective: supervised training needs labels") {
		t.Errorf("got %v", err)
	}
}

func TestBankSizeFromData(t *testing.T) {
	o := options(t, 1, dictionarySettings["bank, InfoNCE"]...)
	o.Recipe.Images = 99
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "the recipe is for a bank of 99, and there are 14") {
		t.Errorf("got %v", err)
	}
}

// TestConsistency: the newest keys of a queue are what the momentum encoder makes now, to the bit;
// older ones and a bank's are less alike.
func TestConsistency(t *testing.T) {
	for name, settings := range map[string][]string{
		"queue":     {"m=0.5", "lr=0.5"},
		"one way":   {"m=0.5", "lr=0.5", "symmetric=false"},
		"growing":   {"m=0.5", "lr=0.5", "symmetric=false", "views.train_sizes=[4, 6]"},
		"bank":      {"lr=0.5", "dictionary=bank", "mix=0.1", "symmetric=false", "mask_same_image=false"},
		"the batch": {"dictionary=batch", "symmetric=false"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, 2, append(settings, "queue=13")...)
			o.Consistency = true
			var events []Consistency
			o.Events = func(e event.Event) {
				if c, ok := e.(Consistency); ok {
					events = append(events, c)
				}
			}
			finish(t, o)
			if len(events) != 4 {
				t.Fatalf("%d events in 4 epochs", len(events))
			}
			e := events[1]
			if len(e.Age) == 0 || len(e.Age) != len(e.Cosine) || e.Age[0] != 0 {
				t.Fatalf("%+v", e)
			}
			switch name {
			case "queue", "one way", "growing":
				if e.Cosine[0] < 0.99999 || e.Cosine[0] > 1.00001 {
					t.Errorf("the newest keys have a cosine of %v with themselves", e.Cosine[0])
				}
				if last := len(e.Cosine) - 1; name == "one way" && !(last > 0 && e.Cosine[last] < 0.99999) {
					t.Errorf("old keys are as the encoder makes them now: %v at ages %v", e.Cosine, e.Age)
				}
			case "bank":
				if last := len(e.Cosine) - 1; e.Age[last] != 2 || e.Cosine[0] < 0.3 || e.Cosine[0] > 0.99999 {
					t.Errorf("%+v", e)
				}
			case "the batch":
				if e.Cosine[0] != 1 || len(e.Age) != 1 {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}
