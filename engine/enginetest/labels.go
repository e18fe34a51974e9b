package enginetest

import (
	"fmt"

	"moco/graph"
)

var labels = family{
	cases: labelCases,
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.CrossEntropy: {func(g *graph.Graph) *graph.Node {
			return g.CrossEntropy(g.Input("logits", f32, 3, 5), g.Input("labels", i32, 3))
		}},
	},
}

func labelCases() (cases []Case) {
	for _, s := range []struct{ n, c int }{{1, 2}, {5, 10}, {8, 33}, {3, 1000}} {
		cases = append(cases, Case{
			Name: fmt.Sprintf("CrossEntropy %dx%d", s.n, s.c),
			Set:  setting{"labels": func(i int) float64 { return float64(i * 3 % s.c) }},
			Build: func(g *graph.Graph) {
				logits, labels := g.Input("logits", f32, s.n, s.c), g.Input("labels", i32, s.n)
				loss := g.CrossEntropy(logits, labels)
				g.Output("loss", loss)
				g.Output("accuracy", g.LabelAccuracy(logits, labels))
				outputGradients(g, loss, logits)
			},
		})
	}
	return cases
}
