package graph

import (
	"errors"
	"fmt"

	"moco/tensor"
)

// The kinds of batch norm (Ioffe and Szegedy 2015).
const (
	BatchMean          Op = "BatchMean"
	BatchVariance      Op = "BatchVariance"
	Normalise          Op = "Normalise"
	ChannelSum         Op = "ChannelSum"
	ChannelDot         Op = "ChannelDot"
	BatchNormGradInput Op = "BatchNormGradInput"
	SplitSum           Op = "SplitSum"
)

// SplitAttr belongs to BatchMean, BatchVariance and ChannelSum.
type SplitAttr struct {
	Splits int // equal, consecutive parts of the batch, each with a result of its own
}

// NormAttr belongs to Normalise, ChannelDot and BatchNormGradInput.
type NormAttr struct {
	Epsilon float64 // is added to the variance
}

// BatchNorm is what batch norm works on.
type BatchNorm struct {
	X           *Node   // [N,..,C]
	Mean        *Node   // [S,C], or [C] for one that all splits share
	Variance    *Node   // of Mean's shape
	Gamma, Beta *Node   // [C]
	Epsilon     float64 // is added to the variance
}

// BatchMean is the mean of each channel over each of `splits` equal, consecutive parts of the
// batch: x [N,..,C] -> [S,C].
func (g *Graph) BatchMean(x *Node, splits int) *Node { return g.add(BatchMean, SplitAttr{splits}, x) }

// BatchVariance is the biased variance that goes with BatchMean: x [N,..,C] -> [S,C].
func (g *Graph) BatchVariance(x *Node, splits int) *Node {
	return g.add(BatchVariance, SplitAttr{splits}, x)
}

// Normalise is batch norm with given statistics:
//
//	y = gamma * (x-mean)/sqrt(variance+epsilon) + beta
func (g *Graph) Normalise(b BatchNorm) *Node {
	return g.add(Normalise, NormAttr{b.Epsilon}, b.X, b.Mean, b.Variance, b.Gamma, b.Beta)
}

// ChannelSum sums each channel over each split: x [N,..,C] -> [S,C].
func (g *Graph) ChannelSum(x *Node, splits int) *Node { return g.add(ChannelSum, SplitAttr{splits}, x) }

// ChannelDot sums dy * (x-mean)/sqrt(variance+epsilon) over each channel and split:
// [N,..,C] -> [S,C]. It reads neither gamma nor beta.
func (g *Graph) ChannelDot(dy *Node, b BatchNorm) *Node {
	return g.add(ChannelDot, NormAttr{b.Epsilon}, dy, b.X, b.Mean, b.Variance)
}

// BatchNormGradInput is the gradient of Normalise with regard to x when the statistics are x's own,
// given sum = ChannelSum(dy), dot = ChannelDot(dy, x), and n pixels in a split. It does not read
// beta.
//
//	r  = 1/sqrt(variance+epsilon)
//	dx = gamma * r * (dy - sum/n - (x-mean)*r * dot/n)
func (g *Graph) BatchNormGradInput(dy *Node, b BatchNorm, sum, dot *Node) *Node {
	return g.add(BatchNormGradInput, NormAttr{b.Epsilon}, dy, b.X, b.Mean, b.Variance, b.Gamma, sum, dot)
}

// SplitSum adds up the splits: [S,C] -> [C].
func (g *Graph) SplitSum(x *Node) *Node { return g.add(SplitSum, NoAttr{}, x) }

func init() {
	register(BatchMean, rule[SplitAttr]{check: checkSplits})
	register(BatchVariance, rule[SplitAttr]{check: checkSplits})
	register(Normalise, rule[NormAttr]{check: checkNormalise, gradient: gradNormalise, activation: asOperands})
	register(ChannelSum, rule[SplitAttr]{check: checkSplits})
	register(ChannelDot, rule[NormAttr]{check: checkChannelDot})
	register(BatchNormGradInput, rule[NormAttr]{check: checkBatchNormGradInput, activation: asOperands})
	register(SplitSum, rule[NoAttr]{check: checkSplitSum})
}

