package cpu

import (
	"math"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// Batch norm. Sums over a batch are taken in parts of rowsEach rows; each part leaves its sums, and these are
// added in order, in float64.

// rowsEach is how many rows of ch floats a part of a sum takes: about 64 KB.
func rowsEach(ch int) int { return max(1, elementsEach/ch) }

// split is a cut of a batch's rows into parts that each lie in one of its splits.
type split struct {
	splits, parts int   // parts of a split
	bounds        []int // part i is rows bounds[i] to bounds[i+1]
}

// newSplit cuts rows into parts of `each`, but for the last one of a split.
func newSplit(rows, splits, each int) split {
	size := rows / splits
	s := split{splits: splits, parts: (size + each - 1) / each}
	for k := range splits {
		for p := range s.parts {
			s.bounds = append(s.bounds, k*size+p*each)
		}
	}
	s.bounds = append(s.bounds, rows)
	return s
}

func splitRows(rows, splits, ch int) split { return newSplit(rows, splits, rowsEach(ch)) }

// evenSplit cuts rows into parts of about `each`, as even as can be. Few parts that are odd would leave one of two workers idle at the end.
func evenSplit(rows, splits, each int) split {
	size := rows / splits
	parts := (size + each - 1) / each
	if parts%2 == 1 && parts > 1 && parts < size {
		parts++
	}
	return newSplit(rows, splits, (size+parts-1)/parts)
}

// size is the number of rows of one split.
func (s split) size() int { return s.bounds[s.parts] }

// rows is the number of rows of a part.
func (s split) rows(part int) int { return s.bounds[part+1] - s.bounds[part] }

// phase makes a phase of all parts; f is given the split and the rows lo..hi counted over the whole batch.
func (s split) phase(f func(w *worker, part, split, lo, hi int)) phase {
	return phase{s.splits * s.parts, func(w *worker, part int) {
		f(w, part, part/s.parts, s.bounds[part], s.bounds[part+1])
	}}
}

// batchStatistics reads x once for its mean and variance. A part takes its own mean first and then the squares around it, from
// the cache; the parts are merged by Chan, Golub and LeVeque's rule. So a mean far from zero costs no digits. A convolution that writes x part by part takes the sums of
// each when it has written it.
func (c *compiler) batchStatistics(n *graph.Node) {
	x := c.stored(n.In[0])
	ch := x.stride
	sp := splitRows(x.floats()/ch, n.Shape[0], ch)
	maker := c.maker(n.In[0], x, n.Shape[0])
	if maker != nil {
		sp = maker.pixels
	}
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
	sums := func(w *worker, part, _, lo, hi int) {
		rows := x.values(lo*ch, hi*ch)
		sums := partial.f[part*2*ch : (part+1)*2*ch]
		clear(sums)
		path.Sums(rows, ch, sums[:ch])
		centre := w.sums(ch)
		path.Scale(centre, sums[:ch], 1/float32(hi-lo))
		path.Squares(rows, ch, centre, sums[ch:])
	}
	o := &op{node: n, label: label, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{variance, mean, low, partial}}
	if maker != nil {
		maker.then(sums, nil, partial)
		o.reads = []*buffer{partial}
		o.writes = o.writes[:3]
		o.label += " (merge)"
	} else {
		o.phases = []phase{sp.phase(sums)}
	}
	o.phases = append(o.phases,
		serial(func(*worker) {
			for s := range sp.splits {
				for j := range ch {
					var count, m, m2 float64
					for p := range sp.parts {
						sums := partial.f[(s*sp.parts+p)*2*ch:]
						rows := float64(sp.rows(s*sp.parts + p))
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
		}))
	c.emit(o)
}

// affine is what a Normalise comes down to, for each split and channel: (x - mean)*scale + shift. The mean is rounded to float32; what that takes
// away is in the shift.
type affine struct {
	buffer *buffer // [S][3][C]
	ch     int
	splits int
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
	a := &affine{&buffer{words: 3 * splits * ch}, ch, splits}
	c.affine[n] = a
	epsilon := n.Attr.(graph.NormAttr).Epsilon
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

func (c *compiler) normalise(n *graph.Node) {
	if c.values[n] == nil {
		c.normaliseInto(n, n, nil, false)
	}
}

// normaliseInto makes the value of n: normalise's, plus a residual if given, through a ReLU if asked.
func (c *compiler) normaliseInto(n, normalise, residual *graph.Node, relu bool) {
	x := c.stored(normalise.In[0])
	var r *buffer
	if residual != nil {
		r = c.storedLike(residual, x)
	}
	c.emitNormalise(n, normalise, x, r, c.resultLike(n, x), relu, "")
}

func (c *compiler) emitNormalise(n, normalise *graph.Node, x, residual, y *buffer, relu bool, again string) {
	a := c.affineOf(normalise)
	ch, splits := x.stride, graph.StatisticSplits(normalise.In[1])
	label := "Normalise"
	reads := []*buffer{x, a.buffer}
	reuse := []*buffer{x}
	if residual != nil {
		reads, reuse = append(reads, residual), append(reuse, residual)
		label += "+Add"
	}
	if relu {
		label += "+ReLU"
	}
	sp := splitRows(x.floats()/ch, splits, ch)
	c.emit(&op{node: n, label: label + again, cost: n.Cost(), reads: reads, writes: []*buffer{y}, reuse: reuse, phases: []phase{
		sp.phase(func(_ *worker, _, k, lo, hi int) {
			var add kernel.Values
			if residual != nil {
				add = residual.values(lo*ch, hi*ch)
			}
			mean, scale, shift := a.of(k)
			c.engine.path.Normalise(y.values(lo*ch, hi*ch), x.values(lo*ch, hi*ch), add, ch, mean, scale, shift, relu)
		}),
	}})
}

// frozenNormalise is what makes a convolution that writes part by part finish its own batch norm, residual and ReLU where statistics do not depend on its output: a part's outputs are normalised in place while they
// lie in the cache. It is nil where there is no such batch norm, or where the next convolution normalises what it reads.
func (c *compiler) frozenNormalise(conv *graph.Node) func(p *parted, y *buffer) {
	if !c.only(conv) {
		return nil
	}
	normalise := c.users[conv][0]
	if normalise.Op != graph.Normalise || normalise.In[0] != conv {
		return nil
	}
	for _, in := range normalise.In[1:] {
		if c.values[in] == nil && in.Op == graph.Variable {
			c.values[in] = c.declare(in)
		}
		if c.values[in] == nil { // computed from this convolution's output, or later
			return nil
		}
	}
	last, relu := normalise, false
	var residual *graph.Node
	for r, fused := range c.fusion.relu {
		if fused == normalise {
			last, relu, residual = r, true, c.fusion.residual[r]
		}
	}
	if c.fusion.lazy[last] != nil {
		return nil
	}
	if residual != nil {
		if r := c.values[residual]; r == nil || r.half != (c.graph.Precision == graph.BFloat16) || r.stride%lanes != 0 {
			return nil
		}
	}
	a := c.affineOf(normalise)
	return func(p *parted, y *buffer) {
		reads := []*buffer{a.buffer}
		var r *buffer
		if residual != nil {
			r = c.values[residual]
			reads = append(reads, r)
		}
		ch := y.stride
		p.then(func(_ *worker, _, _, lo, hi int) {
			var add kernel.Values
			if r != nil {
				add = r.values(lo*ch, hi*ch)
			}
			mean, scale, shift := a.of(0)
			out := y.values(lo*ch, hi*ch)
			c.engine.path.Normalise(out, out, add, ch, mean, scale, shift, relu)
		}, reads)
		p.op.label += "+Normalise"
		c.values[last] = y
	}
}

// later is the value of n for an operation of the backward pass. What comes out of a batch norm is not kept so long but computed again from the convolution's output, which batch norm's own gradient
// needs in any case: one more pass over it (1 to 2% of a step), for a quarter of the memory. Residuals are computed again in their turn.
func (c *compiler) later(n *graph.Node) *buffer {
	if b := c.again[n]; b != nil {
		return b
	}
	normalise, relu := c.fusion.relu[n], true
	if n.Op == graph.Normalise {
		normalise, relu = n, false
	}
	if normalise == nil || c.held[n] || c.values[n] == nil && c.fusion.lazy[n] == nil {
		return c.stored(n)
	}
	x := c.stored(normalise.In[0])
	y := &buffer{words: x.words, stride: x.stride, half: x.half}
	var r *buffer
	if residual := c.fusion.residual[n]; residual != nil {
		r = c.later(residual)
		if r.half != x.half {
			return c.stored(n)
		}
	}
	c.again[n] = y
	c.emitNormalise(n, normalise, x, r, y, relu, " (again)")
	return y
}

// gradient is where a batch norm's operations find the gradient of its output: dy, the value of a node, as it is, or dy where the normalised value,
// computed again from x, is positive.
type gradient struct {
	node   *graph.Node
	dy     *buffer
	affine *affine
}

func (c *compiler) gradientOf(n *graph.Node, x *buffer) gradient {
	if normalise := c.fusion.masked[n]; normalise != nil {
		return gradient{n.In[0], c.storedLike(n.In[0], x), c.affineOf(normalise)}
	}
	return gradient{node: n, dy: c.storedLike(n, x)}
}

// reads is what is read to have it, and more.
func (g gradient) reads(more ...*buffer) []*buffer {
	if g.affine != nil {
		more = append(more, g.affine.buffer)
	}
	return append(more, g.dy)
}

// channelDot gives the two sums that batch norm's gradient needs, in one reading of dy and x; a convolution that writes dy part by part takes them when it has written a part.
func (c *compiler) channelDot(n *graph.Node) {
	x, mean, variance := c.stored(n.In[1]), c.value(n.In[2]), c.value(n.In[3])
	g := c.gradientOf(n.In[0], x)
	ch := x.stride
	sp := splitRows(x.floats()/ch, n.Shape[0], ch)
	dot, sum := c.result(n), c.newBuffer(n)
	label := "ChannelDot"
	if pair := c.fusion.pair[n]; pair != nil {
		c.values[pair] = sum
		label = "ChannelSum+Dot"
	}
	reads := g.reads(x, mean)
	others := reads[:len(reads)-1] // than dy
	maker := c.maker(g.node, g.dy, n.Shape[0], others...)
	if maker != nil {
		sp = maker.pixels
	}
	partial := &buffer{words: sp.splits * sp.parts * 2 * ch}
	epsilon := n.Attr.(graph.NormAttr).Epsilon
	path := c.engine.path
	sums := func(_ *worker, part, k, lo, hi int) {
		sums := partial.f[part*2*ch : (part+1)*2*ch]
		clear(sums)
		_, scale, shift := g.affine.of(k)
		path.GradSums(g.dy.values(lo*ch, hi*ch), x.values(lo*ch, hi*ch), ch, mean.f[k*ch:(k+1)*ch], scale, shift, sums[:ch], sums[ch:])
	}
	o := &op{node: n, label: label, cost: n.Cost(), reads: append(reads, variance), writes: []*buffer{dot, sum, partial}}
	if maker != nil {
		maker.then(sums, others, partial)
		o.reads, o.writes = []*buffer{partial, variance}, o.writes[:2]
		o.label += " (merge)"
	} else {
		o.phases = []phase{sp.phase(sums)}
	}
	o.phases = append(o.phases, serial(func(*worker) {
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
	}))
	c.emit(o)
}

// channelSum is the sum alone, as a bias wants it.
func (c *compiler) channelSum(n *graph.Node) {
	x := c.stored(n.In[0])
	ch := x.stride
	sp := splitRows(x.floats()/ch, n.Shape[0], ch)
	sum := c.result(n)
	partial := &buffer{words: sp.splits * sp.parts * ch}
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{sum, partial}, phases: []phase{
		sp.phase(func(_ *worker, part, _, lo, hi int) {
			sums := partial.f[part*ch : (part+1)*ch]
			clear(sums)
			c.engine.path.Sums(x.values(lo*ch, hi*ch), ch, sums)
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
	x, mean, variance := c.stored(n.In[1]), c.value(n.In[2]), c.value(n.In[3])
	g := c.gradientOf(n.In[0], x)
	gamma, sum, dot := c.value(n.In[4]), c.value(n.In[5]), c.value(n.In[6])
	ch, splits := x.stride, n.In[2].Shape[0]
	sp := splitRows(x.floats()/ch, splits, ch)
	dx := c.resultLike(n, x)
	factors := &buffer{words: splits * 3 * ch}
	epsilon := n.Attr.(graph.NormAttr).Epsilon
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
					b := -a * inverse * float64(dot.f[k]) / float64(sp.size())
					f[j], f[ch+j] = float32(a), float32(b)
					f[2*ch+j] = float32(-a * float64(sum.f[k]) / float64(sp.size()))
				}
			}
		}),
		sp.phase(func(_ *worker, _, k, lo, hi int) {
			f := factors.f[k*3*ch : (k+1)*3*ch]
			_, scale, shift := g.affine.of(k)
			c.engine.path.GradInput(dx.values(lo*ch, hi*ch), g.dy.values(lo*ch, hi*ch), x.values(lo*ch, hi*ch), ch, mean.f[k*ch:(k+1)*ch], scale, shift, f[:ch], f[ch:2*ch], f[2*ch:])
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
