// Command generate writes the assembly of package kernel. It describes every routine once, and
// writes it for each instruction set that gains by it. Run it through `go generate` in the
// package's folder.
//
// Conventions. Routines take one pointer to a block of arguments (TileArgs, GradArgs and args of
// package kernel). That keeps the Go side simple. Registers are physical: a tile uses all of them,
// and the programs say which value lives where.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"moco/engine/cpu/internal/kernel/_generate/doc"
)

// isa is an instruction set as the routines see it: how many floats a register holds, and the
// registers.
type isa struct {
	name  string
	lanes int
	vec   []reg.VecPhysical
}

var avx512 = isa{"AVX512", 16, []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12,
	reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27,
	reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}}

var avx2 = isa{"AVX2", 8, []reg.VecPhysical{
	reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7, reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12,
	reg.Y13, reg.Y14, reg.Y15,
}}

// general holds every general register except the stack pointer. Go keeps nothing in them during an
// assembly function.
var general = []reg.GPPhysical{reg.RAX, reg.RCX, reg.RDX, reg.RBX, reg.RSI, reg.RDI, reg.R8, reg.R9, reg.R10, reg.R11,
	reg.R12, reg.R13, reg.RBP, reg.R14, reg.R15}

// bytes is the size of one register.
func (s isa) bytes() int { return 4 * s.lanes }

// zero clears register i.
func (s isa) zero(i int) {
	if s.lanes == 16 {
		VPXORD(s.vec[i], s.vec[i], s.vec[i])
		return
	}
	VXORPS(s.vec[i], s.vec[i], s.vec[i])
}

// align starts an inner loop at a cache line. The branch predictor and the micro-op cache gain 2 to
// 4% on the tile.
func align() {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
}

// routine opens a function and loads its arguments from their block (kernel's type args: nine
// pointers, then five numbers).
func routine(name, comment string, pointers []reg.GPPhysical, numbers ...reg.GPPhysical) {
	TEXT(name, NOSPLIT, "func(a *uintptr)")
	Pragma("noescape")
	Doc(doc.Lines(comment)...)
	block := general[14]
	loadArgument(block)
	for i, r := range pointers {
		MOVQ(Mem{Base: block, Disp: 8 * i}, r)
	}
	for i, r := range numbers {
		MOVQ(Mem{Base: block, Disp: 8 * (9 + i)}, r)
	}
}

// loadArgument loads the only argument. The Go side casts its structs, because avo does not know
// their types.
func loadArgument(r reg.GPPhysical) { Load(Param("a"), r) }

func finish() {
	VZEROUPPER()
	RET()
}

// each opens a loop over a count in a register; the returned function closes it.
func each(label string, count reg.GPPhysical) func() {
	align()
	Label(label)
	return func() {
		DECQ(count)
		JNZ(LabelRef(label))
	}
}

func main() {
	ConstraintExpr("amd64")
	roundingConstants()
	gatherConstants()
	cumulative.table()
	slope.table()
	powerConstants()
	for _, shape := range [][2]int{{12, 1}, {12, 2}, {8, 3}, {6, 4}, {6, 2}, {6, 1}} {
		avx512.tile(shape[0], shape[1], floats)
		avx512.tile(shape[0], shape[1], pairs)
	}
	avx2.tile(6, 2, floats)
	for _, shape := range [][2]int{{6, 4}, {4, 4}, {8, 3}, {4, 3}, {12, 2}, {4, 2}, {16, 1}, {4, 1}} {
		avx512.grad(shape[0], shape[1], floats)
		avx512.grad(shape[0], shape[1], pairs)
	}
	for _, rows := range []int{6, 4} {
		avx2.grad(rows, 2, floats)
	}
	for _, s := range []isa{avx512, avx2} {
		strips := []int{1, 4}
		if s.lanes == 8 {
			// A wider strip's factors do not fit 16 registers.
			strips = []int{2}
		}
		for _, vectors := range strips {
			for _, bf16 := range []bool{false, true} {
				s.sums(vectors, bf16)
				s.squares(vectors, bf16)
				for _, set := range []bool{false, true} {
					s.normalise(vectors, set, bf16)
					s.gradSums(vectors, set, bf16)
					s.gradInput(vectors, set, bf16)
				}
				s.gelu(vectors, bf16)
				s.geluGrad(vectors, bf16)
				s.layerNorm(vectors, bf16)
				s.layerNormGrad(vectors, false, bf16)
				s.layerNormGrad(vectors, true, bf16)
			}
		}
		s.widenRun()
		s.narrowRun()
		s.pair()
		s.reluGradBF16()
		s.relu()
		s.reluGrad()
		s.larger()
		s.claim()
		for terms := 1; terms <= 3; terms++ {
			s.weightedSum(terms)
		}
		s.adam()
		s.peak()
		s.attention()
		for _, g := range gatherings {
			s.gather(g)
		}
		for _, f := range transforms {
			s.winograd(f)
		}
	}
	// Both paths use these: their share of a step is too small for a second version.
	vendor()
	transpose()
	rowMax()
	expSum()
	dot()
	prefetchRows()
	Generate()
}
