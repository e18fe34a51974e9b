package reference

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.BatchMean, with(func(a graph.SplitAttr, in []*Value, y *Value) { batchMean(in[0], a.Splits, y.x) }))
	register(graph.BatchVariance, with(batchVariance))
	register(graph.Normalise, with(normalise))
	register(graph.ChannelSum, with(func(a graph.SplitAttr, in []*Value, y *Value) {
		eachChannel(in[0], a.Splits, func(i, sc, _ int) { y.x[sc] += in[0].x[i] })
	}))
	register(graph.ChannelDot, with(channelDot))
	register(graph.BatchNormGradInput, with(batchNormGradInput))
	register(graph.SplitSum, plain(func(in []*Value, y *Value) {
		for i, x := range in[0].x {
			y.x[i%len(y.x)] += x
		}
	}))
}

func batchMean(x *Value, splits int, mean []float64) {
	eachChannel(x, splits, func(i, sc, count int) { mean[sc] += x.x[i] / float64(count) })
}

func batchVariance(a graph.SplitAttr, in []*Value, y *Value) {
	mean := make([]float64, len(y.x))
	batchMean(in[0], a.Splits, mean)
	eachChannel(in[0], a.Splits, func(i, sc, count int) {
		d := in[0].x[i] - mean[sc]
		y.x[sc] += d * d / float64(count)
	})
}

func normalise(a graph.NormAttr, in []*Value, y *Value) {
	x, mean, variance, gamma, beta := in[0], in[1], in[2], in[3], in[4]
	splits := len(mean.x) / len(beta.x) // [S,C], or [C] for one
	eachChannel(x, splits, func(i, sc, _ int) {
		c := sc % len(beta.x)
		y.x[i] = gamma.x[c]*(x.x[i]-mean.x[sc])/math.Sqrt(variance.x[sc]+a.Epsilon) + beta.x[c]
	})
}

func channelDot(a graph.NormAttr, in []*Value, y *Value) {
	dy, x, mean, variance := in[0], in[1], in[2], in[3]
	eachChannel(dy, mean.shape[0], func(i, sc, _ int) {
		y.x[sc] += dy.x[i] * (x.x[i] - mean.x[sc]) / math.Sqrt(variance.x[sc]+a.Epsilon)
	})
}

func batchNormGradInput(a graph.NormAttr, in []*Value, dx *Value) {
	dy, x, mean, variance, gamma, sum, dot := in[0], in[1], in[2], in[3], in[4], in[5], in[6]
	eachChannel(dy, mean.shape[0], func(i, sc, pixels int) {
		n := float64(pixels)
		inverse := 1 / math.Sqrt(variance.x[sc]+a.Epsilon)
		normalised := (x.x[i] - mean.x[sc]) * inverse
		dx.x[i] = gamma.x[sc%mean.shape[1]] * inverse * (dy.x[i] - sum.x[sc]/n - normalised*dot.x[sc]/n)
	})
}

// eachChannel calls f for every element i of x, with the place of its split and channel in [S,C]
// and the number of elements that share it.
func eachChannel(x *Value, splits int, f func(i, sc, count int)) {
	channels := x.shape[len(x.shape)-1]
	each := len(x.x) / splits
	for i := range x.x {
		f(i, i/each*channels+i%channels, each/channels)
	}
}
