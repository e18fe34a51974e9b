package optim_test

import (
	"math"
	"testing"

	"moco/engine/enginetest"
	"moco/graph"
	"moco/optim"
	"moco/tensor"
)

// TestAdamW compares five steps with PyTorch 1.13's torch.optim.AdamW in float64: a rate of 0.01,
// betas of 0.9 and 0.95, gradients of sin(t*p)+0.001*t. A parameter that does not decay is one with a
// weight decay of 0.
func TestAdamW(t *testing.T) {
	t.Parallel()
	a := optim.AdamW{Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, WeightDecay: 0.1}
	for _, c := range []struct {
		decays bool
		want   []float64
	}{
		{true, []float64{0.44842681050537575, -1.2223647283507555, 1.9771438052912642}},
		{false, []float64{0.4508277606573385, -1.2285266726319044, 1.9871304445568438}},
	} {
		g := graph.New()
		p := g.Variable("p", tensor.Float32, 3)
		a.Update(g, optim.Update{
			Name: "p", Parameter: p, Gradient: g.Input("gradient", tensor.Float32, 3), Decays: c.decays,
			Rate:   g.Input("rate", tensor.Float32),
			Scalar: func(name string) *graph.Node { return g.Input(name, tensor.Float32) },
		})
		e := enginetest.New()
		s := e.NewState()
		program, err := e.Compile(g, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write("p", tensor.FromFloat32s([]float32{0.5, -1.25, 2}, 3)); err != nil {
			t.Fatal(err)
		}
		program.Input("rate").Float32s()[0] = 0.01
		var got []float32
		for step := 1; step <= 5; step++ {
			v, err := s.Read("p")
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range v.Float32s() {
				program.Input("gradient").Float32s()[i] = float32(math.Sin(float64(p)*float64(step)) + 0.001*float64(step))
			}
			for name, v := range a.Scalars(step) {
				program.Input(name).Float32s()[0] = float32(v)
			}
			if err := program.Run(); err != nil {
				t.Fatal(err)
			}
			if v, err = s.Read("p"); err != nil {
				t.Fatal(err)
			}
			got = v.Float32s()
		}
		for i, want := range c.want {
			if math.Abs(float64(got[i])-want) > 1e-6 {
				t.Errorf("decays %v: p[%d] is %v after five steps, want %v", c.decays, i, got[i], want)
			}
		}
		for _, name := range []string{"adam.m.p", "adam.v.p"} {
			if _, err := s.Read(name); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestLayerRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		decay         float64
		depth, layers int
		want          float64
	}{{0, 0, 12, 1}, {1, 3, 12, 1}, {0.5, 3, 2, 1}, {0.5, 2, 2, 0.5}, {0.5, 0, 2, 0.125}} {
		if got := optim.LayerRate(c.decay, c.depth, c.layers); got != c.want {
			t.Errorf("decay %v at depth %d of %d layers: %v, want %v", c.decay, c.depth, c.layers, got, c.want)
		}
	}
}
