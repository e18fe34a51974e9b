package main

import "fmt"

// Instructions that Go's assembler does not know. Each function below is one format of the ARM
// architecture's manual. The text of an instruction is in ARM's syntax, with ARM's order of
// operands (the result first).

// instruction is 32 bits and their meaning as text.
type instruction struct {
	code uint32
	text string
}

// opcode is an instruction's fixed bits and its name.
type opcode struct {
	bits uint32
	name string
}

// The formats' instructions on four floats.
var (
	fadd  = opcode{0x4e20d400, "FADD"}
	fsub  = opcode{0x4ea0d400, "FSUB"}
	fmul  = opcode{0x6e20dc00, "FMUL"}
	fmax  = opcode{0x4e20f400, "FMAX"} // NaN if either is NaN
	fmin  = opcode{0x4ea0f400, "FMIN"} // NaN if either is NaN
	fcmgt = opcode{0x6ea0e400, "FCMGT"}
	fdiv  = opcode{0x6e20fc00, "FDIV"}
	faddp = opcode{0x6e20d400, "FADDP"} // sums of neighbours: of n in the lower lanes, of m in the upper

	fsqrt  = opcode{0x6ea1f800, "FSQRT"}
	frintn = opcode{0x4e218800, "FRINTN"} // to the nearest whole number, ties to even
	fcvtns = opcode{0x4e21a800, "FCVTNS"} // the same, as an int32
)

// three is an instruction on three registers: d = n op m.
func three(op opcode, d, n, m vector) instruction {
	return instruction{op.bits | uint32(m)<<16 | uint32(n)<<5 | uint32(d),
		fmt.Sprintf("%s %s, %s, %s", op.name, d.arm(), n.arm(), m.arm())}
}

// two is an instruction on two registers: d = op n.
func two(op opcode, d, n vector) instruction {
	return instruction{op.bits | uint32(n)<<5 | uint32(d), fmt.Sprintf("%s %s, %s", op.name, d.arm(), n.arm())}
}

// fmlaElement is d += n*m[i], with float i of m in all lanes.
func fmlaElement(d, n, m vector, i int) instruction {
	low, high := uint32(i&1), uint32(i>>1)
	return instruction{0x4f801000 | low<<21 | uint32(m)<<16 | high<<11 | uint32(n)<<5 | uint32(d),
		fmt.Sprintf("FMLA %s, %s, V%d.S[%d]", d.arm(), n.arm(), int(m), i)}
}

// fcmgtZero sets all bits of a lane of d where n > 0, and none elsewhere.
func fcmgtZero(d, n vector) instruction {
	return instruction{0x4ea0c800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("FCMGT %s, %s, #0.0", d.arm(), n.arm())}
}

// bic is d = n and not m.
func bic(d, n, m vector) instruction {
	return instruction{0x4e601c00 | uint32(m)<<16 | uint32(n)<<5 | uint32(d),
		fmt.Sprintf("BIC V%d.16B, V%d.16B, V%d.16B", int(d), int(n), int(m))}
}

// cmgtZeroHalves is fcmgtZero on eight int16.
func cmgtZeroHalves(d, n vector) instruction {
	return instruction{0x4e608800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("CMGT V%d.8H, V%d.8H, #0", int(d), int(n))}
}

// shll puts the four lower halfwords of n into the upper halves of d's lanes, with zeros below.
// shll2 takes the four upper halfwords.
func shll(d, n vector) instruction {
	return instruction{0x2e613800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("SHLL %s, V%d.4H, #16", d.arm(), int(n))}
}

func shll2(d, n vector) instruction {
	return instruction{0x6e613800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("SHLL2 %s, V%d.8H, #16", d.arm(), int(n))}
}

// moviOnes sets every lane of d to 0x7fff.
func moviOnes(d vector) instruction {
	return instruction{0x4f03c7e0 | uint32(d), fmt.Sprintf("MOVI %s, #0x7f, MSL #8", d.arm())}
}

// bfmmla is d += n*m' of matrices of bfloat16, two rows of four each: lane 2i+j of d gains the sum
// of the products of row i of n and row j of m. It adds two products, and the sum of these, to d,
// and then likewise the other two. Each of these additions is rounded to odd: what does not fit
// sets the lowest bit. Denormals count as zero.
func bfmmla(d, n, m vector) instruction {
	return instruction{0x6e40ec00 | uint32(m)<<16 | uint32(n)<<5 | uint32(d),
		fmt.Sprintf("BFMMLA %s, V%d.8H, V%d.8H", d.arm(), int(n), int(m))}
}

// bfcvtn rounds the four floats of n to bfloat16, into the lower half of d, with zeros above.
// bfcvtn2 rounds them into the upper half, and the lower one stays. Both round to nearest, ties to
// even, and keep denormals.
func bfcvtn(d, n vector) instruction {
	return instruction{0x0ea16800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("BFCVTN V%d.4H, %s", int(d), n.arm())}
}

func bfcvtn2(d, n vector) instruction {
	return instruction{0x4ea16800 | uint32(n)<<5 | uint32(d), fmt.Sprintf("BFCVTN2 V%d.8H, %s", int(d), n.arm())}
}

// indexed is a load or store of d at base+index.
func indexed(op opcode, d vector, base, index register) instruction {
	return instruction{op.bits | uint32(index)<<16 | uint32(base)<<5 | uint32(d),
		fmt.Sprintf("%s Q%d, [X%d, X%d]", op.name, int(d), int(base), int(index))}
}

var (
	ldr = opcode{0x3ce06800, "LDR"}
	str = opcode{0x3ca06800, "STR"}
)

// The same instructions with operands in the order of Go's assembler, the result last, so that all
// routines read alike.

func (a *assembler) add(x, y, to vector)      { a.word(three(fadd, to, y, x)) }
func (a *assembler) multiply(x, y, to vector) { a.word(three(fmul, to, y, x)) }
func (a *assembler) max(x, y, to vector)      { a.word(three(fmax, to, y, x)) }
func (a *assembler) min(x, y, to vector)      { a.word(three(fmin, to, y, x)) }

// divide is to = y / x.
func (a *assembler) divide(x, y, to vector) { a.word(three(fdiv, to, y, x)) }

// subtract is to = y - x.
func (a *assembler) subtract(x, y, to vector) { a.word(three(fsub, to, y, x)) }

// less sets all bits of the lanes where x < y.
func (a *assembler) less(x, y, to vector) { a.word(three(fcmgt, to, y, x)) }

// positive sets all bits of the lanes where x > 0.
func (a *assembler) positive(x, to vector) { a.word(fcmgtZero(to, x)) }

// without is to = y, but 0 where the bits of x are set.
func (a *assembler) without(x, y, to vector) { a.word(bic(to, y, x)) }

// multiplyElement is sum += y*x[i], rounded once.
func (a *assembler) multiplyElement(x vector, i int, y, sum vector) {
	a.word(fmlaElement(sum, y, x, i))
}

// multiplyMatrices is sum += x*y', two rows of four bfloat16 each.
func (a *assembler) multiplyMatrices(x, y, sum vector) { a.word(bfmmla(sum, x, y)) }

func (a *assembler) loadIndexed(base, index register, to vector) {
	a.word(indexed(ldr, to, base, index))
}

func (a *assembler) storeIndexed(from vector, base, index register) {
	a.word(indexed(str, from, base, index))
}
