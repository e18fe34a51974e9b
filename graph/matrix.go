package graph

import (
	"errors"
	"fmt"
	"slices"

	"moco/tensor"
)

// The kinds that work on matrices, whose rows are features, and on batches of them.
const (
	MatMul                 Op = "MatMul"
	BiasAdd                Op = "BiasAdd"
	L2Normalise            Op = "L2Normalise"
	L2NormaliseGrad        Op = "L2NormaliseGrad"
	RowDot                 Op = "RowDot"
	RowSum                 Op = "RowSum"
	ScaleRows              Op = "ScaleRows"
	ScaleChannels          Op = "ScaleChannels"
	ScaleChannelsGradScale Op = "ScaleChannelsGradScale"
)

// MatMulAttr belongs to MatMul.
type MatMulAttr struct {
	TransposeA, TransposeB bool
	SumBatch               bool // the products of the batch are added up
}

// MatMul is the matrix product op(a) op(b), where op transposes if asked: [N,M] x [M,K] -> [N,K].
//
// Operands with more than two axes are batches of matrices, which are their last two axes. Two
// batches must have the same leading axes, and give the products of their pairs: [..,N,M] x
// [..,M,K] -> [..,N,K]. A batch and a single matrix give the products with that matrix.
func (g *Graph) MatMul(a, b *Node, transposeA, transposeB bool) *Node {
	return g.add(MatMul, MatMulAttr{TransposeA: transposeA, TransposeB: transposeB}, a, b)
}

// MatMulSum is the sum of the products of two batches of matrices: [..,N,M] x [..,M,K] -> [N,K]. It
// is the gradient of MatMul with regard to a single matrix that a batch was multiplied with.
func (g *Graph) MatMulSum(a, b *Node, transposeA, transposeB bool) *Node {
	return g.add(MatMul, MatMulAttr{TransposeA: transposeA, TransposeB: transposeB, SumBatch: true}, a, b)
}

// BiasAdd adds b, whose axes are the last ones of x, to each part of x that has its shape: [N,C] +
// [C], [N,T,C] + [C] or [N,T,C] + [T,C].
func (g *Graph) BiasAdd(x, b *Node) *Node { return g.add(BiasAdd, NoAttr{}, x, b) }

// L2Normalise divides each row by its Euclidean norm, or by 1e-12 where that is larger, as
// PyTorch's F.normalize does.
func (g *Graph) L2Normalise(x *Node) *Node { return g.add(L2Normalise, NoAttr{}, x) }

// L2NormaliseGrad is the gradient of y = L2Normalise(x), row by row: (dy - y*(y.dy)) / norm(x).
func (g *Graph) L2NormaliseGrad(dy, x *Node) *Node { return g.add(L2NormaliseGrad, NoAttr{}, dy, x) }

// RowDot is the dot product of each row of a with its row of b: [N,C], [N,C] -> [N].
func (g *Graph) RowDot(a, b *Node) *Node { return g.add(RowDot, NoAttr{}, a, b) }

// RowSum sums each row: [N,C] -> [N].
func (g *Graph) RowSum(x *Node) *Node { return g.add(RowSum, NoAttr{}, x) }

// ScaleRows multiplies each example of x [N,..] by its value of s [N], which is taken for a
// constant.
func (g *Graph) ScaleRows(x, s *Node) *Node { return g.add(ScaleRows, NoAttr{}, x, s) }

// ScaleChannels multiplies each channel of x [..,C] by its value of s [C].
func (g *Graph) ScaleChannels(x, s *Node) *Node { return g.add(ScaleChannels, NoAttr{}, x, s) }

// ScaleChannelsGradScale is the gradient of ScaleChannels with regard to s: the sum of dy*x over all
// axes but the last, [..,C] -> [C].
func (g *Graph) ScaleChannelsGradScale(dy, x *Node) *Node {
	return g.add(ScaleChannelsGradScale, NoAttr{}, dy, x)
}

func init() {
	register(MatMul, rule[MatMulAttr]{
		check:    checkMatMul,
		gradient: gradMatMul,
		cost: func(n *Node, _ MatMulAttr) Cost {
			p := ProductOf(n)
			return n.costs(2 * int64(p.Batch) * int64(p.Rows) * int64(p.Inner) * int64(p.Columns))
		},
		// With more than two axes there is a row of channels for each of several places in an
		// example.
		activation: func(_ []*Node, shape tensor.Shape) bool { return len(shape) > 2 },
	})
	register(BiasAdd, rule[NoAttr]{check: checkBiasAdd, gradient: gradBiasAdd, activation: asOperands})
	register(L2Normalise, rule[NoAttr]{
		check: sameMatrix(1),
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			return []*Node{g.L2NormaliseGrad(dy, n.In[0])}
		},
	})
	register(L2NormaliseGrad, rule[NoAttr]{check: sameMatrix(2)})
	register(RowDot, rule[NoAttr]{
		check: onePerRow(2),
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			a, b := n.In[0], n.In[1]
			return []*Node{
				g.lazy(a, func() *Node { return g.ScaleRows(b, dy) }),
				g.lazy(b, func() *Node { return g.ScaleRows(a, dy) }),
			}
		},
	})
	register(RowSum, rule[NoAttr]{check: onePerRow(1)})
	register(ScaleRows, rule[NoAttr]{
		check: func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1, 1); err != nil {
				return bad("%w", err)
			}
			if len(in[0].Shape) < 2 || in[0].Shape[0] != in[1].Shape[0] {
				return bad("%d factors for %v", in[1].Shape[0], in[0].Shape)
			}
			return floats(in[0].Shape...)
		},
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			return []*Node{g.lazy(n.In[0], func() *Node { return g.ScaleRows(dy, n.In[1]) }), nil}
		},
		activation: asOperands,
	})
	register(ScaleChannels, rule[NoAttr]{
		check: func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1, 1); err != nil {
				return bad("%w", err)
			}
			if err := perChannel(in[0], in[1]); err != nil {
				return bad("%w", err)
			}
			return floats(in[0].Shape...)
		},
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			x, s := n.In[0], n.In[1]
			return []*Node{
				g.lazy(x, func() *Node { return g.ScaleChannels(dy, s) }),
				g.lazy(s, func() *Node { return g.ScaleChannelsGradScale(dy, x) }),
			}
		},
		activation: asOperands,
	})
	register(ScaleChannelsGradScale, rule[NoAttr]{check: sumOfRows})
}

