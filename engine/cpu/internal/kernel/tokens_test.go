package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// typed is values of a type with their memory, and a test of the guards around it.
type typed struct {
	Values
	f32   []float32
	bf16  []uint16
	guard func(t *testing.T)
}

func newTyped(x []float32, half bool) typed {
	if half {
		b := make([]uint16, len(x))
		narrow(b, x)
		return typed{Values: BFloat16s(b), bf16: b, guard: func(*testing.T) {}}
	}
	inner, check := guarded(len(x), 3)
	copy(inner, x)
	return typed{Values: Float32s(inner), f32: inner, guard: check}
}

// tokens runs every routine of transformers once on rows of 64 channels, and leaves the results in
// y, dgamma and dbeta.
func tokens(p *Path, y, x, f, dgamma, dbeta []float32) {
	p.GELU(GELUArgs{Y: Float32s(y), X: Float32s(x), Channels: 64, Bias: f})
	p.GELUGrad(GELUGradArgs{DX: Float32s(y), DY: Float32s(y), X: Float32s(x), Channels: 64})
	p.LayerNorm(LayerNormArgs{Y: Float32s(y), X: Float32s(y), Channels: 64, Width: 64, Gamma: f, Beta: f, Epsilon: 1e-6})
	for _, other := range []Values{{}, Float32s(y)} {
		p.LayerNormGrad(LayerNormGradArgs{
			DX: Float32s(y), DY: Float32s(y), X: Float32s(x), Other: other, Channels: 64, Width: 64, Gamma: f,
			DGamma: dgamma, DBeta: dbeta, Epsilon: 1e-6,
		})
	}
	p.Adam(AdamArgs{y, x, x, y, x, x, y, AdamFactors{0.9, 0.1, 0.99, 0.01, 0.02, 1.5, 1e-3, 0.999}})
}

// tokenRoutines is what they give, `offset` floats after an aligned address.
func tokenRoutines(p *Path, x, y, f []float32, offset int) []float32 {
	out := slices.Concat(make([]float32, offset), x, y, f, f, f)[offset:]
	x, y, f = out[:len(x)], out[len(x):len(x)+len(y)], out[len(x)+len(y):]
	for i, v := range x { // the second moment is positive
		x[i] = v * v
	}
	tokens(p, y, x, f[:64], f[64:128], f[128:])
	return out
}

// spread scales values so that they go beyond where GELU ends.
func spread(x []float32, by float32) []float32 {
	for i := range x {
		x[i] *= by
	}
	return x
}

// tolerance is half a unit of a type's last place beside 1, and what float32 loses.
func tolerance(half bool, float32s float64) float64 {
	if half {
		return 1.0 / 250
	}
	return float32s
}

// TestGELU: the values and the gradient are those of math.Erf, for all columns and for some; the
// others stay as they were.
func TestGELU(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for _, c := range []struct{ rows, ch, from, columns int }{
			{1, 16, 0, 0}, {7, 64, 0, 0}, {5, 192, 64, 64}, {3, 96, 16, 32},
		} {
			for _, half := range []bool{false, true} {
				t.Run(fmt.Sprintf("%dx%d,%d,half=%v", c.rows, c.ch, c.columns, half), func(t *testing.T) {
					columns := c.columns
					if columns == 0 {
						columns = c.ch
					}
					n := c.rows * c.ch
					x, dy := newTyped(spread(values(1, n, 0), 8), half), newTyped(values(2, n, 0), half)
					y, dx := newTyped(make([]float32, n), half), newTyped(make([]float32, n), half)
					bias := values(3, columns, 1)
					p.GELU(GELUArgs{
						Y: y.Values.From(c.from), X: x.Values.From(c.from), Channels: c.ch, Columns: c.columns, Bias: bias,
					})
					p.GELUGrad(GELUGradArgs{
						DX: dx.Values.From(c.from), DY: dy.Values.From(c.from), X: x.Values.From(c.from),
						Channels: c.ch, Columns: c.columns,
					})
					gotY, gotDX, xs, dys := y.floats(), dx.floats(), x.floats(), dy.floats()
					for i := range n {
						var wantY, wantDX float64
						if j := i%c.ch - c.from; j >= 0 && j < columns {
							v := float64(xs[i] + bias[j])
							wantY = v * math.Erfc(-v/math.Sqrt2) / 2
							u := float64(xs[i])
							density := math.Exp(-u*u/2) / math.Sqrt(2*math.Pi)
							wantDX = float64(dys[i]) * (math.Erfc(-u/math.Sqrt2)/2 + u*density)
						}
						if d := math.Abs(float64(gotY[i]) - wantY); d > tolerance(half, 2.5e-7)*(1+math.Abs(float64(xs[i]))) {
							t.Fatalf("GELU(%v+bias) at %d is %v, want %v", xs[i], i, gotY[i], wantY)
						}
						if d := math.Abs(float64(gotDX[i]) - wantDX); d > tolerance(half, 5e-7) {
							t.Fatalf("gradient at %v is %v, want %v", xs[i], gotDX[i], wantDX)
						}
					}
					y.guard(t)
					dx.guard(t)
				})
			}
		}
	})
}

