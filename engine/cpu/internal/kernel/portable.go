package kernel

import (
	"math"
	"unsafe"
)

// portable is the path in plain Go: the specification of all others.
func portable() *Path {
	return &Path{
		Name:        "portable",
		Tiles:       []Tile{portableTile()},
		Grads:       []Grad{portableGrad()},
		Sums:        sums,
		Squares:     squares,
		Normalise:   normalise,
		GradSums:    gradSums,
		GradInput:   gradInput,
		ReLU:        relu,
		ReLUGrad:    reluGrad,
		WeightedSum: weightedSum,
		Scale:       func(y, x []float32, s float32) { weightedSum(y, s, x, 0, nil, 0, nil) },
		Transpose:   transpose,
		RowMax:      rowMaximum,
		ExpSum:      expSumInto,
		Dot:         dotProduct,
		PeakFLOPs:   peak,
	}
}

// fma is x*y + z in one rounding, but for ties: the product of two float32 is exact in float64.
func fma(x, y, z float32) float32 { return float32(float64(x)*float64(y) + float64(z)) }

// floats is n float32 that lie `offset` bytes behind p.
func floats(p unsafe.Pointer, offset int64, n int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(p, offset)), n)
}

// addProduct is sum += x*w for 16 neighbouring outputs. (A fused multiply-add in Go goes through float64 and is six times slower, so this
// rounds twice where the processor does not fuse by itself.)
func addProduct(sum *[16]float32, x float32, w *[16]float32) {
	for j := range sum {
		sum[j] += x * w[j]
	}
}

// portableTile is the tile of 4 rows and blocks of 16.
func portableTile() Tile {
	const rows, block = 4, 16
	return Tile{rows, block, func(a *TileArgs) {
		in, out := unsafe.Slice(a.In, int(a.Tiles)*rows), unsafe.Slice(a.Out, int(a.Tiles)*rows)
		taps := unsafe.Slice(a.Taps, 2*a.NTaps)
		var sum [4][16]float32
		for i := 0; i < len(in); i += rows {
			sum = [4][16]float32{}
			for r := range sum {
				row := &sum[r]
				for t := 0; t < len(taps); t += 2 {
					var part [16]float32 // a sum for each tap: shorter chains round less, and nothing is fused here
					weights := unsafe.Add(a.B, taps[t+1])
					for k, x := range floats(a.X, int64(in[i+r])+taps[t], int(4*a.K)) {
						addProduct(&part, x, (*[16]float32)(unsafe.Add(weights, 64*k)))
					}
					addProduct(row, 1, &part)
				}
				if a.Acc != 0 {
					for j, y := range floats(a.Y, int64(out[i+r]), block) {
						sum[r][j] += y
					}
				}
			}
			for r := range sum {
				copy(floats(a.Y, int64(out[i+r]), block), sum[r][:])
			}
		}
	}}
}

// portableGrad is the weight-gradient tile of 4 rows and blocks of 16.
func portableGrad() Grad {
	const rows, block = 4, 16
	return Grad{rows, block, func(a *GradArgs) {
		pixels := unsafe.Slice(a.Pixels, 2*a.N)
		for i := range a.Tiles {
			var sum [4][16]float32
			for n := 0; n < len(pixels); n += 2 {
				dy := (*[16]float32)(unsafe.Add(a.DY, pixels[n+1]))
				for r, x := range floats(a.X, int64(pixels[n])+i*int64(4*rows), rows) {
					addProduct(&sum[r], x, dy)
				}
			}
			for r := range sum {
				dw := floats(a.DW, (i*int64(rows)+int64(r))*a.RowStride, block)
				for j, s := range sum[r] {
					if a.Acc != 0 {
						s += dw[j]
					}
					dw[j] = s
				}
			}
		}
	}}
}

// eachRow calls f with the bounds of each row of n floats.
func eachRow(n, ch int, f func(lo, hi int)) {
	for lo := 0; lo < n; lo += ch {
		f(lo, lo+ch)
	}
}

