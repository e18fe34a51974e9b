package main

import "fmt"

// products is how a tile multiplies.
//
// With floats, four registers hold a row of sums. A register has four neighbouring values of the
// left operand, and an instruction multiplies by one of them at a time, so nothing is broadcast.
//
// With matrices of bfloat16, an instruction multiplies two rows by two columns, over four values of
// each. A register then holds two sums of one row and, above them, two of the next one. Columns lie
// ready in the right operand (Path.PairDepth is 4). Rows lie anywhere, so each two are brought
// together first: an instruction for every eight that multiply. The sums are brought in order at
// the end.
type products struct {
	name     string
	matrices bool
}

var (
	floats   = products{"", false}
	matrices = products{"Pairs", true}
)

// tile writes the matrix-product tile: rows pixels times four registers of output channels. Every
// row has its own pointer, so a row may lie anywhere.
func (a *assembler) tile(rows int, p products) {
	name := a.name(fmt.Sprintf("tile%s%dx%d", p.name, rows, wide*lanes))
	arguments := general[:11]
	x, in, out, tiles, taps, ntaps := general[0], general[1], general[2], general[3], general[4], general[5]
	inner, weights, y, acc, bf16 := general[6], general[7], general[8], general[9], general[10]
	tap, left, index, b, count := general[11], general[12], general[13], general[14], general[15]
	row := general[16 : 16+rows]
	block := general[22]
	sums, free := vectors(0, rows*wide), vectors(rows*wide, 32-rows*wide)

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
	if p.matrices {
		a.innerMatrices(row, index, b, free, sums)
	} else {
		a.inner(row, index, b, free, sums)
	}
	a.op("ADD", number(vectorBytes), index)
	a.op("ADD", number(4*wide*vectorBytes), b)
	nextInner()
	nextTap()

	for r := range rows {
		a.op("MOVW", place{out, 4 * r}, row[r])
		a.op("ADD", y, row[r])
	}
	of, free := a.rowsOf(sums, free, p)
	a.op("CBNZ", bf16, label("half"))
	a.op("CBZ", acc, label("store"))
	// All rows are read before any is written: see TileArgs.Acc.
	for r := range rows {
		a.addFrom(place{row[r], 0}, of[r], free)
	}
	a.label("store")
	for r := range rows {
		a.store(place{row[r], 0}, of[r]...)
	}
	a.op("JMP", label("stored"))
	a.label("half") // the same in bfloat16
	a.op("CBZ", acc, label("storeHalf"))
	for r := range rows {
		a.loadBFloat16(place{row[r], 0}, free[:wide]...)
		for v, s := range of[r] {
			a.add(free[v], s, s)
		}
	}
	a.label("storeHalf")
	a.roundingBias(free[0])
	for r := range rows {
		a.storeBFloat16(place{row[r], 0}, free[0], free[1], of[r]...)
	}
	a.label("stored")
	a.op("ADD", number(4*rows), in)
	a.op("ADD", number(4*rows), out)
	nextTile()
	a.finish()
}

// inner multiplies 16 bytes of each row's input by the 16 registers of weights for them, and adds
// the products to the sums of the rows. With 24 sums these are 22 loads for 96 multiply-adds. Two
// registers are left for weights, and take turns. free are the registers that hold no sums.
func (a *assembler) inner(row []register, index, b register, free, sums []vector) {
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
			a.multiplyElement(input[r], step/wide, weight[step%2], sums[r*wide+step%wide])
		}
	}
}

// innerMatrices is inner for matrices: 16 bytes of a row are two times four bfloat16.
func (a *assembler) innerMatrices(row []register, index, b register, free, sums []vector) {
	input, spare, other := free[:len(row)], free[len(row)], free[len(row)+1]
	for r := range row {
		a.loadIndexed(row[r], index, input[r])
	}
	var halves [2][]vector // of two rows each
	for r := 0; r < len(row); r += 2 {
		first, second := input[r], input[r+1]
		a.op("VZIP2", second.doubles(), first.doubles(), spare.doubles())
		a.op("VZIP1", second.doubles(), first.doubles(), first.doubles())
		halves[0], halves[1] = append(halves[0], first), append(halves[1], spare)
		spare = second
	}
	for i, rows := range halves {
		a.multiplyColumns(rows, place{b, i * 2 * wide * vectorBytes}, []vector{spare, other}, sums)
	}
}

// multiplyColumns adds the products of pairs of rows by 16 columns, which lie at a place, to sums.
// It loads two registers of columns at a time.
func (a *assembler) multiplyColumns(rows []vector, from place, column, sums []vector) {
	const columns = 2 * wide // registers of them
	for c := 0; c < columns; c += 2 {
		a.load(place{from.base, from.offset + c*vectorBytes}, column...)
		for i, v := range column {
			for r, x := range rows {
				a.multiplyMatrices(x, v, sums[r*columns+c+i])
			}
		}
	}
}

