//go:build amd64 || arm64

package kernel

import (
	"math"
	"unsafe"
)

// What the assembly paths share: how Go calls their routines and puts them together.

// routines is what an instruction set has of its own.
type routines struct {
	sums, squares, normalise, normaliseAdd            strips
	gradSums, gradSumsSign, gradInput, gradInputSign  strips
	relu, reluGrad, reluGradHalf, widen, narrow, pair func(*uintptr)
	larger, claim                                     func(*uintptr)
	weightedSum                                       [3]func(*uintptr) // by number of terms
	winograd                                          Winograd
	transpose8, rowMax, expSum, dot                   func(*uintptr)
	gather, gatherPairs                               func(*uintptr) // nil where the plain ones serve
	peak                                              func(loops int)
	peakFLOPs                                         int // of one loop
}

// args is the argument block of the assembly: pointers first, then numbers. Behind them is room for small operands, which
// pointers of the same block may point to.
type args struct {
	p       pointers
	n       [3]int
	factors [3]float32
	parts   [8]float32 // partial results
}

type pointers = [9]unsafe.Pointer

// call runs a routine. Escape analysis gives up at a call through a function value, and would put every block on the heap, one for each
// call. Assembly keeps no pointer, so the block may stay on the stack: it is hidden from the analysis by a copy of its address.
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

// strips is a routine that walks down a strip of channels, 16 or 64 wide (the second may be nil), over rows of float32 and of bfloat16.
type strips [2][2]func(*uintptr)

// operand is where an operand of a strip starts, and how many bytes further it starts a channel later.
type operand struct {
	p    unsafe.Pointer
	size int
}

func (v Values) operand() operand {
	if v.half {
		return operand{v.p, 2}
	}
	return operand{v.p, 4}
}

// factors is an operand with one float for each channel.
func factors(x []float32) operand { return operand{ptr(x), 4} }

// over walks down all strips of rows of ch values.
func (s *strips) over(rows Values, ch int, operands ...operand) {
	var a args
	a.n = [3]int{rows.n / ch, 4 * ch}
	if a.n[0] == 0 {
		return
	}
	routines := &s[0]
	if rows.half {
		routines, a.n[1] = &s[1], 2*ch
	}
	width, routine := 16, routines[0]
	if routines[1] != nil && ch%64 == 0 {
		width, routine = 64, routines[1]
	}
	for c := 0; c < ch; c += width {
		for i, x := range operands {
			a.p[i] = unsafe.Add(x.p, c*x.size)
		}
		a.call(routine)
	}
}

// blocks calls a routine for the first n/32*32 floats of its operands and returns how many those are.
func (a *args) blocks(routine func(*uintptr), n int) int {
	if n < 32 {
		return 0
	}
	a.n[0] = n / 32
	a.call(routine)
	return n &^ 31
}

