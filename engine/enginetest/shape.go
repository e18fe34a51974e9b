package enginetest

import (
	"fmt"
	"slices"

	"moco/graph"
	"moco/tensor"
)

var shapes = family{
	cases: func() []Case { return slices.Concat(axisCases(), formCases()) },
	differentiable: map[graph.Op]builds{
		graph.Reshape: {func(g *graph.Graph) *graph.Node { return g.Reshape(g.Input("x", f32, 4, 3, 2), 2, 12) }},
		graph.Slice: {
			func(g *graph.Graph) *graph.Node { return g.Slice(g.Input("x", f32, 5, 3), 0, 1, 3) },
			func(g *graph.Graph) *graph.Node { return g.Slice(g.Input("x", f32, 2, 5, 3), 1, 1, 3) },
			func(g *graph.Graph) *graph.Node { return g.Slice(g.Input("x", f32, 2, 2, 7), 2, 4, 3) },
			func(g *graph.Graph) *graph.Node { return g.Slice(g.Input("x", f32, 7), 0, 4, 3) },
		},
		graph.Concat: {
			func(g *graph.Graph) *graph.Node { return g.Concat(0, g.Input("a", f32, 2, 3), g.Input("b", f32, 4, 3)) },
			func(g *graph.Graph) *graph.Node {
				return g.Concat(1, g.Input("a", f32, 2, 1, 3), g.Input("b", f32, 2, 4, 3), g.Input("c", f32, 2, 2, 3))
			},
			func(g *graph.Graph) *graph.Node { return g.Concat(1, g.Input("a", f32, 2, 3), g.Input("b", f32, 2, 5)) },
		},
		graph.Repeat:   {func(g *graph.Graph) *graph.Node { return g.Repeat(g.Input("x", f32, 2, 3), 4) }},
		graph.SumBatch: {func(g *graph.Graph) *graph.Node { return g.SumBatch(g.Input("x", f32, 4, 2, 3)) }},
	},
}

// axisCases cut and join values along each of their axes.
func axisCases() (cases []Case) {
	for _, shape := range [][]int{{7, 5}, {9, 20}, {6, 3, 2, 17}, {6, 2, 2, 3}, {2, 65, 48}, {3, 9, 33}} {
		for axis, extent := range shape {
			if extent < 2 {
				continue
			}
			part := slices.Clone(shape)
			part[axis] = 3
			name := fmt.Sprintf(" along axis %d", axis)
			cases = append(cases,
				unary("Slice"+name, shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
					return g.Slice(x, axis, 1, extent-1)
				}),
				unary("SliceGrad"+name, shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
					return g.SliceGrad(x, axis, 3, extent+5)
				}),
				unary("Concat"+name, shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
					return g.Concat(axis, x, g.Input("behind", f32, part...))
				}),
				unary("Concat of three"+name, shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
					return g.Concat(axis, g.Input("before", f32, part...), x, x)
				}))
		}
	}
	return append(cases,
		Case{Name: "Concat of ids", Build: func(g *graph.Graph) {
			g.Output("y", g.Concat(0, g.Input("a", i32, 5), g.Input("b", i32, 18), g.Input("c", i32, 1)))
		}},
		Case{Name: "Slice of ids", Build: func(g *graph.Graph) {
			g.Output("y", g.Slice(g.Input("a", i32, 18), 0, 5, 9))
		}},
		Case{Name: "vectors", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 18)
			g.Output("part", g.Slice(x, 0, 5, 9))
			g.Output("all", g.Concat(0, x, g.Input("y", f32, 3)))
		}})
}

// formCases reshape, repeat and add up.
func formCases() (cases []Case) {
	for _, s := range [][2][]int{
		{{6, 4}, {3, 8}}, {{2, 3, 4, 17}, {2, 12, 17}}, {{2, 12, 17}, {2, 3, 4, 17}}, {{3, 5}, {3, 1, 1, 5}}, {{3, 1, 33}, {3, 33}},
		{{2, 5, 3}, {30}}, {{30}, {5, 2, 3}}, {{1, 1}, {}}, {{48, 3, 4, 4}, {48, 48}},
	} {
		cases = append(cases, unary(fmt.Sprintf("Reshape to %v", tensor.Shape(s[1])), s[0],
			func(g *graph.Graph, x *graph.Node) *graph.Node {
				g.Output("twice", g.Add(x, x))
				return g.Reshape(x, s[1]...)
			}))
	}
	for _, shape := range [][]int{{}, {5}, {1, 17}, {3, 48}, {2, 3, 5}} {
		cases = append(cases,
			unary("Repeat", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Repeat(x, 4) }),
			unary("SumBatch", append([]int{4}, shape...), func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.SumBatch(x)
			}))
	}
	return append(cases,
		Case{Name: "Reshape of ids", Build: func(g *graph.Graph) {
			g.Output("y", g.Reshape(g.Input("a", i32, 12), 3, 4))
		}},
		// A reshaped variable must not follow its assignment.
		Case{Name: "Reshape of a variable", Runs: 2, Build: func(g *graph.Graph) {
			w := g.Variable("w", f32, 6, 16)
			g.Output("y", g.Reshape(w, 2, 3, 16))
			g.Assign(w, g.Reshape(g.Input("x", f32, 96), 6, 16))
		}},
		Case{Name: "patches and class token", Build: patches})
}

// patches is how an image becomes tokens, and how features come of them.
func patches(g *graph.Graph) {
	const n, c = 3, 33
	x := g.Conv(g.Input("x", f32, n, 8, 12, 3), g.Variable("w", f32, c, 3, 4, 4), 4, 0)
	class, positions := g.Variable("class", f32, 1, c), g.Variable("positions", f32, 7, c)
	t := g.BiasAdd(g.Concat(1, g.Repeat(class, n), g.Reshape(x, n, 6, c)), positions)
	first := g.Reshape(g.Slice(t, 1, 0, 1), n, c)
	mean := g.AveragePool(g.Reshape(g.Slice(t, 1, 1, 6), n, 6, 1, c))
	y := g.Concat(1, first, mean)
	g.Output("y", y)
	outputGradients(g, y, x.In[1], class, positions)
}