// TestGELUEnds: far from zero GELU is x or 0 exactly, its slope is 1 or 0, and NaN stays NaN.
func TestGELUEnds(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		x, one := make([]float32, 64), make([]float32, 64)
		for i := range x {
			x[i], one[i] = 6+float32(i*i), 1
			if i%2 == 1 {
				x[i] = -x[i]
			}
		}
		x[6] = float32(math.NaN())
		y, dx := make([]float32, 64), make([]float32, 64)
		p.GELU(GELUArgs{Y: Float32s(y), X: Float32s(x), Channels: 64, Bias: make([]float32, 64)})
		p.GELUGrad(GELUGradArgs{DX: Float32s(dx), DY: Float32s(one), X: Float32s(x), Channels: 64})
		for i, v := range x {
			switch {
			case i == 6:
				if v := y[i] + dx[i]; v == v {
					t.Errorf("of NaN: %v, %v", y[i], dx[i])
				}
			case y[i] != max(v, 0) || dx[i] != max(0, min(v, 1)):
				t.Errorf("GELU(%v) = %v with slope %v", v, y[i], dx[i])
			}
		}
	})
}

var tokenShapes = []struct{ rows, ch, width int }{
	{1, 16, 16}, {7, 48, 48}, {5, 64, 64}, {9, 384, 384}, {4, 32, 21}, {3, 64, 60},
}

// padded zeroes what lies behind the width of each row.
func padded(x []float32, ch, width int) []float32 {
	for lo := 0; lo < len(x); lo += ch {
		clear(x[lo+width : lo+ch])
	}
	return x
}

// TestLayerNorm: values and gradients are those of the definition in float64, with a mean far from
// zero.
func TestLayerNorm(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for _, c := range tokenShapes {
			for _, half := range []bool{false, true} {
				t.Run(fmt.Sprintf("%dx%d,half=%v", c.rows, c.width, half), func(t *testing.T) {
					n := c.rows * c.ch
					raw := values(1, n, 0)
					for i := range raw {
						raw[i] = 3*raw[i] + 2
					}
					x, dy := newTyped(padded(raw, c.ch, c.width), half), newTyped(padded(values(2, n, 0), c.ch, c.width), half)
					y, dx := newTyped(values(5, n, 0), half), newTyped(values(6, n, 0), half)
					gamma, beta := padded(values(3, c.ch, 0), c.ch, c.width), padded(values(4, c.ch, 0), c.ch, c.width)
					dgamma, checkGamma := guarded(c.ch, 1)
					dbeta, checkBeta := guarded(c.ch, 2)
					dgamma[0], dbeta[0] = 5, 7 // the sums are added
					const epsilon = 1e-6
					p.LayerNorm(LayerNormArgs{
						Y: y.Values, X: x.Values, Channels: c.ch, Width: c.width, Gamma: gamma, Beta: beta, Epsilon: epsilon,
					})
					other := newTyped(padded(values(7, n, 0), c.ch, c.width), half)
					grad := LayerNormGradArgs{
						DX: dx.Values, DY: dy.Values, X: x.Values, Channels: c.ch, Width: c.width, Gamma: gamma,
						DGamma: dgamma, DBeta: dbeta, Epsilon: epsilon,
					}
					p.LayerNormGrad(grad)
					both := grad // in place of the other gradient, with sums that do not matter
					both.DX, both.Other, both.DGamma, both.DBeta = other.Values, other.Values, values(8, c.ch, 0), values(9, c.ch, 0)
					others := slices.Clone(other.floats())
					p.LayerNormGrad(both)
					wantY, wantDX := make([]float32, n), make([]float32, n)
					wantGamma, wantBeta := make([]float64, c.ch), make([]float64, c.ch)
					wantGamma[0], wantBeta[0] = 5, 7
					xs, dys := x.floats(), dy.floats()
					for lo := 0; lo < n; lo += c.ch {
						var mean, variance, sum, dot float64
						w := float64(c.width)
						for _, v := range xs[lo : lo+c.width] {
							mean += float64(v) / w
						}
						for _, v := range xs[lo : lo+c.width] {
							variance += (float64(v) - mean) * (float64(v) - mean) / w
						}
						inverse := 1 / math.Sqrt(variance+epsilon)
						for j := range c.width {
							m, g := (float64(xs[lo+j])-mean)*inverse, float64(dys[lo+j])
							wantY[lo+j] = float32(m*float64(gamma[j]) + float64(beta[j]))
							sum += g * float64(gamma[j]) / w
							dot += g * float64(gamma[j]) * m / w
							wantGamma[j] += g * m
							wantBeta[j] += g
						}
						for j := range c.width {
							m, g := (float64(xs[lo+j])-mean)*inverse, float64(dys[lo+j])
							wantDX[lo+j] = float32((g*float64(gamma[j]) - sum - m*dot) * inverse)
						}
					}
					far := func(what string, got float32, want float64, scale float64) {
						if math.Abs(float64(got)-want) > scale*(1+math.Abs(want)) {
							t.Fatalf("%s is %v, want %v", what, got, want)
						}
					}
					gotY, gotDX, sums := y.floats(), dx.floats(), other.floats()
					for i := range n {
						far(fmt.Sprintf("y[%d]", i), gotY[i], float64(wantY[i]), tolerance(half, 2e-6))
						far(fmt.Sprintf("dx[%d]", i), gotDX[i], float64(wantDX[i]), tolerance(half, 2e-6))
						far(fmt.Sprintf("dx+other[%d]", i), sums[i], float64(wantDX[i])+float64(others[i]), tolerance(half, 2e-6))
					}
					for j := range c.ch {
						far("dgamma", dgamma[j], wantGamma[j], 2e-6)
						far("dbeta", dbeta[j], wantBeta[j], 2e-6)
					}
					y.guard(t)
					dx.guard(t)
					checkGamma(t)
					checkBeta(t)
				})
			}
		}
	})
}

