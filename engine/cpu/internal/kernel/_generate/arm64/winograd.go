package main

// transform is one of Winograd's five: T X T'. X holds in x in vectors, the result out x out. All
// five are the same two passes with another T: along the rows of X, through the stack, then along
// its columns. A T is a function from `in` registers to `out` results, because its zeros, ones and
// shared sums make the speed. It may use further registers, its temporaries.
type transform struct {
	name, doc string
	in, out   int
	constants []float64
	// apply gives result i to store in a register. It may overwrite d and t. k holds the constants.
	apply func(a *assembler, d, t, k []vector, store func(i int, r vector))
}

// The matrices are those of F(4x4, 3x3) at the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray,
// CVPR 2016).
var transforms = []transform{
	{
		name: "winogradInput", doc: "of 6x6 inputs",
		in: 6, out: 6, constants: []float64{4, 5, 2},
		apply: func(a *assembler, d, t, k []vector, store func(int, vector)) {
			a.move(d[4], t[0]) // 4 d0 - 5 d2 + d4
			a.multiplySubtract(k[1], d[2], t[0])
			a.multiplyAdd(k[0], d[0], t[0])
			store(0, t[0])
			a.move(d[4], t[0]) // (d4 - 4 d2) +- (d3 - 4 d1)
			a.multiplySubtract(k[0], d[2], t[0])
			a.move(d[3], t[1])
			a.multiplySubtract(k[0], d[1], t[1])
			a.add(t[1], t[0], t[2])
			store(1, t[2])
			a.subtract(t[1], t[0], t[0])
			store(2, t[0])
			a.move(d[5], t[2]) // 4 d1 - 5 d3 + d5, early: d1 and d3 are needed below
			a.multiplySubtract(k[1], d[3], t[2])
			a.multiplyAdd(k[0], d[1], t[2])
			store(5, t[2])
			a.subtract(d[2], d[4], t[0]) // (d4 - d2) +- 2 (d3 - d1)
			a.subtract(d[1], d[3], t[1])
			a.move(t[0], t[2])
			a.multiplyAdd(k[2], t[1], t[2])
			store(3, t[2])
			a.multiplySubtract(k[2], t[1], t[0])
			store(4, t[0])
		},
	},
	{
		name: "winogradOutput", doc: "of 6x6 products to 4x4 outputs",
		in: 6, out: 4, constants: []float64{4, 2, 8},
		apply: func(a *assembler, d, t, k []vector, store func(int, vector)) {
			a.add(d[2], d[1], t[0])
			a.subtract(d[2], d[1], t[1])
			a.add(d[4], d[3], t[2])
			a.subtract(d[4], d[3], d[1])
			a.add(t[0], d[0], d[0])
			a.add(t[2], d[0], d[0])
			store(0, d[0])
			a.add(t[1], d[5], d[5])
			a.multiplyAdd(k[2], d[1], d[5])
			store(3, d[5])
			a.multiplyAdd(k[0], t[2], t[0])
			store(2, t[0])
			a.multiplyAdd(k[1], d[1], t[1])
			store(1, t[1])
		},
	},
	{
		name: "winogradWeights", doc: "of 3x3 weights",
		in: 3, out: 6, constants: []float64{1. / 4, 1. / 6, 1. / 24, 1. / 12},
		apply: func(a *assembler, d, t, k []vector, store func(int, vector)) {
			a.multiply(k[0], d[0], t[0])
			store(0, t[0])
			store(5, d[2])
			a.add(d[2], d[0], t[0]) // -(g0 + g2)/6 -+ g1/6
			a.add(d[1], t[0], t[1])
			a.subtract(t[0], d[1], t[2])
			a.multiply(k[1], t[2], t[2])
			store(2, t[2])
			a.zero(t[2])
			a.multiplySubtract(k[1], t[1], t[2])
			store(1, t[2])
			a.multiply(k[1], d[2], t[0]) // (g0/24 + g2/6) +- g1/12
			a.multiplyAdd(k[2], d[0], t[0])
			a.move(t[0], t[1])
			a.multiplyAdd(k[3], d[1], t[1])
			store(3, t[1])
			a.multiplySubtract(k[3], d[1], t[0])
			store(4, t[0])
		},
	},
	{
		name: "winogradOutputGrad", doc: "of 4x4 gradients of outputs, the transpose of winogradOutput",
		in: 4, out: 6, constants: []float64{4, 2, 8},
		apply: func(a *assembler, d, t, k []vector, store func(int, vector)) {
			store(0, d[0])
			store(5, d[3])
			a.add(d[2], d[0], t[0])
			a.add(d[3], d[1], t[1])
			a.add(t[1], t[0], t[2])
			store(1, t[2])
			a.subtract(t[1], t[0], t[0])
			store(2, t[0])
			a.multiplyAdd(k[0], d[2], d[0])
			a.multiply(k[1], d[1], t[1])
			a.multiplyAdd(k[2], d[3], t[1])
			a.add(t[1], d[0], t[2])
			store(3, t[2])
			a.subtract(t[1], d[0], d[0])
			store(4, d[0])
		},
	},
	{
		name: "winogradWeightsGrad", doc: "of 6x6 products to the gradients of 3x3 weights, the transpose of winogradWeights",
		in: 6, out: 3, constants: []float64{1. / 4, 1. / 6, 1. / 24, 1. / 12},
		apply: func(a *assembler, d, t, k []vector, store func(int, vector)) {
			a.add(d[2], d[1], t[0])
			a.add(d[4], d[3], t[1])
			a.subtract(d[1], d[2], t[2]) // u2 - u1
			a.subtract(d[4], d[3], d[3]) // u3 - u4
			a.multiply(k[0], d[0], d[0]) // u0/4 - (u1 + u2)/6 + (u3 + u4)/24
			a.multiplySubtract(k[1], t[0], d[0])
			a.multiplyAdd(k[2], t[1], d[0])
			store(0, d[0])
			a.multiply(k[1], t[2], t[2])
			a.multiplyAdd(k[3], d[3], t[2])
			store(1, t[2])
			a.subtract(t[0], t[1], t[1])
			a.multiplyAdd(k[1], t[1], d[5])
			store(2, d[5])
		},
	},
}

