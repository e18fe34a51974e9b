package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"moco/engine/cpu/internal/kernel/_generate/doc"
)

// transform is one of Winograd's five: T X T'. X holds in x in vectors, the result out x out. All
// five are the same two passes with another T: along the rows of X, through the stack, then along
// its columns. A T is a function from `in` registers to `out` results, because its zeros, ones and
// shared sums make the speed. It may use further registers, its temporaries.
type transform struct {
	name, doc string
	in, out   int
	constants []float64
	// apply gives result i to store in a register. It may overwrite d and t. k holds the constants.
	apply func(d, t, k []reg.VecPhysical, store func(i int, r reg.VecPhysical))
}

// The matrices are those of F(4x4, 3x3) at the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray,
// CVPR 2016).
var transforms = []transform{
	{
		name: "winogradInput", doc: "of 6x6 inputs",
		in: 6, out: 6, constants: []float64{4, 5, 2},
		apply: func(d, t, k []reg.VecPhysical, store func(int, reg.VecPhysical)) {
			VMOVAPS(d[4], t[0]) // 4 d0 - 5 d2 + d4
			VFNMADD231PS(k[1], d[2], t[0])
			VFMADD231PS(k[0], d[0], t[0])
			store(0, t[0])
			VMOVAPS(d[4], t[0]) // (d4 - 4 d2) +- (d3 - 4 d1)
			VFNMADD231PS(k[0], d[2], t[0])
			VMOVAPS(d[3], t[1])
			VFNMADD231PS(k[0], d[1], t[1])
			VADDPS(t[1], t[0], t[2])
			store(1, t[2])
			VSUBPS(t[1], t[0], t[0])
			store(2, t[0])
			VMOVAPS(d[5], t[2]) // 4 d1 - 5 d3 + d5, early: d1 and d3 are needed below
			VFNMADD231PS(k[1], d[3], t[2])
			VFMADD231PS(k[0], d[1], t[2])
			store(5, t[2])
			VSUBPS(d[2], d[4], t[0]) // (d4 - d2) +- 2 (d3 - d1)
			VSUBPS(d[1], d[3], t[1])
			VMOVAPS(t[0], t[2])
			VFMADD231PS(k[2], t[1], t[2])
			store(3, t[2])
			VFNMADD231PS(k[2], t[1], t[0])
			store(4, t[0])
		},
	},
	{
		name: "winogradOutput", doc: "of 6x6 products to 4x4 outputs",
		in: 6, out: 4, constants: []float64{4, 2, 8},
		apply: func(d, t, k []reg.VecPhysical, store func(int, reg.VecPhysical)) {
			VADDPS(d[2], d[1], t[0])
			VSUBPS(d[2], d[1], t[1])
			VADDPS(d[4], d[3], t[2])
			VSUBPS(d[4], d[3], d[1])
			VADDPS(t[0], d[0], d[0])
			VADDPS(t[2], d[0], d[0])
			store(0, d[0])
			VADDPS(t[1], d[5], d[5])
			VFMADD231PS(k[2], d[1], d[5])
			store(3, d[5])
			VFMADD231PS(k[0], t[2], t[0])
			store(2, t[0])
			VFMADD231PS(k[1], d[1], t[1])
			store(1, t[1])
		},
	},
	{
		name: "winogradWeights", doc: "of 3x3 weights",
		in: 3, out: 6, constants: []float64{1. / 4, 1. / 6, 1. / 24, 1. / 12},
		apply: func(d, t, k []reg.VecPhysical, store func(int, reg.VecPhysical)) {
			VMULPS(k[0], d[0], t[0])
			store(0, t[0])
			store(5, d[2])
			VADDPS(d[2], d[0], t[0]) // -(g0 + g2)/6 -+ g1/6
			VADDPS(d[1], t[0], t[1])
			VSUBPS(t[0], d[1], t[2])
			VMULPS(k[1], t[2], t[2])
			store(2, t[2])
			VXORPS(t[2], t[2], t[2])
			VFNMADD231PS(k[1], t[1], t[2])
			store(1, t[2])
			VMULPS(k[1], d[2], t[0]) // (g0/24 + g2/6) +- g1/12
			VFMADD231PS(k[2], d[0], t[0])
			VMOVAPS(t[0], t[1])
			VFMADD231PS(k[3], d[1], t[1])
			store(3, t[1])
			VFNMADD231PS(k[3], d[1], t[0])
			store(4, t[0])
		},
	},
	{
		name: "winogradOutputGrad", doc: "of 4x4 gradients of outputs, the transpose of winogradOutput",
		in: 4, out: 6, constants: []float64{4, 2, 8},
		apply: func(d, t, k []reg.VecPhysical, store func(int, reg.VecPhysical)) {
			store(0, d[0])
			store(5, d[3])
			VADDPS(d[2], d[0], t[0])
			VADDPS(d[3], d[1], t[1])
			VADDPS(t[1], t[0], t[2])
			store(1, t[2])
			VSUBPS(t[1], t[0], t[0])
			store(2, t[0])
			VFMADD231PS(k[0], d[2], d[0])
			VMULPS(k[1], d[1], t[1])
			VFMADD231PS(k[2], d[3], t[1])
			VADDPS(t[1], d[0], t[2])
			store(3, t[2])
			VSUBPS(t[1], d[0], d[0])
			store(4, d[0])
		},
	},
	{
		name: "winogradWeightsGrad", doc: "of 6x6 products to the gradients of 3x3 weights, the transpose of winogradWeights",
		in: 6, out: 3, constants: []float64{1. / 4, 1. / 6, 1. / 24, 1. / 12},
		apply: func(d, t, k []reg.VecPhysical, store func(int, reg.VecPhysical)) {
			VADDPS(d[2], d[1], t[0])
			VADDPS(d[4], d[3], t[1])
			VSUBPS(d[1], d[2], t[2]) // u2 - u1
			VSUBPS(d[4], d[3], d[3]) // u3 - u4
			VMULPS(k[0], d[0], d[0]) // u0/4 - (u1 + u2)/6 + (u3 + u4)/24
			VFNMADD231PS(k[1], t[0], d[0])
			VFMADD231PS(k[2], t[1], d[0])
			store(0, d[0])
			VMULPS(k[1], t[2], t[2])
			VFMADD231PS(k[3], d[3], t[2])
			store(1, t[2])
			VSUBPS(t[0], t[1], t[1])
			VFMADD231PS(k[1], t[1], d[5])
			store(2, d[5])
		},
	},
}

