package moco

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestDropPath holds what is left out to the shares of the branches, and draws to their step, pass and
// image.
func TestDropPath(t *testing.T) {
	t.Parallel()
	const batch = 200
	_, p, _ := small(t, batch, func(r *Recipe) {
		momentumOfBatch(r)
		smallTransformer(r)
		r.Encoder.DropPath, r.Encoder.Layers = 0.5, []int{3}
	})
	if len(p.drops) != 2 {
		t.Fatalf("%d passes drop branches, and both views are encoded as queries", len(p.drops))
	}
	for branch, share := range []float64{0, 0, 0.25, 0.25, 0.5, 0.5} {
		p.drawDrops(7)
		dropped := 0
		for i := range batch {
			switch v := p.drops[0][i*6+branch]; {
			case v == 0:
				dropped++
			case math.Abs(float64(v)*(1-share)-1) > 1e-6:
				t.Fatalf("branch %d is scaled by %v", branch, v)
			}
		}
		if got := float64(dropped) / batch; math.Abs(got-share) > 0.12 || share == 0 && dropped > 0 {
			t.Errorf("branch %d is left out for %v of the images, want %v", branch, got, share)
		}
	}
	first, second := slices.Clone(p.drops[0]), slices.Clone(p.drops[1])
	if slices.Equal(first, second) {
		t.Error("both views leave out the same")
	}
	p.drawDrops(8)
	if slices.Equal(first, p.drops[0]) {
		t.Error("two steps leave out the same")
	}
	p.drawDrops(7)
	if !slices.Equal(first, p.drops[0]) || !slices.Equal(second, p.drops[1]) {
		t.Error("a step that is repeated leaves out something else")
	}
}

// TestDropPathInParts: a batch that is encoded twice, in parts, leaves out the same both times, so its
// gradient is that of the batch encoded once.
func TestDropPathInParts(t *testing.T) {
	t.Parallel()
	moments := func(accumulate int) map[string][]float32 {
		_, p, s := small(t, 8, func(r *Recipe) {
			r.Dictionary, r.Accumulate, r.BNSplits = "batch", accumulate, accumulate
			smallTransformer(r)
			r.Encoder.DropPath, r.Encoder.Layers = 0.5, []int{3}
		})
		copy(p.batch.IDs, []int32{0, 1, 2, 3, 4, 5, 6, 7})
		run(t, p)
		all := map[string][]float32{}
		for _, name := range s.Names() {
			if strings.HasPrefix(name, "adam.m.") {
				all[name] = read(t, s, name).Float32s()
			}
		}
		return all
	}
	whole, parts := moments(1), moments(4)
	for name, want := range whole {
		for i, v := range want {
			if got := parts[name][i]; math.Abs(float64(got-v)) > 1e-5*(1+math.Abs(float64(v))) {
				t.Errorf("value %d of %s is %v, want %v", i, name, got, v)
				break
			}
		}
	}
}
