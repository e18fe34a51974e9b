package graph

import (
	"slices"

	"moco/tensor"
)

// The kinds that move rows: parts of a batch, queues and banks.
const (
	GatherRows  Op = "GatherRows"
	WriteRows   Op = "WriteRows"
	ReplaceRows Op = "ReplaceRows"
	Advance     Op = "Advance"
	Rows        Op = "Rows"
	RowsGrad    Op = "RowsGrad"
	Concat      Op = "Concat"
)

// AdvanceAttr belongs to Advance.
type AdvanceAttr struct {
	By, Modulo int
}

// RowsAttr belongs to Rows.
type RowsAttr struct {
	From, Count int
}

// RowsGradAttr belongs to RowsGrad.
type RowsGradAttr struct {
	From  int // the row of the result that the gradient's first one is
	Total int // rows of the result
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

// Rows is rows from..from+count-1 of x, along the first axis.
func (g *Graph) Rows(x *Node, from, count int) *Node {
	return g.add(Rows, RowsAttr{From: from, Count: count}, x)
}

// RowsGrad is the gradient of Rows with regard to an x of `total` rows: dy at rows from.., zero
// elsewhere.
func (g *Graph) RowsGrad(dy *Node, from, total int) *Node {
	return g.add(RowsGrad, RowsGradAttr{From: from, Total: total}, dy)
}

// Concat is the rows of a above those of b: [N,..], [M,..] -> [N+M,..]; or one int32 vector behind
// another.
func (g *Graph) Concat(a, b *Node) *Node { return g.add(Concat, NoAttr{}, a, b) }

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
	register(Rows, rule[RowsAttr]{
		check: checkRows,
		gradient: func(g *Graph, n, dy *Node, a RowsAttr) []*Node {
			x := n.In[0]
			return []*Node{g.lazy(x, func() *Node { return g.RowsGrad(dy, a.From, x.Shape[0]) })}
		},
		cost:       moves[RowsAttr],
		activation: asOperands,
	})
	register(RowsGrad, rule[RowsGradAttr]{
		check: func(in []*Node, a RowsGradAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, 2); err != nil {
				return bad("%w", err)
			}
			if a.From < 0 || a.From+in[0].Shape[0] > a.Total {
				return bad("rows from %d do not fit in %d", a.From, a.Total)
			}
			return floats(a.Total, in[0].Shape[1])
		},
		cost: moves[RowsGradAttr],
	})
	register(Concat, rule[NoAttr]{
		check: checkConcat,
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			a, b := n.In[0], n.In[1]
			return []*Node{
				g.lazy(a, func() *Node { return g.Rows(dy, 0, a.Shape[0]) }),
				g.lazy(b, func() *Node { return g.Rows(dy, a.Shape[0], b.Shape[0]) }),
			}
		},
		cost:       moves[NoAttr],
		activation: asOperands,
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

func checkRows(in []*Node, a RowsAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 1 || len(in[0].Shape) < 1 || len(in[0].Shape) == 1 && in[0].Type == tensor.Float32 {
		return bad("takes rows")
	}
	if a.From < 0 || a.Count < 1 || a.From+a.Count > in[0].Shape[0] {
		return bad("there are no rows %d to %d", a.From, a.From+a.Count-1)
	}
	return in[0].Type, append(tensor.Shape{a.Count}, in[0].Shape[1:]...), nil
}

func checkConcat(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) == 2 && isIndex(in[0]) && isIndex(in[1]) {
		return tensor.Int32, tensor.Shape{in[0].Shape[0] + in[1].Shape[0]}, nil
	}
	if err := ranks(in, -1, -1); err != nil {
		return bad("%w", err)
	}
	a, b := in[0].Shape, in[1].Shape
	if len(a) < 2 || len(b) < 2 || !a[1:].Equal(b[1:]) {
		return bad("the rows differ")
	}
	return floats(append([]int{a[0] + b[0]}, a[1:]...)...)
}