// rowsOf brings sums in the order of rows, and returns the registers of each row and those that
// hold no sums.
func (a *assembler) rowsOf(sums, free []vector, p products) (rows [][]vector, left []vector) {
	if !p.matrices {
		for r := 0; r < len(sums); r += wide {
			rows = append(rows, sums[r:r+wide])
		}
		return rows, free
	}
	spare := free[0]
	for r := 0; r < len(sums); r += 2 * wide {
		first, second := []vector{}, []vector{}
		for c := r; c < r+2*wide; c += 2 {
			x, y := sums[c], sums[c+1]
			a.op("VZIP1", y.doubles(), x.doubles(), spare.doubles())
			a.op("VZIP2", y.doubles(), x.doubles(), y.doubles())
			first, second, spare = append(first, spare), append(second, y), x
		}
		rows = append(rows, first, second)
	}
	return rows, append([]vector{spare}, free[1:]...)
}

// addFrom adds the values in memory to sums. free holds registers to load them into.
func (a *assembler) addFrom(from place, sums, free []vector) {
	a.load(from, free[:len(sums)]...)
	for i, s := range sums {
		a.add(free[i], s, s)
	}
}

// grad writes the weight-gradient tile: four or six rows of input channels times four registers of
// output channels, summed over a list of pixels. It is the same outer product as tile, with pixels
// as the inner dimension. The rows of one pixel lie side by side: they are the left operand's
// columns. With 24 sums nothing waits for a result, be there four multiplying units with a latency
// of five.
func (a *assembler) grad(rows int, p products) {
	name := a.name(fmt.Sprintf("grad%s%dx%d", p.name, rows, wide*lanes))
	arguments := general[:8]
	x, pixels, pairs, dy := general[0], general[1], general[2], general[3]
	dw, stride, acc, tiles := general[4], general[5], general[6], general[7]
	pixel, count, from, to, second := general[8], general[9], general[10], general[11], general[12]
	block := general[22]
	sums, free := vectors(0, rows*wide), vectors(rows*wide, 8)

	a.function(name, fmt.Sprintf("%s is Grad.Run for %d rows and blocks of %d.", name, rows, wide*lanes), "a *uintptr", block)
	a.words(block, 0, arguments)
	if p.matrices {
		a.op("LSR", number(1), pairs) // two entries of the list are four pixels
	}
	nextTile := a.each("tile", tiles)
	a.op("MOVD", pixels, pixel)
	a.op("MOVD", pairs, count)
	a.zero(sums...)
	next := a.each("pixel", count)
	if p.matrices {
		a.op("LDPSW.P", place{pixel, 16}, fmt.Sprintf("(%v, %v)", from, to))
		a.op("MOVW", place{pixel, -8}, second)
		a.op("ADD", x, second)
	} else {
		a.op("LDPSW.P", place{pixel, 8}, fmt.Sprintf("(%v, %v)", from, to))
	}
	a.op("ADD", dy, to)
	a.op("ADD", x, from)
	if p.matrices {
		a.fourPixels(rows, []register{from, second}, to, free, sums)
	} else {
		a.pixel(rows, from, to, free, sums)
	}
	next()

	of, free := a.rowsOf(sums, free, p)
	a.op("CBZ", acc, label("store"))
	a.op("MOVD", dw, to)
	for r := range rows {
		a.addFrom(place{to, 0}, of[r], free)
		a.op("ADD", stride, to)
	}
	a.label("store")
	for r := range rows {
		a.store(place{dw, 0}, of[r]...)
		a.op("ADD", stride, dw)
	}
	a.op("ADD", number(4*rows), x)
	nextTile()
	a.finish()
}

// loadRows loads four or six words: four into the first register, two into the second.
func (a *assembler) loadRows(rows int, from register, to []vector) {
	a.load(place{from, 0}, to[0])
	if rows > lanes {
		a.op("FMOVD", place{from, vectorBytes}, to[1].memory())
	}
}

// pixel adds the products of a pixel's inputs and gradients to sums.
func (a *assembler) pixel(rows int, from, to register, free, sums []vector) {
	input, gradient := free[:2], free[2:2+wide]
	a.loadRows(rows, from, input)
	a.load(place{to, 0}, gradient...)
	for v, g := range gradient {
		for r := range rows {
			a.multiplyElement(input[r/lanes], r%lanes, g, sums[r*wide+v])
		}
	}
}

// fourPixels adds the products of four pixels to sums. Inputs lie in pairs of pixels, at two
// places.
func (a *assembler) fourPixels(rows int, from []register, to register, free, sums []vector) {
	first, second, upper := free[0:2], free[2:4], free[4]
	a.loadRows(rows, from[0], first)
	a.loadRows(rows, from[1], second)
	a.op("VZIP2", second[0], first[0], upper)
	a.op("VZIP1", second[0], first[0], first[0])
	channels := []vector{first[0], upper} // two each
	if rows > lanes {
		a.op("VZIP1", second[1], first[1], first[1])
		channels = append(channels, first[1])
	}
	a.multiplyColumns(channels, place{to, 0}, second, sums)
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
