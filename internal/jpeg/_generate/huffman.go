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

// places are those of all values of k, in bytes: within the block, and behind it after an end of
// block.
func places() []byte {
	p := make([]byte, 256)
	order := zigzag()
	for k := range p {
		p[k] = byte(2 * order[min(k, 63)])
		if k >= endOfBlock {
			p[k] = 128
		}
	}
	return p
}

// decoder holds the registers of coefficientsBMI2.
type decoder struct {
	state, ac, b, k  reg.GPVirtual // the parameters; k starts as `at`
	r                bitReader
	t, u, v          reg.GPVirtual // for each part to use
	e, first, places reg.GPVirtual // the entry, k after its first symbol, the table of places
}

func coefficients() {
	table := constant("places", places())
	TEXT("coefficientsBMI2", NOSPLIT, "func(r *uint64, dc *uint64, ac *uint64, b *int16, at int) int")
	Pragma("noescape")
	Doc("coefficientsBMI2 is the function coefficients. r are the first four words of a bitReader.")
	d := &decoder{
		state: argument("r"), ac: argument("ac"), b: argument("b"), k: argument("at"),
		r: bitReader{GP64(), GP64(), GP64()},
		t: GP64(), u: GP64(), v: GP64(),
		e: GP64(), first: GP64(), places: GP64(),
	}
	MOVQ(Mem{Base: d.state}, d.r.acc)
	MOVQ(Mem{Base: d.state, Disp: 8}, d.r.n)
	MOVQ(Mem{Base: d.state, Disp: 16}, d.r.next)
	ADDQ(Mem{Base: d.state, Disp: 24}, d.r.next)
	LEAQ(table, d.places)
	TESTQ(d.k, d.k)
	JNS(LabelRef("symbol"))
	d.difference()
	d.symbols()
	d.last()
	d.leave()
	d.long()
}

// difference reads DC.
func (d *decoder) difference() {
	d.r.fill(d.t, d.u)
	Load(Param("dc"), d.u)
	d.r.entry(d.u, d.e)
	TESTQ(U32(63), d.e)
	JZ(LabelRef("return"))
	MOVQ(d.e, d.t)
	SHRQ(Imm(16), d.t)
	MOVW(d.t.As16(), Mem{Base: d.b})
	d.r.take(d.e, d.t)
	XORL(d.k.As32(), d.k.As32())
}

// symbols reads entries of one or two symbols. The 56 bits that are there at least after each
// filling are enough for four look-ups.
func (d *decoder) symbols() {
	Label("symbol")
	d.r.fill(d.t, d.u)
	for range 4 {
		d.r.entry(d.ac, d.e)
		MOVQ(d.e, d.t)
		SHRQ(Imm(8), d.t)
		MOVBLZX(d.t.As8(), d.first.As32())
		ADDQ(d.k, d.first)
		TESTQ(U32(63), d.e)
		JZ(LabelRef("long"))
		d.store(d.first, 16)
		MOVQ(d.e, d.v)
		SHRQ(Imm(32), d.v)
		MOVBLZX(d.v.As8(), d.k.As32())
		ADDQ(d.first, d.k)
		d.store(d.k, 48)
		CMPQ(d.k, Imm(63))
		JGE(LabelRef("last"))
		d.r.take(d.e, d.t)
	}
	JMP(LabelRef("symbol"))
}

// store writes a value of the entry.
func (d *decoder) store(at reg.GPVirtual, shift uint64) {
	MOVBLZX(Mem{Base: d.places, Index: at, Scale: 1}, d.t.As32())
	MOVQ(d.e, d.u)
	SHRQ(Imm(shift), d.u)
	MOVW(d.u.As16(), Mem{Base: d.b, Index: d.t, Scale: 1})
}

// last takes the last entry of a block. Where its first symbol filled the block, a second one
// belongs to the next block.
func (d *decoder) last() {
	Label("last")
	CMPQ(d.first, Imm(63))
	JLT(LabelRef("end"))
	CMPQ(d.first, U32(endOfBlock))
	JGE(LabelRef("end"))
	MOVQ(d.e, d.t)
	SHRQ(Imm(16), d.t)
	MOVW(d.t.As16(), Mem{Base: d.b, Disp: 126})
	MOVQ(d.first, d.k)
	SHRQ(Imm(40), d.e) // the bits of the first: the same where there is no second
	Label("end")
	d.r.take(d.e, d.t)
}

func (d *decoder) leave() {
	Label("return")
	MOVQ(d.r.acc, Mem{Base: d.state})
	MOVQ(d.r.n, Mem{Base: d.state, Disp: 8})
	SUBQ(Mem{Base: d.state, Disp: 24}, d.r.next)
	MOVQ(d.r.next, Mem{Base: d.state, Disp: 16})
	Store(d.k, ReturnIndex(0))
	RET()
}

// long reads a code whose value is not in the entry.
func (d *decoder) long() {
	Label("long")
	TESTQ(d.e, d.e)
	JZ(LabelRef("return"))
	MOVQ(d.first, d.k)
	MOVQ(d.e, d.t)
	SHRQ(Imm(40), d.t)
	d.r.take(d.t, d.u)
	d.r.fill(d.t, d.u)
	SHRQ(Imm(48), d.e) // the size
	MOVQ(d.e, d.u)
	NEGQ(d.u)
	SHRXQ(d.u, d.r.acc, d.v)
	MOVQ(d.r.acc, d.t)
	SARQ(Imm(63), d.t) // all ones unless the value is negative
	MOVQ(I32(-1), d.u)
	SHLXQ(d.e, d.u, d.u)
	NOTQ(d.u)
	ANDNQ(d.u, d.t, d.u)
	SUBQ(d.u, d.v)
	d.r.take(d.e, d.t)
	MOVBLZX(Mem{Base: d.places, Index: d.k, Scale: 1}, d.t.As32())
	MOVW(d.v.As16(), Mem{Base: d.b, Index: d.t, Scale: 1})
	CMPQ(d.k, Imm(63))
	JLT(LabelRef("symbol"))
	JMP(LabelRef("return"))
}
