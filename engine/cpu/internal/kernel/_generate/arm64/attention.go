package main

import "fmt"

// These routines walk over rows that lie a pitch apart, in groups of 16 floats: see attention.go
// one folder up.
const (
	groupFloats  = 16
	groupVectors = groupFloats / lanes
	groupBytes   = 4 * groupFloats
)

// exp2 are the coefficients of 2^f = 1 + c1 f + ... + c6 f^6 for |f| <= 1/2: the polynomial with
// the least relative error, 2e-9.
var exp2 = []float64{1, 0.6931472028552299, 0.24022647913616552, 0.055503324707801255, 0.0096184373581854141,
	0.0013398874550626771, 0.00015353362041026187}

// rounder is added to a small number to round it to a whole one, to which it adds a float's
// exponent bias: the float's lowest bits are then the exponent's.
const rounder = 3<<22 + 127

// powers writes the table of the exponential's constants.
func (a *assembler) powers() { a.table("powersNEON", append([]float64{rounder}, exp2...)) }

// exponential computes exp(scale*d) for d <= 0, as on amd64.
type exponential struct {
	high, low, least, rounder vector
	power                     []vector
	k, f, y, next, below      []vector // two each
}

// loadExponential loads the constants, of which factors points to high, low and least. It uses the
// registers from the first one on, and overwrites the pointers.
func (a *assembler) loadExponential(factors, table register, first int) (e exponential, used int) {
	take := func(n int) []vector {
		first += n
		return vectors(first-n, n)
	}
	c := take(4 + len(exp2))
	e.high, e.low, e.least, e.rounder, e.power = c[0], c[1], c[2], c[3], c[4:]
	e.k, e.f, e.y, e.next, e.below = take(2), take(2), take(2), take(2), take(2)
	a.spread(factors, e.high, e.low, e.least)
	a.op("MOVD", "$powersNEON<>(SB)", table)
	a.spread(table, append([]vector{e.rounder}, e.power...)...)
	return e, first
}

// of leaves the exponentials of two registers in y and returns it.
func (a *assembler) of(e exponential, d []vector) []vector {
	for i := range d {
		a.less(d[i], e.least, e.below[i])
		a.move(e.rounder, e.k[i])
		a.multiplyAdd(e.high, d[i], e.k[i])
		a.subtract(e.k[i], e.rounder, e.f[i]) // minus the whole number
		a.multiplyAdd(e.high, d[i], e.f[i])
		a.multiplyAdd(e.low, d[i], e.f[i])
	}
	last := len(e.power) - 1
	now, next := e.y, e.next
	for i := range d {
		a.move(e.power[last], now[i])
	}
	for c := last - 1; c >= 0; c-- {
		for i := range d {
			a.move(e.power[c], next[i])
			a.multiplyAdd(now[i], e.f[i], next[i])
		}
		now, next = next, now
	}
	for i := range d {
		a.op("VSHL", number(significands), e.k[i], e.k[i])
		a.multiply(e.k[i], now[i], now[i])
		a.without(e.below[i], now[i], now[i])
	}
	return now
}

// across joins the lanes of a register and leaves the result in all lanes.
func (a *assembler) across(v, tmp vector, join func(x, y, to vector)) {
	a.op("VEXT", number(8), v.bytes(), v.bytes(), tmp.bytes())
	join(tmp, v, v)
	a.op("VREV64", v, tmp)
	join(tmp, v, v)
}

// broadcast loads a float into all lanes.
func (a *assembler) broadcast(from register, to vector) {
	a.op("VLD1R", place{from, 0}, fmt.Sprintf("[%v]", to))
}

// storeFirst stores lane 0.
func (a *assembler) storeFirst(v vector, to register) { a.op("FMOVS", v.memory(), place{to, 0}) }

// half names the routines of bfloat16.
func half(bf16 bool) string {
	if bf16 {
		return "Half"
	}
	return ""
}

// size is the number of bytes of one value.
func size(bf16 bool) int {
	if bf16 {
		return 2
	}
	return 4
}

