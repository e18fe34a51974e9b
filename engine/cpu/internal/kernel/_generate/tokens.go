package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"moco/engine/cpu/internal/kernel/_generate/gelu"
)

// This file is what transformers need besides products: GELU, layer norm and AdamW.

// rational is one of GELU's functions, with the name of its constants.
type rational struct {
	name string
	gelu.Function
}

var (
	cumulative = rational{"cumulative", gelu.Cumulative}
	slope      = rational{"slope", gelu.Slope}
)

// table writes the constants, each as often as a register has lanes: an operand in memory is then
// one instruction with its multiply-add, and no register is taken.
func (f *rational) table() {
	m := GLOBL(f.name, RODATA|NOPTR)
	offset := 0
	for _, list := range [][]float64{{f.Limit, -f.Limit, 0.5}, f.Top, f.Bottom} {
		for _, v := range list {
			for range 16 {
				DATA(offset, U32(math.Float32bits(float32(v))))
				offset += 4
			}
		}
	}
	tables[f.name] = m
}

var tables = map[string]Mem{}

// constant is constant i of the table.
func (f *rational) constant(i int) Mem { return tables[f.name].Offset(64 * i) }

// limits loads the limits into two registers.
func (f *rational) limits(low, high reg.VecPhysical) {
	VMOVUPS(f.constant(0), high)
	VMOVUPS(f.constant(1), low)
}

// of leaves f(x) in the last of four registers.
func (f *rational) of(x, low, high reg.VecPhysical, t []reg.VecPhysical) reg.VecPhysical {
	c, square, bottom, top := t[0], t[1], t[2], t[3]
	VMAXPS(x, low, c) // in this order of operands a NaN stays one
	VMINPS(c, high, c)
	VMULPS(c, c, square)
	horner := func(first, terms int, to reg.VecPhysical) {
		VMOVUPS(f.constant(first+terms-1), to)
		for k := terms - 2; k >= 0; k-- {
			VFMADD213PS(f.constant(first+k), square, to)
		}
	}
	horner(3, len(f.Top), top)
	horner(3+len(f.Top), len(f.Bottom), bottom)
	VMULPS(c, top, top)
	VDIVPS(bottom, top, top)
	VADDPS(f.constant(2), top, top)
	return top
}

// gelu walks down a strip. The bias is that of the product which made x.
func (s isa) gelu(vectors int, bf16 bool) {
	p := s.strip(vectors, bf16)
	p.rows = 1
	y, x, rows, stride, bias := general[0], general[1], general[2], general[3], general[4]
	routine(p.name("gelu"), p.name("gelu")+" is y = GELU(x + bias) of a strip: y, x, bias; rows, stride.",
		[]reg.GPPhysical{y, x, bias}, rows, stride)
	b, limits := p.load(bias), p.take(2)
	cumulative.limits(limits[0], limits[1])
	free := p.vec[p.next:]
	p.walk(rows, stride, []reg.GPPhysical{x, y}, func(int) {
		for v := range vectors {
			t := free[5*(v%(len(free)/5)):]
			p.get(x, v, t[4])
			VADDPS(b[v], t[4], t[4])
			VMULPS(cumulative.of(t[4], limits[0], limits[1], t[:4]), t[4], t[4])
			p.put(t[4], t[0], y, v)
		}
	})
	finish()
}

func (s isa) geluGrad(vectors int, bf16 bool) {
	p := s.strip(vectors, bf16)
	p.rows = 1
	dx, dy, x, rows, stride := general[0], general[1], general[2], general[3], general[4]
	routine(p.name("geluGrad"), p.name("geluGrad")+" is dx = dy * GELU'(x) of a strip: dx, dy, x; rows, stride.",
		[]reg.GPPhysical{dx, dy, x}, rows, stride)
	limits := p.take(2)
	slope.limits(limits[0], limits[1])
	free := p.vec[p.next:]
	p.walk(rows, stride, []reg.GPPhysical{dx, dy, x}, func(int) {
		for v := range vectors {
			t := free[5*(v%(len(free)/5)):]
			p.get(x, v, t[4])
			h := slope.of(t[4], limits[0], limits[1], t[:4])
			p.get(dy, v, t[4])
			VMULPS(h, t[4], t[4])
			p.put(t[4], t[0], dx, v)
		}
	})
	finish()
}

// rowWalk goes through rows of channels one after the other, several times through each: a row lies
// in the first-level cache. One index counts bytes of the row; factors of float32 beside rows of
// bfloat16 are addressed by twice the index.
type rowWalk struct {
	*strip
	index, stride reg.GPPhysical
}

// at is vector v behind the index of a row.
func (w *rowWalk) at(row reg.GPPhysical, v int) Mem {
	disp := v * w.bytes()
	if w.bf16 {
		disp /= 2
	}
	return Mem{Base: row, Index: w.index, Scale: 1, Disp: disp}
}

// load reads vector v behind the index of a row.
func (w *rowWalk) load(row reg.GPPhysical, v int, to reg.VecPhysical) {
	if w.bf16 {
		w.widen(w.at(row, v), to)
		return
	}
	VMOVUPS(w.at(row, v), to)
}

