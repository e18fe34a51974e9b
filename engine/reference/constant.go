package reference

import "moco/graph"

func init() {
	register(graph.Constant, with(func(a graph.ConstantAttr, _ []*Value, y *Value) {
		for i := range y.x {
			y.x[i] = a.At(i)
		}
	}))
}
