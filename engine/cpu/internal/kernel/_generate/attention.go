package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// These routines walk over rows that lie a pitch apart, in groups of 16 floats. A routine does many
// rows in one call: attention has rows of some hundred floats, for which a call each is dear.

// groupFloats is how many floats of a row a step takes.
const groupFloats = 16

// exp2 are the coefficients of 2^f = 1 + c1 f + ... + c6 f^6 for |f| <= 1/2: the polynomial with
// the least relative error, 2e-9.
var exp2 = []float64{1, 0.6931472028552299, 0.24022647913616552, 0.055503324707801255, 0.0096184373581854141,
	0.0013398874550626771, 0.00015353362041026187}

// powers holds exp2 and then a float's exponent bias, each in all lanes of a register of AVX2.
var powers Mem

func powerConstants() {
	powers = GLOBL("powers", RODATA|NOPTR)
	for i := range len(exp2) + 1 {
		for lane := range 8 {
			bits := uint32(127)
			if i < len(exp2) {
				bits = math.Float32bits(float32(exp2[i]))
			}
			DATA(32*i+4*lane, U32(bits))
		}
	}
}

// exponential computes exp(scale*d) for d <= 0: 2^k * 2^f, where k is the whole number next to
// scale*log2(e)*d and f the rest. The factor is the sum of two floats, so that f is exact to a
// rounding. Where d is less than the least, the result is 0; what comes before does not matter there.
// A NaN stays one, since the comparison is "not less".
type exponential struct {
	high, low, least reg.VecPhysical // scale*log2(e), what it lacks, and the least d
	power            []Op            // exp2: registers, or places in memory
	bias             reg.VecPhysical // AVX2 alone
}

// loadExponential loads the constants into registers from the first one on. AVX-512 has registers
// for all of them. factors points to high, low and least.
func (s isa) loadExponential(factors reg.GPPhysical, first int) (e exponential, next int) {
	take := func(from Op) reg.VecPhysical {
		r := s.vec[first]
		VBROADCASTSS(from, r)
		first++
		return r
	}
	e.high, e.low, e.least = take(Mem{Base: factors}), take(Mem{Base: factors, Disp: 4}), take(Mem{Base: factors, Disp: 8})
	for i := range exp2 {
		at := powers.Offset(32 * i)
		if s.lanes == 16 {
			e.power = append(e.power, take(at))
		} else {
			e.power = append(e.power, at)
		}
	}
	if s.lanes == 8 {
		e.bias = take(powers.Offset(32 * len(exp2)))
	}
	return e, first
}

// of replaces d by its exponential. It overwrites the four registers of tmp.
func (e exponential) of(s isa, d reg.VecPhysical, tmp []reg.VecPhysical) {
	k, f, y, keep := tmp[0], tmp[1], tmp[2], tmp[3]
	const notLess = 0x15
	if s.lanes == 16 {
		VCMPPS(Imm(notLess), e.least, d, reg.K1)
	} else {
		VCMPPS(Imm(notLess), e.least, d, keep)
	}
	VMULPS(e.high, d, k)
	if s.lanes == 16 {
		VRNDSCALEPS(Imm(0), k, k)
	} else {
		VROUNDPS(Imm(0), k, k)
	}
	VMOVAPS(d, f)
	VFMSUB213PS(k, e.high, f)
	VFMADD231PS(e.low, d, f)
	last := len(e.power) - 1
	if s.lanes == 16 {
		VMOVAPS(e.power[last], y)
	} else {
		VMOVUPS(e.power[last], y)
	}
	for i := last - 1; i >= 0; i-- {
		VFMADD213PS(e.power[i], f, y)
	}
	if s.lanes == 16 {
		VSCALEFPS_Z(k, y, reg.K1, d)
		return
	}
	VCVTPS2DQ(k, k)
	VPADDD(e.bias, k, k)
	VPSLLD(Imm(23), k, k)
	VMULPS(k, y, y)
	VANDPS(keep, y, d)
}

