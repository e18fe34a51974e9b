package cpu

import "moco/graph"

// An epilogue is steps that a convolution does to its output part by part. Winograd's convolutions
// and the 1x1 ones of stride 1 write all channels of some pixels at a time, so what follows can be
// done while these lie in the cache: a batch norm, a ReLU's mask, sums over the batch. Each saves a
// pass over memory. A step can be an epilogue if all else that it reads is there when the
// convolution begins.

// inParts reports whether a step is a convolution that writes its output part by part.
func (s *step) inParts() bool {
	return s != nil && (s.operation == forward || s.operation == dataGradient) && s.conv.laysOut()
}

// absorb makes s the last step of a convolution's epilogue. If s overwrites the convolution's
// output, its result becomes the convolution's, and the output before it never lies in memory.
func (c *compiler) absorb(conv, s *step, overwrites bool) {
	c.vacate(s)
	s.at = conv.at
	conv.epilogue = append(conv.epilogue, s)
	if overwrites {
		conv.out[0].inCache = true
		conv.out[0] = s.out[0]
		conv.out[0].producer = conv
	}
}

// fuseFrozen lets a convolution finish its own batch norm, residual and ReLU where the statistics
// do not depend on its output.
func (c *compiler) fuseFrozen() {
	c.each(func(conv *step) {
		if conv.operation != forward || !conv.inParts() || !conv.out[0].only() || len(conv.epilogue) > 0 {
			return
		}
		n := conv.out[0].readers[0]
		if n.operation != normalise || n.in[normX] != conv.out[0] || n.in[normScale].rows != 3 {
			return
		}
		scale := n.in[normScale].producer
		for _, v := range scale.in {
			if !v.before(conv) {
				return
			}
		}
		if r := n.in[normResidual]; r != nil &&
			(!r.before(conv) || r.layout != inRows || r.element != conv.out[0].element) {
			return
		}
		if scale.at > conv.at {
			c.moveBefore(scale, conv)
		}
		c.absorb(conv, n, true)
	})
}

// cut decides into which parts of a batch the convolutions are cut, and with them the room for the
// sums of each part.
func (c *compiler) cut() {
	for _, s := range c.steps {
		switch {
		case s.inParts():
			s.conv.cut(c.engine, s)
		case s.sums != nil && s.operation.rows != nil:
			s.cutSums(s.sums.cut)
		}
	}
}

// cutSums gives a step that takes sums its cut.
func (s *step) cutSums(cut split) {
	s.sums.cut = cut
	s.out[0].rows = cut.all()
}

// splitsBehind is into how many splits the batch norm that reads v, or whose gradient does, divides
// the batch: 1 if there is none. A convolution is cut so too, so that it can take the sums.
func splitsBehind(v *value) int {
	for _, s := range v.readers {
		switch {
		case s.operation == takeStatistics, s.operation == takeGradSums && s.in[gradDY] == v:
			return s.sums.splits
		case s.operation == operationOf(graph.ReLUGrad) && s.in[0] == v:
			return splitsBehind(s.out[0])
		}
	}
	return 1
}

// fuseEpilogues moves masks and sums into the convolutions that write what they read.
func (c *compiler) fuseEpilogues() {
	c.each(func(s *step) {
		switch s.operation {
		case operationOf(graph.ReLUGrad):
			dy := s.in[0]
			conv := dy.producer
			if conv.inParts() && dy.only() && s.out[0].layout == inRows && s.in[1].before(conv) &&
				conv.conv.pixels.splits == splitsBehind(s.out[0]) {
				c.absorb(conv, s, true)
			}
		case takeStatistics:
			if conv := s.in[0].producer; conv.inParts() && conv.conv.pixels.splits == s.sums.splits {
				s.cutSums(conv.conv.pixels)
				c.absorb(conv, s, false)
			}
		case takeGradSums:
			conv := s.in[gradDY].producer
			if conv.inParts() && conv.conv.pixels.splits == s.sums.splits && s.in[gradX].before(conv) &&
				s.in[gradMean].before(conv) && s.in[gradMask].before(conv) {
				s.cutSums(conv.conv.pixels)
				c.absorb(conv, s, false)
			}
		}
	})
}
