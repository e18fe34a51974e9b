package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Where a Normal's scale has its numbers, each for 16 pixels. A register's worth of pixels
// fills three registers of floats.
const (
	means, deviations, inverses = 0, 4 * 48, 8 * 48
)

// toFloats is the routine for pixels in their order, and mirrored the one from the last to the first.
func toFloats(s *isa) { normalise(s, false) }
func mirrored(s *isa) { normalise(s, true) }

// normalise divides by multiplying with the inverse and correcting that by what is left over, which
// gives the rounded quotient in all but rare cases. Package colour looks for these beforehand.
func normalise(s *isa, mirror bool) {
	name, doc := "floats", " is floats, for n pixels, a multiple of "+decimal(s.lanes)+"."
	if mirror {
		name, doc = "mirrored", " is mirrored, for n pixels, a multiple of "+decimal(s.lanes)+". Pix is where the last ones begin."
	}
	s.routine(name, "dst *float32, pix *byte, n int, by *float32", doc)
	c := &s.c.floats
	s.hold(c.most, c.inverse, c.backwards, c.backwardsOrder[s.lanes])
	dst, pix, n, by := argument("dst"), argument("pix"), argument("n"), argument("by")
	loop(n, s.lanes, func() {
		var parts [3]Op
		step := uint64(3 * s.lanes)
		if mirror {
			parts = s.thirds(s.reversed(s.load(pix)))
			SUBQ(Imm(step), pix)
		} else {
			for i := range parts {
				parts[i] = Mem{Base: pix, Disp: s.lanes * i}
			}
		}
		for i, from := range parts {
			v, q := s.vec(), s.vec()
			VPMOVZXBD(from, v)
			VCVTDQ2PS(v, v)
			VMULPS(s.held(c.inverse), v, q)
			s.correct(q, v, s.held(c.most), s.held(c.inverse))
			at := func(what int) Mem { return Mem{Base: by, Disp: what + s.bytes()*i} }
			VSUBPS(at(means), q, v)
			VMULPS(at(inverses), v, q)
			s.correct(q, v, at(deviations), at(inverses))
			s.move(q, Mem{Base: dst, Disp: s.bytes() * i})
		}
		if !mirror {
			ADDQ(Imm(step), pix)
		}
		ADDQ(Imm(4*step), dst)
	})
}

// correct brings a quotient q of v and divisor nearer, by the rest of the division. It overwrites v.
func (s *isa) correct(q, v reg.VecVirtual, divisor, inverse Op) {
	VFNMADD231PS(divisor, q, v) // v - q divisor
	VFMADD231PS(inverse, v, q)
}

// reversed brings pixels as they are loaded into the opposite order, without gaps.
func (s *isa) reversed(v reg.VecVirtual) reg.VecVirtual {
	c := &s.c.floats
	VPSHUFB(s.held(c.backwards), v, v)
	VPERMD(v, s.operand(c.backwardsOrder[s.lanes]), v)
	return v
}

// thirds are the three parts of pixels without gaps: as many bytes each as a register has floats.
func (s *isa) thirds(v reg.VecVirtual) [3]Op {
	second, third := XMM(), XMM()
	if s.wide() {
		VEXTRACTI32X4(Imm(1), v, second)
		VEXTRACTI32X4(Imm(2), v, third)
	} else {
		VPSRLDQ(Imm(8), v.AsX(), second)
		VEXTRACTI128(Imm(1), v, third)
	}
	return [3]Op{v.AsX(), second, third}
}

// floatsConstants are those of floats and mirrored.
type floatsConstants struct {
	most, inverse  Mem         // 255
	backwards      Mem         // four pixels in the opposite order, in the first 12 bytes of each part
	backwardsOrder map[int]Mem // the parts in the opposite order, without the gaps
}

func newFloatsConstants() floatsConstants {
	c := floatsConstants{most: floats("divisor255", 255), inverse: floats("inverse255", 1.0/255), backwardsOrder: map[int]Mem{}}
	c.backwards = shuffle("backwards", func(at int) int {
		if at < 12 {
			return 9 - at/3*3 + at%3
		}
		return -1
	})
	for _, lanes := range []int{8, 16} {
		last := lanes/4 - 1
		c.backwardsOrder[lanes] = order("backwardsOrder", lanes, func(i int) int {
			i = min(i, 3*last+2)
			return (last-i/3)*4 + i%3
		})
	}
	return c
}