// winograd writes a transform. Where a vector is shorter than the 16 floats of a group, a group is
// made in pieces.
func (s isa) winograd(f transform) {
	name := f.name + s.name
	table := GLOBL(name+"Constants", RODATA|NOPTR)
	for i, v := range f.constants {
		DATA(4*i, U32(math.Float32bits(float32(v))))
	}
	TEXT(name, 0, "func(a *uintptr)")
	Pragma("noescape")
	Doc(doc.Lines(name + " transforms groups of 16 channels " + f.doc + "; see Transform.")...)
	src, dst, srcStep, dstStep := general[0], general[1], general[2], general[3]
	n, p, between := general[4], general[5], general[6]
	srcRow, dstCol := general[7], general[8]
	srcCol := stride{1: general[9], 3: general[10], 5: general[11]}
	dstRow := stride{1: general[12], 3: general[13], 5: general[14]}
	frame := AllocLocal(f.in*f.out*s.bytes() + 64)
	loadArgument(p)
	for i, r := range []reg.GPPhysical{src, dst, srcRow, srcCol[1], srcStep, dstRow[1], dstCol, dstStep, n} {
		MOVQ(Mem{Base: p, Disp: 8 * i}, r)
	}
	srcCol.multiply()
	dstRow.multiply()
	// The frame has whole cache lines: a vector across two of them costs twice.
	LEAQ(frame, between)
	ADDQ(Imm(63), between)
	ANDQ(I32(-64), between)
	d, t, k := s.vec[:6], s.vec[6:9], s.vec[9:9+len(f.constants)]
	for i := range k {
		VBROADCASTSS(table.Offset(4*i), k[i])
	}
	stack := func(row, col int) Mem { return Mem{Base: between, Disp: (row*f.out + col) * s.bytes()} }
	next := each("group", n)
	for disp := 0; disp < 64; disp += s.bytes() {
		MOVQ(src, p)
		for row := range f.in {
			for col := range f.in {
				VMOVUPS(srcCol.at(p, col, disp), d[col])
			}
			f.apply(d, t, k, func(i int, r reg.VecPhysical) { VMOVAPS(r, stack(row, i)) })
			if row < f.in-1 {
				ADDQ(srcRow, p)
			}
		}
		MOVQ(dst, p)
		for col := range f.out {
			for row := range f.in {
				VMOVAPS(stack(row, col), d[row])
			}
			f.apply(d, t, k, func(i int, r reg.VecPhysical) { VMOVUPS(r, dstRow.at(p, i, disp)) })
			if col < f.out-1 {
				ADDQ(dstCol, p)
			}
		}
	}
	ADDQ(srcStep, src)
	ADDQ(dstStep, dst)
	next()
	finish()
}

// stride holds a distance, three times it and five times it. The scales of an address make six
// places of them.
type stride map[int]reg.GPPhysical

func (s stride) multiply() {
	LEAQ(Mem{Base: s[1], Index: s[1], Scale: 2}, s[3])
	LEAQ(Mem{Base: s[1], Index: s[1], Scale: 4}, s[5])
}

func (s stride) at(base reg.GPPhysical, i, disp int) Mem {
	switch i {
	case 0:
		return Mem{Base: base, Disp: disp}
	case 1, 2, 4:
		return Mem{Base: base, Index: s[1], Scale: uint8(i), Disp: disp}
	}
	return Mem{Base: base, Index: s[i], Scale: 1, Disp: disp}
}
