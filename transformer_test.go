package moco

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"moco/engine/enginetest"
	"moco/nn"
	"moco/optim"
)

// smallTransformer makes a recipe's encoder a transformer of two blocks on four patches.
func smallTransformer(r *Recipe) {
	r.Encoder = nn.Config{
		Arch: "vit_ti4", Width: 1.0 / 6, Layers: []int{2}, Heads: 2, Dim: 8, Head: "linear", Image: 8,
	}
	r.Optimizer, r.LR, r.WeightDecay = "adamw", 2e-3, 0.05
}

// TestTransformerLearns: AdamW takes the loss of a classifier of a few images down, and that of a
// queue's keys, whatever the tokens that features are made of. With positions that are interpolated
// it does so too.
func TestTransformerLearns(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *Recipe){
		"class":        func(r *Recipe) {},
		"both, sincos": func(r *Recipe) { r.Encoder.Tokens, r.Encoder.Position = "both", "sincos" },
		"registers":    func(r *Recipe) { r.Encoder.Registers, r.Encoder.LayerScale, r.Encoder.Tokens = 2, true, "mean" },
		"interpolated": func(r *Recipe) { r.Encoder.Image = 12 },
		"layer decay":  func(r *Recipe) { r.LayerDecay = 0.75 },
		"bf16":         func(r *Recipe) { r.Precision = "bf16" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, p, _ := small(t, 8, func(r *Recipe) {
				smallTransformer(r)
				change(r)
				*r = r.Supervised()
			})
			copy(p.batch.Labels, []int32{0, 1, 2, 3, 4, 5, 6, 7})
			first, last := run(t, p).Loss, 0.0
			for step := range 30 {
				m, err := p.Run(Progress{Step: 1 + step, StepsPerEpoch: 1})
				if err != nil {
					t.Fatal(err)
				}
				last = m.Loss
			}
			if !(last < 0.8*first) {
				t.Errorf("the loss goes from %v to %v", first, last)
			}
		})
	}
}

// TestClassToken: the class token's features are the same whether or not the last block makes the other
// tokens too.
func TestClassToken(t *testing.T) {
	t.Parallel()
	e := enginetest.New()
	features := func(tokens string) []float32 {
		r := Default()
		smallTransformer(&r)
		r.Encoder.Tokens, r.Encoder.LayerScale, r.Encoder.Registers = tokens, true, 1
		r.Views, r.BNSplits = Views{Policy: "cifar", Size: 8}, 1
		s := e.NewState()
		p, err := CompileFeatures(&r, 3, e, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := InitialiseQuery(&r, s, nil); err != nil {
			t.Fatal(err)
		}
		for i, v := range pseudo(1, len(p.Views)) {
			p.Views[i] = float32(v)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return p.Backbone
	}
	alone, both := features("class"), features("both")
	c := len(alone) / 3
	for i, v := range alone {
		if want := both[i/c*2*c+i%c]; math.Abs(float64(v-want)) > 1e-6 {
			t.Fatalf("value %d of the class token is %v, and %v beside the mean of the patches", i, v, want)
		}
	}
}

// TestFrozen: what is frozen has no optimizer state, and stays as it started in both encoders.
func TestFrozen(t *testing.T) {
	t.Parallel()
	r, p, s := small(t, 4, func(r *Recipe) {
		smallTransformer(r)
		r.Encoder.Position, r.Encoder.FrozenPatches = "sincos", true
	})
	frozen := []string{"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
	before := map[string][]float32{}
	for _, name := range frozen {
		before[name] = slices.Clone(read(t, s, query.variable(name)).Float32s())
	}
	run(t, p)
	for _, name := range frozen {
		for _, side := range []side{query, key} {
			if got := read(t, s, side.variable(name)).Float32s(); !slices.Equal(got, before[name]) {
				t.Errorf("%s has moved", side.variable(name))
			}
		}
	}
	for _, name := range s.Names() {
		if slices.ContainsFunc(frozen, func(f string) bool { return strings.HasPrefix(name, "adam.") && strings.HasSuffix(name, f) }) {
			t.Errorf("there is a variable %s", name)
		}
	}
	states := 0
	for _, p := range r.Encoder.Parameters() {
		if !p.Frozen {
			states += 2
		}
	}
	got := 0
	for _, name := range s.Names() {
		if strings.HasPrefix(name, "adam.") {
			got++
		}
	}
	if got != states {
		t.Errorf("%d variables of AdamW, want %d", got, states)
	}
}

// TestLayerDecay: with a rate of one, SGD without momentum moves a parameter by its gradient times
// the decay for each layer above it.
func TestLayerDecay(t *testing.T) {
	t.Parallel()
	moves := func(decay float64) map[string]float64 {
		r, p, s := small(t, 8, func(r *Recipe) {
			smallTransformer(r)
			*r = r.Supervised()
			r.Optimizer, r.LR, r.WeightDecay, r.SGDMomentum, r.LayerDecay = "sgd", 1, 0, 0, decay
		})
		copy(p.batch.Labels, []int32{0, 1, 2, 3, 4, 5, 6, 7})
		start := map[string][]float32{}
		for _, p := range r.Encoder.Parameters() {
			start[p.Name] = slices.Clone(read(t, s, query.variable(p.Name)).Float32s())
		}
		run(t, p)
		far := map[string]float64{}
		for name, was := range start {
			for i, is := range read(t, s, query.variable(name)).Float32s() {
				far[name] += math.Abs(float64(is - was[i]))
			}
		}
		return far
	}
	whole, decayed := moves(0), moves(0.5)
	for name, layers := range map[string]int{
		"cls_token": 3, "patch_embed.proj.weight": 3, "blocks.0.attn.qkv.weight": 2, "blocks.1.norm2.bias": 1, "norm.weight": 0,
		"fc.weight": 0,
	} {
		want := whole[name] * optim.LayerRate(0.5, 3-layers, 2)
		if got := decayed[name]; math.Abs(got-want) > 0.02*want || want == 0 {
			t.Errorf("%s moves by %v, want %v, of %v without decay", name, got, want, whole[name])
		}
	}
}

// TestUnknownEncoder: graphs of an encoder that does not exist are refused.
func TestUnknownEncoder(t *testing.T) {
	t.Parallel()
	r := Default()
	r.Encoder.Arch = "vit_s12"
	_, step := Graph(&r, 8)
	_, features := Features(&r, 8)
	for _, err := range []error{step, features} {
		if err == nil || !strings.Contains(err.Error(), `encoder.arch: "vit_s12" is not known`) {
			t.Errorf("an unknown architecture gives %v", err)
		}
	}
	if p := r.Encoder.Parameters(); p != nil {
		t.Errorf("it has parameters: %v", p)
	}
}

// TestTransformersOfAnyImage: a transformer takes images of whole patches only, and says which are
// near.
func TestTransformersOfAnyImage(t *testing.T) {
	t.Parallel()
	r := Default()
	smallTransformer(&r)
	r.Views.Size = 30
	if err := r.Check(); err == nil || !strings.Contains(err.Error(), "views.size: ") || !strings.Contains(fmt.Sprint(err), "28 and 32") {
		t.Errorf("30 pixels in patches of 4 give %v", err)
	}
}
