package enginetest

import (
	"moco/graph"
)

var elementwise = family{
	cases: elementwiseCases,
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.WeightedSum: {func(g *graph.Graph) *graph.Node {
			s := g.Input("ds", f32)
			x, y := g.Input("x", f32, 3, 5), g.Input("y", f32, 3, 5)
			return g.WeightedSum(
				graph.Term{Coefficient: 2, X: x},
				graph.Term{Coefficient: -1, Scalar: s, X: y},
				graph.Term{Coefficient: 1, X: x})
		}},
		graph.Detach: {func(g *graph.Graph) *graph.Node {
			return g.Add(g.Input("x", f32, 3), g.Detach(g.Input("d", f32, 3)))
		}},
		graph.GELU: {func(g *graph.Graph) *graph.Node { return g.GELU(g.Input("x", f32, 3, 7)) }},
		graph.ReLU: {func(g *graph.Graph) *graph.Node { return g.ReLU(g.Input("x", f32, 3, 7)) }},
	},
}

func elementwiseCases() (cases []Case) {
	for _, shape := range [][]int{{1}, {3, 5}, {2, 3, 3, 17}, {5, 64}, {2, 2, 2, 3}, {700, 100}} {
		cases = append(cases,
			unary("ReLU", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.ReLU(x) }),
			unary("ReLUGrad", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.ReLUGrad(g.Input("dy", f32, shape...), g.ReLU(x))
			}),
			unary("GELU", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.GELU(x) }),
			unary("GELUGrad", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.GELUGrad(g.Input("dy", f32, shape...), x)
			}),
			unary("WeightedSum", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				s := g.Input("s", f32)
				y, z := g.Variable("y", f32, shape...), g.Input("z", f32, shape...)
				if len(shape) == 4 {
					y = z // activations and weights are never added up
				}
				return g.WeightedSum(
					graph.Term{Coefficient: 0.5, X: x},
					graph.Term{Coefficient: -2, Scalar: s, X: y},
					graph.Term{Coefficient: 3, X: z})
			}),
			unary("Detach", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Detach(x) }),
			unary("WeightedSum with a constant", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.WeightedSum(graph.Term{Coefficient: 0.5, Scalar: g.Fill(-3), X: x})
			}))
	}
	far := unary("GELU far from zero", []int{3, 70}, func(g *graph.Graph, x *graph.Node) *graph.Node {
		y := g.GELU(x)
		outputGradients(g, y, x)
		return y
	})
	far.Set = setting{"x": func(i int) float64 { return float64(i-105) / 8 }}
	tails := far // whose values are small beside 1: the error there shows
	tails.Name = "GELU of the negative tail"
	tails.Set = setting{"x": func(i int) float64 { return -2 - float64(i)/64 }}
	return append(cases, far, tails,
		Case{Name: "GELU of tokens", Build: func(g *graph.Graph) {
			x := tokens(g, "x", 3, 7, 33)
			y := g.GELU(x)
			g.Output("y", y)
			outputGradients(g, y, x.In[1])
		}})
}
