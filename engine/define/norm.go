package define

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.BatchMean, with(func(a graph.SplitAttr, in []*Value, y *Value) { batchMean(in[0], a.Splits, y.X) }))
	register(graph.BatchVariance, with(batchVariance))
	register(graph.Normalise, with(normalise))
	register(graph.ChannelSum, with(func(a graph.SplitAttr, in []*Value, y *Value) {
		eachChannel(in[0], a.Splits, func(i, sc, _ int) { y.X[sc] += in[0].X[i] })
	}))
	register(graph.ChannelDot, with(channelDot))
	register(graph.BatchNormGradInput, with(batchNormGradInput))
	register(graph.SplitSum, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].X {
			y.X[i%len(y.X)] += x
		}
	}))
}

func batchMean(x *Value, splits int, mean []float64) {
	eachChannel(x, splits, func(i, sc, count int) { mean[sc] += x.X[i] / float64(count) })
}

func batchVariance(a graph.SplitAttr, in []*Value, y *Value) {
	mean := make([]float64, len(y.X))
	batchMean(in[0], a.Splits, mean)
	eachChannel(in[0], a.Splits, func(i, sc, count int) {
		d := in[0].X[i] - mean[sc]
		y.X[sc] += d * d / float64(count)
	})
}

func normalise(a graph.NormAttr, in []*Value, y *Value) {
	x, mean, variance, gamma, beta := in[0], in[1], in[2], in[3], in[4]
	splits := len(mean.X) / len(beta.X) // [S,C], or [C] for one
	eachChannel(x, splits, func(i, sc, _ int) {
		c := sc % len(beta.X)
		y.X[i] = gamma.X[c]*(x.X[i]-mean.X[sc])/math.Sqrt(variance.X[sc]+a.Epsilon) + beta.X[c]
	})
}

func channelDot(a graph.NormAttr, in []*Value, y *Value) {
	dy, x, mean, variance := in[0], in[1], in[2], in[3]
	eachChannel(dy, mean.Shape[0], func(i, sc, _ int) {
		y.X[sc] += dy.X[i] * (x.X[i] - mean.X[sc]) / math.Sqrt(variance.X[sc]+a.Epsilon)
	})
}

func batchNormGradInput(a graph.NormAttr, in []*Value, dx *Value) {
	dy, x, mean, variance, gamma, sum, dot := in[0], in[1], in[2], in[3], in[4], in[5], in[6]
	eachChannel(dy, mean.Shape[0], func(i, sc, pixels int) {
		n := float64(pixels)
		inverse := 1 / math.Sqrt(variance.X[sc]+a.Epsilon)
		normalised := (x.X[i] - mean.X[sc]) * inverse
		dx.X[i] = gamma.X[sc%mean.Shape[1]] * inverse * (dy.X[i] - sum.X[sc]/n - normalised*dot.X[sc]/n)
	})
}

// eachChannel calls f for every element i of x, with the place of its split and channel in [S,C]
// and the number of elements that share it.
func eachChannel(x *Value, splits int, f func(i, sc, count int)) {
	channels := x.Shape[len(x.Shape)-1]
	each := len(x.X) / splits
	for i := range x.X {
		f(i, i/each*channels+i%channels, each/channels)
	}
}
