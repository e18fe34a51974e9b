package cpu

import (
	"slices"

	"moco/graph"
)

// This file is the rules of fusion on the list of steps, for the patterns that a residual network's
// step is made of. Each rule names its pattern and its condition; epilogue.go has those of
// convolutions.

// isSum is true of x + y.
func isSum(n *graph.Node) bool {
	a, ok := n.Attr.(graph.WeightedSumAttr)
	return ok && len(n.In) == 2 && slices.Equal(a.Coefficients, []float64{1, 1})
}

// each calls f for the steps that were in the list at the start, but for those dropped since.
func (c *compiler) each(f func(s *step)) {
	for i := range c.steps {
		if s := c.steps[i]; s != nil {
			f(s)
		}
	}
}

// plainNorm is the step that makes v by normalising alone, if v is read once and by nothing else
// than the step that asks; else nil.
func plainNorm(v *value) *step {
	if v.madeBy(normalise) && !v.producer.norm.relu && v.only() {
		return v.producer
	}
	return nil
}

// fuseNorms finds relu(normalise(x)) and relu(normalise(x) + residual).
func (c *compiler) fuseNorms() {
	c.each(func(relu *step) {
		if relu.operation != operationOf(graph.ReLU) {
			return
		}
		x := relu.in[0]
		if s := plainNorm(x); s != nil {
			c.endWithReLU(s, relu)
			return
		}
		if x.producer == nil || !isSum(x.producer.node) || !x.only() || x.layout == inTileOrder {
			return
		}
		sum := x.producer
		for i, v := range sum.in {
			// of two normalised branches, the one that stands first in the graph stays a value of
			// its own
			other := sum.in[1-i]
			s := plainNorm(v)
			if s == nil || other.node.Op == graph.Normalise && other.only() && other.node.ID > v.node.ID {
				continue
			}
			c.drop(sum)
			s.read(normResidual, other)
			c.endWithReLU(s, relu)
			return
		}
	})
}

// endWithReLU makes a normalise step take a ReLU's place.
func (c *compiler) endWithReLU(s, relu *step) {
	y := relu.out[0]
	c.drop(relu)
	c.settle(s, relu)
	s.norm.relu, s.node = true, relu.node
	s.write(0, y)
	y.norm = s
}

// fusePairs lets one reading of the activations give both statistics, or both sums of a gradient.
func (c *compiler) fusePairs() {
	c.each(func(s *step) {
		switch {
		case s.operation == mergeStatistics && s.out[mergeMean] == nil:
			c.pairStatistics(s)
		case s.operation == mergeGradSums:
			c.pairGradSums(s)
		}
	})
}

// pairStatistics gives a variance's merging step the mean too.
func (c *compiler) pairStatistics(merge *step) {
	x := merge.in[0].producer.in[0]
	for _, take := range x.readers {
		if take.operation != takeStatistics || take.at > merge.at || take.sums.splits != merge.sums.splits {
			continue
		}
		other := take.out[0].readers[0]
		mean := other.out[mergeMean]
		if mean == nil || other.out[mergeVariance] != nil || readEarly(mean, merge) {
			continue
		}
		c.drop(take)
		c.drop(other)
		low := c.newPrivate(merge.node, merge.sums.splits, channels(merge.node.Shape[1]))
		merge.write(mergeMean, mean)
		merge.write(mergeLow, low)
		for _, r := range mean.readers {
			if r.operation == computeScale && r.in[scaleMean] == mean {
				r.read(scaleLow, low)
			}
		}
		return
	}
}

// pairGradSums gives a dot product's merging step the sum too.
func (c *compiler) pairGradSums(merge *step) {
	dy := merge.in[0].producer.in[gradDY]
	for _, s := range dy.readers {
		if s.operation != operationOf(graph.ChannelSum) || s.at > merge.at || s.node.Shape[0] != merge.sums.splits {
			continue
		}
		sum := s.out[0]
		if readEarly(sum, merge) {
			continue
		}
		c.drop(s)
		merge.write(mergeSum, sum)
		return
	}
}

// readEarly reports whether somebody reads v before step s stands.
func readEarly(v *value, s *step) bool {
	return slices.ContainsFunc(v.readers, func(r *step) bool { return r.at < s.at })
}

// fuseAdds lets a convolution's data gradient add to the gradient that came by the other branch.
func (c *compiler) fuseAdds() {
	c.each(func(sum *step) {
		if !isSum(sum.node) || sum.operation != operationOf(graph.WeightedSum) || sum.in[0] == sum.in[1] {
			return
		}
		for i, v := range sum.in {
			if v.madeBy(dataGradient) && v.only() {
				s, y := v.producer, sum.out[0]
				other := sum.in[1-i]
				c.drop(sum)
				c.settle(s, sum)
				s.read(convAdd, other)
				s.write(0, y)
				y.layout = inRows
				return
			}
		}
	})
}

