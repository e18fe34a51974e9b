package define

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.TrustRatio, with(func(a graph.TrustAttr, in []*Value, y *Value) {
		w, g := math.Sqrt(dot(in[0].X, in[0].X)), math.Sqrt(dot(in[1].X, in[1].X))
		y.X[0] = 1
		if w > 0 && g > 0 {
			y.X[0] = a.Trust * w / (g + a.Decay*w)
		}
	}))
}
