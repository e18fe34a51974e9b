// Command generate writes the assembly of package taps. Run it through `go generate` in the package's
// folder. The plain functions in portable.go say what each routine does.
package main

import (
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
	by, half := XMM(), YMM()
	VMOVQ(shift, by)
	one := GP64()
	MOVQ(U32(1), one)
	count := reg.RCX
	MOVQ(shift, count)
	DECQ(count)
	SHLQ(reg.CL, one)
	low := XMM()
	VMOVD(one.As32(), low)
	VPBROADCASTD(low, half)

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
	ADDQ(Imm(24), row) // the next slice
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

func pixels() {
	TEXT("pixelsAVX2", NOSPLIT, "func(dst, src *byte, first, count *int32, factors *uint32, width, n int)")
	Pragma("noescape")
	Doc("pixelsAVX2 is pixels for n windows. It reads and writes a byte behind each pixel.")
	dst, src, first, count := argument("dst"), argument("src"), argument("first"), argument("count")
	factors, width, n := argument("factors"), argument("width"), argument("n")
	SHLQ(Imm(2), width)
	half, low, half32 := XMM(), XMM(), GP32()
	MOVL(Imm(1<<(precision-1)), half32)
	VMOVD(half32, low)
	VPBROADCASTD(low, half)

	Label("pixel")
	place, factor, left := GP64(), GP64(), GP64()
	MOVLQSX(Mem{Base: first}, place)
	LEAQ(Mem{Base: place, Index: place, Scale: 2}, place)
	ADDQ(src, place)
	MOVLQSX(Mem{Base: count}, left)
	MOVQ(factors, factor)
	sum, value, f := XMM(), XMM(), XMM()
	VMOVDQA(half, sum)
	Label("tap")
	VPMOVZXBD(Mem{Base: place}, value)
	VPBROADCASTD(Mem{Base: factor}, f)
	VPMULLD(f, value, value)
	VPADDD(value, sum, sum)
	ADDQ(Imm(3), place)
	ADDQ(Imm(4), factor)
	DECQ(left)
	JNZ(LabelRef("tap"))
	VPSRLD(Imm(precision), sum, sum)
	VPACKUSDW(sum, sum, sum)
	VPACKUSWB(sum, sum, sum)
	VMOVD(sum, Mem{Base: dst})
	ADDQ(Imm(3), dst)
	ADDQ(Imm(4), first)
	ADDQ(Imm(4), count)
	ADDQ(width, factors)
	DECQ(n)
	JNZ(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}
