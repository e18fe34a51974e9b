package enginetest

import (
	"fmt"

	"moco/graph"
)

var poolings = family{
	cases: poolingCases,
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.MaxPool: {func(g *graph.Graph) *graph.Node {
			return g.MaxPool(g.Input("x", f32, 2, 5, 7, 3), 3, 2, 1)
		}},
		graph.AveragePool: {func(g *graph.Graph) *graph.Node {
			return g.AveragePool(g.Input("x", f32, 2, 3, 5, 2))
		}},
	},
}

func poolingCases() (cases []Case) {
	for _, s := range []struct{ n, h, w, c, k, stride, pad int }{
		{2, 9, 9, 3, 3, 2, 1}, {1, 8, 6, 17, 3, 2, 1}, {3, 4, 4, 16, 2, 2, 0}, {1, 1, 1, 5, 3, 1, 1}, {2, 7, 5, 64, 3, 1, 0},
	} {
		shape := []int{s.n, s.h, s.w, s.c}
		name := fmt.Sprintf("MaxPool of %dx%dx%dx%d by %d, stride %d, pad %d, ties ",
			s.n, s.h, s.w, s.c, s.k, s.stride, s.pad)
		build := func(g *graph.Graph) {
			x := g.Input("x", f32, shape...)
			y := g.MaxPool(x, s.k, s.stride, s.pad)
			g.Output("y", y)
			outputGradients(g, y, x)
		}
		cases = append(cases,
			Case{Name: name + "false", Build: build},
			Case{Name: name + "true", Build: build, Set: setting{"x": func(i int) float64 { return float64(i / 5 % 3) }}},
			unary("AveragePool", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				y := g.AveragePool(x)
				outputGradients(g, y, x)
				return y
			}))
	}
	return cases
}