// softmax writes the routine behind Path.Softmax. With BF16, weights are left as bfloat16.
func (a *assembler) softmax() {
	scores, largest, sums, mask, factors := general[0], general[1], general[2], general[3], general[4]
	rows, pitch, groups := general[5], general[6], general[7]
	x, y, left, to, count := general[8], general[9], general[10], general[11], general[12]
	name := a.name("softmax")
	a.routine(name, name+" makes rows of scores weights: scores, max, sums, mask, factors; rows, pitch, groups.",
		[]register{scores, largest, sums, mask, factors}, rows, pitch, groups)
	e, used := a.loadExponential(factors, x, 0)
	m, totals, d := vectors(used, 1)[0], vectors(used+1, 2), vectors(used+3, 2)
	group := append(append([]vector{}, e.k...), e.f...)
	masks := append(append([]vector{}, e.y...), e.next...)
	tmp := e.below[0]

	a.op("MOVD", scores, y)
	a.op("MOVD", largest, to)
	a.op("MOVD", rows, count)
	nextMax := a.each("max", count)
	a.op("SUB", number(1), groups, left)
	a.op("ADD", fmt.Sprintf("%v<<6", left), y, x) // the last group
	a.broadcast(to, m)
	a.load(place{x, 0}, group...)
	a.load(place{mask, 0}, masks...)
	for i, v := range group {
		a.add(masks[i], v, v)
		a.max(v, m, m)
	}
	a.store(place{x, 0}, group...)
	a.op("MOVD", y, x)
	a.op("CBZ", left, label("found"))
	a.label("larger")
	a.load(place{x, 0}, group...)
	for _, v := range group {
		a.max(v, m, m)
	}
	a.op("ADD", number(groupBytes), x)
	a.op("SUB", number(1), left)
	a.op("CBNZ", left, label("larger"))
	a.label("found")
	a.across(m, tmp, a.max)
	a.storeFirst(m, to)
	a.op("ADD", pitch, y)
	a.op("ADD", number(4), to)
	nextMax()

	nextRow := a.each("row", rows)
	a.broadcast(largest, m)
	a.op("MOVD", scores, x)
	a.op("MOVD", scores, y)
	a.op("MOVD", groups, left)
	a.zero(totals...)
	nextGroup := a.each("group", left)
	for first := 0; first < groupVectors; first += 2 {
		a.load(place{x, first * vectorBytes}, d...)
		for _, v := range d {
			a.subtract(m, v, v)
		}
		weights := a.of(e, d)
		for i, v := range weights {
			a.add(v, totals[i], totals[i])
		}
		if a.hasBF16 {
			a.storeBFloat16(place{y, first * vectorBytes / 2}, 0, 0, weights...)
		} else {
			a.store(place{x, first * vectorBytes}, weights...)
		}
	}
	a.op("ADD", number(groupBytes), x)
	if a.hasBF16 {
		a.op("ADD", number(groupBytes/2), y)
	}
	nextGroup()
	a.add(totals[1], totals[0], totals[0])
	a.across(totals[0], tmp, a.add)
	a.storeFirst(totals[0], sums)
	a.op("ADD", pitch, scores)
	a.op("ADD", number(4), largest)
	a.op("ADD", number(4), sums)
	nextRow()
	a.finish()
}

