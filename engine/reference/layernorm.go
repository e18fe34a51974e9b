package reference

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.LayerNorm, with(func(a graph.NormAttr, in []*Value, y *Value) {
		gamma, beta := in[1], in[2]
		eachRow(y, func(_, lo, hi int) {
			n, _ := standardised(in[0].x[lo:hi], a.Epsilon)
			for c, v := range n {
				y.x[lo+c] = gamma.x[c]*v + beta.x[c]
			}
		})
	}))
	register(graph.LayerNormGradInput, with(layerNormGradInput))
	register(graph.LayerNormGradGamma, with(func(a graph.NormAttr, in []*Value, y *Value) {
		dy, x := in[0], in[1]
		eachRow(x, func(_, lo, hi int) {
			n, _ := standardised(x.x[lo:hi], a.Epsilon)
			for c, v := range n {
				y.x[c] += dy.x[lo+c] * v
			}
		})
	}))
}

func layerNormGradInput(a graph.NormAttr, in []*Value, dx *Value) {
	dy, x, gamma := in[0], in[1], in[2]
	eachRow(dx, func(_, lo, hi int) {
		n, inverse := standardised(x.x[lo:hi], a.Epsilon)
		d := make([]float64, len(n))
		var sum float64
		for c := range d {
			d[c] = gamma.x[c] * dy.x[lo+c]
			sum += d[c]
		}
		count, along := float64(len(n)), dot(d, n)
		for c := range d {
			dx.x[lo+c] = (d[c] - sum/count - n[c]*along/count) * inverse
		}
	})
}

// standardised is (x-mean)/sqrt(variance+epsilon) of a row, and the inverse of that root.
func standardised(x []float64, epsilon float64) (n []float64, inverse float64) {
	var mean, variance float64
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	inverse = 1 / math.Sqrt(variance+epsilon)
	for _, v := range x {
		n = append(n, (v-mean)*inverse)
	}
	return n, inverse
}
