package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gathering is a way to lay rows side by side: the number of rows that make one row of the result, the
// bytes of a value of theirs, and the step that makes 16 values of the result.
type gathering struct {
	name string
	rows int
	size int
	step func(s isa, from []reg.GPPhysical, disp int, to Mem)
}

// gatherings copies one row of float32, widens one row of bfloat16, or interleaves the values of two.
var gatherings = []gathering{
	{"gather", 1, 4, func(s isa, from []reg.GPPhysical, disp int, to Mem) {
		VMOVUPS(Mem{Base: from[0], Disp: disp}, s.vec[0])
		VMOVUPS(s.vec[0], to.Offset(disp))
	}},
	{"gatherHalf", 1, 2, func(s isa, from []reg.GPPhysical, disp int, to Mem) {
		s.widen(Mem{Base: from[0], Disp: disp / 2}, s.vec[0])
		VMOVUPS(s.vec[0], to.Offset(disp))
	}},
	{"gatherPairs", 2, 2, func(s isa, from []reg.GPPhysical, disp int, to Mem) {
		VPMOVZXWD(Mem{Base: from[0], Disp: disp / 2}, s.vec[0])
		s.widen(Mem{Base: from[1], Disp: disp / 2}, s.vec[1])
		VORPS(s.vec[0], s.vec[1], s.vec[0])
		VMOVUPS(s.vec[0], to.Offset(disp))
	}},
}

// gather walks down a list of offsets. A negative offset stands for a row of zeros. Its pointer is
// set, without a branch, to a place with zeros, and its step to 0.
func (s isa) gather(g gathering) {
	dst, src, list, count, pitch := general[0], general[1], general[2], general[3], general[4]
	width, to, left, zeros, none := general[5], general[6], general[7], general[8], general[9]
	from, step := general[10:10+g.rows], general[12:12+g.rows]
	name := g.name + s.name
	routine(name, name+" lays rows side by side: dst, src, offsets; rows of dst, pitch, steps of a row.",
		[]reg.GPPhysical{dst, src, list}, count, pitch, width)
	LEAQ(nothing, zeros)
	XORQ(none, none)
	next := each("row", count)
	for i := range g.rows {
		MOVLQSX(Mem{Base: list, Disp: 4 * i}, left)
		LEAQ(Mem{Base: src, Index: left, Scale: uint8(g.size)}, from[i])
		MOVQ(U32(uint32(16*g.size)), step[i])
		TESTQ(left, left)
		CMOVQLT(zeros, from[i])
		CMOVQLT(none, step[i])
	}
	MOVQ(dst, to)
	MOVQ(width, left)
	Label("step")
	for disp := 0; disp < 64; disp += s.bytes() {
		g.step(s, from, disp, Mem{Base: to})
	}
	for i := range g.rows {
		ADDQ(step[i], from[i])
	}
	ADDQ(Imm(64), to)
	DECQ(left)
	JNZ(LabelRef("step"))
	ADDQ(U32(4*g.rows), list)
	ADDQ(pitch, dst)
	next()
	finish()
}

// nothing is 16 zeros.
var nothing Mem

func gatherConstants() {
	nothing = GLOBL("nothing", RODATA|NOPTR)
	for i := range 8 {
		DATA(8*i, U64(0))
	}
}
