package enginetest

import (
	"fmt"

	"moco/graph"
)

var matrices = family{
	cases: func() []Case { return append(productCases(), featureCases()...) },
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.MatMul: productsOf([][2][]int{
			{{2, 3}, {3, 5}}, {{4, 2, 3}, {3, 5}}, {{2, 3}, {4, 3, 5}}, {{2, 2, 2, 3}, {2, 2, 3, 5}},
		}),
		graph.BiasAdd: {func(g *graph.Graph) *graph.Node {
			return g.BiasAdd(g.Input("x", f32, 3, 5), g.Input("b", f32, 5))
		}},
		graph.L2Normalise: {func(g *graph.Graph) *graph.Node { return g.L2Normalise(g.Input("x", f32, 3, 5)) }},
		graph.RowDot: {func(g *graph.Graph) *graph.Node {
			return g.RowDot(g.Input("a", f32, 3, 5), g.Input("b", f32, 3, 5))
		}},
	},
}

// productsOf are the products of operands of the given shapes, each way transposed.
func productsOf(shapes [][2][]int) (all builds) {
	for _, s := range shapes {
		for t := range 4 {
			all = append(all, func(g *graph.Graph) *graph.Node {
				a, b := g.Input("a", f32, transposed(s[0], t&1 > 0)...), g.Input("b", f32, transposed(s[1], t&2 > 0)...)
				return g.MatMul(a, b, t&1 > 0, t&2 > 0)
			})
		}
	}
	// the sum's own gradient, too
	return append(all, func(g *graph.Graph) *graph.Node {
		return g.MatMulSum(g.Input("a", f32, 4, 2, 3), g.Input("b", f32, 4, 2, 5), true, false)
	})
}

// transposed is a shape with its last two axes changed, if asked.
func transposed(shape []int, change bool) []int {
	s := append([]int(nil), shape...)
	if k := len(s); change {
		s[k-1], s[k-2] = s[k-2], s[k-1]
	}
	return s
}

func productCases() (cases []Case) {
	for _, s := range [][3]int{{1, 1, 1}, {3, 5, 7}, {17, 33, 64}, {8, 128, 20}, {65, 16, 48}, {5, 300, 128}} {
		for t := range 4 {
			ta, tb := t&1 > 0, t&2 > 0
			cases = append(cases, Case{
				Name: fmt.Sprintf("MatMul %v, transposed %v %v", s, ta, tb),
				Build: func(g *graph.Graph) {
					a := g.Input("a", f32, transposed(s[:2], ta)...)
					b := g.Variable("b", f32, transposed(s[1:], tb)...)
					y := g.MatMul(a, b, ta, tb)
					g.Output("y", y)
					outputGradients(g, y, a, b)
				},
			})
		}
	}
	return cases
}

// featureCases have rows of features.
func featureCases() (cases []Case) {
	for _, shape := range [][]int{{1, 2}, {3, 5}, {17, 128}, {40, 33}} {
		n, c := shape[0], shape[1]
		cases = append(cases,
			unary("BiasAdd", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				b := g.Variable("b", f32, c)
				y := g.BiasAdd(x, b)
				outputGradients(g, y, b)
				return y
			}),
			unary("L2Normalise", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				y := g.L2Normalise(x)
				outputGradients(g, y, x)
				return y
			}),
			unary("RowDot", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				b := g.Input("b", f32, shape...)
				y := g.RowDot(x, b)
				outputGradients(g, y, x, b)
				return y
			}),
			unary("RowSum", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.RowSum(x) }),
			unary("ScaleRows", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.ScaleRows(x, g.Input("s", f32, n))
			}))
	}
	zero := unary("L2Normalise of zeros", []int{2, 5}, func(g *graph.Graph, x *graph.Node) *graph.Node {
		return g.L2Normalise(x)
	})
	zero.Set = setting{"x": func(int) float64 { return 0 }}
	return append(cases, zero)
}
