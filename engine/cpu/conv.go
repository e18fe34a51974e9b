package cpu

import (
	"encoding/binary"
	"unsafe"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// Convolutions. All three directions are lists for the kernels: which input row, which weights, which output row. So
// borders need no padded copy of the image, and strides no kernels of their own: the pixels of an
// output are grouped by which taps fall inside of the image, and a group is a run of tiles with one list of taps.
// (A 3x3 convolution with a border of one has nine groups: the inside, four edges, four corners.)

// geometry is the shape of a convolution from input to output.
type geometry struct {
	images        int
	height, width int // of the input
	outH, outW    int
	kernel        int
	stride, pad   int
}

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

// tiling is a convolution (or its data gradient) cut into work: the pixels of a chunk of images in segments, the same for
// every chunk.
type tiling struct {
	tile    kernel.Tile
	images  int // in a chunk
	chunks  int
	inSize  int // values of a chunk
	outSize int
	items   [][]segment
	blocks  int  // output blocks
	panel   int  // floats of the weights of one output block
	outer   bool // an output block serves all pixels before the next one
	inner   int64
	chain   int // taps that one call adds up
}

// longestChain is how many products are added up in a register before the sum is added to memory. A float32 sum of n products is off by
// about sqrt(n) roundings, and deep networks turn the noise of their convolutions into ReLUs that flip: in the reference case of ResNet-50 the worst
// gradient's norm was off by 1e-2 with chains of 576 and by 3.6e-3 with 144. Adding to memory so often costs 2 to 3% of a convolution.
const longestChain = 144

// chains is into how many sums those over a row of channels are cut. What is rounded to bfloat16 is rounded once.
func chains(channels int, half bool) int {
	n := (channels + longestChain - 1) / longestChain
	for channels%(4*n) != 0 {
		n++
	}
	if half {
		return 1
	}
	return n
}

// tileLists are the rows that the tiles of one matrix product read and write, in bytes from its first.
type tileLists struct{ in, out []int32 }

// newTileLists lists rows that lie side by side. The last tile is filled with its last row, again.
func newTileLists(n, tile, inBytes, outBytes int) (l tileLists) {
	for i := range roundUp(n, tile) {
		i = min(i, n-1)
		l.in = append(l.in, int32(i*inBytes))
		l.out = append(l.out, int32(i*outBytes))
	}
	return l
}

// pixelsEach is how many output pixels a chunk has at least: its tables (8 bytes a pixel) stay in the first-level cache.
const pixelsEach = 2048

// flopsEach bounds one part of a convolution, and so one call of a tile kernel, which cannot be interrupted: at some hundred
// GFLOP/s this is about 50 microseconds.
const flopsEach = 8 << 20

// weightsInCache is the size in floats above which weights are read once for many pixels rather than once a chunk.
const weightsInCache = 1 << 17

// visible tells for each pixel of one image, in the place p of its row and column, the row of the other side that it starts
// from and the taps that it sees: pairs of (offset of the other side's row, tap).
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

// newTiling groups the pixels of the side that is written (h x w, stride writeStride) by what they see of the side that is
// read (readPixels an image). Weights of one tap are panelRows rows of a block.
func (e *Engine) newTiling(read, write *buffer, images, h, w, readPixels, inner, taps, out int, see visible) *tiling {
	t := &tiling{tile: e.tileFor(out, read.half)}
	readStride, writeStride := read.stride, write.stride
	inBytes, outBytes := read.bytes(), write.bytes()
	pieces := chains(inner, write.half)
	t.chain = max(1, longestChain*pieces/inner)
	if write.half {
		t.chain = taps
	}
	t.inner = int64(inner * inBytes / pieces / 16)
	t.images = min(images, max(1, pixelsEach/(h*w)))
	for images%t.images != 0 {
		t.images--
	}
	t.chunks = images / t.images
	t.inSize, t.outSize = t.images*readPixels*readStride, t.images*h*w*writeStride
	t.blocks = out / t.tile.Block
	t.panel = taps * inner * t.tile.Block
	t.outer = t.panel*t.blocks > weightsInCache

	var groups []*group
	byTaps := map[string]*group{}
	var key []byte
	for y := range h {
		for x := range w {
			start, list := see(y, x)
			key = key[:0]
			for _, p := range list {
				key = binary.LittleEndian.AppendUint32(key, uint32(p[0]))
				key = append(key, byte(p[1]))
			}
			g := byTaps[string(key)]
			if g == nil {
				g = &group{}
				for _, p := range list {
					for piece := range pieces {
						c := piece * inner / pieces
						g.taps = append(g.taps, int64((p[0]*readStride+c)*inBytes), int64((p[1]*inner+c)*t.tile.Block*inBytes))
					}
				}
				byTaps[string(key)] = g
				groups = append(groups, g)
			}
			for n := range t.images {
				g.in = append(g.in, int32((n*readPixels+start)*readStride*inBytes))
				g.out = append(g.out, int32((n*h*w+y*w+x)*writeStride*outBytes))
			}
		}
	}
	var item []segment
	room := 0
	for _, g := range groups {
		for len(g.in)%t.tile.Rows != 0 { // the last tile is filled with its last row, again
			g.in = append(g.in, g.in[len(g.in)-1])
			g.out = append(g.out, g.out[len(g.out)-1])
		}
		flops := max(1, t.tile.Rows*t.tile.Block*inner/pieces*len(g.taps))
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
	return t
}

// tileFor is the tile for a number of outputs, of float32 or bfloat16.
func (e *Engine) tileFor(out int, half bool) kernel.Tile {
	tiles := e.path.Tiles
	if half {
		tiles = e.path.Pairs
	}
	block := e.blockFor(out)
	for _, t := range tiles {
		if t.Block == block {
			return t
		}
	}
	return tiles[len(tiles)-1]
}

// phase makes the tiles' work: y = or += x by weights.
func (t *tiling) phase(x, weights, y *buffer, add bool) phase {
	items := len(t.items)
	return phase{items * t.chunks * t.blocks, func(w *worker, part int) {
		var block, rest int
		if t.outer {
			block, rest = part/(items*t.chunks), part%(items*t.chunks)
		} else {
			block, rest = part%t.blocks, part/t.blocks
		}
		item, chunk := rest%items, rest/items
		a := &w.tile
		a.X = x.at(chunk * t.inSize)
		a.Y = y.at(chunk*t.outSize + block*t.tile.Block)
		a.B = weights.at(block * t.panel)
		a.Half = 0
		if y.half {
			a.Half = 1
		}
		a.K = t.inner
		for _, s := range t.items[item] {
			a.Acc = 0
			if add {
				a.Acc = 1
			}
			if len(s.group.taps) == 0 {
				if !add {
					s.clear(t, y, chunk*t.outSize+block*t.tile.Block)
				}
				continue
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
	}}
}

// clear writes the zeros of pixels that see nothing (a 1x1 convolution with stride 2 skips three inputs of four).
func (s segment) clear(t *tiling, y *buffer, first int) {
	for _, offset := range s.group.out[s.tile*t.tile.Rows : (s.tile+s.tiles)*t.tile.Rows] {
		at := first + int(offset)/y.bytes()
		if y.half {
			clear(y.h[at : at+t.tile.Block])
		} else {
			clear(y.f[at : at+t.tile.Block])
		}
	}
}

func (c *compiler) conv(n *graph.Node) {
	g := geometryOf(n, n)
	p := c.engine.packingOf(n.In[1].Shape)
	w := c.packed(n.In[1])
	if c.engine.inParts(g, p.inPad, p.outPad) {
		frozen := c.frozenNormalise(n)
		y := c.activations(n)
		from := c.input(n.In[0])
		if v := c.winogradFor(n, g, p.inPad, p.outPad); v != nil {
			c.winogradConv(n, "Conv", n.Cost(), v, from, w, y, nil, false)
		} else {
			c.pointwiseConv(&op{node: n, cost: n.Cost(), label: "Conv"}, g.images*g.outH*g.outW, p.inPad, p.outPad, from, w, y, nil)
		}
		if frozen != nil {
			frozen(c.parted[n], y)
		}
		return
	}
	x := c.operand(c.image(n.In[0]), n.In[0])
	y := c.activations(n)
	o := &op{node: n, cost: n.Cost(), reads: []*buffer{x, w}, writes: []*buffer{y}}
	if x.half {
		w = c.engine.pairWeights(o, w, p.inPad, p.outPad, p.taps, p.block)
	}
	t := c.engine.newTiling(x, y, g.images, g.outH, g.outW, g.height*g.width, p.inPad, p.taps, p.outPad, g.forwardView)
	o.phases = append(o.phases, t.phase(x, w, y, false))
	c.emit(o)
}

// operand is what a direct convolution reads for n, stored in b: bfloat16 only if the tiles multiply that.
func (c *compiler) operand(b *buffer, n *graph.Node) *buffer {
	if b.half && c.engine.path.Pairs == nil {
		return c.value(n)
	}
	return b
}

// image is a convolution's input as it lies: rows of 4 floats if it is an image, of bfloat16 if it is so stored.
func (c *compiler) image(n *graph.Node) *buffer {
	if isWeights(n) {
		return c.value(n)
	}
	return c.values[n]
}

// input is what a convolution that lays out its inputs itself reads for n.
func (c *compiler) input(n *graph.Node) input {
	if normalise := c.fusion.lazy[n]; normalise != nil {
		return input{c.stored(normalise.In[0]), c.affineOf(normalise)}
	}
	return input{x: c.stored(n)}
}

// geometryOf is the geometry of a convolution, or of one of its gradients. The output is the value that
// has the size of the convolution's.
func geometryOf(n, output *graph.Node) geometry {
	a, out := n.Attr.(graph.ConvAttr), output.Shape
	return geometry{
		images: out[0], height: a.Height, width: a.Width, outH: out[1], outW: out[2],
		kernel: a.Kernel, stride: a.Stride, pad: a.Pad,
	}
}

func (c *compiler) convGradInput(n *graph.Node) { c.dataGradient(n, n, nil) }

// addConvGradInput is a sum of which grad is one operand: the convolution adds to the other one.
func (c *compiler) addConvGradInput(sum, grad *graph.Node) {
	other := sum.In[0]
	if other == grad {
		other = sum.In[1]
	}
	c.dataGradient(sum, grad, other)
}

// dataGradient is the same tiles over transposed weights: the gradient of an input pixel gathers from the outputs that it went into.
func (c *compiler) dataGradient(n, grad, other *graph.Node) {
	dy, w := c.stored(grad.In[0]), c.packed(grad.In[1])
	dx := c.activations(n)
	var add *buffer
	if other != nil {
		add = c.storedLike(other, dx)
	}
	g := geometryOf(grad, grad.In[0])
	p := c.engine.packingOf(grad.In[1].Shape)
	out := channels(p.in) // the gradient's rows are as wide as any activation's
	transposed, turn := c.transposeWeights(p, out, w)
	if v := c.winogradFor(n, g, p.outPad, out); v != nil {
		c.emit(&op{node: n, label: "Transpose weights", reads: []*buffer{w}, writes: []*buffer{transposed}, phases: []phase{turn}})
		c.winogradConv(n, "ConvGradInput", grad.Cost(), v, input{x: dy}, transposed, dx, add, true)
		return
	}
	o := &op{node: n, label: "ConvGradInput", cost: grad.Cost(), writes: []*buffer{transposed}, phases: []phase{turn}}
	if g.pointwiseFits(p.inPad) {
		c.pointwiseConv(o, g.images*g.outH*g.outW, p.outPad, out, input{x: dy}, transposed, dx, add)
		o.reads = append(o.reads, w)
		return
	}
	dy = c.operand(dy, grad.In[0])
	o.reads, o.writes = []*buffer{dy, w}, []*buffer{dx, transposed}
	if dy.half {
		transposed = c.engine.pairWeights(o, transposed, p.outPad, out, p.taps, transposed.stride)
	}
	t := c.engine.newTiling(dy, dx, g.images, g.height, g.width, g.outH*g.outW, p.outPad, p.taps, out, g.backwardView)
	if add != nil {
		o.label = "ConvGradInput+Add"
		o.reads = append(o.reads, add)
		o.reuse = []*buffer{add}
		o.phases = append(o.phases, copyOp(n, dx, add).phases...)
	}
	o.phases = append(o.phases, t.phase(dy, transposed, dx, add != nil))
	c.emit(o)
}

// pairWeights makes an operation lay packed weights of in to out channels in pairs of bfloat16 before it does anything else with them.
func (e *Engine) pairWeights(o *op, w *buffer, in, out, taps, block int) *buffer {
	b := &buffer{words: in * out * taps / 2, half: true}
	o.writes = append(o.writes, b)
	o.phases = append(o.phases, phase{out / block * taps, func(_ *worker, part int) {
		lo := part * in * block
		for c := 0; c < in*block; c += 2 * block {
			e.path.Pair(b.h[lo+c:lo+c+2*block], w.f[lo+c:lo+c+block], w.f[lo+c+block:lo+c+2*block])
		}
	}})
	return b
}

// transposeWeights writes [in/block][taps][out][block] from packed weights, in blocks as large as the kernels like.
func (c *compiler) transposeWeights(p packing, in int, w *buffer) (*buffer, phase) {
	block := c.engine.blockFor(in)
	b := &buffer{words: p.outPad * p.taps * in, stride: block}
	width := min(block, p.inPad)
	return b, phase{p.outPad / p.block * p.taps, func(_ *worker, part int) {
		ob, t := part/p.taps, part%p.taps
		src := w.f[(ob*p.taps+t)*p.inPad*p.block:]
		for cb := range in / block {
			dst := b.f[((cb*p.taps+t)*p.outPad+ob*p.block)*block:]
			if width < block {
				clear(dst[:p.block*block])
			}
			c.engine.path.Transpose(dst, block, src[cb*block*p.block:], p.block, width, p.block)
		}
	}}
}

// A part of a weight gradient sums over gradPixels output pixels at a time, up to gradRows input channels (with narrow ones, several taps of them) times so many output blocks that its sums, in
// float32, take gradCache or less: half of the second-level cache. So inputs and gradients are read from beyond it once for many products, however far apart their pixels lie.
const (
	gradPixels = 128
	gradRows   = 256
	gradCache  = 512 << 10
)

// gradItems is how many parts a weight gradient should have at least, so that workers can share it.
const gradItems = 24

// gradOffsets lists where a chunk of images' output pixels, and for each tap the input pixels below them, lie: in values from the chunk's first, -1 for what is outside of the image.
func (g geometry) gradOffsets(images, inStride, outStride int) (in [][]int32, out []int32) {
	in = make([][]int32, g.kernel*g.kernel)
	for p := range images * g.outH * g.outW {
		n, y, x := p/(g.outH*g.outW), p/g.outW%g.outH, p%g.outW
		out = append(out, int32(p*outStride))
		for t := range in {
			offset := -1
			if iy, ix := y*g.stride-g.pad+t/g.kernel, x*g.stride-g.pad+t%g.kernel; iy >= 0 && iy < g.height && ix >= 0 && ix < g.width {
				offset = ((n*g.height+iy)*g.width + ix) * inStride
			}
			in[t] = append(in[t], int32(offset))
		}
	}
	return in, out
}

// pixelLists are what the kernel reads where it lies: for each block of output pixels and each tap, pairs of byte offsets (input from the chunk's first, gradient from the block's first) of
// the pixels whose tap lies inside of the image.
type pixelLists struct {
	pairs []int32
	start []int // of block*taps+tap; one more at the end
}

func newPixelLists(in [][]int32, outStride int) pixelLists {
	var l pixelLists
	for lo := 0; lo < len(in[0]); lo += gradPixels {
		for _, offsets := range in {
			l.start = append(l.start, len(l.pairs))
			for i, offset := range offsets[lo:min(lo+gradPixels, len(offsets))] {
				if offset >= 0 {
					l.pairs = append(l.pairs, 4*offset, int32(4*i*outStride))
				}
			}
		}
	}
	l.start = append(l.start, len(l.pairs))
	return l
}

// convGradWeight sums products over all pixels: for a block of outputs the gradient is a matrix of taps*in rows, the transposed inputs below each tap times the gradients of the outputs. float32 is
// read where it lies. bfloat16 is laid side by side first, in pairs of pixels if the processor multiplies those, else widened, with zeros for what is outside of the image.
// The work is cut into groups of output blocks, ranges of input channels and, where that gives too few parts, ranges of images, whose sums are then added in order.
func (c *compiler) convGradWeight(n *graph.Node) {
	g := geometryOf(n, n.In[0])
	p := c.engine.packingOf(n.Shape)
	dy, dw := c.stored(n.In[0]), c.result(n)
	if v := c.winogradFor(n, g, p.inPad, p.outPad); v != nil {
		from := input{}
		if c.fusion.lazy[n.In[1]] != nil {
			from = c.input(n.In[1])
		} else {
			from.x = c.later(n.In[1])
		}
		c.winogradGradWeight(n, v, from, dy, dw)
		return
	}
	x := c.image(n.In[1])
	if x == nil || x.stride%lanes == 0 {
		x = c.later(n.In[1])
	}

	images := largestDivisor(g.images, 1024/(g.outH*g.outW))
	chunks := g.images / images
	in, out := g.gradOffsets(images, x.stride, dy.stride)
	inSize, outSize := images*g.height*g.width*x.stride, images*g.outH*g.outW*dy.stride
	width := largestDivisor(p.inPad, gradRows) // input channels a part
	ranges := p.inPad / width
	blocks := largestDivisor(p.outPad/p.block, gradCache/(4*p.taps*width*p.block)) // output blocks a part
	groups := p.outPad / p.block / blocks
	splits := min(chunks, (gradItems+groups*ranges-1)/(groups*ranges))

	// what is laid side by side has rows of its own
	path := c.engine.path
	lay, grads, pixels := path.Gather, path.Grads, gradPixels
	together, outStride := 1, dy.stride // taps at once; of what the kernel reads
	if x.half {
		together = largestDivisor(p.taps, gradRows/p.inPad)
	}
	if dy.half {
		outStride = p.block
	}
	rows := together * width
	if x.half && dy.half && path.PairGrads != nil {
		lay, grads, pixels = path.GatherPairs, path.PairGrads, 2*gradPixels
		if len(out)%2 == 1 {
			out = append(out, -1)
			for t := range in {
				in[t] = append(in[t], -1)
			}
		}
	}
	var lists pixelLists
	if !x.half {
		lists = newPixelLists(in, outStride)
	}
	var laid []int32
	for i := range gradPixels {
		laid = append(laid, int32(4*i*rows), int32(4*i*outStride))
	}
	runs := gradsFor(grads, p.block, rows)
	o := &op{node: n, cost: n.Cost(), reads: []*buffer{dy, x}, writes: []*buffer{dw}}
	partial := c.partialSums(o, dw, splits)
	o.phases = append(o.phases, phase{groups * ranges * splits, func(w *worker, part int) {
		s, rest := part/(groups*ranges), part%(groups*ranges)
		group, from := rest/ranges*blocks, rest%ranges*width
		inputs := w.floats(gradPixels * (rows + blocks*p.block))
		gradients := inputs[gradPixels*rows:]
		sums := partial(s)[group*p.taps*p.inPad*p.block:]
		for b := range blocks {
			for t := range p.taps {
				first := ((b*p.taps+t)*p.inPad + from) * p.block
				clear(sums[first : first+width*p.block])
			}
		}
		a := &w.grad
		*a = kernel.GradArgs{RowStride: int64(p.block * 4), Acc: 1}
		for chunk := chunks * s / splits; chunk < chunks*(s+1)/splits; chunk++ {
			for lo := 0; lo < len(out); lo += pixels {
				hi := min(lo+pixels, len(out))
				if dy.half {
					for b := range blocks {
						lay(gradients[b*gradPixels*p.block:], p.block, dy.values(chunk*outSize+(group+b)*p.block, (chunk+1)*outSize), out[lo:hi], p.block)
					}
				}
				for t := 0; t < p.taps; t += together {
					list := laid[:2*((hi-lo)*gradPixels/pixels)]
					if x.half {
						for i := range together {
							lay(inputs[i*width:], rows, x.values(chunk*inSize+from, (chunk+1)*inSize), in[t+i][lo:hi], width)
						}
						a.X = at(inputs, 0)
					} else {
						i := lo/pixels*p.taps + t
						list = lists.pairs[lists.start[i]:lists.start[i+1]]
						a.X = at(x.f, chunk*inSize+from)
					}
					if len(list) == 0 {
						continue
					}
					a.Pixels, a.N = &list[0], int64(len(list)/2)
					for b := range blocks {
						if dy.half {
							a.DY = at(gradients, b*gradPixels*p.block)
						} else {
							a.DY = at(dy.f, chunk*outSize+lo*dy.stride+(group+b)*p.block)
						}
						a.DW = at(sums, ((b*p.taps+t)*p.inPad+from)*p.block)
						runGrads(runs, a)
					}
				}
			}
		}
	}})
	c.addPartialSums(o, dw, partial, splits)
	c.emit(o)
}

// partialSums is where the weight gradient of each split goes: dw itself if there is one.
func (c *compiler) partialSums(o *op, dw *buffer, splits int) func(split int) []float32 {
	if splits == 1 {
		return func(int) []float32 { return dw.f }
	}
	b := &buffer{words: splits * dw.words}
	o.writes = append(o.writes, b)
	return func(split int) []float32 { return b.f[split*dw.words : (split+1)*dw.words] }
}

// addPartialSums makes an operation add what the splits gave, in order.
func (c *compiler) addPartialSums(o *op, dw *buffer, partial func(split int) []float32, splits int) {
	if splits == 1 {
		return
	}
	o.phases = append(o.phases, cut(dw.words, 4096, func(_ *worker, lo, hi int) {
		sum := dw.f[lo:hi]
		copy(sum, partial(0)[lo:hi])
		for s := 1; s < splits; s++ {
			c.engine.path.WeightedSum(sum, 1, sum, 1, partial(s)[lo:hi], 0, nil)
		}
	}))
}

// largestDivisor is the largest divisor of n up to most, or 1.
func largestDivisor(n, most int) int {
	d := max(1, min(n, most))
	for n%d != 0 {
		d--
	}
	return d
}

// gradRun is some weight-gradient tiles side by side, from an input channel on.
type gradRun struct {
	kernel.Grad
	channel, tiles int
}

// gradsFor covers a number of input channels with tiles for blocks of outputs, the tallest first: these have the most sums under way, which hides the latency of the
// multiply-adds (on AVX-512 6x64 does a tenth more than 4x64).
func gradsFor(grads []kernel.Grad, block, channels int) []gradRun {
	least := 0 // the rows of the lowest: they divide every number of channels
	for _, k := range grads {
		if k.Block == block {
			least = k.Rows
		}
	}
	var runs []gradRun
	from := 0
	for _, k := range grads { // by falling rows
		if k.Block != block {
			continue
		}
		tiles := (channels - from) / k.Rows
		for (channels-from-tiles*k.Rows)%least != 0 { // leave what the lower ones can cover: of 32 channels not 2 but 8
			tiles--
		}
		if tiles > 0 {
			runs = append(runs, gradRun{k, from, tiles})
			from += tiles * k.Rows
		}
	}
	return runs
}

// runGrads sums products for all of the channels.
func runGrads(runs []gradRun, a *kernel.GradArgs) {
	x, dw := a.X, a.DW
	for _, r := range runs {
		a.X = unsafe.Add(x, 4*r.channel)
		a.DW = unsafe.Add(dw, int64(r.channel)*a.RowStride)
		a.Tiles = int64(r.tiles)
		r.Run(a)
	}
	a.X = x
}
