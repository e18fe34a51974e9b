package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// These routines take vectors of 32 floats at a time. Package kernel does the rest of a vector in
// Go.
const floatsEach = 32

// run opens a loop over n blocks of 32 floats and advances the pointers. body gets the register's
// byte offset, and a number to pick registers by.
func (s isa) run(count reg.GPPhysical, pointers []reg.GPPhysical, body func(i, disp int)) {
	next := each("block", count)
	for i := range floatsEach / s.lanes {
		body(i, i*s.bytes())
	}
	for _, p := range pointers {
		ADDQ(U32(4*floatsEach), p)
	}
	next()
}

func (s isa) relu() {
	y, x, n := general[0], general[1], general[2]
	routine("relu"+s.name, "relu"+s.name+" is y = max(x, 0): y, x; blocks.", []reg.GPPhysical{y, x}, n)
	s.zero(0)
	s.run(n, []reg.GPPhysical{y, x}, func(i, disp int) {
		t := s.vec[1+i]
		VMAXPS(Mem{Base: x, Disp: disp}, s.vec[0], t)
		VMOVUPS(t, Mem{Base: y, Disp: disp})
	})
	finish()
}

func (s isa) reluGrad() {
	dx, dy, y, n := general[0], general[1], general[2], general[3]
	routine("reluGrad"+s.name, "reluGrad"+s.name+" is dx = dy where y > 0, else 0: dx, dy, y; blocks.",
		[]reg.GPPhysical{dx, dy, y}, n)
	s.zero(0)
	s.run(n, []reg.GPPhysical{dx, dy, y}, func(i, disp int) {
		t := s.vec[1+i]
		if s.lanes == 16 {
			VCMPPS(Imm(1), Mem{Base: y, Disp: disp}, s.vec[0], reg.K1) // 0 < y
			VMOVUPS_Z(Mem{Base: dy, Disp: disp}, reg.K1, t)
		} else {
			VCMPPS(Imm(1), Mem{Base: y, Disp: disp}, s.vec[0], t)
			VANDPS(Mem{Base: dy, Disp: disp}, t, t)
		}
		VMOVUPS(t, Mem{Base: dx, Disp: disp})
	})
	finish()
}

// larger keeps NaNs. VMAXPS drops a NaN of its first operand, so a result with a NaN on either side
// is replaced by the sum of both: that is NaN.
func (s isa) larger() {
	y, x, n := general[0], general[1], general[2]
	routine("larger"+s.name, "larger"+s.name+" is y = max(y, x), a NaN in either stays: y, x; blocks.",
		[]reg.GPPhysical{y, x}, n)
	s.run(n, []reg.GPPhysical{y, x}, func(i, disp int) {
		a, b, sum := s.vec[4*i%16], s.vec[4*i%16+1], s.vec[4*i%16+2]
		VMOVUPS(Mem{Base: y, Disp: disp}, a)
		VMOVUPS(Mem{Base: x, Disp: disp}, b)
		if s.lanes == 16 {
			VCMPPS(Imm(3), a, b, reg.K1) // unordered
			VMAXPS(a, b, sum)
			VADDPS(a, b, reg.K1, sum)
		} else {
			VCMPPS(Imm(3), a, b, sum) // all bits set are a NaN too
			VMAXPS(a, b, a)
			VORPS(a, sum, sum)
		}
		VMOVUPS(sum, Mem{Base: y, Disp: disp})
	})
	finish()
}

func (s isa) claim() {
	dx, g, x, best, n := general[0], general[1], general[2], general[3], general[4]
	routine("claim"+s.name,
		"claim"+s.name+" is dx += g and g = 0 where x < best does not hold: dx, g, x, best; blocks.",
		[]reg.GPPhysical{dx, g, x, best}, n)
	s.run(n, []reg.GPPhysical{dx, g, x, best}, func(i, disp int) {
		b, to, gv := s.vec[3*i%12], s.vec[3*i%12+1], s.vec[3*i%12+2]
		VMOVUPS(Mem{Base: x, Disp: disp}, b)
		VMOVUPS(Mem{Base: dx, Disp: disp}, to)
		VMOVUPS(Mem{Base: g, Disp: disp}, gv)
		const less = 1
		if s.lanes == 16 {
			VCMPPS(Imm(less), Mem{Base: best, Disp: disp}, b, reg.K1)
			KNOTW(reg.K1, reg.K2)
			VADDPS(gv, to, reg.K2, to)
			VMOVAPS_Z(gv, reg.K1, gv)
		} else {
			VCMPPS(Imm(less), Mem{Base: best, Disp: disp}, b, b)
			kept := s.vec[12]
			VANDPS(gv, b, kept)
			VANDNPS(gv, b, gv)
			VADDPS(gv, to, to)
			gv = kept
		}
		VMOVUPS(to, Mem{Base: dx, Disp: disp})
		VMOVUPS(gv, Mem{Base: g, Disp: disp})
	})
	finish()
}

