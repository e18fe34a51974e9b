package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// Winograd's convolutions F(4x4, 3x3). A 3x3 convolution with stride 1 works on tiles of 4x4 outputs: the 6x6 inputs below a tile are
// transformed, place by place multiplied by the transformed weights, which are 36 matrix products over channels, and transformed back. That is a quarter of
// the multiplications, so these run at up to twice the speed that the multiply-adds of a direct convolution allow. The price is rounding, some ten times the
// direct tile's (`moco bench --layers` shows it).
//
// A part of the work is some rows of tiles: their inputs are laid with a border of zeros into the worker's scratch memory, where what comes before the
// convolution (batch norm and ReLU, see input) costs nothing; transformed; multiplied through the same tile as everything else; and transformed back. All of that
// stays in the second-level cache but the transformed weights, which is why a part has many tiles.
type winograd struct {
	engine         *Engine
	images         int
	height, width  int
	tilesY, tilesX int
	in, out        int // channels, padded
	tile           kernel.Tile
	rows           split // of tiles
	pixels         split // the same parts, in pixels
	op             *op   // of the convolution
	// after is called as soon as a part of the outputs is written, while it lies in the cache.
	after func(w *worker, part, split, lo, hi int)
}

// then makes the convolution's operation do f with each part of its output; f reads and writes other buffers too.
func (v *winograd) then(f func(w *worker, part, split, lo, hi int), reads []*buffer, writes ...*buffer) {
	v.after = f
	v.op.reads = append(v.op.reads, reads...)
	v.op.writes = append(v.op.writes, writes...)
}

// places is the number of places of a transformed tile: 6x6.
const places = 36

// plane pads the distance between places: one that is a power of two would put all places of a tile into the same few sets of the cache.
func plane(floats int) int { return floats + lanes }

// winogradTiles is how many tiles one part has about. Every part reads all transformed weights once, and keeps its own 36 places of inputs and
// sums in the second-level cache.
const winogradTiles = 48

// winogradFits reports whether a convolution of in to out channels goes Winograd's way. With as few as 16 channels it is a fifth (weight
// gradient) to two thirds (data gradient) faster than the direct tile; narrower are only images. A small batch does not pay for transforming the weights, and has a second reason to stay
// with the direct tile: the fewer images, the more one ReLU that rounding turns moves a gradient. And tiles that reach beyond the image are work for nothing: of a 2x2 image three quarters.
func (e *Engine) winogradFits(g geometry, in, out int) bool {
	tiled := roundUp(g.outH, 4) * roundUp(g.outW, 4)
	return g.kernel == 3 && float64(tiled) <= e.winograd.waste*float64(g.outH*g.outW) && g.stride == 1 && g.pad == 1 && in%lanes == 0 && g.images >= e.winograd.images
}

// winogradLimits are the least images for which convolutions go Winograd's way, and how many times the image its tiles may be.
type winogradLimits struct {
	images int
	waste  float64
}

// newWinograd is the convolution of images of in channels to out channels, whose batch statistics are taken in splits.
func (e *Engine) newWinograd(images, height, width, in, out, splits int) *winograd {
	v := &winograd{engine: e, images: images, height: height, width: width, tilesY: (height + 3) / 4, tilesX: (width + 3) / 4, in: in, out: out, tile: e.tileFor(out, false)}
	rows := images * v.tilesY / splits
	each := max(1, winogradTiles/v.tilesX)
	parts := (rows + each - 1) / each
	if parts%2 == 1 && parts > 1 && parts < rows { // few parts that are odd leave one of two workers idle at the end
		parts++
	}
	v.rows = newSplit(images*v.tilesY, splits, (rows+parts-1)/parts) // as even as can be
	v.pixels = v.rows
	v.pixels.bounds = nil
	for _, r := range v.rows.bounds {
		v.pixels.bounds = append(v.pixels.bounds, v.pixel(r))
	}
	return v
}

// input is what a convolution reads: activations as they lie in memory or, if affine is not nil, relu((x - mean)*scale + shift) of them, which then is never stored.
type input struct {
	x      *buffer
	affine *affine
}

func (in input) reads() []*buffer {
	if in.affine == nil {
		return []*buffer{in.x}
	}
	return []*buffer{in.x, in.affine.buffer}
}

