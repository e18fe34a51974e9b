package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// field is a field of the type refinement, which stands in refine.go.
type field int

const (
	fieldAcc field = iota
	fieldN
	fieldNext
	fieldLimit
	fieldTable
	fieldBand
	fieldFrom
	fieldTo
	fieldOne
	fieldX
	fieldRun
	fieldK
	fieldOld
)

func (f field) of(base reg.GPVirtual) Mem { return Mem{Base: base, Disp: 8 * int(f)} }

// refiner holds the registers and stack of refineBMI2, which the parts of the routine share.
type refiner struct {
	f, b, known      reg.GPVirtual // the parameters; b and known are those of the present block
	r                bitReader
	t, u, v, w, c, e reg.GPVirtual // for each part to use; correct takes its set from c
	old, k, offset   reg.GPVirtual // as in the type refinement; offset is the table of places
	end, limit, rest Mem           // the last set's end, the data's last bit, what correct has left
}

func refine() {
	// Bits of sets count from the end of the order.
	var offsets []byte
	order := zigzag()
	for i := range 64 {
		offsets = append(offsets, byte(2*order[63-i]))
	}
	places := constant("placeOffsets", offsets)

	TEXT("refineBMI2", NOSPLIT, "func(f *uint64, buf *byte, b *int16, known *uint64, n int) bool")
	Pragma("noescape")
	Doc("refineBMI2 is refineBlocks. b and known are those of block f.x, the first of the n that are left.")
	g := &refiner{
		f: argument("f"), b: argument("b"), known: argument("known"),
		r: bitReader{GP64(), GP64(), GP64()},
		t: GP64(), u: GP64(), v: GP64(), w: GP64(), c: GP64(), e: GP64(),
		old: GP64(), k: GP64(), offset: GP64(),
		end: AllocLocal(8), limit: AllocLocal(8), rest: AllocLocal(8),
	}
	LEAQ(places, g.offset)
	g.enter()
	g.block()
	g.next()
	g.leave()
	g.symbol()
	g.choose()
	g.ended()
	g.correct()
	g.grow()
}

// enter loads the state, and goes on within a block if one was begun.
func (g *refiner) enter() {
	MOVQ(fieldAcc.of(g.f), g.r.acc)
	MOVQ(fieldN.of(g.f), g.r.n)
	Load(Param("buf"), g.r.next)
	MOVQ(g.r.next, g.t)
	SHLQ(Imm(3), g.t)
	ADDQ(fieldLimit.of(g.f), g.t)
	MOVQ(g.t, g.limit)
	ADDQ(fieldNext.of(g.f), g.r.next)
	Load(Param("n"), g.t)
	LEAQ(Mem{Base: g.known, Index: g.t, Scale: 8}, g.t)
	MOVQ(g.t, g.end)
	MOVQ(fieldOld.of(g.f), g.old)
	MOVQ(fieldK.of(g.f), g.k)
	TESTQ(g.k, g.k)
	JNZ(LabelRef("symbol"))
}

// block begins a block: at its first symbol, or with corrections alone.
func (g *refiner) block() {
	Label("block")
	MOVQ(Mem{Base: g.known}, g.old)
	MOVQ(fieldFrom.of(g.f), g.k)
	CMPQ(fieldRun.of(g.f), Imm(0))
	JEQ(LabelRef("symbol"))
	DECQ(fieldRun.of(g.f))
	MOVQ(g.old, g.c)
	ANDQ(fieldBand.of(g.f), g.c)
	MOVL(U32(64), g.k.As32())
	TESTQ(g.c, g.c)
	JNZ(LabelRef("correct"))
}

// next goes to the next block, unless the data or the blocks are at their end.
func (g *refiner) next() {
	Label("next")
	ADDQ(U32(128), g.b)
	ADDQ(Imm(8), g.known)
	ADDQ(Imm(1), fieldX.of(g.f))
	XORL(g.k.As32(), g.k.As32())
	MOVQ(g.r.next, g.t)
	SHLQ(Imm(3), g.t)
	SUBQ(g.r.n, g.t)
	CMPQ(g.t, g.limit)
	JHI(LabelRef("done"))
	CMPQ(g.known, g.end)
	JNE(LabelRef("block"))
}

// leave stores the state and returns, true at the label slow.
func (g *refiner) leave() {
	Label("done")
	XORL(g.t.As32(), g.t.As32())
	Label("return")
	MOVQ(g.r.acc, fieldAcc.of(g.f))
	MOVQ(g.r.n, fieldN.of(g.f))
	Load(Param("buf"), g.u)
	SUBQ(g.u, g.r.next)
	MOVQ(g.r.next, fieldNext.of(g.f))
	MOVQ(g.k, fieldK.of(g.f))
	MOVQ(g.old, fieldOld.of(g.f))
	Store(g.t.As8(), ReturnIndex(0))
	RET()

	Label("slow")
	MOVL(U32(1), g.t.As32())
	JMP(LabelRef("return"))
}

