// Command generate writes the assembly of package colour. Run it through `go generate` in the
// package's folder. The plain functions in portable.go say what each routine does.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	c := newConstants()
	for _, new := range []func(c *constants) *isa{newAVX2, newAVX512} {
		for _, write := range []func(s *isa){blend, sumLuma, saturate, gray, turn, toFloats, mirrored} {
			write(new(c))
		}
	}
	Generate()
}

// argument loads a parameter of the routine.
func argument(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

func paramAddr(name string) Op {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// everywhere is a float parameter in all places of a register.
func everywhere(s *isa, name string) reg.VecVirtual {
	v := s.vec()
	VBROADCASTSS(paramAddr(name), v)
	return v
}

// loop repeats what body writes until n, less `by` each time, is 0, and ends the routine.
func loop(n reg.GPVirtual, by int, body func()) {
	Label("next")
	body()
	SUBQ(Imm(uint64(by)), n)
	JG(LabelRef("next"))
	VZEROUPPER()
	RET()
}

func blend(s *isa) {
	values := s.bytes()
	s.routine("blend", "pix *byte, n int, factor float32, level float32",
		" is blend, for n values, a multiple of "+decimal(values)+".")
	pix, n := argument("pix"), argument("n")
	factor, level := everywhere(s, "factor"), everywhere(s, "level")
	limit, order := s.inRegister(s.c.most), s.inRegister(s.c.inOrder[s.lanes])
	loop(n, values, func() {
		var v [4]reg.VecVirtual
		for i := range v {
			v[i] = s.vec()
			VPMOVZXBD(Mem{Base: pix, Disp: values / 4 * i}, v[i])
			VCVTDQ2PS(v[i], v[i])
			VSUBPS(level, v[i], v[i])
			VMULPS(factor, v[i], v[i])
			VADDPS(level, v[i], v[i])
			VMINPS(limit, v[i], v[i])
			VCVTTPS2DQ(v[i], v[i])
		}
		VPACKSSDW(v[1], v[0], v[0])
		VPACKSSDW(v[3], v[2], v[2])
		VPACKUSWB(v[2], v[0], v[0])
		VPERMD(v[0], order, v[0])
		s.move(v[0], Mem{Base: pix})
		ADDQ(Imm(uint64(values)), pix)
	})
}

// luma is that of pixels as they are loaded.
func luma(s *isa, pixels reg.VecVirtual) reg.VecVirtual {
	a, b := s.vec(), s.vec()
	VPSHUFB(s.held(s.c.redGreen), pixels, a)
	VPSHUFB(s.held(s.c.greenBlue), pixels, b)
	VPMADDWD(s.held(s.c.redGreenFactors), a, a)
	VPMADDWD(s.held(s.c.greenBlueFactors), b, b)
	VPADDD(b, a, a)
	VPADDD(s.held(s.c.half), a, a)
	VPSRLD(Imm(16), a, a)
	return a
}

// prepareLuma brings the constants of luma to registers.
func prepareLuma(s *isa) {
	s.hold(s.c.redGreen, s.c.greenBlue, s.c.redGreenFactors, s.c.greenBlueFactors, s.c.half)
}

func sumLuma(s *isa) {
	TEXT("sumLuma"+s.name, NOSPLIT, "func(pix *byte, n int) int")
	Pragma("noescape")
	Doc("sumLuma" + s.name + " is sumLuma, for n pixels, a multiple of " + decimal(s.lanes) + " up to 1<<24.")
	s.begin()
	prepareLuma(s)
	pix, n := argument("pix"), argument("n")
	sum := s.zero()
	Label("next")
	VPADDD(luma(s, s.load(pix)), sum, sum)
	ADDQ(Imm(uint64(3*s.lanes)), pix)
	SUBQ(Imm(uint64(s.lanes)), n)
	JG(LabelRef("next"))
	part := s.folded(sum)
	for _, order := range []uint64{0x4e, 0xb1} {
		other := XMM()
		VPSHUFD(Imm(order), part, other)
		VPADDD(other, part, part)
	}
	total := GP64()
	VMOVD(part, total.As32())
	Store(total, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func saturate(s *isa) {
	s.routine("saturate", "pix *byte, n int, factor float32", " is saturate, for n pixels, a multiple of "+decimal(s.lanes)+".")
	prepareLuma(s)
	s.hold(s.c.channel[:]...)
	s.hold(s.c.fromPacked)
	pix, n := argument("pix"), argument("n")
	factor, limit := everywhere(s, "factor"), s.inRegister(s.c.most)
	loop(n, s.lanes, func() {
		pixels := s.load(pix)
		l, base := luma(s, pixels), s.vec()
		VCVTDQ2PS(l, base)
		var v [3]reg.VecVirtual
		for c := range v {
			v[c] = s.vec()
			VPSHUFB(s.held(s.c.channel[c]), pixels, v[c])
			VPSUBD(l, v[c], v[c])
			VCVTDQ2PS(v[c], v[c])
			VMULPS(factor, v[c], v[c])
			VADDPS(base, v[c], v[c])
			VMINPS(limit, v[c], v[c])
			VCVTTPS2DQ(v[c], v[c])
		}
		VPACKSSDW(v[1], v[0], v[0])
		VPACKSSDW(v[2], v[2], v[2])
		VPACKUSWB(v[2], v[0], v[0])
		VPSHUFB(s.held(s.c.fromPacked), v[0], v[0])
		s.store(v[0], pix)
		ADDQ(Imm(uint64(3*s.lanes)), pix)
	})
}

func gray(s *isa) {
	s.routine("gray", "pix *byte, n int", " is gray, for n pixels, a multiple of "+decimal(s.lanes)+".")
	prepareLuma(s)
	s.hold(s.c.thrice)
	pix, n := argument("pix"), argument("n")
	loop(n, s.lanes, func() {
		l := luma(s, s.load(pix))
		VPSHUFB(s.held(s.c.thrice), l, l)
		s.store(l, pix)
		ADDQ(Imm(uint64(3*s.lanes)), pix)
	})
}