// across joins the lanes of a register by an instruction and leaves the result in all lanes: halves
// first, then quarters of those. NEON does the same.
func (s isa) across(v, tmp reg.VecPhysical, join func(a, b, to Op)) {
	if s.lanes == 16 {
		VSHUFF64X2(Imm(0x4e), v, v, tmp)
		join(tmp, v, v)
		VSHUFF64X2(Imm(0xb1), v, v, tmp)
		join(tmp, v, v)
	} else {
		VPERM2F128(Imm(1), v, v, tmp)
		join(tmp, v, v)
	}
	for _, order := range []uint64{0x4e, 0xb1} {
		VPERMILPS(Imm(order), v, tmp)
		join(tmp, v, v)
	}
}

func larger(a, b, to Op) { VMAXPS(a, b, to) }
func sum(a, b, to Op)    { VADDPS(a, b, to) }

// storeFirst stores lane 0 of a register below 16.
func storeFirst(v reg.VecPhysical, to Mem) { VMOVSS(v.AsX(), to) }

// softmax writes the routine behind Path.Softmax. The last group of a row has columns that do not
// exist; adding the mask makes them minus infinity, before anything else is done.
func (s isa) softmax(bf16 bool) {
	name := "softmax" + half(bf16) + s.name
	scores, largest, sums, mask, factors := general[0], general[1], general[2], general[3], general[4]
	rows, pitch, groups := general[5], general[6], general[7]
	x, y, left := general[8], general[9], general[10]
	routine(name, name+" makes rows of scores weights: scores, max, sums, mask, factors; rows, pitch, groups.",
		[]reg.GPPhysical{scores, largest, sums, mask, factors}, rows, pitch, groups)
	each16 := groupFloats / s.lanes
	m, total := s.vec[0], s.vec[1]
	e, next := s.loadExponential(factors, 2)
	d, tmp := s.vec[next], s.vec[next+1:]

	nextRow := each("row", rows)
	MOVQ(groups, left)
	DECQ(left)
	MOVQ(left, x)
	SHLQ(Imm(6), x)
	ADDQ(scores, x) // the last group
	VBROADCASTSS(Mem{Base: largest}, m)
	for i := range each16 {
		VMOVUPS(Mem{Base: x, Disp: i * s.bytes()}, d)
		VADDPS(Mem{Base: mask, Disp: i * s.bytes()}, d, d)
		VMOVUPS(d, Mem{Base: x, Disp: i * s.bytes()})
		VMAXPS(d, m, m)
	}
	MOVQ(scores, x)
	TESTQ(left, left)
	JZ(LabelRef("found"))
	Label("max")
	for i := range each16 {
		VMAXPS(Mem{Base: x, Disp: i * s.bytes()}, m, m)
	}
	ADDQ(Imm(4*groupFloats), x)
	DECQ(left)
	JNZ(LabelRef("max"))
	Label("found")
	s.across(m, d, larger)
	storeFirst(m, Mem{Base: largest})

	MOVQ(scores, x)
	if bf16 {
		MOVQ(scores, y)
	}
	MOVQ(groups, left)
	s.zero(1)
	nextGroup := each("group", left)
	for i := range each16 {
		VMOVUPS(Mem{Base: x, Disp: i * s.bytes()}, d)
		VSUBPS(m, d, d)
		e.of(s, d, tmp)
		VADDPS(d, total, total)
		if bf16 {
			s.narrow(d, tmp[0], Mem{Base: y, Disp: i * s.bytes() / 2})
		} else {
			VMOVUPS(d, Mem{Base: x, Disp: i * s.bytes()})
		}
	}
	ADDQ(Imm(4*groupFloats), x)
	if bf16 {
		ADDQ(Imm(2*groupFloats), y)
	}
	nextGroup()
	s.across(total, d, sum)
	storeFirst(total, Mem{Base: sums})
	ADDQ(pitch, scores)
	ADDQ(Imm(4), largest)
	ADDQ(Imm(4), sums)
	nextRow()
	finish()
}

// half names the routines of bfloat16.
func half(bf16 bool) string {
	if bf16 {
		return "Half"
	}
	return ""
}