func (a *assembler) softmaxGrad() {
	weights, gradients, inverse, along := general[0], general[1], general[2], general[3]
	rows, pitch, groups := general[4], general[5], general[6]
	x, y, left := general[7], general[8], general[9]
	a.routine("softmaxGradNEON",
		"softmaxGradNEON is p *= inverse, then g = p*(g - along): p, g, inverse, along; rows, pitch, groups.",
		[]register{weights, gradients, inverse, along}, rows, pitch, groups)
	f, minus := vectors(0, 1)[0], vectors(1, 1)[0]
	p, g := vectors(2, groupVectors), vectors(2+groupVectors, groupVectors)
	nextRow := a.each("row", rows)
	a.spread(inverse, f)
	a.spread(along, minus)
	a.op("MOVD", weights, x)
	a.op("MOVD", gradients, y)
	a.op("MOVD", groups, left)
	nextGroup := a.each("group", left)
	a.load(place{x, 0}, p...)
	a.load(place{y, 0}, g...)
	for i := range p {
		a.multiply(f, p[i], p[i])
		a.subtract(minus, g[i], g[i])
		a.multiply(p[i], g[i], g[i])
	}
	a.store(place{x, 0}, p...)
	a.store(place{y, 0}, g...)
	a.op("ADD", number(groupBytes), x)
	a.op("ADD", number(groupBytes), y)
	nextGroup()
	a.op("ADD", pitch, weights)
	a.op("ADD", pitch, gradients)
	nextRow()
	a.finish()
}

// softmaxGradPairs writes the routine behind Path.SoftmaxGradPairs: two rows at a time.
func (a *assembler) softmaxGradPairs() {
	weights, gradients, inverse, along, rounded := general[0], general[1], general[2], general[3], general[4]
	rows, pitch, groups, roundedPitch := general[5], general[6], general[7], general[8]
	at, to, left := general[9:13], general[13:15], general[15]
	name := a.name("softmaxGradPairs")
	a.routine(name, name+" is softmaxGrad of pairs of rows, which it leaves rounded: p, g, inverse, along, rounded rows; "+
		"pairs, pitch, groups, pitch of rounded rows.",
		[]register{weights, gradients, inverse, along, rounded}, rows, pitch, groups, roundedPitch)
	factor, minus, free := vectors(0, 2), vectors(2, 2), vectors(20, 4)
	values := [][]vector{vectors(4, groupVectors), vectors(8, groupVectors), vectors(12, groupVectors), vectors(16, groupVectors)}
	nextRow := a.each("row", rows)
	a.spread(inverse, factor...)
	a.spread(along, minus...)
	for i, base := range []register{weights, gradients} {
		a.op("MOVD", base, at[2*i])
		a.op("ADD", pitch, base, at[2*i+1])
	}
	a.op("MOVD", rounded, to[0])
	a.op("ADD", roundedPitch, rounded, to[1])
	a.op("MOVD", groups, left)
	nextGroup := a.each("group", left)
	for i, v := range values {
		a.load(place{at[i], 0}, v...)
	}
	for row := range 2 {
		p, g := values[row], values[2+row]
		for i := range p {
			a.multiply(factor[row], p[i], p[i])
			a.subtract(minus[row], g[i], g[i])
			a.multiply(p[i], g[i], g[i])
		}
	}
	for _, v := range values {
		a.toBFloat16(0, 0, v[0], v[1])
		a.toBFloat16(0, 0, v[2], v[3])
	}
	for row := range 2 {
		a.store(place{to[row], 0}, values[2+row][0], values[2+row][2])
	}
	for i := range 2 { // weights, then gradients, in the place of the first row
		first, second := values[2*i], values[2*i+1]
		a.interleaveTwo(first[0], second[0], free)
		a.interleaveTwo(first[2], second[2], free[2:])
		a.store(place{at[2*i], 0}, free...)
	}
	for _, p := range at {
		a.op("ADD", number(groupBytes), p)
	}
	for _, p := range to {
		a.op("ADD", number(groupBytes/2), p)
	}
	nextGroup()
	for _, p := range []register{weights, gradients} {
		a.op("ADD", fmt.Sprintf("%v<<1", pitch), p)
	}
	a.op("ADD", fmt.Sprintf("%v<<1", roundedPitch), rounded)
	nextRow()
	a.finish()
}

// loadGroup loads a group of floats or bfloat16 as floats.
func (a *assembler) loadGroup(bf16 bool, from register, to []vector) {
	if bf16 {
		a.loadBFloat16(place{from, 0}, to...)
		return
	}
	a.load(place{from, 0}, to...)
}

