// Command generate writes the assembly of package taps. Run it through `go generate` in the package's
// folder. The plain functions in portable.go say what each routine does.
package main

import (
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// precision is taps.Precision.
const precision = 32 - 8 - 2

func main() {
	ConstraintExpr("amd64")
	rows()
	pixels()
	for _, b := range boxes {
		box(b.name, b.rows)
	}
	Generate()
}

// argument loads a parameter of the routine.
func argument(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

func rows() {
	TEXT("rowsAVX2", NOSPLIT, "func(dst *byte, from, to int, rows *[]byte, weights *uint32, n int, shift uint)")
	Pragma("noescape")
	Doc("rowsAVX2 is rows, for the places between two that are a multiple of 16 apart.")
	dst, at, to := argument("dst"), argument("from"), argument("to")
	first, weights, n, shift := argument("rows"), argument("weights"), argument("n"), argument("shift")
	by, half := XMM(), halfOf(shift)
	VMOVQ(shift, by)

	Label("block")
	sums, values := [2]reg.VecVirtual{YMM(), YMM()}, [2]reg.VecVirtual{YMM(), YMM()}
	for _, s := range sums {
		VMOVDQA(half, s)
	}
	row, weight, left, place, factor := GP64(), GP64(), GP64(), GP64(), YMM()
	MOVQ(first, row)
	MOVQ(weights, weight)
	MOVQ(n, left)
	Label("row")
	MOVQ(Mem{Base: row}, place)
	VPBROADCASTD(Mem{Base: weight}, factor)
	for i, v := range values {
		VPMOVZXBD(Mem{Base: place, Index: at, Scale: 1, Disp: 8 * i}, v)
		VPMULLD(factor, v, v)
		VPADDD(v, sums[i], sums[i])
	}
	ADDQ(Imm(slice), row)
	ADDQ(Imm(4), weight)
	DECQ(left)
	JNZ(LabelRef("row"))
	for _, s := range sums {
		VPSRLD(by, s, s)
	}
	VPACKUSDW(sums[1], sums[0], sums[0])
	VPERMQ(Imm(0xd8), sums[0], sums[0])
	upper := XMM()
	VEXTRACTI128(Imm(1), sums[0], upper)
	VPACKUSWB(upper, sums[0].AsX(), upper)
	VMOVDQU(upper, Mem{Base: dst, Index: at, Scale: 1})
	ADDQ(Imm(16), at)
	CMPQ(at, to)
	JLT(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// taps is how many pixels of a window are weighted at once: 12 of the 16 bytes that are loaded.
const taps = 4

// low is the number of bits in the lower part of a factor, which fits 16 bits with its sign.
const low = 15

func pixels() {
	pair := func(name string, first int) Mem {
		return shuffle(name, func(i int) int {
			if i < 12 && i%2 == 0 {
				return 3*(first+i%4/2) + i/4
			}
			return -1
		})
	}
	pairs := [taps / 2]Mem{pair("firstPair", 0), pair("secondPair", 2)}
	bytes := shuffle("lowBytes", func(i int) int {
		if i < 4 {
			return 4 * i
		}
		return -1
	})
	TEXT("pixelsAVX2", NOSPLIT, "func(dst0, dst1, src0, src1 *byte, stream *int32, n int)")
	Pragma("noescape")
	Doc("pixelsAVX2 is pixels for n windows of two rows. It writes a byte behind each pixel.")
	dst0, dst1, src0, src1 := argument("dst0"), argument("dst1"), argument("src0"), argument("src1")
	stream, n := argument("stream"), argument("n")
	half := everywhere(1 << (precision - 1))

	Label("pixel")
	place, left, sums := GP64(), GP64(), [2]reg.VecVirtual{YMM(), YMM()}
	MOVLQSX(Mem{Base: stream}, place)
	MOVLQSX(Mem{Base: stream, Disp: 4}, left)
	ADDQ(Imm(8), stream)
	VMOVDQA(half, sums[0])
	VPXOR(sums[1], sums[1], sums[1])
	Label("taps")
	values := YMM()
	VMOVDQU(Mem{Base: src0, Index: place, Scale: 1}, values.AsX())
	VINSERTI128(Imm(1), Mem{Base: src1, Index: place, Scale: 1}, values, values)
	for i, order := range pairs {
		two := YMM()
		VPSHUFB(order, values, two)
		for part, sum := range sums {
			f := YMM()
			VPBROADCASTD(Mem{Base: stream, Disp: 8*i + 4*part}, f)
			VPMADDWD(f, two, f)
			VPADDD(f, sum, sum)
		}
	}
	ADDQ(Imm(3*taps), place)
	ADDQ(Imm(8*taps/2), stream)
	DECQ(left)
	JNZ(LabelRef("taps"))
	VPSLLD(Imm(low), sums[1], sums[1])
	VPADDD(sums[1], sums[0], sums[0])
	VPSRLD(Imm(precision), sums[0], sums[0])
	VPSHUFB(bytes, sums[0], sums[0])
	upper := XMM()
	VMOVD(sums[0].AsX(), Mem{Base: dst0})
	VEXTRACTI128(Imm(1), sums[0], upper)
	VMOVD(upper, Mem{Base: dst1})
	ADDQ(Imm(3), dst0)
	ADDQ(Imm(3), dst1)
	DECQ(n)
	JNZ(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}

// boxLow is the number of bits in the lower part of a box's weight.
const boxLow = 12

// boxes are the routines for boxes of so many rows, whose addresses stay in registers; 0 is any
// number.
var boxes = []struct {
	name string
	rows int
}{{"box3AVX2", 3}, {"box5AVX2", 5}, {"boxAVX2", 0}}

// box is a sum of rows of which all but the first and the last count the same: they are added before
// they are multiplied.
func box(name string, rows int) {
	TEXT(name, NOSPLIT, "func(dst *byte, from, to int, rows *[]byte, n int, weights *[2]int32, shift uint)")
	Pragma("noescape")
	doc := name + " is box, for the places between two that are a multiple of 16 apart."
	if rows > 0 {
		doc = name + " is boxAVX2 for n of " + strconv.Itoa(rows) + "."
	}
	Doc(doc, "The weights are the middle's and the edge's in 16 bits each: the lower part of both, then the",
		"upper one.")
	dst, at, to := argument("dst"), argument("from"), argument("to")
	first, n, weights, shift := argument("rows"), argument("n"), argument("weights"), argument("shift")
	by, half := XMM(), halfOf(shift)
	VMOVQ(shift, by)
	factors := [2]reg.VecVirtual{YMM(), YMM()}
	for i, f := range factors {
		VPBROADCASTD(Mem{Base: weights, Disp: 4 * i}, f)
	}
	var sum func() (edge, middle reg.VecVirtual)
	if rows > 0 {
		sum = fixedRows(first, at, rows)
	} else {
		sum = anyRows(first, at, n)
	}

	Label("block")
	edge, middle := sum()
	sums := [2]reg.VecVirtual{YMM(), YMM()}
	VPUNPCKLWD(edge, middle, sums[0])
	VPUNPCKHWD(edge, middle, sums[1])
	for _, s := range sums {
		upper := YMM()
		VPMADDWD(factors[1], s, upper)
		VPMADDWD(factors[0], s, s)
		VPSLLD(Imm(boxLow), upper, upper)
		VPADDD(upper, s, s)
		VPADDD(half, s, s)
		VPSRLD(by, s, s)
	}
	VPACKUSDW(sums[1], sums[0], sums[0])
	upper := XMM()
	VEXTRACTI128(Imm(1), sums[0], upper)
	VPACKUSWB(upper, sums[0].AsX(), upper)
	VMOVDQU(upper, Mem{Base: dst, Index: at, Scale: 1})
	ADDQ(Imm(16), at)
	CMPQ(at, to)
	JLT(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// wide loads 16 values of a row.
func wide(row, at reg.GPVirtual) reg.VecVirtual {
	v := YMM()
	VPMOVZXBW(Mem{Base: row, Index: at, Scale: 1}, v)
	return v
}

// fixedRows loads the rows' addresses; what it returns writes the sums of 16 places.
func fixedRows(first, at reg.GPVirtual, n int) func() (edge, middle reg.VecVirtual) {
	var rows []reg.GPVirtual
	for i := range n {
		row := GP64()
		MOVQ(Mem{Base: first, Disp: slice * i}, row)
		rows = append(rows, row)
	}
	return func() (edge, middle reg.VecVirtual) {
		edge, middle = wide(rows[0], at), wide(rows[1], at)
		VPADDW(wide(rows[n-1], at), edge, edge)
		for _, row := range rows[2 : n-1] {
			VPADDW(wide(row, at), middle, middle)
		}
		return edge, middle
	}
}

// anyRows is fixedRows for a number that is known when it runs.
func anyRows(first, at, n reg.GPVirtual) func() (edge, middle reg.VecVirtual) {
	last := GP64()
	LEAQ(Mem{Base: n, Index: n, Scale: 2}, last)
	LEAQ(Mem{Base: first, Index: last, Scale: 8, Disp: -slice}, last)
	return func() (edge, middle reg.VecVirtual) {
		row, place := GP64(), GP64()
		MOVQ(Mem{Base: first}, place)
		edge = wide(place, at)
		MOVQ(Mem{Base: last}, place)
		VPADDW(wide(place, at), edge, edge)
		middle = YMM()
		VPXOR(middle, middle, middle)
		LEAQ(Mem{Base: first, Disp: slice}, row)
		Label("row")
		MOVQ(Mem{Base: row}, place)
		VPADDW(wide(place, at), middle, middle)
		ADDQ(Imm(slice), row)
		CMPQ(row, last)
		JLT(LabelRef("row"))
		return edge, middle
	}
}

// slice is the length of a slice's header.
const slice = 24

// everywhere is a number in all places of a register.
func everywhere(value uint32) reg.VecVirtual {
	number, v := GP32(), YMM()
	MOVL(U32(value), number)
	VMOVD(number, v.AsX())
	VPBROADCASTD(v.AsX(), v)
	return v
}

// halfOf is 1<<(shift-1) in all places of a register.
func halfOf(shift reg.GPVirtual) reg.VecVirtual {
	one, v := GP64(), YMM()
	MOVQ(U32(1), one)
	MOVQ(shift, reg.RCX)
	DECQ(reg.RCX)
	SHLQ(reg.CL, one)
	VMOVD(one.As32(), v.AsX())
	VPBROADCASTD(v.AsX(), v)
	return v
}

// shuffle makes a constant for VPSHUFB, the same for both halves of a register. Below 0 is a zero.
func shuffle(name string, f func(i int) int) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 32 {
		DATA(i, U8(max(f(i%16), -1)&0xff))
	}
	return m
}
