package cpu

import (
	"math"

	"moco/graph"
)

// The losses that are no contrast with a common set of keys, and what goes with them.
var lossOperations = operations{
	graph.CrossEntropy:     {emit: emitCrossEntropy},
	graph.CrossEntropyGrad: {emit: emitCrossEntropyGrad},
	graph.LabelAccuracy:    {emit: emitLabelAccuracy},
	graph.NCE:              {emit: emitNCE},
	graph.NCEGrad:          {emit: emitNCEGrad},
	graph.Partition:        {emit: emitPartition},
	graph.TrustRatio:       {operands: alike, emit: emitTrustRatio},
}

// meanOfRows averages one value for each of some rows, added up in their order.
func meanOfRows(s *step, o *op, rows, width int, f func(w *worker, r int) float64) {
	y := s.out[0].buffer
	each := o.work(float64s, 1, rows)
	o.then(rowsPhase(rows, width, func(w *worker, r int) { each.f64[r] = f(w, r) }),
		serial(func(*worker) {
			y.f32[0] = float32(sumOf(each.f64) / float64(rows))
		}))
}

func sumOf(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum
}

// labelled is logits with a label for each row.
type labelled struct {
	logits, labels *buffer
	rows, classes  int
}

func labelledOf(in []*value) labelled {
	shape := in[0].node.Shape
	return labelled{logits: in[0].buffer, labels: in[1].buffer, rows: shape[0], classes: shape[1]}
}

func (l labelled) row(r int) (logits []float32, label int) {
	return l.logits.row(r)[:l.classes], within(l.labels.i32[r], l.classes)
}

func emitCrossEntropy(c *compiler, s *step, o *op) {
	l, path := labelledOf(s.in), c.engine.path
	o.needs(l.classes)
	meanOfRows(s, o, l.rows, l.classes, func(w *worker, r int) float64 {
		logits, label := l.row(r)
		largest := path.RowMax(logits)
		sum := path.ExpSum(w.floats(l.classes), logits, 1, -largest)
		return math.Log(float64(sum)) - float64(logits[label]-largest)
	})
}

func emitCrossEntropyGrad(c *compiler, s *step, o *op) {
	dy, y, path := s.in[0].buffer, s.out[0].buffer, c.engine.path
	l := labelledOf(s.in[1:])
	o.then(rowsPhase(l.rows, l.classes, func(_ *worker, r int) {
		logits, label := l.row(r)
		row := y.row(r)
		clear(row[l.classes:])
		sum := path.ExpSum(row[:l.classes], logits, 1, -path.RowMax(logits))
		k := float64(dy.f32[0]) / float64(l.rows)
		path.Scale(row, row, float32(k/float64(sum)))
		row[label] -= float32(k)
	}))
}

func emitLabelAccuracy(c *compiler, s *step, o *op) {
	l := labelledOf(s.in)
	meanOfRows(s, o, l.rows, l.classes, func(_ *worker, r int) float64 {
		if logits, label := l.row(r); logits[label] >= c.engine.path.RowMax(logits) {
			return 1
		}
		return 0
	})
}

// estimate is what noise-contrastive estimation works on: column 0 of the similarities is the
// positive, the others are noise.
type estimate struct {
	similarities, z *buffer
	rows, columns   int
	scale           float64 // 1/t
	ratio           float64 // noise draws over the population
	population      float64
}

func estimateOf(in []*value, a graph.EstimateAttr) estimate {
	shape, population := in[0].node.Shape, float64(a.Population)
	return estimate{
		similarities: in[0].buffer, z: in[1].buffer, rows: shape[0], columns: shape[1],
		scale: 1 / a.Temperature, ratio: float64(shape[1]-1) / population, population: population,
	}
}

// odds is what is added to -similarity/t to give log u, where u = ratio/P is how much likelier
// noise is than the data, a priori equal: h = 1/(1+u). Working with its logarithm keeps every
// similarity and Z finite.
func (e estimate) odds() float64 { return math.Log(float64(e.z.f32[0])) + math.Log(e.ratio) }

func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func emitNCE(_ *compiler, s *step, o *op) {
	e := estimateOf(s.in, s.node.Attr.(graph.EstimateAttr))
	meanOfRows(s, o, e.rows, 4*e.columns, func(_ *worker, r int) float64 {
		odds, row := e.odds(), e.similarities.row(r)[:e.columns]
		sum := softplus(odds - float64(row[0])*e.scale) // -log h
		for _, x := range row[1:] {
			sum += softplus(float64(x)*e.scale - odds) // -log(1-h)
		}
		return sum
	})
}

func emitNCEGrad(_ *compiler, s *step, o *op) {
	dy, y := s.in[0].buffer, s.out[0].buffer
	e := estimateOf(s.in[1:], s.node.Attr.(graph.EstimateAttr))
	o.reuse = []*buffer{e.similarities}
	o.then(rowsPhase(e.rows, 4*e.columns, func(_ *worker, r int) {
		odds, from, row := e.odds(), e.similarities.row(r), y.row(r)
		k := float64(dy.f32[0]) * e.scale / float64(e.rows)
		row[0] = float32(-k * sigmoid(odds-float64(from[0])*e.scale))
		for m := 1; m < e.columns; m++ {
			row[m] = float32(k * sigmoid(float64(from[m])*e.scale-odds))
		}
		clear(row[e.columns:])
	}))
}

func emitPartition(_ *compiler, s *step, o *op) {
	a, y := s.node.Attr.(graph.PartitionAttr), s.out[0].buffer
	e, keep := estimateOf(s.in, a.EstimateAttr), a.Keep
	each := o.work(float64s, 1, e.rows)
	o.then(rowsPhase(e.rows, 4*e.columns, func(_ *worker, r int) {
		each.f64[r] = 0
		if e.z.f32[0] != 0 && keep == 1 {
			return
		}
		for _, x := range e.similarities.row(r)[:e.columns] {
			each.f64[r] += math.Exp(float64(x) * e.scale)
		}
	}), serial(func(*worker) {
		now := e.population * sumOf(each.f64) / float64(e.rows*e.columns)
		if z := float64(e.z.f32[0]); z != 0 {
			now = keep*z + (1-keep)*now
		}
		clear(y.f32)
		y.f32[0] = float32(now)
	}))
}

// alike makes two operands lie alike: weights if one is.
func alike(c *compiler, s *step) {
	l := weightsStay(s)
	for i := range s.in {
		c.want(s, i, l, float32s)
	}
}

// emitTrustRatio adds up squares in parts of a fixed size, so that the sum does not depend on the
// workers.
func emitTrustRatio(c *compiler, s *step, o *op) {
	w, g, y, a := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer, s.node.Attr.(graph.TrustAttr)
	parts := (w.count + elementsEach - 1) / elementsEach
	squares := o.work(float64s, 2, parts)
	o.then(cut(w.count, elementsEach, func(_ *worker, lo, hi int) {
		squares.f64[lo/elementsEach] = float64(c.engine.path.Dot(w.f32[lo:hi], w.f32[lo:hi]))
		squares.f64[parts+lo/elementsEach] = float64(c.engine.path.Dot(g.f32[lo:hi], g.f32[lo:hi]))
	}), serial(func(*worker) {
		weights, gradient := math.Sqrt(sumOf(squares.f64[:parts])), math.Sqrt(sumOf(squares.f64[parts:]))
		y.f32[0] = 1
		if weights > 0 && gradient > 0 {
			y.f32[0] = float32(a.Trust * weights / (gradient + a.Decay*weights))
		}
	}))
}
