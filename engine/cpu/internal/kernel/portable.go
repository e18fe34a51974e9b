package kernel

import (
	"math"
	"unsafe"
)

// portable is the path in plain Go: the specification of all others.
func portable() *Path {
	return &Path{
		Name:      "portable",
		Tiles:     []Tile{portableTile()},
		Grads:     []Grad{portableGrad()},
		Winograd:  portableWinograd(),
		Attention: portableAttention(),
		Sums:      func(x Values, ch int, sum []float32) { sums(x.floats(), ch, sum) },
		Squares:   func(x Values, ch int, mean, square []float32) { squares(x.floats(), ch, mean, square) },
		Normalise: func(a NormaliseArgs) {
			eachBlock(a.Y.n, a.Channels, a.Columns, func(lo, hi int) {
				y := a.Y.part(lo, hi)
				out := y.floats()
				var residual []float32
				if a.Residual.n > 0 {
					residual = a.Residual.part(lo, hi).floats()
				}
				normalise(out, a.X.part(lo, hi).floats(), residual, min(len(out), a.Channels), a.Affine, a.ReLU)
				y.set(out)
			})
		},
		GELU: gelu, GELUGrad: geluGrad, LayerNorm: layerNorm, LayerNormGrad: layerNormGrad, Adam: adam,
		GradSums: func(a GradSumsArgs) { gradSums(a.DY.floats(), a.X.floats(), a) },
		GradInput: func(a GradInputArgs) {
			out := a.DX.floats()
			gradInput(out, a.DY.floats(), a.X.floats(), a)
			a.DX.set(out)
		},
		ReLU: relu,
		ReLUGrad: func(dx, dy, y Values) {
			out := dx.floats()
			reluGrad(out, dy.floats(), y.floats())
			dx.set(out)
		},
		Larger:         larger,
		Claim:          claim,
		Widen:          widen,
		Narrow:         narrow,
		PairDepth:      2,
		Pair:           pairs(2),
		Gather:         gather,
		GatherPairs:    gatherGroups(2),
		GatherRight:    gatherGroups(2),
		TransposeRight: transpose,
		WeightedSum:    weightedSum,
		Scale:          func(y, x []float32, s float32) { weightedSum(y, s, x, 0, nil, 0, nil) },
		Transpose:      transpose,
		RowMax:         rowMaximum,
		ExpSum:         expSumInto,
		Dot:            dotProduct,
		PeakFLOPs:      peak,
	}
}

// size is the number of bytes of one value.
func (v Values) size() int {
	if v.bf16 {
		return 2
	}
	return 4
}

// part is values lo to hi of v.
func (v Values) part(lo, hi int) Values { return Values{unsafe.Add(v.p, lo*v.size()), hi - lo, v.bf16} }

// From is v without its first n values.
func (v Values) From(n int) Values { return Values{unsafe.Add(v.p, n*v.size()), v.n - n, v.bf16} }

// floats is v as float32: v itself, or a copy if v is bfloat16, or nil if v is empty. set writes a
// copy back.
func (v Values) floats() []float32 {
	if !v.bf16 {
		return unsafe.Slice((*float32)(v.p), v.n)
	}
	x := make([]float32, v.n)
	widen(x, unsafe.Slice((*uint16)(v.p), v.n))
	return x
}

func (v Values) set(x []float32) {
	if v.bf16 {
		narrow(unsafe.Slice((*uint16)(v.p), v.n), x)
	}
}

// get and put are one value as float32. halves are the first values of memory of float32 as bfloat16.
func (v Values) get(i int) float32 {
	if v.bf16 {
		return math.Float32frombits(uint32(*(*uint16)(unsafe.Add(v.p, 2*i))) << 16)
	}
	return *(*float32)(unsafe.Add(v.p, 4*i))
}

func (v Values) put(i int, x float32) {
	if v.bf16 {
		narrow(unsafe.Slice((*uint16)(unsafe.Add(v.p, 2*i)), 1), []float32{x})
		return
	}
	*(*float32)(unsafe.Add(v.p, 4*i)) = x
}

