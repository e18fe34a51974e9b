package cpu

import (
	"math"

	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// This file is batch norm, forward and backward. Sums over a batch are taken in parts; each part
// leaves its sums, and these are merged in order, in float64. The two are steps of their own, so
// that a convolution can take a part's sums itself.

var normOperations = operations{
	graph.BatchMean:          {build: buildStatistics},
	graph.BatchVariance:      {build: buildStatistics},
	graph.Normalise:          {build: buildNormalise},
	graph.ChannelDot:         {build: buildGradSums},
	graph.ChannelSum:         {kind: engine.BatchNorm, operands: storedOperand, emit: emitChannelSum},
	graph.BatchNormGradInput: gradInput,
	graph.SplitSum:           {kind: engine.BatchNorm, emit: emitSplitSum},
}

func storedOperand(c *compiler, s *step) { c.stored(s, 0) }

// sums is a cut of a batch whose parts leave two sums a channel each: [parts][2][C]. The step that
// takes the sums and the one that merges them share it.
type sums struct {
	splits int
	cut    split
}

// newSums cuts the batch of a value of n's shape.
func newSums(n *graph.Node, splits int) *sums {
	rows, ch := rowsOf(n.Shape)
	return &sums{splits: splits, cut: splitRows(rows, splits, channels(ch))}
}

// of is the place of the two sums of a part.
func (b *buffer) sumsOf(part int) (first, second []float32) {
	ch := b.stride / 2
	row := b.row(part)
	return row[:ch], row[ch:]
}

// A statistics step reads x once for its sums and the squares around a part's mean; the merging
// step gives variance, mean and what rounding takes from the mean, of which each may be missing.
const (
	mergeVariance = iota
	mergeMean
	mergeLow
)

func buildStatistics(c *compiler, n *graph.Node) {
	x := c.of[n.In[0].ID]
	s := newSums(x.node, n.Shape[0])
	partial := c.newPrivate(n, 0, 2*channels(n.Shape[1]))
	c.add(newStep(takeStatistics, n, []*value{x}, []*value{partial})).sums = s
	out := make([]*value, 3)
	out[mergeVariance] = c.result(n)
	if n.Op == graph.BatchMean {
		out[mergeVariance], out[mergeMean] = nil, out[mergeVariance]
	}
	c.add(newStep(mergeStatistics, n, []*value{partial}, out)).sums = s
}

// takeStatistics takes a part's own mean first and then the squares around it, from the cache.
var takeStatistics = &operation{
	kind:     engine.BatchNorm,
	name:     named("Statistics"),
	operands: storedOperand,
	rows: func(c *compiler, s *step, _ int) rowsWork {
		x, partial := s.in[0].buffer, s.out[0].buffer
		ch, path := x.stride, c.engine.path
		return func(w *worker, part, _, lo, hi int) {
			rows := x.values(lo*ch, hi*ch)
			sum, squares := partial.sumsOf(part)
			clear(sum)
			clear(squares)
			path.Sums(rows, ch, sum)
			centre := w.sums(ch)
			path.Scale(centre, sum, 1/float32(hi-lo))
			path.Squares(rows, ch, centre, squares)
		}
	},
	emit: emitSums,
}

// emitSums takes sums in a pass over memory of their own.
func emitSums(c *compiler, s *step, o *op) {
	o.sums = s.in[0].buffer.stride
	o.then(s.sums.cut.phase(s.operation.rows(c, s, s.sums.splits)))
}

// mergeStatistics merges the parts by the rule of Chan, Golub and LeVeque. So a mean far from zero
// costs no digits.
var mergeStatistics = &operation{
	kind:   engine.BatchNorm,
	helper: true,
	name: func(s *step) string {
		if s.out[mergeVariance] != nil && s.out[mergeMean] != nil {
			return "BatchMean+Variance (merge)"
		}
		return s.node.Op.String() + " (merge)"
	},
	operands: asItIs,
	emit: func(_ *compiler, s *step, o *op) {
		partial, cut := s.in[0].buffer, s.sums.cut
		var mean, variance, low *buffer
		for i, b := range []**buffer{mergeVariance: &variance, mergeMean: &mean, mergeLow: &low} {
			if s.out[i] != nil {
				*b = s.out[i].buffer
			}
		}
		o.then(cut.merging(partial.stride/2, func(k, lo, n int) {
			var m, v [mergedTogether]float64
			cut.merge(partial, k, lo, m[:n], v[:n])
			for j := range n {
				at := k*partial.stride/2 + lo + j
				if mean != nil {
					mean.f32[at] = float32(m[j])
				}
				if low != nil {
					low.f32[at] = float32(m[j] - float64(float32(m[j])))
				}
				if variance != nil {
					variance.f32[at] = float32(v[j])
				}
			}
		}))
	},
}

// mergedTogether is the number of channels whose sums are merged side by side: a cache line of them.
// One channel after the other would read a line for each sum, and wait for each division.
const mergedTogether = 16

// merging makes a phase that merges the parts of each split, for some channels from lo on.
func (s split) merging(channels int, f func(k, lo, n int)) phase {
	blocks := (channels + mergedTogether - 1) / mergedTogether
	return phase{s.splits * blocks, func(_ *worker, part int) {
		lo := part % blocks * mergedTogether
		f(part/blocks, lo, min(mergedTogether, channels-lo))
	}}
}

// merge finds the mean and the variance of channels lo to lo+len(mean) of split k, from the sums of
// its parts.
func (s split) merge(partial *buffer, k, lo int, mean, variance []float64) {
	clear(mean)
	clear(variance)
	count, ch := 0.0, partial.stride/2
	for part := k * s.parts; part < (k+1)*s.parts; part++ {
		at := part*partial.stride + lo
		sums, squares := partial.f32[at:][:len(mean)], partial.f32[at+ch:][:len(mean)]
		rows := float64(s.rows(part))
		total := count + rows
		for j, m := range mean {
			delta := float64(sums[j])/rows - m
			mean[j] = m + delta*rows/total
			variance[j] += float64(squares[j]) + delta*delta*count*rows/total
		}
		count = total
	}
	for j, v := range variance {
		variance[j] = max(v, 0) / count
	}
}

// A scale step makes the affine function that a Normalise comes down to: [splits][3][C].
const (
	scaleMean = iota
	scaleVariance
	scaleGamma
	scaleBeta
	scaleLow // what rounding took from the mean, where it is known
)

// A normalise step reads x and a scale, and may add a residual and end with a ReLU.
const (
	normX = iota
	normScale
	normResidual
)

// norm is what a normalise step does beyond its node.
type norm struct{ relu bool }

func buildNormalise(c *compiler, n *graph.Node) {
	in := c.operands(n)
	splits := graph.StatisticSplits(n.In[1])
	scale := c.newPrivate(n, 3*splits, channels(n.In[3].Shape[0]))
	c.add(newStep(computeScale, n, append(in[1:5:5], nil), []*value{scale}))
	y := c.result(n)
	s := c.add(newStep(normalise, n, []*value{in[0], scale, nil}, []*value{y}))
	s.norm = &norm{}
	y.norm = s
}

// affine is the function of a scale step, for each split and channel. The mean is rounded to
// float32; what that takes away is in the shift.
type affine struct {
	buffer *buffer
	splits int
}

// affineOf is the affine function in a value that a scale step makes; nil of no value.
func affineOf(v *value) *affine {
	if v == nil {
		return nil
	}
	return &affine{v.buffer, v.rows / 3}
}

// of is the function of a split; nil of a nil affine.
func (a *affine) of(split int) kernel.Affine {
	if a == nil {
		return kernel.Affine{}
	}
	b := a.buffer
	return kernel.Affine{Mean: b.row(3 * split), Scale: b.row(3*split + 1), Shift: b.row(3*split + 2)}
}

var computeScale = &operation{
	kind:   engine.BatchNorm,
	helper: true,
	name:   named("Normalise (scale)"),
	emit: func(_ *compiler, s *step, o *op) {
		mean, variance := s.in[scaleMean].buffer, s.in[scaleVariance].buffer
		gamma, beta := s.in[scaleGamma].buffer, s.in[scaleBeta].buffer
		var low *buffer
		if v := s.in[scaleLow]; v != nil {
			low = v.buffer
		}
		a, ch, epsilon := affineOf(s.out[0]), s.out[0].stride, s.node.Attr.(graph.NormAttr).Epsilon
		o.then(serial(func(*worker) {
			for split := range a.splits {
				f := a.of(split)
				for j := range ch {
					k := split*ch + j
					factor := float64(gamma.f32[j]) / math.Sqrt(float64(variance.f32[k])+epsilon)
					f.Mean[j], f.Scale[j], f.Shift[j] = mean.f32[k], float32(factor), beta.f32[j]
					if low != nil {
						f.Shift[j] = float32(float64(beta.f32[j]) - float64(low.f32[k])*factor)
					}
				}
			}
		}))
	},
}

var normalise = &operation{
	kind:    engine.BatchNorm,
	element: likeOperand(normX),
	name: func(s *step) string {
		name := "Normalise"
		if s.in[normResidual] != nil {
			name += "+Add"
		}
		if s.norm.relu {
			name += "+ReLU"
		}
		return name
	},
	operands: func(c *compiler, s *step) {
		c.stored(s, normX)
		c.like(s, normResidual, normX)
	},
	rows: func(c *compiler, s *step, splits int) rowsWork {
		x, y := s.in[normX].buffer, s.out[0].buffer
		var residual *buffer
		if v := s.in[normResidual]; v != nil {
			residual = v.buffer
		}
		a, ch, relu := affineOf(s.in[normScale]), x.stride, s.norm.relu
		return func(_ *worker, _, k, lo, hi int) {
			var add kernel.Values
			if residual != nil {
				add = residual.values(lo*ch, hi*ch)
			}
			c.engine.path.Normalise(kernel.NormaliseArgs{
				Y: y.values(lo*ch, hi*ch), X: x.values(lo*ch, hi*ch), Residual: add,
				Channels: ch, Affine: a.of(k * a.splits / splits), ReLU: relu,
			})
		}
	},
	emit: func(c *compiler, s *step, o *op) {
		x := s.in[normX].buffer
		o.reuse = []*buffer{x}
		if v := s.in[normResidual]; v != nil {
			o.reuse = append(o.reuse, v.buffer)
		}
		splits := affineOf(s.in[normScale]).splits
		o.then(splitRows(x.count/x.stride, splits, x.stride).phase(s.operation.rows(c, s, splits)))
	},
}

// The operands of the steps of batch norm's gradient. The gradient of the output is dy or, if a
// mask is given, dy where the normalised value, computed again from x by the mask's affine
// function, is positive.
const (
	gradDY = iota
	gradX
	gradMean
	gradMask
	gradVariance // of gradInput alone, as what follows
	gradGamma
	gradSum
	gradDot
)

// A merging step of gradient sums reads the sums and the variance, and gives the dot product and,
// if somebody asks for it, the sum.
const (
	mergeDot = iota
	mergeSum
)

func buildGradSums(c *compiler, n *graph.Node) {
	in := c.operands(n)
	s := newSums(in[1].node, n.Shape[0])
	partial := c.newPrivate(n, 0, 2*channels(n.Shape[1]))
	take := newStep(takeGradSums, n, []*value{gradDY: in[0], gradX: in[1], gradMean: in[2], gradMask: nil},
		[]*value{partial})
	c.add(take).sums = s
	merge := newStep(mergeGradSums, n, []*value{partial, in[3]}, []*value{mergeDot: c.result(n), mergeSum: nil})
	c.add(merge).sums = s
}

// gradOperands are x as it is stored, a dy of the same type, and rows of float32.
func gradOperands(c *compiler, s *step) {
	c.stored(s, gradX)
	c.like(s, gradDY, gradX)
	for i := gradMean; i < len(s.in); i++ {
		if i != gradMask {
			c.want(s, i, inRows, float32s)
		}
	}
}

var takeGradSums = &operation{
	kind:     engine.BatchNorm,
	name:     named("GradSums"),
	operands: gradOperands,
	rows: func(c *compiler, s *step, _ int) rowsWork {
		dy, x, mean := s.in[gradDY].buffer, s.in[gradX].buffer, s.in[gradMean].buffer
		mask, partial, ch := affineOf(s.in[gradMask]), s.out[0].buffer, x.stride
		return func(_ *worker, part, k, lo, hi int) {
			sum, dot := partial.sumsOf(part)
			clear(sum)
			clear(dot)
			f := mask.of(k)
			f.Mean = mean.f32[k*ch : (k+1)*ch]
			c.engine.path.GradSums(kernel.GradSumsArgs{
				DY: dy.values(lo*ch, hi*ch), X: x.values(lo*ch, hi*ch), Channels: ch, Affine: f, Sum: sum, Dot: dot,
			})
		}
	},
	emit: emitSums,
}

var mergeGradSums = &operation{
	kind:   engine.BatchNorm,
	helper: true,
	name: func(s *step) string {
		if s.out[mergeSum] != nil {
			return "ChannelSum+Dot (merge)"
		}
		return "ChannelDot (merge)"
	},
	operands: func(c *compiler, s *step) { c.want(s, 1, inRows, float32s) },
	emit: func(_ *compiler, s *step, o *op) {
		partial, variance, dot := s.in[0].buffer, s.in[1].buffer, s.out[mergeDot].buffer
		var sum *buffer
		if v := s.out[mergeSum]; v != nil {
			sum = v.buffer
		}
		cut, ch, epsilon := s.sums.cut, partial.stride/2, s.node.Attr.(graph.NormAttr).Epsilon
		o.then(cut.merging(ch, func(k, lo, n int) {
			var a, b [mergedTogether]float64
			for part := k * cut.parts; part < (k+1)*cut.parts; part++ {
				at := part*partial.stride + lo
				addTo(a[:n], partial.f32[at:])
				addTo(b[:n], partial.f32[at+ch:])
			}
			for j := range n {
				at := k*ch + lo + j
				if sum != nil {
					sum.f32[at] = float32(a[j])
				}
				dot.f32[at] = float32(b[j] / math.Sqrt(float64(variance.f32[at])+epsilon))
			}
		}))
	},
}

// addTo adds the first values of x to sums, one to each.
func addTo(sums []float64, x []float32) {
	for j, v := range x[:len(sums)] {
		sums[j] += float64(v)
	}
}

// emitChannelSum is the sum alone, as the gradient of a bias wants it.
func emitChannelSum(c *compiler, s *step, o *op) {
	x, sum := s.in[0].buffer, s.out[0].buffer
	ch := x.stride
	cut := splitRows(x.count/ch, s.node.Shape[0], ch)
	partial := o.work(float32s, cut.all(), ch)
	o.then(cut.phase(func(_ *worker, part, _, lo, hi int) {
		clear(partial.row(part))
		c.engine.path.Sums(x.values(lo*ch, hi*ch), ch, partial.row(part))
	}))
	o.then(cut.merging(ch, func(k, lo, n int) {
		var a [mergedTogether]float64
		for part := k * cut.parts; part < (k+1)*cut.parts; part++ {
			addTo(a[:n], partial.f32[part*ch+lo:])
		}
		for j := range n {
			sum.f32[k*ch+lo+j] = float32(a[j])
		}
	}))
}

// gradInput is dx = a*g + (b*(x-mean) + c) with three factors a channel, which follow from the
// sums.
var gradInput = &operation{
	kind:    engine.BatchNorm,
	element: likeOperand(gradX),
	name: func(s *step) string {
		if s.in[gradMask] != nil {
			return "ReLUGrad+BatchNormGradInput"
		}
		return "BatchNormGradInput"
	},
	build: func(c *compiler, n *graph.Node) {
		in := c.operands(n)
		c.add(newStep(operationOf(n.Op), n, []*value{
			gradDY: in[0], gradX: in[1], gradMean: in[2], gradMask: nil,
			gradVariance: in[3], gradGamma: in[4], gradSum: in[5], gradDot: in[6],
		}, []*value{c.result(n)}))
	},
	operands: gradOperands,
	emit: func(c *compiler, s *step, o *op) {
		dy, x, mean, dx := s.in[gradDY].buffer, s.in[gradX].buffer, s.in[gradMean].buffer, s.out[0].buffer
		mask, ch, splits := affineOf(s.in[gradMask]), x.stride, s.in[gradMean].node.Shape[0]
		cut := splitRows(x.count/ch, splits, ch)
		factors := o.work(float32s, 3*splits, ch)
		o.reuse = []*buffer{dy, x}
		o.then(gradFactors(s, factors, splits, cut.size()))
		o.then(cut.phase(func(_ *worker, _, k, lo, hi int) {
			f := mask.of(k)
			f.Mean = mean.f32[k*ch : (k+1)*ch]
			c.engine.path.GradInput(kernel.GradInputArgs{
				DX: dx.values(lo*ch, hi*ch), DY: dy.values(lo*ch, hi*ch), X: x.values(lo*ch, hi*ch),
				Channels: ch, Affine: f, A: factors.row(3 * k), B: factors.row(3*k + 1), C: factors.row(3*k + 2),
			})
		}))
	},
}

// gradFactors computes the factors of gradInput for splits of so many rows each.
func gradFactors(s *step, factors *buffer, splits, rows int) phase {
	variance, gamma := s.in[gradVariance].buffer, s.in[gradGamma].buffer
	sum, dot := s.in[gradSum].buffer, s.in[gradDot].buffer
	ch, epsilon := factors.stride, s.node.Attr.(graph.NormAttr).Epsilon
	return serial(func(*worker) {
		for split := range splits {
			first, second, third := factors.row(3*split), factors.row(3*split+1), factors.row(3*split+2)
			for j := range ch {
				k := split*ch + j
				inverse := 1 / math.Sqrt(float64(variance.f32[k])+epsilon)
				a := float64(gamma.f32[j]) * inverse
				b := -a * inverse * float64(dot.f32[k]) / float64(rows)
				first[j], second[j] = float32(a), float32(b)
				third[j] = float32(-a * float64(sum.f32[k]) / float64(rows))
			}
		}
	})
}

func emitSplitSum(_ *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	splits := s.in[0].node.Shape[0]
	o.then(serial(func(*worker) {
		for j := range y.count {
			var a float64
			for k := range splits {
				a += float64(x.f32[k*x.stride+j])
			}
			y.f32[j] = float32(a)
		}
	}))
}
