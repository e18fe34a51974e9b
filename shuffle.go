package moco

import "moco/graph"

// shuffle is shuffled BN (Sec. 3.3). Keys are encoded in another order than queries, so the
// statistics of a part or replica cannot tell which key belongs to which query.
type shuffle struct {
	g            *builder
	order, place *graph.Node // [N] of the whole batch; nil: keys are encoded in the order of queries
}

func newShuffle(g *builder) shuffle {
	switch {
	case !g.recipe.ShuffleBN:
		return shuffle{g: g}
	case g.Replicas > 1:
		return shuffle{g: g, place: g.order(inUnshuffle)}
	}
	return shuffle{g: g, order: g.order(inShuffle), place: g.order(inUnshuffle)}
}

// do is the views x in the order of keys. Those of a replica come in this order already (Batch.KeyViews): a
// view can be made anywhere, so none has to be sent.
func (s shuffle) do(x *graph.Node) *graph.Node {
	if s.order == nil {
		return x
	}
	return s.g.GatherRows(x, s.order)
}

// undo is the keys k in the order of queries: those of all replicas together, and of them the
// replica's own.
func (s shuffle) undo(k *graph.Node) *graph.Node {
	if s.place == nil {
		return k
	}
	return s.g.OwnRows(s.g.GatherRows(s.g.GatherReplicas(k), s.place))
}
