package graph

import (
	"fmt"
	"slices"
)

// gradients has an entry for each kind that is differentiable: given a node and the gradient dy of its value, it
// returns the gradients of the node's operands, nil where none flows. Kinds without an entry are refused.
var gradients = map[Op]func(g *Graph, n, dy *Node) []*Node{
	Detach: func(g *Graph, n, dy *Node) []*Node { return make([]*Node, 1) },
	WeightedSum: func(g *Graph, n, dy *Node) []*Node {
		out := make([]*Node, len(n.In)) // the scalars are constants
		for i, c := range n.Attr.Coefficients {
			out[i] = dy
			if s := n.Attr.Scalars[i]; s >= 0 {
				out[i] = g.WeightedSum(Term{c, n.In[s], dy})
			} else if c != 1 {
				out[i] = g.WeightedSum(Term{c, nil, dy})
			}
		}
		return out
	},
	Conv: func(g *Graph, n, dy *Node) []*Node {
		x, w, a := n.In[0], n.In[1], n.Attr
		return []*Node{
			g.lazy(x, func() *Node { return g.ConvGradInput(dy, w, a.Stride, a.Pad, x.Shape[1], x.Shape[2]) }),
			g.lazy(w, func() *Node { return g.ConvGradWeight(dy, x, w.Shape[2], a.Stride, a.Pad) }),
		}
	},
	Normalise: func(g *Graph, n, dy *Node) []*Node {
		x, mean, variance, gamma, e := n.In[0], n.In[1], n.In[2], n.In[3], n.Attr.Epsilon
		if mean.Op != BatchMean || variance.Op != BatchVariance || mean.In[0] != x || variance.In[0] != x {
			g.fail(fmt.Errorf("%v has a gradient only with its own batch's statistics", n))
			return make([]*Node, 5)
		}
		sum := g.ChannelSum(dy, mean.Attr.Splits)
		dot := g.ChannelDot(dy, x, mean, variance, e)
		return []*Node{
			g.BatchNormGradInput(dy, x, mean, variance, gamma, sum, dot, e),
			nil, nil, // the statistics' share is in BatchNormGradInput
			g.SplitSum(dot),
			g.SplitSum(sum),
		}
	},
	ReLU: func(g *Graph, n, dy *Node) []*Node { return []*Node{g.ReLUGrad(dy, n)} },
	MaxPool: func(g *Graph, n, dy *Node) []*Node {
		return []*Node{g.MaxPoolGrad(dy, n.In[0], n.Attr.Kernel, n.Attr.Stride, n.Attr.Pad)}
	},
	AveragePool: func(g *Graph, n, dy *Node) []*Node {
		x := n.In[0].Shape
		return []*Node{g.AveragePoolGrad(dy, x[1], x[2])}
	},
	MatMul: func(g *Graph, n, dy *Node) []*Node {
		a, b, ta, tb := n.In[0], n.In[1], n.Attr.TransposeA, n.Attr.TransposeB
		return []*Node{
			g.lazy(a, func() *Node {
				if ta {
					return g.MatMul(b, dy, tb, true)
				}
				return g.MatMul(dy, b, false, !tb)
			}),
			g.lazy(b, func() *Node {
				if tb {
					return g.MatMul(dy, a, true, ta)
				}
				return g.MatMul(a, dy, !ta, false)
			}),
		}
	},
	BiasAdd: func(g *Graph, n, dy *Node) []*Node {
		return []*Node{dy, g.SplitSum(g.ChannelSum(dy, 1))}
	},
	L2Normalise: func(g *Graph, n, dy *Node) []*Node { return []*Node{g.L2NormaliseGrad(dy, n.In[0])} },
	RowDot: func(g *Graph, n, dy *Node) []*Node {
		a, b := n.In[0], n.In[1]
		return []*Node{
			g.lazy(a, func() *Node { return g.ScaleRows(b, dy) }),
			g.lazy(b, func() *Node { return g.ScaleRows(a, dy) }),
		}
	},
	InfoNCE: func(g *Graph, n, dy *Node) []*Node {
		c := Contrast{Positive: n.In[0], Negatives: n.In[1], Temperature: n.Attr.Temperature}
		if len(n.In) == 4 {
			c.QueryIDs, c.KeyIDs = n.In[2], n.In[3]
		}
		negatives := g.InfoNCEGrad(dy, c)
		out := make([]*Node, len(n.In))
		out[0] = g.WeightedSum(Term{Coefficient: -1, X: g.RowSum(negatives)})
		out[1] = negatives
		return out
	},
	Rows: func(g *Graph, n, dy *Node) []*Node {
		return []*Node{g.lazy(n.In[0], func() *Node { return g.RowsGrad(dy, n.Attr.From, n.In[0].Shape[0]) })}
	},
	Concat: func(g *Graph, n, dy *Node) []*Node {
		a, b := n.In[0], n.In[1]
		return []*Node{
			g.lazy(a, func() *Node { return g.Rows(dy, 0, a.Shape[0]) }),
			g.lazy(b, func() *Node { return g.Rows(dy, a.Shape[0], b.Shape[0]) }),
		}
	},
	GatherDot: func(g *Graph, n, dy *Node) []*Node { // the bank takes no gradient
		return []*Node{g.lazy(n.In[0], func() *Node { return g.GatherDotGrad(dy, n.In[1], n.In[2]) }), nil, nil}
	},
	CrossEntropy: func(g *Graph, n, dy *Node) []*Node { return []*Node{g.CrossEntropyGrad(dy, n.In[0], n.In[1]), nil} },
	NCE: func(g *Graph, n, dy *Node) []*Node {
		return []*Node{g.NCEGrad(dy, Estimate{n.In[0], n.In[1], n.Attr.Temperature, int(n.Attr.Value)}), nil}
	},
}

