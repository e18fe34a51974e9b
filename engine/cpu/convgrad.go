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
// channels (of several taps, where they are laid out together) times so many output blocks that its
// sums, in float32, take half of the second-level cache or less. So inputs and gradients are read from
// beyond it once for many products, however far apart their pixels lie.
const (
	gradPixels = 128
	gradRows   = 256
)

// farApart is the distance in bytes from which on pixels are laid side by side before they are
// multiplied. A page apart, each has a page of its own and all share one set of the first-level cache:
// on Zen 5 the weight gradient of 1024 channels runs at two thirds of the speed of 512. Nearer ones are
// read where they lie, since reading ahead then overlaps with multiplying.
const farApart = 4096

// oddGap is what is added to the distance of pixels laid side by side, in floats, so that they do not
// share a set of the cache again.
const oddGap = lanes

// gradItems is how many parts a weight gradient should have at least, so that workers can share it.
const gradItems = 24

// pixelGrad sums products over all pixels: for a block of outputs the gradient is a matrix of
// taps*in rows, the transposed inputs below each tap times the gradients of the outputs.
//
// Each operand is read where it lies, or laid side by side first: bfloat16 in pairs of pixels if the
// processor multiplies those, else widened; and float32 whose pixels are far apart. An image of up to
// four channels gets a border of zeros instead. Then the taps of a row of the kernel lie side by side
// below every pixel, and are multiplied as the channels of one.
//
// The work is cut into groups of output blocks, ranges of input channels and, where these give too
// few parts, ranges of images, whose sums are then added in order. In its convolution, y is the
// gradient of the outputs.
type pixelGrad struct {
	*convolution
	path *kernel.Path
	gradCut
	sums partialSums

	inputs, gradients gradOperand
	layX, layDY       laying // how they are laid
	atOnce            int    // pixels at a time: gradPixels, or as many pairs
	beside            int    // entries of the list of pixels whose gradients lie side by side
	together          int    // taps multiplied together
	runs              []gradRun
	whole, last       chunkPixels // where the pixels of a chunk lie, and of the last one
}

// laying is kernel.Path's Gather, GatherPairs or GatherRight.
type laying func(dst []float32, pitch int, src kernel.Values, offsets []int32, width int)

// chunkPixels is where the pixels of a chunk of images lie.
type chunkPixels struct {
	images int
	places []int32 // of the gradient, in values from the chunk's first
	lists  pixelLists
}

// pixels is where the pixels of a chunk lie.
func (g *pixelGrad) pixels(chunk int) *chunkPixels {
	if chunk == g.chunks-1 {
		return &g.last
	}
	return &g.whole
}

