package graph

import "moco/tensor"

// The kinds that tell a positive from negatives which all queries share.
const (
	InfoNCE          Op = "InfoNCE"
	InfoNCEGrad      Op = "InfoNCEGrad"
	ContrastAccuracy Op = "ContrastAccuracy"
)

// ContrastAttr belongs to InfoNCE, InfoNCEGrad and ContrastAccuracy.
type ContrastAttr struct {
	Temperature float64 // t
	Decoupled   bool    // the loss's denominator is over the negatives alone
}

// Contrast is what a query is matched against. The ids are optional, both or neither: a negative
// whose id equals the query's own is left out.
type Contrast struct {
	Positive    *Node   // [N] similarity to the positive key
	Negatives   *Node   // [N,K] similarity to the negatives
	QueryIDs    *Node   // [N] int32, or nil
	KeyIDs      *Node   // [K] int32, or nil
	Temperature float64 // t
	Decoupled   bool    // InfoNCE's denominator is over the negatives alone
}

// contrast adds a node that reads c, and `before` in front of it.
func (g *Graph) contrast(op Op, c Contrast, before ...*Node) *Node {
	in := append(before, c.Positive, c.Negatives)
	if c.QueryIDs != nil || c.KeyIDs != nil {
		in = append(in, c.QueryIDs, c.KeyIDs)
	}
	return g.add(op, ContrastAttr{c.Temperature, c.Decoupled}, in...)
}

// InfoNCE is a scalar (He et al. 2020, Eq. 1): the mean over the batch of
//
//	-log( exp(p/t) / (exp(p/t) + sum_i exp(n_i/t)) )
//
// Decoupled, the positive is left out of the denominator (DCL, Yeh et al. 2022). A query without a
// negative then adds 0.
func (g *Graph) InfoNCE(c Contrast) *Node { return g.contrast(InfoNCE, c) }

// InfoNCEGrad is the gradient of InfoNCE with regard to the negatives, times the scalar dy: dy *
// softmax_i / (t*N), [N,K]. The gradient with regard to the positive is minus the sum of a row.
func (g *Graph) InfoNCEGrad(dy *Node, c Contrast) *Node { return g.contrast(InfoNCEGrad, c, dy) }

// ContrastAccuracy is the share of queries whose positive is at least as similar as every negative,
// a scalar.
func (g *Graph) ContrastAccuracy(c Contrast) *Node { return g.contrast(ContrastAccuracy, c) }

func init() {
	register(InfoNCE, rule[ContrastAttr]{
		check: func(in []*Node, a ContrastAttr) (tensor.Type, tensor.Shape, error) {
			return checkContrast(in, a, nil)
		},
		gradient: gradInfoNCE,
	})
	register(InfoNCEGrad, rule[ContrastAttr]{
		check: func(in []*Node, a ContrastAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 3 && len(in) != 5 {
				return bad("takes a gradient, a positive, negatives, and both ids or none")
			}
			if err := scalars(in[:1]); err != nil {
				return bad("%w", err)
			}
			return checkContrast(in[1:], a, in[2].Shape)
		},
	})
	register(ContrastAccuracy, rule[ContrastAttr]{
		check: func(in []*Node, a ContrastAttr) (tensor.Type, tensor.Shape, error) {
			return checkContrast(in, a, nil)
		},
	})
}

func gradInfoNCE(g *Graph, n, dy *Node, a ContrastAttr) []*Node {
	c := Contrast{Positive: n.In[0], Negatives: n.In[1], Temperature: a.Temperature, Decoupled: a.Decoupled}
	if len(n.In) == 4 {
		c.QueryIDs, c.KeyIDs = n.In[2], n.In[3]
	}
	negatives := g.InfoNCEGrad(dy, c)
	out := make([]*Node, len(n.In))
	out[0] = g.WeightedSum(Term{Coefficient: -1, X: g.RowSum(negatives)})
	out[1] = negatives
	return out
}

// checkContrast checks the operands of a Contrast; the result has the given shape.
func checkContrast(in []*Node, a ContrastAttr, result tensor.Shape) (tensor.Type, tensor.Shape, error) {
	if a.Temperature <= 0 {
		return bad("the temperature must be positive")
	}
	if len(in) != 2 && len(in) != 4 {
		return bad("takes a positive, negatives, and both ids or none")
	}
	if err := ranks(in[:2], 1, 2); err != nil {
		return bad("%w", err)
	}
	n, k := in[1].Shape[0], in[1].Shape[1]
	if in[0].Shape[0] != n {
		return bad("%d positives for %d queries", in[0].Shape[0], n)
	}
	if len(in) == 4 {
		for i, want := range []int{n, k} {
			if id := in[2+i]; !isIndex(id) || id.Shape[0] != want {
				return bad("ids must be int32, one for each query and each key")
			}
		}
	}
	return floats(result...)
}
