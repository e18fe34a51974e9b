// Command generate writes the assembly of package jpeg. Run it through `go generate` in the
// package's folder. The plain functions of the same names, in idct.go and colour.go, say what each
// routine does.
package main

import (
	"encoding/binary"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	idct8()
	idct4()
	idct2()
	h2v1()
	h2v2()
	h1v2()
	ycc()
	coefficients()
	refine()
	Generate()
}

// words makes a constant of 32 bytes: the 16-bit numbers, repeated.
func words(name string, values ...int) Mem {
	var b []byte
	for len(b) < 32 {
		for _, v := range values {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
	}
	return constant(name, b)
}

// lanes makes a constant of pairs of 16-bit numbers, one pair for each half of a register.
func lanes(name string, low0, low1, high0, high1 int) Mem {
	var b []byte
	for i := range 8 {
		pair := [2]int{low0, low1}
		if i >= 4 {
			pair = [2]int{high0, high1}
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(pair[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(pair[1]))
	}
	return constant(name, b)
}

// doubles makes a constant of 8 equal 32-bit numbers.
func doubles(name string, value int) Mem {
	var b []byte
	for range 8 {
		b = binary.LittleEndian.AppendUint32(b, uint32(value))
	}
	return constant(name, b)
}

// bytes32 makes a constant of 32 bytes, of 16 if both halves are equal.
func bytes32(name string, low, high []int) Mem {
	var b []byte
	for _, v := range append(append([]int{}, low...), high...) {
		b = append(b, byte(v))
	}
	return constant(name, b)
}

func constant(name string, b []byte) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := 0; i < len(b); i += 8 {
		DATA(i, U64(binary.LittleEndian.Uint64(b[i:])))
	}
	return m
}

// argument loads a parameter of the routine.
func argument(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// finish ends a routine.
func finish() {
	VZEROUPPER()
	RET()
}

// block loads rows r and r+1 of a block and multiplies them by their factors.
func rows(b, quant reg.GPVirtual, r int) reg.VecVirtual {
	v := YMM()
	VMOVDQU(Mem{Base: b, Disp: 16 * r}, v)
	VPMULLW(Mem{Base: quant, Disp: 16 * r}, v, v)
	return v
}

// swapped returns a register with its halves exchanged.
func swapped(v reg.VecVirtual) reg.VecVirtual {
	s := YMM()
	VPERM2I128(Imm(1), v, v, s)
	return s
}