// Product is the size of a MatMul: Batch products of [Rows,Inner] and [Inner,Columns].
type Product struct {
	Batch, Rows, Inner, Columns int
}

// ProductOf is the size of the MatMul n.
func ProductOf(n *Node) Product {
	p, _, _ := productOf(n.In, n.Attr.(MatMulAttr))
	return p
}

// productOf is the size of a product and the axes of its batch.
func productOf(in []*Node, attr MatMulAttr) (Product, tensor.Shape, error) {
	a, b := in[0].Shape, in[1].Shape
	batch := a[:len(a)-2]
	if len(b) > 2 {
		batch = b[:len(b)-2]
	}
	if len(a) > 2 && len(b) > 2 && !a[:len(a)-2].Equal(b[:len(b)-2]) {
		return Product{}, nil, errors.New("the leading axes differ")
	}
	if attr.SumBatch && (len(a) < 3 || len(b) < 3) {
		return Product{}, nil, errors.New("only the products of two batches are added up")
	}
	p := Product{Batch: batch.Elements(), Rows: a[len(a)-2], Inner: a[len(a)-1], Columns: b[len(b)-1]}
	inner := b[len(b)-2]
	if attr.TransposeA {
		p.Rows, p.Inner = p.Inner, p.Rows
	}
	if attr.TransposeB {
		inner, p.Columns = p.Columns, inner
	}
	if p.Inner != inner {
		return Product{}, nil, fmt.Errorf("inner lengths %d and %d differ", p.Inner, inner)
	}
	return p, batch, nil
}

func checkMatMul(in []*Node, a MatMulAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1); err != nil {
		return bad("%w", err)
	}
	if len(in[0].Shape) < 2 || len(in[1].Shape) < 2 {
		return bad("takes matrices")
	}
	p, batch, err := productOf(in, a)
	if err != nil {
		return bad("%w", err)
	}
	if a.SumBatch {
		batch = nil
	}
	return floats(append(slices.Clone(batch), p.Rows, p.Columns)...)
}

func gradMatMul(g *Graph, n, dy *Node, at MatMulAttr) []*Node {
	a, b, ta, tb := n.In[0], n.In[1], at.TransposeA, at.TransposeB
	// product makes the gradient of operand x. A single matrix that met a batch collects from all
	// of it.
	product := func(x, left, right *Node, transposeLeft, transposeRight bool) func() *Node {
		return func() *Node {
			if len(x.Shape) == 2 && len(left.Shape) > 2 && len(right.Shape) > 2 {
				return g.MatMulSum(left, right, transposeLeft, transposeRight)
			}
			return g.MatMul(left, right, transposeLeft, transposeRight)
		}
	}
	da, db := product(a, dy, b, false, !tb), product(b, a, dy, !ta, false)
	if ta {
		da = product(a, b, dy, tb, true)
	}
	if tb {
		db = product(b, dy, a, true, ta)
	}
	return []*Node{g.lazy(a, da), g.lazy(b, db)}
}

func checkBiasAdd(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1); err != nil {
		return bad("%w", err)
	}
	x, b := in[0].Shape, in[1].Shape
	if len(b) < 1 || len(b) >= len(x) || !x[len(x)-len(b):].Equal(b) {
		return bad("%v are not the last axes of %v", b, x)
	}
	return floats(x...)
}

func gradBiasAdd(g *Graph, n, dy *Node, _ NoAttr) []*Node {
	b := n.In[1]
	return []*Node{dy, g.lazy(b, func() *Node {
		if len(b.Shape) == 1 {
			return g.SplitSum(g.ChannelSum(dy, 1))
		}
		if parts := len(dy.Shape) - len(b.Shape); parts > 1 {
			dy = g.Reshape(dy, append([]int{dy.Shape[:parts].Elements()}, b.Shape...)...)
		}
		return g.SumBatch(dy)
	})}
}

// onePerRow is the check of n matrices of one shape that give a value for each row.
func onePerRow(n int) func([]*Node, NoAttr) (tensor.Type, tensor.Shape, error) {
	same := sameMatrix(n)
	return func(in []*Node, a NoAttr) (tensor.Type, tensor.Shape, error) {
		t, s, err := same(in, a)
		if err != nil {
			return t, s, err
		}
		return floats(s[0])
	}
}
