package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tile writes the matrix-product tile: rows pixels times vectors registers of output channels.
//
// The tile holds rows x vectors sums in registers. An inner step loads `vectors` registers of
// weights, broadcasts one input float for each row, and issues rows x vectors fused multiply-adds.
// With 12x2 these are 14 loads for 24 multiply-adds, so the multipliers are the limit, not the two
// load ports. (12x1 has 13 for 12 and 0.74 of the speed on Zen 4: the reason for 8x3, which divides 48
// channels.) Broadcasting into a register first is 10% faster than a memory operand of the
// multiply-add: that would broadcast once for each vector. Every row has its own pointer, so a row
// may lie anywhere.
//
// With bfloat16 inputs and weights the loop is the same. It broadcasts a pair of neighbouring
// inputs, and a weight is the pair of weights for the two.
func (s isa) tile(rows, vectors int, p products) {
	name := fmt.Sprintf("tile%s%dx%d%s", p.name, rows, vectors*s.lanes, s.name)
	TEXT(name, 0, "func(a *uintptr)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is Tile.Run for %d rows and blocks of %d.", name, rows, vectors*s.lanes))
	// words of the argument block, then two counters
	const (
		x, in, out, tiles, taps, ntaps, inner, panel, y, acc, bf16, tap, left = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
	)
	frame := AllocLocal(13 * 8)
	word := func(i int) Mem { return frame.Offset(8 * i) }
	row, b, index, count := general[:rows], general[12], general[13], general[14]
	loadArgument(general[0])
	for i := range 11 {
		MOVQ(Mem{Base: general[0], Disp: 8 * i}, general[1])
		MOVQ(general[1], word(i))
	}
	sum := func(r, v int) reg.VecPhysical { return s.vec[r*vectors+v] }
	free := s.vec[rows*vectors:]
	weights, broadcasts := free[:vectors], free[vectors:]

	Label("tile")
	MOVQ(word(in), count)
	MOVQ(word(x), index)
	for r := range rows {
		MOVLQSX(Mem{Base: count, Disp: 4 * r}, row[r])
		ADDQ(index, row[r])
	}
	for i := range rows * vectors {
		s.zero(i)
	}
	MOVQ(word(taps), count)
	MOVQ(count, word(tap))
	MOVQ(word(ntaps), count)
	MOVQ(count, word(left))

	Label("tap")
	MOVQ(word(tap), count)
	MOVQ(Mem{Base: count}, index)
	MOVQ(Mem{Base: count, Disp: 8}, b)
	ADDQ(Imm(16), count)
	MOVQ(count, word(tap))
	ADDQ(word(panel), b)
	MOVQ(word(inner), count)
	next := each("inner", count)
	for u := range 4 {
		for v := range vectors {
			m := Mem{Base: b, Disp: (u*vectors + v) * s.bytes()}
			VMOVUPS(m, weights[v])
			PREFETCHT0(ahead(m))
		}
		for r := range rows {
			value := broadcasts[(u*rows+r)%len(broadcasts)]
			VBROADCASTSS(Mem{Base: row[r], Index: index, Scale: 1, Disp: 4 * u}, value)
			for v := range vectors {
				p.add(weights[v], value, sum(r, v))
			}
		}
	}
	ADDQ(Imm(16), index)
	ADDQ(U32(uint32(4*vectors*s.bytes())), b)
	next()
	DECQ(word(left))
	JNZ(LabelRef("tap"))

	MOVQ(word(out), count)
	MOVQ(word(y), index)
	for r := range rows {
		MOVLQSX(Mem{Base: count, Disp: 4 * r}, row[r])
	}
	at := func(r, disp int) Mem { return Mem{Base: index, Index: row[r], Scale: 1, Disp: disp} }
	t0, t1 := free[0], free[1]
	CMPQ(word(bf16), Imm(0))
	JNE(LabelRef("half"))
	CMPQ(word(acc), Imm(0))
	JE(LabelRef("store"))
	// All rows are read before any is written: see TileArgs.Acc.
	for r := range rows {
		for v := range vectors {
			VADDPS(at(r, v*s.bytes()), sum(r, v), sum(r, v))
		}
	}
	Label("store")
	for r := range rows {
		for v := range vectors {
			VMOVUPS(sum(r, v), at(r, v*s.bytes()))
		}
	}
	JMP(LabelRef("stored"))
	Label("half") // the same in bfloat16
	CMPQ(word(acc), Imm(0))
	JE(LabelRef("storeHalf"))
	for r := range rows {
		for v := range vectors {
			s.widen(at(r, v*s.bytes()/2), t0)
			VADDPS(t0, sum(r, v), sum(r, v))
		}
	}
	Label("storeHalf")
	for r := range rows {
		for v := range vectors {
			s.narrow(sum(r, v), t1, at(r, v*s.bytes()/2))
		}
	}
	Label("stored")
	ADDQ(Imm(uint64(4*rows)), word(in))
	ADDQ(Imm(uint64(4*rows)), word(out))
	DECQ(word(tiles))
	JNZ(LabelRef("tile"))
	finish()
}

// ahead is what to prefetch beside a load of weights: the line 2 KB further. Weights are one
// stream, often from beyond the second-level cache. Without the prefetch, Winograd's products are 5
// to 15% slower (BenchmarkConvolution of package cpu).
func ahead(m Mem) Mem {
	m.Disp += 2048
	return m
}

