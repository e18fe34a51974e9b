//go:build amd64 || arm64

package kernel

import (
	"math"
	"unsafe"
)

// The assembly paths share this file: how Go calls their routines and puts them together.

// routines are what an instruction set has in assembly.
type routines struct {
	sums, squares, normalise, normaliseAdd            strips
	gradSums, gradSumsSign, gradInput, gradInputSign  strips
	relu, reluGrad, reluGradBF16, widen, narrow, pair func(*uintptr)
	larger, claim                                     func(*uintptr)
	weightedSum                                       [3]func(*uintptr) // by number of terms
	winograd                                          Winograd
	transpose8, rowMax, expSum, dot                   func(*uintptr)
	gather, gatherHalf, gatherPairs                   func(*uintptr)
	gelu, geluGrad, layerNorm                         strips
	layerNormGrad, layerNormGradAdd                   strips
	adam                                              func(*uintptr)
	peak                                              func(loops int)
	peakFLOPs                                         int // floating-point operations of one loop
	attention                                         attentionRoutines
}

// args is the argument block of the assembly: pointers first, then numbers. The pointers may point
// to the small operands at the end of the same block.
type args struct {
	p       pointers
	n       [5]int
	factors [3]float32
	parts   [8]float32 // partial results
}

type pointers = [9]unsafe.Pointer

// call runs a routine. Escape analysis gives up at a call through a function value, and would put
// every block on the heap, one for each call. Assembly keeps no pointer, so the block may stay on
// the stack. A copy of its address hides it from the analysis.
//
//go:nosplit
func (a *args) call(routine func(*uintptr)) {
	address := uintptr(unsafe.Pointer(a))
	routine(*(**uintptr)(unsafe.Pointer(&address)))
}

func tile(routine func(*uintptr)) func(*TileArgs) {
	return func(a *TileArgs) { routine((*uintptr)(unsafe.Pointer(a))) }
}

func grad(routine func(*uintptr)) func(*GradArgs) {
	return func(a *GradArgs) { routine((*uintptr)(unsafe.Pointer(a))) }
}

func transform(routine func(*uintptr)) func(*Transform) {
	return func(a *Transform) { routine((*uintptr)(unsafe.Pointer(a))) }
}

// strips is a routine that walks down a strip of channels: first for rows of float32, then of
// bfloat16, each for strips of 16 and of 64 channels. The one for 64 may be nil.
type strips [2][2]func(*uintptr)

// operand is where an operand of a strip starts, and the bytes from one channel to the next.
type operand struct {
	p    unsafe.Pointer
	size int
}

func (v Values) operand() operand { return operand{v.p, v.size()} }

// factors is an operand with one float for each channel.
func factors(x []float32) operand { return operand{ptr(x), 4} }

// over walks down all strips of rows of ch values.
func (s *strips) over(rows Values, ch int, operands ...operand) {
	s.columns(rows, ch, ch, operands...)
}

// columns walks down the strips of some columns of rows of ch values, of the first ones that the
// operands name. 0 stands for all.
func (s *strips) columns(rows Values, ch, columns int, operands ...operand) {
	var a args
	a.n = [5]int{(rows.n + ch - 1) / ch, rows.size() * ch}
	if a.n[0] == 0 {
		return
	}
	if columns == 0 {
		columns = ch
	}
	width, routine := s.routine(rows.bf16, columns)
	for c := 0; c < columns; c += width {
		for i, x := range operands {
			a.p[i] = unsafe.Add(x.p, c*x.size)
		}
		a.call(routine)
	}
}

// routine is the widest one that divides a number of channels.
func (s *strips) routine(bf16 bool, channels int) (width int, routine func(*uintptr)) {
	routines := &s[0]
	if bf16 {
		routines = &s[1]
	}
	if routines[1] != nil && channels%64 == 0 {
		return 64, routines[1]
	}
	return 16, routines[0]
}

// blocks calls a routine for the first n/32*32 floats of its operands, and returns that number.
func (a *args) blocks(routine func(*uintptr), n int) int {
	if n < 32 {
		return 0
	}
	a.n[0] = n / 32
	a.call(routine)
	return n &^ 31
}