// pad lays the six rows of inputs below row r of tiles into dst, [6][4*tilesX+2][in], with zeros around the image.
func (v *winograd) pad(dst []float32, from input, r int) {
	image, y0 := r/v.tilesY, r%v.tilesY*4-1
	row, ch := (4*v.tilesX+2)*v.in, v.in
	used := ch + v.width*ch
	for i := range 6 {
		line := dst[i*row : (i+1)*row]
		y := y0 + i
		if y < 0 || y >= v.height {
			clear(line)
			continue
		}
		clear(line[:ch])
		clear(line[used:])
		src := (image*v.height + y) * v.width * ch
		inside := line[ch:used]
		x := kernel.Float32s(inside)
		switch {
		case from.x.half:
			v.engine.path.Widen(inside, from.x.h[src:src+len(inside)])
		case from.affine == nil:
			copy(inside, from.x.f[src:])
		default:
			x = from.x.values(src, src+len(inside))
		}
		if from.affine != nil {
			mean, scale, shift := from.affine.of(image * from.affine.splits / v.images)
			v.engine.path.Normalise(kernel.Float32s(inside), x, kernel.Values{}, ch, mean, scale, shift, true)
		}
	}
}

// paddedFloats is the room that pad needs.
func (v *winograd) paddedFloats() int { return 6 * (4*v.tilesX + 2) * v.in }

// transformWeights makes a phase that writes [36][out/block][in][block] from packed weights; turned ones (for the data gradient) are read from the last tap to the first.
func (v *winograd) transformWeights(from, to *buffer, turned bool) phase {
	const each = 128 // groups of a part: some 50 KB of results
	block := v.tile.Block
	panel := v.in * block
	groups := panel / lanes
	pieces := (groups + each - 1) / each
	place := plane(v.in * v.out)
	return phase{v.out / block * pieces, func(w *worker, part int) {
		b, g := part/pieces, part%pieces*each
		a := &w.transform
		tap := int64(4 * panel)
		first := b * 9 * panel
		a.SrcCol = tap
		if turned {
			first += 8 * panel
			a.SrcCol = -tap
		}
		a.SrcRow, a.SrcStep = 3*a.SrcCol, 4*lanes
		a.Src = at(from.f, first+g*lanes)
		a.Dst = at(to.f, b*panel+g*lanes)
		a.DstRow, a.DstCol, a.DstStep = int64(6*4*place), int64(4*place), 4*lanes
		a.N = int64(min(each, groups-g))
		v.engine.path.Winograd.Weights(a)
	}}
}

// weightFloats is the room of transformed weights.
func (v *winograd) weightFloats() int { return places * plane(v.in*v.out) }

// convolve makes the phase of y = from by weights, plus what lies in add unless that is nil.
func (v *winograd) convolve(from input, weights, y, add *buffer) phase {
	most := 0
	lists := map[int]tileLists{}
	for part := range len(v.rows.bounds) - 1 {
		rows := v.rows.rows(part)
		most = max(most, rows)
		if _, ok := lists[rows]; !ok {
			lists[rows] = v.lists(rows * v.tilesX)
		}
	}
	n := roundUp(most*v.tilesX, v.tile.Rows)
	inPlace, outPlace := plane(n*v.in), plane(n*v.out)
	// tiles go straight to their place unless they reach beyond the image, or something is to be added
	direct := add == nil && !y.half && v.width%4 == 0 && v.height%4 == 0
	lineOut := 4 * v.tilesX * v.out
	if direct {
		lineOut = v.width * v.out
	}
	block := v.tile.Block
	weightPlace := plane(v.in * v.out)
	taps := []int64{0, 0}
	return v.rows.phase(func(w *worker, part, split, lo, hi int) {
		scratch := w.floats(v.paddedFloats() + places*(inPlace+outPlace) + 5*lineOut)
		padded, scratch := scratch[:v.paddedFloats()], scratch[v.paddedFloats():]
		inputs, scratch := scratch[:places*inPlace], scratch[places*inPlace:]
		sums, edge := scratch[:places*outPlace], scratch[places*outPlace:]

		for r := lo; r < hi; r++ {
			v.pad(padded, from, r)
			v.transformInputs(w, padded, at(inputs, (r-lo)*v.tilesX*v.in), v.in, inPlace, lanes)
		}

		list := lists[hi-lo]
		t := &w.tile
		*t = kernel.TileArgs{In: &list.in[0], Out: &list.out[0], Tiles: int64(len(list.in) / v.tile.Rows), Taps: &taps[0], NTaps: 1, K: int64(v.in / 4)}
		for p := range places {
			t.X = at(inputs, p*inPlace)
			for b := range v.out / block {
				t.B = at(weights.f, p*weightPlace+b*v.in*block)
				t.Y = at(sums, p*outPlace+b*block)
				v.tile.Run(t)
			}
		}

		a := &w.transform
		a.SrcRow, a.SrcCol, a.SrcStep = int64(6*4*outPlace), int64(4*outPlace), 4*lanes
		a.DstRow, a.DstCol, a.DstStep = int64(4*lineOut), int64(4*v.out), 4*lanes
		a.N = int64(v.out / lanes)
		for r := lo; r < hi; r++ {
			to, first := edge, (r/v.tilesY*v.height+r%v.tilesY*4)*v.width*v.out
			if direct {
				to = y.f[first:]
			}
			for x := range v.tilesX {
				a.Src = at(sums, ((r-lo)*v.tilesX+x)*v.out)
				a.Dst = at(to, 4*x*v.out)
				v.engine.path.Winograd.Output(a)
			}
			if direct {
				continue
			}
			for i := range min(4, v.height-r%v.tilesY*4) {
				lo, n := first+i*v.width*v.out, v.width*v.out
				v.store(y, add, lo, edge[i*lineOut:i*lineOut+n], edge[4*lineOut:])
			}
		}
		if v.after != nil {
			v.after(w, part, split, v.pixels.bounds[part], v.pixels.bounds[part+1])
		}
	})
}

