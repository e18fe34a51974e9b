package enginetest

import (
	"fmt"

	"moco/graph"
)

var attentions = family{
	cases: attentionCases,
	differentiable: map[graph.Op]builds{
		graph.Attention: {
			func(g *graph.Graph) *graph.Node { return g.Attention(g.Input("x", f32, 2, 3, 6), 1) },
			func(g *graph.Graph) *graph.Node { return g.Attention(g.Input("x", f32, 2, 4, 18), 3) },
			func(g *graph.Graph) *graph.Node { return g.Attention(g.Input("x", f32, 1, 1, 6), 2) },
		},
	},
}

func attentionCases() (cases []Case) {
	for _, s := range []struct{ n, tokens, heads, size int }{
		{1, 1, 1, 1}, {2, 1, 2, 16}, {2, 5, 3, 7}, {3, 17, 2, 64}, {2, 65, 3, 16}, {1, 197, 1, 64}, {2, 50, 4, 12},
		{1, 33, 1, 80}, {1, 31, 2, 32}, {1, 30, 1, 96}, {1, 13, 1, 128}, {2, 257, 1, 16}, {1, 300, 2, 16}, {1, 520, 1, 20},
	} {
		c := s.heads * s.size
		name := fmt.Sprintf("Attention of %d tokens of %d, %d heads of %d", s.tokens, s.n, s.heads, s.size)
		of := func(g *graph.Graph, qkv, x *graph.Node) {
			y := g.Attention(qkv, s.heads)
			g.Output("y", y)
			outputGradients(g, y, x)
		}
		// The largest scores lie above 88, where the exponential of a float32 ends, and not so far
		// that their own rounding to float32 is felt.
		large := func(i int) float64 { return 7 * float64(i*7919%101-50) / 50 }
		cases = append(cases,
			Case{Name: name, Build: func(g *graph.Graph) {
				x := g.Input("x", f32, s.n, s.tokens, 3*c)
				of(g, x, x)
			}},
			Case{Name: name + ", of tokens", Build: func(g *graph.Graph) {
				x := tokens(g, "x", s.n, s.tokens, 3*c)
				of(g, x, x.In[1])
			}},
			Case{Name: name + ", large scores", Set: setting{"x": large}, Build: func(g *graph.Graph) {
				x := g.Input("x", f32, s.n, s.tokens, 3*c)
				of(g, x, x)
			}})
	}
	return cases
}
