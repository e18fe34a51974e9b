package graph

import (
	"slices"

	"moco/tensor"
)

// The kinds that move rows by an index: batches in another order, queues and banks.
const (
	GatherRows  Op = "GatherRows"
	WriteRows   Op = "WriteRows"
	ReplaceRows Op = "ReplaceRows"
	Advance     Op = "Advance"
)

// AdvanceAttr belongs to Advance.
type AdvanceAttr struct {
	By, Modulo int
}

// GatherRows is y[i] = x[index[i]] along the first axis; index is int32 [N].
func (g *Graph) GatherRows(x, index *Node) *Node { return g.add(GatherRows, NoAttr{}, x, index) }

// WriteRows is x [K,..] with rows [N,..] written from row at[0] on, in their order. Behind the last
// row comes row 0, so that the later rows win where N > K. at is int32 [1].
func (g *Graph) WriteRows(x, rows, at *Node) *Node { return g.add(WriteRows, NoAttr{}, x, rows, at) }

// ReplaceRows is x [K,C] with row index[i] replaced by rows[i], one after the other; index is int32
// [N].
func (g *Graph) ReplaceRows(x, rows, index *Node) *Node {
	return g.add(ReplaceRows, NoAttr{}, x, rows, index)
}

// Advance is (at + by) mod modulo on int32 [1].
func (g *Graph) Advance(at *Node, by, modulo int) *Node {
	return g.add(Advance, AdvanceAttr{By: by, Modulo: modulo}, at)
}

func init() {
	register(GatherRows, rule[NoAttr]{
		check: func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 2 || len(in[0].Shape) < 2 || !isIndex(in[1]) {
				return bad("takes rows and an int32 index")
			}
			return in[0].Type, slices.Concat(in[1].Shape, in[0].Shape[1:]), nil
		},
		cost:       moves[NoAttr],
		activation: asOperands,
	})
	register(WriteRows, rule[NoAttr]{check: checkWriteRows, cost: moves[NoAttr]})
	register(ReplaceRows, rule[NoAttr]{check: checkReplaceRows, cost: moves[NoAttr]})
	register(Advance, rule[AdvanceAttr]{
		check: func(in []*Node, a AdvanceAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 1 || in[0].Type != tensor.Int32 || in[0].Shape.Elements() != 1 || a.Modulo < 1 || a.By < 0 {
				return bad("takes one int32 and a positive modulo")
			}
			return tensor.Int32, in[0].Shape, nil
		},
		cost: moves[AdvanceAttr],
	})
}

func checkWriteRows(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || in[2].Type != tensor.Int32 || in[2].Shape.Elements() != 1 {
		return bad("takes rows to change, rows to write and an int32 place")
	}
	x, rows := in[0], in[1]
	axes := len(x.Shape)
	if x.Type != rows.Type || axes < 1 || axes > 2 || len(rows.Shape) != axes || !rows.Shape[1:].Equal(x.Shape[1:]) {
		return bad("the rows differ")
	}
	return x.Type, x.Shape, nil
}

func checkReplaceRows(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || !isIndex(in[2]) {
		return bad("takes rows to change, rows to write and an int32 index")
	}
	if err := ranks(in[:2], 2, 2); err != nil {
		return bad("%w", err)
	}
	if in[0].Shape[1] != in[1].Shape[1] || in[1].Shape[0] != in[2].Shape[0] {
		return bad("the rows differ, or have no index each")
	}
	return floats(in[0].Shape...)
}
