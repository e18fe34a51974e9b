package main

import (
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is an instruction set as a routine sees it.
type isa struct {
	name  string
	lanes int // 32-bit numbers in a register, and so pixels at once
	c     *constants

	vec  func() reg.VecVirtual
	kept map[string]reg.VecVirtual // constants in registers, of which AVX-512 has enough
}

func newAVX2(c *constants) *isa   { return &isa{name: "AVX2", lanes: 8, c: c, vec: YMM} }
func newAVX512(c *constants) *isa { return &isa{name: "AVX512", lanes: 16, c: c, vec: ZMM} }

// wide tells whether this is AVX-512.
func (s *isa) wide() bool { return s.lanes == 16 }

// bytes is the size of one register.
func (s *isa) bytes() int { return 4 * s.lanes }

func decimal(n int) string { return strconv.Itoa(n) }

// routine opens a function.
func (s *isa) routine(name, arguments, doc string) {
	TEXT(name+s.name, NOSPLIT, "func("+arguments+")")
	Pragma("noescape")
	Doc(name + s.name + doc)
	s.begin()
}

// begin prepares loading and storing of pixels.
func (s *isa) begin() {
	s.kept = map[string]reg.VecVirtual{}
	s.hold(s.c.apart[s.lanes], s.c.together[s.lanes])
}

// inRegister is a constant in a register.
func (s *isa) inRegister(m Mem) reg.VecVirtual {
	v := s.vec()
	s.move(m, v)
	return v
}

// move loads or stores a whole register.
func (s *isa) move(from, to Op) {
	if s.wide() {
		VMOVDQU32(from, to)
	} else {
		VMOVDQU(from, to)
	}
}

// hold keeps constants in registers if there are enough.
func (s *isa) hold(list ...Mem) {
	for _, m := range list {
		if s.wide() {
			s.kept[m.Symbol.Name] = s.inRegister(m)
		}
	}
}

// held is a constant as an operand.
func (s *isa) held(m Mem) Op {
	if v, ok := s.kept[m.Symbol.Name]; ok {
		return v
	}
	return m
}

// zero is a register of zeros.
func (s *isa) zero() reg.VecVirtual {
	v := s.vec()
	s.xor(v, v, v)
	return v
}

func (s *isa) xor(a, b, to Op) {
	if s.wide() {
		VPXORD(a, b, to)
	} else {
		VPXOR(a, b, to)
	}
}

func (s *isa) and(a, b, to Op) {
	if s.wide() {
		VPANDD(a, b, to)
	} else {
		VPAND(a, b, to)
	}
}

func (s *isa) or(a, b, to Op) {
	if s.wide() {
		VPORD(a, b, to)
	} else {
		VPOR(a, b, to)
	}
}

// equal is a mask of the places in which two registers are.
func (s *isa) equal(a, b Op) Op {
	if s.wide() {
		k := K()
		VPCMPEQD(a, b, k)
		return k
	}
	v := YMM()
	VPCMPEQD(a, b, v)
	return v
}

// choose has the places of yes where a mask is set, and those of no elsewhere.
func (s *isa) choose(mask, yes, no Op) reg.VecVirtual {
	v := s.vec()
	if s.wide() {
		VPBLENDMD(yes, no, mask, v)
	} else {
		VPBLENDVB(mask, yes, no, v)
	}
	return v
}

// where has the places of a constant where a mask is set, and zero elsewhere.
func (s *isa) where(mask, constant Op) reg.VecVirtual {
	v := s.vec()
	if s.wide() {
		VMOVDQA32_Z(constant, mask, v)
	} else {
		VPAND(constant, mask, v)
	}
	return v
}

// folded adds the parts of 16 bytes.
func (s *isa) folded(v reg.VecVirtual) reg.VecVirtual {
	if s.wide() {
		upper := YMM()
		VEXTRACTI64X4(Imm(1), v, upper)
		VPADDD(upper, v.AsY(), upper)
		v = upper
	}
	part := XMM()
	VEXTRACTI128(Imm(1), v.AsY(), part)
	VPADDD(part, v.AsX(), part)
	return part
}

// load loads as many pixels as a register has 32-bit numbers, four to each part of 16 bytes. Nothing
// behind them is read.
func (s *isa) load(pix reg.GPVirtual) reg.VecVirtual {
	v := s.vec()
	if s.wide() {
		VMOVDQU32(Mem{Base: pix}, v.AsY())
		VINSERTI32X4(Imm(2), Mem{Base: pix, Disp: 32}, v, v)
	} else {
		VMOVDQU(Mem{Base: pix}, v.AsX())
		upper := XMM()
		VMOVQ(Mem{Base: pix, Disp: 16}, upper)
		VINSERTI128(Imm(1), upper, v, v)
	}
	VPERMD(v, s.operand(s.c.apart[s.lanes]), v)
	return v
}

// store writes pixels, which are in the first 12 bytes of each part.
func (s *isa) store(v reg.VecVirtual, pix reg.GPVirtual) {
	VPERMD(v, s.operand(s.c.together[s.lanes]), v)
	if s.wide() {
		VMOVDQU32(v.AsY(), Mem{Base: pix})
		VEXTRACTI32X4(Imm(2), v, Mem{Base: pix, Disp: 32}) // a store with a mask takes ten times as long
		return
	}
	upper := XMM()
	VEXTRACTI128(Imm(1), v, upper)
	VMOVDQU(v.AsX(), Mem{Base: pix})
	VMOVQ(upper, Mem{Base: pix, Disp: 16})
}

// operand is a constant in a register.
func (s *isa) operand(m Mem) reg.VecVirtual {
	if v, ok := s.held(m).(reg.VecVirtual); ok {
		return v
	}
	return s.inRegister(m)
}