func (s isa) weightedSum(terms int) {
	name := fmt.Sprintf("weightedSum%d%s", terms, s.name)
	y, n, factors := general[0], general[1], general[2]
	x := general[3 : 3+terms]
	routine(name, name+" is y = a*x0 + b*x1 + c*x2, as many as there are: y, factors, x0, x1, x2; blocks.",
		append([]reg.GPPhysical{y, factors}, x...), n)
	for i := range terms {
		VBROADCASTSS(Mem{Base: factors, Disp: 4 * i}, s.vec[i])
	}
	s.run(n, append([]reg.GPPhysical{y}, x...), func(i, disp int) {
		t := s.vec[4+i]
		VMULPS(Mem{Base: x[0], Disp: disp}, s.vec[0], t)
		for k := 1; k < terms; k++ {
			VFMADD231PS(Mem{Base: x[k], Disp: disp}, s.vec[k], t)
		}
		VMOVUPS(t, Mem{Base: y, Disp: disp})
	})
	finish()
}

// transpose writes 8x8 blocks: rows are interleaved in pairs, then in fours, then the halves of the
// registers change places.
func transpose() {
	s := avx2
	dst, ds, src, ss, n, step, p := general[0], general[1], general[2], general[3], general[4], general[5], general[6]
	routine(
		"transpose8",
		"transpose8 transposes n blocks of 8x8 that lie side by side in the source and below each other in the "+
			"target: dst, src; dst stride, src stride, n.",
		[]reg.GPPhysical{dst, src}, ds, ss, n)
	MOVQ(ds, step)
	SHLQ(Imm(3), step)
	next := each("block", n)
	MOVQ(src, p)
	for i := range 8 {
		VMOVUPS(Mem{Base: p}, s.vec[i])
		ADDQ(ss, p)
	}
	for i := range 4 { // 0,1 -> 8,9 ...
		VUNPCKLPS(s.vec[2*i+1], s.vec[2*i], s.vec[8+2*i])
		VUNPCKHPS(s.vec[2*i+1], s.vec[2*i], s.vec[9+2*i])
	}
	for i := range 2 {
		for j := range 2 {
			VSHUFPS(Imm(0x44), s.vec[8+4*i+2+j], s.vec[8+4*i+j], s.vec[4*i+2*j])
			VSHUFPS(Imm(0xEE), s.vec[8+4*i+2+j], s.vec[8+4*i+j], s.vec[4*i+2*j+1])
		}
	}
	for i := range 4 {
		VPERM2F128(Imm(0x20), s.vec[4+i], s.vec[i], s.vec[8+i])
		VPERM2F128(Imm(0x31), s.vec[4+i], s.vec[i], s.vec[12+i])
	}
	MOVQ(dst, p)
	for i := range 8 {
		VMOVUPS(s.vec[8+i], Mem{Base: p})
		ADDQ(ds, p)
	}
	ADDQ(Imm(32), src)
	ADDQ(step, dst)
	next()
	finish()
}

// rowMax keeps NaNs, as Go's max does. VMAXPS drops them, so a mask remembers them; a mask with all
// bits set is NaN as a float.
func rowMax() {
	s := avx2
	out, x, n := general[0], general[1], general[2]
	routine("rowMax", "rowMax leaves 8 partial maxima in out: out, x; blocks.", []reg.GPPhysical{out, x}, n)
	largest, value, nans, pair := s.vec[:4], s.vec[4:8], s.vec[8], s.vec[9]
	for i := range largest {
		VMOVUPS(Mem{Base: x, Disp: i * 32}, largest[i])
	}
	s.zero(8)
	s.run(n, []reg.GPPhysical{x}, func(i, disp int) {
		VMOVUPS(Mem{Base: x, Disp: disp}, value[i])
		VMAXPS(value[i], largest[i], largest[i])
		if i%2 == 1 {
			VCMPPS(Imm(3), value[i], value[i-1], pair) // one of the two is a NaN
			VORPS(pair, nans, nans)
		}
	})
	VMAXPS(largest[1], largest[0], largest[0])
	VMAXPS(largest[3], largest[2], largest[2])
	VMAXPS(largest[2], largest[0], largest[0])
	VORPS(nans, largest[0], largest[0])
	VMOVUPS(largest[0], Mem{Base: out})
	finish()
}

