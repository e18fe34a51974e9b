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

// powers holds exp2 and then rounder, each in all lanes of a register of AVX2.
var powers Mem

// rounder is added to a small number to round it to a whole one, to which it adds a float's
// exponent bias: the float's lowest bits are then the exponent's.
const rounder = 3<<22 + 127

func powerConstants() {
	powers = GLOBL("powers", RODATA|NOPTR)
	for i, v := range append(exp2, rounder) {
		for lane := range 8 {
			DATA(32*i+4*lane, U32(math.Float32bits(float32(v))))
		}
	}
}

// exponential computes exp(scale*d) for d <= 0: 2^k * 2^f, where k is the whole number next to
// scale*log2(e)*d and f the rest. The factor is the sum of two floats, so that f is exact to a
// rounding. 2^k is a shift of the rounded number's bits, and the last operation is a product, so
// that a NaN stays one. Where d is less than the least, the result is 0, whatever comes before.
type exponential struct {
	high, low, least reg.VecPhysical // scale*log2(e), what it lacks, and the least d
	power            []Op            // exp2: registers, or places in memory
	rounder          reg.VecPhysical
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
	e.high, e.low = take(Mem{Base: factors}), take(Mem{Base: factors, Disp: 4})
	e.least = take(Mem{Base: factors, Disp: 8})
	for i := range exp2 {
		at := powers.Offset(32 * i)
		if s.lanes == 16 {
			e.power = append(e.power, take(at))
		} else {
			e.power = append(e.power, at)
		}
	}
	e.rounder = take(powers.Offset(32 * len(exp2)))
	return e, first
}

