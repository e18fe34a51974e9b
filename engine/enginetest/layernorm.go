package enginetest

import (
	"fmt"

	"moco/graph"
)

var layerNorms = family{
	cases: layerNormCases,
	differentiable: map[graph.Op]builds{
		graph.LayerNorm: {
			func(g *graph.Graph) *graph.Node { return layerNormOf(g, g.Input("x", f32, 3, 5)) },
			func(g *graph.Graph) *graph.Node { return layerNormOf(g, g.Input("x", f32, 2, 3, 4)) },
		},
	},
}

// layerNormOf is layer norm with inputs named gamma and beta.
func layerNormOf(g *graph.Graph, x *graph.Node) *graph.Node {
	c := x.Shape[len(x.Shape)-1]
	return g.LayerNorm(x, g.Input("gamma", f32, c), g.Input("beta", f32, c), 1e-3)
}

func layerNormCases() (cases []Case) {
	for _, shape := range [][]int{{3, 5}, {2, 3, 17}, {4, 65, 48}, {1, 2, 700}, {2, 2, 2, 16}} {
		name := fmt.Sprintf("LayerNorm of %v", shape)
		build := func(g *graph.Graph) {
			x := g.Input("x", f32, shape...)
			y := layerNormOf(g, x)
			g.Output("y", y)
			outputGradients(g, y, x, y.In[1], y.In[2])
		}
		far := setting{"x": func(i int) float64 { return 200 + float64(i*7919%101)/50 }}
		cases = append(cases, Case{Name: name, Build: build}, Case{Name: name + ", far from zero", Build: build, Set: far})
	}
	return append(cases,
		Case{Name: "LayerNorm of tokens", Build: func(g *graph.Graph) {
			x := tokens(g, "x", 3, 7, 33)
			y := layerNormOf(g, x)
			g.Output("y", y)
			outputGradients(g, y, x.In[1], y.In[1], y.In[2])
		}},
		// Rows without any variance are divided by the root of epsilon.
		Case{Name: "LayerNorm of equal channels", Set: setting{"x": func(i int) float64 { return float64(i / 17) }},
			Build: func(g *graph.Graph) { g.Output("y", layerNormOf(g, g.Input("x", f32, 2, 3, 17))) }})
}
