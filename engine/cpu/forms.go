package cpu

import (
	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// This file assigns layouts and types to values, and supplies steps with copies where they read
// another form than the one that was written.

// weightsOf finds the nodes that convolutions and products of rows read or make as weights. What goes
// with them value by value belongs to them: their momenta, and the weights of the key encoder. Where
// a variable lies in the tile's order follows from this use, not from its number of axes.
func weightsOf(g *graph.Graph) map[*graph.Node]bool {
	weights := map[*graph.Node]bool{}
	for _, n := range g.Nodes {
		switch n.Op {
		case graph.Conv, graph.ConvGradInput:
			weights[n.In[1]] = true
		case graph.ConvGradWeight:
			weights[n] = true
		case graph.MatMul:
			switch linear(n) {
			case forward, dataGradient:
				weights[n.In[1]] = true
			case weightGradient:
				weights[n] = true
			}
		}
	}
	for changed := true; changed; {
		changed = false
		together := func(a, b *graph.Node) {
			if weights[a] != weights[b] && a.Shape.Equal(b.Shape) {
				weights[a], weights[b], changed = true, true, true
			}
		}
		for _, n := range g.Nodes {
			switch n.Op {
			case graph.WeightedSum, graph.Detach, graph.SumReplicas, graph.SecondMoment, graph.AdamStep, graph.Orthogonalise:
				for _, x := range n.In {
					together(n, x)
				}
			}
		}
		for _, a := range g.Assignments {
			together(a.Variable, a.Value)
		}
	}
	return weights
}

// assignLayouts gives each step's first result its layout. Weights stay in the tile's order and
// images narrow through operations that work value by value or row by row; everything else is rows.
func (c *compiler) assignLayouts() {
	for _, s := range c.steps {
		if len(s.out) == 0 || s.out[0] == nil || s.out[0].layout != noLayout {
			continue
		}
		s.out[0].layout = inRows
		if s.operation.layout != nil {
			s.out[0].layout = s.operation.layout(s)
		}
	}
	for _, v := range c.values {
		if v.layout == noLayout {
			v.layout = inRows
		}
	}
}

// assignElements gives each value its type, operands before results.
func (c *compiler) assignElements() {
	for _, s := range c.steps {
		for i, v := range s.out {
			switch {
			case v == nil || v.element != noElement:
			case i == 0 && s.operation.element != nil:
				v.element = s.operation.element(c, s)
			default:
				v.element = float32s
			}
		}
	}
	for _, v := range c.values { // of batch norms that their readers compute
		if v.element == noElement && v.norm != nil {
			v.element = v.norm.in[0].element
		}
	}
}

// activation is the type of what the graph calls activations: bfloat16 if it allows that.
func activation(c *compiler, s *step) element {
	if c.graph.Precision == graph.BFloat16 && s.out[0].node.Activation {
		return bfloat16s
	}
	return float32s
}

// likeOperand is the type of an operand.
func likeOperand(i int) func(*compiler, *step) element {
	return func(_ *compiler, s *step) element { return s.in[i].element }
}

// weightsStay is the layout of an elementwise result: weights if an operand is.
func weightsStay(s *step) layout {
	for _, v := range s.in {
		if v.layout == inTileOrder {
			return inTileOrder
		}
	}
	return inRows
}

// imagesStay is the layout of rows taken from a value: images stay narrow.
func imagesStay(s *step) layout {
	a, ok := s.node.Attr.(graph.SliceAttr)
	if s.in[0].layout == inImages && !(ok && a.Axis > 0) {
		return inImages
	}
	return inRows
}

// supply inserts the copies that steps need, each before the first step that reads it.
func (c *compiler) supply() {
	c.rewrite(func(s *step) {
		if s.operation.operands != nil {
			s.operation.operands(c, s)
			return
		}
		for i := range s.in {
			c.want(s, i, inRows, float32s)
		}
	})
}

// want makes operand i of a step lie in a layout and have a type. noLayout and noElement take what
// it has. Integers and private values have but one form.
func (c *compiler) want(s *step, i int, l layout, e element) {
	v := s.in[i]
	if v == nil {
		return
	}
	if w := c.form(v, l, e); w != v {
		s.read(i, w)
	}
}

// stored makes an operand rows, of float32 or bfloat16 as it is.
func (c *compiler) stored(s *step, i int) { c.want(s, i, inRows, noElement) }

// like makes an operand rows of the type of operand k: one call of a kernel reads but one type.
func (c *compiler) like(s *step, i, k int) { c.want(s, i, inRows, s.in[k].element) }

// form is a value in a layout and type: itself, or a copy that this appends to the list if it is
// not there yet.
func (c *compiler) form(v *value, l layout, e element) *value {
	if v.element == int32s || v.layout == private {
		return v
	}
	if e == noElement {
		e = v.element
	}
	if (l == noLayout || v.layout == l) && v.element == e {
		return v
	}
	for _, w := range v.copies {
		if (l == noLayout || w.layout == l) && w.element == e {
			return w
		}
	}
	from, o := v, widen
	switch {
	case l == inTileOrder:
		from, o = c.form(v, inRows, float32s), packWeights
	case e == bfloat16s:
		from, o = c.form(v, inRows, float32s), narrow
	case v.layout == inTileOrder:
		o = unpackWeights
	case v.layout == inImages:
		o = padRows
	}
	w := c.newValue(v.node)
	w.layout, w.element = l, e
	if l == noLayout {
		w.layout = inRows
	}
	v.copies = append(v.copies, w)
	c.add(newStep(o, v.node, []*value{from}, []*value{w}))
	return w
}

// The conversions.
var (
	widen = moving("Widen", func(c *compiler, s *step, o *op) {
		x, y := s.in[0].buffer, s.out[0].buffer
		o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
			c.engine.path.Widen(y.f32[lo:hi], x.bf16[lo:hi])
		}))
	})
	narrow = moving("Narrow", func(c *compiler, s *step, o *op) {
		x, y := s.in[0].buffer, s.out[0].buffer
		o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
			c.engine.path.Narrow(y.bf16[lo:hi], x.f32[lo:hi])
		}))
	})
	padRows = moving("Pad rows", func(_ *compiler, s *step, o *op) {
		x, y := s.in[0].buffer, s.out[0].buffer
		o.then(rowsPhase(y.count/y.stride, y.stride, func(_ *worker, r int) {
			row := y.row(r)
			copy(row, x.row(r))
			clear(row[x.stride:])
		}))
	})
	// Weights that are neither variables nor made of some are packed by packWeights. No step of
	// training has such weights, so this is not made fast.
	packWeights = moving("Pack", func(c *compiler, s *step, o *op) {
		x, y, shape := s.in[0].buffer, s.out[0].buffer, s.out[0].node.Shape
		packing := c.engine.packingOf(shape)
		rows, ch := rowsOf(shape)
		plain := o.work(float32s, 1, shape.Elements())
		o.then(serial(func(*worker) {
			gather(plain.f32, x.f32, rows, ch, x.stride)
			packing.pack(y.f32, plain.f32)
		}))
	})
	unpackWeights = moving("Unpack", func(c *compiler, s *step, o *op) {
		x, y, shape := s.in[0].buffer, s.out[0].buffer, s.out[0].node.Shape
		packing := c.engine.packingOf(shape)
		rows, ch := rowsOf(shape)
		plain := o.work(float32s, 1, shape.Elements())
		o.then(serial(func(*worker) {
			packing.unpack(plain.f32, x.f32)
			spread(y.f32, plain.f32, rows, ch, y.stride)
		}))
	})
)

