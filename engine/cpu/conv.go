package cpu

import (
	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// This file is what the three directions of a convolution and the three ways of computing one
// share. A way is chosen by shape alone: Winograd's (winograd.go, winogradgrad.go), one product of
// matrices for 1x1 convolutions (pointwise.go), or the direct tiles (direct.go, convgrad.go) for
// everything else.

var convOperations = operations{
	graph.Conv:           forward,
	graph.ConvGradInput:  dataGradient,
	graph.ConvGradWeight: weightGradient,
}

// The operands of the steps of a convolution.
const (
	convX     = iota // what is convolved: inputs or, of the data gradient, gradients of outputs
	convOther        // weights or, of the weight gradient, gradients of outputs
	convScale        // of a batch norm whose normalised value, through a ReLU, is what is convolved
	convAdd          // what the data gradient is added to
	convOperands
)

// geometry is the shape of a convolution from input to output.
type geometry struct {
	images        int
	height, width int // of the input
	outH, outW    int
	kernel        int
	stride, pad   int
}

// way is how a convolution is computed.
type way uint8

const (
	directWay way = iota + 1
	pointwiseWay
	winogradWay
)

// convolution is one convolution or gradient as all ways of computing it take it.
type convolution struct {
	geometry
	// in and out are the padded channels of what is read and of what is written. The weight
	// gradient has those of the convolution.
	in, out int
	packing packing // of the graph's weights
	turned  bool    // the data gradient: the same convolution from the outputs to the inputs
	way     way
	patches bool  // a tap is a whole row of a window: see joinPatches
	pixels  split // into which the output is cut, if it is written part by part

	// What follows is known when the operation is emitted.
	x, w, y, add *buffer
	norm         *affine       // if given, what is convolved is relu(norm(x))
	eachBlock    []columnsWork // the epilogue: what is done to each block of channels,
	after        []rowsWork    // and behind that to each part
}

// newConvolution describes the convolution of a node n, or the one that it is a gradient of. output
// and weights are nodes that have the shapes of the convolution's.
func (c *compiler) newConvolution(n, output, weights *graph.Node) *convolution {
	a, out := n.Attr.(graph.ConvAttr), output.Shape
	p := c.engine.packingOf(weights.Shape)
	g := geometry{
		images: out[0], height: a.Height, width: a.Width, outH: out[1], outW: out[2],
		kernel: a.Kernel, stride: a.Stride, pad: a.Pad,
	}
	return &convolution{geometry: g, in: p.inPad, out: p.outPad, packing: p}
}

// laysOut reports whether the convolution lays out its inputs itself, and may normalise them on the
// way. Such a convolution also writes its output part by part.
func (v *convolution) laysOut() bool { return v.way != directWay }

// chooseWays decides how each convolution is computed.
func (c *compiler) chooseWays() {
	for _, s := range c.steps {
		v := s.conv
		if v == nil {
			continue
		}
		switch {
		case c.engine.winogradFits(v.geometry, v.in):
			v.way = winogradWay
		case v.kernel == 1 && v.stride == 1 && v.pad == 0 && v.packing.inPad%lanes == 0:
			v.way = pointwiseWay
		default:
			v.way = directWay
		}
	}
}

// forward is y = x by weights, with an epilogue if it is computed part by part.
var forward = &operation{
	kind:     engine.Convolution,
	element:  activation,
	build:    func(c *compiler, n *graph.Node) { c.addForward(n, c.newConvolution(n, n, n.In[1])) },
	name:     convName,
	operands: convOperandForms,
	emit:     emitConvolution,
}

// dataGradient is the same convolution with transposed weights: the gradient of an input pixel
// gathers from the outputs that it went into.
var dataGradient = &operation{
	kind:     engine.Convolution,
	element:  activation,
	build:    func(c *compiler, n *graph.Node) { c.addDataGradient(n, c.newConvolution(n, n.In[0], n.In[1])) },
	name:     convName,
	operands: convOperandForms,
	emit:     emitConvolution,
}

// addForward makes the step of a convolution that node n is.
func (c *compiler) addForward(n *graph.Node, v *convolution) {
	in := c.operands(n)
	s := newStep(operationOf(graph.Conv), n, []*value{convX: in[0], convOther: in[1], convAdd: nil},
		[]*value{c.result(n)})
	s.conv = v
	c.add(s)
}

// addDataGradient makes the steps of the data gradient that node n is.
func (c *compiler) addDataGradient(n *graph.Node, v *convolution) {
	in := c.operands(n)
	v.turned = true
	v.in, v.out = v.packing.outPad, channels(v.packing.in) // rows are as wide as any activation's
	block := c.engine.blockFor(v.out)
	w := c.newPrivate(n.In[1], v.packing.taps*v.in*v.out/block, block)
	c.add(newStep(transposeWeights, n, []*value{in[1]}, []*value{w})).turn = v
	s := newStep(operationOf(graph.ConvGradInput), n, []*value{convX: in[0], convOther: w, convAdd: nil},
		[]*value{c.result(n)})
	s.conv = v
	c.add(s)
}

// convName is a name that says what was fused and which way was taken.
func convName(s *step) string {
	label := s.node.Op.String()
	if s.in[convAdd] != nil {
		label += "+Add"
	}
	switch {
	case s.node.Op == graph.MatMul: // there is one way only
	case s.conv.way == winogradWay:
		label += " (Winograd)"
	case s.conv.way == pointwiseWay:
		label += " (1x1)"
	}
	return label
}

// convOperandForms brings the operands into what a convolution's way reads. Images stay narrow for
// the direct tiles. bfloat16 stays if the way widens it itself, or if the tiles multiply it.
func convOperandForms(c *compiler, s *step) {
	switch {
	case s.conv.laysOut():
		c.stored(s, convX)
	case s.in[convX].element == bfloat16s && !c.engine.pairsFit(s.conv, bfloat16s), s.in[convX].layout == inTileOrder:
		c.want(s, convX, inRows, float32s)
	case s.conv.turned:
		c.stored(s, convX)
	}
	if !s.conv.turned {
		c.want(s, convOther, inTileOrder, float32s)
	}
	c.want(s, convAdd, inRows, s.out[0].element)
}

// narrow tells whether a convolution's weights have rows of four values: they do where it reads up to
// four channels, be it an image or what another operation has made.
func (v *convolution) narrow() bool { return v.packing.inPad < lanes }

// joinPatches makes one tap of each row of a window where windows lie side by side, as the patches of
// a transformer do: the row's values are neighbours in the image, and so are their weights. A tap of
// 16 pixels of an image is then 64 products, in place of 16 taps of 4, which take as long again.
func (v *convolution) joinPatches() {
	if v.stride != v.kernel || v.kernel == 1 || v.pad != 0 || v.turned || v.x.stride != v.in || v.patches {
		return
	}
	v.patches = true
	v.in *= v.kernel
	v.packing.taps = v.kernel
}

// pairsFit tells whether tiles multiply a convolution's input in pairs, if it is of type x. They take
// 16 bytes of a row at a time.
func (e *Engine) pairsFit(v *convolution, x element) bool {
	return x == bfloat16s && e.path.Pairs != nil && (v.turned || !v.narrow())
}

// bind gives a convolution its buffers.
func (v *convolution) bind(s *step) {
	v.x, v.w, v.y = s.in[convX].buffer, s.in[convOther].buffer, s.out[0].buffer
	v.norm = affineOf(s.in[convScale])
	if a := s.in[convAdd]; a != nil {
		v.add = a.buffer
	}
}

// emitConvolution is a forward convolution or a data gradient.
func emitConvolution(c *compiler, s *step, o *op) {
	v := s.conv
	v.bind(s)
	if v.add != nil {
		o.reuse = []*buffer{v.add}
	}
	v.bindEpilogue(c, s, o)
	switch v.way {
	case winogradWay:
		c.engine.newWinograd(v).emit(v, o)
	case pointwiseWay:
		c.engine.newPointwise(v, o).emit(v, o)
	default:
		c.engine.direct(v, o)
	}
}

// bindEpilogue makes the work of a convolution's epilogue.
func (v *convolution) bindEpilogue(c *compiler, s *step, o *op) {
	for _, e := range s.epilogue {
		switch {
		case e.operation.rows != nil:
			v.after = append(v.after, e.operation.rows(c, e, v.pixels.splits))
		case v.way == pointwiseWay && len(v.after) == 0:
			v.eachBlock = append(v.eachBlock, e.operation.columns(c, e, o))
		default:
			f := e.operation.columns(c, e, o)
			v.after = append(v.after, func(w *worker, _, _, lo, hi int) { f(w, lo, hi, columns{0, v.y.stride}) })
		}
		if e.operation == takeStatistics {
			o.sums = max(o.sums, v.y.stride)
		}
	}
}

// finish does the epilogue of a part that is written.
func (v *convolution) finish(w *worker, part, split int) {
	for _, f := range v.after {
		f(w, part, split, v.pixels.bounds[part], v.pixels.bounds[part+1])
	}
}

// cut decides into which parts of the batch a convolution that writes in parts is cut.
func (v *convolution) cut(e *Engine, s *step) {
	splits := splitsBehind(s.out[0])
	if v.way == winogradWay {
		v.pixels = winogradPixels(v, splits)
		return
	}
	if n := s.in[convScale]; n != nil && n.rows > 3 {
		splits = n.rows / 3 // a part has one normalisation
	}
	v.pixels = e.pointwisePixels(v, splits, s.in[convX].element, s.out[0].element)
}

// transposeWeights writes [in/block][tap][out][block] from packed weights, in blocks as large as
// the kernels like.
var transposeWeights = &operation{
	kind:     engine.Convolution,
	helper:   true,
	name:     func(s *step) string { return s.node.Op.String() + " (weights)" },
	operands: func(c *compiler, s *step) { c.want(s, 0, inTileOrder, float32s) },
	emit: func(c *compiler, s *step, o *op) {
		src, dst, p, in := s.in[0].buffer, s.out[0].buffer, s.turn.packing, s.turn.out
		block := dst.stride
		width := min(block, p.inPad)
		o.then(phase{p.outPad / p.block * p.taps, func(_ *worker, part int) {
			ob, t := part/p.taps, part%p.taps
			from := src.f32[(ob*p.taps+t)*p.inPad*p.block:]
			for cb := range in / block {
				to := dst.f32[((cb*p.taps+t)*p.outPad+ob*p.block)*block:]
				if width < block {
					clear(to[:p.block*block])
				}
				c.engine.path.Transpose(to, block, from[cb*block*p.block:], p.block, width, p.block)
			}
		}})
	},
}

// pairWeights makes an operation lay weights in pairs of bfloat16 before it does anything else with
// them.
func (e *Engine) pairWeights(v *convolution, o *op, block int) *buffer {
	b := o.work(bfloat16s, v.out*v.packing.taps/block, v.in*block)
	w := v.w
	o.then(phase{v.out / block * v.packing.taps, func(_ *worker, part int) {
		lo, hi := part*v.in*block, (part+1)*v.in*block
		e.path.Pair(b.bf16[lo:hi], w.f32[lo:hi], block)
	}})
	return b
}

// tileFor is the tile for a number of outputs, of float32 or in pairs of bfloat16.
func (e *Engine) tileFor(out int, pairs bool) kernel.Tile {
	tiles := e.path.Tiles
	if pairs {
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

// longestChain is how many products are added up in a register before the sum is added to memory. A
// float32 sum of n products is off by about sqrt(n) roundings, and deep networks turn the noise of
// their convolutions into ReLUs that flip: in the reference case of ResNet-50 the worst gradient's
// norm was off by 1e-2 with chains of 576 and by 3.6e-3 with 144. Adding to memory so often costs 2
// to 3% of a convolution.
const longestChain = 144

// chains is into how many sums those over a row of channels are cut. A sum that is rounded to
// bfloat16 is rounded once, so it stays whole.
func chains(channels int, result element) int {
	if result == bfloat16s {
		return 1
	}
	n := (channels + longestChain - 1) / longestChain
	for channels%(4*n) != 0 {
		n++
	}
	return n
}

// flopsEach bounds one part of a convolution, and so one call of a tile kernel, which cannot be
// interrupted: at some hundred GFLOP/s this is about 50 microseconds.
const flopsEach = 8 << 20

// tileLists are the rows that the tiles of one matrix product read and write, in bytes from its
// first.
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

// count counts the lists of an operation.
func (l tileLists) count(o *op) {
	keeps(o, l.in)
	keeps(o, l.out)
}

// bf16Flag is TileArgs.BF16 for a result.
func bf16Flag(y *buffer) int64 {
	if y.element == bfloat16s {
		return 1
	}
	return 0
}