func halves(x []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

func widen(dst []float32, src []uint16) {
	for i, v := range src[:len(dst)] {
		dst[i] = math.Float32frombits(uint32(v) << 16)
	}
}

func narrow(dst []uint16, src []float32) {
	for i, v := range src[:len(dst)] {
		bits := math.Float32bits(v)
		dst[i] = uint16((bits + 0x7fff + bits>>16&1) >> 16)
	}
}

// fma is x*y + z in one rounding, except for ties: float64 holds the product of two float32
// exactly.
func fma(x, y, z float32) float32 { return float32(float64(x)*float64(y) + float64(z)) }

// floats is n float32, `offset` bytes after p.
func floats(p unsafe.Pointer, offset int64, n int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(p, offset)), n)
}

// addProduct is sum += x*w for 16 neighbouring outputs. It rounds twice where the processor does
// not fuse by itself: a fused multiply-add in Go goes through float64 and is six times slower.
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
					// Each tap has its own sum: shorter chains round less, and nothing is fused
					// here.
					var part [16]float32
					weights := unsafe.Add(a.B, taps[t+1])
					for k, x := range floats(a.X, int64(in[i+r])+taps[t], int(4*a.K)) {
						addProduct(&part, x, (*[16]float32)(unsafe.Add(weights, 64*k)))
					}
					addProduct(row, 1, &part)
				}
			}
			var y [4]Values
			for r := range sum {
				y[r] = Values{unsafe.Add(a.Y, out[i+r]), block, a.BF16 != 0}
				if a.Acc != 0 {
					for j, v := range y[r].floats() {
						sum[r][j] += v
					}
				}
			}
			for r := range sum {
				if a.BF16 != 0 {
					y[r].set(sum[r][:])
				} else {
					copy(y[r].floats(), sum[r][:])
				}
			}
		}
	}}
}

// pairs is Path.Pair for a PairDepth.
func pairs(depth int) func(dst []uint16, rows []float32, block int) {
	return func(dst []uint16, rows []float32, block int) {
		for i := range rows {
			k, j := i/block, i%block
			at := (k-k%depth)*block + depth*j + k%depth
			narrow(dst[at:at+1], rows[i:i+1])
		}
	}
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

func gather(dst []float32, pitch int, src Values, offsets []int32, width int) {
	for i, offset := range offsets {
		row := dst[i*pitch : i*pitch+width]
		switch from := src.From(int(max(0, offset))); {
		case offset < 0:
			clear(row)
		case src.bf16:
			widen(row, unsafe.Slice((*uint16)(from.p), width))
		default:
			copy(row, unsafe.Slice((*float32)(from.p), width))
		}
	}
}

// gatherGroups is Path.GatherPairs for a depth of 2, and Path.GatherRight for a PairDepth.
func gatherGroups(depth int) func(dst []float32, pitch int, src Values, offsets []int32, width int) {
	return func(dst []float32, pitch int, src Values, offsets []int32, width int) {
		values := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(dst))), 2*len(dst))
		for i, offset := range offsets {
			for j := range width {
				at := &values[(i-i%depth)*pitch+depth*j+i%depth]
				*at = 0
				if offset >= 0 {
					*at = *(*uint16)(src.From(int(offset) + j).p)
				}
			}
		}
	}
}

// eachRow calls f with the bounds of each row of n floats.
func eachRow(n, ch int, f func(lo, hi int)) {
	for lo := 0; lo < n; lo += ch {
		f(lo, lo+ch)
	}
}

// eachBlock calls f with the bounds of what a routine works on: everything or, if it has columns,
// those of each row.
func eachBlock(n, ch, columns int, f func(lo, hi int)) {
	if columns == 0 {
		f(0, n)
		return
	}
	for lo := 0; lo < n; lo += ch {
		f(lo, lo+columns)
	}
}

func sums(x []float32, ch int, sum []float32) {
	for lo := 0; lo < len(x); lo += ch {
		for c := range min(ch, len(sum)) {
			sum[c] += x[lo+c]
		}
	}
}

func squares(x []float32, ch int, mean, square []float32) {
	eachRow(len(x), ch, func(lo, hi int) {
		for c, v := range x[lo:hi] {
			d := v - mean[c]
			square[c] = fma(d, d, square[c])
		}
	})
}

func normalise(y, x, residual []float32, ch int, f Affine, relu bool) {
	floor := float32(math.Inf(-1))
	if relu {
		floor = 0
	}
	eachRow(len(y), ch, func(lo, hi int) {
		for c := range ch {
			v := fma(x[lo+c]-f.Mean[c], f.Scale[c], f.Shift[c])
			if residual != nil {
				v += residual[lo+c]
			}
			y[lo+c] = max(v, floor)
		}
	})
}

