package enginetest

import (
	"fmt"

	"moco/graph"
)

var estimations = family{
	cases: func() []Case { return append(bankCases(), estimateCases()...) },
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.GatherDot: {func(g *graph.Graph) *graph.Node { // the bank takes no gradient
			return g.GatherDot(g.Input("x", f32, 2, 5), g.Input("dbank", f32, 6, 5), g.Input("i", i32, 6))
		}},
		graph.NCE: {func(g *graph.Graph) *graph.Node {
			return g.NCE(graph.Estimate{Similarities: g.Input("s", f32, 3, 5), Z: g.Fill(3), Temperature: 0.3, Population: 20})
		}},
	},
}

// bankCases read and write a bank, in float32 and in bfloat16.
func bankCases() (cases []Case) {
	for _, s := range []struct {
		n, draws, bank, dim int
		stored              graph.Precision
	}{
		{1, 1, 1, 1, graph.Float32}, {3, 5, 7, 19, graph.Float32}, {8, 40, 33, 128, graph.Float32},
		{5, 9, 11, 16, graph.BFloat16}, {4, 30, 12, 70, graph.BFloat16},
	} {
		eighths := func(i int) float64 { return float64(i*7%17-8) / 8 } // exact in bfloat16
		index := func(i int) float64 { return float64(i * 5 % s.bank) }
		cases = append(cases, Case{
			Name: fmt.Sprintf("bank of %dx%d in %v, %d draws for %d", s.bank, s.dim, s.stored, s.draws, s.n),
			Runs: 2,
			Set:  setting{"index": index, "own": index, "bank": eighths, "new": eighths, "copy": eighths},
			Build: func(g *graph.Graph) {
				variable := func(name string) *graph.Node {
					if s.stored == graph.BFloat16 {
						return g.BFloat16Variable(name, s.bank, s.dim)
					}
					return g.Variable(name, f32, s.bank, s.dim)
				}
				bank, index, own := variable("bank"), g.Input("index", i32, s.n*s.draws), g.Input("own", i32, s.n)
				x := g.Input("x", f32, s.n, s.dim)
				g.Output("dot", g.GatherDot(x, bank, index))
				g.Output("dx", g.GatherDotGrad(g.Input("dy", f32, s.n, s.draws), bank, index))
				g.Output("rows", g.GatherRows(bank, own))
				g.Output("product", g.MatMul(x, bank, false, true))
				g.Assign(bank, g.ReplaceRows(bank, g.Input("new", f32, s.n, s.dim), own))
				g.Assign(variable("copy"), bank)
			},
		})
	}
	return cases
}

func estimateCases() (cases []Case) {
	for _, s := range []struct {
		n, draws    int
		temperature float64
		z           float64
	}{{1, 1, 0.5, 0}, {3, 20, 0.07, 0}, {8, 33, 0.2, 7}, {4, 300, 0.1, 900}} {
		for _, keep := range []float64{1, 0.9} {
			cases = append(cases, Case{
				Name: fmt.Sprintf("NCE %dx%d, t %v, Z %v kept %v", s.n, s.draws, s.temperature, s.z, keep),
				Runs: 2,
				Set:  setting{"z": func(int) float64 { return s.z }},
				Build: func(g *graph.Graph) {
					z, similarities := g.Variable("z", f32, 1), g.Input("s", f32, s.n, 1+s.draws)
					e := graph.Estimate{Similarities: similarities, Z: z, Temperature: s.temperature, Population: 50}
					e.Z = g.Partition(e, keep)
					g.Assign(z, e.Z)
					loss := g.NCE(e)
					g.Output("loss", loss)
					outputGradients(g, loss, similarities)
				},
			})
		}
	}
	return cases
}