// moving is an operation that copies its operand, in whatever form that has.
func moving(name string, emit func(c *compiler, s *step, o *op)) *operation {
	return &operation{kind: engine.Move, helper: true, name: named(name), operands: asItIs, emit: emit}
}

// asItIs reads operands in whatever form they have.
func asItIs(*compiler, *step) {}

// host is a tensor that the caller fills or reads.
type host struct {
	tensor *tensor.Tensor
	name   string
}

// inputOperation copies an input's tensor into the engine's layout.
var inputOperation = &operation{
	kind: engine.Move,
	build: func(c *compiler, n *graph.Node) {
		h := &host{tensor.New(n.Type, engine.HostShape(n, c.team.share.Count)...), n.Name}
		c.inputs[n.Name] = h
		c.add(newStep(operationOf(graph.Input), n, nil, []*value{c.result(n)})).host = h
	},
	layout: func(s *step) layout {
		if _, ch := rowsOf(s.node.Shape); len(s.node.Shape) == 4 && imageChannels(ch) < channels(ch) {
			return inImages
		}
		return inRows
	},
	emit: func(c *compiler, s *step, o *op) {
		b, h := s.out[0].buffer, s.host.tensor
		rows, ch := rowsOf(s.node.Shape)
		above := c.rowsAbove(s.node, rows)
		o.then(cut(rows, 4096, func(_ *worker, lo, hi int) {
			from := (above() + lo) * ch
			if b.element == int32s {
				copy(b.i32[lo*ch:hi*ch], h.Int32s()[from:])
				return
			}
			spread(b.f32[lo*b.stride:], h.Float32s()[from:], hi-lo, ch, b.stride)
		}))
	},
}

