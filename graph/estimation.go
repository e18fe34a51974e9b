package graph

import (
	"errors"

	"moco/tensor"
)

// The kinds of noise-contrastive estimation (Wu et al. 2018), where each query draws noise of its
// own.
const (
	NCE           Op = "NCE"
	NCEGrad       Op = "NCEGrad"
	Partition     Op = "Partition"
	GatherDot     Op = "GatherDot"
	GatherDotGrad Op = "GatherDotGrad"
)

// EstimateAttr belongs to NCE and NCEGrad.
type EstimateAttr struct {
	Temperature float64
	Population  int // keys that noise is drawn from
}

// PartitionAttr belongs to Partition.
type PartitionAttr struct {
	EstimateAttr
	Keep float64 // share of the old Z in the new one
}

// Estimate is what noise-contrastive estimation works on (Wu et al. 2018, Sec. 3.2). The positive
// stands in column 0 of the similarities, and M draws of noise behind it, out of Population keys
// drawn uniformly. P(i|v) = exp(similarity/Temperature)/Z.
type Estimate struct {
	Similarities *Node   // [N,1+M]
	Z            *Node   // one value, the normalising constant; see Partition
	Temperature  float64 // t
	Population   int
}

func (e Estimate) attr() EstimateAttr { return EstimateAttr{e.Temperature, e.Population} }

// NCE is the loss of telling the positive from noise (Wu et al. 2018, Eq. 6 and 7), a scalar. With
// h(P) = P/(P + M/Population) it is
//
//	-(1/N) * sum over n of [ log h(P_0) + sum over m of log(1 - h(P_m)) ]
//
// Z is taken for a constant.
func (g *Graph) NCE(e Estimate) *Node { return g.add(NCE, e.attr(), e.Similarities, e.Z) }

// NCEGrad is the gradient of NCE with regard to the similarities, times the scalar dy.
func (g *Graph) NCEGrad(dy *Node, e Estimate) *Node {
	return g.add(NCEGrad, e.attr(), dy, e.Similarities, e.Z)
}

// Partition is the constant Z of Wu et al. 2018, Eq. 8. Where e.Z is still 0 it is Population *
// mean(exp(similarity/Temperature)), and after that keep*Z + (1-keep) times the estimate of this
// batch. A keep of 1 leaves Z as the first batch had it.
func (g *Graph) Partition(e Estimate, keep float64) *Node {
	return g.add(Partition, PartitionAttr{e.attr(), keep}, e.Similarities, e.Z)
}

// GatherDot is the dot product of each row of x with rows of its own choice:
//
//	y[n,m] = x[n] . bank[index[n*M+m]]
//
// with x [N,C], bank [K,C], index int32 [N*M] -> [N,M]. It is GatherRows and a product without the
// N*M rows between them. The bank takes no gradient.
func (g *Graph) GatherDot(x, bank, index *Node) *Node {
	return g.add(GatherDot, NoAttr{}, x, bank, index)
}

// GatherDotGrad is the gradient of GatherDot with regard to x:
//
//	dx[n] = sum over m of dy[n,m] * bank[index[n*M+m]]
func (g *Graph) GatherDotGrad(dy, bank, index *Node) *Node {
	return g.add(GatherDotGrad, NoAttr{}, dy, bank, index)
}

func init() {
	register(NCE, rule[EstimateAttr]{
		check: func(in []*Node, a EstimateAttr) (tensor.Type, tensor.Shape, error) {
			if err := checkEstimate(in, a); err != nil {
				return bad("%w", err)
			}
			return floats()
		},
		gradient: func(g *Graph, n, dy *Node, a EstimateAttr) []*Node {
			e := Estimate{Similarities: n.In[0], Z: n.In[1], Temperature: a.Temperature, Population: a.Population}
			return []*Node{g.NCEGrad(dy, e), nil}
		},
	})
	register(NCEGrad, rule[EstimateAttr]{
		check: func(in []*Node, a EstimateAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 3 {
				return bad("takes a gradient, similarities to a positive and to noise, and a scalar Z")
			}
			if err := errors.Join(scalars(in[:1]), checkEstimate(in[1:], a)); err != nil {
				return bad("%w", err)
			}
			return floats(in[1].Shape...)
		},
	})
	register(Partition, rule[PartitionAttr]{
		check: func(in []*Node, a PartitionAttr) (tensor.Type, tensor.Shape, error) {
			if err := checkEstimate(in, a.EstimateAttr); err != nil {
				return bad("%w", err)
			}
			return floats(1)
		},
	})
	register(GatherDot, rule[NoAttr]{
		check: checkGatherDot,
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			return []*Node{g.lazy(n.In[0], func() *Node { return g.GatherDotGrad(dy, n.In[1], n.In[2]) }), nil, nil}
		},
		cost: costGatherDot,
	})
	register(GatherDotGrad, rule[NoAttr]{check: checkGatherDotGrad, cost: costGatherDot})
}

func checkEstimate(in []*Node, a EstimateAttr) error {
	if len(in) != 2 || ranks(in, 2, -1) != nil || in[0].Shape[1] < 2 || in[1].Shape.Elements() != 1 {
		return errors.New("takes similarities to a positive and to noise, and a scalar Z")
	}
	if a.Temperature <= 0 || a.Population < 1 {
		return errors.New("the temperature and the population must be positive")
	}
	return nil
}

// drawsPerRow checks a bank and an index into it, of which each of n rows has an equal share, and
// returns that share. A width of -1 takes a bank of any width.
func drawsPerRow(bank, index *Node, n, width int) (int, error) {
	if !isIndex(index) || len(bank.Shape) != 2 || bank.Type != tensor.Float32 {
		return 0, errors.New("takes a bank and an int32 index")
	}
	if width >= 0 && bank.Shape[1] != width || index.Shape[0]%n != 0 {
		return 0, errors.New("the rows differ, or the index is no multiple of their number")
	}
	return index.Shape[0] / n, nil
}

func checkGatherDot(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || ranks(in[:1], 2) != nil {
		return bad("takes a matrix, a bank and an index")
	}
	m, err := drawsPerRow(in[1], in[2], in[0].Shape[0], in[0].Shape[1])
	if err != nil {
		return bad("%w", err)
	}
	return floats(in[0].Shape[0], m)
}

func checkGatherDotGrad(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || ranks(in[:1], 2) != nil {
		return bad("takes a gradient, a bank and an index")
	}
	m, err := drawsPerRow(in[1], in[2], in[0].Shape[0], -1)
	if err != nil {
		return bad("%w", err)
	}
	if m != in[0].Shape[1] {
		return bad("the index has %d a row, the gradient %d", m, in[0].Shape[1])
	}
	return floats(in[0].Shape[0], in[1].Shape[1])
}

// costGatherDot counts a row of the bank for each index, whatever the bank's size.
func costGatherDot(n *Node, _ NoAttr) Cost {
	rows := elements(n.In[2].Shape) * int64(n.In[1].Shape[1])
	return Cost{FLOPs: 2 * rows, Bytes: 4 * rows}
}
