package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The routines of batch norm walk down a strip of channels, `vectors` registers wide, over all
// rows, with the strip's factors in registers. They run at the speed of the cache that holds the
// rows. A narrow strip (16 floats, one cache line) is unrolled over four rows, to have enough
// additions under way.

// strip is a walk over rows in progress.
type strip struct {
	isa
	vectors, rows int  // registers wide, rows unrolled
	bf16          bool // rows are bfloat16
	next          int  // first free register
}

func (s isa) strip(vectors int, bf16 bool) *strip {
	return &strip{isa: s, vectors: vectors, rows: max(1, 4/vectors), bf16: bf16}
}

func (p *strip) name(what string) string {
	if p.bf16 {
		what += "Half"
	}
	return fmt.Sprintf("%s%d%s", what, p.vectors*p.lanes, p.isa.name)
}

// get loads vector v of a row.
func (p *strip) get(row reg.GPPhysical, v int, to reg.VecPhysical) {
	if p.bf16 {
		p.widen(Mem{Base: row, Disp: v * p.bytes() / 2}, to)
		return
	}
	VMOVUPS(Mem{Base: row, Disp: v * p.bytes()}, to)
}

// put stores vector v of a row. It may overwrite both registers.
func (p *strip) put(from, tmp reg.VecPhysical, row reg.GPPhysical, v int) {
	if p.bf16 {
		p.narrow(from, tmp, Mem{Base: row, Disp: v * p.bytes() / 2})
		return
	}
	VMOVUPS(from, Mem{Base: row, Disp: v * p.bytes()})
}

// take returns n registers.
func (p *strip) take(n int) []reg.VecPhysical {
	r := p.vec[p.next : p.next+n]
	p.next += n
	return r
}

// load takes registers for a row of factors and loads them.
func (p *strip) load(from reg.GPPhysical) []reg.VecPhysical {
	r := p.take(p.vectors)
	for v := range r {
		VMOVUPS(Mem{Base: from, Disp: v * p.bytes()}, r[v])
	}
	return r
}

// zeros takes n cleared registers.
func (p *strip) zeros(n int) []reg.VecPhysical {
	first := p.next
	r := p.take(n)
	for i := range r {
		p.zero(first + i)
	}
	return r
}

// walk runs body over all rows, first `rows` at a time, then one by one. pointers advance by stride
// after each row. body gets the number of the unrolled row that it makes.
func (p *strip) walk(count, stride reg.GPPhysical, pointers []reg.GPPhysical, body func(unrolled int)) {
	step := func(unrolled int) {
		body(unrolled)
		for _, r := range pointers {
			ADDQ(stride, r)
		}
	}
	if p.rows > 1 {
		SUBQ(Imm(uint64(p.rows)), count)
		JLT(LabelRef("rest"))
		align()
		Label("rows")
		for u := range p.rows {
			step(u)
		}
		SUBQ(Imm(uint64(p.rows)), count)
		JGE(LabelRef("rows"))
		Label("rest")
		ADDQ(Imm(uint64(p.rows)), count)
		JZ(LabelRef("done"))
	}
	next := each("row", count)
	step(0)
	next()
	Label("done")
}

// addInto adds the sums of the unrolled rows, in order, to the memory at `to`.
func (p *strip) addInto(to reg.GPPhysical, sums []reg.VecPhysical) {
	for v := range p.vectors {
		total := sums[v]
		for u := 1; u < p.rows; u++ {
			VADDPS(sums[u*p.vectors+v], total, total)
		}
		m := Mem{Base: to, Disp: v * p.bytes()}
		VADDPS(m, total, total)
		VMOVUPS(total, m)
	}
}

func (s isa) sums(vectors int, bf16 bool) {
	p := s.strip(vectors, bf16)
	x, rows, stride, sum := general[0], general[1], general[2], general[3]
	routine(p.name("sums"), p.name("sums")+" adds up a strip: x, sum; rows, stride.", []reg.GPPhysical{x, sum}, rows, stride)
	total, xv := p.zeros(p.vectors*p.rows), p.take(2)
	p.walk(rows, stride, []reg.GPPhysical{x}, func(u int) {
		for v := range vectors {
			t := total[u*vectors+v]
			p.get(x, v, xv[v%2])
			VADDPS(xv[v%2], t, t)
		}
	})
	p.addInto(sum, total)
	finish()
}

func (s isa) squares(vectors int, bf16 bool) {
	p := s.strip(vectors, bf16)
	x, rows, stride, mean, square := general[0], general[1], general[2], general[3], general[4]
	routine(p.name("squares"), p.name("squares")+" adds up squares around the mean: x, mean, square; rows, stride.",
		[]reg.GPPhysical{x, mean, square}, rows, stride)
	m, total, d := p.load(mean), p.zeros(p.vectors*p.rows), p.take(2)
	p.walk(rows, stride, []reg.GPPhysical{x}, func(u int) {
		for v := range vectors {
			t := d[v%2]
			p.get(x, v, t)
			VSUBPS(m[v], t, t)
			VFMADD231PS(t, t, total[u*vectors+v])
		}
	})
	p.addInto(square, total)
	finish()
}

