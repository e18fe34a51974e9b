package cpu

import (
	"unsafe"

	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// weightGradient reads inputs and gradients of outputs, and gives the gradient of the weights.
var weightGradient = &operation{
	kind:   engine.Convolution,
	layout: func(*step) layout { return inTileOrder },
	build:  func(c *compiler, n *graph.Node) { c.addWeightGradient(n, c.newConvolution(n, n.In[0], n)) },
	name: func(s *step) string {
		if s.conv.way == winogradWay {
			return "ConvGradWeight (Winograd)"
		}
		return s.node.Op.String()
	},
	operands: func(c *compiler, s *step) {
		switch {
		case s.in[convX].layout == inImages:
		case s.conv.narrow(): // pixels are laid out 16 values at a time
			c.want(s, convX, inRows, float32s)
		default:
			c.stored(s, convX)
		}
		c.stored(s, convOther)
	},
	emit: func(c *compiler, s *step, o *op) {
		v := s.conv
		v.x, v.y, v.norm = s.in[convX].buffer, s.in[convOther].buffer, affineOf(s.in[convScale])
		dw := s.out[0].buffer
		if v.way == winogradWay {
			c.engine.newWinogradGrad(v, dw, o).emit(o)
			return
		}
		v.joinPatches()
		c.engine.newPixelGrad(v, dw, o).emit(o)
	},
}

// addWeightGradient makes the step of the weight gradient that node n is.
func (c *compiler) addWeightGradient(n *graph.Node, v *convolution) {
	in := c.operands(n)
	s := newStep(operationOf(graph.ConvGradWeight), n, []*value{convX: in[1], convOther: in[0], convScale: nil},
		[]*value{c.result(n)})
	s.conv = v
	c.add(s)
}

// A part of a weight gradient sums over gradPixels output pixels at a time, up to gradRows input
// channels (with narrow ones, several taps of them) times so many output blocks that its sums, in
// float32, take gradCache or less: half of the second-level cache. So inputs and gradients are read
// from beyond it once for many products, however far apart their pixels lie.
const (
	gradPixels = 128
	gradRows   = 256
	gradCache  = 512 << 10
)

// gradItems is how many parts a weight gradient should have at least, so that workers can share it.
const gradItems = 24

// pixelGrad sums products over all pixels: for a block of outputs the gradient is a matrix of
// taps*in rows, the transposed inputs below each tap times the gradients of the outputs. float32 is
// read where it lies. bfloat16 is laid side by side first, with zeros for what is outside of the
// image: in pairs of pixels if the processor multiplies those, else widened.
//
// The work is cut into groups of output blocks, ranges of input channels and, where these give too
// few parts, ranges of images, whose sums are then added in order. In its convolution, y is the
// gradient of the outputs.
type pixelGrad struct {
	*convolution
	path *kernel.Path
	gradCut
	sums partialSums

	// How pixels are laid out, and the rows that result: rows input channels by outStride outputs.
	layX, layY bool
	lay        func(dst []float32, pitch int, src kernel.Values, offsets []int32, width int)
	atOnce     int // pixels laid out at a time
	together   int // taps laid out at a time
	rows       int
	outStride  int

	whole, last chunkPixels // where the pixels of a chunk lie, and of the last one
	laid        []int32     // of pixels laid side by side
	runs        []gradRun
}

// chunkPixels is where the pixels of a chunk of images lie, in values from the chunk's first: of the
// outputs, and for each tap of the inputs.
type chunkPixels struct {
	places []int32
	below  [][]int32
	list   pixelLists // of pixels read where they lie
}

// pixels is where the pixels of a chunk lie.
func (g *pixelGrad) chunkPixels(chunk int) *chunkPixels {
	if chunk == g.chunks-1 {
		return &g.last
	}
	return &g.whole
}

// gradCut is how a weight gradient is cut into parts.
type gradCut struct {
	each    int // images in a chunk
	chunks  int
	inSize  int // values of a chunk
	outSize int
	width   int // input channels of a part
	ranges  int
	blocks  int // output blocks of a part
	groups  int
	splits  int // ranges of images
}

// cutGrad cuts a weight gradient.
func (v *convolution) cutGrad() gradCut {
	block := v.packing.block
	var c gradCut
	c.each = largestDivisor(v.images, 1024/(v.outH*v.outW))
	if v.outH*v.outW == 1 {
		// Single pixels, such as tokens, may be of any number: the last chunk has fewer.
		c.each = min(v.images, 1024)
	}
	c.chunks = (v.images + c.each - 1) / c.each
	c.inSize = c.each * v.height * v.width * v.x.stride
	c.outSize = c.each * v.outH * v.outW * v.y.stride
	c.width = largestDivisor(v.in, gradRows)
	c.ranges = v.in / c.width
	c.blocks = largestDivisor(v.out/block, gradCache/(4*v.packing.taps*c.width*block))
	c.groups = v.out / block / c.blocks
	c.splits = min(c.chunks, (gradItems+c.groups*c.ranges-1)/(c.groups*c.ranges))
	return c
}

// newPixelGrad plans a weight gradient: its cut, how pixels are laid out, and the lists of pixels.
func (e *Engine) newPixelGrad(v *convolution, dw *buffer, o *op) *pixelGrad {
	g := &pixelGrad{convolution: v, path: e.path, gradCut: v.cutGrad()}
	g.layX, g.layY = v.x.element == bfloat16s, v.y.element == bfloat16s
	g.sums = newPartialSums(o, dw, g.splits)
	block := v.packing.block

	grads := g.path.Grads
	g.lay, g.atOnce, g.together, g.outStride = g.path.Gather, gradPixels, 1, v.y.stride
	if g.layX {
		g.together = largestDivisor(v.packing.taps, gradRows/v.in)
	}
	if g.layY {
		g.outStride = block
	}
	g.rows = g.together * g.width
	if g.layX && g.layY && g.path.PairGrads != nil {
		g.lay, grads, g.atOnce = g.path.GatherPairs, g.path.PairGrads, 2*gradPixels
	}
	g.whole = g.newChunkPixels(g.each, o)
	g.last = g.whole
	if rest := v.images - (g.chunks-1)*g.each; rest < g.each {
		g.last = g.newChunkPixels(rest, o)
	}
	for i := range gradPixels {
		g.laid = append(g.laid, int32(4*i*g.rows), int32(4*i*g.outStride))
	}
	g.runs = gradsFor(grads, block, g.rows)
	keeps(o, g.laid)
	if g.layX || g.layY {
		o.needs(gradPixels * (g.rows + g.blocks*block))
	}
	return g
}

// newChunkPixels lists the pixels of a chunk of so many images. Of pairs there is an even number.
func (g *pixelGrad) newChunkPixels(images int, o *op) (c chunkPixels) {
	c.below, c.places = g.gradOffsets(images)
	if g.atOnce > gradPixels && len(c.places)%2 == 1 {
		c.places = append(c.places, -1)
		for t := range c.below {
			c.below[t] = append(c.below[t], -1)
		}
	}
	if !g.layX {
		c.list = newPixelLists(c.below, g.outStride)
	}
	keeps(o, c.places)
	keeps(o, c.list.pairs)
	for _, below := range c.below {
		keeps(o, below)
	}
	return c
}

// gradOffsets lists where a chunk of images' output pixels, and for each tap the input pixels below
// them, lie: in values from the chunk's first, -1 for what is outside of the image.
func (v *convolution) gradOffsets(images int) (in [][]int32, out []int32) {
	in = make([][]int32, v.packing.taps)
	for p := range images * v.outH * v.outW {
		n, y, x := p/(v.outH*v.outW), p/v.outW%v.outH, p%v.outW
		out = append(out, int32(p*v.y.stride))
		for t := range in {
			offset := -1
			iy, ix := y*v.stride-v.pad+t/v.kernel, x*v.stride-v.pad+t%v.kernel
			if v.patches {
				iy, ix = y*v.stride+t, x*v.stride
			}
			if iy >= 0 && iy < v.height && ix >= 0 && ix < v.width {
				offset = ((n*v.height+iy)*v.width + ix) * v.x.stride
			}
			in[t] = append(in[t], int32(offset))
		}
	}
	return in, out
}

// pixelLists are what the kernel reads where it lies: for each block of output pixels and each tap,
// pairs of byte offsets (input from the chunk's first, gradient from the block's first) of the
// pixels whose tap lies inside of the image.
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

// of is the list of a tap and a block of pixels.
func (l pixelLists) of(i int) []int32 { return l.pairs[l.start[i]:l.start[i+1]] }

// gradPart is one part of the work, and where its sums go.
type gradPart struct {
	split, group, from int // range of images, first output block, first input channel
	sums               []float32
	inputs, gradients  []float32 // room for what is laid out
}

// emit makes the phases: multiply, then reduce.
func (g *pixelGrad) emit(o *op) {
	block := g.packing.block
	o.then(phase{g.groups * g.ranges * g.splits, func(w *worker, part int) {
		rest := part % (g.groups * g.ranges)
		p := gradPart{
			split: part / (g.groups * g.ranges), group: rest / g.ranges * g.blocks, from: rest % g.ranges * g.width,
		}
		p.sums = g.sums.of(p.split)[p.group*g.packing.taps*g.in*block:]
		if g.layX || g.layY {
			p.inputs = w.floats(gradPixels * (g.rows + g.blocks*block))
			p.gradients = p.inputs[gradPixels*g.rows:]
		}
		g.clear(p)
		for chunk := g.chunks * p.split / g.splits; chunk < g.chunks*(p.split+1)/g.splits; chunk++ {
			pixels := len(g.chunkPixels(chunk).places)
			for lo := 0; lo < pixels; lo += g.atOnce {
				g.multiply(w, p, pixelBlock{chunk, lo, min(lo+g.atOnce, pixels)})
			}
		}
	}})
	o.then(g.sums.reduce(g.path)...)
}

// place is where the sums of an output block, a tap and the part's first input channel lie.
func (g *pixelGrad) place(p gradPart, b, tap int) int {
	return ((b*g.packing.taps+tap)*g.in + p.from) * g.packing.block
}

// clear sets a part's sums to zero.
func (g *pixelGrad) clear(p gradPart) {
	for b := range g.blocks {
		for t := range g.packing.taps {
			first := g.place(p, b, t)
			clear(p.sums[first : first+g.width*g.packing.block])
		}
	}
}

// pixelBlock is output pixels lo to hi of a chunk of images.
type pixelBlock struct{ chunk, lo, hi int }

// multiply adds the products of some pixels to a part's sums.
func (g *pixelGrad) multiply(w *worker, p gradPart, px pixelBlock) {
	block := g.packing.block
	pixels := g.chunkPixels(px.chunk)
	a := &w.grad
	*a = kernel.GradArgs{RowStride: int64(block * 4), Acc: 1}
	if g.layY {
		for b := range g.blocks {
			from := g.y.values(px.chunk*g.outSize+(p.group+b)*block, min((px.chunk+1)*g.outSize, g.y.count))
			g.lay(p.gradients[b*gradPixels*block:], block, from, pixels.places[px.lo:px.hi], block)
		}
	}
	for t := 0; t < g.packing.taps; t += g.together {
		list := g.layInputs(a, p, px, t)
		if len(list) == 0 {
			continue
		}
		a.Pixels, a.N = &list[0], int64(len(list)/2)
		for b := range g.blocks {
			if g.layY {
				a.DY = at(p.gradients, b*gradPixels*block)
			} else {
				a.DY = at(g.y.f32, px.chunk*g.outSize+px.lo*g.y.stride+(p.group+b)*block)
			}
			a.DW = at(p.sums, g.place(p, b, t))
			runGrads(g.runs, a)
		}
	}
}

// layInputs makes the inputs below tap t and those laid out with it ready, and lists their pixels.
func (g *pixelGrad) layInputs(a *kernel.GradArgs, p gradPart, px pixelBlock, t int) []int32 {
	first, pixels := px.chunk*g.inSize+p.from, g.chunkPixels(px.chunk)
	if !g.layX {
		a.X = at(g.x.f32, first)
		return pixels.list.of(px.lo/g.atOnce*g.packing.taps + t)
	}
	for i := range g.together {
		from := g.x.values(first, min((px.chunk+1)*g.inSize, g.x.count))
		g.lay(p.inputs[i*g.width:], g.rows, from, pixels.below[t+i][px.lo:px.hi], g.width)
	}
	a.X = at(p.inputs, 0)
	return g.laid[:2*((px.hi-px.lo)*gradPixels/g.atOnce)]
}

// partialSums is where the weight gradient of each range of images goes: to its place, if there is
// one range only, else to memory of its own, to be added up in order.
type partialSums struct {
	dw, all *buffer
	splits  int
}

func newPartialSums(o *op, dw *buffer, splits int) partialSums {
	s := partialSums{dw: dw, splits: splits}
	if splits > 1 {
		s.all = o.work(float32s, splits, dw.count)
	}
	return s
}

// of is the place of a range's sums.
func (s partialSums) of(split int) []float32 {
	if s.splits == 1 {
		return s.dw.f32
	}
	return s.all.row(split)
}

// reduce makes the phase that adds up what the ranges gave; none if there is one range.
func (s partialSums) reduce(path *kernel.Path) []phase {
	if s.splits == 1 {
		return nil
	}
	return []phase{cut(s.dw.count, 4096, func(_ *worker, lo, hi int) {
		sum := s.dw.f32[lo:hi]
		copy(sum, s.of(0)[lo:hi])
		for k := 1; k < s.splits; k++ {
			path.WeightedSum(sum, 1, sum, 1, s.of(k)[lo:hi], 0, nil)
		}
	})}
}

// gradRun is some weight-gradient tiles side by side, from an input channel on.
type gradRun struct {
	kernel.Grad
	channel, tiles int
}

// gradsFor covers a number of input channels with tiles for blocks of outputs, the tallest first:
// these have the most sums under way, which hides the latency of the multiply-adds (on AVX-512 6x64
// does a tenth more than 4x64).
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
		// Leave what the lower ones can cover: of 32 channels not 2 but 8.
		for (channels-from-tiles*k.Rows)%least != 0 {
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
