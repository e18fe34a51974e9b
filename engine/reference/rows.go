package reference

import "moco/graph"

func init() {
	register(graph.GatherRows, plain(func(in []*Value, y *Value) {
		each := y.shape[1:].Elements()
		for r, from := range in[1].x {
			copy(y.x[r*each:(r+1)*each], in[0].x[int(from)*each:])
		}
	}))
	register(graph.WriteRows, plain(writeRows))
	register(graph.ReplaceRows, plain(func(in []*Value, y *Value) {
		copy(y.x, in[0].x)
		each := y.shape[1]
		for r, to := range in[2].x {
			copy(y.x[int(to)*each:(int(to)+1)*each], in[1].x[r*each:])
		}
	}))
	register(graph.Advance, with(func(a graph.AdvanceAttr, in []*Value, y *Value) {
		y.x[0] = float64((int(in[0].x[0]) + a.By) % a.Modulo)
	}))
}

func writeRows(in []*Value, y *Value) {
	x, rows, at := in[0], in[1], int(in[2].x[0])
	copy(y.x, x.x)
	each, total := y.shape[1:].Elements(), y.shape[0]
	for r := range rows.shape[0] {
		to := (at + r) % total
		copy(y.x[to*each:(to+1)*each], rows.x[r*each:(r+1)*each])
	}
}
