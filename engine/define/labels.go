package define

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
		logits, label := in[0].X[lo:hi], int(in[1].X[r])
		y.X[0] += (logSum(logits[0], logits[1:]) - logits[label]) / float64(in[0].Shape[0])
	})
}

func crossEntropyGrad(in []*Value, y *Value) {
	eachRow(y, func(r, lo, hi int) {
		logits, label := in[1].X[lo:hi], int(in[2].X[r])
		all := logSum(logits[0], logits[1:])
		for j, l := range logits {
			p := math.Exp(l - all)
			if j == label {
				p--
			}
			y.X[lo+j] = in[0].X[0] * p / float64(y.Shape[0])
		}
	})
}

func labelAccuracy(in []*Value, y *Value) {
	eachRow(in[0], func(r, lo, hi int) {
		if logits := in[0].X[lo:hi]; logits[int(in[1].X[r])] >= slices.Max(logits) {
			y.X[0] += 1 / float64(in[0].Shape[0])
		}
	})
}
