package cpu

import (
	"slices"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// This file is what follows a product of token rows: a bias, LayerScale, drop path and the residual
// are one function of each value of a row, and GELU is one too. A product does them to each block of
// channels that it has just written (finishBlocks).

// The operands of a channelwise step, in the order in which they are applied:
//
//	y = (x + bias[c]) * scale[c] * each[example] + residual
//
// All but x may be missing.
const (
	wiseX = iota
	wiseBias
	wiseScale
	wiseEach
	wiseResidual
	wiseOperands
)

// The operands of a GELU step; there may be no bias.
const (
	geluX = iota
	geluBias
)

// columnsWork is what a step does to some neighbouring channels of rows lo to hi.
type columnsWork func(w *worker, lo, hi int, c columns)

// columns is channels from..from+count-1.
type columns struct{ from, count int }

// of is the columns of rows lo to hi of a buffer, as kernels take them: from the first value on.
func (c columns) of(b *buffer, lo, hi int) kernel.Values {
	return b.values(lo*b.stride+c.from, hi*b.stride)
}

// part is the columns of a row of factors.
func (c columns) part(row []float32) []float32 { return row[c.from : c.from+c.count] }

// buildWise makes the step of a node that adds a bias or scales. operand is what its second operand
// becomes.
func buildWise(operand int) func(c *compiler, n *graph.Node) {
	return func(c *compiler, n *graph.Node) {
		in := make([]*value, wiseOperands)
		given := c.operands(n)
		in[wiseX], in[operand] = given[0], given[1]
		o := channelwise
		if len(n.In[1].Shape) > 1 { // positions: the bias has rows of its own
			o, in = addRows, given
		}
		c.add(newStep(o, n, in, []*value{c.result(n)}))
	}
}

var channelwise = &operation{
	element: likeOperand(wiseX),
	name: func(s *step) string {
		name := ""
		for i, part := range []string{wiseBias: "Bias", wiseScale: "Scale", wiseEach: "ScaleRows", wiseResidual: "Add"} {
			if part != "" && s.in[i] != nil {
				name += "+" + part
			}
		}
		return name[1:]
	},
	operands: func(c *compiler, s *step) {
		c.stored(s, wiseX)
		c.like(s, wiseResidual, wiseX)
		for i := wiseBias; i <= wiseEach; i++ {
			c.want(s, i, inRows, float32s)
		}
	},
	columns: func(c *compiler, s *step, o *op) columnsWork { return c.newWise(s, o).work },
	emit:    emitColumns,
}

// fuseWise makes one step of what follows each other value by value: biases and scales in the order
// of a channelwise step's operands, the residual behind them, and GELU behind a bias.
func (c *compiler) fuseWise() {
	c.each(func(s *step) {
		switch {
		case s.operation == channelwise:
			if before := plainWise(s.in[wiseX], slices.IndexFunc(s.in[1:], isValue)+1); before != nil {
				for i := wiseBias; i < wiseOperands; i++ {
					if s.in[i] != nil {
						before.read(i, s.in[i])
					}
				}
				c.takePlace(before, s)
			}
		case s.operation == gelu:
			if before := plainWise(s.in[geluX], wiseScale); before != nil {
				x, bias := before.in[wiseX], before.in[wiseBias]
				c.drop(before)
				s.read(geluX, x)
				s.read(geluBias, bias)
			}
		case isSum(s.node) && s.operation == operationOf(graph.WeightedSum) && s.in[0] != s.in[1]:
			for i, v := range s.in {
				if before := plainWise(v, wiseResidual); before != nil {
					before.read(wiseResidual, s.in[1-i])
					c.takePlace(before, s)
					return
				}
			}
		}
	})
}

func isValue(v *value) bool { return v != nil }

// plainWise is the channelwise step that makes v, if only the step that asks reads v, and the step
// has none of the operands from one on; else nil.
func plainWise(v *value, from int) *step {
	if v.madeBy(channelwise) && v.only() && !slices.ContainsFunc(v.producer.in[from:], isValue) {
		return v.producer
	}
	return nil
}

// takePlace makes a step write what another one wrote, in its place.
func (c *compiler) takePlace(s, other *step) {
	y := other.out[0]
	c.drop(other)
	c.settle(s, other)
	s.write(0, y)
}

// finishBlocks moves steps that work value by value into the product that makes what they read. They
// are done to each block of channels when the tiles have written it.
func (c *compiler) finishBlocks() {
	c.each(func(s *step) {
		if s.operation.columns == nil {
			return
		}
		x := s.in[0]
		product := x.producer
		if !product.inParts() || s.out[0].element != x.element || readBetween(product, s) {
			return
		}
		for i, v := range s.in {
			if v == nil || v == x {
				continue
			}
			// A row of factors is float32; of everything else one call takes one type.
			e := x.element
			if s.operation != geluGrad && i != wiseResidual {
				e = float32s
			}
			if v.layout != inRows || v.element != e {
				return
			}
		}
		// What else the step reads is there by now.
		c.vacate(product)
		product.at = s.at
		for _, e := range product.epilogue {
			e.at = s.at
		}
		c.absorb(product, s, x.only())
		c.steps[product.at] = product
	})
}

// readBetween reports whether somebody reads what a step writes before another step stands.
func readBetween(s, until *step) bool {
	early := false
	s.writes(func(v *value) {
		early = early || slices.ContainsFunc(v.readers, func(r *step) bool { return r.at > s.at && r.at < until.at })
	})
	return early
}

// emitColumns does a step's work in a pass over memory of its own.
func emitColumns(c *compiler, s *step, o *op) {
	for _, v := range s.in {
		if v != nil && v.layout == inRows && v.element == s.out[0].element {
			o.reuse = append(o.reuse, v.buffer)
		}
	}
	f, y := s.operation.columns(c, s, o), s.out[0].buffer
	o.then(cut(y.count/y.stride, max(1, elementsEach/y.stride), func(w *worker, lo, hi int) {
		f(w, lo, hi, columns{0, y.stride})
	}))
}

// wise is a channelwise step's buffers.
type wise struct {
	path              *kernel.Path
	x, y, residual    *buffer
	bias, scale, each *buffer
	factors           *buffer // what is taken from x, a scale, zeros: [3][C]
	rows              int     // of an example
}

// newWise makes a step's factors an operation's first phase.
func (c *compiler) newWise(s *step, o *op) *wise {
	v := &wise{path: c.engine.path, y: s.out[0].buffer}
	for i, b := range []**buffer{&v.x, &v.bias, &v.scale, &v.each, &v.residual} {
		if s.in[i] != nil {
			*b = s.in[i].buffer
		}
	}
	all, _ := rowsOf(s.node.Shape)
	v.rows = all / s.node.Shape[0]
	v.factors = o.work(float32s, 3, v.y.stride)
	if v.each != nil {
		o.sums = max(o.sums, v.y.stride)
	}
	o.then(serial(func(*worker) {
		less, scale := v.factors.row(0), v.factors.row(1)
		clear(less)
		clear(v.factors.row(2))
		if v.bias != nil {
			v.path.Scale(less, v.bias.f32[:len(less)], -1)
		}
		if v.scale != nil {
			copy(scale, v.scale.f32)
			return
		}
		for i := range scale {
			scale[i] = 1
		}
	}))
	return v
}

func (v *wise) work(w *worker, lo, hi int, c columns) {
	if v.each == nil {
		v.apply(lo, hi, c, c.part(v.factors.row(1)))
		return
	}
	scale := w.sums(c.count)
	for lo < hi { // example by example
		n := lo / v.rows
		to := min(hi, (n+1)*v.rows)
		v.path.Scale(scale, c.part(v.factors.row(1)), v.each.f32[n])
		v.apply(lo, to, c, scale)
		lo = to
	}
}

// apply does rows of one scale.
func (v *wise) apply(lo, hi int, c columns, scale []float32) {
	a := kernel.NormaliseArgs{
		Y: c.of(v.y, lo, hi), X: c.of(v.x, lo, hi), Channels: v.y.stride, Columns: c.count,
		Affine: kernel.Affine{Mean: c.part(v.factors.row(0)), Scale: scale, Shift: c.part(v.factors.row(2))},
	}
	if v.residual != nil {
		a.Residual = c.of(v.residual, lo, hi)
	}
	v.path.Normalise(a)
}

// addRows adds a matrix [T,C] to each example [T,C] of x.
var addRows = &operation{
	name:     named("BiasAdd"),
	element:  likeOperand(0),
	operands: func(c *compiler, s *step) { c.stored(s, 0); c.want(s, 1, inRows, float32s) },
	emit: func(c *compiler, s *step, o *op) {
		x, b, y, path := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer, c.engine.path
		rows := b.count / b.stride
		o.reuse = []*buffer{x}
		if y.element == bfloat16s {
			o.needs(y.stride)
		}
		o.then(rowsPhase(y.count/y.stride, y.stride, func(w *worker, r int) {
			if y.element == float32s {
				path.WeightedSum(y.row(r), 1, x.row(r), 1, b.row(r%rows), 0, nil)
				return
			}
			row := w.floats(y.stride)
			path.Widen(row, x.bf16[r*x.stride:(r+1)*x.stride])
			path.WeightedSum(row, 1, row, 1, b.row(r%rows), 0, nil)
			path.Narrow(y.bf16[r*y.stride:(r+1)*y.stride], row)
		}))
	},
}

var gelu = &operation{
	element: likeOperand(geluX),
	name: func(s *step) string {
		if s.in[geluBias] != nil {
			return "Bias+GELU"
		}
		return "GELU"
	},
	build: func(c *compiler, n *graph.Node) {
		c.add(newStep(operationOf(n.Op), n, []*value{geluX: c.of[n.In[0].ID], geluBias: nil}, []*value{c.result(n)}))
	},
	operands: func(c *compiler, s *step) { c.stored(s, geluX); c.want(s, geluBias, inRows, float32s) },
	columns: func(c *compiler, s *step, o *op) columnsWork {
		x, y, path := s.in[geluX].buffer, s.out[0].buffer, c.engine.path
		var bias []float32
		var given *buffer
		if v := s.in[geluBias]; v != nil {
			given = v.buffer
		} else {
			bias = make([]float32, y.stride) // the kernel adds one
		}
		return func(_ *worker, lo, hi int, c columns) {
			add := bias
			if given != nil {
				add = given.f32
			}
			path.GELU(kernel.GELUArgs{
				Y: c.of(y, lo, hi), X: c.of(x, lo, hi), Channels: y.stride, Columns: c.count, Bias: c.part(add),
			})
		}
	},
	emit: emitColumns,
}

var geluGrad = &operation{
	element:  likeOperand(1),
	operands: func(c *compiler, s *step) { c.stored(s, 1); c.like(s, 0, 1) },
	columns: func(c *compiler, s *step, _ *op) columnsWork {
		dy, x, dx, path := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer, c.engine.path
		return func(_ *worker, lo, hi int, c columns) {
			path.GELUGrad(kernel.GELUGradArgs{
				DX: c.of(dx, lo, hi), DY: c.of(dy, lo, hi), X: c.of(x, lo, hi), Channels: dx.stride, Columns: c.count,
			})
		}
	},
	emit: emitColumns,
}

// scaleGrad is the sum of dy*x over all rows, for each channel.
var scaleGrad = &operation{
	operands: func(c *compiler, s *step) { c.stored(s, 1); c.like(s, 0, 1) },
	emit: func(c *compiler, s *step, o *op) {
		dy, x, y, path := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer, c.engine.path
		ch := x.stride
		cut := splitRows(x.count/ch, 1, ch)
		partial, zeros := o.work(float32s, cut.all(), 2*ch), make([]float32, ch)
		o.then(cut.phase(func(_ *worker, part, _, lo, hi int) {
			sum, dot := partial.sumsOf(part)
			clear(sum)
			clear(dot)
			path.GradSums(kernel.GradSumsArgs{
				DY: dy.values(lo*ch, hi*ch), X: x.values(lo*ch, hi*ch), Channels: ch,
				Affine: kernel.Affine{Mean: zeros}, Sum: sum, Dot: dot,
			})
		}), mergePartial(partial, ch, y))
	},
}

// mergePartial makes the phase that adds up the rows of partial from a column on, in order and in
// float64.
func mergePartial(partial *buffer, from int, y *buffer) phase {
	return cut(y.stride, 64, func(_ *worker, lo, hi int) {
		for j := lo; j < hi; j++ {
			var sum float64
			for at := from + j; at < partial.count; at += partial.stride {
				sum += float64(partial.f32[at])
			}
			y.f32[j] = float32(sum)
		}
	})
}
