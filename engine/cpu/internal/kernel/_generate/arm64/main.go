// Command arm64 writes the NEON assembly of package kernel. It has the routines of the command one
// folder up, which writes amd64, under the same names. avo knows no arm64, so a small assembler
// here (assembler.go, words.go) writes the text.
//
// The conventions are the same: a routine takes one pointer to a block of arguments, registers are
// physical, and helpers name their operands in the order of Go's assembler, the result last.
//
// Two registers here are one of AVX2's, and every routine adds in the same order as AVX2's does. So
// both paths give the same bits, and a test of a network's rounding on one machine holds for the
// other.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	asm := flag.String("out", "", "the assembly file to write")
	stubs := flag.String("stubs", "", "the Go file with its declarations to write")
	flag.Parse()
	a := newAssembler("kernel")
	a.all()
	for _, file := range []struct{ name, text string }{{*asm, a.code.String()}, {*stubs, a.stubs.String()}} {
		if err := os.WriteFile(file.name, []byte(file.text), 0o666); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// all writes every routine.
func (a *assembler) all() {
	a.rational(cumulative)
	a.rational(slope)
	a.table("nothing", make([]float64, groupFloats))
	a.tile(6, floats)
	a.grad(6, floats)
	a.grad(4, floats)
	for _, bf16 := range []bool{false, true} {
		a.sums(bf16)
		a.squares(bf16)
		for _, set := range []bool{false, true} {
			a.normalise(set, bf16)
			a.gradSums(set, bf16)
			a.gradInput(set, bf16)
			a.layerNormGrad(set, bf16)
		}
		a.gelu(bf16)
		a.geluGrad(bf16)
		a.layerNorm(bf16)
	}
	a.widen()
	a.narrow()
	a.pair()
	a.reluGradBF16()
	a.relu()
	a.reluGrad()
	a.larger()
	a.claim()
	for terms := 1; terms <= 3; terms++ {
		a.weightedSum(terms)
	}
	a.transpose()
	a.rowMax()
	a.expSum()
	a.dot()
	a.adam()
	a.peak()
	a.attention()
	for _, g := range gatherings {
		a.gather(g)
	}
	a.transposePairs()
	for _, f := range transforms {
		a.winograd(f)
	}
	a.hasBF16 = true
	a.withBF16()
}

// withBF16 writes what is faster with the instructions of FEAT_BF16: products of bfloat16, and
// whatever rounds to it.
func (a *assembler) withBF16() {
	a.tile(6, matrices)
	a.grad(6, matrices)
	a.grad(4, matrices)
	for _, set := range []bool{false, true} {
		a.normalise(set, true)
		a.gradInput(set, true)
		a.layerNormGrad(set, true)
	}
	a.gelu(true)
	a.geluGrad(true)
	a.layerNorm(true)
	a.narrow()
	a.quads()
	a.softmax()
	a.softmaxGradPairs()
	a.scaleRows(false, true)
	a.scaleRows(true, true)
}
