package graph

// Cost is what a node does: floating-point operations (a multiply and an add are two) and the bytes of the values that it
// reads and writes once each.
type Cost struct {
	FLOPs, Bytes int64
}

// Cost counts one node as its definition states it (a direct convolution, border taps included), whatever an engine makes of it.
func (n *Node) Cost() Cost {
	c := Cost{}
	if n.Op == Input || n.Op == Variable || n.Op == Fill || n.Op == Detach {
		return c
	}
	size := int64(n.Shape.Elements())
	c.Bytes = size * int64(n.Type.Size())
	for _, in := range n.In {
		c.Bytes += int64(in.Shape.Elements() * in.Type.Size())
	}
	switch n.Op {
	case Conv: // each output is a dot product over the weights of its channel
		c.FLOPs = 2 * size * int64(n.In[1].Shape[1:].Elements())
	case ConvGradInput:
		c.FLOPs = 2 * int64(n.In[0].Shape.Elements()) * int64(n.In[1].Shape[1:].Elements())
	case ConvGradWeight:
		c.FLOPs = 2 * int64(n.In[0].Shape.Elements()) * int64(n.Shape[1:].Elements())
	case MatMul:
		inner := n.In[0].Shape[1]
		if n.Attr.TransposeA {
			inner = n.In[0].Shape[0]
		}
		c.FLOPs = 2 * size * int64(inner)
	case GatherDot, GatherDotGrad: // a row of the bank is read for each index
		rows := int64(n.In[2].Shape[0]) * int64(n.In[1].Shape[1])
		c.FLOPs, c.Bytes = 2*rows, 4*rows
	case GatherRows, WriteRows, Advance, MaxPoolGrad, Rows, RowsGrad, Concat, ReplaceRows:
	case MaxPool:
		c.FLOPs = size * int64(n.Attr.Kernel*n.Attr.Kernel)
	case WeightedSum:
		c.FLOPs = size * int64(2*len(n.Attr.Coefficients)-1)
	default: // a few operations an element of the largest operand
		for _, in := range n.In {
			size = max(size, int64(in.Shape.Elements()))
		}
		c.FLOPs = 2 * size
	}
	return c
}

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
