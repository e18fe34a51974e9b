package define

import "moco/graph"

func init() {
	register(graph.GatherRows, plain(func(in []*Value, y *Value) {
		each := y.Shape[1:].Elements()
		for r, from := range in[1].X {
			copy(y.X[r*each:(r+1)*each], in[0].X[int(from)*each:])
		}
	}))
	register(graph.WriteRows, plain(writeRows))
	register(graph.ReplaceRows, plain(func(in []*Value, y *Value) {
		copy(y.X, in[0].X)
		each := y.Shape[1]
		for r, to := range in[2].X {
			copy(y.X[int(to)*each:(int(to)+1)*each], in[1].X[r*each:])
		}
	}))
	register(graph.Advance, with(func(a graph.AdvanceAttr, in []*Value, y *Value) {
		y.X[0] = float64((int(in[0].X[0]) + a.By) % a.Modulo)
	}))
	register(graph.Rows, with(func(a graph.RowsAttr, in []*Value, y *Value) {
		copy(y.X, in[0].X[a.From*y.Shape[1:].Elements():])
	}))
	register(graph.RowsGrad, with(func(a graph.RowsGradAttr, in []*Value, dx *Value) {
		copy(dx.X[a.From*dx.Shape[1]:], in[0].X)
	}))
	register(graph.Concat, plain(func(in []*Value, y *Value) { copy(y.X[copy(y.X, in[0].X):], in[1].X) }))
}

func writeRows(in []*Value, y *Value) {
	x, rows, at := in[0], in[1], int(in[2].X[0])
	copy(y.X, x.X)
	each, total := y.Shape[1:].Elements(), y.Shape[0]
	for r := range rows.Shape[0] {
		to := (at + r) % total
		copy(y.X[to*each:(to+1)*each], rows.X[r*each:(r+1)*each])
	}
}
