package cpu

import (
	"math"

	"moco/graph"
	"moco/tensor"
)

const float = tensor.Float32

// contrast is the operands of the loss and its relatives.
type contrast struct {
	positive, negatives *buffer
	queryIDs, keyIDs    *buffer // nil: nothing is masked
	rows, keys          int
	scale               float32 // 1/t
}

func (c *compiler) contrastOf(in []*graph.Node, a graph.ContrastAttr) (k contrast, reads []*buffer) {
	k = contrast{positive: c.value(in[0]), negatives: c.value(in[1]), rows: in[1].Shape[0], keys: in[1].Shape[1], scale: float32(1 / a.Temperature)}
	reads = []*buffer{k.positive, k.negatives}
	if len(in) == 4 {
		k.queryIDs, k.keyIDs = c.value(in[2]), c.value(in[3])
		reads = append(reads, k.queryIDs, k.keyIDs)
	}
	return k, reads
}

// logits copies the negatives of row r to dst, with minus infinity for those that are the query's own image.
func (k contrast) logits(dst []float32, r int) {
	copy(dst, k.negatives.row(r)[:k.keys])
	if k.queryIDs == nil {
		return
	}
	own := k.queryIDs.i[r]
	for j, id := range k.keyIDs.i[:k.keys] {
		if id == own {
			dst[j] = float32(math.Inf(-1))
		}
	}
}

// softmax turns dst, a copy of the logits, into exp((n_j - largest)/t) and returns exp((p - largest)/t), the sum over
// all, and the largest of all: subtracting it keeps the exponentials finite whatever t is.
func (c *compiler) softmax(k contrast, dst []float32, r int) (positive, sum float64, largest float32) {
	p := k.positive.f[r]
	largest = max(p, c.engine.path.RowMax(dst))
	negatives := c.engine.path.ExpSum(dst, dst, k.scale, -largest*k.scale)
	positive = math.Exp(float64(p-largest) * float64(k.scale))
	return positive, positive + float64(negatives), largest
}

// meanOfRows makes an operation that averages one value for each query.
func (c *compiler) meanOfRows(n *graph.Node, f func(k contrast, w *worker, r int) float32) {
	k, reads := c.contrastOf(n.In, n.Attr.(graph.ContrastAttr))
	y := c.result(n)
	each := &buffer{words: channels(k.rows)}
	c.emit(&op{node: n, cost: n.Cost(), reads: reads, writes: []*buffer{y, each}, phases: []phase{
		rowsPhase(k.rows, k.keys, func(w *worker, r int) { each.f[r] = f(k, w, r) }),
		serial(func(*worker) {
			var sum float64
			for _, v := range each.f[:k.rows] {
				sum += float64(v)
			}
			y.f[0] = float32(sum / float64(k.rows))
		}),
	}})
}

func (c *compiler) infoNCE(n *graph.Node) {
	c.meanOfRows(n, func(k contrast, w *worker, r int) float32 {
		dst := w.floats(k.keys)
		k.logits(dst, r)
		_, sum, largest := c.softmax(k, dst, r)
		return float32(math.Log(sum) - float64(k.positive.f[r]-largest)*float64(k.scale))
	})
}

func (c *compiler) contrastAccuracy(n *graph.Node) {
	c.meanOfRows(n, func(k contrast, w *worker, r int) float32 {
		dst := w.floats(k.keys)
		k.logits(dst, r)
		if k.positive.f[r] >= c.engine.path.RowMax(dst) {
			return 1
		}
		return 0
	})
}

func (c *compiler) infoNCEGrad(n *graph.Node) {
	dy := c.value(n.In[0])
	k, reads := c.contrastOf(n.In[1:], n.Attr.(graph.ContrastAttr))
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: append(reads, dy), writes: []*buffer{y}, reuse: []*buffer{k.negatives}, phases: []phase{
		rowsPhase(k.rows, k.keys, func(_ *worker, r int) {
			row := y.row(r)
			k.logits(row[:k.keys], r)
			clear(row[k.keys:])
			_, sum, _ := c.softmax(k, row[:k.keys], r)
			c.engine.path.Scale(row, row, float32(float64(dy.f[0])*float64(k.scale)/(float64(k.rows)*sum)))
		}),
	}})
}
