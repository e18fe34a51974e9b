package pretrain

import (
	"strings"
	"testing"

	"moco"
	"moco/internal/event"
)

// TestWarnsFarAboveChance: a loss that stays far above chance is warned of once, whatever the
// mechanism. One that falls, or is little above chance, is not.
func TestWarnsFarAboveChance(t *testing.T) {
	t.Parallel()
	losses := map[string]struct {
		over func(step int) float64 // the loss over that of chance
		want bool
	}{
		"stays":                    {func(int) float64 { return 2 }, true},
		"rises":                    {func(step int) float64 { return 1.6 + float64(step)/100 }, true},
		"a little above":           {func(int) float64 { return 1.4 }, false},
		"falls":                    {func(step int) float64 { return 9 - float64(step)/100 }, false},
		"high at first, and falls": {func(step int) float64 { return 2 - float64(max(step, 200)-200)/1000 }, false},
	}
	for mechanism, settings := range dictionarySettings {
		for name, c := range losses {
			t.Run(mechanism+", "+name, func(t *testing.T) {
				t.Parallel()
				recipe := tiny(t, settings...)
				r := &run{recipe: &recipe, stepsPerEpoch: 150}
				var err error
				if r.mechanism, err = recipe.Mechanism(); err != nil {
					t.Fatal(err)
				}
				if err := r.mechanism.Fit(moco.DataSize{Images: 14, Classes: 3}); err != nil {
					t.Fatal(err)
				}
				var told []Warning
				r.events = &recorder{told: func(e event.Event) { told = append(told, e.(Warning)) }}
				for r.step = 1; r.step <= 750; r.step++ {
					r.watch.step(r, nil, moco.Metrics{Loss: c.over(r.step) * r.mechanism.Chance(recipe.Batch)})
				}
				switch {
				case !c.want && len(told) > 0:
					t.Errorf("warned: %+v", told)
				case c.want && (len(told) != 1 || told[0].Reason != AboveChance || told[0].Step > 450 ||
					!strings.Contains(told[0].Message, r.mechanism.Remedy())):
					t.Errorf("told %+v; want one warning by the end of the third epoch, with the remedy %q",
						told, r.mechanism.Remedy())
				}
			})
		}
	}
}

// TestFrozenZ: noise-contrastive estimation with a Z that stays as the random bank gave it does not
// learn from a small set. The run says so, and what to do.
func TestFrozenZ(t *testing.T) {
	t.Parallel()
	for z, want := range map[string]bool{"frozen": true, "ema": false} {
		t.Run(z, func(t *testing.T) {
			t.Parallel()
			o := options(t, 1, "dictionary=bank", "loss=nce", "z="+z, "queue=100", "encoder.dim=32", "batch=16",
				"bn_splits=1", "epochs=50", "symmetric=false", "mask_same_image=false", "checkpoint_every=1000")
			o.Data = images(t, "builtin:train?n=128&size=10")
			warned := false
			o.Events = func(e event.Event) {
				if w, ok := e.(Warning); ok && w.Reason == AboveChance {
					warned = strings.Contains(w.Message, "set z to ema")
				}
			}
			finish(t, o)
			if warned != want {
				t.Errorf("warned: %v, want %v", warned, want)
			}
		})
	}
}
