package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	fastBits   = 11  // as in huffman.go
	endOfBlock = 128 // as there
)

// bitReader is a reader's state in registers.
type bitReader struct{ acc, n, next reg.GPVirtual }

// fill loads as many whole bytes as fit; t and u are free to use.
func (r bitReader) fill(t, u reg.GPVirtual) {
	MOVBEQQ(Mem{Base: r.next}, t)
	SHRXQ(r.n, t, t)
	ORQ(t, r.acc)
	MOVL(U32(63), u.As32())
	SUBQ(r.n, u)
	SHRQ(Imm(3), u)
	ADDQ(u, r.next)
	ORQ(Imm(56), r.n)
}

// take drops as many bits as the low six bits of e say; t is free to use.
func (r bitReader) take(e, t reg.GPVirtual) {
	SHLXQ(e, r.acc, r.acc)
	MOVQ(e, t)
	ANDQ(Imm(63), t)
	SUBQ(t, r.n)
}

// zigzag maps the order of coefficients in a file to their place in a block (T.81, figure A.6).
func zigzag() (order []int) {
	for diagonal := range 15 {
		for i := range 8 {
			x, y := i, diagonal-i
			if diagonal%2 == 1 {
				x, y = y, x
			}
			if inside := x >= 0 && x < 8 && y >= 0 && y < 8; !inside {
				continue
			}
			order = append(order, 8*y+x)
		}
	}
	return order
}

// entry loads what a table says of the next bits.
func (r bitReader) entry(table, e reg.GPVirtual) {
	MOVQ(r.acc, e)
	SHRQ(Imm(64-fastBits), e)
	MOVQ(Mem{Base: table, Index: e, Scale: 8}, e)
}

func coefficients() {
	// Places for all values of k, in bytes: within the block, and behind it after an end of block.
	places := make([]byte, 256)
	order := zigzag()
	for k := range places {
		switch {
		case k >= endOfBlock:
			places[k] = 128
		default:
			places[k] = byte(2 * order[min(k, 63)])
		}
	}
	placesAt := constant("places", places)

	TEXT("coefficientsBMI2", NOSPLIT, "func(r *uint64, buf *byte, dc *uint64, ac *uint64, b *int16, at int) int")
	Pragma("noescape")
	Doc("coefficientsBMI2 is the function coefficients. r are the first three words of a bitReader.")
	state, ac, b, k := argument("r"), argument("ac"), argument("b"), argument("at")
	r := bitReader{GP64(), GP64(), GP64()}
	t, u, v, e, first, place := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(Mem{Base: state}, r.acc)
	MOVQ(Mem{Base: state, Disp: 8}, r.n)
	MOVQ(Mem{Base: state, Disp: 16}, r.next)
	Load(Param("buf"), t)
	ADDQ(t, r.next)
	LEAQ(placesAt, place)
	TESTQ(k, k)
	JNS(LabelRef("symbol"))

	r.fill(t, u)
	Load(Param("dc"), u)
	r.entry(u, e)
	TESTQ(U32(63), e)
	JZ(LabelRef("return"))
	MOVQ(e, t)
	SHRQ(Imm(16), t)
	MOVW(t.As16(), Mem{Base: b})
	r.take(e, t)
	XORL(k.As32(), k.As32())

	store := func(at reg.GPVirtual, shift uint64) {
		MOVBLZX(Mem{Base: place, Index: at, Scale: 1}, t.As32())
		MOVQ(e, u)
		SHRQ(Imm(shift), u)
		MOVW(u.As16(), Mem{Base: b, Index: t, Scale: 1})
	}
	Label("symbol")
	r.fill(t, u)
	// The 56 bits that are there at least are enough for four look-ups.
	for range 4 {
		r.entry(ac, e)
		MOVQ(e, t)
		SHRQ(Imm(8), t)
		MOVBLZX(t.As8(), first.As32())
		ADDQ(k, first)
		TESTQ(U32(63), e)
		JZ(LabelRef("long"))
		store(first, 16)
		MOVQ(e, v)
		SHRQ(Imm(32), v)
		MOVBLZX(v.As8(), k.As32())
		ADDQ(first, k)
		store(k, 48)
		CMPQ(k, Imm(63))
		JGE(LabelRef("last"))
		r.take(e, t)
	}
	JMP(LabelRef("symbol"))

	Label("last") // did the first of two symbols fill the block?
	CMPQ(first, Imm(63))
	JLT(LabelRef("end"))
	CMPQ(first, U32(endOfBlock))
	JGE(LabelRef("end"))
	MOVQ(e, t)
	SHRQ(Imm(16), t)
	MOVW(t.As16(), Mem{Base: b, Disp: 126})
	MOVQ(first, k)
	SHRQ(Imm(40), e) // the bits of the first: the same where there is no second
	Label("end")
	r.take(e, t)

	Label("return")
	MOVQ(r.acc, Mem{Base: state})
	MOVQ(r.n, Mem{Base: state, Disp: 8})
	Load(Param("buf"), t)
	SUBQ(t, r.next)
	MOVQ(r.next, Mem{Base: state, Disp: 16})
	Store(k, ReturnIndex(0))
	RET()

	Label("long") // a code whose value is not in the entry
	TESTQ(e, e)
	JZ(LabelRef("return"))
	MOVQ(first, k)
	MOVQ(e, t)
	SHRQ(Imm(40), t)
	r.take(t, u)
	r.fill(t, u)
	SHRQ(Imm(48), e) // the size
	MOVQ(e, u)
	NEGQ(u)
	SHRXQ(u, r.acc, v)
	MOVQ(r.acc, t)
	SARQ(Imm(63), t) // all ones unless the value is negative
	MOVQ(I32(-1), u)
	SHLXQ(e, u, u)
	NOTQ(u)
	ANDNQ(u, t, u)
	SUBQ(u, v)
	r.take(e, t)
	MOVBLZX(Mem{Base: place, Index: k, Scale: 1}, t.As32())
	MOVW(v.As16(), Mem{Base: b, Index: t, Scale: 1})
	CMPQ(k, Imm(63))
	JLT(LabelRef("symbol"))
	JMP(LabelRef("return"))
}
