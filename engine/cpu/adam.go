package cpu

import (
	"math"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// Steps of AdamW. All values of one may lie in any order, the same for all.
var adamOperations = operations{
	graph.SecondMoment: {layout: weightsStay, operands: alike, emit: emitSecondMoment},
	graph.AdamStep:     {layout: weightsStay, operands: adamOperands(3), emit: emitAdamStep},
}

// adamOperands takes so many values as they lie, and scalars behind them.
func adamOperands(values int) func(c *compiler, s *step) {
	return func(c *compiler, s *step) {
		for i := range s.in {
			l := s.out[0].layout
			if i >= values {
				l = inRows
			}
			c.want(s, i, l, float32s)
		}
	}
}

func emitSecondMoment(_ *compiler, s *step, o *op) {
	v, g, y := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
	keep := s.node.Attr.(graph.SecondMomentAttr).Keep
	add := float32(1 - keep)
	o.reuse = []*buffer{v}
	o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
		for i, x := range g.f32[lo:hi] {
			y.f32[lo+i] = float32(keep)*v.f32[lo+i] + add*x*x
		}
	}))
}

// adamFactors are the factors of a step whose node is n, with scalars rate, firstScale and
// secondScale.
func adamFactors(n *graph.Node, scalars []*value) kernel.AdamFactors {
	a := n.Attr.(graph.AdamAttr)
	rate, first, second := scalars[0].buffer.f32[0], scalars[1].buffer.f32[0], scalars[2].buffer.f32[0]
	return kernel.AdamFactors{
		Rate: rate * first, Scale: second, Epsilon: float32(a.Epsilon), KeepP: float32(1 - float64(rate)*a.Decay),
	}
}

func emitAdamStep(_ *compiler, s *step, o *op) {
	p, m, v, y := s.in[0].buffer, s.in[1].buffer, s.in[2].buffer, s.out[0].buffer
	o.reuse = []*buffer{p}
	o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
		f := adamFactors(s.node, s.in[3:])
		for i := lo; i < hi; i++ {
			root := float32(math.Sqrt(float64(v.f32[i])))
			y.f32[i] = f.KeepP*p.f32[i] - f.Rate*m.f32[i]/(root*f.Scale+f.Epsilon)
		}
	}))
}

// The operands and results of a whole step: the parameter, both moments, the gradient, and scalars.
const (
	adamP = iota
	adamM
	adamV
	adamG
	adamScalars

	adamNewP = 0
	adamNewM = 1
	adamNewV = 2
)

// adam is a whole step in one pass over memory.
var adam = &operation{
	name:     named("Adam"),
	layout:   weightsStay,
	operands: adamOperands(adamScalars),
	emit: func(c *compiler, s *step, o *op) {
		var b [adamScalars]*buffer
		for i := range b {
			b[i] = s.in[i].buffer
		}
		y := [3]*buffer{s.out[adamNewP].buffer, s.out[adamNewM].buffer, s.out[adamNewV].buffer}
		sum, second := s.out[adamNewM].node, s.out[adamNewV].node
		k, keep := sum.Attr.(graph.WeightedSumAttr).Coefficients, second.Attr.(graph.SecondMomentAttr).Keep
		o.reuse = b[:]
		o.then(cut(y[0].count, elementsEach/2, func(_ *worker, lo, hi int) {
			f := adamFactors(s.node, s.in[adamScalars:])
			f.KeepM, f.AddM, f.KeepV, f.AddV = float32(k[0]), float32(k[1]), float32(keep), float32(1-keep)
			c.engine.path.Adam(kernel.AdamArgs{
				NewP: y[0].f32[lo:hi], NewM: y[1].f32[lo:hi], NewV: y[2].f32[lo:hi],
				P: b[0].f32[lo:hi], M: b[1].f32[lo:hi], V: b[2].f32[lo:hi], G: b[3].f32[lo:hi], AdamFactors: f,
			})
		}))
	},
}

// fuseAdam makes one step of three that read the same gradient: both moments' and the parameter's.
func (c *compiler) fuseAdam() {
	c.each(func(s *step) {
		if s.operation != operationOf(graph.AdamStep) {
			return
		}
		first, second := s.in[1].producer, s.in[2].producer
		if first == nil || second == nil || !movingMean(first) || second.operation != operationOf(graph.SecondMoment) ||
			first.in[1] != second.in[1] || readEarly(s.in[1], s) || readEarly(s.in[2], s) {
			return
		}
		in := append([]*value{s.in[0], first.in[0], second.in[0], first.in[1]}, s.in[3:]...)
		out := []*value{s.out[0], s.in[1], s.in[2]}
		c.drop(first)
		c.drop(second)
		c.drop(s)
		whole := newStep(adam, s.node, in, out)
		whole.at = s.at
		c.steps[s.at] = whole
	})
}

// movingMean is true of a*x + b*y with constants.
func movingMean(s *step) bool {
	a, ok := s.node.Attr.(graph.WeightedSumAttr)
	return ok && s.operation == operationOf(graph.WeightedSum) && len(s.in) == 2 && len(a.Coefficients) == 2
}
