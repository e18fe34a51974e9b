package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// A part of a weight gradient is up to winogradGradIn input channels times one block of outputs, over some rows of tiles: their sums of 36 places lie in the worker's scratch
// memory, beside the transformed inputs and gradients of as many tiles as winogradGradCache bytes hold. So all of it stays in the second-level cache, and workers share nothing but
// what they read. Wider convolutions transform their inputs once for each block and their gradients once for each range of inputs: an eighth of the products' time.
const (
	winogradGradIn    = 64
	winogradGradCache = 448 << 10
)

// winogradGradWeight emits the weight gradient: the transformed inputs times the transformed gradients of the outputs, summed over tiles and transformed back.
func (c *compiler) winogradGradWeight(n *graph.Node, v *winograd, from input, dy, dw *buffer) {
	p := c.engine.packingOf(n.Shape)
	width, block := lanes*largestDivisor(v.in/lanes, winogradGradIn/lanes), p.block
	ranges, blocks := v.in/width, v.out/block
	rows := max(1, winogradGradCache/(4*places*(width+block))/v.tilesX) // of tiles at a time
	total := v.images * v.tilesY
	rows = min(rows, total)
	splits := min((gradItems+ranges*blocks-1)/(ranges*blocks), (total+rows-1)/rows)
	inPlace, outPlace, sumPlace := plane(rows*v.tilesX*width), plane(rows*v.tilesX*block), plane(width*block)
	o := &op{node: n, label: "ConvGradWeight (Winograd)", cost: n.Cost(), reads: append(from.reads(), dy), writes: []*buffer{dw}}
	partial := c.partialSums(o, dw, splits)

	grads := gradsFor(c.engine.path.Grads, block, width)
	var pixels []int32
	for i := range rows * v.tilesX {
		pixels = append(pixels, int32(4*i*width), int32(4*i*block))
	}
	panel := v.in * block
	o.phases = append(o.phases, phase{ranges * blocks * splits, func(w *worker, part int) {
		s, b, first := part/(ranges*blocks), part/ranges%blocks, part%ranges*width
		scratch := w.floats(places*(inPlace+outPlace+sumPlace) + max(v.paddedFloats(width), 4*plane(4*v.tilesX*block)))
		inputs, scratch := scratch[:places*inPlace], scratch[places*inPlace:]
		gradients, scratch := scratch[:places*outPlace], scratch[places*outPlace:]
		sums, laid := scratch[:places*sumPlace], scratch[places*sumPlace:]
		lo, hi := total*s/splits, total*(s+1)/splits
		for r0 := lo; r0 < hi; r0 += rows {
			r1 := min(r0+rows, hi)
			for r := r0; r < r1; r++ {
				tile := (r - r0) * v.tilesX
				v.pad(laid, from, r, first, width)
				v.transformInputs(w, laid, at(inputs, tile*width), width, inPlace)
				v.transformGradients(w, laid, dy, r, b*block, at(gradients, tile*block), block, outPlace)
			}
			a := &w.grad
			*a = kernel.GradArgs{Pixels: &pixels[0], N: int64((r1 - r0) * v.tilesX), RowStride: int64(4 * block)}
			if r0 > lo {
				a.Acc = 1
			}
			for place := range places {
				a.X, a.DY, a.DW = at(inputs, place*inPlace), at(gradients, place*outPlace), at(sums, place*sumPlace)
				runGrads(grads, a)
			}
		}
		a := &w.transform
		a.Src = at(sums, 0)
		a.SrcRow, a.SrcCol, a.SrcStep = int64(6*4*sumPlace), int64(4*sumPlace), 4*lanes
		a.Dst = at(partial(s), b*9*panel+first*block)
		a.DstRow, a.DstCol, a.DstStep = int64(3*4*panel), int64(4*panel), 4*lanes
		a.N = int64(width * block / lanes)
		c.engine.path.Winograd.WeightsGrad(a)
	}})
	c.addPartialSums(o, dw, partial, splits)
	c.emit(o)
}

// transformGradients transforms the tiles of row r of the gradients' channels first .. first+ch; laid is room for them.
func (v *winograd) transformGradients(w *worker, laid []float32, dy *buffer, r, first int, dst unsafe.Pointer, ch, place int) {
	a := &w.transform
	line := plane(4 * v.tilesX * ch)
	a.SrcRow, a.SrcCol = int64(4*line), int64(4*ch)
	whole := v.width%4 == 0 && v.height%4 == 0
	src := laid[:4*line]
	switch {
	case whole && !dy.half:
		src = dy.f[v.pixel(r)*v.out+first:]
		a.SrcRow, a.SrcCol = int64(4*v.width*v.out), int64(4*v.out)
	case !whole:
		clear(src) // gradients of outputs that do not exist
		fallthrough
	default:
		for i := range min(4, v.height-r%v.tilesY*4) {
			v.lay(src[i*line:i*line+v.width*ch], dy, v.pixel(r)+i*v.width, v.out, first, ch)
		}
	}
	a.SrcStep = 4 * lanes
	a.DstRow, a.DstCol, a.DstStep = int64(6*4*place), int64(4*place), 4*lanes
	a.N = int64(ch / lanes)
	step := int(a.SrcCol) // in floats: four columns
	for x := range v.tilesX {
		a.Src = at(src, x*step)
		a.Dst = unsafe.Add(dst, 4*x*ch)
		v.engine.path.Winograd.OutputGrad(a)
	}
}
