package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
)

// winogradGrad is a weight gradient by Winograd's way: the transformed inputs times the transformed
// gradients of the outputs, summed over tiles and transformed back. In its convolution, y is the
// gradient of the outputs.
//
// A part is up to winogradGradIn input channels times a group of blocks of outputs, over some rows of
// tiles. Their sums of 36 places lie in the worker's scratch memory, beside the transformed inputs, and
// the transformed gradients of one block, of as many tiles as winogradGradCache bytes hold. So workers
// share nothing but what they read. A block is narrow on AVX2, 16 outputs, and transforming inputs
// for each took longer than multiplying; hence the groups. Wider convolutions still transform their
// inputs once for each group and their gradients once for each range of inputs.
type winogradGrad struct {
	*winograd
	sums           partialSums
	wide, block    int // input channels and outputs of a part
	ranges, blocks int
	group          int // blocks for which inputs are transformed once
	total          int // rows of tiles
	each           int // rows of tiles at a time
	splits         int // ranges of rows of tiles
	inPlace        int // from place to place of the transformed inputs, in floats
	outPlace       int
	sumPlace       int
	runs           []gradRun
	tiles          []int32 // where the transforms of a tile lie, for the kernel
}

const (
	winogradGradIn    = 64
	winogradGradCache = 448 << 10
)

// newWinogradGrad plans a weight gradient.
func (e *Engine) newWinogradGrad(v *convolution, dw *buffer, o *op) *winogradGrad {
	g := &winogradGrad{winograd: e.newWinograd(v)}
	g.wide, g.block = lanes*largestDivisor(v.in/lanes, winogradGradIn/lanes), v.packing.block
	g.ranges, g.blocks = v.in/g.wide, v.out/g.block
	g.total = v.images * g.tilesY
	g.each = min(g.total, max(1, winogradGradCache/(4*places*(g.wide+g.block))/g.tilesX))
	parts := g.ranges * g.blocks
	g.splits = min((gradItems+parts-1)/parts, (g.total+g.each-1)/g.each)
	g.inPlace, g.outPlace = plane(g.each*g.tilesX*g.wide), plane(g.each*g.tilesX*g.block)
	g.sumPlace = plane(g.wide * g.block)
	g.group = g.blocksTogether(e.cache, e.Workers())
	g.sums = newPartialSums(o, dw, g.splits)
	g.runs = gradsFor(e.path.Grads, g.block, g.wide)
	for i := range g.each * g.tilesX {
		g.tiles = append(g.tiles, int32(4*i*g.wide), int32(4*i*g.block))
	}
	keeps(o, g.tiles)
	o.needs(g.scratch())
	return g
}

// blocksTogether is for how many blocks of outputs inputs are transformed once: as many as have their
// sums in a cache of so many bytes, if that leaves three parts for each worker. No sum depends on it.
func (g *winogradGrad) blocksTogether(cache, workers int) int {
	return largestDivisor(g.blocks, min(cache/(4*places*g.sumPlace), g.ranges*g.blocks*g.splits/(3*workers)))
}

// scratch is the floats that a part needs.
func (g *winogradGrad) scratch() int {
	laid := max(g.paddedFloats(g.wide), 4*plane(4*g.tilesX*g.block))
	return places*(g.inPlace+g.outPlace+g.group*g.sumPlace) + laid
}

// emit makes the phases: lay out and multiply, then reduce.
func (g *winogradGrad) emit(o *op) {
	groups := g.blocks / g.group
	o.then(phase{g.ranges * groups * g.splits, func(w *worker, part int) {
		s, b, first := part/(g.ranges*groups), part/g.ranges%groups*g.group, part%g.ranges*g.wide
		r := g.divide(w.floats(g.scratch()))
		lo, hi := g.total*s/g.splits, g.total*(s+1)/g.splits
		for r0 := lo; r0 < hi; r0 += g.each {
			g.multiply(w, r, gradTiles{r0, min(r0+g.each, hi), r0 > lo}, b, first)
		}
		for i := range g.group {
			g.transformBack(w, r.sums[i*places*g.sumPlace:], g.sums.of(s), b+i, first)
		}
	}})
	o.then(g.sums.reduce(g.path)...)
}

