package moco

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestMomentumBatch trains both kinds of encoders with predictors. The loss starts near chance and
// falls, the predictor learns, and the key side has none.
func TestMomentumBatch(t *testing.T) {
	t.Parallel()
	head := func(r *Recipe) { r.Encoder.Head, r.Encoder.HeadLayers, r.Encoder.Hidden = "mlp_bn", 2, 16 }
	for name, change := range map[string]func(r *Recipe){
		"ResNet": head,
		"ResNet, replicas": func(r *Recipe) {
			head(r)
			r.Replicas, r.BNSplits = 2, 2
		},
		"ViT": func(r *Recipe) {
			smallTransformer(r)
			head(r)
			r.Encoder.Position, r.Encoder.FrozenPatches, r.Encoder.DropPath = "sincos", true, 0.1
			r.Predictor.Norm = true
		},
		"ViT, layer decay": func(r *Recipe) {
			smallTransformer(r)
			head(r)
			r.LayerDecay = 0.75
		},
		"ViT, bf16": func(r *Recipe) {
			smallTransformer(r)
			head(r)
			r.Precision = "bf16"
		},
		"no predictor": func(r *Recipe) { r.Predictor = Predictor{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, p, s := small(t, 8, func(r *Recipe) {
				momentumOfBatch(r)
				r.LR, r.Momentum, r.MomentumEnd, r.Predictor = 0.05, 0.9, 1, Predictor{Layers: 2, Hidden: 16}
				change(r)
			})
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			start := map[string][]float32{}
			for _, n := range s.Names() {
				start[n] = slices.Clone(read(t, s, n).Float32s())
			}
			copy(p.batch.IDs, []int32{0, 1, 2, 3, 4, 5, 6, 7})
			var first, last float64
			for step := range 30 {
				m, err := p.Run(Progress{Step: step, StepsPerEpoch: 1 << 30})
				if err != nil {
					t.Fatal(err)
				}
				if last = m.Loss; step == 0 {
					first = last
				}
			}
			if chance := p.mechanism.Chance(8); !(first > 0.5*chance && first < 2*chance) || math.Abs(chance-0.8*math.Log(8)) > 1e-9 {
				t.Errorf("the first loss is %v, chance %v", first, chance)
			}
			if !(last < 0.9*first) {
				t.Errorf("the loss goes from %v to %v", first, last)
			}
			predicted := 0
			for _, n := range s.Names() {
				frozen := strings.Contains(n, "patch_embed") && r.Encoder.FrozenPatches || n == "encoder_q.pos_embed" && r.Encoder.Position == "sincos"
				moved := !slices.Equal(start[n], read(t, s, n).Float32s())
				switch {
				case strings.HasPrefix(n, "encoder_k.predictor"):
					t.Errorf("there is %s", n)
				case strings.HasPrefix(n, "encoder_q.predictor"):
					predicted++
					if !moved {
						t.Errorf("%s has not learned", n)
					}
				case frozen && moved:
					t.Errorf("%s has changed", n)
				case strings.HasPrefix(n, "encoder_q.") && !frozen && !moved:
					t.Errorf("%s has not learned", n)
				}
			}
			if want := len(learned(r)) - len(r.Encoder.Parameters()) + len(running(r)) - len(r.Encoder.Buffers()); predicted != want {
				t.Errorf("the predictor has %d variables, want %d", predicted, want)
			}
		})
	}
}

// TestPredictorCheck compares each refusal with its reason.
func TestPredictorCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(r *Recipe)
		want   string
	}{
		{func(r *Recipe) { r.Predictor = Predictor{Layers: 1} }, ""},
		{func(r *Recipe) { r.Predictor = Predictor{Layers: 2, Hidden: 8, Norm: true} }, ""},
		{func(r *Recipe) { r.Predictor = Predictor{Layers: 2} }, "predictor.hidden: must be 1"},
		{func(r *Recipe) { r.Predictor = Predictor{Layers: -1} }, "predictor.layers: must be at most 16"},
		{func(r *Recipe) { r.Predictor = Predictor{Hidden: 8} }, "there is no predictor"},
		{func(r *Recipe) { r.Predictor, r.BNSplits = Predictor{Layers: 2, Hidden: 8}, 256 }, "at least 2 images in each part"},
		{func(r *Recipe) {
			r.Dictionary, r.Symmetric, r.Predictor = "queue", false, Predictor{Layers: 1}
		}, "predictor: info_nce with queue has none"},
	} {
		r := Default()
		momentumOfBatch(&r)
		c.change(&r)
		err := r.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestMomentumRamp holds the momentum of a step to the authors' formula (adjust_moco_momentum): half a
// cosine over the training, in parts of epochs.
func TestMomentumRamp(t *testing.T) {
	t.Parallel()
	_, p, _ := small(t, 4, func(r *Recipe) {
		momentumOfBatch(r)
		r.Momentum, r.MomentumEnd, r.Epochs, r.Schedule, r.Warmup, r.LR = 0.99, 1, 10, "cosine_after_warmup", 2, 0.1
	})
	for _, step := range []int{0, 1, 5, 39} {
		m, err := p.Run(Progress{Step: step, StepsPerEpoch: 4})
		if err != nil {
			t.Fatal(err)
		}
		epoch := float64(step) / 4
		want := 1 - 0.5*(1+math.Cos(math.Pi*epoch/10))*(1-0.99)
		if got := floats(p.program, inMomentum)[0]; math.Abs(float64(got)-want) > 1e-7 {
			t.Errorf("step %d: m is %v, want %v", step, got, want)
		}
		rate := 0.1 * epoch / 2
		if epoch >= 2 {
			rate = 0.1 * 0.5 * (1 + math.Cos(math.Pi*(epoch-2)/8))
		}
		if math.Abs(m.LR-rate) > 1e-12 {
			t.Errorf("step %d: the rate is %v, want %v", step, m.LR, rate)
		}
	}
}
