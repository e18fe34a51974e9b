package main

import (
	"fmt"
	"math"
)

// These routines take vectors of 32 floats at a time. Package kernel does the rest of a vector in
// Go.
const (
	floatsEach   = 32
	vectorsEach  = floatsEach / lanes
	bytesEach    = 4 * floatsEach
	partialSums  = 8 // floats of args.parts
	partialRegs  = partialSums / lanes
	significands = 23 // bits
)

// run opens a loop over n blocks of 32 floats and advances the pointers after body.
func (a *assembler) run(count register, pointers []register, body func()) {
	next := a.each("block", count)
	body()
	for _, p := range pointers {
		a.op("ADD", number(bytesEach), p)
	}
	next()
}

func (a *assembler) relu() {
	y, x, n := general[0], general[1], general[2]
	a.routine("reluNEON", "reluNEON is y = max(x, 0): y, x; blocks.", []register{y, x}, n)
	xv, zero := vectors(0, vectorsEach), vectors(vectorsEach, 1)[0]
	a.zero(zero)
	a.run(n, []register{y, x}, func() {
		a.load(place{x, 0}, xv...)
		for _, v := range xv {
			a.max(zero, v, v)
		}
		a.store(place{y, 0}, xv...)
	})
	a.finish()
}

func (a *assembler) reluGrad() {
	dx, dy, y, n := general[0], general[1], general[2], general[3]
	a.routine("reluGradNEON", "reluGradNEON is dx = dy where y > 0, else 0: dx, dy, y; blocks.", []register{dx, dy, y}, n)
	yv, gv := vectors(0, vectorsEach), vectors(vectorsEach, vectorsEach)
	a.run(n, []register{dx, dy, y}, func() {
		a.load(place{y, 0}, yv...)
		a.load(place{dy, 0}, gv...)
		for i := range yv {
			a.positive(yv[i], yv[i])
			a.and(yv[i], gv[i], gv[i])
		}
		a.store(place{dx, 0}, gv...)
	})
	a.finish()
}

func (a *assembler) larger() {
	y, x, n := general[0], general[1], general[2]
	a.routine("largerNEON", "largerNEON is y = max(y, x), a NaN in either stays: y, x; blocks.", []register{y, x}, n)
	yv, xv := vectors(0, vectorsEach), vectors(vectorsEach, vectorsEach)
	a.run(n, []register{y, x}, func() {
		a.load(place{y, 0}, yv...)
		a.load(place{x, 0}, xv...)
		for i, v := range yv {
			a.max(xv[i], v, v)
		}
		a.store(place{y, 0}, yv...)
	})
	a.finish()
}

func (a *assembler) claim() {
	dx, g, x, best, n := general[0], general[1], general[2], general[3], general[4]
	a.routine("claimNEON", "claimNEON is dx += g and g = 0 where x < best does not hold: dx, g, x, best; blocks.",
		[]register{dx, g, x, best}, n)
	to, gv := vectors(0, vectorsEach), vectors(vectorsEach, vectorsEach)
	xv, bv := vectors(2*vectorsEach, vectorsEach), vectors(3*vectorsEach, vectorsEach)
	a.run(n, []register{dx, g, x, best}, func() {
		a.load(place{x, 0}, xv...)
		a.load(place{best, 0}, bv...)
		a.load(place{dx, 0}, to...)
		a.load(place{g, 0}, gv...)
		for i := range to {
			a.less(xv[i], bv[i], bv[i])
			a.without(bv[i], gv[i], xv[i])
			a.add(xv[i], to[i], to[i])
			a.and(bv[i], gv[i], gv[i])
		}
		a.store(place{dx, 0}, to...)
		a.store(place{g, 0}, gv...)
	})
	a.finish()
}

func (a *assembler) weightedSum(terms int) {
	name := fmt.Sprintf("weightedSum%dNEON", terms)
	y, n, factors := general[0], general[1], general[2]
	x := general[3 : 3+terms]
	a.routine(name, name+" is y = a*x0 + b*x1 + c*x2, as many as there are: y, factors, x0, x1, x2; blocks.",
		append([]register{y, factors}, x...), n)
	factor, sum, xv := vectors(0, terms), vectors(3, vectorsEach), vectors(3+vectorsEach, vectorsEach)
	a.spread(factors, factor...)
	a.run(n, append([]register{y}, x...), func() {
		a.load(place{x[0], 0}, sum...)
		for _, s := range sum {
			a.multiply(factor[0], s, s)
		}
		for k := 1; k < terms; k++ {
			a.load(place{x[k], 0}, xv...)
			for i, s := range sum {
				a.multiplyAdd(factor[k], xv[i], s)
			}
		}
		a.store(place{y, 0}, sum...)
	})
	a.finish()
}

