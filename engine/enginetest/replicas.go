package enginetest

import (
	"fmt"

	"moco/graph"
)

var replicas = family{
	cases: replicaCases,
	differentiable: map[graph.Op][]func(g *graph.Graph) *graph.Node{
		graph.GatherReplicas: {func(g *graph.Graph) *graph.Node {
			g.Replicas = 4
			q, k := g.ShareInput("q", f32, 2, 3), g.ShareInput("k", f32, 2, 3)
			return g.MatMul(q, g.GatherReplicas(k), false, true)
		}},
	},
}

func replicaCases() (cases []Case) {
	for _, replicas := range []int{2, 3, 4, 6, 8} {
		backwards := func(rows int) setting {
			order := func(i int) float64 { return float64(replicas*rows - 1 - i) }
			return setting{"index": order, "order": order}
		}
		cases = append(cases,
			Case{Name: fmt.Sprintf("Collectives of %d replicas", replicas), Runs: 2, Set: backwards(3), Build: func(g *graph.Graph) {
				g.Replicas = replicas
				x, ids := g.ShareInput("x", f32, 3, 5), g.ShareInput("ids", i32, 7)
				all := g.GatherReplicas(x)
				g.Assign(g.Variable("ids", i32, 7*replicas), g.GatherReplicas(ids))
				g.Assign(g.Variable("sum", f32, 3, 5), g.SumReplicas(x))
				g.Output("all", all)
				g.Output("own ids", g.OwnRows(g.GatherReplicas(ids)))
				g.Output("reversed", g.OwnRows(g.GatherRows(all, g.Input("index", i32, 3*replicas))))
				g.Output("loss", g.RowSum(x))
			}},
			Case{Name: fmt.Sprintf("Training of %d replicas", replicas), Runs: 3, Loose: 0.05, Set: backwards(4), Build: func(g *graph.Graph) {
				g.Replicas = replicas
				trainReplicas(g)
			}})
	}
	return cases
}

// trainReplicas is a small step as a queue makes it: keys of one encoder, gathered and in another
// order; queries of the same encoder that meet keys of all replicas; a gradient and running
// statistics summed over the replicas. A value of before the first collective is read again behind it
// and behind the second one.
func trainReplicas(g *graph.Graph) {
	const images, ch = 4, 17
	all := images * g.Replicas
	share := 1 / float64(g.Replicas)
	w, fc := g.Variable("w", f32, ch, 3, 3, 3), g.Variable("fc", f32, 5, ch)
	gamma, beta := g.Variable("gamma", f32, ch), g.Variable("beta", f32, ch)
	encode := func(x *graph.Node) (features, mean *graph.Node) {
		y := g.Conv(x, w, 1, 1)
		b := graph.BatchNorm{X: y, Mean: g.BatchMean(y, 2), Variance: g.BatchVariance(y, 2), Gamma: gamma, Beta: beta, Epsilon: 1e-2}
		z := g.MatMul(g.AveragePool(g.ReLU(g.Normalise(b))), fc, false, true)
		return g.L2Normalise(z), g.SplitSum(b.Mean)
	}
	q, mean := encode(g.ShareInput("x1", f32, images, 6, 6, 3))
	early, _ := encode(g.ShareInput("x2", f32, images, 6, 6, 3))
	keys := g.Detach(g.GatherRows(g.GatherReplicas(early), g.Input("order", i32, all)))
	k := g.OwnRows(keys)
	loss := g.InfoNCE(graph.Contrast{Positive: g.RowDot(q, k), Negatives: g.MatMul(q, keys, false, true), Temperature: 0.5})
	parameters := []*graph.Node{w, fc, gamma, beta}
	for i, d := range g.Gradients(loss, g.Fill(share), parameters) {
		p := parameters[i]
		g.Assign(p, g.WeightedSum(graph.Term{Coefficient: 1, X: p}, graph.Term{Coefficient: -0.1, X: g.SumReplicas(d)}))
	}
	g.Assign(g.Variable("mean", f32, ch), g.WeightedSum(graph.Term{Coefficient: share, X: g.SumReplicas(mean)}))
	g.Assign(g.Variable("keys", f32, all, 5), g.GatherReplicas(g.Add(k, early)))
	g.Output("loss", g.SumReplicas(g.WeightedSum(graph.Term{Coefficient: share, X: loss})))
	g.Output("q", q)
	g.Output("similar", g.RowDot(early, q))
}
