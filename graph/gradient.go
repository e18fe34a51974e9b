package graph

import "fmt"

// Gradients appends the nodes that compute, by the chain rule from y back, the gradient of each
// node of wrt, given the gradient dy of y, which is Fill(1) for a scalar loss. A node that y does
// not depend on is an error.
func (g *Graph) Gradients(y, dy *Node, wrt []*Node) []*Node {
	out := make([]*Node, len(wrt))
	if y == g.broken && y != nil {
		for i := range out {
			out[i] = g.broken
		}
		return out
	}
	g.wanted = between(g.Nodes[:y.ID+1], wrt)
	defer func() { g.wanted = nil }()
	grad := map[*Node]*Node{y: dy}
	for id := y.ID; id >= 0; id-- {
		n := g.Nodes[id]
		d := grad[n]
		if d == nil || !g.wanted[n] || len(n.In) == 0 {
			continue
		}
		kind := kinds[n.Op]
		if kind.gradient == nil {
			g.fail(fmt.Errorf("%v has no gradient", n))
			continue
		}
		for i, dx := range kind.gradient(g, n, d, n.Attr) {
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

// between holds wrt and the nodes that depend on it. Gradients of anything else are not computed.
func between(nodes []*Node, wrt []*Node) map[*Node]bool {
	wanted := map[*Node]bool{}
	for _, w := range wrt {
		wanted[w] = true
	}
	for _, n := range nodes {
		if n.Op == Detach {
			continue
		}
		for _, in := range n.In {
			if wanted[in] {
				wanted[n] = true
			}
		}
	}
	return wanted
}

// lazy builds the gradient of operand x, unless nobody asks for it: x is data, or detached.
func (g *Graph) lazy(x *Node, build func() *Node) *Node {
	if g.wanted != nil && !g.wanted[x] {
		return nil
	}
	return build()
}