// transpose writes 8x8 blocks as four of 4x4. Rows are interleaved, every other one with every
// other one, then the results once more.
func (a *assembler) transpose() {
	dst, ds, src, ss, n, p := general[0], general[1], general[2], general[3], general[4], general[5]
	a.routine(
		"transpose8NEON",
		"transpose8NEON transposes n blocks of 8x8 that lie side by side in the source and below each other in the "+
			"target: dst, src; dst stride, src stride, n.",
		[]register{dst, src}, ds, ss, n)
	row := func(r int) []vector { return vectors(2*r, 2) }
	pair := vectors(16, 4)
	next := a.each("block", n)
	a.op("MOVD", src, p)
	for r := range 8 {
		a.load(place{p, 0}, row(r)...)
		a.op("ADD", ss, p)
	}
	for top := 0; top < 8; top += 4 { // of the source
		for left := range 2 {
			at := func(r int) vector { return row(top + r)[left] }
			a.op("VZIP1", at(2), at(0), pair[0]) // columns 0 and 1 of rows 0 and 2
			a.op("VZIP2", at(2), at(0), pair[1]) // columns 2 and 3
			a.op("VZIP1", at(3), at(1), pair[2]) // of rows 1 and 3
			a.op("VZIP2", at(3), at(1), pair[3])
			for i := range 2 { // columns take the place of rows
				a.op("VZIP1", pair[2+i], pair[i], at(2*i))
				a.op("VZIP2", pair[2+i], pair[i], at(2*i+1))
			}
		}
	}
	for c := range 8 {
		a.store(place{dst, 0}, row(c % 4)[c/4], row(4 + c%4)[c/4])
		a.op("ADD", ds, dst)
	}
	a.op("ADD", number(32), src)
	next()
	a.finish()
}

// transposePairs writes 8x8 blocks of words as 4x8 pairs of words, which stay pairs.
func (a *assembler) transposePairs() {
	dst, ds, src, ss, n, p := general[0], general[1], general[2], general[3], general[4], general[5]
	a.routine("transposePairs8NEON",
		"transposePairs8NEON is transpose8NEON of pairs of words: a pair of neighbours in the source stays one, and takes the "+
			"room of two rows of the target.",
		[]register{dst, src}, ds, ss, n)
	row := func(r int) []vector { return vectors(2*r, 2) }
	out := vectors(16, 4)
	next := a.each("block", n)
	a.op("MOVD", src, p)
	for r := range 8 {
		a.load(place{p, 0}, row(r)...)
		a.op("ADD", ss, p)
	}
	for column := range 4 {
		zip := []string{"VZIP1", "VZIP2"}[column%2]
		for i, to := range out {
			a.op(zip, row(2*i + 1)[column/2].doubles(), row(2 * i)[column/2].doubles(), to.doubles())
		}
		a.store(place{dst, 0}, out...)
		a.op("ADD", fmt.Sprintf("%v<<1", ds), dst)
	}
	a.op("ADD", number(32), src)
	next()
	a.finish()
}

// rowMax keeps NaNs, as Go's max does: FMAX keeps them too.
func (a *assembler) rowMax() {
	out, x, n := general[0], general[1], general[2]
	a.routine("rowMaxNEON", "rowMaxNEON leaves 8 partial maxima in out: out, x; blocks.", []register{out, x}, n)
	largest, xv := vectors(0, vectorsEach), vectors(vectorsEach, vectorsEach)
	a.load(place{x, 0}, largest...)
	a.run(n, []register{x}, func() {
		a.load(place{x, 0}, xv...)
		for i, l := range largest {
			a.max(xv[i], l, l)
		}
	})
	a.fold(largest, a.max)
	a.store(place{out, 0}, largest[:partialRegs]...)
	a.finish()
}