// gradOperand is how the kernel reads an operand.
type gradOperand struct {
	laid  bool // side by side in scratch memory, not where it lies
	pitch int  // floats from pixel to pixel
	room  int  // floats of scratch memory
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

// cutGrad cuts a weight gradient for a cache of so many bytes. Into how many ranges images are cut
// decides how sums are added up, so that is the same for all caches.
func (v *convolution) cutGrad(cache int) gradCut {
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
	if v.in%lanes == 0 { // rows are laid side by side in groups of lanes
		c.width = lanes * largestDivisor(v.in/lanes, gradRows/lanes)
	}
	c.ranges = v.in / c.width
	blocksFor := func(cache int) int {
		return largestDivisor(v.out/block, cache/2/(4*v.packing.taps*c.width*block))
	}
	parts := v.out / block / blocksFor(usualCache) * c.ranges
	c.splits = min(c.chunks, (gradItems+parts-1)/parts)
	c.blocks = blocksFor(cache)
	c.groups = v.out / block / c.blocks
	return c
}

// newPixelGrad plans a weight gradient: its cut, how pixels are laid out, and the lists of pixels.
func (e *Engine) newPixelGrad(v *convolution, dw *buffer, o *op) *pixelGrad {
	g := &pixelGrad{convolution: v, path: e.path, gradCut: v.cutGrad(e.cache), together: 1}
	g.sums = newPartialSums(o, dw, g.splits)
	grads, each := g.path.Grads, 1
	g.layX, g.layDY, g.beside = g.path.Gather, g.path.Gather, 1
	if v.x.element == bfloat16s && v.y.element == bfloat16s && g.path.PairGrads != nil {
		grads, each = g.path.PairGrads, 2
		g.layX, g.layDY, g.beside = g.path.GatherPairs, g.path.GatherRight, g.path.PairDepth/2
	}
	g.atOnce = each * gradPixels
	g.inputs, g.gradients = newGradOperand(v.x, v.stride), newGradOperand(v.y, 1)
	if g.gradients.laid {
		g.gradients.layOut(g.blocks * v.packing.block)
	}
	switch {
	case g.bordered():
		g.together = v.kernel
		g.inputs = gradOperand{pitch: v.in, room: g.each * (v.height + 2*v.pad) * g.line()}
	case g.inputs.laid:
		g.together = largestDivisor(v.packing.taps, gradRows/v.in)
		g.inputs.layOut(g.together * g.width)
	}
	g.runs = gradsFor(grads, v.packing.block, g.together*g.width)
	g.whole = g.newChunkPixels(g.each, each, o)
	g.last = g.whole
	if rest := v.images - (g.chunks-1)*g.each; rest < g.each {
		g.last = g.newChunkPixels(rest, each, o)
	}
	o.needs(g.inputs.room + g.gradients.room)
	return g
}

// newGradOperand decides how pixels are read of which every so many-th is.
func newGradOperand(b *buffer, stride int) gradOperand {
	return gradOperand{laid: b.element == bfloat16s || 4*stride*b.stride >= farApart, pitch: b.stride}
}

// layOut makes room for gradPixels rows of so many floats.
func (o *gradOperand) layOut(width int) {
	o.pitch = width + oddGap
	o.room = gradPixels * o.pitch
}

// bordered tells whether images are laid with a border of zeros. Taps side by side are then neighbours
// in memory and are multiplied together; those of patches are joined already (joinPatches).
func (g *pixelGrad) bordered() bool { return g.narrow() && !g.patches }

// line is the floats of a line of a narrow image with its border.
func (g *pixelGrad) line() int { return (g.convolution.width + 2*g.pad) * g.in }

// newChunkPixels lists the pixels of a chunk of so many images, which are read each or in pairs.
func (g *pixelGrad) newChunkPixels(images, each int, o *op) chunkPixels {
	below, places := g.gradOffsets(images, each*g.beside)
	for len(places)%(each*g.beside) != 0 {
		places = append(places, -1)
		for t := range below {
			below[t] = append(below[t], -1)
		}
	}
	if g.bordered() {
		below = g.borderedOffsets(images)
	}
	c := chunkPixels{images, places, g.newPixelLists(below, each)}
	keeps(o, c.places)
	keeps(o, c.lists.inputs)
	keeps(o, c.lists.pairs)
	return c
}

// gradOffsets lists where a chunk of images' output pixels, and for each tap the input pixels below
// them, lie: in values from the chunk's first, -1 for what is outside of the image. The same pixel of
// so many images comes together, before the next pixel.
func (v *convolution) gradOffsets(images, together int) (in [][]int32, out []int32) {
	in = make([][]int32, v.packing.taps)
	for first := 0; first < images; first += together {
		n := min(together, images-first)
		for i := range n * v.outH * v.outW {
			image, p := first+i%n, i/n
			out = append(out, int32((image*v.outH*v.outW+p)*v.y.stride))
			for t := range in {
				offset := -1
				iy, ix := p/v.outW*v.stride-v.pad+t/v.kernel, p%v.outW*v.stride-v.pad+t%v.kernel
				if v.patches {
					iy, ix = p/v.outW*v.stride+t, p%v.outW*v.stride
				}
				if iy >= 0 && iy < v.height && ix >= 0 && ix < v.width {
					offset = ((image*v.height+iy)*v.width + ix) * v.x.stride
				}
				in[t] = append(in[t], int32(offset))
			}
		}
	}
	return in, out
}

// borderedOffsets lists where the first inputs below a chunk's output pixels lie, in images with a
// border.
func (g *pixelGrad) borderedOffsets(images int) [][]int32 {
	var in []int32
	for p := range images * g.outH * g.outW {
		n, y, x := p/(g.outH*g.outW), p/g.outW%g.outH, p%g.outW
		in = append(in, int32((n*(g.height+2*g.pad)+y*g.stride)*g.line()+x*g.stride*g.in))
	}
	return [][]int32{in}
}

// pixelLists say which pixels are multiplied, for each block of output pixels and each tap. Pixels
// whose tap lies outside of the image are left out: of 2x2 pixels those are 20 of 36 products of a 3x3
// convolution, of 3x3 pixels 32 of 81. Pixels that are laid in pairs, or in fours, are left out if all
// of them are outside, and so are the same pixels of several images (see gradOffsets).
type pixelLists struct {
	taps   int
	inputs []int32  // to lay out, in values from the chunk's first; -1 are zeros
	pairs  []int32  // for the kernel: byte offsets into the inputs and into the block's gradients
	start  [][2]int // of block*taps+tap in both; one more at the end
}

func (g *pixelGrad) newPixelLists(below [][]int32, each int) pixelLists {
	l := pixelLists{taps: len(below)}
	for lo := 0; lo < len(below[0]); lo += g.atOnce {
		for t, offsets := range below {
			l.start = append(l.start, [2]int{len(l.inputs), len(l.pairs)})
			first := t - t%g.together // taps that are multiplied together share the pixels
			shared := below[first:min(first+g.together, len(below))]
			laid := 0
			for i := lo; i < min(lo+g.atOnce, len(offsets)); i += each * g.beside {
				if outside(shared, i, i+each*g.beside) {
					continue
				}
				for j := i; j < i+each*g.beside; j += each {
					offset := offsets[j]
					if g.inputs.laid {
						l.inputs = append(l.inputs, offsets[j:j+each]...)
						offset = int32(laid * g.inputs.pitch)
						laid++
					}
					l.pairs = append(l.pairs, 4*offset, int32(4*((j-lo)/each)*g.gradients.pitch))
				}
			}
		}
	}
	l.start = append(l.start, [2]int{len(l.inputs), len(l.pairs)})
	return l
}

// outside reports whether pixels lo to hi are outside of the image below each of some taps.
func outside(taps [][]int32, lo, hi int) bool {
	for _, offsets := range taps {
		for _, offset := range offsets[lo:hi] {
			if offset >= 0 {
				return false
			}
		}
	}
	return true
}

// of is the lists of a block of pixels and a tap.
func (l *pixelLists) of(block, tap int) (inputs, pairs []int32) {
	from, to := l.start[block*l.taps+tap], l.start[block*l.taps+tap+1]
	return l.inputs[from[0]:to[0]], l.pairs[from[1]:to[1]]
}

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
		p.inputs = w.floats(g.inputs.room + g.gradients.room)
		p.gradients = p.inputs[g.inputs.room:]
		g.clear(p)
		for chunk := g.chunks * p.split / g.splits; chunk < g.chunks*(p.split+1)/g.splits; chunk++ {
			if g.bordered() {
				g.layImages(p.inputs, chunk)
			}
			pixels := len(g.pixels(chunk).places)
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

// layImages lays the images of a chunk with a border of zeros.
func (g *pixelGrad) layImages(dst []float32, chunk int) {
	line, border := g.line(), g.pad*g.in
	for i := range g.pixels(chunk).images * (g.height + 2*g.pad) {
		to, y := dst[i*line:(i+1)*line], i%(g.height+2*g.pad)-g.pad
		if y < 0 || y >= g.height {
			clear(to)
			continue
		}
		clear(to[:border])
		clear(to[line-border:])
		from := g.x.f32[chunk*g.inSize+(i/(g.height+2*g.pad)*g.height+y)*g.convolution.width*g.x.stride:]
		if g.x.stride == g.in {
			copy(to[border:line-border], from)
			continue
		}
		for x := range g.convolution.width {
			copy(to[border+x*g.in:][:g.in], from[x*g.x.stride:])
		}
	}
}

// multiply adds the products of some pixels to a part's sums.
func (g *pixelGrad) multiply(w *worker, p gradPart, px pixelBlock) {
	block := g.packing.block
	a := &w.grad
	*a = kernel.GradArgs{RowStride: int64(block * 4), Acc: 1}
	gradients := g.layGradients(p, px)
	for t := 0; t < g.packing.taps; t += g.together {
		inputs, pairs := g.layInputs(p, px, t)
		if len(pairs) == 0 {
			continue
		}
		a.X, a.Pixels, a.N = inputs, &pairs[0], int64(len(pairs)/2)
		for b := range g.blocks {
			a.DY, a.DW = unsafe.Add(gradients, 4*g.beside*b*block), at(p.sums, g.place(p, b, t))
			runGrads(g.runs, a)
		}
	}
}

// layGradients makes the gradients of some pixels ready.
func (g *pixelGrad) layGradients(p gradPart, px pixelBlock) unsafe.Pointer {
	first := px.chunk*g.outSize + p.group*g.packing.block
	if !g.gradients.laid {
		return at(g.y.f32, first+px.lo*g.y.stride)
	}
	from := g.y.values(first, min((px.chunk+1)*g.outSize, g.y.count))
	g.layDY(p.gradients, g.gradients.pitch, from, g.pixels(px.chunk).places[px.lo:px.hi], g.blocks*g.packing.block)
	return at(p.gradients, 0)
}

// layInputs makes the inputs below tap t and those multiplied with it ready, and lists their pixels.
func (g *pixelGrad) layInputs(p gradPart, px pixelBlock, t int) (inputs unsafe.Pointer, pairs []int32) {
	lists, block, first := &g.pixels(px.chunk).lists, px.lo/g.atOnce, px.chunk*g.inSize+p.from
	if g.bordered() {
		_, pairs = lists.of(block, 0)
		return at(p.inputs, t/g.kernel*g.line()), pairs
	}
	_, pairs = lists.of(block, t)
	if !g.inputs.laid {
		return at(g.x.f32, first), pairs
	}
	from := g.x.values(first, min((px.chunk+1)*g.inSize, g.x.count))
	for i := range g.together {
		if offsets, _ := lists.of(block, t+i); len(offsets) > 0 {
			g.layX(p.inputs[i*g.width:], g.inputs.pitch, from, offsets, g.width)
		}
	}
	return at(p.inputs, 0), pairs
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
// these have the most sums under way, which hides the latency of the multiply-adds (on AVX2 6x16
// does a sixth more than 4x16).
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
