package graph

import "moco/tensor"

// Cost is what a node does: floating-point operations, of which a multiply and an add are two, and
// the bytes of the values that it reads and writes once each.
type Cost struct {
	FLOPs, Bytes int64
}

// Cost counts one node as its definition states it, whatever an engine makes of it: a convolution
// is a direct one, with the border's taps.
func (n *Node) Cost() Cost {
	kind, ok := kinds[n.Op]
	switch {
	case !ok: // an Input or Variable is there already
		return Cost{}
	case kind.cost != nil:
		return kind.cost(n, n.Attr)
	}
	size := elements(n.Shape)
	for _, in := range n.In {
		size = max(size, elements(in.Shape))
	}
	return n.costs(2 * size)
}

// costs is a cost of so many operations, and each value read or written once.
func (n *Node) costs(flops int64) Cost {
	bytes := elements(n.Shape) * int64(n.Type.Size())
	for _, in := range n.In {
		bytes += elements(in.Shape) * int64(in.Type.Size())
	}
	return Cost{FLOPs: flops, Bytes: bytes}
}

// moves is the cost of a kind that only moves values.
func moves[A any](n *Node, _ A) Cost { return n.costs(0) }

func elements(s tensor.Shape) int64 { return int64(s.Elements()) }

// Cost adds up the nodes.
func (g *Graph) Cost() Cost {
	var c Cost
	for _, n := range g.Nodes {
		d := n.Cost()
		c.FLOPs += d.FLOPs
		c.Bytes += d.Bytes
	}
	return c
}
