package graph

import "moco/tensor"

// The kinds of attention (Vaswani et al. 2017).
const (
	Attention     Op = "Attention"
	AttentionGrad Op = "AttentionGrad"
)

// AttentionAttr belongs to Attention and AttentionGrad.
type AttentionAttr struct {
	Heads int
}

// Attention is self-attention of the tokens of each example. The last axis of qkv [N,T,3C] holds a
// token's queries, keys and values, each of them head after head, of D = C/heads channels. The
// result [N,T,C] has head after head too; for each it is
//
//	softmax(q k^T / sqrt(D)) v
//
// with the softmax over the keys of a query. The T*T scores are no value of the graph: an engine may
// work on a few rows of them at a time.
func (g *Graph) Attention(qkv *Node, heads int) *Node {
	return g.add(Attention, AttentionAttr{heads}, qkv)
}

// AttentionGrad is the gradient of y = Attention(qkv) with regard to qkv, [N,T,3C]. With p for the
// softmax's weights, for each head:
//
//	dv = p^T dy
//	ds = p * (dy v^T - rowsum(dy*y))
//	dq = ds k / sqrt(D)
//	dk = ds^T q / sqrt(D)
//
// It reads y, so that the sum of a row of p*(dy v^T) need not be known before the row is computed.
func (g *Graph) AttentionGrad(dy, qkv, y *Node, heads int) *Node {
	return g.add(AttentionGrad, AttentionAttr{heads}, dy, qkv, y)
}

func init() {
	register(Attention, rule[AttentionAttr]{
		check: checkAttention,
		gradient: func(g *Graph, n, dy *Node, a AttentionAttr) []*Node {
			return []*Node{g.lazy(n.In[0], func() *Node { return g.AttentionGrad(dy, n.In[0], n, a.Heads) })}
		},
		// The products are q k^T and p v. What the softmax takes is small beside them.
		cost:       func(n *Node, _ AttentionAttr) Cost { return n.costs(2 * attentionProduct(n.Shape)) },
		activation: always,
	})
	register(AttentionGrad, rule[AttentionAttr]{
		check: func(in []*Node, a AttentionAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, 3, 3, 3); err != nil {
				return bad("%w", err)
			}
			_, y, err := checkAttention(in[1:2], a)
			if err != nil {
				return bad("%w", err)
			}
			if !in[0].Shape.Equal(y) || !in[2].Shape.Equal(y) {
				return bad("the gradient or the result does not fit the queries")
			}
			return floats(in[1].Shape...)
		},
		// The products are p^T dy, dy v^T, ds k and ds^T q, and q k^T once more, since the scores are
		// not kept.
		cost:       func(n *Node, _ AttentionAttr) Cost { return n.costs(5 * attentionProduct(n.In[0].Shape)) },
		activation: always,
	})
}

// attentionProduct is the operations of one of attention's products, of all heads, of which each is
// [T,D] x [D,T] or as large.
func attentionProduct(y tensor.Shape) int64 { return 2 * elements(y) * int64(y[1]) }

func checkAttention(in []*Node, a AttentionAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 3); err != nil {
		return bad("%w", err)
	}
	s := in[0].Shape
	if a.Heads < 1 || s[2]%(3*a.Heads) != 0 {
		return bad("%d channels are not queries, keys and values of %d heads", s[2], a.Heads)
	}
	return floats(s[0], s[1], s[2]/3)
}
