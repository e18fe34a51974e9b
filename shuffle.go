package moco

import "moco/graph"

// shuffle is shuffled BN (Sec. 3.3). Keys are encoded in another order than queries, so the
// statistics of a split cannot tell which key belongs to which query.
type shuffle struct {
	g            *builder
	order, place *graph.Node // [N]; nil: keys are encoded in the order of queries
}

func newShuffle(g *builder) shuffle {
	if !g.recipe.ShuffleBN {
		return shuffle{g: g}
	}
	return shuffle{g: g, order: g.int32s(inShuffle, g.n), place: g.int32s(inUnshuffle, g.n)}
}

func (s shuffle) do(x *graph.Node) *graph.Node   { return s.gather(x, s.order) }
func (s shuffle) undo(x *graph.Node) *graph.Node { return s.gather(x, s.place) }

func (s shuffle) gather(x, index *graph.Node) *graph.Node {
	if index == nil {
		return x
	}
	return s.g.GatherRows(x, index)
}