// TestAdam: one pass is the three formulas, in place too.
func TestAdam(t *testing.T) {
	f := AdamFactors{KeepM: 0.9, AddM: 0.1, KeepV: 0.99, AddV: 0.01, Rate: 0.02, Scale: 1.5, Epsilon: 1e-3, KeepP: 0.999}
	eachPath(t, func(t *testing.T, path *Path) {
		for _, n := range []int{1, 31, 32, 100, 160} {
			p, m, g := values(1, n, 0), values(2, n, 1), values(4, n, 3)
			v := values(3, n, 2)
			for i := range v {
				v[i] *= v[i]
			}
			wantP, wantM, wantV := make([]float32, n), make([]float32, n), make([]float32, n)
			for i := range n {
				m := 0.9*float64(m[i]) + 0.1*float64(g[i])
				v := 0.99*float64(v[i]) + 0.01*float64(g[i])*float64(g[i])
				wantM[i], wantV[i] = float32(m), float32(v)
				wantP[i] = float32(0.999*float64(p[i]) - 0.02*m/(math.Sqrt(v)*1.5+1e-3))
			}
			newP, check := guarded(n, 1)
			path.Adam(AdamArgs{newP, m, v, p, m, v, g, f})
			check(t)
			same(t, "p", newP, wantP, 1)
			same(t, "m", m, wantM, 1)
			same(t, "v", v, wantV, 1)
		}
	})
}

func BenchmarkTokens(b *testing.B) {
	const rows, ch = 64, 384
	for _, p := range Paths() {
		for _, half := range []bool{false, true} {
			x, y := newTyped(values(1, rows*ch, 0), half).Values, newTyped(values(2, rows*ch, 0), half).Values
			dy := newTyped(values(3, rows*ch, 0), half).Values
			gamma, other := values(4, ch, 0), values(5, ch, 0)
			for _, k := range []struct {
				name string
				run  func()
			}{
				{"GELU", func() { p.GELU(GELUArgs{Y: y, X: x, Channels: ch, Bias: gamma}) }},
				{"GELUGrad", func() { p.GELUGrad(GELUGradArgs{DX: y, DY: dy, X: x, Channels: ch}) }},
				{"LayerNorm", func() {
					p.LayerNorm(LayerNormArgs{Y: y, X: x, Channels: ch, Width: ch, Gamma: gamma, Beta: other, Epsilon: 1e-6})
				}},
				{"LayerNormGrad", func() {
					p.LayerNormGrad(LayerNormGradArgs{
						DX: y, DY: dy, X: x, Channels: ch, Width: ch, Gamma: gamma, DGamma: other, DBeta: other, Epsilon: 1e-6,
					})
				}},
			} {
				b.Run(fmt.Sprintf("%s/%s/half=%v", p.Name, k.name, half), func(b *testing.B) {
					for b.Loop() {
						k.run()
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(rows*ch/16), "ns/16values")
				})
			}
		}
	}
}
