package main

import "fmt"

// tile writes the matrix-product tile: rows pixels times four registers of output channels. Every
// row has its own pointer, so a row may lie anywhere.
func (a *assembler) tile(rows int) {
	name := fmt.Sprintf("tile%dx%dNEON", rows, wide*lanes)
	arguments := general[:11]
	x, in, out, tiles, taps, ntaps := general[0], general[1], general[2], general[3], general[4], general[5]
	inner, weights, y, acc, bf16 := general[6], general[7], general[8], general[9], general[10]
	tap, left, index, b, count := general[11], general[12], general[13], general[14], general[15]
	row := general[16 : 16+rows]
	block := general[22]
	sums, free := vectors(0, rows*wide), vectors(rows*wide, 32-rows*wide)
	of := func(r int) []vector { return sums[r*wide:][:wide] }

	a.function(name, fmt.Sprintf("%s is Tile.Run for %d rows and blocks of %d.", name, rows, wide*lanes), "a *uintptr", block)
	a.words(block, 0, arguments)
	nextTile := a.each("tile", tiles)
	for r := range rows {
		a.op("MOVW", place{in, 4 * r}, row[r])
		a.op("ADD", x, row[r])
	}
	a.zero(sums...)
	a.op("MOVD", taps, tap)
	a.op("MOVD", ntaps, left)

	nextTap := a.each("tap", left)
	a.op("LDP.P", place{tap, 16}, fmt.Sprintf("(%v, %v)", index, b))
	a.op("ADD", weights, b)
	a.op("MOVD", inner, count)
	nextInner := a.each("inner", count)
	a.inner(row, index, b, free, of)
	a.op("ADD", number(vectorBytes), index)
	a.op("ADD", number(4*wide*vectorBytes), b)
	nextInner()
	nextTap()

	for r := range rows {
		a.op("MOVW", place{out, 4 * r}, row[r])
		a.op("ADD", y, row[r])
	}
	a.op("CBNZ", bf16, label("half"))
	a.op("CBZ", acc, label("store"))
	// All rows are read before any is written: see TileArgs.Acc.
	for r := range rows {
		a.addFrom(place{row[r], 0}, of(r), free)
	}
	a.label("store")
	for r := range rows {
		a.store(place{row[r], 0}, of(r)...)
	}
	a.op("JMP", label("stored"))
	a.label("half") // the same in bfloat16
	a.op("CBZ", acc, label("storeHalf"))
	for r := range rows {
		a.loadBFloat16(place{row[r], 0}, free[:wide]...)
		for v, s := range of(r) {
			a.add(free[v], s, s)
		}
	}
	a.label("storeHalf")
	a.word(moviOnes(free[0]))
	for r := range rows {
		a.storeBFloat16(place{row[r], 0}, free[0], free[1], of(r)...)
	}
	a.label("stored")
	a.op("ADD", number(4*rows), in)
	a.op("ADD", number(4*rows), out)
	nextTile()
	a.finish()
}

// inner multiplies 16 bytes of each row's input by the 16 registers of weights for them, and adds
// the products to the sums of the rows. One register holds four neighbouring inputs of a row, and
// an instruction multiplies by one of them, so nothing is broadcast. With 24 sums these are 22
// loads for 96 multiply-adds. Two registers are left for weights, and take turns. free are the
// registers that hold no sums.
func (a *assembler) inner(row []register, index, b register, free []vector, sums func(r int) []vector) {
	const steps = 4 * wide // registers of weights
	input, weight := free[:len(row)], free[len(row):len(row)+2]
	for r := range row {
		a.loadIndexed(row[r], index, input[r])
	}
	fetch := func(step int) { a.load(place{b, step * vectorBytes}, weight[step%2]) }
	fetch(0)
	for step := range steps {
		if step+1 < steps {
			fetch(step + 1)
		}
		for r := range row {
			a.multiplyElement(input[r], step/wide, weight[step%2], sums(r)[step%wide])
		}
	}
}

// addFrom adds the values in memory to sums. free holds registers to load them into.
func (a *assembler) addFrom(from place, sums, free []vector) {
	a.load(from, free[:len(sums)]...)
	for i, s := range sums {
		a.add(free[i], s, s)
	}
}

// grad writes the weight-gradient tile: rows input channels times n registers of output channels,
// summed over a list of pixels. It is the same outer product as tile, with pixels as the inner
// dimension. The four rows of one pixel lie side by side and are one register.
func (a *assembler) grad(rows, n int) {
	if rows != lanes {
		panic("a pixel's rows fill one register")
	}
	name := fmt.Sprintf("grad%dx%dNEON", rows, n*lanes)
	arguments := general[:8]
	x, pixels, pairs, dy := general[0], general[1], general[2], general[3]
	dw, stride, acc, tiles := general[4], general[5], general[6], general[7]
	pixel, count, from, to := general[8], general[9], general[10], general[11]
	block := general[22]
	sums := vectors(0, rows*n)
	gradient := vectors(rows*n, n)
	input := vectors(rows*n+n, 1)[0]

	a.function(name, fmt.Sprintf("%s is Grad.Run for %d rows and blocks of %d.", name, rows, n*lanes), "a *uintptr", block)
	a.words(block, 0, arguments)
	nextTile := a.each("tile", tiles)
	a.op("MOVD", pixels, pixel)
	a.op("MOVD", pairs, count)
	a.zero(sums...)
	next := a.each("pixel", count)
	a.op("LDPSW.P", place{pixel, 8}, fmt.Sprintf("(%v, %v)", from, to))
	a.op("ADD", dy, to)
	a.loadIndexed(x, from, input)
	a.load(place{to, 0}, gradient...)
	for v := range n {
		for r := range rows {
			a.multiplyElement(input, r, gradient[v], sums[r*n+v])
		}
	}
	next()

	a.op("CBZ", acc, label("store"))
	a.op("MOVD", dw, to)
	for r := range rows {
		a.addFrom(place{to, 0}, sums[r*n:][:n], gradient)
		a.op("ADD", stride, to)
	}
	a.label("store")
	for r := range rows {
		a.store(place{dw, 0}, sums[r*n:][:n]...)
		a.op("ADD", stride, dw)
	}
	a.op("ADD", number(4*rows), x)
	nextTile()
	a.finish()
}

// peakChains is the number of multiply-adds under way at once. Four pipes of four cycles each need
// 16.
const peakChains = 24

// peak writes a loop of multiply-adds on registers alone. No kernel can be faster.
func (a *assembler) peak() {
	count := general[0]
	a.function("peakNEON",
		fmt.Sprintf("peakNEON issues %d fused multiply-adds a loop that do not wait for each other.", peakChains),
		"loops int", count)
	all := vectors(0, peakChains+2)
	a.zero(all...)
	next := a.each("loop", count)
	for _, sum := range all[:peakChains] {
		a.multiplyAdd(all[peakChains], all[peakChains+1], sum)
	}
	next()
	a.finish()
}