// symbol reads a symbol, without taking its bits.
func (g *refiner) symbol() {
	Label("symbol")
	g.r.fill(g.t, g.u)
	MOVQ(g.r.acc, g.t)
	SHRQ(Imm(64-fastBits), g.t)
	MOVQ(fieldTable.of(g.f), g.u)
	MOVQ(Mem{Base: g.u, Index: g.t, Scale: 8}, g.e)
	TESTQ(U32(63), g.e)
	JZ(LabelRef("slow"))
	MOVQ(g.e, g.t)
	SHRQ(Imm(8), g.t)
	MOVBLZX(g.t.As8(), g.t.As32()) // by how much k moves: one more than is passed
	MOVQ(g.e, g.v)
	SHRQ(Imm(16), g.v)
	CMPL(g.t.As32(), U32(endOfBlock))
	JEQ(LabelRef("ended"))
	MOVWQSX(g.v.As16(), g.v) // the value: 1 or -1
	LEAQ(Mem{Base: g.v, Disp: 1}, g.u)
	TESTQ(I32(-3), g.u)
	JNZ(LabelRef("slow"))
}

// choose finds the coefficient that a symbol sets, by its rank among the unknown ones, sets it, and
// leaves the known ones before it to correct.
func (g *refiner) choose() {
	MOVQ(I32(-1), g.u)
	SHRXQ(g.k, g.u, g.u)
	ANDQ(fieldBand.of(g.f), g.u)
	MOVQ(g.old, g.c)
	ANDQ(g.u, g.c) // what is known from here on
	ANDNQ(g.u, g.old, g.u)
	POPCNTQ(g.u, g.w) // what is not, counted from the end of the order
	SUBQ(g.t, g.w)
	JLT(LabelRef("slow"))
	g.r.take(g.e, g.t)
	MOVL(U32(1), g.t.As32())
	SHLXQ(g.w, g.t, g.t)
	PDEPQ(g.u, g.t, g.t) // the coefficient that gets the value
	ORQ(g.t, Mem{Base: g.known})
	TZCNTQ(g.t, g.u)
	MOVL(U32(64), g.k.As32())
	SUBQ(g.u, g.k)
	MOVBLZX(Mem{Base: g.offset, Index: g.u, Scale: 1}, g.u.As32())
	MOVQ(fieldOne.of(g.f), g.w)
	SARQ(Imm(63), g.v)
	XORQ(g.v, g.w)
	SUBQ(g.v, g.w)
	MOVW(g.w.As16(), Mem{Base: g.b, Index: g.u, Scale: 1})
	DECQ(g.t)
	ANDNQ(g.c, g.t, g.c) // what is known before it
	TESTQ(g.c, g.c)
	JNZ(LabelRef("correct"))
	CMPQ(g.k, fieldTo.of(g.f))
	JLS(LabelRef("symbol"))
	JMP(LabelRef("next"))
}

// ended takes an end of the band.
func (g *refiner) ended() {
	Label("ended")
	MOVWLZX(g.v.As16(), g.v.As32())
	MOVQ(g.v, fieldRun.of(g.f))
	g.r.take(g.e, g.t)
	MOVQ(I32(-1), g.c)
	SHRXQ(g.k, g.c, g.c)
	ANDQ(fieldBand.of(g.f), g.c)
	ANDQ(g.old, g.c)
	MOVL(U32(64), g.k.As32())
	TESTQ(g.c, g.c)
	JZ(LabelRef("next"))
}

// correct splits what is more than 48 coefficients off the set in c, whose bits might not be there.
func (g *refiner) correct() {
	Label("correct") // the coefficients of g.c, 48 at a time
	g.r.fill(g.t, g.u)
	POPCNTQ(g.c, g.t)
	MOVQ(I32(0), g.rest)
	CMPQ(g.t, Imm(48))
	JLS(LabelRef("few"))
	LEAQ(Mem{Base: g.t, Disp: -48}, g.u)
	MOVL(U32(1), g.v.As32())
	SHLXQ(g.u, g.v, g.v)
	DECQ(g.v)
	PDEPQ(g.c, g.v, g.v)
	MOVQ(g.v, g.rest)
	XORQ(g.v, g.c)
	MOVL(U32(48), g.t.As32())
}

// grow spreads the bits that are read over the coefficients of a set: those that get a 1 grow.
func (g *refiner) grow() {
	Label("few")
	SUBQ(g.t, g.r.n)
	MOVQ(g.t, g.u)
	NEGQ(g.u)
	SHRXQ(g.u, g.r.acc, g.v) // their bits
	SHLXQ(g.t, g.r.acc, g.r.acc)
	PDEPQ(g.c, g.v, g.c) // those that grow
	TESTQ(g.c, g.c)
	JZ(LabelRef("grown"))
	MOVQ(fieldOne.of(g.f), g.w)

	Label("grow")
	TZCNTQ(g.c, g.t)
	BLSRQ(g.c, g.c)
	MOVBLZX(Mem{Base: g.offset, Index: g.t, Scale: 1}, g.t.As32())
	MOVWQSX(Mem{Base: g.b, Index: g.t, Scale: 1}, g.v)
	TESTQ(g.w, g.v)
	JNZ(LabelRef("has"))
	SARQ(Imm(63), g.v)
	MOVQ(g.w, g.u)
	XORQ(g.v, g.u)
	SUBQ(g.v, g.u)
	ADDW(g.u.As16(), Mem{Base: g.b, Index: g.t, Scale: 1})
	Label("has")
	TESTQ(g.c, g.c)
	JNZ(LabelRef("grow"))

	Label("grown")
	MOVQ(g.rest, g.c)
	TESTQ(g.c, g.c)
	JNZ(LabelRef("correct"))
	CMPQ(g.k, fieldTo.of(g.f))
	JLS(LabelRef("symbol"))
	JMP(LabelRef("next"))
}
