package cpu

import (
	"math"

	"moco/graph"
)

// Batch norm. Sums over a batch are taken in parts of rowsEach rows; each part leaves its sums, and these are
// added in order, in float64.

// rowsEach is how many rows of ch floats a part of a sum takes: about 64 KB.
func rowsEach(ch int) int { return max(1, elementsEach/ch) }

// split is a cut of a batch's rows into parts that each lie in one of its splits.
type split struct {
	splits, rows int // rows of one split
	each, parts  int // rows of a part, parts of a split
}

func splitRows(rows, splits, ch int) split {
	s := split{splits: splits, rows: rows / splits, each: rowsEach(ch)}
	s.parts = (s.rows + s.each - 1) / s.each
	return s
}

// phase makes a phase of all parts; f is given the split and the rows lo..hi counted over the whole batch.
func (s split) phase(f func(w *worker, part, split, lo, hi int)) phase {
	return phase{s.splits * s.parts, func(w *worker, part int) {
		k, p := part/s.parts, part%s.parts
		lo := k*s.rows + p*s.each
		f(w, part, k, lo, min(lo+s.each, (k+1)*s.rows))
	}}
}

// batchStatistics reads x once for its mean and variance. A part takes its own mean first and then the squares around it, from
// the cache; the parts are merged by Chan, Golub and LeVeque's rule. So a mean far from zero costs no digits.
func (c *compiler) batchStatistics(n *graph.Node) {
	x := c.value(n.In[0])
	ch := x.stride
	sp := splitRows(x.words/ch, n.Shape[0], ch)
	mean, variance := c.newBuffer(n), c.newBuffer(n)
	low := &buffer{words: mean.words} // what rounding takes from the mean
	label := n.Op.String()
	switch pair := c.fusion.pair[n]; {
	case pair != nil:
		c.values[pair], c.values[n] = mean, variance
		c.low[pair] = low
		label = "BatchMean+Variance"
	case n.Op == graph.BatchMean:
		c.values[n] = mean
	default:
		c.values[n] = variance
	}
	partial := &buffer{words: sp.splits * sp.parts * 2 * ch}
	path := c.engine.path
	c.emit(&op{node: n, label: label, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{variance, mean, low, partial}, phases: []phase{
		sp.phase(func(w *worker, part, _, lo, hi int) {
			rows := x.f[lo*ch : hi*ch]
			sums := partial.f[part*2*ch : (part+1)*2*ch]
			clear(sums)
			path.Sums(rows, ch, sums[:ch])
			centre := w.floats(ch)
			path.Scale(centre, sums[:ch], 1/float32(hi-lo))
			path.Squares(rows, ch, centre, sums[ch:])
		}),
		serial(func(*worker) {
			for s := range sp.splits {
				for j := range ch {
					var count, m, m2 float64
					for p := range sp.parts {
						sums := partial.f[(s*sp.parts+p)*2*ch:]
						rows := float64(min(sp.each, sp.rows-p*sp.each))
						pm := float64(sums[j]) / rows
						delta := pm - m
						total := count + rows
						m += delta * rows / total
						m2 += float64(sums[ch+j]) + delta*delta*count*rows/total
						count = total
					}
					mean.f[s*ch+j] = float32(m)
					low.f[s*ch+j] = float32(m - float64(float32(m)))
					variance.f[s*ch+j] = float32(max(m2, 0) / count)
				}
			}
		}),
	}})
}

// affine is what a Normalise comes down to, for each split and channel: (x - mean)*scale + shift. The mean is rounded to float32; what that takes
// away is in the shift.
type affine struct {
	buffer *buffer // [S][3][C]
	ch     int
}

// of returns the three factors of a split; none of a nil affine.
func (a *affine) of(split int) (mean, scale, shift []float32) {
	if a == nil {
		return nil, nil, nil
	}
	f := a.buffer.f[3*split*a.ch : 3*(split+1)*a.ch]
	return f[:a.ch], f[a.ch : 2*a.ch], f[2*a.ch:]
}

