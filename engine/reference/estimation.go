package reference

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.NCE, with(nce))
	register(graph.NCEGrad, with(nceGrad))
	register(graph.Partition, with(partition))
	register(graph.GatherDot, plain(func(in []*Value, y *Value) {
		eachDraw(y, in[2], in[1], in[0], func(i int, x, key []float64) { y.x[i] = dot(x, key) })
	}))
	register(graph.GatherDotGrad, plain(func(in []*Value, dx *Value) {
		dy := in[0]
		eachDraw(dy, in[2], in[1], dx, func(i int, x, key []float64) {
			for c, k := range key {
				x[c] += dy.x[i] * k
			}
		})
	}))
}

func nce(a graph.EstimateAttr, in []*Value, y *Value) {
	eachRow(in[0], func(_, lo, hi int) {
		for m, s := range in[0].x[lo:hi] {
			h := dataProbability(a, s, in[1].x[0], hi-lo-1)
			if m > 0 {
				h = 1 - h
			}
			y.x[0] -= math.Log(h) / float64(in[0].shape[0])
		}
	})
}

func nceGrad(a graph.EstimateAttr, in []*Value, y *Value) {
	eachRow(y, func(_, lo, hi int) {
		for m, s := range in[1].x[lo:hi] {
			h := dataProbability(a, s, in[2].x[0], hi-lo-1)
			if m == 0 {
				h--
			}
			y.x[lo+m] = in[0].x[0] * h / (a.Temperature * float64(y.shape[0]))
		}
	})
}

func partition(a graph.PartitionAttr, in []*Value, y *Value) {
	for _, s := range in[0].x {
		y.x[0] += float64(a.Population) * math.Exp(s/a.Temperature) / float64(len(in[0].x))
	}
	if z := in[1].x[0]; z != 0 {
		y.x[0] = a.Keep*z + (1-a.Keep)*y.x[0]
	}
}

// dataProbability is h of Wu et al. 2018, Eq. 6: how likely a similarity is to come from the data
// and not from noise.
func dataProbability(a graph.EstimateAttr, similarity, z float64, noise int) float64 {
	p := math.Exp(similarity/a.Temperature) / z
	return p / (p + float64(noise)/float64(a.Population))
}

// eachDraw calls f with the place of each draw in [N,M], its row of x, and the key that the index
// names.
func eachDraw(draws, index, bank, x *Value, f func(i int, x, key []float64)) {
	each, width := draws.shape[1], bank.shape[1]
	for i, k := range index.x {
		n := i / each
		f(i, x.x[n*width:(n+1)*width], bank.x[int(k)*width:(int(k)+1)*width])
	}
}
