package define

import "moco/graph"

func init() {
	register(graph.Fill, with(func(a graph.FillAttr, _ []*Value, y *Value) { y.X[0] = a.Value }))
	register(graph.Detach, plain(func(in []*Value, y *Value) { copy(y.X, in[0].X) }))
	register(graph.WeightedSum, with(weightedSum))
	register(graph.ReLU, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].X {
			y.X[i] = max(x, 0)
		}
	}))
	register(graph.ReLUGrad, plain(func(in []*Value, dx *Value) {
		dy, y := in[0], in[1]
		for i := range y.X {
			if y.X[i] > 0 {
				dx.X[i] = dy.X[i]
			}
		}
	}))
}

func weightedSum(a graph.WeightedSumAttr, in []*Value, y *Value) {
	for t, c := range a.Coefficients {
		if s := a.Scalars[t]; s >= 0 {
			c *= in[s].X[0]
		}
		for i, x := range in[t].X {
			y.X[i] += c * x
		}
	}
}
