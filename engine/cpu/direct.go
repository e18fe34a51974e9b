package cpu

import (
	"encoding/binary"

	"moco/engine/cpu/internal/kernel"
)

// Direct convolutions are lists for the kernels: which input row, which weights, which output row.
// So borders need no padded copy of the image, and strides no kernels of their own: the pixels of
// an output are grouped by which taps fall inside of the image, and a group is a run of tiles with
// one list of taps. (A 3x3 convolution with a border of one has nine groups: the inside, four
// edges, four corners.)

// group is the output pixels that see the same taps.
type group struct {
	in, out []int32 // byte offsets of each tile's rows
	taps    []int64 // pairs of byte offsets: into the input from the row, into the weights
}

// segment is a run of tiles of one group.
type segment struct {
	group *group
	tile  int
	tiles int
}

// tiling is a product of rows by weights, cut into work: the pixels of a chunk of images in
// segments, the same for every chunk.
type tiling struct {
	product
	tile     kernel.Tile
	together int // images in a chunk
	chunks   int
	inSize   int // values of a chunk
	outSize  int
	items    [][]segment
	blocks   int   // output blocks
	panel    int   // values of the weights of one output block
	outer    bool  // an output block serves all pixels before the next one
	pieces   int   // into which the sum over a row of channels is cut
	length   int64 // of a piece, in 16 bytes
	chain    int   // taps that one call adds up
}

// product is what a tiling computes: for each of the height x width places of each image, the sum
// over the taps that it sees of a row of `inner` channels by weights [taps][inner] of each of `out`
// channels.
type product struct {
	x, w, y       *buffer
	images        int
	height, width int // of what is written
	pixels        int // of an image of what is read
	inner, out    int
	taps          int
	see           visible
	add           bool // to what lies in y already
	once          bool // every value of x is seen by one place only, so it is worth more than weights
}

// visible tells what place (y, x) of an image sees: the row of the other side that it starts from,
// and for each tap the offset of the other side's row from there, and the tap's number.
type visible func(y, x int) (start int, taps [][2]int)

// forwardView is what an output pixel of a convolution reads.
func (g geometry) forwardView(y, x int) (start int, taps [][2]int) {
	iy, ix := y*g.stride-g.pad, x*g.stride-g.pad
	for t := range g.kernel * g.kernel {
		u, v := t/g.kernel, t%g.kernel
		if iy+u >= 0 && iy+u < g.height && ix+v >= 0 && ix+v < g.width {
			taps = append(taps, [2]int{u*g.width + v, t})
		}
	}
	return iy*g.width + ix, taps
}

// patchView is what an output pixel reads of windows that do not overlap: see patches.
func (g geometry) patchView(y, x int) (start int, taps [][2]int) {
	for u := range g.kernel {
		taps = append(taps, [2]int{u * g.width, u})
	}
	return y*g.stride*g.width + x*g.stride, taps
}

// backwardView is which outputs an input pixel went into, for the data gradient.
func (g geometry) backwardView(y, x int) (start int, taps [][2]int) {
	ry, rx := (y+g.pad)%g.stride, (x+g.pad)%g.stride
	by, bx := (y+g.pad)/g.stride, (x+g.pad)/g.stride
	for u := ry; u < g.kernel; u += g.stride {
		for v := rx; v < g.kernel; v += g.stride {
			dy, dx := (u-ry)/g.stride, (v-rx)/g.stride
			if oy, ox := by-dy, bx-dx; oy >= 0 && oy < g.outH && ox >= 0 && ox < g.outW {
				taps = append(taps, [2]int{-(dy*g.outW + dx), u*g.kernel + v})
			}
		}
	}
	return by*g.outW + bx, taps
}

// pixelsEach is how many output pixels a chunk has at least: its tables (8 bytes a pixel) stay in
// the first-level cache.
const pixelsEach = 2048

// weightsInCache is the size in values above which weights are read once for many pixels rather
// than once a chunk.
const weightsInCache = 1 << 17

// direct emits a convolution by tiles alone.
func (e *Engine) direct(v *convolution, o *op) {
	v.joinPatches()
	p := product{
		x: v.x, w: v.w, y: v.y, images: v.images, height: v.outH, width: v.outW, pixels: v.height * v.width,
		inner: v.in, out: v.out, taps: v.packing.taps, see: v.forwardView, add: v.add != nil,
	}
	if v.patches {
		p.see, p.once = v.patchView, true
	}
	if v.turned {
		p.height, p.width, p.pixels, p.see = v.height, v.width, v.outH*v.outW, v.backwardView
	}
	if v.x.element == bfloat16s {
		p.w = e.pairWeights(v, o, e.blockFor(v.out))
	}
	if v.add != nil {
		o.then(copyPhase(v.y, v.add))
	}
	o.then(e.newTiling(p, o).phase())
}

