package cpu

import (
	"slices"

	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// This file is layer norm, forward and backward. The gradient takes a row's statistics again: the
// row is in the cache then.

var layerNormOperations = operations{
	graph.LayerNorm:          layerNorm,
	graph.LayerNormGradInput: layerNormGrad,
	graph.LayerNormGradGamma: layerNormGrad,
}

// The operands of a LayerNorm.
const (
	layerX = iota
	layerGamma
	layerBeta
)

var layerNorm = &operation{
	kind:     engine.BatchNorm,
	element:  likeOperand(layerX),
	operands: storedThenFloats(1),
	emit: func(c *compiler, s *step, o *op) {
		x, gamma, beta, y := s.in[layerX].buffer, s.in[layerGamma].buffer, s.in[layerBeta].buffer, s.out[0].buffer
		_, width := rowsOf(s.node.Shape)
		epsilon, ch := float32(s.node.Attr.(graph.NormAttr).Epsilon), y.stride
		o.reuse = []*buffer{x}
		o.then(cut(y.count/ch, max(1, elementsEach/ch), func(_ *worker, lo, hi int) {
			c.engine.path.LayerNorm(kernel.LayerNormArgs{
				Y: y.values(lo*ch, hi*ch), X: x.values(lo*ch, hi*ch), Channels: ch, Width: width,
				Gamma: gamma.f32, Beta: beta.f32, Epsilon: epsilon,
			})
		}))
	},
}

// storedThenFloats takes the first operands as rows of one type, that of the last one of them, and
// the others as rows of float32.
func storedThenFloats(stored int) func(c *compiler, s *step) {
	return func(c *compiler, s *step) {
		c.stored(s, stored-1)
		for i := range s.in {
			if i < stored-1 {
				c.like(s, i, stored-1)
			} else if i >= stored {
				c.want(s, i, inRows, float32s)
			}
		}
	}
}

// The operands and results of a layer norm's gradients. A step has one result at least; what it
// writes to gamma's and beta's are sums over all rows. Of gamma alone, no gamma is needed.
const (
	layerGradDY = iota
	layerGradX
	layerGradGamma
	layerGradOther // what the gradient of x is added to; may be missing
	layerGradOperands

	layerDX     = 0
	layerDGamma = 1
	layerDBeta  = 2
)

var layerNormGrad = &operation{
	kind:    engine.BatchNorm,
	element: likeOperand(layerGradX),
	build: func(c *compiler, n *graph.Node) {
		in, out := make([]*value, layerGradOperands), make([]*value, 3)
		copy(in, c.operands(n))
		if n.Op == graph.LayerNormGradGamma {
			out[layerDGamma] = c.result(n)
		} else {
			out[layerDX] = c.result(n)
		}
		c.add(newStep(operationOf(n.Op), n, in, out))
	},
	name: func(s *step) string {
		name := "LayerNormGrad"
		for i, part := range []string{layerDX: "Input", layerDGamma: "Gamma", layerDBeta: "Beta"} {
			if s.out[i] != nil {
				name += part
			}
		}
		if s.in[layerGradOther] != nil {
			name += "+Add"
		}
		return name
	},
	operands: func(c *compiler, s *step) {
		c.stored(s, layerGradX)
		c.like(s, layerGradDY, layerGradX)
		c.like(s, layerGradOther, layerGradX)
		c.want(s, layerGradGamma, inRows, float32s)
	},
	emit: emitLayerNormGrad,
}

// fuseLayerNorms makes one step of the three gradients of a layer norm, which read the same values,
// and of the sum with the gradient that came by the other branch.
func (c *compiler) fuseLayerNorms() {
	c.each(func(s *step) {
		if s.operation != layerNormGrad || s.out[layerDX] == nil {
			return
		}
		dy, x := s.in[layerGradDY], s.in[layerGradX]
		for _, r := range slices.Clone(dy.readers) {
			switch {
			case r.operation == layerNormGrad && r != s && r.in[layerGradX] == x && r.node.Attr == s.node.Attr &&
				s.out[layerDGamma] == nil:
				c.adopt(s, layerDGamma, r, layerDGamma)
			case r.operation == operationOf(graph.ChannelSum) && r.node.Shape[0] == 1 && s.out[layerDBeta] == nil:
				c.adopt(s, layerDBeta, r, 0)
			}
		}
		dx := s.out[layerDX]
		if !dx.only() {
			return
		}
		sum := dx.readers[0]
		if isSum(sum.node) && sum.operation == operationOf(graph.WeightedSum) && sum.in[0] != sum.in[1] {
			other := sum.in[0]
			if other == dx {
				other = sum.in[1]
			}
			if !other.before(s) {
				return
			}
			y := sum.out[0]
			c.drop(sum)
			s.read(layerGradOther, other)
			s.write(layerDX, y)
		}
	})
}

// adopt makes a result of another step one of s, unless somebody reads it before s stands.
func (c *compiler) adopt(s *step, i int, other *step, result int) {
	y := other.out[result]
	if readEarly(y, s) {
		return
	}
	c.drop(other)
	s.write(i, y)
}

func emitLayerNormGrad(c *compiler, s *step, o *op) {
	dy, x := s.in[layerGradDY].buffer, s.in[layerGradX].buffer
	_, width := rowsOf(s.node.In[1].Shape)
	epsilon, ch := float32(s.node.Attr.(graph.NormAttr).Epsilon), x.stride
	var gamma []float32 // of ones where nobody asks for dx
	var given *buffer
	if v := s.in[layerGradGamma]; v != nil {
		given = v.buffer
	} else {
		gamma = make([]float32, ch)
	}
	cut := splitRows(x.count/ch, 1, ch)
	var other *buffer
	if v := s.in[layerGradOther]; v != nil {
		other = v.buffer
		o.reuse = append(o.reuse, other)
	}
	if s.out[layerDX] != nil {
		o.reuse = append(o.reuse, dy, x)
	} else {
		o.needs(cut.rows(0) * ch)
	}
	partial := o.work(float32s, cut.all(), 2*ch)
	o.then(cut.phase(func(w *worker, part, _, lo, hi int) {
		a := kernel.LayerNormGradArgs{
			DY: dy.values(lo*ch, hi*ch), X: x.values(lo*ch, hi*ch), Channels: ch, Width: width, Gamma: gamma,
			Epsilon: epsilon,
		}
		if given != nil {
			a.Gamma = given.f32
		}
		if other != nil {
			a.Other = other.values(lo*ch, hi*ch)
		}
		a.DGamma, a.DBeta = partial.sumsOf(part)
		clear(a.DGamma)
		clear(a.DBeta)
		if v := s.out[layerDX]; v != nil {
			a.DX = v.buffer.values(lo*ch, hi*ch)
		} else {
			a.DX = scratchLike(w, x, (hi-lo)*ch)
		}
		c.engine.path.LayerNormGrad(a)
	}))
	for i, from := range []int{layerDGamma: 0, layerDBeta: ch} {
		if i != layerDX && s.out[i] != nil {
			o.then(mergePartial(partial, from, s.out[i].buffer))
		}
	}
}

// scratchLike is n values of a worker's scratch memory, of a buffer's type.
func scratchLike(w *worker, b *buffer, n int) kernel.Values {
	f := w.floats(n)
	if b.element == bfloat16s {
		return kernel.BFloat16s(asBFloat16(f)[:n])
	}
	return kernel.Float32s(f)
}
