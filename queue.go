package moco

import (
	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// queue is the dictionary (Sec. 3.2): the last K keys, first in, first out, whatever the size of a batch. A batch is written where
// the oldest keys stand and may wrap from the last row to the first.
type queue struct {
	g    *graph.Graph
	keys *graph.Node // [K,C] as the step finds them

	ids      *graph.Node // [K] the image of each key; nil unless the recipe masks
	batchIDs *graph.Node // [N] the images of this batch

	nextKeys, nextIDs, at *graph.Node // as enqueue left them
	variables             struct{ keys, ids, at *graph.Node }
}

func newQueue(g *graph.Graph, r *Recipe) *queue {
	q := &queue{g: g, keys: g.Variable("queue", float, r.Queue, r.Encoder.Dim), at: g.Variable("queue_pointer", tensor.Int32, 1)}
	q.nextKeys = q.keys
	if r.Masks() {
		q.ids = g.Variable("queue_ids", tensor.Int32, r.Queue)
		q.nextIDs = q.ids
	}
	q.variables.keys, q.variables.ids, q.variables.at = q.keys, q.ids, q.at
	return q
}

// enqueue writes the keys of a batch over the oldest ones.
func (q *queue) enqueue(k *graph.Node) {
	q.nextKeys = q.g.WriteRows(q.nextKeys, k, q.at)
	if q.ids != nil {
		q.nextIDs = q.g.WriteRows(q.nextIDs, q.imagesOf(k), q.at)
	}
	q.at = q.g.Advance(q.at, k.Shape[0], q.keys.Shape[0])
}

// imagesOf declares the input with the images' ids, once.
func (q *queue) imagesOf(k *graph.Node) *graph.Node {
	if q.batchIDs == nil {
		q.batchIDs = q.g.Input("ids", tensor.Int32, k.Shape[0])
	}
	return q.batchIDs
}

// keep makes the enqueued keys the queue of the next step.
func (q *queue) keep() {
	q.g.Assign(q.variables.keys, q.nextKeys)
	q.g.Assign(q.variables.at, q.at)
	if q.ids != nil {
		q.g.Assign(q.variables.ids, q.nextIDs)
	}
}

// noImage is the id of a key that no image made: those that the queue starts with.
const noImage = -1

// queueStart is the purpose of the random numbers that the queue starts with.
const queueStart = 1

func initialiseQueue(r *Recipe, s engine.State) error {
	keys := tensor.New(float, r.Queue, r.Encoder.Dim)
	randomRows(keys, r.seeded(queueStart))
	if err := s.Write("queue", keys); err != nil {
		return err
	}
	if !r.Masks() {
		return nil
	}
	ids := tensor.New(tensor.Int32, r.Queue)
	for i := range ids.Int32s() {
		ids.Int32s()[i] = noImage
	}
	return s.Write("queue_ids", ids)
}

func checkQueue(r *Recipe, wrong func(string, ...any)) {
	if r.Queue < 1 || r.Queue > 1<<24 {
		wrong("queue: must be 1 to %d keys, is %d", 1<<24, r.Queue)
	}
	if r.Accumulate > 1 {
		wrong("accumulate: a queue is as long whatever the batch; take a smaller batch and leave accumulate at 1")
	}
}
