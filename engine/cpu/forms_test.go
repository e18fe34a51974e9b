package cpu

import (
	"testing"

	"moco/graph"
	"moco/tensor"
)

// TestLayoutFollowsUse: a variable of four axes lies in the tile's order where a convolution reads it,
// and so does its momentum; any other lies in rows. A program that reads it otherwise than the one
// that named it first gets the same numbers.
func TestLayoutFollowsUse(t *testing.T) {
	t.Parallel()
	e := verified(t, Options{Workers: 1})
	plain := graph.New()
	w := plain.Variable("w", tensor.Float32, 16, 16, 3, 3)
	plain.Output("twice", plain.WeightedSum(graph.Term{Coefficient: 2, X: w}))

	conv := graph.New()
	w, v := conv.Variable("w", tensor.Float32, 16, 16, 3, 3), conv.Variable("v", tensor.Float32, 16, 16, 3, 3)
	x := conv.Input("x", tensor.Float32, 2, 5, 5, 16)
	conv.Output("y", conv.Conv(x, w, 1, 1))
	conv.Assign(v, conv.WeightedSum(graph.Term{Coefficient: 0.9, X: v}, graph.Term{Coefficient: 1, X: w}))

	outputs := map[bool][]float32{}
	for _, plainFirst := range []bool{true, false} {
		s := e.NewState().(*state)
		graphs, want := []*graph.Graph{plain, conv}, map[string]layout{"w": inRows, "v": inTileOrder}
		if !plainFirst {
			graphs, want["w"] = []*graph.Graph{conv, plain}, inTileOrder
		}
		for _, g := range graphs {
			p, err := e.Compile(g, s)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			weights := tensor.New(tensor.Float32, 16, 16, 3, 3)
			for i := range weights.Float32s() {
				weights.Float32s()[i] = float32(i%17) - 8
			}
			if err := s.Write("w", weights); err != nil {
				t.Fatal(err)
			}
			if in := p.Input("x"); in != nil {
				for i := range in.Float32s() {
					in.Float32s()[i] = float32(i%13) - 6
				}
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			if g == conv {
				outputs[plainFirst] = append([]float32(nil), p.Output("y").Float32s()...)
			} else if got, want := p.Output("twice").Float32s()[20], 2*weights.Float32s()[20]; got != want {
				t.Errorf("twice a weight is %v, want %v", got, want)
			}
		}
		for name, l := range want {
			if got := s.variables[name].layout; got != l {
				t.Errorf("with the plain program first %v: %s lies in %v, want %v", plainFirst, name, got, l)
			}
		}
	}
	for i, y := range outputs[true] {
		if y != outputs[false][i] {
			t.Fatalf("output %d of the convolution is %v with weights in rows and %v in the tile's order", i, y, outputs[false][i])
		}
	}
}
