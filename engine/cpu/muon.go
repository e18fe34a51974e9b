package cpu

import (
	"math"

	"moco/graph"
)

// Steps of Muon.
var muonOperations = operations{
	graph.Orthogonalise: {
		layout: func(*step) layout { return inTileOrder }, operands: likeResult, emit: emitOrthogonalise,
	},
}

// emitOrthogonalise takes the steps of Newton-Schulz by the square of x alone. Each of them multiplies
// x by a polynomial of x x', and so does their product, which is the size of the shorter side of x. So x
// is read twice: for its square, and to be multiplied by the product of all steps. That is a third of
// the arithmetic where x is nine times as long as wide, as filters of 3x3 pixels often are.
//
// The order of x's columns makes no difference, so x is taken as it lies: in the tile's order,
// [out/block][taps*in][block], x' is what a product reads on its right.
func emitOrthogonalise(c *compiler, s *step, o *op) {
	x, y, steps := s.in[0].buffer, s.out[0].buffer, s.node.Attr.(graph.NewtonSchulz)
	p := c.engine.packingOf(s.node.Shape)
	long, out := p.taps*p.inPad, p.outPad
	turned := o.work(float32s, long, out) // x'
	o.then(rowsPhase(long, out, func(_ *worker, r int) {
		for b := range out / p.block {
			copy(turned.row(r)[b*p.block:(b+1)*p.block], x.f32[(b*long+r)*p.block:])
		}
	}))
	m := matrices{c, o, min(long, out)}
	square := m.matrix()
	if long < out { // x'x, which has the same steps
		m.multiply(square, turned, c.packed(o, turned, long, out, true), long, out, long, false)
	} else {
		m.multiply(square, c.transposeRows(o, turned, out, long), x, out, long, out, false)
	}
	length := m.normalise(square)
	by := m.steps(square, steps, length)
	result := o.work(float32s, long, out)
	if long < out {
		m.multiply(result, by, x, long, long, out, false)
	} else {
		m.multiply(result, turned, m.packed(by), long, out, out, false)
	}
	o.then(rowsPhase(long, out, func(_ *worker, r int) {
		for b := range out / p.block {
			copy(y.f32[(b*long+r)*p.block:(b*long+r+1)*p.block], result.row(r)[b*p.block:])
		}
	}))
}

// matrices appends arithmetic on square matrices of one size to an operation.
type matrices struct {
	*compiler
	o    *op
	size int
}

// matrix is a new one.
func (m matrices) matrix() *buffer { return m.o.work(float32s, m.size, channels(m.size)) }

// normalise divides the square of x by the square of x's length, which is its trace, and returns
// where 1/|x| will be: 0 if x is zero.
func (m matrices) normalise(square *buffer) *buffer {
	inverse := m.o.work(float32s, 1, 1)
	m.o.then(serial(func(*worker) {
		var trace float64
		for r := range m.size {
			trace += float64(square.row(r)[r])
		}
		inverse.f32[0] = 0
		if trace > 0 {
			inverse.f32[0] = float32(1 / math.Sqrt(trace))
		}
	}), cut(square.count, elementsEach, func(_ *worker, lo, hi int) {
		f := inverse.f32[0]
		m.engine.path.Scale(square.f32[lo:hi], square.f32[lo:hi], f*f)
	}))
	return inverse
}

// steps makes what x is to be multiplied by, of the square of the normalised x, which it overwrites.
func (m matrices) steps(square *buffer, n graph.NewtonSchulz, inverse *buffer) *buffer {
	a, b, c := float32(n.A), float32(n.B), float32(n.C)
	by, next := m.matrix(), m.matrix()
	// The product of the steps so far is scale*I + all.
	scale, all := float32(1), (*buffer)(nil)
	for step := range n.Steps {
		// A step multiplies by a*I + by.
		m.times(by, square, m.packed(square), false)
		m.sum(by, c, by, b, square)
		last := step == n.Steps-1
		var right *buffer
		if all != nil || !last {
			right = m.packed(by)
		}
		if !last {
			m.sum(next, a, square, 0, square)
			m.times(next, square, right, true)
			m.sum(square, a, next, 0, next)
			m.times(square, next, right, true)
		}
		if all == nil {
			all, by = by, m.matrix()
		} else {
			m.sum(next, a, all, scale, by)
			m.times(next, all, right, true)
			all, next = next, all
		}
		scale *= a
	}
	m.o.then(rowsPhase(m.size, all.stride, func(_ *worker, r int) {
		row := all.row(r)
		m.engine.path.Scale(row, row, inverse.f32[0])
		row[r] += scale * inverse.f32[0]
	}))
	return all
}

// times makes y, or adds to it, the product of x and a packed matrix.
func (m matrices) times(y, x, packed *buffer, add bool) {
	m.multiply(y, x, packed, m.size, channels(m.size), m.size, add)
}

// packed is a matrix for the right of a product.
func (m matrices) packed(x *buffer) *buffer { return m.compiler.packed(m.o, x, m.size, m.size, false) }

// multiply appends a product to the operation.
func (m matrices) multiply(y, left, packed *buffer, rows, inner, columns int, add bool) {
	m.o.then(m.product(m.o, y, left, packed, rows, inner, columns, add))
}

// sum makes y = f*x + g*z.
func (m matrices) sum(y *buffer, f float32, x *buffer, g float32, z *buffer) {
	m.o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
		m.engine.path.WeightedSum(y.f32[lo:hi], f, x.f32[lo:hi], g, z.f32[lo:hi], 0, nil)
	}))
}