// store writes a line of outputs at value lo of y, plus what lies there in add; both may be overwritten: line and the scratch memory.
func (v *winograd) store(y, add *buffer, lo int, line, scratch []float32) {
	hi := lo + len(line)
	if add != nil {
		other := scratch[:len(line)]
		if add.half {
			v.engine.path.Widen(other, add.h[lo:hi])
		} else {
			other = add.f[lo:hi]
		}
		v.engine.path.WeightedSum(line, 1, other, 1, line, 0, nil)
	}
	if y.half {
		v.engine.path.Narrow(y.h[lo:hi], line)
		return
	}
	copy(y.f[lo:hi], line)
}

// pixel is the first pixel, counted over the batch, of row r of tiles.
func (v *winograd) pixel(r int) int { return (r/v.tilesY*v.height + r%v.tilesY*4) * v.width }

// transformInputs transforms the tiles of a padded row. A tile's channels go to dst in groups of 16, `step` floats from group to group; the next tile's
// are `next` floats further.
func (v *winograd) transformInputs(w *worker, padded []float32, dst unsafe.Pointer, next, place, step int) {
	a := &w.transform
	a.SrcRow, a.SrcCol, a.SrcStep = int64(4*(4*v.tilesX+2)*v.in), int64(4*v.in), 4*lanes
	a.DstRow, a.DstCol, a.DstStep = int64(6*4*place), int64(4*place), int64(4*step)
	a.N = int64(v.in / lanes)
	for x := range v.tilesX {
		a.Src = at(padded, 4*x*v.in)
		a.Dst = unsafe.Add(dst, 4*x*next)
		v.engine.path.Winograd.Input(a)
	}
}

// tileLists are the rows of the matrix products.
type tileLists struct{ in, out []int32 }

func (v *winograd) lists(tiles int) (l tileLists) {
	for i := range roundUp(tiles, v.tile.Rows) {
		i = min(i, tiles-1)
		l.in = append(l.in, int32(4*i*v.in))
		l.out = append(l.out, int32(4*i*v.out))
	}
	return l
}

// winogradGradTiles is how many tiles the weight gradient transforms before it multiplies them: their inputs and gradients, 36 places of each, pass through memory
// shared by the workers, which should be the second-level cache.
const winogradGradTiles = 256

// winogradGradEach is how many tiles one call of the gradient's kernel sums over: their gradients (32 KB at blocks of 64) stay in the first-level cache.
const winogradGradEach = 128

// winogradFor is Winograd's way of a convolution's node, or of one of its gradients, from in to out channels; nil if it is not worth it.
func (c *compiler) winogradFor(n *graph.Node, g geometry, in, out int) *winograd {
	if !c.engine.winogradFits(g, in, out) {
		return nil
	}
	splits := 1 // of the batch norm behind it
	for _, u := range c.users[n] {
		if u.Op == graph.BatchVariance {
			splits = u.Shape[0]
		}
	}
	return c.engine.newWinograd(g.images, g.height, g.width, in, out, splits)
}

// winogradConv emits y = from by packed weights, plus what lies in add unless that is nil. Turned weights are read backwards, for the data gradient;
func (c *compiler) winogradConv(n *graph.Node, label string, cost graph.Cost, v *winograd, from input, weights, y, add *buffer, turned bool) {
	u := &buffer{words: v.weightFloats()}
	o := &op{node: n, label: label + " (Winograd)", cost: cost, reads: append(from.reads(), weights), writes: []*buffer{y, u}}
	if add != nil {
		o.label = label + "+Add (Winograd)"
		o.reads = append(o.reads, add)
		o.reuse = []*buffer{add}
	}
	o.phases = []phase{v.transformWeights(weights, u, turned), v.convolve(from, u, y, add)}
	v.op = o
	c.winograds[n] = v
	c.emit(o)
}