func ptr(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

// from is what is left of v from value n on.
func (v Values) from(n int) Values {
	return Values{unsafe.Add(v.p, n*v.operand().size), v.n - n, v.half}
}

// tail is what is left of a slice from n on; nil stays nil.
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
	p.Sums = func(x Values, ch int, sum []float32) { r.sums.over(x, ch, x.operand(), factors(sum)) }
	p.Squares = func(x Values, ch int, mean, square []float32) {
		r.squares.over(x, ch, x.operand(), factors(mean), factors(square))
	}
	p.Normalise = func(y, x, residual Values, ch int, mean, scale, shift []float32, relu bool) {
		floor := operand{unsafe.Pointer(&floors[0]), 0}
		if relu {
			floor = operand{unsafe.Pointer(&floors[1]), 0}
		}
		if residual.n == 0 {
			r.normalise.over(y, ch, y.operand(), x.operand(), factors(mean), factors(scale), factors(shift), floor)
			return
		}
		r.normaliseAdd.over(y, ch, y.operand(), x.operand(), factors(mean), factors(scale), factors(shift), floor, residual.operand())
	}
	p.GradSums = func(dy, x Values, ch int, mean, scale, shift, sum, dot []float32) {
		if scale == nil {
			r.gradSums.over(dy, ch, dy.operand(), x.operand(), factors(mean), factors(sum), factors(dot))
			return
		}
		r.gradSumsSign.over(dy, ch, dy.operand(), x.operand(), factors(mean), factors(sum), factors(dot), factors(scale), factors(shift))
	}
	p.GradInput = func(dx, dy, x Values, ch int, mean, scale, shift, a, b, c []float32) {
		if scale == nil {
			r.gradInput.over(dx, ch, dx.operand(), dy.operand(), x.operand(), factors(mean), factors(a), factors(b), factors(c))
			return
		}
		r.gradInputSign.over(dx, ch, dx.operand(), dy.operand(), x.operand(), factors(mean), factors(a), factors(b), factors(c), factors(scale), factors(shift))
	}
	p.ReLU = func(y, x []float32) {
		a := args{p: pointers{ptr(y), ptr(x)}}
		n := a.blocks(r.relu, len(y))
		relu(y[n:], x[n:])
	}
	p.ReLUGrad = func(dx, dy, y Values) {
		a := args{p: pointers{dx.p, dy.p, y.p}}
		routine := r.reluGrad
		if dx.half {
			routine = r.reluGradHalf
		}
		n := a.blocks(routine, dx.n)
		if n < dx.n {
			dx, dy, y = dx.from(n), dy.from(n), y.from(n)
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
	p.Widen = func(dst []float32, src []uint16) {
		a := args{p: pointers{ptr(dst), unsafe.Pointer(unsafe.SliceData(src))}}
		n := a.blocks(r.widen, len(dst))
		widen(dst[n:], src[n:])
	}
	p.Narrow = func(dst []uint16, src []float32) {
		a := args{p: pointers{unsafe.Pointer(unsafe.SliceData(dst)), ptr(src)}}
		n := a.blocks(r.narrow, len(dst))
		narrow(dst[n:], src[n:])
	}
	p.Pair = func(dst []uint16, first, second []float32) {
		a := args{p: pointers{unsafe.Pointer(unsafe.SliceData(dst)), ptr(first), ptr(second)}}
		n := a.blocks(r.pair, len(first))
		pair(dst[2*n:], first[n:], second[n:])
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
	p.Transpose = func(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
		transposeBlocks(r.transpose8, dst, dstStride, src, srcStride, rows, cols)
	}
	if r.gather != nil {
		p.Gather = func(dst []float32, pitch int, src Values, offsets []int32, width int) {
			a := args{p: pointers{ptr(dst), src.p, unsafe.Pointer(unsafe.SliceData(offsets))}, n: [3]int{len(offsets), 4 * pitch, width / 16}}
			a.call(r.gather)
		}
		p.GatherPairs = func(dst []float32, pitch int, src Values, offsets []int32, width int) {
			a := args{p: pointers{ptr(dst), src.p, unsafe.Pointer(unsafe.SliceData(offsets))}, n: [3]int{len(offsets) / 2, 4 * pitch, width / 16}}
			a.call(r.gatherPairs)
		}
	}
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
	p.PeakFLOPs = func(loops int) float64 {
		r.peak(loops)
		return float64(loops) * float64(r.peakFLOPs)
	}
	return p
}

// total adds up the partial sums in a fixed order.
func total(parts *[8]float32) float32 {
	return ((parts[0] + parts[4]) + (parts[1] + parts[5])) + ((parts[2] + parts[6]) + (parts[3] + parts[7]))
}

// transposeBlocks does 8x8 blocks in assembly and the edges in Go.
func transposeBlocks(transpose8 func(*uintptr), dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
	r8, c8 := rows&^7, cols&^7
	if c8 > 0 {
		var a args
		a.n = [3]int{4 * dstStride, 4 * srcStride, c8 / 8}
		for r := 0; r < r8; r += 8 {
			a.p[0], a.p[1] = unsafe.Pointer(&dst[r]), unsafe.Pointer(&src[r*srcStride])
			a.call(transpose8)
		}
	}
	if r8 < rows {
		transpose(dst[r8:], dstStride, src[r8*srcStride:], srcStride, rows-r8, cols)
	}
	if c8 < cols && r8 > 0 {
		transpose(dst[c8*dstStride:], dstStride, src[c8:], srcStride, r8, cols-c8)
	}
}
