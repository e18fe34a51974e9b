package enginetest

import (
	"fmt"

	"moco/graph"
)

var norms = family{
	cases: normCases,
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.Normalise: {
			func(g *graph.Graph) *graph.Node { return normOfInput(g, 4, 1) },
			func(g *graph.Graph) *graph.Node { return normOfInput(g, 6, 3) },
		},
	},
}

func normOfInput(g *graph.Graph, n, splits int) *graph.Node {
	x := g.Input("x", f32, n, 2, 3, 3)
	return g.Normalise(graph.BatchNorm{
		X: x, Mean: g.BatchMean(x, splits), Variance: g.BatchVariance(x, splits),
		Gamma: g.Input("gamma", f32, 3), Beta: g.Input("beta", f32, 3), Epsilon: 1e-3,
	})
}

// normOf is batch norm in training, with variables named prefix+"g" and prefix+"b".
func normOf(g *graph.Graph, x *graph.Node, splits int, prefix string) *graph.Node {
	c := x.Shape[len(x.Shape)-1]
	return g.Normalise(graph.BatchNorm{
		X: x, Mean: g.BatchMean(x, splits), Variance: g.BatchVariance(x, splits),
		Gamma: g.Variable(prefix+"g", f32, c), Beta: g.Variable(prefix+"b", f32, c), Epsilon: 1e-5,
	})
}

// frozenNormOf is batch norm with running statistics, which are the variables prefix+"m" and
// prefix+"v".
func frozenNormOf(g *graph.Graph, x *graph.Node, prefix string) *graph.Node {
	c := x.Shape[len(x.Shape)-1]
	return g.Normalise(graph.BatchNorm{
		X: x, Mean: g.Variable(prefix+"m", f32, c), Variance: g.Variable(prefix+"v", f32, c),
		Gamma: g.Variable(prefix+"g", f32, c), Beta: g.Variable(prefix+"b", f32, c), Epsilon: 1e-5,
	})
}

func normCases() (cases []Case) {
	for _, s := range []struct{ n, h, w, c, splits int }{
		{2, 3, 5, 1, 1}, {4, 2, 2, 17, 2}, {8, 9, 9, 16, 4}, {3, 40, 30, 33, 1}, {4, 8, 8, 192, 1},
	} {
		shape := []int{s.n, s.h, s.w, s.c}
		name := fmt.Sprintf("batch norm of %dx%dx%dx%d in %d", s.n, s.h, s.w, s.c, s.splits)
		build := func(g *graph.Graph) {
			x := g.Input("x", f32, shape...)
			y := normOf(g, x, s.splits, "")
			g.Output("mean", y.In[1])
			g.Output("variance", y.In[2])
			g.Output("y", y)
			outputGradients(g, y, x, y.In[3], y.In[4])
		}
		far := setting{"x": func(i int) float64 { return 200 + float64(i*7919%101)/50 }}
		variance := setting{"v": func(i int) float64 { return 0.5 + float64(i%7) }}
		cases = append(cases,
			Case{Name: name, Build: build},
			Case{Name: name + ", far from zero", Build: build, Set: far},
			Case{Name: "evaluation of " + name, Set: variance, Build: func(g *graph.Graph) {
				g.Output("y", g.ReLU(frozenNormOf(g, g.Input("x", f32, shape...), "")))
			}},
			unary("lone BatchVariance", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.BatchVariance(x, s.splits)
			}),
			unary("lone ChannelSum", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.SplitSum(g.ChannelSum(x, s.splits))
			}))
	}
	return cases
}