// winogradGradWeight emits the weight gradient: the transformed inputs times the transformed gradients of the outputs, summed over tiles.
func (c *compiler) winogradGradWeight(n *graph.Node, v *winograd, from input, dy, dw *buffer) {
	p := c.engine.packingOf(n.Shape)
	grads := gradsFor(c.engine.path.Grads, p.block, lanes)
	path := c.engine.path
	rows := max(1, winogradGradTiles/v.tilesX) // of tiles at a time
	total := v.images * v.tilesY
	pieces := (total + rows - 1) / rows
	rows = (total + pieces - 1) / pieces
	tiles := rows * v.tilesX
	groups, blocks := v.in/lanes, v.out/p.block
	inPlace, outPlace, sumPlace := plane(tiles*v.in), plane(tiles*v.out), plane(v.in*v.out)
	inputs, gradients, sums := &buffer{words: places * inPlace}, &buffer{words: places * outPlace}, &buffer{words: places * sumPlace}
	o := &op{node: n, label: "ConvGradWeight (Winograd)", cost: n.Cost(), reads: append(from.reads(), dy), writes: []*buffer{dw, inputs, gradients, sums}}

	var pixels []int32
	for i := range winogradGradEach {
		pixels = append(pixels, int32(4*i*lanes), int32(4*i*p.block))
	}
	line := (4 * v.tilesX) * v.out
	for first := 0; first < total; first += rows {
		last := min(first+rows, total)
		o.phases = append(o.phases, phase{2 * (last - first), func(w *worker, part int) {
			r := first + part/2
			tile := (r - first) * v.tilesX
			if part%2 == 0 {
				padded := w.floats(v.paddedFloats())
				v.pad(padded, from, r)
				v.transformInputs(w, padded, at(inputs.f, tile*lanes), lanes, inPlace, tiles*lanes)
				return
			}
			var src []float32
			srcLine := line
			if whole := v.width%4 == 0 && v.height%4 == 0; whole && !dy.half {
				src = dy.f[v.pixel(r)*v.out:]
			} else {
				src = w.floats(4 * line)
				if !whole {
					clear(src) // gradients of outputs that do not exist
				}
				for i := range min(4, v.height-r%v.tilesY*4) {
					lo, n := (v.pixel(r)+i*v.width)*v.out, v.width*v.out
					if dy.half {
						path.Widen(src[i*line:i*line+n], dy.h[lo:lo+n])
					} else {
						copy(src[i*line:i*line+n], dy.f[lo:])
					}
				}
			}
			a := &w.transform
			a.SrcRow, a.SrcCol, a.SrcStep = int64(4*srcLine), int64(4*v.out), 4*lanes
			a.DstRow, a.DstCol, a.DstStep = int64(6*4*outPlace), int64(4*outPlace), 4*lanes
			a.N = int64(p.block / lanes)
			for x := range v.tilesX {
				for b := range blocks {
					a.Src = at(src, 4*x*v.out+b*p.block)
					a.Dst = at(gradients.f, (b*tiles+tile+x)*p.block)
					path.Winograd.OutputGrad(a)
				}
			}
		}})
		o.phases = append(o.phases, phase{places * blocks, func(w *worker, part int) {
			place, b := part/blocks, part%blocks
			a := &w.grad
			a.RowStride = int64(4 * p.block)
			a.Pixels = &pixels[0]
			count := (last - first) * v.tilesX
			for t := 0; t < count; t += winogradGradEach {
				a.N = int64(min(winogradGradEach, count-t))
				a.DY = at(gradients.f, place*outPlace+(b*tiles+t)*p.block)
				a.Acc = 1
				if first+t == 0 {
					a.Acc = 0
				}
				for g := range groups {
					a.X = at(inputs.f, place*inPlace+(g*tiles+t)*lanes)
					a.DW = at(sums.f, place*sumPlace+(b*v.in+g*lanes)*p.block)
					runGrads(grads, a)
				}
			}
		}})
	}
	const each = 128
	panel := v.in * p.block
	perBlock := (panel/lanes + each - 1) / each
	o.phases = append(o.phases, phase{blocks * perBlock, func(w *worker, part int) {
		b, g := part/perBlock, part%perBlock*each
		a := &w.transform
		a.Src = at(sums.f, b*panel+g*lanes)
		a.SrcRow, a.SrcCol, a.SrcStep = int64(6*4*sumPlace), int64(4*sumPlace), 4*lanes
		a.Dst = at(dw.f, b*9*panel+g*lanes)
		a.DstRow, a.DstCol, a.DstStep = int64(3*4*panel), int64(4*panel), 4*lanes
		a.N = int64(min(each, panel/lanes-g))
		path.Winograd.WeightsGrad(a)
	}})
	c.emit(o)
}
