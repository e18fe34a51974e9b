package graph

import (
	"fmt"
	"slices"

	"moco/tensor"
)

// A graph may be written for one of several replicas (Graph.Replicas). Each replica runs it on rows
// of its own, and all run it together: a collective, which is a kind of this file, waits for every
// replica's operand. A value either is the same on all replicas or varies from one to the next
// (Node.Varies). Variables are the same, so only a value that is the same can be assigned.

// The collectives, and what goes with them.
const (
	SumReplicas    Op = "SumReplicas"
	GatherReplicas Op = "GatherReplicas"
	OwnRows        Op = "OwnRows"
)

// ReplicasAttr belongs to the kinds of this file.
type ReplicasAttr struct {
	Replicas int
}

// Collective reports whether a kind takes the values of all replicas.
func Collective(op Op) bool { return op == SumReplicas || op == GatherReplicas }

// ShareInput is an input of which each replica has its own, a share of the batch. In a graph of one
// replica it is an Input.
func (g *Graph) ShareInput(name string, t tensor.Type, shape ...int) *Node {
	return g.leaf(&Node{Op: Input, Name: name, Type: t, Shape: shape, Attr: NoAttr{}, Varies: g.replicas() > 1})
}

// SumReplicas is the sum of the replicas' values, in one fixed order: a sum of more than one is the
// sum of its two parts, of which the first holds the largest power of two that is less than all.
//
//	sum of 4 = (x0 + x1) + (x2 + x3)    sum of 6 = ((x0 + x1) + (x2 + x3)) + (x4 + x5)
//
// In a graph of one replica it is x itself, as are the other kinds of this file.
func (g *Graph) SumReplicas(x *Node) *Node { return g.together(SumReplicas, x) }

// GatherReplicas is the rows of all replicas, one below the other: [N,C] -> [Replicas*N,C], or one
// int32 vector behind another. It is concat_all_gather of the paper's code. The gradients that the
// replicas have with regard to the result are added up, and each takes its own rows of the sum.
func (g *Graph) GatherReplicas(x *Node) *Node { return g.together(GatherReplicas, x) }

// OwnRows is the replica's share of rows that are the same on all: [Replicas*N,..] -> [N,..].
func (g *Graph) OwnRows(x *Node) *Node { return g.together(OwnRows, x) }

// together adds a node of this file's kinds, where there is more than one replica.
func (g *Graph) together(op Op, x *Node) *Node {
	if g.replicas() == 1 {
		return x
	}
	return g.add(op, ReplicasAttr{g.Replicas}, x)
}

// replicas is the number of replicas, of which there is always one.
func (g *Graph) replicas() int { return max(1, g.Replicas) }

func init() {
	register(SumReplicas, rule[ReplicasAttr]{
		check: func(in []*Node, _ ReplicasAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, -1); err != nil {
				return bad("%w", err)
			}
			if !in[0].Varies {
				return bad("the value is the same on all replicas already")
			}
			return floats(in[0].Shape...)
		},
		varies: never,
	})
	register(GatherReplicas, rule[ReplicasAttr]{
		check: func(in []*Node, a ReplicasAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 1 || !isIndex(in[0]) && ranks(in, 2) != nil {
				return bad("takes rows, or an int32 vector")
			}
			if !in[0].Varies {
				return bad("the value is the same on all replicas already")
			}
			return in[0].Type, append(tensor.Shape{a.Replicas * in[0].Shape[0]}, in[0].Shape[1:]...), nil
		},
		gradient: func(g *Graph, n, dy *Node, _ ReplicasAttr) []*Node {
			return []*Node{g.lazy(n.In[0], func() *Node { return g.OwnRows(g.SumReplicas(dy)) })}
		},
		cost:   moves[ReplicasAttr],
		varies: never,
	})
	register(OwnRows, rule[ReplicasAttr]{
		check: func(in []*Node, a ReplicasAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 1 || len(in[0].Shape) < 1 || len(in[0].Shape) == 1 && in[0].Type == tensor.Float32 {
				return bad("takes rows")
			}
			if in[0].Varies {
				return bad("takes a value that is the same on all replicas")
			}
			if in[0].Shape[0]%a.Replicas != 0 {
				return bad("%d rows cannot be shared among %d replicas", in[0].Shape[0], a.Replicas)
			}
			return in[0].Type, append(tensor.Shape{in[0].Shape[0] / a.Replicas}, in[0].Shape[1:]...), nil
		},
		cost:       moves[ReplicasAttr],
		activation: asOperands,
		varies:     func([]*Node) bool { return true },
	})
}

// never is the rule of values that are the same on all replicas whatever their operands are.
func never([]*Node) bool { return false }

// varies says whether a node's value may differ from replica to replica. By default it does if an
// operand does.
func varies(op Op, in []*Node) bool {
	if rule := kinds[op].varies; rule != nil {
		return rule(in)
	}
	return slices.ContainsFunc(in, func(x *Node) bool { return x.Varies })
}

// checkReplicas states the rules of values that vary.
func (g *Graph) checkReplicas(n *Node) error {
	want := n.Op == Input && n.Varies && g.replicas() > 1
	if n.Op != Input && n.Op != Variable {
		want = varies(n.Op, n.In)
	}
	if n.Varies != want {
		return fmt.Errorf("%v is taken for a value that varies from replica to replica, or not for one", n)
	}
	if a, ok := n.Attr.(ReplicasAttr); ok && a.Replicas != g.replicas() {
		return fmt.Errorf("%v is for %d replicas, and the graph is for %d", n, a.Replicas, g.replicas())
	}
	return nil
}
