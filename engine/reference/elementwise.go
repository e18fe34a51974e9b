package reference

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.Detach, plain(func(in []*Value, y *Value) { copy(y.x, in[0].x) }))
	register(graph.WeightedSum, with(weightedSum))
	register(graph.ReLU, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].x {
			y.x[i] = max(x, 0)
		}
	}))
	register(graph.ReLUGrad, plain(func(in []*Value, dx *Value) {
		dy, y := in[0], in[1]
		for i := range y.x {
			if y.x[i] > 0 {
				dx.x[i] = dy.x[i]
			}
		}
	}))
	register(graph.GELU, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].x {
			y.x[i] = x * cumulative(x)
		}
	}))
	register(graph.GELUGrad, plain(func(in []*Value, dx *Value) {
		dy := in[0]
		for i, x := range in[1].x {
			density := math.Exp(-x*x/2) / math.Sqrt(2*math.Pi)
			dx.x[i] = dy.x[i] * (cumulative(x) + x*density)
		}
	}))
}

// cumulative is the normal distribution's cumulative function.
func cumulative(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

func weightedSum(a graph.WeightedSumAttr, in []*Value, y *Value) {
	for t, c := range a.Coefficients {
		if s := a.Scalars[t]; s >= 0 {
			c *= in[s].x[0]
		}
		for i, x := range in[t].x {
			y.x[i] += c * x
		}
	}
}
