package cpu

import "moco/graph"

// Operations that work float by float, in whatever order the floats lie.

func (c *compiler) weightedSum(n *graph.Node) {
	if grad := c.fusion.adds[n]; grad != nil {
		c.addConvGradInput(n, grad)
		return
	}
	a := n.Attr.(graph.WeightedSumAttr)
	terms := len(a.Coefficients)
	var x, s [3]*buffer
	var k [3]float32
	o := &op{node: n, cost: n.Cost()}
	for i := range terms {
		x[i] = c.as(n, n.In[i])
		k[i] = float32(a.Coefficients[i])
		o.reads = append(o.reads, x[i])
		if j := a.Scalars[i]; j >= 0 {
			s[i] = c.value(n.In[j])
			o.reads = append(o.reads, s[i])
		}
	}
	y := c.result(n)
	o.reuse, o.writes = o.reads, []*buffer{y}
	sum := c.engine.path.WeightedSum
	o.phases = []phase{cut(y.words, elementsEach, func(_ *worker, lo, hi int) {
		var f [3][]float32
		var a [3]float32
		for i := range terms {
			f[i] = x[i].f[lo:hi]
			a[i] = k[i]
			if s[i] != nil {
				a[i] *= s[i].f[0]
			}
		}
		sum(y.f[lo:hi], a[0], f[0], a[1], f[1], a[2], f[2])
	})}
	c.emit(o)
}

func (c *compiler) relu(n *graph.Node) {
	if c.fusion.lazy[n] != nil || c.values[n] != nil { // the convolution behind or in front of it does it
		return
	}
	if normalise := c.fusion.relu[n]; normalise != nil {
		c.normaliseInto(n, normalise, c.fusion.residual[n], true)
		return
	}
	x := c.as(n, n.In[0])
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{y}, reuse: []*buffer{x},
		phases: []phase{cut(y.words, elementsEach, func(_ *worker, lo, hi int) {
			c.engine.path.ReLU(y.f[lo:hi], x.f[lo:hi])
		})}})
}

func (c *compiler) reluGrad(n *graph.Node) {
	var dy, y *buffer
	if isWeights(n) {
		dy, y = c.as(n, n.In[0]), c.as(n, n.In[1])
	} else {
		y = c.later(n.In[1])
		dy = c.storedLike(n.In[0], y)
		if c.only(n.In[0]) {
			if maker := c.maker(n.In[0], dy, c.splitsBehind(n), y); maker != nil {
				c.maskParts(n, maker, dy, y)
				return
			}
		}
	}
	dx := c.resultLike(n, y)
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{dy, y}, writes: []*buffer{dx}, reuse: []*buffer{dy, y},
		phases: []phase{cut(dx.floats(), elementsEach, func(_ *worker, lo, hi int) {
			c.engine.path.ReLUGrad(dx.values(lo, hi), dy.values(lo, hi), y.values(lo, hi))
		})}})
}

// maskParts lets who writes a gradient clear it where y is not positive.
func (c *compiler) maskParts(n *graph.Node, maker *parted, dy, y *buffer) {
	ch := dy.stride
	maker.then(func(_ *worker, _, _, lo, hi int) {
		d := dy.values(lo*ch, hi*ch)
		c.engine.path.ReLUGrad(d, d, y.values(lo*ch, hi*ch))
	}, []*buffer{y})
	maker.op.label += "+ReLUGrad"
	c.values[n], c.parted[n] = dy, maker
}
