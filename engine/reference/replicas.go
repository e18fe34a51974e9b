package reference

import (
	"math/bits"

	"moco/graph"
)

// collective computes a node's values, one for each replica, from those of its operands.
type collective func(in, y []*Value)

// collectives holds the definitions of kinds that take the values of all replicas.
var collectives = map[graph.Op]collective{
	graph.SumReplicas: func(in, y []*Value) {
		for i := range in[0].x {
			sum := sumTree(len(in), func(replica int) float64 { return in[replica].x[i] })
			for _, v := range y {
				v.x[i] = sum
			}
		}
	},
	graph.GatherReplicas: func(in, y []*Value) {
		for _, v := range y {
			for r, x := range in {
				copy(v.x[r*len(x.x):], x.x)
			}
		}
	},
	graph.OwnRows: func(in, y []*Value) {
		for r, v := range y {
			copy(v.x, in[r].x[r*len(v.x):])
		}
	},
}

// sumTree adds up n > 0 numbers. Of more than one it adds two sums, of which the first has the
// largest power of two that is less than n.
func sumTree(n int, x func(i int) float64) float64 {
	if n == 1 {
		return x(0)
	}
	first := 1 << (bits.Len(uint(n-1)) - 1)
	return sumTree(first, x) + sumTree(n-first, func(i int) float64 { return x(first + i) })
}

// ComputeReplicas computes the value of n on each replica: y[r] from in[r], the operands there. It is
// Compute for kinds that a replica computes by itself.
func ComputeReplicas(n *graph.Node, in [][]*Value, y []*Value) error {
	define, ok := collectives[n.Op]
	if !ok {
		for r := range y {
			if err := Compute(n, in[r], y[r]); err != nil {
				return err
			}
		}
		return nil
	}
	first := make([]*Value, len(in))
	for r := range in {
		first[r] = in[r][0]
		clear(y[r].x)
	}
	define(first, y)
	return nil
}