func (s isa) normalise(vectors int, residual, bf16 bool) {
	p := s.strip(vectors, bf16)
	what := "normalise"
	if residual {
		what = "normaliseAdd"
	}
	y, x, rows, stride, mean := general[0], general[1], general[2], general[3], general[4]
	scale, shift, floor, add := general[5], general[6], general[7], general[8]
	routine(p.name(what),
		p.name(what)+" normalises a strip: y, x, mean, scale, shift, floor, residual; rows, stride.",
		[]reg.GPPhysical{y, x, mean, scale, shift, floor, add}, rows, stride)
	pointers := []reg.GPPhysical{x, y}
	if residual {
		pointers = append(pointers, add)
	}
	m, a, b := p.load(mean), p.load(scale), p.load(shift)
	low, tmp, other := p.take(1)[0], p.take(2), p.take(1)[0]
	VBROADCASTSS(Mem{Base: floor}, low) // 0 for a ReLU, minus infinity without
	p.walk(rows, stride, pointers, func(u int) {
		for v := range vectors {
			t := tmp[v%2]
			p.get(x, v, t)
			VSUBPS(m[v], t, t)
			VFMADD213PS(b[v], a[v], t)
			if residual {
				p.get(add, v, other)
				VADDPS(other, t, t)
			}
			// In this order of operands a NaN stays one.
			VMAXPS(t, low, t)
			p.put(t, other, y, v)
		}
	})
	finish()
}

// gate is g = dy, or g = dy where (x-mean)*scale+shift is positive and 0 elsewhere. The sign is
// that of the same multiply-add that the forward pass did.
type gate struct {
	sign         bool
	scale, shift []reg.VecPhysical
	zero, sum    reg.VecPhysical
}

func (p *strip) gate(sign bool, scale, shift reg.GPPhysical) gate {
	g := gate{sign: sign}
	if sign {
		g.scale, g.shift = p.load(scale), p.load(shift)
		g.zero = p.zeros(1)[0]
		g.sum = p.take(1)[0]
	}
	return g
}

// open leaves g in `to`. x is a register with x-mean.
func (p *strip) open(g gate, v int, dy reg.GPPhysical, x, to reg.VecPhysical) {
	p.get(dy, v, to)
	if !g.sign {
		return
	}
	VMOVAPS(x, g.sum)
	VFMADD213PS(g.shift[v], g.scale[v], g.sum)
	if p.lanes == 16 {
		VCMPPS(Imm(1), g.sum, g.zero, reg.K1) // 0 < sum
		VMOVAPS_Z(to, reg.K1, to)
		return
	}
	VCMPPS(Imm(1), g.sum, g.zero, g.sum)
	VANDPS(to, g.sum, to)
}

func signed(what string, sign bool) string {
	if sign {
		return what + "Sign"
	}
	return what
}

func (s isa) gradSums(vectors int, sign, bf16 bool) {
	p := s.strip(vectors, bf16)
	if s.lanes == 8 {
		p.rows = 1
	}
	what := signed("gradSums", sign)
	dy, x, rows, stride, mean := general[0], general[1], general[2], general[3], general[4]
	sum, dot, scale, shift := general[5], general[6], general[7], general[8]
	routine(p.name(what),
		p.name(what)+" adds up g and g*(x-mean): dy, x, mean, sum, dot, scale, shift; rows, stride.",
		[]reg.GPPhysical{dy, x, mean, sum, dot, scale, shift}, rows, stride)
	m := p.load(mean)
	totals, dots := p.zeros(p.vectors*p.rows), p.zeros(p.vectors*p.rows)
	g := p.gate(sign, scale, shift)
	gv, xv := p.take(1)[0], p.take(1)[0]
	p.walk(rows, stride, []reg.GPPhysical{dy, x}, func(u int) {
		for v := range vectors {
			p.get(x, v, xv)
			VSUBPS(m[v], xv, xv)
			p.open(g, v, dy, xv, gv)
			VADDPS(gv, totals[u*vectors+v], totals[u*vectors+v])
			VFMADD231PS(gv, xv, dots[u*vectors+v])
		}
	})
	p.addInto(sum, totals)
	p.addInto(dot, dots)
	finish()
}

func (s isa) gradInput(vectors int, sign, bf16 bool) {
	p := s.strip(vectors, bf16)
	if s.lanes == 8 {
		p.rows = 1
	}
	what := signed("gradInput", sign)
	dx, dy, x, rows, stride, mean := general[0], general[1], general[2], general[3], general[4], general[5]
	fa, fb, fc, scale, shift := general[6], general[7], general[8], general[9], general[10]
	routine(p.name(what),
		p.name(what)+" is dx = a*g + (b*(x-mean) + c): dx, dy, x, mean, a, b, c, scale, shift; rows, stride.",
		[]reg.GPPhysical{dx, dy, x, mean, fa, fb, fc, scale, shift}, rows, stride)
	m, a, b, c := p.load(mean), p.load(fa), p.load(fb), p.load(fc)
	g := p.gate(sign, scale, shift)
	gv, xv := p.take(1)[0], p.take(1)[0]
	p.walk(rows, stride, []reg.GPPhysical{dx, dy, x}, func(u int) {
		for v := range vectors {
			p.get(x, v, xv)
			VSUBPS(m[v], xv, xv)
			p.open(g, v, dy, xv, gv)
			VFMADD213PS(c[v], b[v], xv)
			VFMADD231PS(gv, a[v], xv)
			p.put(xv, gv, dx, v)
		}
	})
	finish()
}
