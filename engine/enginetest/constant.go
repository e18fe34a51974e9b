package enginetest

import "moco/graph"

var constants = family{cases: constantCases}

func constantCases() []Case {
	return []Case{
		{Name: "Fill of shapes", Build: func(g *graph.Graph) {
			g.Output("scalar", g.Fill(3))
			g.Output("vector", g.Fill(-0.5, 17))
			g.Output("matrix", g.Fill(2, 3, 5))
			g.Output("scaled", g.ScaleChannels(g.Input("x", f32, 3, 17), g.Fill(0.25, 17)))
		}},
		{Name: "Constant", Build: func(g *graph.Graph) {
			var values []float64
			for i := range 19 * 5 {
				values = append(values, float64(i%7)-2.5)
			}
			m, x := g.Constant(values, 19, 5), g.Variable("x", f32, 5, 17)
			y := g.MatMul(m, x, false, false)
			g.Output("constant", m)
			g.Output("product", y)
			outputGradients(g, y, x)
		}},
	}
}