// winograd writes a transform. Four pieces make a group of 16 floats.
func (a *assembler) winograd(f transform) {
	name := f.name + "NEON"
	a.table(name+"Constants", f.constants)
	src, dst, srcStep, dstStep, n, p := general[0], general[1], general[2], general[3], general[4], general[5]
	srcRow, dstCol, srcCol, dstRow := general[6], general[7], general[8:13], general[13:18]
	block := general[22]
	a.functionWithFrame("0", f.in*f.out*vectorBytes+frameStart, name,
		name+" transforms groups of 16 channels "+f.doc+"; see Transform.", "a *uintptr", block)
	a.words(block, 0, []register{src, dst, srcRow, srcCol[0], srcStep, dstRow[0], dstCol, dstStep, n})
	for i := 1; i < 5; i++ { // srcCol[i] is i+1 times the distance
		a.op("ADD", srcCol[0], srcCol[i-1], srcCol[i])
		a.op("ADD", dstRow[0], dstRow[i-1], dstRow[i])
	}
	d, t, k := vectors(0, 6), vectors(6, 3), vectors(9, len(f.constants))
	a.op("MOVD", "$"+name+"Constants<>(SB)", p)
	a.spread(p, k...)
	stack := func(row, col int) place { return place{stackPointer, frameStart + (row*f.out+col)*vectorBytes} }
	next := a.each("group", n)
	for disp := 0; disp < 64; disp += vectorBytes {
		a.op("ADD", number(disp), src, p)
		for row := range f.in {
			a.load(place{p, 0}, d[0])
			for col := 1; col < f.in; col++ {
				a.loadIndexed(p, srcCol[col-1], d[col])
			}
			f.apply(a, d, t, k, func(i int, v vector) { a.store(stack(row, i), v) })
			if row < f.in-1 {
				a.op("ADD", srcRow, p)
			}
		}
		a.op("ADD", number(disp), dst, p)
		for col := range f.out {
			for row := range f.in {
				a.load(stack(row, col), d[row])
			}
			f.apply(a, d, t, k, func(i int, v vector) {
				if i == 0 {
					a.store(place{p, 0}, v)
					return
				}
				a.storeIndexed(v, p, dstRow[i-1])
			})
			if col < f.out-1 {
				a.op("ADD", dstCol, p)
			}
		}
	}
	a.op("ADD", srcStep, src)
	a.op("ADD", dstStep, dst)
	next()
	a.finish()
}
