package reference

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.TrustRatio, with(func(a graph.TrustAttr, in []*Value, y *Value) {
		w, g := math.Sqrt(dot(in[0].x, in[0].x)), math.Sqrt(dot(in[1].x, in[1].x))
		y.x[0] = 1
		if w > 0 && g > 0 {
			y.x[0] = a.Trust * w / (g + a.Decay*w)
		}
	}))
}