// fuseMasks finds the gradient through relu(normalise(x)) that goes to batch norm's gradient alone.
// The sign of the normalised value is cheap to have again from x, so neither it nor the masked
// gradient is stored.
func (c *compiler) fuseMasks() {
	c.each(func(s *step) {
		if s.operation != operationOf(graph.ReLUGrad) {
			return
		}
		dx, n := s.out[0], s.in[1].norm
		if n == nil || !n.norm.relu || n.in[normResidual] != nil || dx.held || len(dx.readers) == 0 {
			return
		}
		for _, r := range dx.readers {
			if !canMask(r, dx, n) {
				return
			}
		}
		for _, r := range slices.Clone(dx.readers) {
			r.read(gradDY, s.in[0])
			r.read(gradMask, n.in[normScale])
		}
		c.drop(s)
	})
}

// canMask reports whether a step can take the gradient through batch norm n and its ReLU, which it
// reads as dx, with a mask instead.
func canMask(s *step, dx *value, n *step) bool {
	switch s.operation {
	case takeGradSums:
		if s.out[0].readers[0].out[mergeSum] == nil {
			return false
		}
	case gradInput:
	default:
		return false
	}
	scale := n.in[normScale].producer
	return s.in[gradDY] == dx && s.in[gradX] == n.in[normX] && s.in[gradMean] == scale.in[scaleMean]
}

// fuseInputs finds relu(normalise(x)) that only convolutions read which lay out their inputs
// themselves, Winograd's and 1x1, and normalise on the way: neither a pass over memory nor room for
// the value is needed. The weight gradient of a 1x1 convolution has it computed again (see
// computeAgain).
func (c *compiler) fuseInputs() {
	c.each(func(n *step) {
		if n.operation != normalise || !n.norm.relu || n.in[normResidual] != nil {
			return
		}
		y := n.out[0]
		if y.held {
			return
		}
		for _, r := range y.readers {
			if r.operation != forward && r.operation != weightGradient || !r.conv.laysOut() ||
				r.in[convX] != y || r.in[convOther] == y {
				return
			}
		}
		for _, r := range slices.Clone(y.readers) {
			if r.operation == weightGradient && r.conv.way != winogradWay {
				continue
			}
			r.read(convX, n.in[normX])
			r.read(convScale, n.in[normScale])
		}
		c.drop(n)
		y.producer = nil
	})
}

// computeAgain gives the backward pass its own copy of what comes out of a norm or GELU, computed
// again from the convolution's output, which batch norm's gradient needs in any case. That is one
// more pass over it (1 to 2% of a step) for a quarter of the memory. Residuals are computed again
// in their turn.
func (c *compiler) computeAgain() {
	c.rewrite(func(s *step) {
		switch {
		case s.operation == operationOf(graph.ReLUGrad) && s.out[0].layout != inTileOrder:
			s.read(1, c.later(s.in[1]))
		case s.operation == weightGradient && s.in[convScale] == nil:
			s.read(convX, c.later(s.in[convX]))
		}
	})
}

// later is a value for a step of the backward pass: computed again, or as it is where that cannot
// be.
func (c *compiler) later(v *value) *value {
	if v.again != nil {
		return v.again
	}
	if v.norm == nil {
		return c.repeat(v)
	}
	n := v.norm
	if v.held || n.in[normX].inCache {
		return v
	}
	var residual *value
	if r := n.in[normResidual]; r != nil {
		if residual = c.later(r); residual.element != n.in[normX].element {
			return v
		}
	}
	y := c.newValue(v.node)
	y.layout, y.element = v.layout, v.element
	s := c.add(newStep(normalise, n.node, []*value{n.in[normX], n.in[normScale], residual}, []*value{y}))
	s.norm, s.again = n.norm, true
	v.again = y
	return y
}

// repeat is what a layer norm or GELU has made, made once more: their gradients keep what they read,
// which is a half of what a transformer's block would have to keep otherwise.
func (c *compiler) repeat(v *value) *value {
	made := v.producer
	if made == nil || made.operation != layerNorm && made.operation != gelu || v.held || made.in[0].inCache {
		return v
	}
	y := c.newValue(v.node)
	y.layout, y.element = v.layout, v.element
	s := c.add(newStep(made.operation, made.node, slices.Clone(made.in), []*value{y}))
	s.again = true
	v.again = y
	return y
}
