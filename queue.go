package moco

import (
	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// momentumContrast is MoCo (Fig. 2c): keys made by a momentum encoder, kept in a queue. Its step is
// Algorithm 1, in step.go.
type momentumContrast struct{ contrastive }

func newMomentumContrast(r *Recipe) Mechanism { return momentumContrast{contrastive{r}} }

func (m momentumContrast) Negatives(int) int    { return m.Queue }
func (m momentumContrast) Chance(n int) float64 { return m.chance(m.Negatives(n)) }
func (m momentumContrast) KeyEncoder() bool     { return true }
func (m momentumContrast) Filling() int         { return (m.Queue + m.Batch - 1) / m.Batch }

func (m momentumContrast) check(wrong func(bool, string, ...any)) {
	wrong(m.Queue < 1 || m.Queue > 1<<24, "queue: must be 1 to %d keys, is %d", 1<<24, m.Queue)
	wrong(m.Accumulate > 1, "accumulate: a queue is as long whatever the batch; take a smaller batch and leave accumulate at 1")
}

func (m momentumContrast) keys(g *builder) *graph.Node {
	fk, shuffle := newEncoder(g, key), newShuffle(g)
	return shuffle.undo(fk.forward(shuffle.do(g.keyView(secondViews))))
}

// The queue's variables.
const (
	queueKeys    = "queue"         // [K,C]
	queuePointer = "queue_pointer" // the row of the oldest key
	queueIDs     = "queue_ids"     // [K], the image of each key, where the recipe masks
)

// noImage is the id of the random keys that the queue starts with: no image made them.
const noImage = -1

func (m momentumContrast) initialise(s engine.State) error {
	keys := tensor.New(float, m.Queue, m.Encoder.Dim)
	randomRows(keys, m.seeded(queueStream))
	if err := s.Write(queueKeys, keys); err != nil {
		return err
	}
	if !m.Masks() {
		return nil
	}
	ids := tensor.New(int32s, m.Queue)
	for i := range ids.Int32s() {
		ids.Int32s()[i] = noImage
	}
	return s.Write(queueIDs, ids)
}

// queue is the dictionary (Sec. 3.2) on a step's graph: the last K keys, first in, first out,
// whatever the size of a batch. A batch is written over the oldest keys and may wrap from the last
// row to the first.
type queue struct {
	g    *builder
	keys *graph.Node // [K,C] as the step finds them
	ids  *graph.Node // [K] the image of each key; nil unless the recipe masks

	nextKeys, nextIDs, at *graph.Node // after enqueue
	variables             struct{ keys, ids, at *graph.Node }
}

func newQueue(g *builder) *queue {
	r := g.recipe
	q := &queue{g: g, keys: g.Variable(queueKeys, float, r.Queue, r.Encoder.Dim), at: g.Variable(queuePointer, int32s, 1)}
	q.nextKeys = q.keys
	if r.Masks() {
		q.ids = g.Variable(queueIDs, int32s, r.Queue)
		q.nextIDs = q.ids
	}
	q.variables.keys, q.variables.ids, q.variables.at = q.keys, q.ids, q.at
	return q
}

// masked adds to c what tells a query's own image apart. With mask_same_image, a key in the queue
// that came from the query's own image is not a negative.
func (q *queue) masked(c graph.Contrast) graph.Contrast {
	if q.ids != nil {
		c.QueryIDs, c.KeyIDs = q.g.ids(), q.ids
	}
	return c
}

// enqueue writes the keys of a batch, those of all replicas, over the oldest ones.
func (q *queue) enqueue(k *graph.Node) {
	q.nextKeys = q.g.WriteRows(q.nextKeys, k, q.at)
	if q.ids != nil {
		q.nextIDs = q.g.WriteRows(q.nextIDs, q.g.GatherReplicas(q.g.ids()), q.at)
	}
	q.at = q.g.Advance(q.at, k.Shape[0], q.keys.Shape[0])
}

// keep makes the enqueued keys the queue of the next step.
func (q *queue) keep() {
	q.g.Assign(q.variables.keys, q.nextKeys)
	q.g.Assign(q.variables.at, q.at)
	if q.ids != nil {
		q.g.Assign(q.variables.ids, q.nextIDs)
	}
}

// storedQueue is a queue between two steps.
type storedQueue struct {
	keys    []float32
	pointer int
	rows    int
	dim     int
	each    int // keys that an image leaves in the queue: two where the loss is symmetric
}

func (m momentumContrast) Stored(s engine.State) (Stored, error) {
	keys, err := s.Read(queueKeys)
	if err != nil {
		return nil, err
	}
	at, err := s.Read(queuePointer)
	if err != nil {
		return nil, err
	}
	q := &storedQueue{keys: keys.Float32s(), pointer: int(at.Int32s()[0]), rows: m.Queue, dim: m.Encoder.Dim, each: 1}
	if m.Symmetric {
		q.each = 2
	}
	return q, nil
}

func (q *storedQueue) Holds(at Earlier, n int) bool { return q.each*(at.Newer+n) <= q.rows }

// Key finds the keys of the second views. A step enqueues them last.
func (q *storedQueue) Key(at Earlier, n, i int, _ int32) []float32 {
	row := ((q.pointer-q.each*at.Newer-n+i)%q.rows + q.rows) % q.rows
	return q.keys[row*q.dim : (row+1)*q.dim]
}