func sums(x []float32, ch int, sum []float32) {
	eachRow(len(x), ch, func(lo, hi int) {
		for c, v := range x[lo:hi] {
			sum[c] += v
		}
	})
}

func squares(x []float32, ch int, mean, square []float32) {
	eachRow(len(x), ch, func(lo, hi int) {
		for c, v := range x[lo:hi] {
			d := v - mean[c]
			square[c] = fma(d, d, square[c])
		}
	})
}

func normalise(y, x, residual []float32, ch int, mean, scale, shift []float32, relu bool) {
	floor := float32(math.Inf(-1))
	if relu {
		floor = 0
	}
	eachRow(len(y), ch, func(lo, hi int) {
		for c := range ch {
			v := fma(x[lo+c]-mean[c], scale[c], shift[c])
			if residual != nil {
				v += residual[lo+c]
			}
			y[lo+c] = max(v, floor)
		}
	})
}

// gate is g as GradSums defines it, given x less the mean.
func gate(dy, x float32, c int, scale, shift []float32) float32 {
	if scale != nil && !(fma(x, scale[c], shift[c]) > 0) {
		return 0
	}
	return dy
}

func gradSums(dy, x []float32, ch int, mean, scale, shift, sum, dot []float32) {
	eachRow(len(dy), ch, func(lo, hi int) {
		for c := range ch {
			centred := x[lo+c] - mean[c]
			g := gate(dy[lo+c], centred, c, scale, shift)
			sum[c] += g
			dot[c] = fma(g, centred, dot[c])
		}
	})
}

func gradInput(dx, dy, x []float32, ch int, mean, scale, shift, a, b, c []float32) {
	eachRow(len(dy), ch, func(lo, hi int) {
		for j := range ch {
			centred := x[lo+j] - mean[j]
			g := gate(dy[lo+j], centred, j, scale, shift)
			dx[lo+j] = fma(a[j], g, fma(b[j], centred, c[j]))
		}
	})
}

func relu(y, x []float32) {
	for i, v := range x[:len(y)] {
		y[i] = max(v, 0)
	}
}

func reluGrad(dx, dy, y []float32) {
	for i, v := range y[:len(dx)] {
		if v > 0 {
			dx[i] = dy[i]
		} else {
			dx[i] = 0
		}
	}
}

func weightedSum(y []float32, a float32, x0 []float32, b float32, x1 []float32, c float32, x2 []float32) {
	for i := range y {
		v := a * x0[i]
		if x1 != nil {
			v = fma(b, x1[i], v)
		}
		if x2 != nil {
			v = fma(c, x2[i], v)
		}
		y[i] = v
	}
}

func transpose(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
	for r := range rows {
		for c, v := range src[r*srcStride : r*srcStride+cols] {
			dst[c*dstStride+r] = v
		}
	}
}

func rowMaximum(x []float32) float32 {
	largest := x[0]
	for _, v := range x {
		largest = max(largest, v)
	}
	return largest
}

func expSumInto(dst, x []float32, scale, shift float32) float32 {
	var sum float32
	for i, v := range x {
		dst[i] = exponential(fma(scale, v, shift))
		sum += dst[i]
	}
	return sum
}

// exponential is exp(v) to float32's precision, 0 where that would be a denormal.
func exponential(v float32) float32 {
	if v < -87 {
		return 0
	}
	return float32(math.Exp(float64(min(v, 88))))
}

func dotProduct(a, b []float32) float32 {
	var sum float32
	for i, v := range a {
		sum = fma(v, b[i], sum)
	}
	return sum
}

func peak(loops int) float64 {
	var sum [4]float32
	for i := range loops {
		x := float32(i)
		for j := range sum {
			sum[j] += x * x
		}
	}
	if sum[0] < 0 { // never: but the compiler does not know
		return 0
	}
	return float64(8 * loops)
}