// store writes vector v behind the index of a row. It may overwrite both registers.
func (w *rowWalk) store(from, tmp reg.VecPhysical, row reg.GPPhysical, v int) {
	if w.bf16 {
		w.narrow(from, tmp, w.at(row, v))
		return
	}
	VMOVUPS(from, w.at(row, v))
}

// factor is vector v behind the index of a row of float32.
func (w *rowWalk) factor(row reg.GPPhysical, v int) Mem {
	m := Mem{Base: row, Index: w.index, Scale: 1, Disp: v * w.bytes()}
	if w.bf16 {
		m.Scale = 2
	}
	return m
}

// pass runs body for each vector of a row, `vectors` of them at a time.
func (w *rowWalk) pass(label string, body func(v int)) {
	XORQ(w.index, w.index)
	align()
	Label(label)
	for v := range w.vectors {
		body(v)
	}
	step := w.vectors * w.bytes()
	if w.bf16 {
		step /= 2
	}
	ADDQ(U32(uint32(step)), w.index)
	CMPQ(w.index, w.stride)
	JLT(LabelRef(label))
}

// total adds up registers and then the lanes of the sum, in an order that NEON's routines have too,
// and leaves the result in all lanes of the first register.
func (w *rowWalk) total(sums []reg.VecPhysical, tmp reg.VecPhysical) {
	for n := len(sums) / 2; n > 0; n /= 2 {
		for i := range n {
			VADDPS(sums[n+i], sums[i], sums[i])
		}
	}
	s := sums[0]
	if w.lanes == 16 {
		VEXTRACTF32X8(Imm(1), s, tmp.AsY())
		VADDPS(tmp.AsY(), s.AsY(), s.AsY())
	}
	VEXTRACTF128(Imm(1), s.AsY(), tmp.AsX())
	VADDPS(tmp.AsX(), s.AsX(), s.AsX())
	VHADDPS(s.AsX(), s.AsX(), s.AsX())
	VHADDPS(s.AsX(), s.AsX(), s.AsX())
	VBROADCASTSS(s.AsX(), s)
}

// moments leaves a row's mean in `mean` and 1/sqrt(variance + epsilon) in sums[0]. The factors are
// 1/channels, epsilon and 1.
func (w *rowWalk) moments(x, factors reg.GPPhysical, mean reg.VecPhysical, sums, t []reg.VecPhysical) {
	clear := func() {
		for _, s := range sums {
			if w.lanes == 16 {
				VPXORD(s, s, s)
			} else {
				VXORPS(s, s, s)
			}
		}
	}
	clear()
	w.pass("sum", func(v int) {
		w.load(x, v, t[v%2])
		VADDPS(t[v%2], sums[v], sums[v])
	})
	w.total(sums, t[0])
	VBROADCASTSS(Mem{Base: factors}, t[1])
	VMULPS(t[1], sums[0], mean)
	clear()
	w.pass("square", func(v int) {
		w.load(x, v, t[v%2])
		VSUBPS(mean, t[v%2], t[v%2])
		VFMADD231PS(t[v%2], t[v%2], sums[v])
	})
	w.total(sums, t[0])
	VBROADCASTSS(Mem{Base: factors}, t[0])
	VBROADCASTSS(Mem{Base: factors, Disp: 4}, t[1])
	VFMADD213PS(t[1], t[0], sums[0])
	VSQRTPS(sums[0], sums[0])
	VBROADCASTSS(Mem{Base: factors, Disp: 8}, t[0])
	VDIVPS(sums[0], t[0], sums[0])
}

func (s isa) layerNorm(vectors int, bf16 bool) {
	p := s.strip(vectors, bf16)
	y, x, gamma, beta, factors := general[0], general[1], general[2], general[3], general[4]
	rows, w := general[5], &rowWalk{strip: p, index: general[6], stride: general[7]}
	name := p.name("layerNorm")
	routine(name, name+" normalises rows: y, x, gamma, beta, factors (1/channels, epsilon, 1); rows, bytes of a row.",
		[]reg.GPPhysical{y, x, gamma, beta, factors}, rows, w.stride)
	sums, t, mean := p.take(vectors), p.take(2), p.take(1)[0]
	next := each("row", rows)
	w.moments(x, factors, mean, sums, t)
	w.pass("write", func(v int) {
		u := p.vec[p.next+2*v%8 : p.next+2*v%8+2]
		w.load(x, v, u[0])
		VSUBPS(mean, u[0], u[0])
		VMULPS(sums[0], u[0], u[0])
		VMOVUPS(w.factor(beta, v), u[1])
		VFMADD132PS(w.factor(gamma, v), u[1], u[0])
		w.store(u[0], u[1], y, v)
	})
	ADDQ(w.stride, x)
	ADDQ(w.stride, y)
	next()
	finish()
}