func dot() {
	s := avx2
	out, x, y, n := general[0], general[1], general[2], general[3]
	routine("dot", "dot leaves 8 partial sums in out: out, x, y; blocks.", []reg.GPPhysical{out, x, y}, n)
	for i := range 4 {
		s.zero(i)
	}
	s.run(n, []reg.GPPhysical{x, y}, func(i, disp int) {
		VMOVUPS(Mem{Base: x, Disp: disp}, s.vec[4+i])
		VFMADD231PS(Mem{Base: y, Disp: disp}, s.vec[4+i], s.vec[i])
	})
	VADDPS(s.vec[1], s.vec[0], s.vec[0])
	VADDPS(s.vec[3], s.vec[2], s.vec[2])
	VADDPS(s.vec[2], s.vec[0], s.vec[0])
	VMOVUPS(s.vec[0], Mem{Base: out})
	finish()
}

// expSum computes exp(v), v = scale*x + shift, as 2^n * exp(r) with n = round(v/ln 2) and |r| <=
// ln(2)/2. ln 2 is subtracted in two parts, so r is exact to a few parts in 1e8. exp(r) is its
// Taylor polynomial to r^7 (relative error 6e-9).
func expSum() {
	s := avx2
	constants := GLOBL("exponential", RODATA|NOPTR)
	const hi = 0.693359375 // 355/512: n*hi is exact
	lo := math.Ln2 - hi
	offset := 0
	constant := func(v float32) int {
		DATA(offset, U32(math.Float32bits(v)))
		offset += 4
		return offset - 4
	}
	log2e, hiAt, loAt, least, most := constant(math.Log2E), constant(-hi), constant(float32(-lo)), constant(-87), constant(88)
	var poly []int
	factorial := 1.0
	for k := range 8 {
		if k > 0 {
			factorial *= float64(k)
		}
		poly = append(poly, constant(float32(1/factorial)))
	}
	DATA(offset, U32(127))
	bias := offset
	out, dst, x, n, factors := general[0], general[1], general[2], general[3], general[4]
	routine("expSum",
		"expSum writes exp(scale*x + shift) and leaves 8 partial sums in out: out, dst, x, factors (scale, shift); blocks.",
		[]reg.GPPhysical{out, dst, x, factors}, n)
	scale, shift, total, v := s.vec[0], s.vec[1], s.vec[2], s.vec[3]
	k, r, t, keep := s.vec[4], s.vec[5], s.vec[6], s.vec[7]
	VBROADCASTSS(Mem{Base: factors}, scale)
	VBROADCASTSS(Mem{Base: factors, Disp: 4}, shift)
	s.zero(2)
	c := s.vec[8]
	load := func(at int, to reg.VecPhysical) { VBROADCASTSS(constants.Offset(at), to) }
	held := map[int]reg.VecPhysical{log2e: s.vec[9], hiAt: s.vec[10], loAt: s.vec[11], least: s.vec[12],
		most: s.vec[13], bias: s.vec[14]}
	for _, at := range []int{log2e, hiAt, loAt, least, most, bias} {
		load(at, held[at])
	}
	s.run(n, []reg.GPPhysical{dst, x}, func(i, disp int) {
		VMOVUPS(Mem{Base: x, Disp: disp}, v)
		VFMADD213PS(shift, scale, v)
		// The test is "not v < least": a smaller v counts as nothing, and a NaN stays one.
		VCMPPS(Imm(0x15), held[least], v, keep)
		VMAXPS(v, held[least], v)
		VMINPS(v, held[most], v)
		VMULPS(held[log2e], v, k)
		VROUNDPS(Imm(0), k, k)
		VMOVAPS(v, r)
		VFMADD231PS(held[hiAt], k, r)
		VFMADD231PS(held[loAt], k, r)
		load(poly[7], t)
		for d := 6; d >= 0; d-- {
			load(poly[d], c)
			VFMADD213PS(c, r, t)
		}
		VCVTPS2DQ(k, k)
		VPADDD(held[bias], k, k)
		VPSLLD(Imm(23), k, k)
		VMULPS(k, t, t)
		VANDPS(keep, t, t)
		VMOVUPS(t, Mem{Base: dst, Disp: disp})
		VADDPS(t, total, total)
	})
	VMOVUPS(total, Mem{Base: out})
	finish()
}
