package optim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"moco/engine/enginetest"
	"moco/graph"
	"moco/optim"
	"moco/tensor"
)

// TestMuon compares three steps of wide, tall and square matrices and of a convolution's filters with
// the definition in float64, where each step of Newton-Schulz multiplies the whole matrix.
func TestMuon(t *testing.T) {
	t.Parallel()
	const steps = 3
	m := optim.Muon{Momentum: muonMomentum, WeightDecay: muonDecay}
	for _, c := range []struct {
		shape  tensor.Shape
		decays bool
		want   func(p, v, gradient []float64, rows int) // a step
	}{
		{tensor.Shape{6, 20}, true, muonStep},
		{tensor.Shape{20, 6}, true, muonStep},
		{tensor.Shape{8, 8}, true, muonStep},
		{tensor.Shape{16, 8, 3, 3}, true, muonStep},
		{tensor.Shape{24}, false, descent},
		{tensor.Shape{1, 4, 6}, false, descent}, // positions
	} {
		t.Run(fmt.Sprint(c.shape), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, 2))
			n := c.shape.Elements()
			p, v := make([]float64, n), make([]float64, n)
			start := make([]float32, n)
			for i := range p {
				start[i] = float32(random.NormFloat64())
				p[i] = float64(start[i])
			}
			g := graph.New()
			x := g.Variable("p", tensor.Float32, c.shape...)
			m.Update(g, optim.Update{
				Name: "p", Parameter: x, Gradient: g.Input("gradient", tensor.Float32, c.shape...), Decays: c.decays,
				Rate: g.Input("rate", tensor.Float32),
			})
			e := enginetest.New()
			s := e.NewState()
			program, err := e.Compile(g, s)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write("p", tensor.FromFloat32s(start, c.shape...)); err != nil {
				t.Fatal(err)
			}
			program.Input("rate").Float32s()[0] = muonRate
			for range steps {
				gradient := make([]float64, n)
				for i := range gradient {
					// Rows that are nearly alike make a gradient of few strong directions, as real ones are.
					f := float32(random.NormFloat64()*0.1 + math.Sin(float64(i%(n/c.shape[0]))))
					program.Input("gradient").Float32s()[i] = f
					gradient[i] = float64(f)
				}
				c.want(p, v, gradient, c.shape[0])
				if err := program.Run(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Read("p")
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range p {
				if d := math.Abs(float64(got.Float32s()[i]) - want); d > 1e-6 {
					t.Fatalf("p[%d] is %v after %d steps, want %v", i, got.Float32s()[i], steps, want)
				}
			}
		})
	}
}

const muonRate, muonMomentum, muonDecay = 0.1, 0.9, 0.3

// descent is a step of SGD.
func descent(p, v, gradient []float64, _ int) {
	for i := range p {
		v[i] = muonMomentum*v[i] + gradient[i] + muonDecay*p[i]
		p[i] -= muonRate * v[i]
	}
}

// muonStep is a step of a matrix with so many rows.
func muonStep(p, v, gradient []float64, rows int) {
	o := make([]float64, len(p))
	for i := range p {
		v[i] = muonMomentum*v[i] + gradient[i]
		o[i] = gradient[i] + muonMomentum*v[i]
	}
	length := norm(o)
	for i := range o {
		o[i] /= length
	}
	columns := len(p) / rows
	for range 5 {
		once := timesSquare(o, o, rows, columns)
		twice := timesSquare(o, once, rows, columns)
		for i := range o {
			o[i] = 3.4445*o[i] - 4.7750*once[i] + 2.0315*twice[i]
		}
	}
	long := norm(p)
	share := muonRate * long / norm(o)
	for i := range p {
		p[i] -= share * o[i]
	}
	moved := norm(p)
	for i := range p {
		p[i] *= long / moved
	}
}

// timesSquare is (x x') y.
func timesSquare(x, y []float64, rows, columns int) []float64 {
	z := make([]float64, len(y))
	for i := range rows {
		for j := range rows {
			var dot float64
			for k := range columns {
				dot += x[i*columns+k] * x[j*columns+k]
			}
			for k := range columns {
				z[i*columns+k] += dot * y[j*columns+k]
			}
		}
	}
	return z
}

func norm(x []float64) float64 {
	var square float64
	for _, v := range x {
		square += v * v
	}
	return math.Sqrt(square)
}