// outputOperation copies a value into an output's tensor.
var outputOperation = &operation{
	kind:     engine.Move,
	helper:   true,
	name:     named("Output"),
	operands: func(c *compiler, s *step) { c.want(s, 0, noLayout, float32s) },
	emit: func(c *compiler, s *step, o *op) {
		b, h := s.in[0].buffer, s.host.tensor
		rows, ch := rowsOf(s.node.Shape)
		above := c.rowsAbove(s.node, rows)
		if s.in[0].layout == inTileOrder {
			packing := c.engine.packingOf(s.node.Shape)
			o.then(serial(func(*worker) { packing.unpack(h.Float32s()[above()*ch:], b.f32) }))
			return
		}
		o.then(cut(rows, 4096, func(_ *worker, lo, hi int) {
			to := (above() + lo) * ch
			if b.element == int32s {
				copy(h.Int32s()[to:], b.i32[lo*ch:hi*ch])
				return
			}
			gather(h.Float32s()[to:], b.f32[lo*b.stride:], hi-lo, ch, b.stride)
		}))
	},
}

// rowsAbove tells how many rows of an input's or output's tensor belong to replicas before the one
// whose turn it is.
func (c *compiler) rowsAbove(n *graph.Node, rows int) func() int {
	if !n.Varies {
		return func() int { return 0 }
	}
	team := c.team
	return func() int { return team.turn * rows }
}

// assign makes values variables. A value that is computed into the variable's own place needs
// nothing: the plan decides that after this, from the reads listed here. Others are copied at the
// end, all of them after every read.
func (c *compiler) assign() {
	var copies []*step
	for _, a := range c.graph.Assignments {
		variable := c.of[a.Variable.ID]
		v := c.form(c.of[a.Value.ID], variable.layout, variable.element)
		if v == variable {
			continue
		}
		if v.pinned { // another variable: its old value must survive until all are read
			kept := c.newValue(v.node)
			kept.layout, kept.element = v.layout, v.element
			c.add(newStep(keepOperation, v.node, []*value{v}, []*value{kept}))
			v = kept
		}
		s := newStep(assignOperation, a.Value, []*value{v}, nil)
		s.variable = variable
		copies = append(copies, s)
	}
	for _, s := range copies {
		c.add(s)
	}
}

// keepOperation copies a variable's old value; assignOperation copies a value into its variable.
var (
	keepOperation = moving("Keep", func(_ *compiler, s *step, o *op) {
		o.then(copyPhase(s.out[0].buffer, s.in[0].buffer))
	})

	assignOperation = moving("Assign", func(c *compiler, s *step, o *op) {
		o.writes, o.assigns = []*buffer{s.variable.buffer}, true
		o.then(copyPhase(s.variable.buffer, s.in[0].buffer))
	})
)

// copyPhase copies a buffer to another of the same form, unless it lies there already.
func copyPhase(dst, src *buffer) phase {
	return cut(dst.count, 4*elementsEach, func(_ *worker, lo, hi int) {
		if dst.root() != src.root() {
			dst.copyValues(src, lo, hi)
		}
	})
}
