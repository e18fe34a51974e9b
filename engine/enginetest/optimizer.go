package enginetest

import (
	"fmt"

	"moco/graph"
)

var optimizers = family{cases: optimizerCases}

func optimizerCases() (cases []Case) {
	for _, shape := range [][]int{{1}, {40}, {7, 19}, {200, 130}, {5, 3, 3, 3}} {
		cases = append(cases, Case{
			Name: fmt.Sprintf("TrustRatio %v", shape),
			Set:  setting{"none": func(int) float64 { return 0 }},
			Build: func(g *graph.Graph) {
				w := g.Variable("w", f32, shape...)
				g.Output("ratio", g.TrustRatio(w, g.Input("g", f32, shape...), 0.001, 1e-4))
				g.Output("zero", g.TrustRatio(w, g.Input("none", f32, shape...), 0.001, 1e-4))
			},
		})
	}
	return cases
}