// layerNormGrad gives all three gradients in one walk: those of gamma and beta are added to memory
// row by row, which costs less than to read dy and x again. With n = (x-mean)*inverse, the gradient
// of x is (dy*gamma - mean(dy*gamma) - n*mean(dy*gamma*n)) * inverse. With `plus` it is added to the
// gradient that came by the other branch.
func (s isa) layerNormGrad(vectors int, plus, bf16 bool) {
	p := s.strip(vectors, bf16)
	dx, dy, x, gamma, dgamma, dbeta := general[0], general[1], general[2], general[3], general[4], general[5]
	factors, rows, w := general[6], general[7], &rowWalk{strip: p, index: general[8], stride: general[9]}
	other, pointers := general[10], []reg.GPPhysical{dx, dy, x}
	name := p.name("layerNormGrad")
	if plus {
		name, pointers = p.name("layerNormGradAdd"), append(pointers, other)
	}
	routine(name, name+" is the gradient of layer norm, the sums of dy*n and dy added to dgamma and dbeta: "+
		"dx, dy, x, gamma, dgamma, dbeta, factors (1/channels, epsilon, 1), other gradient; rows, bytes of a row.",
		[]reg.GPPhysical{dx, dy, x, gamma, dgamma, dbeta, factors, other}, rows, w.stride)
	sums, dots, t := p.take(vectors), p.take(vectors), p.take(2)
	mean, inverse := p.take(1)[0], p.take(1)[0]
	next := each("row", rows)
	w.moments(x, factors, mean, sums, t)
	VMOVAPS(sums[0], inverse)
	for _, r := range append(sums, dots...) {
		if s.lanes == 16 {
			VPXORD(r, r, r)
		} else {
			VXORPS(r, r, r)
		}
	}
	w.pass("dot", func(v int) {
		w.load(dy, v, t[0])
		VMULPS(w.factor(gamma, v), t[0], t[0])
		w.load(x, v, t[1])
		VSUBPS(mean, t[1], t[1])
		VADDPS(t[0], sums[v], sums[v])
		VFMADD231PS(t[0], t[1], dots[v])
	})
	w.total(sums, t[0])
	w.total(dots, t[0])
	VBROADCASTSS(Mem{Base: factors}, t[0])
	VMULPS(t[0], sums[0], sums[0]) // mean of dy*gamma
	VMULPS(t[0], dots[0], dots[0])
	VMULPS(inverse, dots[0], dots[0]) // mean of dy*gamma*n
	a, b := sums[0], dots[0]
	free := p.vec[p.next:]
	w.pass("write", func(v int) {
		u := free[3*(v%(len(free)/3)):]
		w.load(dy, v, u[0])
		w.load(x, v, u[1])
		VSUBPS(mean, u[1], u[1])
		VMULPS(inverse, u[1], u[1])
		VADDPS(w.factor(dbeta, v), u[0], u[2])
		VMOVUPS(u[2], w.factor(dbeta, v))
		VMOVUPS(w.factor(dgamma, v), u[2])
		VFMADD231PS(u[0], u[1], u[2])
		VMOVUPS(u[2], w.factor(dgamma, v))
		VMULPS(w.factor(gamma, v), u[0], u[0])
		VSUBPS(a, u[0], u[0])
		VFNMADD231PS(b, u[1], u[0])
		VMULPS(inverse, u[0], u[0])
		if plus {
			w.load(other, v, u[1])
			VADDPS(u[1], u[0], u[0])
		}
		w.store(u[0], u[2], dx, v)
	})
	for _, r := range pointers {
		ADDQ(w.stride, r)
	}
	next()
	finish()
}

// adam is a step of AdamW in one pass over memory. The factors are those of kernel's AdamArgs.
func (s isa) adam() {
	name := "adam" + s.name
	outP, outM, outV, p := general[0], general[1], general[2], general[3]
	m, v, g, factors, n := general[4], general[5], general[6], general[7], general[8]
	pointers := []reg.GPPhysical{outP, outM, outV, p, m, v, g}
	routine(name, name+" is a step of AdamW: results, p, m, v, gradient, factors (see AdamArgs); blocks.",
		append(pointers, factors), n)
	f := s.vec[:8]
	for i, r := range f {
		VBROADCASTSS(Mem{Base: factors, Disp: 4 * i}, r)
	}
	s.run(n, pointers, func(i, disp int) {
		at := func(r reg.GPPhysical) Mem { return Mem{Base: r, Disp: disp} }
		gv, first, second, value := s.vec[8+4*i%8], s.vec[9+4*i%8], s.vec[10+4*i%8], s.vec[11+4*i%8]
		VMOVUPS(at(g), gv)
		VMULPS(at(m), f[0], first)
		VFMADD231PS(gv, f[1], first)
		VMULPS(at(v), f[2], second)
		VMULPS(gv, gv, gv)
		VFMADD231PS(gv, f[3], second)
		VMOVUPS(first, at(outM))
		VMOVUPS(second, at(outV))
		VSQRTPS(second, second)
		VFMADD213PS(f[6], f[5], second)
		VDIVPS(second, first, first)
		VMULPS(at(p), f[7], value)
		VFNMADD231PS(first, f[4], value)
		VMOVUPS(value, at(outP))
	})
	finish()
}
