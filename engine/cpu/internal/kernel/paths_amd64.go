package kernel

import (
	"math"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// machinePaths returns the assembly paths that this processor runs, fastest first.
func machinePaths() []*Path {
	var paths []*Path
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasFMA {
		paths = append(paths, path("avx512", routines{
			sums: strips{sums16AVX512, sums64AVX512}, squares: strips{squares16AVX512, squares64AVX512},
			normalise: strips{normalise16AVX512, normalise64AVX512}, normaliseAdd: strips{normaliseAdd16AVX512, normaliseAdd64AVX512},
			gradSums: strips{gradSums16AVX512, gradSums64AVX512}, gradSumsSign: strips{gradSumsSign16AVX512, gradSumsSign64AVX512},
			gradInput: strips{gradInput16AVX512, gradInput64AVX512}, gradInputSign: strips{gradInputSign16AVX512, gradInputSign64AVX512},
			relu: reluAVX512, reluGrad: reluGradAVX512,
			weightedSum: [3]func(*uintptr){weightedSum1AVX512, weightedSum2AVX512, weightedSum3AVX512},
			peak:        peakAVX512, lanes: 16,
		}, []Tile{{6, 64, tile(tile6x64AVX512)}, {12, 32, tile(tile12x32AVX512)}, {12, 16, tile(tile12x16AVX512)}},
			[]Grad{{4, 64, grad(grad4x64AVX512)}, {8, 32, grad(grad8x32AVX512)}, {4, 32, grad(grad4x32AVX512)}, {16, 16, grad(grad16x16AVX512)}, {4, 16, grad(grad4x16AVX512)}}))
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		paths = append(paths, path("avx2", routines{
			sums: strips{sums16AVX2, nil}, squares: strips{squares16AVX2, nil},
			normalise: strips{normalise16AVX2, nil}, normaliseAdd: strips{normaliseAdd16AVX2, nil},
			gradSums: strips{gradSums16AVX2, nil}, gradSumsSign: strips{gradSumsSign16AVX2, nil},
			gradInput: strips{gradInput16AVX2, nil}, gradInputSign: strips{gradInputSign16AVX2, nil},
			relu: reluAVX2, reluGrad: reluGradAVX2,
			weightedSum: [3]func(*uintptr){weightedSum1AVX2, weightedSum2AVX2, weightedSum3AVX2},
			peak:        peakAVX2, lanes: 8,
		}, []Tile{{6, 16, tile(tile6x16AVX2)}}, []Grad{{4, 16, grad(grad4x16AVX2)}}))
	}
	return paths
}

// routines is what an instruction set has of its own.
type routines struct {
	sums, squares, normalise, normaliseAdd           strips
	gradSums, gradSumsSign, gradInput, gradInputSign strips
	relu, reluGrad                                   func(*uintptr)
	weightedSum                                      [3]func(*uintptr) // by number of terms
	peak                                             func(loops int)
	lanes                                            int
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

// strips is a routine that walks down a strip of channels, 16 or 64 wide; wide may be nil.
type strips struct{ narrow, wide func(*uintptr) }

// over walks down all strips of rows of ch floats; the slices start at the first channel and each moves along with the strip.
func (s strips) over(n, ch int, fixed unsafe.Pointer, operands ...[]float32) {
	rows := n / ch
	if rows == 0 {
		return
	}
	width, routine := 16, s.narrow
	if s.wide != nil && ch%64 == 0 {
		width, routine = 64, s.wide
	}
	var a args
	a.n = [3]int{rows, 4 * ch}
	for c := 0; c < ch; c += width {
		for i, x := range operands {
			if x != nil {
				a.p[i] = unsafe.Pointer(&x[c])
			} else {
				a.p[i] = fixed
			}
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
	p.Name, p.Tiles, p.Grads = name, tiles, grads
	p.Sums = func(x []float32, ch int, sum []float32) { r.sums.over(len(x), ch, nil, x, sum) }
	p.Squares = func(x []float32, ch int, mean, square []float32) {
		r.squares.over(len(x), ch, nil, x, mean, square)
	}
	p.Normalise = func(y, x, residual []float32, ch int, mean, scale, shift []float32, relu bool) {
		floor := unsafe.Pointer(&floors[0])
		if relu {
			floor = unsafe.Pointer(&floors[1])
		}
		if residual == nil {
			r.normalise.over(len(y), ch, floor, y, x, mean, scale, shift, nil)
			return
		}
		r.normaliseAdd.over(len(y), ch, floor, y, x, mean, scale, shift, nil, residual)
	}
	p.GradSums = func(dy, x []float32, ch int, mean, scale, shift, sum, dot []float32) {
		if scale == nil {
			r.gradSums.over(len(dy), ch, nil, dy, x, mean, sum, dot)
			return
		}
		r.gradSumsSign.over(len(dy), ch, nil, dy, x, mean, sum, dot, scale, shift)
	}
	p.GradInput = func(dx, dy, x []float32, ch int, mean, scale, shift, a, b, c []float32) {
		if scale == nil {
			r.gradInput.over(len(dx), ch, nil, dx, dy, x, mean, a, b, c)
			return
		}
		r.gradInputSign.over(len(dx), ch, nil, dx, dy, x, mean, a, b, c, scale, shift)
	}
	p.ReLU = func(y, x []float32) {
		a := args{p: pointers{ptr(y), ptr(x)}}
		n := a.blocks(r.relu, len(y))
		relu(y[n:], x[n:])
	}
	p.ReLUGrad = func(dx, dy, y []float32) {
		a := args{p: pointers{ptr(dx), ptr(dy), ptr(y)}}
		n := a.blocks(r.reluGrad, len(dx))
		reluGrad(dx[n:], dy[n:], y[n:])
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
	p.Transpose = transposeBlocks
	p.RowMax = func(x []float32) float32 {
		if len(x) < 32 {
			return rowMaximum(x)
		}
		a := args{p: pointers{nil, ptr(x)}}
		a.p[0] = unsafe.Pointer(&a.parts)
		n := a.blocks(rowMax, len(x))
		largest := rowMaximum(a.parts[:])
		for _, v := range x[n:] {
			largest = max(largest, v)
		}
		return largest
	}
	p.ExpSum = func(dst, x []float32, scale, shift float32) float32 {
		a := args{p: pointers{nil, ptr(dst), ptr(x), nil}, factors: [3]float32{scale, shift}}
		a.p[0], a.p[3] = unsafe.Pointer(&a.parts), unsafe.Pointer(&a.factors)
		n := a.blocks(expSum, len(x))
		return total(&a.parts) + expSumInto(dst[n:], x[n:], scale, shift)
	}
	p.Dot = func(a, b []float32) float32 {
		g := args{p: pointers{nil, ptr(a), ptr(b)}}
		g.p[0] = unsafe.Pointer(&g.parts)
		n := g.blocks(dot, len(a))
		return total(&g.parts) + dotProduct(a[n:], b[n:])
	}
	p.PeakFLOPs = func(loops int) float64 {
		r.peak(loops)
		return float64(loops) * 10 * 2 * float64(r.lanes)
	}
	return p
}

// total adds up the partial sums in a fixed order.
func total(parts *[8]float32) float32 {
	return ((parts[0] + parts[4]) + (parts[1] + parts[5])) + ((parts[2] + parts[6]) + (parts[3] + parts[7]))
}

// transposeBlocks does 8x8 blocks in assembly and the edges in Go.
func transposeBlocks(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int) {
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