// fold joins four partial results of 8 floats, each in two registers, to one in the first two
// registers: 0 with 1, 2 with 3, then the two results.
func (a *assembler) fold(list []vector, join func(x, y, to vector)) {
	for _, pair := range [][2]int{{0, 1}, {2, 3}, {0, 2}} {
		for i := range partialRegs {
			to := list[pair[0]*partialRegs+i]
			join(list[pair[1]*partialRegs+i], to, to)
		}
	}
}

func (a *assembler) dot() {
	out, x, y, n := general[0], general[1], general[2], general[3]
	a.routine("dotNEON", "dotNEON leaves 8 partial sums in out: out, x, y; blocks.", []register{out, x, y}, n)
	sum, xv, yv := vectors(0, vectorsEach), vectors(8, vectorsEach), vectors(16, vectorsEach)
	a.zero(sum...)
	a.run(n, []register{x, y}, func() {
		a.load(place{x, 0}, xv...)
		a.load(place{y, 0}, yv...)
		for i, s := range sum {
			a.multiplyAdd(xv[i], yv[i], s)
		}
	})
	a.fold(sum, a.add)
	a.store(place{out, 0}, sum[:partialRegs]...)
	a.finish()
}

// expSum computes exp(v), v = scale*x + shift, as 2^n * exp(r) with n = round(v/ln 2) and |r| <=
// ln(2)/2. ln 2 is subtracted in two parts, so r is exact to a few parts in 1e8. exp(r) is its
// Taylor polynomial to r^7 (relative error 6e-9).
func (a *assembler) expSum() {
	const hi = 0.693359375 // 355/512: n*hi is exact
	lo := math.Ln2 - hi
	// The first is the exponent's bias, an integer.
	constants := []float64{float64(math.Float32frombits(127)), math.Log2E, -hi, -lo, -87, 88}
	for k, factorial := 0, 1.0; k < 8; k++ {
		factorial *= float64(max(k, 1))
		constants = append(constants, 1/factorial)
	}
	a.table("exponentialNEON", constants)

	out, dst, x, n, factors, table := general[0], general[1], general[2], general[3], general[4], general[5]
	a.routine("expSumNEON",
		"expSumNEON writes exp(scale*x + shift) and leaves 8 partial sums in out: out, dst, x, factors (scale, shift); blocks.",
		[]register{out, dst, x, factors}, n)
	held := vectors(0, len(constants))
	bias, log2e, minusHi, minusLo, least, most, poly := held[0], held[1], held[2], held[3], held[4], held[5], held[6:]
	free := vectors(len(held), 32-len(held))
	scale, shift, totals := free[0], free[1], free[2:4]
	v, k, r, t, below := free[4:6], free[6:8], free[8:10], free[10:12], free[12:14]
	a.op("MOVD", "$exponentialNEON<>(SB)", table)
	a.spread(table, held...)
	a.spread(factors, scale, shift)
	a.zero(totals...)
	a.run(n, []register{dst, x}, func() {
		for first := 0; first < vectorsEach; first += 2 {
			at := first * vectorBytes
			a.load(place{x, at}, t...)
			for i := range 2 {
				a.move(shift, v[i])
				a.multiplyAdd(t[i], scale, v[i])
				// A smaller v counts as nothing, and a NaN stays one.
				a.less(v[i], least, below[i])
				a.max(least, v[i], v[i])
				a.min(most, v[i], v[i])
				a.multiply(log2e, v[i], k[i])
				a.word(two(frintn, k[i], k[i]))
				a.move(v[i], r[i])
				a.multiplyAdd(minusHi, k[i], r[i])
				a.multiplyAdd(minusLo, k[i], r[i])
			}
			now, next := t, v // v is free now
			for i := range 2 {
				a.move(poly[7], now[i])
			}
			for d := 6; d >= 0; d-- {
				for i := range 2 {
					a.move(poly[d], next[i])
					a.multiplyAdd(now[i], r[i], next[i])
				}
				now, next = next, now
			}
			for i := range 2 {
				a.word(two(fcvtns, k[i], k[i]))
				a.op("VADD", bias, k[i], k[i])
				a.op("VSHL", number(significands), k[i], k[i])
				a.multiply(k[i], now[i], now[i])
				a.without(below[i], now[i], now[i])
				a.add(now[i], totals[i], totals[i])
			}
			a.store(place{dst, at}, now...)
		}
	})
	a.store(place{out, 0}, totals...)
	a.finish()
}
