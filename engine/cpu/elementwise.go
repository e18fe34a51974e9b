package cpu

import (
	"moco/graph"
)

// Operations that work value by value, in whatever order the values lie.
var elementOperations = operations{
	graph.WeightedSum: {layout: weightsStay, operands: termsLikeResult, emit: emitWeightedSum},
	graph.ReLU:        {layout: weightsStay, operands: likeResult, emit: emitReLU},
	graph.ReLUGrad:    reluGrad,
	graph.GELU:        gelu,
	graph.GELUGrad:    geluGrad,
}

// likeResult brings operands into the result's layout.
func likeResult(c *compiler, s *step) {
	for i := range s.in {
		c.want(s, i, s.out[0].layout, float32s)
	}
}

// termsLikeResult does so with a weighted sum's terms. The scalars behind them are rows.
func termsLikeResult(c *compiler, s *step) {
	for i := range s.in {
		if i < len(s.node.Attr.(graph.WeightedSumAttr).Coefficients) {
			c.want(s, i, s.out[0].layout, float32s)
		} else {
			c.want(s, i, inRows, float32s)
		}
	}
}

func emitWeightedSum(c *compiler, s *step, o *op) {
	a := s.node.Attr.(graph.WeightedSumAttr)
	terms := len(a.Coefficients)
	var x, scalar [3]*buffer
	var k [3]float32
	for i := range terms {
		x[i] = s.in[i].buffer
		k[i] = float32(a.Coefficients[i])
		if j := a.Scalars[i]; j >= 0 {
			scalar[i] = s.in[j].buffer
		}
	}
	y := s.out[0].buffer
	o.reuse = o.reads
	sum := c.engine.path.WeightedSum
	o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
		var f [3][]float32
		var a [3]float32
		for i := range terms {
			f[i] = x[i].f32[lo:hi]
			a[i] = k[i]
			if scalar[i] != nil {
				a[i] *= scalar[i].f32[0]
			}
		}
		sum(y.f32[lo:hi], a[0], f[0], a[1], f[1], a[2], f[2])
	}))
}

func emitReLU(c *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	o.reuse = []*buffer{x}
	o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
		c.engine.path.ReLU(y.f32[lo:hi], x.f32[lo:hi])
	}))
}

// reluGrad is dx = dy where y is positive. It can be the epilogue of the convolution that writes
// dy.
var reluGrad = &operation{
	layout: weightsStay,
	element: func(_ *compiler, s *step) element {
		if s.out[0].layout == inTileOrder {
			return float32s
		}
		return s.in[1].element
	},
	operands: func(c *compiler, s *step) {
		if s.out[0].layout == inTileOrder {
			likeResult(c, s)
			return
		}
		c.stored(s, 1)
		c.like(s, 0, 1)
	},
	rows: func(c *compiler, s *step, _ int) rowsWork {
		dy, y, dx := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
		ch := dy.stride
		return func(_ *worker, _, _, lo, hi int) {
			c.engine.path.ReLUGrad(dx.values(lo*ch, hi*ch), dy.values(lo*ch, hi*ch), y.values(lo*ch, hi*ch))
		}
	},
	emit: func(c *compiler, s *step, o *op) {
		dy, y, dx := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
		o.reuse = []*buffer{dy, y}
		o.then(cut(dx.count, elementsEach, func(_ *worker, lo, hi int) {
			c.engine.path.ReLUGrad(dx.values(lo, hi), dy.values(lo, hi), y.values(lo, hi))
		}))
	},
}
