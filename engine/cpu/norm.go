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
	label := n.Op.String()
	switch pair := c.fusion.pair[n]; {
	case pair != nil:
		c.values[pair], c.values[n] = mean, variance
		label = "BatchMean+Variance"
	case n.Op == graph.BatchMean:
		c.values[n] = mean
	default:
		c.values[n] = variance
	}
	partial := &buffer{words: sp.splits * sp.parts * 2 * ch}
	path := c.engine.path
	c.emit(&op{node: n, label: label, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{variance, mean, partial}, phases: []phase{
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
					variance.f[s*ch+j] = float32(max(m2, 0) / count)
				}
			}
		}),
	}})
}

// affineOf is the scale and shift that a Normalise comes down to, [S][2][C], made by a small operation of its own.
func (c *compiler) affineOf(n *graph.Node) *buffer {
	if b := c.affine[n]; b != nil {
		return b
	}
	mean, variance := c.value(n.In[1]), c.value(n.In[2])
	gamma, beta := c.value(n.In[3]), c.value(n.In[4])
	ch, splits := mean.stride, graph.StatisticSplits(n.In[1])
	b := &buffer{words: 2 * splits * ch}
	c.affine[n] = b
	epsilon := n.Attr.Epsilon
	c.emit(&op{node: n, label: "Normalise (scale)", reads: []*buffer{mean, variance, gamma, beta}, writes: []*buffer{b},
		phases: []phase{serial(func(*worker) {
			for s := range splits {
				for j := range ch {
					scale := float64(gamma.f[j]) / math.Sqrt(float64(variance.f[s*ch+j])+epsilon)
					b.f[2*s*ch+j] = float32(scale)
					b.f[(2*s+1)*ch+j] = float32(float64(beta.f[j]) - float64(mean.f[s*ch+j])*scale)
				}
			}
		})}})
	return b
}

func (c *compiler) normalise(n *graph.Node) { c.normaliseInto(n, n, nil, false) }

// normaliseInto makes the value of n: normalise's, plus a residual if given, through a ReLU if asked.
func (c *compiler) normaliseInto(n, normalise, residual *graph.Node, relu bool) {
	x, affine := c.value(normalise.In[0]), c.affineOf(normalise)
	ch, splits := x.stride, graph.StatisticSplits(normalise.In[1])
	label := "Normalise"
	reads := []*buffer{x, affine}
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
			c.engine.path.Normalise(y.f[lo*ch:hi*ch], x.f[lo*ch:hi*ch], add, ch, affine.f[2*k*ch:(2*k+1)*ch], affine.f[(2*k+1)*ch:(2*k+2)*ch], relu)
		}),
	}})
}

// gradient is where a batch norm's operations find the gradient of its output: dy as it is, or dy where the normalised value,
// computed again from x, is positive.
type gradient struct {
	dy, affine *buffer
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
		more = append(more, g.affine)
	}
	return more
}

// sign is the scale and shift of a split whose sign decides, or nothing.
func (g gradient) sign(split, ch int) (scale, shift []float32) {
	if g.affine == nil {
		return nil, nil
	}
	return g.affine.f[2*split*ch : (2*split+1)*ch], g.affine.f[(2*split+1)*ch : (2*split+2)*ch]
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
			scale, shift := g.sign(k, ch)
			path.GradSums(g.dy.f[lo*ch:hi*ch], x.f[lo*ch:hi*ch], ch, scale, shift, mean.f[k*ch:(k+1)*ch], sums[:ch], sums[ch:])
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

// batchNormGradInput is dx = a*g + (b*x + c) with three factors a channel, which follow from the sums.
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
					f[2*ch+j] = float32(-a*float64(sum.f[k])/float64(sp.rows) - b*float64(mean.f[k]))
				}
			}
		}),
		sp.phase(func(_ *worker, _, k, lo, hi int) {
			f := factors.f[k*3*ch : (k+1)*3*ch]
			scale, shift := g.sign(k, ch)
			c.engine.path.GradInput(dx.f[lo*ch:hi*ch], g.dy.f[lo*ch:hi*ch], x.f[lo*ch:hi*ch], ch, scale, shift, f[:ch], f[ch:2*ch], f[2*ch:])
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
