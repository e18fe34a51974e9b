package cpu

import (
	"math"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// The losses that compare a positive with a common set of negatives.
var contrastOperations = operations{
	graph.InfoNCE:          {emit: emitInfoNCE},
	graph.InfoNCEGrad:      {emit: emitInfoNCEGrad},
	graph.ContrastAccuracy: {emit: emitContrastAccuracy},
}

// contrast is the operands of the loss and its relatives.
type contrast struct {
	path                *kernel.Path
	positive, negatives *buffer
	queryIDs, keyIDs    *buffer // nil: nothing is masked
	rows, keys          int
	scale               float32 // 1/t
	decoupled           bool    // the denominator is over the negatives alone
}

// contrastOf takes the operands from in on.
func contrastOf(c *compiler, s *step, in []*value) contrast {
	shape, attr := in[1].node.Shape, s.node.Attr.(graph.ContrastAttr)
	k := contrast{
		path: c.engine.path, positive: in[0].buffer, negatives: in[1].buffer,
		rows: shape[0], keys: shape[1], scale: float32(1 / attr.Temperature), decoupled: attr.Decoupled,
	}
	if len(in) == 4 {
		k.queryIDs, k.keyIDs = in[2].buffer, in[3].buffer
	}
	return k
}

// logits copies the negatives of row r to dst, with minus infinity for those of the query's own
// image.
func (k contrast) logits(dst []float32, r int) {
	copy(dst, k.negatives.row(r)[:k.keys])
	if k.queryIDs == nil {
		return
	}
	own := k.queryIDs.i32[r]
	for j, id := range k.keyIDs.i32[:k.keys] {
		if id == own {
			dst[j] = float32(math.Inf(-1))
		}
	}
}

// softmax turns dst, a copy of the logits of row r, into exp((n_j - largest)/t), where largest is the
// largest in the denominator, of the negatives and the positive p: subtracting it keeps the
// exponentials finite whatever t is. It returns the sum, which is the denominator, and the largest.
func (k contrast) softmax(dst []float32, r int) (sum float64, largest float32) {
	p := k.positive.f32[r]
	largest = k.path.RowMax(dst)
	if k.decoupled && math.IsInf(float64(largest), -1) { // no negative is left: a loss of 0, without a gradient
		clear(dst)
		return 1, p
	}
	if !k.decoupled {
		largest = max(p, largest)
		sum = math.Exp(float64(p-largest) * float64(k.scale))
	}
	return sum + float64(k.path.ExpSum(dst, dst, k.scale, -largest*k.scale)), largest
}

// meanOfQueries averages one value for each query.
func (k contrast) meanOfQueries(s *step, o *op, f func(w *worker, r int) float32) {
	y := s.out[0].buffer
	each := o.work(float32s, 1, channels(k.rows))
	o.needs(k.keys)
	o.then(rowsPhase(k.rows, k.keys, func(w *worker, r int) { each.f32[r] = f(w, r) }),
		serial(func(*worker) {
			var sum float64
			for _, v := range each.f32[:k.rows] {
				sum += float64(v)
			}
			y.f32[0] = float32(sum / float64(k.rows))
		}))
}

func emitInfoNCE(c *compiler, s *step, o *op) {
	k := contrastOf(c, s, s.in)
	k.meanOfQueries(s, o, func(w *worker, r int) float32 {
		dst := w.floats(k.keys)
		k.logits(dst, r)
		sum, largest := k.softmax(dst, r)
		return float32(math.Log(sum) - float64(k.positive.f32[r]-largest)*float64(k.scale))
	})
}

func emitContrastAccuracy(c *compiler, s *step, o *op) {
	k := contrastOf(c, s, s.in)
	k.meanOfQueries(s, o, func(w *worker, r int) float32 {
		dst := w.floats(k.keys)
		k.logits(dst, r)
		if k.positive.f32[r] >= k.path.RowMax(dst) {
			return 1
		}
		return 0
	})
}

func emitInfoNCEGrad(c *compiler, s *step, o *op) {
	dy, y := s.in[0].buffer, s.out[0].buffer
	k := contrastOf(c, s, s.in[1:])
	o.reuse = []*buffer{k.negatives}
	o.then(rowsPhase(k.rows, k.keys, func(_ *worker, r int) {
		row := y.row(r)
		k.logits(row[:k.keys], r)
		clear(row[k.keys:])
		sum, _ := k.softmax(row[:k.keys], r)
		k.path.Scale(row, row, float32(float64(dy.f32[0])*float64(k.scale)/(float64(k.rows)*sum)))
	}))
}