func (a *assembler) scaleRows(from, to bool) {
	name := a.name("scaleRows" + half(from) + "To" + half(to))
	dst, src, factors := general[0], general[1], general[2]
	rows, dstPitch, srcPitch, groups, step := general[3], general[4], general[5], general[6], general[7]
	x, y, left := general[8], general[9], general[10]
	a.routine(name, name+" is dst = factor*src, row by row: dst, src, factors; rows, pitches, groups, factor's step.",
		[]register{dst, src, factors}, rows, dstPitch, srcPitch, groups, step)
	f, ones, tmp, v := vectors(0, 1)[0], vectors(1, 1)[0], vectors(2, 1)[0], vectors(4, groupVectors)
	if to {
		a.roundingBias(ones)
	}
	nextRow := a.each("row", rows)
	a.broadcast(factors, f)
	a.op("MOVD", src, x)
	a.op("MOVD", dst, y)
	a.op("MOVD", groups, left)
	nextGroup := a.each("group", left)
	a.loadGroup(from, x, v)
	for _, r := range v {
		a.multiply(f, r, r)
	}
	if to {
		a.storeBFloat16(place{y, 0}, ones, tmp, v...)
	} else {
		a.store(place{y, 0}, v...)
	}
	a.op("ADD", number(groupFloats*size(from)), x)
	a.op("ADD", number(groupFloats*size(to)), y)
	nextGroup()
	a.op("ADD", srcPitch, src)
	a.op("ADD", dstPitch, dst)
	a.op("ADD", step, factors)
	nextRow()
	a.finish()
}

func (a *assembler) dotRows(bf16 bool) {
	name := "dotRows" + half(bf16) + "NEON"
	out, first, second := general[0], general[1], general[2]
	rows, firstPitch, secondPitch, groups := general[3], general[4], general[5], general[6]
	x, y, left := general[7], general[8], general[9]
	a.routine(name, name+" is out = the sum of a*b, row by row: out, a, b; rows, pitches, groups.",
		[]register{out, first, second}, rows, firstPitch, secondPitch, groups)
	totals, v, w := vectors(0, 2), vectors(2, groupVectors), vectors(2+groupVectors, groupVectors)
	nextRow := a.each("row", rows)
	a.op("MOVD", first, x)
	a.op("MOVD", second, y)
	a.op("MOVD", groups, left)
	a.zero(totals...)
	nextGroup := a.each("group", left)
	a.loadGroup(bf16, x, v)
	a.loadGroup(bf16, y, w)
	for i := range v {
		a.multiplyAdd(v[i], w[i], totals[i%2])
	}
	a.op("ADD", number(groupFloats*size(bf16)), x)
	a.op("ADD", number(groupFloats*size(bf16)), y)
	nextGroup()
	a.add(totals[1], totals[0], totals[0])
	a.across(totals[0], v[0], a.add)
	a.storeFirst(totals[0], out)
	a.op("ADD", firstPitch, first)
	a.op("ADD", secondPitch, second)
	a.op("ADD", number(4), out)
	nextRow()
	a.finish()
}

func (a *assembler) prefetchRows() {
	src, rows, pitch, lines, x, left := general[0], general[1], general[2], general[3], general[4], general[5]
	a.routine("prefetchRowsNEON",
		"prefetchRowsNEON brings lines of rows into the second-level cache: src; rows, pitch, lines.",
		[]register{src}, rows, pitch, lines)
	nextRow := a.each("row", rows)
	a.op("MOVD", src, x)
	a.op("MOVD", lines, left)
	nextLine := a.each("line", left)
	a.op("PRFM", place{x, 0}, "PLDL2KEEP")
	a.op("ADD", number(64), x)
	nextLine()
	a.op("ADD", pitch, src)
	nextRow()
	a.finish()
}

// attention writes the routines of this file that need no BF16.
func (a *assembler) attention() {
	a.powers()
	a.softmax()
	a.softmaxGrad()
	a.prefetchRows()
	for _, bf16 := range []bool{false, true} {
		a.dotRows(bf16)
	}
	for _, form := range [][2]bool{{false, false}, {false, true}, {true, false}} {
		a.scaleRows(form[0], form[1])
	}
}
