package reference

import (
	"math"
	"slices"

	"moco/graph"
)

func init() {
	register(graph.CrossEntropy, plain(crossEntropy))
	register(graph.CrossEntropyGrad, plain(crossEntropyGrad))
	register(graph.LabelAccuracy, plain(labelAccuracy))
}

func crossEntropy(in []*Value, y *Value) {
	eachRow(in[0], func(r, lo, hi int) {
		logits, label := in[0].x[lo:hi], int(in[1].x[r])
		y.x[0] += (logSum(logits[0], logits[1:]) - logits[label]) / float64(in[0].shape[0])
	})
}

func crossEntropyGrad(in []*Value, y *Value) {
	eachRow(y, func(r, lo, hi int) {
		logits, label := in[1].x[lo:hi], int(in[2].x[r])
		all := logSum(logits[0], logits[1:])
		for j, l := range logits {
			p := math.Exp(l - all)
			if j == label {
				p--
			}
			y.x[lo+j] = in[0].x[0] * p / float64(y.shape[0])
		}
	})
}

func labelAccuracy(in []*Value, y *Value) {
	eachRow(in[0], func(r, lo, hi int) {
		if logits := in[0].x[lo:hi]; logits[int(in[1].x[r])] >= slices.Max(logits) {
			y.x[0] += 1 / float64(in[0].shape[0])
		}
	})
}
