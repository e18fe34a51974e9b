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
	register(graph.Orthogonalise, with(func(a graph.NewtonSchulz, in []*Value, y *Value) {
		copy(y.x, in[0].x)
		length := math.Sqrt(dot(y.x, y.x))
		if length == 0 {
			return
		}
		for i := range y.x {
			y.x[i] /= length
		}
		for range a.Steps {
			once := timesSquare(y.x, y.x, y.shape[0])
			twice := timesSquare(y.x, once, y.shape[0])
			for i := range y.x {
				y.x[i] = a.A*y.x[i] + a.B*once[i] + a.C*twice[i]
			}
		}
	}))
	register(graph.SecondMoment, with(func(a graph.SecondMomentAttr, in []*Value, y *Value) {
		for i, v := range in[0].x {
			g := in[1].x[i]
			y.x[i] = a.Keep*v + (1-a.Keep)*g*g
		}
	}))
	register(graph.AdamStep, with(func(a graph.AdamAttr, in []*Value, y *Value) {
		m, v, rate, first, second := in[1], in[2], in[3].x[0], in[4].x[0], in[5].x[0]
		for i, p := range in[0].x {
			y.x[i] = p - rate*a.Decay*p - rate*m.x[i]*first/(math.Sqrt(v.x[i])*second+a.Epsilon)
		}
	}))
}

// timesSquare is (x x') y of two matrices with so many rows.
func timesSquare(x, y []float64, rows int) []float64 {
	columns, z := len(x)/rows, make([]float64, len(x))
	for i := range rows {
		for j := range rows {
			d := dot(x[i*columns:(i+1)*columns], x[j*columns:(j+1)*columns])
			for k, v := range y[j*columns : (j+1)*columns] {
				z[i*columns+k] += d * v
			}
		}
	}
	return z
}
