package enginetest

import (
	"fmt"

	"moco/graph"
)

var convolutions = family{
	cases: convCases,
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.Conv: {
			func(g *graph.Graph) *graph.Node {
				return g.Conv(g.Input("x", f32, 2, 5, 4, 3), g.Input("w", f32, 2, 3, 3, 3), 1, 1)
			},
			func(g *graph.Graph) *graph.Node {
				return g.Conv(g.Input("x", f32, 1, 7, 6, 2), g.Input("w", f32, 3, 2, 3, 3), 2, 0)
			},
			func(g *graph.Graph) *graph.Node {
				return g.Conv(g.Input("x", f32, 1, 5, 5, 2), g.Input("w", f32, 3, 2, 1, 1), 2, 0)
			},
			func(g *graph.Graph) *graph.Node {
				return g.Conv(g.Input("x", f32, 1, 6, 5, 1), g.Input("w", f32, 2, 1, 7, 7), 2, 3)
			},
		},
	},
}

// convCases convolve images and go back, with weights from a variable, as in a network, and from an
// input, which engines keep in another layout.
func convCases() (cases []Case) {
	for _, s := range []struct{ n, h, w, c, o, k, stride, pad int }{
		{1, 1, 1, 1, 1, 1, 1, 0}, {2, 5, 7, 3, 5, 3, 1, 1}, {3, 8, 8, 16, 16, 3, 1, 1}, {2, 9, 9, 17, 33, 3, 2, 1},
		{1, 7, 5, 33, 64, 1, 1, 0}, {2, 6, 7, 64, 128, 1, 2, 0}, {1, 13, 11, 3, 64, 7, 2, 3}, {5, 4, 4, 32, 96, 3, 1, 1},
		{2, 3, 3, 5, 3, 3, 1, 3}, {1, 3, 9, 16, 20, 3, 2, 0}, {7, 2, 2, 48, 32, 3, 2, 1}, {40, 4, 4, 64, 64, 3, 1, 1},
		{3, 17, 3, 4, 16, 5, 3, 2}, {2, 5, 6, 128, 128, 3, 1, 1},
		{33, 5, 6, 48, 96, 3, 1, 1}, {2, 5, 4, 96, 48, 3, 2, 1},
	} {
		for _, source := range []string{"variable", "input"} {
			if source == "input" && s.n != 2 {
				continue
			}
			operands := func(g *graph.Graph) (x, w *graph.Node) {
				x = g.Input("x", f32, s.n, s.h, s.w, s.c)
				if source == "input" {
					return x, g.Input("w", f32, s.o, s.c, s.k, s.k)
				}
				return x, g.Variable("w", f32, s.o, s.c, s.k, s.k)
			}
			name := fmt.Sprintf(" %dx%dx%dx%d to %d, kernel %d, stride %d, pad %d, weights from %s",
				s.n, s.h, s.w, s.c, s.o, s.k, s.stride, s.pad, source)
			cases = append(cases, Case{Name: "Conv" + name, Build: func(g *graph.Graph) {
				x, w := operands(g)
				g.Output("y", g.Conv(x, w, s.stride, s.pad))
			}}, Case{Name: "ConvGrad" + name, Build: func(g *graph.Graph) {
				x, w := operands(g)
				outputGradients(g, g.Conv(x, w, s.stride, s.pad), x, w)
			}})
		}
	}
	return append(cases, narrowCases()...)
}

// narrowCases convolve what a convolution has made with few channels. Such values are no images given
// as inputs, whose pixels engines pad less.
func narrowCases() (cases []Case) {
	for _, s := range []struct{ c, k, stride int }{{1, 3, 1}, {4, 3, 1}, {4, 1, 1}, {4, 3, 2}, {7, 3, 1}, {8, 1, 2}} {
		cases = append(cases, Case{Name: fmt.Sprintf("Convs through %d channels, kernel %d, stride %d", s.c, s.k, s.stride),
			Build: func(g *graph.Graph) {
				w1, w2 := g.Variable("w1", f32, s.c, 3, 3, 3), g.Variable("w2", f32, 6, s.c, s.k, s.k)
				x := g.Input("x", f32, 2, 6, 5, 3)
				y := g.Conv(g.Conv(x, w1, 1, 1), w2, s.stride, s.k/2)
				g.Output("y", y)
				outputGradients(g, y, w1, w2)
			}})
	}
	return cases
}
