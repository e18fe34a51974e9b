package cpu

import (
	"fmt"
	"math"

	"moco/graph"
)

// Operations on matrices: rows of channels.

// matMul packs its right operand in the tile's order and runs the tiles over the rows of the left one, as a
// convolution of one tap over an image one pixel wide.
func (c *compiler) matMul(n *graph.Node) {
	if len(n.In[0].Shape) != 2 || len(n.In[1].Shape) != 2 {
		c.fail(fmt.Errorf("the cpu engine cannot run %v: there is no kernel for batches of matrices", n))
		return
	}
	at := n.Attr.(graph.MatMulAttr)
	a, b := c.value(n.In[0]), c.value(n.In[1])
	rows, out := n.Shape[0], channels(n.Shape[1])
	inner := n.In[0].Shape[1]
	path := c.engine.path
	var phases []phase
	var writes []*buffer
	left := a
	if at.TransposeA {
		inner = n.In[0].Shape[0]
		left = &buffer{words: rows * channels(inner), stride: channels(inner)}
		writes = append(writes, left)
		phases = append(phases, cut(rows, 64, func(_ *worker, lo, hi int) {
			if inner < left.stride {
				clear(left.f[lo*left.stride : hi*left.stride])
			}
			path.Transpose(left.f[lo*left.stride:], left.stride, a.f[lo:], a.stride, inner, hi-lo)
		}))
	}
	depth := channels(inner)
	y := c.result(n)
	t := c.engine.newTiling(left, y, 1, rows, 1, rows, depth, 1, out, func(y, x int) (int, [][2]int) { return y, [][2]int{{0, 0}} })
	right := &buffer{words: depth * out, stride: t.tile.Block}
	block := t.tile.Block
	columns := n.Shape[1]
	phases = append(phases, phase{t.blocks, func(_ *worker, part int) {
		panel := right.f[part*depth*block : (part+1)*depth*block]
		width := min(block, columns-part*block)
		if at.TransposeB { // b is [columns][inner]
			if width < block || inner < depth {
				clear(panel)
			}
			path.Transpose(panel, block, b.f[part*block*b.stride:], b.stride, width, inner)
			return
		}
		for r := range inner {
			copy(panel[r*block:(r+1)*block], b.f[r*b.stride+part*block:])
		}
		clear(panel[inner*block:])
	}}, t.phase(left, right, y, false))
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{a, b}, writes: append([]*buffer{y, right}, writes...), phases: phases})
}

// rowsPhase makes a phase over the rows of a matrix, some at a time.
func rowsPhase(rows, ch int, f func(w *worker, r int)) phase {
	return cut(rows, max(1, elementsEach/max(ch, 1)), func(w *worker, lo, hi int) {
		for r := lo; r < hi; r++ {
			f(w, r)
		}
	})
}

// row is row r of a buffer, padding included.
func (b *buffer) row(r int) []float32 { return b.f[r*b.stride : (r+1)*b.stride] }

func (c *compiler) biasAdd(n *graph.Node) {
	x, b := c.value(n.In[0]), c.value(n.In[1])
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x, b}, writes: []*buffer{y}, reuse: []*buffer{x}, phases: []phase{
		rowsPhase(n.Shape[0], y.stride, func(_ *worker, r int) {
			c.engine.path.WeightedSum(y.row(r), 1, x.row(r), 1, b.f, 0, nil)
		}),
	}})
}

// smallestNorm is what a row is divided by at least: F.normalize's eps.
const smallestNorm = 1e-12

func (c *compiler) norm(row []float32) float32 {
	return float32(max(math.Sqrt(float64(c.engine.path.Dot(row, row))), smallestNorm))
}

func (c *compiler) l2Normalise(n *graph.Node) {
	x := c.value(n.In[0])
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{y}, reuse: []*buffer{x}, phases: []phase{
		rowsPhase(n.Shape[0], y.stride, func(_ *worker, r int) {
			c.engine.path.Scale(y.row(r), x.row(r), 1/c.norm(x.row(r)))
		}),
	}})
}

func (c *compiler) l2NormaliseGrad(n *graph.Node) {
	dy, x := c.value(n.In[0]), c.value(n.In[1])
	dx := c.result(n)
	path := c.engine.path
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{dy, x}, writes: []*buffer{dx}, reuse: []*buffer{dy, x}, phases: []phase{
		rowsPhase(n.Shape[0], dx.stride, func(_ *worker, r int) {
			norm := c.norm(x.row(r))
			if norm == smallestNorm { // a constant there
				path.Scale(dx.row(r), dy.row(r), 1/norm)
				return
			}
			along := path.Dot(dy.row(r), x.row(r)) / (norm * norm)
			path.WeightedSum(dx.row(r), 1/norm, dy.row(r), -along/norm, x.row(r), 0, nil)
		}),
	}})
}

// perRow makes an operation that gives one value for each row.
func (c *compiler) perRow(n *graph.Node, f func(r int) float32, reads ...*buffer) {
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: reads, writes: []*buffer{y}, phases: []phase{
		serial(func(*worker) { clear(y.f[n.Shape[0]:]) }),
		rowsPhase(n.Shape[0], reads[0].stride, func(_ *worker, r int) { y.f[r] = f(r) }),
	}})
}

func (c *compiler) rowDot(n *graph.Node) {
	a, b := c.value(n.In[0]), c.value(n.In[1])
	c.perRow(n, func(r int) float32 { return c.engine.path.Dot(a.row(r), b.row(r)) }, a, b)
}

func (c *compiler) rowSum(n *graph.Node) {
	x := c.value(n.In[0])
	c.perRow(n, func(r int) float32 {
		var s float64
		for _, v := range x.row(r) {
			s += float64(v)
		}
		return float32(s)
	}, x)
}

func (c *compiler) scaleRows(n *graph.Node) {
	x, s := c.value(n.In[0]), c.value(n.In[1])
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x, s}, writes: []*buffer{y}, reuse: []*buffer{x}, phases: []phase{
		rowsPhase(n.Shape[0], y.stride, func(_ *worker, r int) {
			c.engine.path.Scale(y.row(r), x.row(r), s.f[r])
		}),
	}})
}
