package kernel

import "math"

// This file is the plain twins of the routines of transformers.

// rational is 1/2 + c*top(c*c)/bottom(c*c), where c is x within -limit..limit: see _generate, which
// has the same coefficients.
type rational struct {
	limit       float32
	top, bottom []float32
}

// cumulative is Phi(x), slope GELU's derivative.
var (
	cumulative = rational{
		limit: 5.499800205230713,
		top: []float32{
			0.398942232131958, 0.033851347863674164, 0.004677163902670145, 0.0001688101328909397,
			6.351806405291427e-06, 2.2749162553736824e-08,
		},
		bottom: []float32{
			1, 0.2515186667442322, 0.02864508517086506, 0.0018843580037355423, 7.36414294806309e-05,
			1.1974748304055538e-06,
		},
	}
	slope = rational{
		limit: 5.999800205230713,
		top: []float32{
			0.7978847622871399, -0.04151805862784386, 0.014530017971992493, -0.00014817563351243734,
			3.3007840102072805e-05, -1.0090192148481947e-07, 2.7852693484931024e-09, -1.5358799301812276e-11,
		},
		bottom: []float32{
			1, 0.2813006043434143, 0.036971479654312134, 0.0029522310942411423, 0.00015020396676845849,
			5.556303221965209e-06,
		},
	}
)

// of is the value at x; NaN stays NaN.
func (f *rational) of(x float32) float32 {
	c := min(max(x, -f.limit), f.limit)
	horner := func(k []float32) float32 {
		v := k[len(k)-1]
		for i := len(k) - 2; i >= 0; i-- {
			v = fma(v, c*c, k[i])
		}
		return v
	}
	return c*horner(f.top)/horner(f.bottom) + 0.5
}

func gelu(a GELUArgs) {
	columns := len(a.Bias)
	if a.Columns > 0 {
		columns = a.Columns
	}
	eachBlock(a.Y.n, a.Channels, a.Columns, func(lo, hi int) {
		y, x := a.Y.part(lo, hi), a.X.part(lo, hi).floats()
		out := y.floats()
		for i, v := range x {
			v += a.Bias[i%columns]
			out[i] = v * cumulative.of(v)
		}
		y.set(out)
	})
}

func geluGrad(a GELUGradArgs) {
	eachBlock(a.DX.n, a.Channels, a.Columns, func(lo, hi int) {
		dx, dy, x := a.DX.part(lo, hi), a.DY.part(lo, hi).floats(), a.X.part(lo, hi).floats()
		out := dx.floats()
		for i, v := range x {
			out[i] = dy[i] * slope.of(v)
		}
		dx.set(out)
	})
}

// moments are a row's mean and 1/sqrt(variance + epsilon).
func moments(x []float32, epsilon float32) (mean, inverse float32) {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
	}
	mean = float32(sum / float64(len(x)))
	for _, v := range x {
		squares += float64(v-mean) * float64(v-mean)
	}
	return mean, float32(1 / math.Sqrt(squares/float64(len(x))+float64(epsilon)))
}

func layerNorm(a LayerNormArgs) {
	eachRow(a.Y.n, a.Channels, func(lo, hi int) {
		y, x := a.Y.part(lo, hi), a.X.part(lo, hi).floats()
		out := y.floats()
		mean, inverse := moments(x[:a.Width], a.Epsilon)
		for c, v := range x[:a.Width] {
			out[c] = fma((v-mean)*inverse, a.Gamma[c], a.Beta[c])
		}
		clear(out[a.Width:])
		y.set(out)
	})
}

func layerNormGrad(a LayerNormGradArgs) {
	eachRow(a.DX.n, a.Channels, func(lo, hi int) {
		dx, dy, x := a.DX.part(lo, hi), a.DY.part(lo, hi).floats(), a.X.part(lo, hi).floats()
		out := dx.floats()
		var other []float32
		if a.Other.n > 0 {
			other = a.Other.part(lo, hi).floats()
		}
		mean, inverse := moments(x[:a.Width], a.Epsilon)
		var sum, dot float64
		for c, v := range x[:a.Width] {
			g := dy[c] * a.Gamma[c]
			sum += float64(g)
			dot += float64(g) * float64((v-mean)*inverse)
		}
		sum, dot = sum/float64(a.Width), dot/float64(a.Width)
		for c, v := range x[:a.Width] {
			n := (v - mean) * inverse
			a.DBeta[c] += dy[c]
			a.DGamma[c] = fma(dy[c], n, a.DGamma[c])
			d := fma(-float32(dot), n, dy[c]*a.Gamma[c]-float32(sum)) * inverse
			if other != nil {
				d += other[c]
			}
			out[c] = d
		}
		clear(out[a.Width:])
		dx.set(out)
	})
}

func adam(a AdamArgs) {
	for i, g := range a.G {
		m := fma(a.AddM, g, a.KeepM*a.M[i])
		v := fma(a.AddV, g*g, a.KeepV*a.V[i])
		root := float32(math.Sqrt(float64(v)))
		a.NewM[i], a.NewV[i] = m, v
		a.NewP[i] = fma(-a.Rate, m/fma(root, a.Scale, a.Epsilon), a.KeepP*a.P[i])
	}
}
