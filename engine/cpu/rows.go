package cpu

import (
	"moco/graph"
)

// Operations that move rows, and those that read the rows of a bank that an index names.

// wordsOfRow is the size of one row of n, stored as b is, in words of 4 bytes.
func wordsOfRow(n *graph.Node, b *buffer) int {
	pixels, _ := rowsOf(n.Shape[1:])
	return pixels * b.stride * b.bytes() / 4
}

// within keeps an index from reading another value's memory.
func within(i int32, rows int) int { return min(max(int(i), 0), rows-1) }

func (c *compiler) gatherRows(n *graph.Node) {
	x, index := c.values[n.In[0]], c.values[n.In[1]]
	if isWeights(n.In[0]) {
		x = c.value(n.In[0])
	}
	rows := n.In[0].Shape[0]
	y := c.resultLike(n, x)
	each := n.Shape[1:].Elements() // words: int32 values are dense
	if n.Type == float {
		each = wordsOfRow(n, x)
	}
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x, index}, writes: []*buffer{y}, phases: []phase{
		rowsPhase(n.Shape[0], each, func(_ *worker, r int) {
			from := within(index.i[r], rows)
			copy(y.i[r*each:(r+1)*each], x.i[from*each:(from+1)*each])
		}),
	}})
}

func (c *compiler) writeRows(n *graph.Node) {
	x, rows, place := c.value(n.In[0]), c.value(n.In[1]), c.values[n.In[2]]
	y := c.result(n)
	each := 1 // a vector's row is one value
	if len(n.Shape) == 2 {
		each = y.stride
	}
	total, count := n.Shape[0], n.In[1].Shape[0]
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x, rows, place}, writes: []*buffer{y}, reuse: []*buffer{x}, phases: []phase{
		serial(func(*worker) {
			if x.root() != y.root() {
				copy(y.i, x.i)
			}
			to := ((int(place.i[0]) % total) + total) % total
			for r := range count {
				copy(y.i[to*each:(to+1)*each], rows.i[r*each:(r+1)*each])
				if to++; to == total {
					to = 0
				}
			}
		}),
	}})
}

func (c *compiler) advance(n *graph.Node) {
	a := n.Attr.(graph.AdvanceAttr)
	x := c.value(n.In[0])
	y := c.result(n)
	c.emit(&op{node: n, reads: []*buffer{x}, writes: []*buffer{y}, reuse: []*buffer{x}, phases: []phase{
		serial(func(*worker) { y.i[0] = int32((int(x.i[0]) + a.By) % a.Modulo) }),
	}})
}

// rows is a part of a value, copied.
func (c *compiler) rows(n *graph.Node) {
	x := c.values[n.In[0]]
	if isWeights(n.In[0]) {
		x = c.value(n.In[0])
	}
	y := c.resultLike(n, x)
	each := n.Shape[1:].Elements()
	if n.Type == float {
		each = wordsOfRow(n, x)
	}
	from := n.Attr.(graph.RowsAttr).From * each
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{y}, phases: []phase{
		cut(n.Shape[0]*each, elementsEach, func(_ *worker, lo, hi int) { copy(y.i[lo:hi], x.i[from+lo:from+hi]) }),
	}})
}

func (c *compiler) rowsGrad(n *graph.Node) {
	dy := c.value(n.In[0])
	dx := c.result(n)
	from, count := n.Attr.(graph.RowsGradAttr).From, n.In[0].Shape[0]
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{dy}, writes: []*buffer{dx}, phases: []phase{
		rowsPhase(n.Shape[0], dx.stride, func(_ *worker, r int) {
			if r < from || r >= from+count {
				clear(dx.row(r))
				return
			}
			copy(dx.row(r), dy.row(r-from))
		}),
	}})
}

func (c *compiler) concat(n *graph.Node) {
	a, b := c.value(n.In[0]), c.value(n.In[1])
	y := c.result(n)
	above := n.In[0].Shape[0]
	if n.Type != float {
		c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{a, b}, writes: []*buffer{y}, phases: []phase{serial(func(*worker) {
			copy(y.i, a.i[:above])
			copy(y.i[above:], b.i[:n.In[1].Shape[0]])
		})}})
		return
	}
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{a, b}, writes: []*buffer{y}, phases: []phase{
		rowsPhase(n.Shape[0], y.stride, func(_ *worker, r int) {
			if r < above {
				copy(y.row(r), a.row(r))
			} else {
				copy(y.row(r), b.row(r-above))
			}
		}),
	}})
}

// replaceRows is done in place where the bank's old value is not needed, and without an order among the workers: later rows of the same
// index must win.
func (c *compiler) replaceRows(n *graph.Node) {
	x, rows, index := c.values[n.In[0]], c.value(n.In[1]), c.values[n.In[2]]
	y := c.resultLike(n, x)
	total, count := n.Shape[0], n.In[1].Shape[0]
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x, rows, index}, writes: []*buffer{y}, reuse: []*buffer{x}, phases: []phase{
		serial(func(*worker) {
			if x.root() != y.root() {
				copy(y.i, x.i)
			}
			for r := range count {
				to := within(index.i[r], total) * y.stride
				if y.half {
					c.engine.path.Narrow(y.h[to:to+y.stride], rows.row(r))
				} else {
					copy(y.f[to:to+y.stride], rows.row(r))
				}
			}
		}),
	}})
}

// bankRow is a row of a bank as float32, by way of a worker's memory where it is kept as bfloat16.
func (c *compiler) bankRow(bank *buffer, row []float32, i int) []float32 {
	if !bank.half {
		return bank.row(i)
	}
	c.engine.path.Widen(row, bank.h[i*bank.stride:(i+1)*bank.stride])
	return row
}

func (c *compiler) gatherDot(n *graph.Node) {
	x, bank, index := c.value(n.In[0]), c.values[n.In[1]], c.values[n.In[2]]
	y := c.result(n)
	total, each := n.In[1].Shape[0], n.Shape[1]
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x, bank, index}, writes: []*buffer{y}, phases: []phase{
		rowsPhase(n.Shape[0], each*bank.stride, func(w *worker, r int) {
			row := w.floats(bank.stride)
			clear(y.row(r)[each:])
			for m := range each {
				y.f[r*y.stride+m] = c.engine.path.Dot(x.row(r), c.bankRow(bank, row, within(index.i[r*each+m], total)))
			}
		}),
	}})
}

func (c *compiler) gatherDotGrad(n *graph.Node) {
	dy, bank, index := c.value(n.In[0]), c.values[n.In[1]], c.values[n.In[2]]
	dx := c.result(n)
	total, each := n.In[1].Shape[0], n.In[0].Shape[1]
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{dy, bank, index}, writes: []*buffer{dx}, phases: []phase{
		rowsPhase(n.Shape[0], each*bank.stride, func(w *worker, r int) {
			row, sum := w.floats(bank.stride), dx.row(r)
			clear(sum)
			for m := range each {
				key := c.bankRow(bank, row, within(index.i[r*each+m], total))
				c.engine.path.WeightedSum(sum, 1, sum, dy.f[r*dy.stride+m], key, 0, nil)
			}
		}),
	}})
}
