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

func refine() {
	// Bits of sets count from the end of the order.
	var offsets []byte
	order := zigzag()
	for i := range 64 {
		offsets = append(offsets, byte(2*order[63-i]))
	}
	offsetsAt := constant("placeOffsets", offsets)

	TEXT("refineBMI2", NOSPLIT, "func(f *uint64, buf *byte, b *int16, known *uint64, n int) bool")
	Pragma("noescape")
	Doc("refineBMI2 is refineBlocks. b and known are those of block f.x, the first of the n that are left.")
	f, b, known := argument("f"), argument("b"), argument("known")
	end, limit, rest := AllocLocal(8), AllocLocal(8), AllocLocal(8)
	r := bitReader{GP64(), GP64(), GP64()}
	t, u, v, w, c, e := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	old, k, offset := GP64(), GP64(), GP64()

	MOVQ(fieldAcc.of(f), r.acc)
	MOVQ(fieldN.of(f), r.n)
	Load(Param("buf"), r.next)
	MOVQ(r.next, t)
	SHLQ(Imm(3), t)
	ADDQ(fieldLimit.of(f), t)
	MOVQ(t, limit)
	ADDQ(fieldNext.of(f), r.next)
	Load(Param("n"), t)
	LEAQ(Mem{Base: known, Index: t, Scale: 8}, t)
	MOVQ(t, end)
	LEAQ(offsetsAt, offset)
	MOVQ(fieldOld.of(f), old)
	MOVQ(fieldK.of(f), k)
	TESTQ(k, k)
	JNZ(LabelRef("symbol"))

	Label("block")
	MOVQ(Mem{Base: known}, old)
	MOVQ(fieldFrom.of(f), k)
	CMPQ(fieldRun.of(f), Imm(0))
	JEQ(LabelRef("symbol"))
	DECQ(fieldRun.of(f))
	MOVQ(old, c)
	ANDQ(fieldBand.of(f), c)
	MOVL(U32(64), k.As32())
	TESTQ(c, c)
	JNZ(LabelRef("correct"))

	Label("next")
	ADDQ(U32(128), b)
	ADDQ(Imm(8), known)
	ADDQ(Imm(1), fieldX.of(f))
	XORL(k.As32(), k.As32())
	MOVQ(r.next, t)
	SHLQ(Imm(3), t)
	SUBQ(r.n, t)
	CMPQ(t, limit)
	JHI(LabelRef("done"))
	CMPQ(known, end)
	JNE(LabelRef("block"))

	Label("done")
	XORL(t.As32(), t.As32())
	Label("return")
	MOVQ(r.acc, fieldAcc.of(f))
	MOVQ(r.n, fieldN.of(f))
	Load(Param("buf"), u)
	SUBQ(u, r.next)
	MOVQ(r.next, fieldNext.of(f))
	MOVQ(k, fieldK.of(f))
	MOVQ(old, fieldOld.of(f))
	Store(t.As8(), ReturnIndex(0))
	RET()

	Label("slow")
	MOVL(U32(1), t.As32())
	JMP(LabelRef("return"))

	Label("symbol")
	r.fill(t, u)
	MOVQ(r.acc, t)
	SHRQ(Imm(64-fastBits), t)
	MOVQ(fieldTable.of(f), u)
	MOVQ(Mem{Base: u, Index: t, Scale: 8}, e)
	TESTQ(U32(63), e)
	JZ(LabelRef("slow"))
	MOVQ(e, t)
	SHRQ(Imm(8), t)
	MOVBLZX(t.As8(), t.As32()) // by how much k moves: one more than is passed
	MOVQ(e, v)
	SHRQ(Imm(16), v)
	CMPL(t.As32(), U32(endOfBlock))
	JEQ(LabelRef("ended"))
	MOVWQSX(v.As16(), v) // the value: 1 or -1
	LEAQ(Mem{Base: v, Disp: 1}, u)
	TESTQ(I32(-3), u)
	JNZ(LabelRef("slow"))
	MOVQ(I32(-1), u)
	SHRXQ(k, u, u)
	ANDQ(fieldBand.of(f), u)
	MOVQ(old, c)
	ANDQ(u, c) // what is known from here on
	ANDNQ(u, old, u)
	POPCNTQ(u, w) // what is not, counted from the end of the order
	SUBQ(t, w)
	JLT(LabelRef("slow"))
	r.take(e, t)
	MOVL(U32(1), t.As32())
	SHLXQ(w, t, t)
	PDEPQ(u, t, t) // the coefficient that gets the value
	ORQ(t, Mem{Base: known})
	TZCNTQ(t, u)
	MOVL(U32(64), k.As32())
	SUBQ(u, k)
	MOVBLZX(Mem{Base: offset, Index: u, Scale: 1}, u.As32())
	MOVQ(fieldOne.of(f), w)
	SARQ(Imm(63), v)
	XORQ(v, w)
	SUBQ(v, w)
	MOVW(w.As16(), Mem{Base: b, Index: u, Scale: 1})
	DECQ(t)
	ANDNQ(c, t, c) // what is known before it
	TESTQ(c, c)
	JNZ(LabelRef("correct"))
	CMPQ(k, fieldTo.of(f))
	JLS(LabelRef("symbol"))
	JMP(LabelRef("next"))

	Label("ended")
	MOVWLZX(v.As16(), v.As32())
	MOVQ(v, fieldRun.of(f))
	r.take(e, t)
	MOVQ(I32(-1), c)
	SHRXQ(k, c, c)
	ANDQ(fieldBand.of(f), c)
	ANDQ(old, c)
	MOVL(U32(64), k.As32())
	TESTQ(c, c)
	JZ(LabelRef("next"))

	Label("correct") // the coefficients of c, 48 at a time
	r.fill(t, u)
	POPCNTQ(c, t)
	MOVQ(I32(0), rest)
	CMPQ(t, Imm(48))
	JLS(LabelRef("few"))
	LEAQ(Mem{Base: t, Disp: -48}, u)
	MOVL(U32(1), v.As32())
	SHLXQ(u, v, v)
	DECQ(v)
	PDEPQ(c, v, v)
	MOVQ(v, rest)
	XORQ(v, c)
	MOVL(U32(48), t.As32())

	Label("few")
	SUBQ(t, r.n)
	MOVQ(t, u)
	NEGQ(u)
	SHRXQ(u, r.acc, v) // their bits
	SHLXQ(t, r.acc, r.acc)
	PDEPQ(c, v, c) // those that grow
	TESTQ(c, c)
	JZ(LabelRef("grown"))
	MOVQ(fieldOne.of(f), w)

	Label("grow")
	TZCNTQ(c, t)
	BLSRQ(c, c)
	MOVBLZX(Mem{Base: offset, Index: t, Scale: 1}, t.As32())
	MOVWQSX(Mem{Base: b, Index: t, Scale: 1}, v)
	TESTQ(w, v)
	JNZ(LabelRef("has"))
	SARQ(Imm(63), v)
	MOVQ(w, u)
	XORQ(v, u)
	SUBQ(v, u)
	ADDW(u.As16(), Mem{Base: b, Index: t, Scale: 1})
	Label("has")
	TESTQ(c, c)
	JNZ(LabelRef("grow"))

	Label("grown")
	MOVQ(rest, c)
	TESTQ(c, c)
	JNZ(LabelRef("correct"))
	CMPQ(k, fieldTo.of(f))
	JLS(LabelRef("symbol"))
	JMP(LabelRef("next"))
}