// gradNormalise holds for training alone: the statistics depend on x there.
func gradNormalise(g *Graph, n, dy *Node, a NormAttr) []*Node {
	b := BatchNorm{X: n.In[0], Mean: n.In[1], Variance: n.In[2], Gamma: n.In[3], Beta: n.In[4], Epsilon: a.Epsilon}
	if b.Mean.Op != BatchMean || b.Variance.Op != BatchVariance || b.Mean.In[0] != b.X || b.Variance.In[0] != b.X {
		g.fail(fmt.Errorf("%v has a gradient only with its own batch's statistics", n))
		return make([]*Node, 5)
	}
	sum := g.ChannelSum(dy, StatisticSplits(b.Mean))
	dot := g.ChannelDot(dy, b)
	return []*Node{
		g.BatchNormGradInput(dy, b, sum, dot),
		nil, nil, // the statistics' share is in BatchNormGradInput
		g.SplitSum(dot),
		g.SplitSum(sum),
	}
}

func checkSplits(in []*Node, a SplitAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1); err != nil {
		return bad("%w", err)
	}
	s := in[0].Shape
	if len(s) < 2 {
		return bad("takes a batch with channels")
	}
	if a.Splits < 1 || s[0]%a.Splits != 0 {
		return bad("a batch of %d cannot be cut into %d equal parts", s[0], a.Splits)
	}
	return floats(a.Splits, s[len(s)-1])
}

// statistics checks that each operand has a row for each split of x, or one row for all of it.
func statistics(x *Node, rows ...*Node) error {
	if len(x.Shape) < 2 {
		return errors.New("takes a batch with channels")
	}
	for _, r := range rows {
		fits := len(r.Shape) == 1 || len(r.Shape) == 2 && x.Shape[0]%r.Shape[0] == 0
		if !fits || r.Shape[len(r.Shape)-1] != x.Shape[len(x.Shape)-1] || !r.Shape.Equal(rows[0].Shape) {
			return errors.New("statistics do not fit the batch")
		}
	}
	return nil
}

// StatisticSplits is the number of splits that a mean or variance has rows for: [S,C], or [C] for
// one.
func StatisticSplits(n *Node) int {
	if len(n.Shape) == 1 {
		return 1
	}
	return n.Shape[0]
}

func checkNormalise(in []*Node, _ NormAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1, -1, 1, 1); err != nil {
		return bad("%w", err)
	}
	if err := statistics(in[0], in[1], in[2]); err != nil {
		return bad("%w", err)
	}
	c := in[0].Shape[len(in[0].Shape)-1]
	if in[3].Shape[0] != c || in[4].Shape[0] != c {
		return bad("gamma and beta must have %d values", c)
	}
	return floats(in[0].Shape...)
}

func checkChannelDot(in []*Node, _ NormAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1, 2, 2); err != nil {
		return bad("%w", err)
	}
	if !in[0].Shape.Equal(in[1].Shape) {
		return bad("shapes differ")
	}
	if err := statistics(in[1], in[2], in[3]); err != nil {
		return bad("%w", err)
	}
	return floats(in[2].Shape...)
}

func checkBatchNormGradInput(in []*Node, _ NormAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1, 2, 2, 1, 2, 2); err != nil {
		return bad("%w", err)
	}
	if !in[0].Shape.Equal(in[1].Shape) {
		return bad("shapes differ")
	}
	if err := statistics(in[1], in[2], in[3], in[5], in[6]); err != nil {
		return bad("%w", err)
	}
	if in[4].Shape[0] != in[2].Shape[1] {
		return bad("gamma must have %d values", in[2].Shape[1])
	}
	return floats(in[0].Shape...)
}

func checkSplitSum(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 2); err != nil {
		return bad("%w", err)
	}
	return floats(in[0].Shape[1])
}
