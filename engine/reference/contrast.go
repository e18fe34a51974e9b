package reference

import (
	"math"
	"slices"

	"moco/graph"
)

func init() {
	register(graph.InfoNCE, with(infoNCE))
	register(graph.InfoNCEGrad, with(infoNCEGrad))
	register(graph.ContrastAccuracy, with(contrastAccuracy))
}

func infoNCE(a graph.ContrastAttr, in []*Value, y *Value) {
	rows := in[1].shape[0]
	for r := range rows {
		p, negatives := logits(a, in, r)
		if all := denominator(a, p, negatives); !math.IsInf(all, -1) {
			y.x[0] += (all - p) / float64(rows)
		}
	}
}

func infoNCEGrad(a graph.ContrastAttr, in []*Value, y *Value) {
	rows, keys := y.shape[0], y.shape[1]
	for r := range rows {
		p, negatives := logits(a, in[1:], r)
		all := denominator(a, p, negatives)
		if math.IsInf(all, -1) {
			continue
		}
		for j, l := range negatives {
			y.x[r*keys+j] = in[0].x[0] * math.Exp(l-all) / (a.Temperature * float64(rows))
		}
	}
}

func contrastAccuracy(a graph.ContrastAttr, in []*Value, y *Value) {
	rows := in[1].shape[0]
	for r := range rows {
		p, negatives := logits(a, in, r)
		right := 1.0
		for _, l := range negatives {
			if l > p {
				right = 0
			}
		}
		y.x[0] += right / float64(rows)
	}
}

// logits is the similarity of query r to its positive and to the negatives, each over t. A negative
// with the query's own id is minus infinity.
func logits(a graph.ContrastAttr, in []*Value, r int) (positive float64, negatives []float64) {
	keys := in[1].shape[1]
	for j, x := range in[1].x[r*keys : (r+1)*keys] {
		if len(in) == 4 && in[2].x[r] == in[3].x[j] {
			x = math.Inf(-1)
		}
		negatives = append(negatives, x/a.Temperature)
	}
	return in[0].x[r] / a.Temperature, negatives
}

// denominator is the logarithm of the loss's denominator: minus infinity where decoupled has left
// nothing in it.
func denominator(a graph.ContrastAttr, p float64, negatives []float64) float64 {
	if !a.Decoupled {
		return logSum(p, negatives)
	}
	if least := math.Inf(-1); slices.Max(negatives) > least {
		return logSum(least, negatives)
	}
	return math.Inf(-1)
}

// logSum is log(exp(p) + sum exp(l)), without overflow.
func logSum(p float64, logits []float64) float64 {
	largest := p
	for _, l := range logits {
		largest = max(largest, l)
	}
	sum := math.Exp(p - largest)
	for _, l := range logits {
		sum += math.Exp(l - largest)
	}
	return largest + math.Log(sum)
}
