package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
)

// winograd is a convolution F(4x4, 3x3), a data gradient or a weight gradient of one. A 3x3
// convolution with stride 1 works on tiles of 4x4 outputs: the 6x6 inputs below a tile are
// transformed, place by place multiplied by the transformed weights, which are 36 matrix products
// over channels, and transformed back. That is a quarter of the multiplications, so these run at up
// to twice the speed that the multiply-adds of a direct convolution allow. The price is rounding,
// some ten times the direct tile's (`moco bench --layers` shows it).
//
// A part of the work is some rows of tiles. Their inputs are laid with a border of zeros into the
// worker's scratch memory, where a batch norm and a ReLU before the convolution cost nothing. They
// are transformed; multiplied through the same tile as everything else; and transformed back. All
// of that stays in the second-level cache but the transformed weights. So a part has many tiles.
type winograd struct {
	*convolution
	path           *kernel.Path
	tilesY, tilesX int
	tile           kernel.Tile
	rows           split           // of tiles: the parts
	starts         map[int][]int32 // of the pixels of a line, by their channels
	room           winogradRoom
	lists          map[int]tileLists // by the rows of tiles of a part
}

// winogradRoom says how a worker's scratch memory is divided, in floats.
type winogradRoom struct {
	padded            int // inputs with their border
	inPlace, outPlace int // from place to place of the transformed inputs and sums
	line              int // four lines of outputs, and one more
}

// places is the number of places of a transformed tile: 6x6.
const places = 36

// plane pads the distance between places: a power of two would put all places of a tile into the
// same few sets of the cache.
func plane(floats int) int { return floats + lanes }

// winogradTiles is how many tiles one part has about. Every part reads all transformed weights
// once, and keeps its own 36 places of inputs and sums in the second-level cache.
const winogradTiles = 48

// winogradLimits are the least images for which convolutions go Winograd's way, and how many times
// the image its tiles may be.
type winogradLimits struct {
	images int
	waste  float64
}

// winogradFits reports whether a convolution of in channels goes Winograd's way.
//
// With as few as 16 channels it is faster than the direct tile in all but bfloat16's forward pass,
// where it is level (docs/performance.md). Only the input image has fewer. A small batch does not
// pay for transforming the weights. It has a second reason to stay with the direct tile: the fewer
// images, the more one ReLU that rounding turns moves a gradient. And tiles that reach beyond the
// image are work for nothing: of a 2x2 image three quarters.
func (e *Engine) winogradFits(g geometry, in int) bool {
	tiled := roundUp(g.outH, 4) * roundUp(g.outW, 4)
	return g.kernel == 3 && g.stride == 1 && g.pad == 1 && in%lanes == 0 && g.images >= e.winograd.images &&
		float64(tiled) <= e.winograd.waste*float64(g.outH*g.outW)
}

// winogradRows cuts a batch's rows of tiles.
func winogradRows(v *convolution, splits int) split {
	tilesY, tilesX := (v.height+3)/4, (v.width+3)/4
	return evenSplit(v.images*tilesY, splits, max(1, winogradTiles/tilesX))
}

// winogradPixels is the cut of the rows of tiles in pixels.
func winogradPixels(v *convolution, splits int) split {
	s := winogradRows(v, splits)
	tilesY := (v.height + 3) / 4
	pixels := s
	pixels.bounds = nil
	for _, r := range s.bounds {
		pixels.bounds = append(pixels.bounds, (r/tilesY*v.height+r%tilesY*4)*v.width)
	}
	return pixels
}

// newWinograd plans a convolution.
func (e *Engine) newWinograd(v *convolution) *winograd {
	g := &winograd{
		convolution: v, path: e.path, tilesY: (v.height + 3) / 4, tilesX: (v.width + 3) / 4,
		tile: e.tileFor(v.out, false), starts: map[int][]int32{v.in: nil, v.out: nil},
	}
	for channels := range g.starts {
		for x := range v.width {
			g.starts[channels] = append(g.starts[channels], int32(x*channels))
		}
	}
	return g
}