// products is how a tile multiplies. add multiplies 4 bytes of weights in each lane by 4 bytes of
// input, and adds the products to a sum.
type products struct {
	name string
	add  func(weights, input, sum reg.VecPhysical)
}

// floats multiplies float32. pairs multiplies pairs of bfloat16 in one instruction: twice as fast
// where the processor has as many units for it as for VFMADD231PS.
var (
	floats = products{"", func(weights, input, sum reg.VecPhysical) { VFMADD231PS(weights, input, sum) }}
	pairs  = products{"Pairs", dotPairs}
)

// dotPairs is VDPBF16PS: it adds the products of a's pair and b's pair to sum. The Go assembler
// does not know it. Its EVEX code is that of VFMADD231PS with prefix F3 and opcode 52.
func dotPairs(a, b, sum reg.VecPhysical) {
	d, x, y := register(sum), register(b), register(a)
	inverted := func(r, bit int) uint64 { return uint64(^r >> bit & 1) }
	p0 := uint64(0x62)
	p1 := inverted(d, 3)<<7 | inverted(y, 4)<<6 | inverted(y, 3)<<5 | inverted(d, 4)<<4 | 2
	p2 := uint64(^x&15)<<3 | 4 | 2
	p3 := uint64(0x40) | inverted(x, 4)<<3
	raw("LONG", p0|p1<<8|p2<<16|p3<<24)
	raw("WORD", 0x52|uint64(0xc0|(d&7)<<3|y&7)<<8)
}

// register is the number of an AVX-512 register.
func register(r reg.VecPhysical) int {
	for i, v := range avx512.vec {
		if v == r {
			return i
		}
	}
	panic("no register of AVX-512")
}

// raw writes bytes of an instruction.
func raw(directive string, bytes uint64) {
	Instruction(&ir.Instruction{Opcode: directive, Operands: []Op{Imm(bytes)}})
}

// grad writes the weight-gradient tile: rows input channels times vectors registers of output
// channels, summed over a list of pixels. It is the same outer product as tile, with pixels as the
// inner dimension. The rows of one pixel lie side by side, so one pointer serves all of them. With
// pairs of bfloat16, an entry of the list is two pixels.
func (s isa) grad(rows, vectors int, p products) {
	name := fmt.Sprintf("grad%s%dx%d%s", p.name, rows, vectors*s.lanes, s.name)
	TEXT(name, 0, "func(a *uintptr)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is Grad.Run for %d rows and blocks of %d.", name, rows, vectors*s.lanes))
	a, x, pixel, count, dy, dw := general[0], general[1], general[2], general[3], general[4], general[5]
	stride, acc, tiles, from := general[6], general[7], general[8], general[9]
	to, pixels, n := general[10], general[11], general[13]
	loadArgument(a)
	for i, r := range []reg.GPPhysical{x, pixels, n, dy, dw, stride, acc, tiles} {
		MOVQ(Mem{Base: a, Disp: 8 * i}, r)
	}
	sum := func(r, v int) reg.VecPhysical { return s.vec[r*vectors+v] }
	gradient := func(v int) reg.VecPhysical { return s.vec[rows*vectors+v] }
	broadcasts := s.vec[(rows+1)*vectors:]
	broadcasts = broadcasts[:min(6, len(broadcasts))]

	Label("tile")
	MOVQ(pixels, pixel)
	MOVQ(n, count)
	for i := range rows * vectors {
		s.zero(i)
	}
	next := each("pixel", count)
	MOVLQSX(Mem{Base: pixel}, from)
	MOVLQSX(Mem{Base: pixel, Disp: 4}, to)
	for v := range vectors {
		VMOVUPS(Mem{Base: dy, Index: to, Scale: 1, Disp: v * s.bytes()}, gradient(v))
	}
	for r := range rows {
		value := broadcasts[r%len(broadcasts)]
		VBROADCASTSS(Mem{Base: x, Index: from, Scale: 1, Disp: 4 * r}, value)
		for v := range vectors {
			p.add(gradient(v), value, sum(r, v))
		}
	}
	ADDQ(Imm(8), pixel)
	next()

	CMPQ(acc, Imm(0))
	JE(LabelRef("store"))
	MOVQ(dw, to)
	for r := range rows {
		for v := range vectors {
			VADDPS(Mem{Base: to, Disp: v * s.bytes()}, sum(r, v), sum(r, v))
		}
		ADDQ(stride, to)
	}
	Label("store")
	for r := range rows {
		for v := range vectors {
			VMOVUPS(sum(r, v), Mem{Base: dw, Disp: v * s.bytes()})
		}
		ADDQ(stride, dw)
	}
	ADDQ(Imm(uint64(4*rows)), x)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	finish()
}

// peak writes a loop of multiply-adds on registers alone, in ten chains. No kernel can be faster.
func (s isa) peak() {
	TEXT("peak"+s.name, NOSPLIT, "func(loops int)")
	Doc("peak" + s.name + " issues 10 fused multiply-adds a loop that do not wait for each other.")
	count := general[0]
	Load(Param("loops"), count)
	for i := range 12 {
		s.zero(i)
	}
	next := each("loop", count)
	for i := range 10 {
		VFMADD231PS(s.vec[10], s.vec[11], s.vec[i])
	}
	next()
	finish()
}