// affineOf is the affine of a Normalise, made by a small operation of its own.
func (c *compiler) affineOf(n *graph.Node) *affine {
	if a := c.affine[n]; a != nil {
		return a
	}
	mean, variance := c.value(n.In[1]), c.value(n.In[2])
	gamma, beta := c.value(n.In[3]), c.value(n.In[4])
	reads := []*buffer{mean, variance, gamma, beta}
	low := c.low[n.In[1]]
	if low != nil {
		reads = append(reads, low)
	}
	ch, splits := mean.stride, graph.StatisticSplits(n.In[1])
	a := &affine{&buffer{words: 3 * splits * ch}, ch}
	c.affine[n] = a
	epsilon := n.Attr.Epsilon
	c.emit(&op{node: n, label: "Normalise (scale)", reads: reads, writes: []*buffer{a.buffer},
		phases: []phase{serial(func(*worker) {
			for s := range splits {
				centre, scale, shift := a.of(s)
				for j := range ch {
					k := s*ch + j
					factor := float64(gamma.f[j]) / math.Sqrt(float64(variance.f[k])+epsilon)
					centre[j], scale[j], shift[j] = mean.f[k], float32(factor), beta.f[j]
					if low != nil {
						shift[j] = float32(float64(beta.f[j]) - float64(low.f[k])*factor)
					}
				}
			}
		})}})
	return a
}

func (c *compiler) normalise(n *graph.Node) { c.normaliseInto(n, n, nil, false) }

// normaliseInto makes the value of n: normalise's, plus a residual if given, through a ReLU if asked.
func (c *compiler) normaliseInto(n, normalise, residual *graph.Node, relu bool) {
	x, a := c.value(normalise.In[0]), c.affineOf(normalise)
	ch, splits := x.stride, graph.StatisticSplits(normalise.In[1])
	label := "Normalise"
	reads := []*buffer{x, a.buffer}
	reuse := []*buffer{x}
	var r *buffer
	if residual != nil {
		r = c.value(residual)
		reads, reuse = append(reads, r), append(reuse, r)
		label += "+Add"
	}
	if relu {
		label += "+ReLU"
	}
	y := c.result(n)
	sp := splitRows(x.words/ch, splits, ch)
	c.emit(&op{node: n, label: label, cost: n.Cost(), reads: reads, writes: []*buffer{y}, reuse: reuse, phases: []phase{
		sp.phase(func(_ *worker, _, k, lo, hi int) {
			var add []float32
			if r != nil {
				add = r.f[lo*ch : hi*ch]
			}
			mean, scale, shift := a.of(k)
			c.engine.path.Normalise(y.f[lo*ch:hi*ch], x.f[lo*ch:hi*ch], add, ch, mean, scale, shift, relu)
		}),
	}})
}

// gradient is where a batch norm's operations find the gradient of its output: dy as it is, or dy where the normalised value,
// computed again from x, is positive.
type gradient struct {
	dy     *buffer
	affine *affine
}

func (c *compiler) gradientOf(n *graph.Node) gradient {
	if normalise := c.fusion.masked[n]; normalise != nil {
		return gradient{c.value(n.In[0]), c.affineOf(normalise)}
	}
	return gradient{dy: c.value(n)}
}

func (g gradient) reads(more ...*buffer) []*buffer {
	more = append(more, g.dy)
	if g.affine != nil {
		more = append(more, g.affine.buffer)
	}
	return more
}

// channelDot gives the two sums that batch norm's gradient needs, in one reading of dy and x.
func (c *compiler) channelDot(n *graph.Node) {
	g := c.gradientOf(n.In[0])
	x, mean, variance := c.value(n.In[1]), c.value(n.In[2]), c.value(n.In[3])
	ch := x.stride
	sp := splitRows(x.words/ch, n.Shape[0], ch)
	dot, sum := c.result(n), c.newBuffer(n)
	label := "ChannelDot"
	if pair := c.fusion.pair[n]; pair != nil {
		c.values[pair] = sum
		label = "ChannelSum+Dot"
	}
	partial := &buffer{words: sp.splits * sp.parts * 2 * ch}
	epsilon := n.Attr.Epsilon
	path := c.engine.path
	c.emit(&op{node: n, label: label, cost: n.Cost(), reads: g.reads(x, mean, variance), writes: []*buffer{dot, sum, partial}, phases: []phase{
		sp.phase(func(_ *worker, part, k, lo, hi int) {
			sums := partial.f[part*2*ch : (part+1)*2*ch]
			clear(sums)
			_, scale, shift := g.affine.of(k)
			path.GradSums(g.dy.f[lo*ch:hi*ch], x.f[lo*ch:hi*ch], ch, mean.f[k*ch:(k+1)*ch], scale, shift, sums[:ch], sums[ch:])
		}),
		serial(func(*worker) {
			for s := range sp.splits {
				for j := range ch {
					var a, b float64
					for p := range sp.parts {
						sums := partial.f[(s*sp.parts+p)*2*ch:]
						a += float64(sums[j])
						b += float64(sums[ch+j])
					}
					sum.f[s*ch+j] = float32(a)
					dot.f[s*ch+j] = float32(b / math.Sqrt(float64(variance.f[s*ch+j])+epsilon))
				}
			}
		}),
	}})
}