// emit makes the phases of y = x by weights, plus what is to be added.
func (g *winograd) emit(v *convolution, o *op) {
	g.rows = winogradRows(v, v.pixels.splits)
	g.lists = map[int]tileLists{}
	most := 0
	for part := range g.rows.all() {
		n := g.rows.rows(part)
		if most = max(most, n); g.lists[n].in == nil {
			g.lists[n] = newTileLists(n*g.tilesX, g.tile.Rows, 4*v.in, 4*v.out)
			g.lists[n].count(o)
		}
	}
	n := roundUp(most*g.tilesX, g.tile.Rows)
	r := &g.room
	r.padded, r.inPlace, r.outPlace = g.paddedFloats(v.in), plane(n*v.in), plane(n*v.out)
	r.line = 4 * g.tilesX * v.out
	if g.straight() {
		r.line = v.width * v.out
	}
	o.needs(r.padded + places*(r.inPlace+r.outPlace) + 5*r.line)

	u := o.work(float32s, 1, g.weightFloats())
	o.then(g.transformWeights(v.w, u), g.rows.phase(func(w *worker, part, split, lo, hi int) {
		scratch := w.floats(r.padded + places*(r.inPlace+r.outPlace) + 5*r.line)
		padded, scratch := scratch[:r.padded], scratch[r.padded:]
		inputs, scratch := scratch[:places*r.inPlace], scratch[places*r.inPlace:]
		sums, edge := scratch[:places*r.outPlace], scratch[places*r.outPlace:]
		for row := lo; row < hi; row++ {
			g.pad(padded, row, 0, v.in)
			g.transformInputs(w, padded, at(inputs, (row-lo)*g.tilesX*v.in), v.in, r.inPlace)
		}
		g.multiply(w, inputs, sums, u, g.lists[hi-lo])
		g.transformSums(w, sums, edge, lo, hi)
		v.finish(w, part, split)
	}))
}

// straight reports whether tiles of outputs go straight to their place: none reaches beyond the
// image, and nothing is to be added or rounded.
func (g *winograd) straight() bool {
	return g.add == nil && g.y.element == float32s && g.width%4 == 0 && g.height%4 == 0
}

// multiply does the matrix product of each place.
func (g *winograd) multiply(w *worker, inputs, sums []float32, weights *buffer, list tileLists) {
	block, weightPlace := g.tile.Block, plane(g.in*g.out)
	t := &w.tile
	*t = kernel.TileArgs{
		In: &list.in[0], Out: &list.out[0], Tiles: int64(len(list.in) / g.tile.Rows),
		Taps: &noTaps[0], NTaps: 1, K: int64(g.in / 4),
	}
	for p := range places {
		t.X = at(inputs, p*g.room.inPlace)
		for b := range g.out / block {
			t.B = at(weights.f32, p*weightPlace+b*g.in*block)
			t.Y = at(sums, p*g.room.outPlace+b*block)
			g.tile.Run(t)
		}
	}
}

// transformSums transforms the sums of rows lo to hi of tiles to outputs. edge is room for the
// lines of a row of tiles that does not go straight to its place.
func (g *winograd) transformSums(w *worker, sums, edge []float32, lo, hi int) {
	a, line, straight := &w.transform, g.room.line, g.straight()
	a.SrcRow, a.SrcCol, a.SrcStep = int64(6*4*g.room.outPlace), int64(4*g.room.outPlace), 4*lanes
	a.DstRow, a.DstCol, a.DstStep = int64(4*line), int64(4*g.out), 4*lanes
	a.N = int64(g.out / lanes)
	for r := lo; r < hi; r++ {
		to, first := edge, g.pixel(r)*g.out
		if straight {
			to = g.y.f32[first:]
		}
		for x := range g.tilesX {
			a.Src = at(sums, ((r-lo)*g.tilesX+x)*g.out)
			a.Dst = at(to, 4*x*g.out)
			g.path.Winograd.Output(a)
		}
		if straight {
			continue
		}
		for i := range min(4, g.height-r%g.tilesY*4) {
			n := g.width * g.out
			g.store(first+i*n, edge[i*line:i*line+n], edge[4*line:])
		}
	}
}

// store writes a line of outputs at value lo of y, plus what is to be added there. The line and the
// scratch memory may be overwritten.
func (g *winograd) store(lo int, line, scratch []float32) {
	hi := lo + len(line)
	if add := g.add; add != nil {
		other := scratch[:len(line)]
		if add.element == bfloat16s {
			g.path.Widen(other, add.bf16[lo:hi])
		} else {
			other = add.f32[lo:hi]
		}
		g.path.WeightedSum(line, 1, other, 1, line, 0, nil)
	}
	if g.y.element == bfloat16s {
		g.path.Narrow(g.y.bf16[lo:hi], line)
		return
	}
	copy(g.y.f32[lo:hi], line)
}

// pixel is the first pixel, counted over the batch, of row r of tiles.
func (g *winograd) pixel(r int) int { return (r/g.tilesY*g.height + r%g.tilesY*4) * g.width }