// of replaces registers by their exponentials, step by step side by side: one alone would wait for
// itself. It takes three registers of tmp for each.
func (e exponential) of(s isa, d, tmp []reg.VecPhysical) {
	n := len(d)
	k, f, y := tmp[:n], tmp[n:2*n], tmp[2*n:3*n]
	step := func(do func(i int)) {
		for i := range d {
			do(i)
		}
	}
	step(func(i int) { VMOVAPS(d[i], k[i]) })
	step(func(i int) { VFMADD213PS(e.rounder, e.high, k[i]) })
	step(func(i int) { VSUBPS(e.rounder, k[i], y[i]) })
	step(func(i int) { VMOVAPS(d[i], f[i]) })
	step(func(i int) { VFMSUB213PS(y[i], e.high, f[i]) })
	step(func(i int) { VFMADD231PS(e.low, d[i], f[i]) })
	last := len(e.power) - 1
	step(func(i int) { VMOVUPS(e.power[last], y[i]) })
	for c := last - 1; c >= 0; c-- {
		step(func(i int) { VFMADD213PS(e.power[c], f[i], y[i]) })
	}
	step(func(i int) { VPSLLD(Imm(23), k[i], k[i]) })
	const notLess = 0x15
	if s.lanes == 16 {
		masks := []reg.Register{reg.K1, reg.K2, reg.K3, reg.K4}
		step(func(i int) { VCMPPS(Imm(notLess), e.least, d[i], masks[i]) })
		step(func(i int) { VMULPS_Z(k[i], y[i], masks[i], d[i]) })
		return
	}
	step(func(i int) { VCMPPS(Imm(notLess), e.least, d[i], f[i]) })
	step(func(i int) { VMULPS(k[i], y[i], y[i]) })
	step(func(i int) { VANDPS(f[i], y[i], d[i]) })
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

// softmax writes the routine behind Path.Softmax: all maxima first, since those of several rows are
// found side by side, then all exponentials. The last group of a row has columns that do not exist;
// adding the mask makes them minus infinity, before anything else is done.
func (s isa) softmax(bf16 bool) {
	name := "softmax" + s.name
	if bf16 {
		name = "softmaxPairs" + s.name
	}
	scores, largest, sums, mask, factors := general[0], general[1], general[2], general[3], general[4]
	rows, pitch, groups := general[5], general[6], general[7]
	x, y, left, to, count := general[8], general[9], general[10], general[11], general[12]
	routine(name, name+" makes rows of scores weights: scores, max, sums, mask, factors; rows, pitch, groups.",
		[]reg.GPPhysical{scores, largest, sums, mask, factors}, rows, pitch, groups)
	each16 := groupFloats / s.lanes
	m, total := s.vec[0], s.vec[1]
	e, next := s.loadExponential(factors, 2)
	d := s.vec[next]

	MOVQ(scores, y)
	MOVQ(largest, to)
	MOVQ(rows, count)
	nextMax := each("max", count)
	MOVQ(groups, left)
	DECQ(left)
	MOVQ(left, x)
	SHLQ(Imm(6), x)
	ADDQ(y, x) // the last group
	VBROADCASTSS(Mem{Base: to}, m)
	for i := range each16 {
		VMOVUPS(Mem{Base: x, Disp: i * s.bytes()}, d)
		VADDPS(Mem{Base: mask, Disp: i * s.bytes()}, d, d)
		VMOVUPS(d, Mem{Base: x, Disp: i * s.bytes()})
		VMAXPS(d, m, m)
	}
	MOVQ(y, x)
	TESTQ(left, left)
	JZ(LabelRef("found"))
	Label("larger")
	for i := range each16 {
		VMAXPS(Mem{Base: x, Disp: i * s.bytes()}, m, m)
	}
	ADDQ(Imm(4*groupFloats), x)
	DECQ(left)
	JNZ(LabelRef("larger"))
	Label("found")
	s.across(m, d, larger)
	storeFirst(m, Mem{Base: to})
	ADDQ(pitch, y)
	ADDQ(Imm(4), to)
	nextMax()

	nextRow := each("row", rows)
	VBROADCASTSS(Mem{Base: largest}, m)
	MOVQ(scores, x)
	if bf16 {
		MOVQ(scores, y)
	}
	MOVQ(groups, left)
	s.zero(1)
	// exponentials does some groups, and then what is left to do.
	exponentials := func(groups int) {
		d := s.vec[next:][:groups*each16]
		for i := range d {
			VMOVUPS(Mem{Base: x, Disp: i * s.bytes()}, d[i])
		}
		for i := range d {
			VSUBPS(m, d[i], d[i])
		}
		tmp := s.vec[next+len(d):]
		e.of(s, d, tmp)
		for i := range d {
			VADDPS(d[i], total, total)
			if bf16 {
				toPairs(d[i], d[i])
				VMOVUPS(s.lower(d[i]), Mem{Base: y, Disp: i * s.bytes() / 2})
			} else {
				VMOVUPS(d[i], Mem{Base: x, Disp: i * s.bytes()})
			}
		}
		ADDQ(U32(uint32(4*groupFloats*groups)), x)
		if bf16 {
			ADDQ(U32(uint32(2*groupFloats*groups)), y)
		}
	}
	if many := 4; s.lanes == 16 { // the others have too few registers
		SUBQ(Imm(uint64(many)), left)
		JL(LabelRef("fewer"))
		align()
		Label("groups")
		exponentials(many)
		SUBQ(Imm(uint64(many)), left)
		JGE(LabelRef("groups"))
		Label("fewer")
		ADDQ(Imm(uint64(many)), left)
		JZ(LabelRef("done"))
	}
	nextGroup := each("group", left)
	exponentials(1)
	nextGroup()
	Label("done")
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
	pv, gv := s.vec[4:6], s.vec[6:8]
	for i, index := range []Mem{{Base: p}, {Base: p, Index: pitch, Scale: 1}} {
		VMULPS(index, s.vec[i], pv[i])
	}
	for i, index := range []Mem{{Base: g}, {Base: g, Index: pitch, Scale: 1}} {
		VMOVUPS(index, gv[i])
		VSUBPS(s.vec[2+i], gv[i], gv[i])
		VMULPS(pv[i], gv[i], gv[i])
	}
	for _, v := range [][]reg.VecPhysical{pv, gv} {
		toPairs(v[0], v[0])
		toPairs(v[1], v[1])
	}
	VMOVUPS(s.lower(gv[0]), Mem{Base: to})
	VMOVUPS(s.lower(gv[1]), Mem{Base: next})
	for _, v := range [][]reg.VecPhysical{pv, gv} {
		VPMOVZXWD(s.lower(v[0]), v[0])
		VPMOVZXWD(s.lower(v[1]), v[1])
		VPSLLD(Imm(16), v[1], v[1])
		VPORD(v[1], v[0], v[0])
	}
	VMOVUPS(pv[0], Mem{Base: p})
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

// prefetchRows writes the routine behind Path.PrefetchRows.
func prefetchRows() {
	src, rows, pitch, lines, x, left := general[0], general[1], general[2], general[3], general[4], general[5]
	routine("prefetchRows", "prefetchRows brings lines of rows into the second-level cache: src; rows, pitch, lines.",
		[]reg.GPPhysical{src}, rows, pitch, lines)
	nextRow := each("row", rows)
	MOVQ(src, x)
	MOVQ(lines, left)
	nextLine := each("line", left)
	PREFETCHT1(Mem{Base: x})
	ADDQ(Imm(64), x)
	nextLine()
	ADDQ(pitch, src)
	nextRow()
	RET()
}

// toPairs rounds a register to bfloat16, into the lower half of another. It is VCVTNEPS2BF16, which
// the Go assembler does not know. It takes a denormal for zero, which no weight is.
func toPairs(from, to reg.VecPhysical) {
	d, x := register(to), register(from)
	inverted := func(r, bit int) uint64 { return uint64(^r >> bit & 1) }
	p1 := inverted(d, 3)<<7 | inverted(x, 4)<<6 | inverted(x, 3)<<5 | inverted(d, 4)<<4 | 2
	raw("LONG", 0x62|p1<<8|0x7e<<16|0x48<<24)
	raw("WORD", 0x72|uint64(0xc0|(d&7)<<3|x&7)<<8)
}

// attention writes all routines of this file. Those that leave bfloat16 for products of pairs are
// for processors that have such products.
func (s isa) attention() {
	s.softmax(false)
	s.softmaxGrad()
	for _, bf16 := range []bool{false, true} {
		s.dotRows(bf16)
	}
	for _, form := range [][2]bool{{false, false}, {false, true}, {true, false}} {
		s.scaleRows(form[0], form[1])
	}
	if s.lanes == 16 {
		s.softmax(true)
		s.softmaxGradPairs()
		s.scaleRows(true, true)
	}
}
