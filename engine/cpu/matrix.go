package cpu

import (
	"math"

	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// Operations on matrices: rows of channels.
var matrixOperations = operations{
	graph.MatMul:                 {kind: engine.Product, fits: multiplies, build: buildMatMul, emit: emitMatMul},
	graph.BiasAdd:                {build: buildBiasAdd, emit: emitBiasAdd},
	graph.L2Normalise:            {emit: emitL2Normalise},
	graph.L2NormaliseGrad:        {emit: emitL2NormaliseGrad},
	graph.RowDot:                 {emit: emitRowDot},
	graph.RowSum:                 {emit: emitRowSum},
	graph.ScaleRows:              {build: buildScaleRows, emit: emitScaleRows},
	graph.ScaleChannels:          {build: buildWise(wiseScale)},
	graph.ScaleChannelsGradScale: scaleGrad,
}

// multiplies is true of a product of two matrices, or of rows with one. There is no kernel for other
// batches of matrices.
func multiplies(n *graph.Node) bool {
	return len(n.In[0].Shape) == 2 && len(n.In[1].Shape) == 2 || linear(n) != nil
}

// emitMatMul packs its right operand in the tile's order and runs the tiles over the rows of the
// left one, as a convolution of one tap over an image one pixel wide.
func emitMatMul(c *compiler, s *step, o *op) {
	n, a := s.node, s.node.Attr.(graph.MatMulAttr)
	left, right, y := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
	rows, columns, inner := n.Shape[0], n.Shape[1], n.In[0].Shape[1]
	if a.TransposeA {
		inner = n.In[0].Shape[0]
		left = c.transposeRows(o, left, rows, inner)
	}
	packed := c.packed(o, right, columns, inner, a.TransposeB)
	o.then(c.product(o, y, left, packed, rows, channels(inner), columns, false))
}

// product is a phase that makes y, or adds to it, the product of a matrix with so many rows and of one
// that is packed: [columns/block][inner][block].
func (c *compiler) product(o *op, y, left, packed *buffer, rows, inner, columns int, add bool) phase {
	return c.engine.newTiling(product{
		x: left, w: packed, y: y, images: 1, height: rows, width: 1, pixels: rows,
		inner: inner, out: channels(columns), taps: 1, add: add,
		see: func(y, _ int) (int, [][2]int) { return y, [][2]int{{0, 0}} },
	}, o).phase()
}

// packed makes an operation lay the right operand of a product in the tile's order.
func (c *compiler) packed(o *op, x *buffer, columns, inner int, transposed bool) *buffer {
	block := c.engine.blockFor(channels(columns))
	y := o.work(float32s, channels(columns)/block*channels(inner), block)
	o.then(c.packColumns(x, y, columns, inner, transposed))
	return y
}

// transposeRows makes an operation transpose a matrix to one of so many rows and columns.
func (c *compiler) transposeRows(o *op, x *buffer, rows, columns int) *buffer {
	y := o.work(float32s, rows, channels(columns))
	o.then(cut(rows, 64, func(_ *worker, lo, hi int) {
		if columns < y.stride {
			clear(y.f32[lo*y.stride : hi*y.stride])
		}
		c.engine.path.Transpose(y.f32[lo*y.stride:], y.stride, x.f32[lo:], x.stride, columns, hi-lo)
	}))
	return y
}

// packColumns makes a phase that lays the right operand of a product in blocks of columns:
// [columns/block][inner][block]. A transposed one is [columns][inner].
func (c *compiler) packColumns(x, packed *buffer, columns, inner int, transposed bool) phase {
	block, depth := packed.stride, channels(inner)
	return phase{channels(columns) / block, func(_ *worker, part int) {
		panel := packed.f32[part*depth*block : (part+1)*depth*block]
		width := min(block, columns-part*block)
		if transposed {
			if width < block || inner < depth {
				clear(panel)
			}
			c.engine.path.Transpose(panel, block, x.f32[part*block*x.stride:], x.stride, width, inner)
			return
		}
		for r := range inner {
			copy(panel[r*block:(r+1)*block], x.f32[r*x.stride+part*block:])
		}
		clear(panel[inner*block:])
	}}
}

// buildBiasAdd makes a step of its own for matrices, whose features are float32.
func buildBiasAdd(c *compiler, n *graph.Node) {
	if len(n.Shape) > 2 {
		buildWise(wiseBias)(c, n)
		return
	}
	c.add(newStep(operationOf(n.Op), n, c.operands(n), []*value{c.result(n)}))
}

// buildScaleRows does likewise.
func buildScaleRows(c *compiler, n *graph.Node) {
	if len(n.Shape) > 2 {
		buildWise(wiseEach)(c, n)
		return
	}
	c.add(newStep(operationOf(n.Op), n, c.operands(n), []*value{c.result(n)}))
}

func emitBiasAdd(c *compiler, s *step, o *op) {
	x, b, y := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
	o.reuse = []*buffer{x}
	o.then(rowsPhase(s.node.Shape[0], y.stride, func(_ *worker, r int) {
		c.engine.path.WeightedSum(y.row(r), 1, x.row(r), 1, b.f32, 0, nil)
	}))
}

// smallestNorm is what a row is divided by at least: F.normalize's eps.
const smallestNorm = 1e-12

func rowNorm(path *kernel.Path, row []float32) float32 {
	return float32(max(math.Sqrt(float64(path.Dot(row, row))), smallestNorm))
}

func emitL2Normalise(c *compiler, s *step, o *op) {
	x, y, path := s.in[0].buffer, s.out[0].buffer, c.engine.path
	o.reuse = []*buffer{x}
	o.then(rowsPhase(s.node.Shape[0], y.stride, func(_ *worker, r int) {
		path.Scale(y.row(r), x.row(r), 1/rowNorm(path, x.row(r)))
	}))
}

func emitL2NormaliseGrad(c *compiler, s *step, o *op) {
	dy, x, dx, path := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer, c.engine.path
	o.reuse = []*buffer{dy, x}
	o.then(rowsPhase(s.node.Shape[0], dx.stride, func(_ *worker, r int) {
		norm := rowNorm(path, x.row(r))
		if norm == smallestNorm { // a constant there
			path.Scale(dx.row(r), dy.row(r), 1/norm)
			return
		}
		along := path.Dot(dy.row(r), x.row(r)) / (norm * norm)
		path.WeightedSum(dx.row(r), 1/norm, dy.row(r), -along/norm, x.row(r), 0, nil)
	}))
}

// perRow makes an operation that gives one value for each row.
func perRow(s *step, o *op, f func(r int) float32) {
	y, rows := s.out[0].buffer, s.node.Shape[0]
	o.then(serial(func(*worker) { clear(y.f32[rows:]) }),
		rowsPhase(rows, s.in[0].buffer.stride, func(_ *worker, r int) { y.f32[r] = f(r) }))
}

func emitRowDot(c *compiler, s *step, o *op) {
	a, b := s.in[0].buffer, s.in[1].buffer
	perRow(s, o, func(r int) float32 { return c.engine.path.Dot(a.row(r), b.row(r)) })
}

func emitRowSum(_ *compiler, s *step, o *op) {
	x := s.in[0].buffer
	perRow(s, o, func(r int) float32 {
		var sum float64
		for _, v := range x.row(r) {
			sum += float64(v)
		}
		return float32(sum)
	})
}

func emitScaleRows(c *compiler, s *step, o *op) {
	x, factor, y := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
	o.reuse = []*buffer{x}
	o.then(rowsPhase(s.node.Shape[0], y.stride, func(_ *worker, r int) {
		c.engine.path.Scale(y.row(r), x.row(r), factor.f32[r])
	}))
}
