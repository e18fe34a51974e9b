package graph

import "moco/tensor"

// The kinds of layer norm (Ba et al. 2016).
const (
	LayerNorm          Op = "LayerNorm"
	LayerNormGradInput Op = "LayerNormGradInput"
	LayerNormGradGamma Op = "LayerNormGradGamma"
)

// LayerNorm normalises each row of channels of x [..,C] by its own mean and biased variance; gamma
// and beta are [C]:
//
//	y = gamma * n + beta, with n = (x-mean)/sqrt(variance+epsilon)
func (g *Graph) LayerNorm(x, gamma, beta *Node, epsilon float64) *Node {
	return g.add(LayerNorm, NormAttr{epsilon}, x, gamma, beta)
}

// LayerNormGradInput is the gradient of LayerNorm with regard to x. With d = gamma*dy and means over
// a row, it is
//
//	dx = (d - mean(d) - n*mean(d*n)) / sqrt(variance+epsilon)
//
// An engine computes a row's statistics again: the row is in the cache then, and no value has to
// wait for the gradient.
func (g *Graph) LayerNormGradInput(dy, x, gamma *Node, epsilon float64) *Node {
	return g.add(LayerNormGradInput, NormAttr{epsilon}, dy, x, gamma)
}

// LayerNormGradGamma is the gradient of LayerNorm with regard to gamma: the sum of dy*n over all
// rows, [..,C] -> [C]. That with regard to beta is the sum of dy.
func (g *Graph) LayerNormGradGamma(dy, x *Node, epsilon float64) *Node {
	return g.add(LayerNormGradGamma, NormAttr{epsilon}, dy, x)
}

func init() {
	register(LayerNorm, rule[NormAttr]{
		check: func(in []*Node, _ NormAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1, 1, 1); err != nil {
				return bad("%w", err)
			}
			if err := perChannel(in[0], in[1], in[2]); err != nil {
				return bad("%w", err)
			}
			return floats(in[0].Shape...)
		},
		gradient: func(g *Graph, n, dy *Node, a NormAttr) []*Node {
			x, gamma, beta := n.In[0], n.In[1], n.In[2]
			return []*Node{
				g.lazy(x, func() *Node { return g.LayerNormGradInput(dy, x, gamma, a.Epsilon) }),
				g.lazy(gamma, func() *Node { return g.LayerNormGradGamma(dy, x, a.Epsilon) }),
				g.lazy(beta, func() *Node { return g.SplitSum(g.ChannelSum(dy, 1)) }),
			}
		},
		cost:       func(n *Node, _ NormAttr) Cost { return n.costs(8 * elements(n.Shape)) },
		activation: asOperands,
	})
	register(LayerNormGradInput, rule[NormAttr]{
		check: func(in []*Node, _ NormAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1, -1, 1); err != nil {
				return bad("%w", err)
			}
			if !in[0].Shape.Equal(in[1].Shape) {
				return bad("shapes differ")
			}
			if err := perChannel(in[1], in[2]); err != nil {
				return bad("%w", err)
			}
			return floats(in[1].Shape...)
		},
		cost:       func(n *Node, _ NormAttr) Cost { return n.costs(14 * elements(n.Shape)) },
		activation: asOperands,
	})
	register(LayerNormGradGamma, rule[NormAttr]{
		check: func(in []*Node, _ NormAttr) (tensor.Type, tensor.Shape, error) { return sumOfRows(in, NoAttr{}) },
		cost:  func(n *Node, _ NormAttr) Cost { return n.costs(8 * elements(n.In[1].Shape)) },
	})
}
