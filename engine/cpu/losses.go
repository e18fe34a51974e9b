package cpu

import (
	"math"

	"moco/graph"
)

// The losses that are no contrast with a common set of keys, and what goes with them.

// mean makes an operation that averages one value for each of some rows, added up in their order.
func (c *compiler) mean(n *graph.Node, rows, width int, reads []*buffer, f func(w *worker, r int) float64) {
	y := c.result(n)
	each := make([]float64, rows)
	c.emit(&op{node: n, cost: n.Cost(), reads: reads, writes: []*buffer{y}, phases: []phase{
		rowsPhase(rows, width, func(w *worker, r int) { each[r] = f(w, r) }),
		serial(func(*worker) {
			var sum float64
			for _, v := range each {
				sum += v
			}
			y.f[0] = float32(sum / float64(rows))
		}),
	}})
}

// labelled is logits with a label for each row.
type labelled struct {
	logits, labels *buffer
	rows, classes  int
}

func (c *compiler) labelled(in []*graph.Node) (labelled, []*buffer) {
	l := labelled{c.value(in[0]), c.values[in[1]], in[0].Shape[0], in[0].Shape[1]}
	return l, []*buffer{l.logits, l.labels}
}

func (l labelled) row(r int) (logits []float32, label int) {
	return l.logits.row(r)[:l.classes], within(l.labels.i[r], l.classes)
}

func (c *compiler) crossEntropy(n *graph.Node) {
	l, reads := c.labelled(n.In)
	c.mean(n, l.rows, l.classes, reads, func(w *worker, r int) float64 {
		logits, label := l.row(r)
		largest := c.engine.path.RowMax(logits)
		sum := c.engine.path.ExpSum(w.floats(l.classes), logits, 1, -largest)
		return math.Log(float64(sum)) - float64(logits[label]-largest)
	})
}

func (c *compiler) crossEntropyGrad(n *graph.Node) {
	dy := c.value(n.In[0])
	l, reads := c.labelled(n.In[1:])
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: append(reads, dy), writes: []*buffer{y}, phases: []phase{
		rowsPhase(l.rows, l.classes, func(_ *worker, r int) {
			logits, label := l.row(r)
			row := y.row(r)
			clear(row[l.classes:])
			sum := c.engine.path.ExpSum(row[:l.classes], logits, 1, -c.engine.path.RowMax(logits))
			k := float64(dy.f[0]) / float64(l.rows)
			c.engine.path.Scale(row, row, float32(k/float64(sum)))
			row[label] -= float32(k)
		}),
	}})
}

func (c *compiler) labelAccuracy(n *graph.Node) {
	l, reads := c.labelled(n.In)
	c.mean(n, l.rows, l.classes, reads, func(_ *worker, r int) float64 {
		if logits, label := l.row(r); logits[label] >= c.engine.path.RowMax(logits) {
			return 1
		}
		return 0
	})
}

// estimate is what noise-contrastive estimation works on: column 0 of the similarities is the positive, the others are noise.
type estimate struct {
	similarities, z *buffer
	rows, columns   int
	scale           float64 // 1/t
	ratio           float64 // noise draws over the population
	population      float64
}

func (c *compiler) estimate(in []*graph.Node, a graph.EstimateAttr) (estimate, []*buffer) {
	s, population := in[0].Shape, float64(a.Population)
	e := estimate{c.value(in[0]), c.value(in[1]), s[0], s[1], 1 / a.Temperature, float64(s[1]-1) / population, population}
	return e, []*buffer{e.similarities, e.z}
}

// odds is what is added to -similarity/t to give log u, where u = ratio/P is how much likelier noise is than the data, a priori equal: h = 1/(1+u). Working with
// its logarithm keeps every similarity and Z finite.
func (e estimate) odds() float64 { return math.Log(float64(e.z.f[0])) + math.Log(e.ratio) }

func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func (c *compiler) nce(n *graph.Node) {
	e, reads := c.estimate(n.In, n.Attr.(graph.EstimateAttr))
	c.mean(n, e.rows, 4*e.columns, reads, func(_ *worker, r int) float64 {
		odds, row := e.odds(), e.similarities.row(r)[:e.columns]
		sum := softplus(odds - float64(row[0])*e.scale) // -log h
		for _, s := range row[1:] {
			sum += softplus(float64(s)*e.scale - odds) // -log(1-h)
		}
		return sum
	})
}

func (c *compiler) nceGrad(n *graph.Node) {
	dy := c.value(n.In[0])
	e, reads := c.estimate(n.In[1:], n.Attr.(graph.EstimateAttr))
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: append(reads, dy), writes: []*buffer{y}, reuse: []*buffer{e.similarities}, phases: []phase{
		rowsPhase(e.rows, 4*e.columns, func(_ *worker, r int) {
			odds, from, row := e.odds(), e.similarities.row(r), y.row(r)
			k := float64(dy.f[0]) * e.scale / float64(e.rows)
			row[0] = float32(-k * sigmoid(odds-float64(from[0])*e.scale))
			for m := 1; m < e.columns; m++ {
				row[m] = float32(k * sigmoid(float64(from[m])*e.scale-odds))
			}
			clear(row[e.columns:])
		}),
	}})
}

func (c *compiler) partition(n *graph.Node) {
	a := n.Attr.(graph.PartitionAttr)
	e, reads := c.estimate(n.In, a.EstimateAttr)
	y := c.result(n)
	each := make([]float64, e.rows)
	c.emit(&op{node: n, cost: n.Cost(), reads: reads, writes: []*buffer{y}, phases: []phase{
		rowsPhase(e.rows, 4*e.columns, func(_ *worker, r int) {
			each[r] = 0
			if e.z.f[0] != 0 && a.Keep == 1 {
				return
			}
			for _, s := range e.similarities.row(r)[:e.columns] {
				each[r] += math.Exp(float64(s) * e.scale)
			}
		}),
		serial(func(*worker) {
			var sum float64
			for _, v := range each {
				sum += v
			}
			now := e.population * sum / float64(e.rows*e.columns)
			if z := float64(e.z.f[0]); z != 0 {
				now = a.Keep*z + (1-a.Keep)*now
			}
			clear(y.f)
			y.f[0] = float32(now)
		}),
	}})
}

// trustRatio adds up squares in parts of a fixed size, so that the sum does not depend on the workers.
func (c *compiler) trustRatio(n *graph.Node) {
	a := n.Attr.(graph.TrustAttr)
	like := n.In[0]
	if isWeights(n.In[1]) {
		like = n.In[1]
	}
	w, g := c.as(like, n.In[0]), c.as(like, n.In[1])
	y := c.result(n)
	parts := (w.words + elementsEach - 1) / elementsEach
	squares := make([][2]float64, parts)
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{w, g}, writes: []*buffer{y}, phases: []phase{
		cut(w.words, elementsEach, func(_ *worker, lo, hi int) {
			squares[lo/elementsEach] = [2]float64{float64(c.engine.path.Dot(w.f[lo:hi], w.f[lo:hi])), float64(c.engine.path.Dot(g.f[lo:hi], g.f[lo:hi]))}
		}),
		serial(func(*worker) {
			var sums [2]float64
			for _, s := range squares {
				sums[0] += s[0]
				sums[1] += s[1]
			}
			weights, gradient := math.Sqrt(sums[0]), math.Sqrt(sums[1])
			y.f[0] = 1
			if weights > 0 && gradient > 0 {
				y.f[0] = float32(a.Trust * weights / (gradient + a.Decay*weights))
			}
		}),
	}})
}