// gate is g as GradSumsArgs defines it. x comes with the mean subtracted.
func (f *Affine) gate(dy, x float32, c int) float32 {
	if f.Scale != nil && !(fma(x, f.Scale[c], f.Shift[c]) > 0) {
		return 0
	}
	return dy
}

func gradSums(dy, x []float32, a GradSumsArgs) {
	eachRow(len(dy), a.Channels, func(lo, hi int) {
		for c := range a.Channels {
			centred := x[lo+c] - a.Affine.Mean[c]
			g := a.Affine.gate(dy[lo+c], centred, c)
			a.Sum[c] += g
			a.Dot[c] = fma(g, centred, a.Dot[c])
		}
	})
}

func gradInput(dx, dy, x []float32, a GradInputArgs) {
	eachRow(len(dy), a.Channels, func(lo, hi int) {
		for j := range a.Channels {
			centred := x[lo+j] - a.Affine.Mean[j]
			g := a.Affine.gate(dy[lo+j], centred, j)
			dx[lo+j] = fma(a.A[j], g, fma(a.B[j], centred, a.C[j]))
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

func larger(y, x []float32) {
	for i, v := range x[:len(y)] {
		y[i] = max(y[i], v)
	}
}

func claim(dx, g, x, best []float32) {
	for i, v := range x[:len(dx)] {
		if !(v < best[i]) {
			dx[i] += g[i]
			g[i] = 0
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

// exponential is exp(v) to float32's precision, and 0 where that would be a denormal.
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
	// This is never true, but the compiler does not know that.
	if sum[0] < 0 {
		return 0
	}
	return float64(8 * loops)
}

// Winograd's matrices. A transform is T X T'.
var (
	inputMatrix = matrix{
		{4, 0, -5, 0, 1, 0},
		{0, -4, -4, 1, 1, 0},
		{0, 4, -4, -1, 1, 0},
		{0, -2, -1, 2, 1, 0},
		{0, 2, -1, -2, 1, 0},
		{0, 4, 0, -5, 0, 1},
	}
	outputMatrix = matrix{
		{1, 1, 1, 1, 1, 0},
		{0, 1, -1, 2, -2, 0},
		{0, 1, 1, 4, 4, 0},
		{0, 1, -1, 8, -8, 1},
	}
	weightsMatrix = matrix{
		{1. / 4, 0, 0},
		{-1. / 6, -1. / 6, -1. / 6},
		{-1. / 6, 1. / 6, -1. / 6},
		{1. / 24, 1. / 12, 1. / 6},
		{1. / 24, -1. / 12, 1. / 6},
		{0, 0, 1},
	}
)

type matrix [][]float32

func (m matrix) transpose() matrix {
	t := make(matrix, len(m[0]))
	for i := range t {
		for j := range m {
			t[i] = append(t[i], m[j][i])
		}
	}
	return t
}

func portableWinograd() Winograd {
	return Winograd{
		Input: inputMatrix.transform, Output: outputMatrix.transform, Weights: weightsMatrix.transform,
		OutputGrad: outputMatrix.transpose().transform, WeightsGrad: weightsMatrix.transpose().transform,
	}
}

// transform is m X m', group by group.
func (m matrix) transform(a *Transform) {
	type group = [16]float32
	var rows [6][6]group // transformed by rows
	for g := range a.N {
		src, dst := unsafe.Add(a.Src, g*a.SrcStep), unsafe.Add(a.Dst, g*a.DstStep)
		for r := range m[0] {
			for i, factors := range m {
				var sum group
				for c, f := range factors {
					if f != 0 {
						addProduct(&sum, f, (*group)(unsafe.Add(src, int64(r)*a.SrcRow+int64(c)*a.SrcCol)))
					}
				}
				rows[r][i] = sum
			}
		}
		for c := range m {
			for i, factors := range m {
				var sum group
				for r, f := range factors {
					if f != 0 {
						addProduct(&sum, f, &rows[r][c])
					}
				}
				*(*group)(unsafe.Add(dst, int64(i)*a.DstRow+int64(c)*a.DstCol)) = sum
			}
		}
	}
}
