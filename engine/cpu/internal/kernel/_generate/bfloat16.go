package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// bfloat16 is the upper half of a float32. Widening is a shift. Narrowing rounds the bits as an
// integer, to nearest, ties to even: every instruction set can do that, with the same result. A NaN
// stays one unless all its lower bits are set, and arithmetic makes no such NaN.

// rounding holds the two constants of narrow, a register each.
var rounding Mem

func roundingConstants() {
	rounding = GLOBL("rounding", RODATA|NOPTR)
	for i := range 32 {
		DATA(4*i, []U32{1, 0x7fff}[i/16])
	}
}

// lower is the lower half of a register.
func (s isa) lower(r reg.VecPhysical) reg.VecPhysical {
	if s.lanes == 16 {
		return r.AsY().(reg.VecPhysical)
	}
	return r.AsX().(reg.VecPhysical)
}

func (s isa) widen(from Op, to reg.VecPhysical) {
	VPMOVZXWD(from, to)
	VPSLLD(Imm(16), to, to)
}

// round leaves the rounded value in the upper half of `from`, and garbage in the lower half.
func (s isa) round(from, tmp reg.VecPhysical) {
	VPSRLD(Imm(16), from, tmp)
	if s.lanes == 16 {
		VPANDD(rounding.Offset(0), tmp, tmp)
	} else {
		VPAND(rounding.Offset(0), tmp, tmp)
	}
	VPADDD(rounding.Offset(64), from, from)
	VPADDD(tmp, from, from)
}

// narrow stores a register and overwrites both.
func (s isa) narrow(from, tmp reg.VecPhysical, to Mem) {
	s.round(from, tmp)
	VPSRLD(Imm(16), from, from)
	if s.lanes == 16 {
		VPMOVDW(from, to)
		return
	}
	VPACKUSDW(from, from, from)
	VPERMQ(Imm(8), from, from)
	VMOVDQU(s.lower(from), to)
}

// pair writes the routine that lays weights for tiles of bfloat16.
func (s isa) pair() {
	dst, first, second, n := general[0], general[1], general[2], general[3]
	routine("pair"+s.name,
		"pair"+s.name+" rounds two rows to bfloat16 and lays them side by side, value by value: dst, first, second; blocks.",
		[]reg.GPPhysical{dst, first, second}, n)
	next := each("block", n)
	for i := range floatsEach / s.lanes {
		a, b, tmp := s.vec[3*i%12], s.vec[3*i%12+1], s.vec[3*i%12+2]
		VMOVUPS(Mem{Base: first, Disp: i * s.bytes()}, a)
		VMOVUPS(Mem{Base: second, Disp: i * s.bytes()}, b)
		s.round(a, tmp)
		s.round(b, tmp)
		VPSRLD(Imm(16), a, a)
		VPSRLD(Imm(16), b, b)
		VPSLLD(Imm(16), b, b)
		VORPS(b, a, a)
		VMOVUPS(a, Mem{Base: dst, Disp: i * s.bytes()})
	}
	for _, p := range []reg.GPPhysical{dst, first, second} {
		ADDQ(U32(4*floatsEach), p)
	}
	next()
	finish()
}

func (s isa) widenRun() {
	dst, src, n := general[0], general[1], general[2]
	routine("widen"+s.name, "widen"+s.name+" converts bfloat16 to float32: dst, src; blocks.", []reg.GPPhysical{dst, src}, n)
	next := each("block", n)
	for i := range floatsEach / s.lanes {
		s.widen(Mem{Base: src, Disp: i * s.bytes() / 2}, s.vec[i])
		VMOVUPS(s.vec[i], Mem{Base: dst, Disp: i * s.bytes()})
	}
	ADDQ(U32(4*floatsEach), dst)
	ADDQ(Imm(2*floatsEach), src)
	next()
	finish()
}

func (s isa) narrowRun() {
	dst, src, n := general[0], general[1], general[2]
	routine("narrow"+s.name, "narrow"+s.name+" rounds float32 to bfloat16: dst, src; blocks.", []reg.GPPhysical{dst, src}, n)
	next := each("block", n)
	for i := range floatsEach / s.lanes {
		VMOVUPS(Mem{Base: src, Disp: i * s.bytes()}, s.vec[2*i])
		s.narrow(s.vec[2*i], s.vec[2*i+1], Mem{Base: dst, Disp: i * s.bytes() / 2})
	}
	ADDQ(Imm(2*floatsEach), dst)
	ADDQ(U32(4*floatsEach), src)
	next()
	finish()
}

// reluGradBF16 keeps dy where y is positive as a signed integer: its sign bit is the float's.
func (s isa) reluGradBF16() {
	dx, dy, y, n := general[0], general[1], general[2], general[3]
	routine("reluGradHalf"+s.name,
		"reluGradHalf"+s.name+" is dx = dy where y > 0, else 0, of bfloat16: dx, dy, y; blocks.",
		[]reg.GPPhysical{dx, dy, y}, n)
	s.zero(0)
	next := each("block", n)
	for disp := 0; disp < 2*floatsEach; disp += s.bytes() {
		t := s.vec[1+disp/s.bytes()]
		if s.lanes == 16 {
			VMOVDQU16(Mem{Base: y, Disp: disp}, t)
			VPCMPGTW(s.vec[0], t, reg.K1)
			VMOVDQU16_Z(Mem{Base: dy, Disp: disp}, reg.K1, t)
			VMOVDQU16(t, Mem{Base: dx, Disp: disp})
			continue
		}
		VMOVDQU(Mem{Base: y, Disp: disp}, t)
		VPCMPGTW(s.vec[0], t, t)
		VPAND(Mem{Base: dy, Disp: disp}, t, t)
		VMOVDQU(t, Mem{Base: dx, Disp: disp})
	}
	for _, p := range []reg.GPPhysical{dx, dy, y} {
		ADDQ(Imm(2*floatsEach), p)
	}
	next()
	finish()
}

// vendor is CPUID's leaf 0. The features do not tell whether a processor multiplies bfloat16 fast.
func vendor() {
	TEXT("vendor", NOSPLIT, "func() (name [12]byte)")
	Doc("vendor is the processor's maker, as CPUID has it.")
	XORL(reg.EAX, reg.EAX)
	XORL(reg.ECX, reg.ECX)
	CPUID()
	for i, r := range []reg.Register{reg.EBX, reg.EDX, reg.ECX} {
		for j := range 4 {
			c, err := Return("name").Index(4*i + j).Resolve()
			if err != nil {
				panic(err)
			}
			MOVB(map[reg.Register]reg.Register{reg.EBX: reg.BL, reg.EDX: reg.DL, reg.ECX: reg.CL}[r], c.Addr)
			SHRL(Imm(8), r)
		}
	}
	RET()
}
