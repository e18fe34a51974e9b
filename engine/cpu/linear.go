package cpu

import "moco/graph"

// A batch of rows times one matrix of weights, [N,T,C] by [D,C], is a 1x1 convolution: the tokens
// are its pixels. So are both gradients of it. They take its steps, its tile and its order of
// weights, and what is fused with a convolution can be fused with them.

// linear is the step of a convolution that computes a product; nil of any other product.
func linear(n *graph.Node) *operation {
	if n.Op != graph.MatMul {
		return nil
	}
	a := n.Attr.(graph.MatMulAttr)
	rows, matrix := len(n.In[0].Shape) > 2, len(n.In[1].Shape) == 2
	switch {
	case a.SumBatch && a.TransposeA && !a.TransposeB:
		return weightGradient
	case rows && matrix && !a.TransposeA && a.TransposeB:
		return forward
	case rows && matrix && !a.TransposeA:
		return dataGradient
	}
	return nil
}

// buildMatMul makes the steps of a product.
func buildMatMul(c *compiler, n *graph.Node) {
	switch linear(n) {
	case forward:
		c.addForward(n, c.newLinear(n.In[0], n.In[1]))
	case dataGradient:
		c.addDataGradient(n, c.newLinear(n.In[0], n.In[1]))
	case weightGradient:
		c.addWeightGradient(n, c.newLinear(n.In[0], n))
	default:
		c.add(newStep(operationOf(n.Op), n, c.operands(n), []*value{c.result(n)}))
	}
}

// newLinear describes the product of the rows of a value with weights as a convolution of images of
// one pixel.
func (c *compiler) newLinear(rows, weights *graph.Node) *convolution {
	count, _ := rowsOf(rows.Shape)
	p := c.engine.packingOf(weights.Shape)
	g := geometry{images: count, height: 1, width: 1, outH: 1, outW: 1, kernel: 1, stride: 1}
	return &convolution{geometry: g, in: p.inPad, out: p.outPad, packing: p}
}
