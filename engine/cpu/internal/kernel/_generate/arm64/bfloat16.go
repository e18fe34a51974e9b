package main

// bfloat16 is the upper half of a float32. Widening is a shift. Narrowing rounds the bits as an
// integer, to nearest, ties to even, with the same result as on amd64. Processors with BF16 round
// so by one instruction, with the same result for every number. Of a NaN the instruction keeps the
// upper half as it is, and so the NaN; adding to the bits changes it where the lower half is not
// zero, as it is in every NaN that arithmetic makes.

// loadBFloat16 loads bfloat16 as float32, into an even number of consecutive registers.
func (a *assembler) loadBFloat16(from place, to ...vector) {
	for i := 0; i < len(to); i += 2 {
		a.load(place{from.base, from.offset + i*vectorBytes/2}, to[i])
		a.word(shll2(to[i+1], to[i]))
		a.word(shll(to[i], to[i]))
	}
}

// round leaves the rounded value in the upper half of each lane, and garbage in the lower half.
// bias holds moviOnes.
func (a *assembler) round(bias, tmp, v vector) {
	a.op("VSHL", number(15), v, tmp) // the lowest bit that stays
	a.op("VUSHR", number(31), tmp, tmp)
	a.op("VADD", bias, v, v)
	a.op("VADD", tmp, v, v)
}

// toBFloat16 rounds two registers to bfloat16, into the first one. Both and tmp are overwritten.
func (a *assembler) toBFloat16(bias, tmp, first, second vector) {
	if a.hasBF16 {
		a.word(bfcvtn(first, first))
		a.word(bfcvtn2(first, second))
		return
	}
	a.round(bias, tmp, first)
	a.round(bias, tmp, second)
	a.op("VUZP2", second.halves(), first.halves(), first.halves())
}

// storeBFloat16 stores an even number of registers as bfloat16, and overwrites them.
func (a *assembler) storeBFloat16(to place, bias, tmp vector, from ...vector) {
	for i := 0; i < len(from); i += 2 {
		a.toBFloat16(bias, tmp, from[i], from[i+1])
		a.store(place{to.base, to.offset + i*vectorBytes/2}, from[i])
	}
}

// roundingBias sets up what rounding needs.
func (a *assembler) roundingBias(bias vector) {
	if !a.hasBF16 {
		a.word(moviOnes(bias))
	}
}

func (a *assembler) widen() {
	dst, src, n := general[0], general[1], general[2]
	a.routine("widenNEON", "widenNEON converts bfloat16 to float32: dst, src; blocks.", []register{dst, src}, n)
	v := vectors(0, vectorsEach)
	next := a.each("block", n)
	a.loadBFloat16(place{src, 0}, v...)
	a.store(place{dst, 0}, v...)
	a.op("ADD", number(bytesEach), dst)
	a.op("ADD", number(bytesEach/2), src)
	next()
	a.finish()
}

func (a *assembler) narrow() {
	dst, src, n := general[0], general[1], general[2]
	name := a.name("narrow")
	a.routine(name, name+" rounds float32 to bfloat16: dst, src; blocks.", []register{dst, src}, n)
	v, bias, tmp := vectors(0, vectorsEach), vectors(8, 1)[0], vectors(9, 1)[0]
	a.roundingBias(bias)
	next := a.each("block", n)
	a.load(place{src, 0}, v...)
	a.storeBFloat16(place{dst, 0}, bias, tmp, v...)
	a.op("ADD", number(bytesEach/2), dst)
	a.op("ADD", number(bytesEach), src)
	next()
	a.finish()
}

// pair writes the routine that lays weights in pairs.
func (a *assembler) pair() {
	dst, first, second, n := general[0], general[1], general[2], general[3]
	a.routine("pairNEON",
		"pairNEON rounds two rows to bfloat16 and lays them side by side, value by value: dst, first, second; blocks.",
		[]register{dst, first, second}, n)
	v, w, bias, tmp := vectors(0, vectorsEach), vectors(8, vectorsEach), vectors(16, 1)[0], vectors(17, 1)[0]
	a.word(moviOnes(bias))
	a.run(n, []register{dst, first, second}, func() {
		a.load(place{first, 0}, v...)
		a.load(place{second, 0}, w...)
		for i := range v {
			a.round(bias, tmp, v[i])
			a.round(bias, tmp, w[i])
			a.op("VSRI", number(16), v[i], w[i]) // the upper half of w stays
		}
		a.store(place{dst, 0}, w...)
	})
	a.finish()
}

// quads writes the routine that lays weights for tiles that multiply matrices: four rows of a block
// of weights are interleaved, value by value.
func (a *assembler) quads() {
	dst, rows, n := general[0], general[1], general[2]
	name := a.name("quads")
	a.routine(name, name+" rounds rows of 16 to bfloat16 and interleaves four each, value by value: dst, rows; fours.",
		[]register{dst, rows}, n)
	v, free := vectors(0, 4*wide), vectors(4*wide, 8)
	next := a.each("four", n)
	a.load(place{rows, 0}, v...)
	for i := 0; i < len(v); i += 2 {
		a.toBFloat16(0, 0, v[i], v[i+1])
	}
	for half := range wide / 2 {
		four := []vector{v[2*half], v[wide+2*half], v[2*wide+2*half], v[3*wide+2*half]}
		a.store(place{dst, half * 4 * vectorBytes}, a.interleaveFour(four, free)...)
	}
	a.op("ADD", number(2*4*vectorBytes), dst)
	a.op("ADD", number(4*wide*vectorBytes), rows)
	next()
	a.finish()
}

// interleaveTwo interleaves the halfwords of two registers, and returns the result in two of to.
func (a *assembler) interleaveTwo(x, y vector, to []vector) []vector {
	a.op("VZIP1", y.halves(), x.halves(), to[0].halves())
	a.op("VZIP2", y.halves(), x.halves(), to[1].halves())
	return to[:2]
}

// interleaveFour interleaves the halfwords of four registers. It uses eight others, and returns the
// result in four of these.
func (a *assembler) interleaveFour(v, free []vector) []vector {
	even, odd := a.interleaveTwo(v[0], v[2], free), a.interleaveTwo(v[1], v[3], free[2:])
	a.interleaveTwo(even[0], odd[0], free[4:])
	a.interleaveTwo(even[1], odd[1], free[6:])
	return free[4:8]
}

// reluGradBF16 keeps dy where y is positive as a signed integer: its sign bit is the float's.
func (a *assembler) reluGradBF16() {
	dx, dy, y, n := general[0], general[1], general[2], general[3]
	a.routine("reluGradHalfNEON", "reluGradHalfNEON is dx = dy where y > 0, else 0, of bfloat16: dx, dy, y; blocks.",
		[]register{dx, dy, y}, n)
	yv, gv := vectors(0, vectorsEach/2), vectors(8, vectorsEach/2)
	next := a.each("block", n)
	a.load(place{y, 0}, yv...)
	a.load(place{dy, 0}, gv...)
	for i := range yv {
		a.word(cmgtZeroHalves(yv[i], yv[i]))
		a.and(yv[i], gv[i], gv[i])
	}
	a.store(place{dx, 0}, gv...)
	for _, p := range []register{dx, dy, y} {
		a.op("ADD", number(bytesEach/2), p)
	}
	next()
	a.finish()
}