// channelSum is the sum alone, as a bias wants it.
func (c *compiler) channelSum(n *graph.Node) {
	x := c.value(n.In[0])
	ch := x.stride
	sp := splitRows(x.words/ch, n.Shape[0], ch)
	sum := c.result(n)
	partial := &buffer{words: sp.splits * sp.parts * ch}
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{sum, partial}, phases: []phase{
		sp.phase(func(_ *worker, part, _, lo, hi int) {
			sums := partial.f[part*ch : (part+1)*ch]
			clear(sums)
			c.engine.path.Sums(x.f[lo*ch:hi*ch], ch, sums)
		}),
		serial(func(*worker) {
			for s := range sp.splits {
				for j := range ch {
					var a float64
					for p := range sp.parts {
						a += float64(partial.f[(s*sp.parts+p)*ch+j])
					}
					sum.f[s*ch+j] = float32(a)
				}
			}
		}),
	}})
}

// batchNormGradInput is dx = a*g + (b*(x-mean) + c) with three factors a channel, which follow from the sums.
func (c *compiler) batchNormGradInput(n *graph.Node) {
	g := c.gradientOf(n.In[0])
	x, mean, variance := c.value(n.In[1]), c.value(n.In[2]), c.value(n.In[3])
	gamma, sum, dot := c.value(n.In[4]), c.value(n.In[5]), c.value(n.In[6])
	ch, splits := x.stride, n.In[2].Shape[0]
	sp := splitRows(x.words/ch, splits, ch)
	dx := c.result(n)
	factors := &buffer{words: splits * 3 * ch}
	epsilon := n.Attr.Epsilon
	label := "BatchNormGradInput"
	if g.affine != nil {
		label = "ReLUGrad+" + label
	}
	c.emit(&op{node: n, label: label, cost: n.Cost(), reads: g.reads(x, mean, variance, gamma, sum, dot), writes: []*buffer{dx, factors}, reuse: []*buffer{g.dy, x}, phases: []phase{
		serial(func(*worker) {
			for s := range splits {
				f := factors.f[s*3*ch : (s+1)*3*ch]
				for j := range ch {
					k := s*ch + j
					inverse := 1 / math.Sqrt(float64(variance.f[k])+epsilon)
					a := float64(gamma.f[j]) * inverse
					b := -a * inverse * float64(dot.f[k]) / float64(sp.rows)
					f[j], f[ch+j] = float32(a), float32(b)
					f[2*ch+j] = float32(-a * float64(sum.f[k]) / float64(sp.rows))
				}
			}
		}),
		sp.phase(func(_ *worker, _, k, lo, hi int) {
			f := factors.f[k*3*ch : (k+1)*3*ch]
			_, scale, shift := g.affine.of(k)
			c.engine.path.GradInput(dx.f[lo*ch:hi*ch], g.dy.f[lo*ch:hi*ch], x.f[lo*ch:hi*ch], ch, mean.f[k*ch:(k+1)*ch], scale, shift, f[:ch], f[ch:2*ch], f[2*ch:])
		}),
	}})
}

func (c *compiler) splitSum(n *graph.Node) {
	x := c.value(n.In[0])
	y := c.result(n)
	splits := n.In[0].Shape[0]
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{y}, phases: []phase{serial(func(*worker) {
		for j := range y.words {
			var a float64
			for s := range splits {
				a += float64(x.f[s*x.stride+j])
			}
			y.f[j] = float32(a)
		}
	})}})
}
