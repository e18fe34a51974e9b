// Command arm64 writes the NEON assembly of package kernel. It is to arm64 what the command one folder up is to amd64,
// routine for routine and name for name; avo knows no arm64, so a small assembler of its own (assembler.go, words.go) writes the text.
//
// Conventions are the same: a routine takes one pointer to a block of arguments, registers are physical, and helpers name their
// operands in the order of Go's assembler, the result last.
//
// Two registers here are one of AVX2's, and every routine adds in the order in which AVX2's does. So both paths give the same bits, and what a test
// on one machine shows of a network's rounding holds on the other.
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
	a.tile(6)
	a.grad(4, 4)
	for _, half := range []bool{false, true} {
		a.sums(half)
		a.squares(half)
		for _, set := range []bool{false, true} {
			a.normalise(set, half)
			a.gradSums(set, half)
			a.gradInput(set, half)
		}
	}
	a.widen()
	a.narrow()
	a.pair()
	a.reluGradHalf()
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
	a.peak()
	for _, f := range transforms {
		a.winograd(f)
	}
}
