package enginetest

import (
	"fmt"

	"moco/graph"
)

var rows = family{cases: rowCases}

func rowCases() (cases []Case) {
	for _, shape := range [][]int{{5, 3}, {4, 2, 3, 17}, {6, 2, 2, 3}} {
		c := unary("GatherRows", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.GatherRows(x, g.Input("index", i32, 4))
		})
		c.Set = setting{"index": func(i int) float64 { return float64((i*3 + 1) % 4) }}
		cases = append(cases, c)
	}
	for _, s := range []struct{ k, n, at int }{{8, 3, 0}, {8, 3, 6}, {5, 5, 2}, {3, 8, 1}, {20, 1, 19}} {
		cases = append(cases, Case{
			Name: fmt.Sprintf("WriteRows of %d into %d from %d", s.n, s.k, s.at),
			Runs: 3,
			Set:  setting{"at": func(int) float64 { return float64(s.at) }},
			Build: func(g *graph.Graph) {
				queue, ids, at := g.Variable("queue", f32, s.k, 5), g.Variable("ids", i32, s.k), g.Variable("at", i32, 1)
				g.Assign(queue, g.WriteRows(queue, g.Input("rows", f32, s.n, 5), at))
				g.Assign(ids, g.WriteRows(ids, g.Input("row_ids", i32, s.n), at))
				next := g.Advance(at, s.n, s.k)
				g.Assign(at, next)
				g.Output("next", next)
				g.Output("old", queue)
			},
		})
	}
	return cases
}