// lazy builds the gradient of operand x unless x is a leaf or detached value that nothing asks a gradient of.
func (g *Graph) lazy(x *Node, build func() *Node) *Node {
	if g.wanted != nil && !g.wanted[x] {
		return nil
	}
	return build()
}

// Gradients appends the nodes that compute, by the chain rule from y back, the gradient of each node of wrt, given
// the gradient dy of y (a Fill(1) for a scalar loss). A node that y does not depend on is an error.
func (g *Graph) Gradients(y, dy *Node, wrt []*Node) []*Node {
	out := make([]*Node, len(wrt))
	if y == g.broken && y != nil {
		for i := range out {
			out[i] = g.broken
		}
		return out
	}
	// wanted holds what lies on a path from wrt to y; gradients of anything else are not computed.
	g.wanted = map[*Node]bool{}
	defer func() { g.wanted = nil }()
	for _, w := range wrt {
		g.wanted[w] = true
	}
	last := y.ID
	for _, n := range g.Nodes[:last+1] {
		if n.Op == Detach {
			continue
		}
		for _, in := range n.In {
			if g.wanted[in] {
				g.wanted[n] = true
			}
		}
	}
	grad := map[*Node]*Node{y: dy}
	for id := last; id >= 0; id-- {
		n := g.Nodes[id]
		d := grad[n]
		if d == nil || !g.wanted[n] || len(n.In) == 0 {
			continue
		}
		rule, ok := gradients[n.Op]
		if !ok {
			g.fail(fmt.Errorf("%v has no gradient", n))
			continue
		}
		for i, dx := range rule(g, n, d) {
			in := n.In[i]
			switch {
			case dx == nil || !g.wanted[in]:
			case grad[in] == nil:
				grad[in] = dx
			default:
				grad[in] = g.Add(grad[in], dx)
			}
		}
	}
	for i, w := range wrt {
		if out[i] = grad[w]; out[i] == nil {
			out[i] = g.fail(fmt.Errorf("%v does not depend on %v", y, w))
		}
	}
	return out
}

// Differentiable lists the kinds that have a gradient, in the order of their declaration.
func Differentiable() []Op {
	var ops []Op
	for op := range gradients {
		ops = append(ops, op)
	}
	slices.Sort(ops)
	return ops
}
