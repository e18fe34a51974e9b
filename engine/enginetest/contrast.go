package enginetest

import (
	"fmt"

	"moco/graph"
)

var contrasts = family{
	cases: contrastCases,
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.InfoNCE: {
			func(g *graph.Graph) *graph.Node { return g.InfoNCE(contrastOf(g, 3, 7, 0.3)) },
			func(g *graph.Graph) *graph.Node {
				c := contrastOf(g, 3, 7, 0.3)
				c.QueryIDs, c.KeyIDs = g.Input("iq", i32, 3), g.Input("ik", i32, 7)
				return g.InfoNCE(c)
			},
			func(g *graph.Graph) *graph.Node {
				c := contrastOf(g, 3, 7, 0.3)
				c.Decoupled = true
				return g.InfoNCE(c)
			},
		},
	},
}

func contrastOf(g *graph.Graph, n, k int, temperature float64) graph.Contrast {
	return graph.Contrast{Positive: g.Input("p", f32, n), Negatives: g.Input("n", f32, n, k), Temperature: temperature}
}

func contrastCases() (cases []Case) {
	for _, s := range []struct {
		n, k        int
		masked      bool
		temperature float64
		decoupled   bool
	}{{1, 1, false, 1, false}, {3, 20, false, 0.07, false}, {8, 33, true, 0.2, false}, {5, 128, true, 0.01, false},
		{16, 300, false, 0.1, false}, {3, 20, false, 0.07, true}, {8, 33, true, 0.2, true}} {
		c := Case{
			Name: fmt.Sprintf("InfoNCE %dx%d, masked %v, t %v, decoupled %v", s.n, s.k, s.masked, s.temperature, s.decoupled),
			Set:  setting{"ids": func(i int) float64 { return float64(i % 3) }},
			Build: func(g *graph.Graph) {
				k := contrastOf(g, s.n, s.k, s.temperature)
				k.Decoupled = s.decoupled
				if s.masked {
					k.QueryIDs, k.KeyIDs = g.Input("own", i32, s.n), g.Input("ids", i32, s.k)
				}
				loss := g.InfoNCE(k)
				g.Output("loss", loss)
				g.Output("accuracy", g.ContrastAccuracy(k))
				outputGradients(g, loss, k.Positive, k.Negatives)
			},
		}
		cases = append(cases, c)
		if s.masked {
			one := func(int) float64 { return 1 }
			c.Name += ", all negatives masked"
			c.Set = setting{"ids": one, "own": one}
			cases = append(cases, c)
		}
	}
	return cases
}
