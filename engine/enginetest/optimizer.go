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
	return append(append(cases, orthogonaliseCases()...), adamCases()...)
}

// orthogonaliseCases are wide and tall matrices, filters, and those whose gradient a convolution makes,
// which lie as its weights do. Each step makes what rounding leaves of a direction that x lacks A times as
// large, and A*A times in its square, so one step less than Muon takes is compared.
func orthogonaliseCases() (cases []Case) {
	n := graph.NewtonSchulz{A: 3.4445, B: -4.7750, C: 2.0315, Steps: 4}
	for _, shape := range [][]int{{7, 19}, {19, 7}, {1, 5}, {5, 1}, {200, 130}, {32, 16, 3, 3}, {48, 3, 3, 3}, {24, 20, 3, 3}, {80, 7, 1, 1}, {3, 5, 17}} {
		cases = append(cases, Case{
			Name: fmt.Sprintf("Orthogonalise %v", shape),
			Set:  setting{"none": func(int) float64 { return 0 }},
			Build: func(g *graph.Graph) {
				g.Output("y", g.Orthogonalise(g.Input("x", f32, shape...), n))
				g.Output("zero", g.Orthogonalise(g.Input("none", f32, shape...), graph.NewtonSchulz{A: 1.5, B: -0.5, Steps: 1}))
			},
		})
	}
	return append(cases, Case{
		Name: "Orthogonalise a gradient",
		Build: func(g *graph.Graph) {
			w := g.Variable("w", f32, 20, 5, 3, 3)
			y := g.Conv(g.Input("x", f32, 2, 6, 6, 5), w, 1, 1)
			d := g.Gradients(y, g.Input("dy", f32, y.Shape...), []*graph.Node{w})[0]
			g.Assign(w, g.WeightedSum(graph.Term{Coefficient: 1, X: w}, graph.Term{Coefficient: -0.1, X: g.Orthogonalise(d, n)}))
		},
	})
}

// adamCases take steps as the optimizer makes them, and one with a moment of zero.
func adamCases() (cases []Case) {
	for _, shape := range [][]int{{1}, {40}, {7, 19}, {200, 130}, {5, 3, 3, 3}, {1, 5, 17}} {
		cases = append(cases, Case{
			Name: fmt.Sprintf("AdamStep %v", shape),
			Runs: 3,
			Set: setting{
				"v":    func(i int) float64 { return float64(i%7) / 50 },
				"rate": func(int) float64 { return 0.01 }, "scales": func(int) float64 { return 1.5 },
			},
			Build: func(g *graph.Graph) {
				p, m, v := g.Variable("p", f32, shape...), g.Variable("m", f32, shape...), g.Variable("v", f32, shape...)
				d, scale := g.Input("g", f32, shape...), g.Input("scales", f32)
				first := g.WeightedSum(graph.Term{Coefficient: 0.9, X: m}, graph.Term{Coefficient: 0.1, X: d})
				second := g.SecondMoment(v, d, 0.99)
				g.Assign(m, first)
				g.Assign(v, second)
				g.Assign(p, g.AdamStep(graph.Adam{
					Parameter: p, First: first, Second: second, Rate: g.Input("rate", f32),
					FirstScale: scale, SecondScale: scale, Epsilon: 1e-3, Decay: 0.1,
				}))
			},
		})
	}
	return append(cases, Case{
		Name: "AdamStep of zero moments",
		Set:  setting{"zero": func(int) float64 { return 0 }},
		Build: func(g *graph.Graph) {
			zero, one := g.Input("zero", f32, 5, 3), g.Fill(1)
			g.Output("p", g.AdamStep(graph.Adam{
				Parameter: g.Input("p", f32, 5, 3), First: zero, Second: zero, Rate: one, FirstScale: one, SecondScale: one,
				Epsilon: 1e-8,
			}))
		},
	})
}