// softmaxGrad writes the routine behind Path.SoftmaxGrad.
func (s isa) softmaxGrad() {
	name := "softmaxGrad" + s.name
	weights, gradients, inverse, along := general[0], general[1], general[2], general[3]
	rows, pitch, groups := general[4], general[5], general[6]
	x, left := general[7], general[8]
	routine(name, name+" is p *= inverse, then g = p*(g - along): p, g, inverse, along; rows, pitch, groups.",
		[]reg.GPPhysical{weights, gradients, inverse, along}, rows, pitch, groups)
	f, a := s.vec[0], s.vec[1]
	nextRow := each("row", rows)
	VBROADCASTSS(Mem{Base: inverse}, f)
	VBROADCASTSS(Mem{Base: along}, a)
	XORQ(x, x)
	MOVQ(groups, left)
	nextGroup := each("group", left)
	for i := range groupFloats / s.lanes {
		p, g := s.vec[2+2*i], s.vec[3+2*i]
		at := func(base reg.GPPhysical) Mem { return Mem{Base: base, Index: x, Scale: 1, Disp: i * s.bytes()} }
		VMULPS(at(weights), f, p)
		VMOVUPS(p, at(weights))
		VMOVUPS(at(gradients), g)
		VSUBPS(a, g, g)
		VMULPS(p, g, g)
		VMOVUPS(g, at(gradients))
	}
	ADDQ(Imm(4*groupFloats), x)
	nextGroup()
	ADDQ(pitch, weights)
	ADDQ(pitch, gradients)
	ADDQ(Imm(4), inverse)
	ADDQ(Imm(4), along)
	nextRow()
	finish()
}

// softmaxGradPairs writes the routine behind Path.SoftmaxGradPairs: two rows at a time.
func (s isa) softmaxGradPairs() {
	name := "softmaxGradPairs" + s.name
	weights, gradients, inverse, along, rounded := general[0], general[1], general[2], general[3], general[4]
	rows, pitch, groups, roundedPitch := general[5], general[6], general[7], general[8]
	p, g, to, next, left := general[9], general[10], general[11], general[12], general[13]
	routine(name, name+" is softmaxGrad of pairs of rows, which it leaves rounded: p, g, inverse, along, rounded rows; "+
		"pairs, pitch, groups, pitch of rounded rows.",
		[]reg.GPPhysical{weights, gradients, inverse, along, rounded}, rows, pitch, groups, roundedPitch)
	nextRow := each("row", rows)
	for i := range 2 {
		VBROADCASTSS(Mem{Base: inverse, Disp: 4 * i}, s.vec[i])
		VBROADCASTSS(Mem{Base: along, Disp: 4 * i}, s.vec[2+i])
	}
	MOVQ(weights, p)
	MOVQ(gradients, g)
	MOVQ(rounded, to)
	LEAQ(Mem{Base: rounded, Index: roundedPitch, Scale: 1}, next)
	MOVQ(groups, left)
	nextGroup := each("group", left)
	pv, gv, tmp := s.vec[4:6], s.vec[6:8], s.vec[8:12]
	for i, index := range []Mem{{Base: p}, {Base: p, Index: pitch, Scale: 1}} {
		VMULPS(index, s.vec[i], pv[i])
	}
	for i, index := range []Mem{{Base: g}, {Base: g, Index: pitch, Scale: 1}} {
		VMOVUPS(index, gv[i])
		VSUBPS(s.vec[2+i], gv[i], gv[i])
		VMULPS(pv[i], gv[i], gv[i])
	}
	s.pairUp(pv[0], pv[1], tmp[0], tmp[1])
	VMOVUPS(pv[0], Mem{Base: p})
	s.pairUp(gv[0], gv[1], tmp[2], tmp[3])
	// The halves of pairUp's result, and so both rows, in 16 bits each.
	VPMOVDW(gv[0], Mem{Base: to})
	VPSRLD(Imm(16), gv[0], gv[1])
	VPMOVDW(gv[1], Mem{Base: next})
	VMOVUPS(gv[0], Mem{Base: g})
	for _, at := range []reg.GPPhysical{p, g} {
		ADDQ(Imm(4*groupFloats), at)
	}
	for _, at := range []reg.GPPhysical{to, next} {
		ADDQ(Imm(2*groupFloats), at)
	}
	nextGroup()
	for _, at := range []reg.GPPhysical{weights, gradients} {
		LEAQ(Mem{Base: at, Index: pitch, Scale: 2}, at)
	}
	LEAQ(Mem{Base: rounded, Index: roundedPitch, Scale: 2}, rounded)
	ADDQ(Imm(8), inverse)
	ADDQ(Imm(8), along)
	nextRow()
	finish()
}

