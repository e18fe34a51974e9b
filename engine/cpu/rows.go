package cpu

import (
	"slices"

	"moco/engine"
	"moco/graph"
)

// Operations that move rows, and those that read the rows of a bank that an index names.
var rowOperations = operations{
	graph.GatherRows: {
		kind: engine.Move, layout: imagesStay, element: likeRows, operands: anyRows, emit: emitGatherRows,
	},
	graph.ReplaceRows: {
		kind: engine.Move, element: likeRows, emit: emitReplaceRows,
		operands: func(c *compiler, s *step) { c.want(s, 1, inRows, float32s) },
	},
	graph.WriteRows:     {kind: engine.Move, emit: emitWriteRows},
	graph.Advance:       {emit: emitAdvance},
	graph.GatherDot:     {operands: bankAsItIs, emit: emitGatherDot},
	graph.GatherDotGrad: {operands: bankAsItIs, emit: emitGatherDotGrad},
}

// anyRows takes rows as they lie, images too. Weights are made rows.
func anyRows(c *compiler, s *step) {
	if s.in[0].layout == inTileOrder {
		c.want(s, 0, inRows, float32s)
	}
}

// imagesOnly is the layout of rows of several values: images stay narrow if all are images.
func imagesOnly(s *step) layout {
	if s.node.Attr.(graph.ConcatAttr).Axis > 0 || slices.ContainsFunc(s.in, func(v *value) bool { return v.layout != inImages }) {
		return inRows
	}
	return inImages
}

// sameRows takes operands of one form, which is the result's.
func sameRows(c *compiler, s *step) {
	for i := range s.in {
		c.want(s, i, s.out[0].layout, s.out[0].element)
	}
}

// bankAsItIs takes the bank, operand 1, in the type that it is kept in.
func bankAsItIs(c *compiler, s *step) { c.want(s, 0, inRows, float32s) }

// likeRows is the type of what rows are taken from.
func likeRows(_ *compiler, s *step) element { return s.in[0].element }

// rowSize is the size of one row of a value of n, stored as b is, in values.
func rowSize(n *graph.Node, b *buffer) int {
	if b.element == int32s {
		return n.Shape[1:].Elements()
	}
	pixels, _ := rowsOf(n.Shape[1:])
	return pixels * b.stride
}

// rowsIn is the number of values that the rows of a node take, stored as b is.
func rowsIn(n *graph.Node, b *buffer) int {
	if b.element == int32s {
		return n.Shape.Elements()
	}
	rows, _ := rowsOf(n.Shape)
	return rows * b.stride
}

// within keeps an index from reading another value's memory.
func within(i int32, rows int) int { return min(max(int(i), 0), rows-1) }

func emitGatherRows(_ *compiler, s *step, o *op) {
	x, index, y := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
	rows := s.node.In[0].Shape[0]
	each := rowSize(s.node, x)
	bytes := each * x.element.size()
	o.then(rowsPhase(s.node.Shape[0], each, func(_ *worker, r int) {
		from := within(index.i32[r], rows)
		copy(y.raw[r*bytes:(r+1)*bytes], x.raw[from*bytes:(from+1)*bytes])
	}))
}

func emitWriteRows(_ *compiler, s *step, o *op) {
	x, rows, place, y := s.in[0].buffer, s.in[1].buffer, s.in[2].buffer, s.out[0].buffer
	n := s.node
	each := x.element.size() // a vector's row is one value
	if len(n.Shape) == 2 {
		each *= y.stride
	}
	total, count := n.Shape[0], n.In[1].Shape[0]
	o.reuse = []*buffer{x}
	o.then(serial(func(*worker) {
		if x.root() != y.root() {
			copy(y.raw, x.raw)
		}
		to := ((int(place.i32[0]) % total) + total) % total
		for r := range count {
			copy(y.raw[to*each:(to+1)*each], rows.raw[r*each:(r+1)*each])
			if to++; to == total {
				to = 0
			}
		}
	}))
}

func emitAdvance(_ *compiler, s *step, o *op) {
	x, y, a := s.in[0].buffer, s.out[0].buffer, s.node.Attr.(graph.AdvanceAttr)
	o.reuse = []*buffer{x}
	o.then(serial(func(*worker) { y.i32[0] = int32((int(x.i32[0]) + a.By) % a.Modulo) }))
}

// emitReplaceRows works in place where the bank's old value is not needed. It is one part, since of
// several rows with the same index the last must win.
func emitReplaceRows(c *compiler, s *step, o *op) {
	x, rows, index, y := s.in[0].buffer, s.in[1].buffer, s.in[2].buffer, s.out[0].buffer
	total, count := s.node.Shape[0], s.node.In[1].Shape[0]
	o.reuse = []*buffer{x}
	o.then(serial(func(*worker) {
		if x.root() != y.root() {
			copy(y.raw, x.raw)
		}
		for r := range count {
			to := within(index.i32[r], total) * y.stride
			if y.element == bfloat16s {
				c.engine.path.Narrow(y.bf16[to:to+y.stride], rows.row(r))
			} else {
				copy(y.f32[to:to+y.stride], rows.row(r))
			}
		}
	}))
}

// bankRow is a row of a bank as float32, by way of a worker's memory where it is kept as bfloat16.
func (c *compiler) bankRow(bank *buffer, row []float32, i int) []float32 {
	if bank.element == float32s {
		return bank.row(i)
	}
	c.engine.path.Widen(row, bank.bf16[i*bank.stride:(i+1)*bank.stride])
	return row
}

func emitGatherDot(c *compiler, s *step, o *op) {
	x, bank, index, y := s.in[0].buffer, s.in[1].buffer, s.in[2].buffer, s.out[0].buffer
	total, each := s.node.In[1].Shape[0], s.node.Shape[1]
	o.needs(bank.stride)
	o.then(rowsPhase(s.node.Shape[0], each*bank.stride, func(w *worker, r int) {
		row := w.floats(bank.stride)
		clear(y.row(r)[each:])
		for m := range each {
			key := c.bankRow(bank, row, within(index.i32[r*each+m], total))
			y.f32[r*y.stride+m] = c.engine.path.Dot(x.row(r), key)
		}
	}))
}

func emitGatherDotGrad(c *compiler, s *step, o *op) {
	dy, bank, index, dx := s.in[0].buffer, s.in[1].buffer, s.in[2].buffer, s.out[0].buffer
	total, each := s.node.In[1].Shape[0], s.node.In[0].Shape[1]
	o.needs(bank.stride)
	o.then(rowsPhase(s.node.Shape[0], each*bank.stride, func(w *worker, r int) {
		row, sum := w.floats(bank.stride), dx.row(r)
		clear(sum)
		for m := range each {
			key := c.bankRow(bank, row, within(index.i32[r*each+m], total))
			c.engine.path.WeightedSum(sum, 1, sum, dy.f32[r*dy.stride+m], key, 0, nil)
		}
	}))
}