// newTiling groups the places that are written by what they see of the side that is read.
func (e *Engine) newTiling(p product, o *op) *tiling {
	t := &tiling{product: p, tile: e.tileFor(p.out, p.x.element == bfloat16s)}
	inBytes := p.x.element.size()
	t.pieces = chains(p.inner, p.y.element)
	t.chain = max(1, longestChain*t.pieces/p.inner)
	if p.y.element == bfloat16s {
		t.chain = p.taps
	}
	t.length = int64(p.inner * inBytes / t.pieces / 16)
	t.together = largestDivisor(p.images, pixelsEach/(p.height*p.width))
	t.chunks = p.images / t.together
	t.inSize = t.together * p.pixels * p.x.stride
	t.outSize = t.together * p.height * p.width * p.y.stride
	t.blocks = p.out / t.tile.Block
	t.panel = p.taps * p.inner * t.tile.Block
	t.outer = t.panel*t.blocks > weightsInCache && !p.once
	groups := t.groups()
	for _, g := range groups {
		keeps(o, g.in)
		keeps(o, g.out)
		keeps(o, g.taps)
	}
	t.deal(groups)
	return t
}

// groups lists the places of a chunk by the taps that they see, and fills the last tile of each
// group with its last row, again.
func (t *tiling) groups() []*group {
	var groups []*group
	byTaps := map[string]*group{}
	var key []byte
	for y := range t.height {
		for x := range t.width {
			start, list := t.see(y, x)
			key = key[:0]
			for _, p := range list {
				key = binary.LittleEndian.AppendUint32(key, uint32(p[0]))
				key = append(key, byte(p[1]))
			}
			g := byTaps[string(key)]
			if g == nil {
				g = &group{taps: t.offsets(list)}
				byTaps[string(key)] = g
				groups = append(groups, g)
			}
			for n := range t.together {
				g.in = append(g.in, int32((n*t.pixels+start)*t.x.stride*t.x.element.size()))
				g.out = append(g.out, int32((n*t.height*t.width+y*t.width+x)*t.y.stride*t.y.element.size()))
			}
		}
	}
	for _, g := range groups {
		for len(g.in)%t.tile.Rows != 0 {
			g.in = append(g.in, g.in[len(g.in)-1])
			g.out = append(g.out, g.out[len(g.out)-1])
		}
	}
	return groups
}

// offsets are the kernel's list of taps: each piece of each tap, as byte offsets.
func (t *tiling) offsets(list [][2]int) (taps []int64) {
	size := t.x.element.size()
	for _, p := range list {
		for piece := range t.pieces {
			c := piece * t.inner / t.pieces
			taps = append(taps, int64((p[0]*t.x.stride+c)*size), int64((p[1]*t.inner+c)*t.tile.Block*size))
		}
	}
	return taps
}

// deal cuts the groups' tiles into items of about flopsEach.
func (t *tiling) deal(groups []*group) {
	var item []segment
	room := 0
	for _, g := range groups {
		flops := max(1, t.tile.Rows*t.tile.Block*t.inner/t.pieces*len(g.taps))
		for tile, tiles := 0, len(g.in)/t.tile.Rows; tile < tiles; {
			if room < flops {
				if len(item) > 0 {
					t.items = append(t.items, item)
				}
				item, room = nil, max(flopsEach, flops)
			}
			n := min(room/flops, tiles-tile)
			item = append(item, segment{g, tile, n})
			room -= n * flops
			tile += n
		}
	}
	t.items = append(t.items, item)
}

// phase makes the tiles' work: y = or += x by weights.
func (t *tiling) phase() phase {
	items := len(t.items)
	return phase{items * t.chunks * t.blocks, func(w *worker, part int) {
		var block, rest int
		if t.outer {
			block, rest = part/(items*t.chunks), part%(items*t.chunks)
		} else {
			block, rest = part%t.blocks, part/t.blocks
		}
		item, chunk := rest%items, rest/items
		first := chunk*t.outSize + block*t.tile.Block
		a := &w.tile
		a.X, a.Y, a.B = t.x.at(chunk*t.inSize), t.y.at(first), t.w.at(block*t.panel)
		a.BF16, a.K = bf16Flag(t.y), t.length
		for _, s := range t.items[item] {
			t.run(s, a, first)
		}
	}}
}

// run does the tiles of a segment, a chain of taps at a time.
func (t *tiling) run(s segment, a *kernel.TileArgs, first int) {
	a.Acc = 0
	if t.add {
		a.Acc = 1
	}
	if len(s.group.taps) == 0 {
		if !t.add {
			t.clear(s, first)
		}
		return
	}
	a.In = &s.group.in[s.tile*t.tile.Rows]
	a.Out = &s.group.out[s.tile*t.tile.Rows]
	a.Tiles = int64(s.tiles)
	for taps := s.group.taps; len(taps) > 0; taps = taps[2*a.NTaps:] {
		a.Taps = &taps[0]
		a.NTaps = int64(min(t.chain, len(taps)/2))
		t.tile.Run(a)
		a.Acc = 1
	}
}

// clear writes the zeros of places that see nothing (the gradient of a 1x1 convolution with stride
// 2 skips three inputs of four).
func (t *tiling) clear(s segment, first int) {
	size := t.y.element.size()
	for _, offset := range s.group.out[s.tile*t.tile.Rows : (s.tile+s.tiles)*t.tile.Rows] {
		at := first*size + int(offset)
		clear(t.y.raw[at : at+t.tile.Block*size])
	}
}

// largestDivisor is the largest divisor of n up to most, or 1.
func largestDivisor(n, most int) int {
	d := max(1, min(n, most))
	for n%d != 0 {
		d--
	}
	return d
}