// pad lays channels first .. first+ch of the six rows of inputs below row r of tiles into dst,
// [6][4*tilesX+2][ch], with zeros around the image.
func (g *winograd) pad(dst []float32, r, first, ch int) {
	image, y0 := r/g.tilesY, r%g.tilesY*4-1
	row := (4*g.tilesX + 2) * ch
	used := ch + g.width*ch
	for i := range 6 {
		line := dst[i*row : (i+1)*row]
		y := y0 + i
		if y < 0 || y >= g.height {
			clear(line)
			continue
		}
		clear(line[:ch])
		clear(line[used:])
		g.layLine(line[ch:used], image, y, first, ch)
	}
}

// layLine lays channels first .. first+ch of line y of an image, normalised if that is asked for.
func (g *winograd) layLine(dst []float32, image, y, first, ch int) {
	pixel := (image*g.height + y) * g.width
	x := kernel.Float32s(dst)
	if g.norm != nil && g.x.element == float32s && ch == g.in {
		x = g.x.values(pixel*ch, pixel*ch+len(dst))
	} else {
		g.lay(dst, g.x, line{pixel, g.in, first, ch})
	}
	if g.norm == nil {
		return
	}
	f := g.norm.of(image * g.norm.splits / g.images)
	f.Mean, f.Scale, f.Shift = f.Mean[first:first+ch], f.Scale[first:first+ch], f.Shift[first:first+ch]
	g.path.Normalise(kernel.NormaliseArgs{Y: kernel.Float32s(dst), X: x, Channels: ch, Affine: f, ReLU: true})
}

// line is channels first .. first+width of pixels in a row, from a pixel on. The pixels have
// `channels` channels.
type line struct{ pixel, channels, first, width int }

// lay copies a line of b to dst as float32; dst says how many pixels it has.
func (g *winograd) lay(dst []float32, b *buffer, l line) {
	from, width := l.pixel*l.channels+l.first, l.width
	bf16 := b.element == bfloat16s
	switch {
	case width == l.channels && bf16:
		g.path.Widen(dst, b.bf16[from:from+len(dst)])
	case width == l.channels:
		copy(dst, b.f32[from:])
	case bf16:
		starts := g.starts[l.channels]
		g.path.Gather(dst, width, b.values(from, from+int(starts[len(starts)-1])+width), starts, width)
	default:
		for ; len(dst) > 0; dst, from = dst[width:], from+l.channels {
			copy(dst[:width], b.f32[from:])
		}
	}
}

// paddedFloats is the room that pad needs for ch channels.
func (g *winograd) paddedFloats(ch int) int { return 6 * (4*g.tilesX + 2) * ch }

// weightFloats is the room of transformed weights.
func (g *winograd) weightFloats() int { return places * plane(g.in*g.out) }

// transformWeights makes a phase that writes [36][out/block][in][block] from packed weights. Those
// of the data gradient are read from the last tap to the first.
func (g *winograd) transformWeights(from, to *buffer) phase {
	const each = 128 // groups of a part: some 50 KB of results
	block := g.tile.Block
	panel := g.in * block
	groups := panel / lanes
	pieces := (groups + each - 1) / each
	place := plane(g.in * g.out)
	return phase{g.out / block * pieces, func(w *worker, part int) {
		b, group := part/pieces, part%pieces*each
		a := &w.transform
		tap := int64(4 * panel)
		first := b * 9 * panel
		a.SrcCol = tap
		if g.turned {
			first += 8 * panel
			a.SrcCol = -tap
		}
		a.SrcRow, a.SrcStep = 3*a.SrcCol, 4*lanes
		a.Src = at(from.f32, first+group*lanes)
		a.Dst = at(to.f32, b*panel+group*lanes)
		a.DstRow, a.DstCol, a.DstStep = int64(6*4*place), int64(4*place), 4*lanes
		a.N = int64(min(each, groups-group))
		g.path.Winograd.Weights(a)
	}}
}

// transformInputs transforms the tiles of a padded row of ch channels. dst gets each place's tiles
// side by side, `place` floats from place to place.
func (g *winograd) transformInputs(w *worker, padded []float32, dst unsafe.Pointer, ch, place int) {
	a := &w.transform
	a.SrcRow, a.SrcCol, a.SrcStep = int64(4*(4*g.tilesX+2)*ch), int64(4*ch), 4*lanes
	a.DstRow, a.DstCol, a.DstStep = int64(6*4*place), int64(4*place), 4*lanes
	a.N = int64(ch / lanes)
	for x := range g.tilesX {
		a.Src = at(padded, 4*x*ch)
		a.Dst = unsafe.Add(dst, 4*x*ch)
		g.path.Winograd.Input(a)
	}
}
