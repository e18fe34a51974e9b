package cpu

import (
	"slices"

	"moco/graph"
)

// fusion is what findFusions decided: passes over memory that one operation makes for several nodes.
type fusion struct {
	absorbed map[*graph.Node]bool        // nodes without an operation of their own
	relu     map[*graph.Node]*graph.Node // ReLU -> the Normalise that it is one pass with
	residual map[*graph.Node]*graph.Node // such a ReLU -> what is added between the two
	masked   map[*graph.Node]*graph.Node // ReLUGrad that is never stored -> the Normalise whose output's sign decides
	pair     map[*graph.Node]*graph.Node // ChannelDot -> ChannelSum, BatchVariance -> BatchMean: one reading gives both
	lazy     map[*graph.Node]*graph.Node // ReLU that is never stored -> its Normalise: all who read it are convolutions that compute it from x while they lay out their inputs
	adds     map[*graph.Node]*graph.Node // sum of two -> its operand ConvGradInput, which adds to the other operand in place
}

// findFusions looks for the patterns that a residual network's step is made of.
func (c *compiler) findFusions() fusion {
	f := fusion{
		absorbed: map[*graph.Node]bool{}, relu: map[*graph.Node]*graph.Node{}, residual: map[*graph.Node]*graph.Node{},
		masked: map[*graph.Node]*graph.Node{}, pair: map[*graph.Node]*graph.Node{}, adds: map[*graph.Node]*graph.Node{}, lazy: map[*graph.Node]*graph.Node{},
	}
	for _, n := range c.graph.Nodes {
		switch n.Op {
		case graph.ReLU:
			c.fuseNormalise(&f, n)
		case graph.ChannelDot, graph.BatchVariance:
			c.fusePair(&f, n)
		case graph.WeightedSum:
			c.fuseAdd(&f, n)
		}
	}
	for _, n := range c.graph.Nodes {
		if n.Op == graph.ReLUGrad {
			c.fuseMask(&f, n)
		}
	}
	for relu := range f.relu {
		c.fuseInput(&f, relu)
	}
	return f
}

// only reports whether n is read by one operand of one node and nothing else.
func (c *compiler) only(n *graph.Node) bool { return len(c.users[n]) == 1 && !c.held[n] }

// isSum is true of x + y.
func isSum(n *graph.Node) bool {
	a, ok := n.Attr.(graph.WeightedSumAttr)
	return ok && len(n.In) == 2 && slices.Equal(a.Coefficients, []float64{1, 1})
}

// fuseNormalise finds relu(normalise(x)) and relu(normalise(x) + residual): one pass over x instead of two or three.
func (c *compiler) fuseNormalise(f *fusion, relu *graph.Node) {
	x := relu.In[0]
	if x.Op == graph.Normalise && c.only(x) {
		f.relu[relu] = x
		f.absorbed[x] = true
		return
	}
	if !isSum(x) || !c.only(x) || isWeights(x) {
		return
	}
	for i, n := range x.In {
		// of two normalised branches, the one that stands first in the graph stays a value of its own
		other := x.In[1-i]
		if n.Op == graph.Normalise && c.only(n) && (other.Op != graph.Normalise || other.ID < n.ID || !c.only(other)) {
			f.relu[relu], f.residual[relu] = n, other
			f.absorbed[n], f.absorbed[x] = true, true
			return
		}
	}
}

// fusePair lets one reading of the activations give both sums.
func (c *compiler) fusePair(f *fusion, n *graph.Node) {
	first := graph.ChannelSum
	if n.Op == graph.BatchVariance {
		first = graph.BatchMean
	}
	splits := n.Shape[0]
	for _, u := range c.users[n.In[0]] {
		if u.Op != first || u.ID > n.ID || u.Shape[0] != splits || f.absorbed[u] {
			continue
		}
		early := false // does somebody want it before n stands?
		for _, w := range c.users[u] {
			early = early || w.ID < n.ID
		}
		if !early {
			f.pair[n], f.absorbed[u] = u, true
			return
		}
	}
}

// fuseAdd lets a convolution's data gradient add to the gradient that came by the other branch.
func (c *compiler) fuseAdd(f *fusion, sum *graph.Node) {
	if !isSum(sum) {
		return
	}
	for _, n := range sum.In {
		if n.Op == graph.ConvGradInput && c.only(n) && sum.In[0] != sum.In[1] {
			f.adds[sum], f.absorbed[n] = n, true
			return
		}
	}
}

// fuseMask finds the gradient through relu(normalise(x)) that goes to batch norm's gradient alone. The sign of the
// normalised value is cheap to have again from x, so neither it nor the masked gradient is stored.
func (c *compiler) fuseMask(f *fusion, n *graph.Node) {
	normalise := f.relu[n.In[1]]
	if normalise == nil || f.residual[n.In[1]] != nil || c.held[n] || len(c.users[n]) == 0 {
		return
	}
	x := normalise.In[0]
	for _, u := range c.users[n] {
		switch {
		case u.Op == graph.ChannelSum && f.absorbed[u]:
		case (u.Op == graph.ChannelDot || u.Op == graph.BatchNormGradInput) && u.In[0] == n && u.In[1] == x && u.In[2].Shape.Equal(normalise.In[1].Shape):
			if u.Op == graph.ChannelDot && f.pair[u] == nil {
				return
			}
		default:
			return
		}
	}
	f.masked[n] = normalise
	f.absorbed[n] = true
}

// fuseInput finds relu(normalise(x)) that only convolutions read which lay out their inputs themselves, Winograd's and 1x1, and normalise on the way: neither a pass
// over memory nor room for the value is needed. The weight gradient of a 1x1 convolution has it computed again (see later).
func (c *compiler) fuseInput(f *fusion, relu *graph.Node) {
	if f.residual[relu] != nil || c.held[relu] {
		return
	}
	for _, u := range c.users[relu] {
		switch {
		case u.Op == graph.Conv && u.In[0] == relu && u.In[1] != relu:
			p := c.engine.packingOf(u.In[1].Shape)
			if !c.engine.inParts(geometryOf(u, u), p.inPad, p.outPad) {
				return
			}
		case u.Op == graph.ConvGradWeight && u.In[1] == relu && u.In[0] != relu:
			p := c.engine.packingOf(u.Shape)
			if !c.engine.inParts(geometryOf(u, u.In[0]), p.inPad, p.outPad) {
				return
			}
		case u.Op == graph.ReLUGrad && f.masked[u] != nil:
		default:
			return
		}
	}
	f.lazy[relu] = f.relu[relu]
}
