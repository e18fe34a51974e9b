package enginetest

import (
	"fmt"
	"slices"

	"moco/graph"
)

var matrices = family{
	cases: func() []Case { return slices.Concat(productCases(), batchProductCases(), featureCases(), tokenCases()) },
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.MatMul: productsOf([][2][]int{
			{{2, 3}, {3, 5}}, {{4, 2, 3}, {3, 5}}, {{2, 3}, {4, 3, 5}}, {{2, 2, 2, 3}, {2, 2, 3, 5}},
		}),
		graph.BiasAdd: {
			func(g *graph.Graph) *graph.Node { return g.BiasAdd(g.Input("x", f32, 3, 5), g.Input("b", f32, 5)) },
			func(g *graph.Graph) *graph.Node { return g.BiasAdd(g.Input("x", f32, 2, 3, 5), g.Input("b", f32, 5)) },
			func(g *graph.Graph) *graph.Node {
				return g.BiasAdd(g.Input("x", f32, 2, 3, 5), g.Input("b", f32, 3, 5))
			},
			func(g *graph.Graph) *graph.Node {
				return g.BiasAdd(g.Input("x", f32, 2, 4, 3, 5), g.Input("b", f32, 3, 5))
			},
		},
		graph.ScaleRows: {func(g *graph.Graph) *graph.Node {
			return g.ScaleRows(g.Input("x", f32, 2, 3, 5), g.Input("d", f32, 2))
		}},
		graph.ScaleChannels: {func(g *graph.Graph) *graph.Node {
			return g.ScaleChannels(g.Input("x", f32, 2, 3, 5), g.Input("s", f32, 5))
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

// batchProductCases multiply tokens with a single matrix, as a linear layer does, and with tokens of
// the same example.
func batchProductCases() (cases []Case) {
	for _, s := range [][4]int{{1, 1, 1, 1}, {3, 7, 5, 17}, {2, 65, 48, 33}, {4, 10, 64, 20}} {
		n, t, in, out := s[0], s[1], s[2], s[3]
		name := fmt.Sprintf("of %d tokens of %dx%d and %d", t, n, in, out)
		cases = append(cases,
			Case{Name: "linear layer " + name, Build: func(g *graph.Graph) {
				x, w, b := tokens(g, "x", n, t, in), g.Variable("w", f32, out, in), g.Variable("b", f32, out)
				y := g.BiasAdd(g.MatMul(x, w, false, true), b)
				g.Output("y", y)
				outputGradients(g, y, x.In[1], w, b)
			}},
			Case{Name: "linear layer transposed " + name, Build: func(g *graph.Graph) {
				x, w := tokens(g, "x", n, t, in), g.Variable("w", f32, in, out)
				y := g.MatMul(x, w, false, false)
				g.Output("y", y)
				outputGradients(g, y, x.In[1], w)
			}},
			Case{Name: "products in pairs " + name, Build: func(g *graph.Graph) {
				a, b := tokens(g, "a", n, t, in), tokens(g, "b", n, t, in)
				y := g.MatMul(a, b, false, true)
				g.Output("y", y)
				outputGradients(g, y, a.In[1], b.In[1])
			}})
	}
	return cases
}

// tokenCases add to tokens and scale them.
func tokenCases() (cases []Case) {
	for _, s := range [][3]int{{1, 1, 1}, {2, 3, 5}, {3, 17, 48}, {5, 4, 33}} {
		n, t, c := s[0], s[1], s[2]
		build := func(name string, f func(g *graph.Graph, x *graph.Node) (y, operand *graph.Node)) {
			cases = append(cases, Case{Name: fmt.Sprintf("%s of %d tokens of %dx%d", name, t, n, c), Build: func(g *graph.Graph) {
				x := tokens(g, "x", n, t, c)
				y, operand := f(g, x)
				g.Output("y", y)
				wrt := []*graph.Node{x.In[1]}
				if operand != nil {
					wrt = append(wrt, operand)
				}
				outputGradients(g, y, wrt...)
			}})
		}
		build("BiasAdd", func(g *graph.Graph, x *graph.Node) (y, operand *graph.Node) {
			b := g.Variable("b", f32, c)
			return g.BiasAdd(x, b), b
		})
		build("BiasAdd of positions", func(g *graph.Graph, x *graph.Node) (y, operand *graph.Node) {
			b := g.Variable("b", f32, t, c)
			return g.BiasAdd(x, b), b
		})
		build("ScaleRows", func(g *graph.Graph, x *graph.Node) (y, operand *graph.Node) {
			return g.ScaleRows(x, g.Input("s", f32, n)), nil
		})
		build("ScaleChannels", func(g *graph.Graph, x *graph.Node) (y, operand *graph.Node) {
			s := g.Variable("s", f32, c)
			return g.ScaleChannels(x, s), s
		})
	}
	return append(cases,
		unary("ScaleChannels", []int{7, 19}, func(g *graph.Graph, x *graph.Node) *graph.Node {
			s := g.Variable("s", f32, 19)
			y := g.ScaleChannels(x, s)
			outputGradients(g, y, x, s)
			return y
		}),
		unary("BiasAdd of three axes", []int{2, 3, 4, 17}, func(g *graph.Graph, x *graph.Node) *graph.Node {
			b := g.Variable("b", f32, 4, 17)
			y := g.BiasAdd(x, b)
			outputGradients(g, y, b)
			return y
		}))
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
