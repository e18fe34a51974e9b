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
	parted
	engine         *Engine
	images         int
	height, width  int
	tilesY, tilesX int
	in, out        int // channels, padded
	tile           kernel.Tile
	rows           split           // of tiles: the parts
	starts         map[int][]int32 // of the pixels of a line, by their channels
}

// places is the number of places of a transformed tile: 6x6.
const places = 36

// plane pads the distance between places: one that is a power of two would put all places of a tile into the same few sets of the cache.
func plane(floats int) int { return floats + lanes }

// winogradTiles is how many tiles one part has about. Every part reads all transformed weights once, and keeps its own 36 places of inputs and
// sums in the second-level cache.
const winogradTiles = 48

// winogradFits reports whether a convolution of in to out channels goes Winograd's way. With as few as 16 channels it is
// faster than the direct tile in all but bfloat16's forward pass, where it is level (docs/performance.md); narrower are only images. A small batch does not pay for transforming the weights, and has a second reason to stay
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
	v.starts = map[int][]int32{in: nil, out: nil}
	for channels := range v.starts {
		for x := range width {
			v.starts[channels] = append(v.starts[channels], int32(x*channels))
		}
	}
	v.rows = evenSplit(images*v.tilesY, splits, max(1, winogradTiles/v.tilesX))
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

// pad lays channels first .. first+ch of the six rows of inputs below row r of tiles into dst, [6][4*tilesX+2][ch], with zeros around the image.
func (v *winograd) pad(dst []float32, from input, r, first, ch int) {
	image, y0 := r/v.tilesY, r%v.tilesY*4-1
	row := (4*v.tilesX + 2) * ch
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
		pixel := (image*v.height + y) * v.width
		inside := line[ch:used]
		x := kernel.Float32s(inside)
		if from.affine != nil && !from.x.half && ch == v.in {
			x = from.x.values(pixel*ch, pixel*ch+len(inside))
		} else {
			v.lay(inside, from.x, pixel, v.in, first, ch)
		}
		if from.affine != nil {
			mean, scale, shift := from.affine.of(image * from.affine.splits / v.images)
			v.engine.path.Normalise(kernel.Float32s(inside), x, kernel.Values{}, ch, mean[first:first+ch], scale[first:first+ch], shift[first:first+ch], true)
		}
	}
}

// lay copies channels first .. first+width of a line of the image, from a pixel on, as float32. The pixels have `channels` channels.
func (v *winograd) lay(dst []float32, b *buffer, pixel, channels, first, width int) {
	from := pixel*channels + first
	switch {
	case width == channels && b.half:
		v.engine.path.Widen(dst, b.h[from:from+len(dst)])
	case width == channels:
		copy(dst, b.f[from:])
	case b.half:
		starts := v.starts[channels]
		v.engine.path.Gather(dst, width, b.values(from, from+int(starts[len(starts)-1])+width), starts, width)
	default:
		for ; len(dst) > 0; dst, from = dst[width:], from+channels {
			copy(dst[:width], b.f[from:])
		}
	}
}

// paddedFloats is the room that pad needs for ch channels.
func (v *winograd) paddedFloats(ch int) int { return 6 * (4*v.tilesX + 2) * ch }

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
			lists[rows] = newTileLists(rows*v.tilesX, v.tile.Rows, 4*v.in, 4*v.out)
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
		scratch := w.floats(v.paddedFloats(v.in) + places*(inPlace+outPlace) + 5*lineOut)
		padded, scratch := scratch[:v.paddedFloats(v.in)], scratch[v.paddedFloats(v.in):]
		inputs, scratch := scratch[:places*inPlace], scratch[places*inPlace:]
		sums, edge := scratch[:places*outPlace], scratch[places*outPlace:]

		for r := lo; r < hi; r++ {
			v.pad(padded, from, r, 0, v.in)
			v.transformInputs(w, padded, at(inputs, (r-lo)*v.tilesX*v.in), v.in, inPlace)
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
		v.finish(w, part, split)
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

// transformInputs transforms the tiles of a padded row of ch channels. dst gets each place's tiles side by side, `place` floats from place to place.
func (v *winograd) transformInputs(w *worker, padded []float32, dst unsafe.Pointer, ch, place int) {
	a := &w.transform
	a.SrcRow, a.SrcCol, a.SrcStep = int64(4*(4*v.tilesX+2)*ch), int64(4*ch), 4*lanes
	a.DstRow, a.DstCol, a.DstStep = int64(6*4*place), int64(4*place), 4*lanes
	a.N = int64(ch / lanes)
	for x := range v.tilesX {
		a.Src = at(padded, 4*x*ch)
		a.Dst = unsafe.Add(dst, 4*x*ch)
		v.engine.path.Winograd.Input(a)
	}
}

// winogradFor is Winograd's way of a convolution's node, or of one of its gradients, from in to out channels; nil if it is not worth it.
func (c *compiler) winogradFor(n *graph.Node, g geometry, in, out int) *winograd {
	if !c.engine.winogradFits(g, in, out) {
		return nil
	}
	return c.engine.newWinograd(g.images, g.height, g.width, in, out, c.splitsBehind(n))
}

// winogradConv emits y = from by packed weights, plus what lies in add unless that is nil. Turned weights are read backwards, for the data gradient.
func (c *compiler) winogradConv(n *graph.Node, label string, cost graph.Cost, v *winograd, from input, weights, y, add *buffer, turned bool) {
	u := &buffer{words: v.weightFloats()}
	o := &op{node: n, label: label + " (Winograd)", cost: cost, reads: append(from.reads(), weights), writes: []*buffer{y, u}}
	if add != nil {
		o.label = label + "+Add (Winograd)"
		o.reads = append(o.reads, add)
		o.reuse = []*buffer{add}
	}
	o.phases = []phase{v.transformWeights(weights, u, turned), v.convolve(from, u, y, add)}
	c.emitParted(o, &v.parted)
}