// winogradGradRoom is a worker's scratch memory, divided.
type winogradGradRoom struct{ inputs, gradients, sums, laid []float32 }

func (g *winogradGrad) divide(scratch []float32) (r winogradGradRoom) {
	for _, piece := range []struct {
		to     *[]float32
		floats int
	}{
		{&r.inputs, places * g.inPlace}, {&r.gradients, places * g.outPlace}, {&r.sums, places * g.group * g.sumPlace},
	} {
		*piece.to, scratch = scratch[:piece.floats], scratch[piece.floats:]
	}
	r.laid = scratch
	return r
}

// gradTiles is rows lo to hi of tiles, whose products are added to sums or are the first of them.
type gradTiles struct {
	lo, hi int
	add    bool
}

// multiply adds the products of some tiles to the sums of a group of blocks, from b on, and of a range
// of input channels, from first on.
func (g *winogradGrad) multiply(w *worker, room winogradGradRoom, rows gradTiles, b, first int) {
	for r := rows.lo; r < rows.hi; r++ {
		g.pad(room.laid, r, first, g.wide)
		g.transformInputs(w, room.laid, at(room.inputs, (r-rows.lo)*g.tilesX*g.wide), g.wide, g.inPlace)
	}
	for i := range g.group {
		for r := rows.lo; r < rows.hi; r++ {
			g.transformGradients(w, room.laid, r, (b+i)*g.block, at(room.gradients, (r-rows.lo)*g.tilesX*g.block))
		}
		a := &w.grad
		*a = kernel.GradArgs{
			Pixels: &g.tiles[0], N: int64((rows.hi - rows.lo) * g.tilesX), RowStride: int64(4 * g.block),
		}
		if rows.add {
			a.Acc = 1
		}
		for place := range places {
			a.X, a.DY = at(room.inputs, place*g.inPlace), at(room.gradients, place*g.outPlace)
			a.DW = at(room.sums, (i*places+place)*g.sumPlace)
			runGrads(g.runs, a)
		}
	}
}

// transformBack transforms sums to the weights of output block b, input channels from first on.
func (g *winogradGrad) transformBack(w *worker, sums, dw []float32, b, first int) {
	panel := g.in * g.block
	a := &w.transform
	a.Src = at(sums, 0)
	a.SrcRow, a.SrcCol, a.SrcStep = int64(6*4*g.sumPlace), int64(4*g.sumPlace), 4*lanes
	a.Dst = at(dw, b*9*panel+first*g.block)
	a.DstRow, a.DstCol, a.DstStep = int64(3*4*panel), int64(4*panel), 4*lanes
	a.N = int64(g.wide * g.block / lanes)
	g.path.Winograd.WeightsGrad(a)
}

// transformGradients transforms the tiles of row r of a block of the gradients' channels, from
// first on; laid is room for them.
func (g *winogradGrad) transformGradients(w *worker, laid []float32, r, first int, dst unsafe.Pointer) {
	a, dy, ch := &w.transform, g.y, g.block
	pitch := plane(4 * g.tilesX * ch)
	a.SrcRow, a.SrcCol = int64(4*pitch), int64(4*ch)
	whole := g.width%4 == 0 && g.height%4 == 0
	src := laid[:4*pitch]
	if whole && dy.element == float32s {
		src = dy.f32[g.pixel(r)*g.out+first:]
		a.SrcRow, a.SrcCol = int64(4*g.width*g.out), int64(4*g.out)
	} else {
		if !whole {
			clear(src) // gradients of outputs that do not exist
		}
		for i := range min(4, g.height-r%g.tilesY*4) {
			g.lay(src[i*pitch:i*pitch+g.width*ch], dy, line{g.pixel(r) + i*g.width, g.out, first, ch})
		}
	}
	a.SrcStep = 4 * lanes
	a.DstRow, a.DstCol, a.DstStep = int64(6*4*g.outPlace), int64(4*g.outPlace), 4*lanes
	a.N = int64(ch / lanes)
	step := int(a.SrcCol) // in floats: four columns
	for x := range g.tilesX {
		a.Src = at(src, x*step)
		a.Dst = unsafe.Add(dst, 4*x*ch)
		g.path.Winograd.OutputGrad(a)
	}
}