func ptr(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

func ptr16(x []uint16) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

// tail is a slice without its first n values; nil stays nil.
func tail(x []float32, n int) []float32 {
	if x == nil {
		return nil
	}
	return x[n:]
}

var floors = [2]float32{float32(math.Inf(-1)), 0}

// path puts the pieces together: strips and blocks in assembly, tails in Go.
func path(name string, r routines, tiles []Tile, grads []Grad) *Path {
	p := portable()
	p.Name, p.Tiles, p.Grads, p.Winograd = name, tiles, grads, r.winograd
	p.channelRoutines(&r)
	p.elementRoutines(&r)
	p.tokenRoutines(&r)
	p.conversions(&r)
	p.rowRoutines(&r)
	p.Attention = r.attention.attention()
	p.PeakFLOPs = func(loops int) float64 {
		r.peak(loops)
		return float64(loops) * float64(r.peakFLOPs)
	}
	return p
}

// channelRoutines sets the routines with a factor for each channel.
func (p *Path) channelRoutines(r *routines) {
	p.Sums = func(x Values, ch int, sum []float32) {
		r.sums.columns(x, ch, min(ch, len(sum)), x.operand(), factors(sum))
	}
	p.Squares = func(x Values, ch int, mean, square []float32) {
		r.squares.over(x, ch, x.operand(), factors(mean), factors(square))
	}
	p.Normalise = func(a NormaliseArgs) {
		floor := operand{unsafe.Pointer(&floors[0]), 0}
		if a.ReLU {
			floor = operand{unsafe.Pointer(&floors[1]), 0}
		}
		mean, scale, shift := factors(a.Affine.Mean), factors(a.Affine.Scale), factors(a.Affine.Shift)
		if a.Residual.n == 0 {
			r.normalise.columns(a.Y, a.Channels, a.Columns, a.Y.operand(), a.X.operand(), mean, scale, shift, floor)
			return
		}
		r.normaliseAdd.columns(a.Y, a.Channels, a.Columns, a.Y.operand(), a.X.operand(), mean, scale, shift, floor,
			a.Residual.operand())
	}
	p.GradSums = func(a GradSumsArgs) {
		dy, x, mean := a.DY.operand(), a.X.operand(), factors(a.Affine.Mean)
		if a.Affine.Scale == nil {
			r.gradSums.over(a.DY, a.Channels, dy, x, mean, factors(a.Sum), factors(a.Dot))
			return
		}
		r.gradSumsSign.over(a.DY, a.Channels, dy, x, mean, factors(a.Sum), factors(a.Dot),
			factors(a.Affine.Scale), factors(a.Affine.Shift))
	}
	p.GradInput = func(a GradInputArgs) {
		dx, dy, x, mean := a.DX.operand(), a.DY.operand(), a.X.operand(), factors(a.Affine.Mean)
		if a.Affine.Scale == nil {
			r.gradInput.over(a.DX, a.Channels, dx, dy, x, mean, factors(a.A), factors(a.B), factors(a.C))
			return
		}
		r.gradInputSign.over(a.DX, a.Channels, dx, dy, x, mean, factors(a.A), factors(a.B), factors(a.C),
			factors(a.Affine.Scale), factors(a.Affine.Shift))
	}
}

// tokenRoutines sets the routines of transformers. Those without assembly stay the plain ones.
func (p *Path) tokenRoutines(r *routines) {
	if r.adam == nil {
		return
	}
	p.GELU = func(a GELUArgs) {
		r.gelu.columns(a.Y, a.Channels, a.Columns, a.Y.operand(), a.X.operand(), factors(a.Bias))
	}
	p.GELUGrad = func(a GELUGradArgs) {
		r.geluGrad.columns(a.DX, a.Channels, a.Columns, a.DX.operand(), a.DY.operand(), a.X.operand())
	}
	p.LayerNorm = func(a LayerNormArgs) {
		if a.Width != a.Channels || a.Y.n == 0 {
			layerNorm(a) // the assembly knows no padding
			return
		}
		b := args{n: [5]int{a.Y.n / a.Channels, a.Channels * a.Y.size()}}
		b.parts = [8]float32{1 / float32(a.Width), a.Epsilon, 1}
		b.p = pointers{a.Y.p, a.X.p, ptr(a.Gamma), ptr(a.Beta)}
		b.p[4] = unsafe.Pointer(&b.parts)
		_, routine := r.layerNorm.routine(a.Y.bf16, a.Channels)
		b.call(routine)
	}
	p.LayerNormGrad = func(a LayerNormGradArgs) {
		if a.Width != a.Channels || a.DX.n == 0 {
			layerNormGrad(a)
			return
		}
		b := args{n: [5]int{a.DX.n / a.Channels, a.Channels * a.DX.size()}}
		b.parts = [8]float32{1 / float32(a.Width), a.Epsilon, 1}
		b.p = pointers{a.DX.p, a.DY.p, a.X.p, ptr(a.Gamma), ptr(a.DGamma), ptr(a.DBeta)}
		b.p[6], b.p[7] = unsafe.Pointer(&b.parts), a.Other.p
		_, routine := r.layerNormGrad.routine(a.DX.bf16, a.Channels)
		if a.Other.n > 0 {
			_, routine = r.layerNormGradAdd.routine(a.DX.bf16, a.Channels)
		}
		b.call(routine)
	}
	p.Adam = func(a AdamArgs) {
		f := a.AdamFactors
		b := args{p: pointers{ptr(a.NewP), ptr(a.NewM), ptr(a.NewV), ptr(a.P), ptr(a.M), ptr(a.V), ptr(a.G)}}
		b.parts = [8]float32{f.KeepM, f.AddM, f.KeepV, f.AddV, f.Rate, f.Scale, f.Epsilon, f.KeepP}
		b.p[7] = unsafe.Pointer(&b.parts)
		n := b.blocks(r.adam, len(a.NewP))
		adam(AdamArgs{a.NewP[n:], a.NewM[n:], a.NewV[n:], a.P[n:], a.M[n:], a.V[n:], a.G[n:], f})
	}
}

// elementRoutines sets the routines that work value by value.
func (p *Path) elementRoutines(r *routines) {
	p.ReLU = func(y, x []float32) {
		a := args{p: pointers{ptr(y), ptr(x)}}
		n := a.blocks(r.relu, len(y))
		relu(y[n:], x[n:])
	}
	p.ReLUGrad = func(dx, dy, y Values) {
		a := args{p: pointers{dx.p, dy.p, y.p}}
		routine := r.reluGrad
		if dx.bf16 {
			routine = r.reluGradBF16
		}
		n := a.blocks(routine, dx.n)
		if n < dx.n {
			dx, dy, y = dx.From(n), dy.From(n), y.From(n)
			out := dx.floats()
			reluGrad(out, dy.floats(), y.floats())
			dx.set(out)
		}
	}
	p.Larger = func(y, x []float32) {
		a := args{p: pointers{ptr(y), ptr(x)}}
		n := a.blocks(r.larger, len(y))
		larger(y[n:], x[n:])
	}
	p.Claim = func(dx, g, x, best []float32) {
		a := args{p: pointers{ptr(dx), ptr(g), ptr(x), ptr(best)}}
		n := a.blocks(r.claim, len(dx))
		claim(dx[n:], g[n:], x[n:], best[n:])
	}
	p.WeightedSum = func(y []float32, a float32, x0 []float32, b float32, x1 []float32, c float32, x2 []float32) {
		terms := 1
		if x1 != nil {
			terms = 2
		}
		if x2 != nil {
			terms = 3
		}
		g := args{p: pointers{ptr(y), nil, ptr(x0), ptr(x1), ptr(x2)}, factors: [3]float32{a, b, c}}
		g.p[1] = unsafe.Pointer(&g.factors)
		n := g.blocks(r.weightedSum[terms-1], len(y))
		weightedSum(y[n:], a, x0[n:], b, tail(x1, n), c, tail(x2, n))
	}
	p.Scale = func(y, x []float32, s float32) { p.WeightedSum(y, s, x, 0, nil, 0, nil) }
}

// conversions sets the routines that change the order or the type of values.
func (p *Path) conversions(r *routines) {
	p.Widen = func(dst []float32, src []uint16) {
		a := args{p: pointers{ptr(dst), ptr16(src)}}
		n := a.blocks(r.widen, len(dst))
		widen(dst[n:], src[n:])
	}
	p.Narrow = func(dst []uint16, src []float32) {
		a := args{p: pointers{ptr16(dst), ptr(src)}}
		n := a.blocks(r.narrow, len(dst))
		narrow(dst[n:], src[n:])
	}
	p.Pair = func(dst []uint16, rows []float32, block int) {
		n := block &^ 31
		for ; len(rows) > 0; dst, rows = dst[2*block:], rows[2*block:] {
			first, second := rows[:block], rows[block:2*block]
			a := args{p: pointers{ptr16(dst), ptr(first), ptr(second)}}
			a.blocks(r.pair, block)
			for i := n; i < block; i++ {
				narrow(dst[2*i:2*i+1], first[i:i+1])
				narrow(dst[2*i+1:2*i+2], second[i:i+1])
			}
		}
	}
	p.Transpose = func(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
		t := transposition{r.transpose8, transpose, 1}
		t.blocks(dst, dstStride, src, srcStride, rows, cols)
	}
	p.TransposeRight = p.Transpose
	p.Gather = func(dst []float32, pitch int, src Values, offsets []int32, width int) {
		a := args{
			p: pointers{ptr(dst), src.p, unsafe.Pointer(unsafe.SliceData(offsets))},
			n: [5]int{len(offsets), 4 * pitch, width / 16},
		}
		if src.bf16 {
			a.call(r.gatherHalf)
			return
		}
		a.call(r.gather)
	}
	p.GatherPairs = func(dst []float32, pitch int, src Values, offsets []int32, width int) {
		a := args{
			p: pointers{ptr(dst), src.p, unsafe.Pointer(unsafe.SliceData(offsets))},
			n: [5]int{len(offsets) / 2, 4 * pitch, width / 16},
		}
		a.call(r.gatherPairs)
	}
	p.GatherRight = p.GatherPairs
}

// rowRoutines sets the routines that make one number of a row.
func (p *Path) rowRoutines(r *routines) {
	p.RowMax = func(x []float32) float32 {
		if len(x) < 32 {
			return rowMaximum(x)
		}
		a := args{p: pointers{nil, ptr(x)}}
		a.p[0] = unsafe.Pointer(&a.parts)
		n := a.blocks(r.rowMax, len(x))
		largest := rowMaximum(a.parts[:])
		for _, v := range x[n:] {
			largest = max(largest, v)
		}
		return largest
	}
	p.ExpSum = func(dst, x []float32, scale, shift float32) float32 {
		a := args{p: pointers{nil, ptr(dst), ptr(x), nil}, factors: [3]float32{scale, shift}}
		a.p[0], a.p[3] = unsafe.Pointer(&a.parts), unsafe.Pointer(&a.factors)
		n := a.blocks(r.expSum, len(x))
		return total(&a.parts) + expSumInto(dst[n:], x[n:], scale, shift)
	}
	p.Dot = func(a, b []float32) float32 {
		g := args{p: pointers{nil, ptr(a), ptr(b)}}
		g.p[0] = unsafe.Pointer(&g.parts)
		n := g.blocks(r.dot, len(a))
		return total(&g.parts) + dotProduct(a[n:], b[n:])
	}
}

// total adds up the partial sums in a fixed order.
func total(parts *[8]float32) float32 {
	return ((parts[0] + parts[4]) + (parts[1] + parts[5])) + ((parts[2] + parts[6]) + (parts[3] + parts[7]))
}

// transposition transposes single words, or words that stay beside each other.
type transposition struct {
	block  func(*uintptr) // 8x8 words
	plain  func(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int)
	beside int // words that stay so
}

// blocks does 8x8 blocks in assembly and the edges in Go.
func (t *transposition) blocks(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
	r8, c8 := rows&^7, cols&^7
	if c8 > 0 {
		var a args
		a.n = [5]int{4 * dstStride, 4 * srcStride, c8 / 8}
		for r := 0; r < r8; r += 8 {
			a.p[0], a.p[1] = unsafe.Pointer(&dst[t.beside*r]), unsafe.Pointer(&src[r*srcStride])
			a.call(t.block)
		}
	}
	if r8 < rows {
		t.plain(dst[t.beside*r8:], dstStride, src[r8*srcStride:], srcStride, rows-r8, cols)
	}
	if c8 < cols && r8 > 0 {
		t.plain(dst[c8*dstStride:], dstStride, src[c8:], srcStride, r8, cols-c8)
	}
}