// scaleRows writes the routines behind Path.ScaleRows: from and to float32 or bfloat16.
func (s isa) scaleRows(from, to bool) {
	name := "scaleRows" + half(from) + "To" + half(to) + s.name
	dst, src, factors := general[0], general[1], general[2]
	rows, dstPitch, srcPitch, groups, step := general[3], general[4], general[5], general[6], general[7]
	x, y, left := general[8], general[9], general[10]
	routine(name, name+" is dst = factor*src, row by row: dst, src, factors; rows, pitches, groups, factor's step.",
		[]reg.GPPhysical{dst, src, factors}, rows, dstPitch, srcPitch, groups, step)
	f := s.vec[0]
	nextRow := each("row", rows)
	VBROADCASTSS(Mem{Base: factors}, f)
	MOVQ(src, x)
	MOVQ(dst, y)
	MOVQ(groups, left)
	nextGroup := each("group", left)
	for i := range groupFloats / s.lanes {
		v, tmp := s.vec[1+2*i], s.vec[2+2*i]
		if from {
			s.widen(Mem{Base: x, Disp: i * s.bytes() / 2}, v)
			VMULPS(v, f, v)
		} else {
			VMULPS(Mem{Base: x, Disp: i * s.bytes()}, f, v)
		}
		if to {
			s.narrow(v, tmp, Mem{Base: y, Disp: i * s.bytes() / 2})
		} else {
			VMOVUPS(v, Mem{Base: y, Disp: i * s.bytes()})
		}
	}
	ADDQ(Imm(groupFloats*size(from)), x)
	ADDQ(Imm(groupFloats*size(to)), y)
	nextGroup()
	ADDQ(srcPitch, src)
	ADDQ(dstPitch, dst)
	ADDQ(step, factors)
	nextRow()
	finish()
}

// size is the number of bytes of one value.
func size(bf16 bool) uint64 {
	if bf16 {
		return 2
	}
	return 4
}

// dotRows writes the routines behind Path.DotRows.
func (s isa) dotRows(bf16 bool) {
	name := "dotRows" + half(bf16) + s.name
	out, a, b := general[0], general[1], general[2]
	rows, aPitch, bPitch, groups := general[3], general[4], general[5], general[6]
	x, y, left := general[7], general[8], general[9]
	routine(name, name+" is out = the sum of a*b, row by row: out, a, b; rows, pitches, groups.",
		[]reg.GPPhysical{out, a, b}, rows, aPitch, bPitch, groups)
	total := s.vec[0]
	nextRow := each("row", rows)
	MOVQ(a, x)
	MOVQ(b, y)
	MOVQ(groups, left)
	s.zero(0)
	nextGroup := each("group", left)
	for i := range groupFloats / s.lanes {
		v, w := s.vec[1+2*i], s.vec[2+2*i]
		if bf16 {
			s.widen(Mem{Base: x, Disp: i * s.bytes() / 2}, v)
			s.widen(Mem{Base: y, Disp: i * s.bytes() / 2}, w)
			VFMADD231PS(v, w, total)
		} else {
			VMOVUPS(Mem{Base: x, Disp: i * s.bytes()}, v)
			VFMADD231PS(Mem{Base: y, Disp: i * s.bytes()}, v, total)
		}
	}
	ADDQ(Imm(groupFloats*size(bf16)), x)
	ADDQ(Imm(groupFloats*size(bf16)), y)
	nextGroup()
	s.across(total, s.vec[1], sum)
	storeFirst(total, Mem{Base: out})
	ADDQ(aPitch, a)
	ADDQ(bPitch, b)
	ADDQ(Imm(4), out)
	nextRow()
	finish()
}

// attention writes all routines of this file.
func (s isa) attention() {
	for _, bf16 := range []bool{false, true} {
		s.softmax(bf16)
		s.dotRows(bf16)
		for _, to := range []bool{false, true} {
			s.scaleRows(bf16, to)
		}
	}
	s.softmaxGrad()
	if s.lanes == 16 {
		s.softmaxGradPairs()
	}
}
