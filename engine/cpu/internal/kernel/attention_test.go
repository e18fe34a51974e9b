package kernel

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// TestSoftmax compares with float64, for rows of any width, with a maximum from an earlier tile or
// without one.
func TestSoftmax(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for _, columns := range []int{1, 2, 15, 16, 17, 31, 32, 33, 48, 65, 197, 257} {
			for _, bf16 := range []bool{false, true} {
				for _, size := range []float32{1, 300, 1e5} {
					testSoftmax(t, p, columns, bf16, size)
				}
			}
		}
	})
}

func testSoftmax(t *testing.T, p *Path, columns int, bf16 bool, size float32) {
	t.Helper()
	const rows, scale = 5, 0.125
	pitch := (columns+15)/16*16 + 16
	what := fmt.Sprintf("%d columns of size %v, bf16 %v", columns, size, bf16)
	scores, check := guarded(rows*pitch, 3)
	copy(scores, values(1, len(scores), 0))
	for i := range scores {
		scores[i] *= size
	}
	given := append([]float32(nil), scores...)
	largest, sums := []float32{float32(math.Inf(-1)), -size, 0.5 * size, 2 * size, size}, make([]float32, rows)
	before := append([]float32(nil), largest...)
	p.Softmax(SoftmaxArgs{Scores: scores, Rows: rows, Columns: columns, Pitch: pitch, Scale: scale,
		Max: largest, Sum: sums, BF16: bf16})
	check(t)
	for r := range rows {
		m := before[r]
		for _, v := range given[r*pitch:][:columns] {
			m = max(m, v)
		}
		if largest[r] != m {
			t.Fatalf("%s: the maximum is %v, want %v", what, largest[r], m)
		}
		got, precision := scores[r*pitch:][:pitch], 2e-7
		if bf16 {
			got, precision = make([]float32, pitch), 1./256
			widen(got, halves(scores[r*pitch:][:pitch]))
		}
		var sum float64
		for c := range pitch - 16 {
			want := 0.0
			if c < columns {
				want = math.Exp(scale * float64(given[r*pitch+c]-m))
			}
			if want < 1.7e-38 && got[c] == 0 {
				want = 0
			}
			if !(math.Abs(float64(got[c])-want) <= precision*want) {
				t.Fatalf("%s: weight %d of row %d is %v, want %v", what, c, r, got[c], want)
			}
			sum += want
		}
		if math.Abs(float64(sums[r])-sum) > 1e-6*sum {
			t.Fatalf("%s: the sum is %v, want %v", what, sums[r], sum)
		}
		for c := pitch - 16; c < pitch; c++ {
			if scores[r*pitch+c] != given[r*pitch+c] {
				t.Fatalf("%s: wrote value %d of a row", what, c)
			}
		}
	}
}

// TestSoftmaxExponential: a weight is within a rounding of float64's exponential for every size of
// exponent that it may have, 0 for those below -87, and NaN for a NaN.
func TestSoftmaxExponential(t *testing.T) {
	x := []float32{0, -87, math.Nextafter32(-87, -88), -88, -104, -1e30, -math.MaxFloat32, float32(math.Inf(-1)),
		-math.SmallestNonzeroFloat32, -1e-39, -1.1754944e-38, -0.34657, -0.34658}
	for bits := uint32(0x2f000000); bits < 0x42c80000; bits += 4001 { // -1e-10 to -100
		x = append(x, -math.Float32frombits(bits))
	}
	eachPath(t, func(t *testing.T, p *Path) {
		for _, scale := range []float64{1, 0.125, 1 / math.Sqrt(96), 3} {
			scores := make([]float32, len(x)+16)
			for i, v := range x {
				scores[i] = float32(float64(v) / scale)
			}
			given := append([]float32(nil), scores...)
			largest, sums := []float32{0}, make([]float32, 1)
			p.Softmax(SoftmaxArgs{Scores: scores, Rows: 1, Columns: len(x), Scale: scale, Max: largest, Sum: sums})
			for i, v := range given[:len(x)] {
				exponent := scale * float64(v)
				want := math.Exp(exponent)
				near := math.Abs(exponent+87) < 1e-5 // rounding may put it on either side
				if exponent < leastExponent && !near || near && scores[i] == 0 {
					want = 0
				}
				if !(math.Abs(float64(scores[i])-want) <= want/(1<<23)) {
					t.Fatalf("exp(%v*%v) is %v, want %v", scale, v, scores[i], want)
				}
			}
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			scores := make([]float32, 48)
			scores[21] = float32(bad)
			sums := make([]float32, 1)
			p.Softmax(SoftmaxArgs{Scores: scores, Rows: 1, Columns: 40, Scale: 1, Max: []float32{0}, Sum: sums})
			if sums[0] == sums[0] {
				t.Errorf("a row with %v has the sum %v", bad, sums[0])
			}
		}
	})
}

// TestRowRoutines compares the other routines of attention with the portable ones.
func TestRowRoutines(t *testing.T) {
	const rows, pitch = 5, 96
	plain := portable()
	bfloats := func(x []float32) []uint16 {
		y := make([]uint16, len(x))
		narrow(y, x)
		return y
	}
	eachPath(t, func(t *testing.T, p *Path) {
		for _, columns := range []int{1, 7, 16, 20, 32, 64, 72, 96} {
			for offset := range 3 {
				x, y := values(1, rows*pitch, offset), values(2, rows*pitch, offset+1)
				f, g := values(3, rows, offset), values(4, rows, 1)
				what := fmt.Sprintf("%d columns at %d", columns, offset)
				pair := func(name string, size int, run func(p *Path, out []float32)) {
					t.Helper()
					got, check := guarded(size, offset)
					want := make([]float32, size)
					run(p, got)
					run(plain, want)
					same(t, name+", "+what, got, want, float64(columns))
					check(t)
				}
				for _, factors := range [][]float32{nil, f} {
					pair("ScaleRows", rows*pitch, func(p *Path, out []float32) {
						p.ScaleRows(ScaleRowsArgs{Dst: Float32s(out), Src: Float32s(x), DstPitch: pitch, SrcPitch: pitch,
							Rows: rows, Columns: columns, Factors: factors})
					})
					pair("ScaleRows of bfloat16", rows*pitch, func(p *Path, out []float32) {
						p.ScaleRows(ScaleRowsArgs{Dst: Float32s(out), Src: BFloat16s(bfloats(x)), DstPitch: pitch,
							SrcPitch: pitch, Rows: rows, Columns: columns, Factors: factors})
					})
					pair("ScaleRows to bfloat16", rows*pitch, func(p *Path, out []float32) {
						rounded := make([]uint16, len(out))
						p.ScaleRows(ScaleRowsArgs{Dst: BFloat16s(rounded), Src: Float32s(x), DstPitch: pitch,
							SrcPitch: pitch, Rows: rows, Columns: columns, Factors: factors})
						widen(out, rounded)
					})
				}
				pair("ScaleRows of bfloat16 to bfloat16", rows*pitch, func(p *Path, out []float32) {
					rounded := make([]uint16, len(out))
					p.ScaleRows(ScaleRowsArgs{Dst: BFloat16s(rounded), Src: BFloat16s(bfloats(x)), DstPitch: pitch,
						SrcPitch: pitch, Rows: rows, Columns: columns})
					widen(out, rounded)
				})
				pair("DotRows", rows, func(p *Path, out []float32) {
					p.DotRows(DotRowsArgs{Sum: out, A: Float32s(x), B: Float32s(y), APitch: pitch, BPitch: pitch, Rows: rows,
						Columns: columns})
				})
				pair("DotRows of bfloat16", rows, func(p *Path, out []float32) {
					p.DotRows(DotRowsArgs{Sum: out, A: BFloat16s(bfloats(x)), B: BFloat16s(bfloats(y)), APitch: pitch,
						BPitch: pitch, Rows: rows, Columns: columns})
				})
				if columns%16 == 0 {
					pair("SoftmaxGrad", 2*rows*pitch, func(p *Path, out []float32) {
						copy(out, x)
						copy(out[rows*pitch:], y)
						p.SoftmaxGrad(SoftmaxGradArgs{Weights: out[:rows*pitch], Gradients: out[rows*pitch:], Rows: rows,
							Columns: columns, Pitch: pitch, Inverse: f, Along: g})
					})
					pair("SoftmaxGradPairs", 12*pitch, func(p *Path, out []float32) {
						weights, gradients := append([]float32(nil), x...), append([]float32(nil), y...)
						rounded := make([]uint16, 4*pitch)
						p.SoftmaxGradPairs(SoftmaxGradArgs{Weights: weights, Gradients: gradients, Rows: 4,
							Columns: columns, Pitch: pitch, Inverse: f, Along: g}, rounded, pitch)
						widen(out[:len(rounded)], rounded)
						for i, x := range [][]float32{weights, gradients} {
							for r := range 2 {
								pairs := unsafe.Slice((*uint16)(unsafe.Pointer(&x[2*r*pitch])), 2*columns)
								widen(out[(4+4*i+2*r)*pitch:][:2*columns], pairs)
							}
						}
					})
				}
			}
		}
	})
}

// attentionResults is the results of the routines of attention, as one list.
func attentionResults(p *Path) []float32 {
	const rows, pitch, columns = 5, 96, 80
	weights, gradients := values(1, rows*pitch, 0), values(2, rows*pitch, 0)
	largest, sums, dots := values(3, rows, 0), values(4, rows, 0), values(5, rows, 0)
	p.DotRows(DotRowsArgs{Sum: dots, A: Float32s(weights), B: Float32s(gradients), APitch: pitch, BPitch: pitch, Rows: rows,
		Columns: columns})
	p.Softmax(SoftmaxArgs{Scores: weights, Rows: rows, Columns: columns - 3, Pitch: pitch, Scale: 20, Max: largest,
		Sum: sums})
	p.SoftmaxGrad(SoftmaxGradArgs{Weights: weights, Gradients: gradients, Rows: rows, Columns: columns, Pitch: pitch,
		Inverse: sums, Along: dots})
	p.ScaleRows(ScaleRowsArgs{Dst: Float32s(weights), Src: Float32s(gradients), DstPitch: pitch, SrcPitch: pitch, Rows: 1,
		Columns: columns, Factors: sums})
	return append(append(append(append(weights, gradients...), largest...), sums...), dots...)
}

// TestAttentionNEONRoundsLikeAVX2: see TestNEONRoundsLikeAVX2.
func TestAttentionNEONRoundsLikeAVX2(t *testing.T) {
	const want = 0xaf127e28976c3fb4
	tested := false
	for _, p := range Paths() {
		if !slices.Contains(likeAVX2, p.Name) {
			continue
		}
		tested = true
		sum := fnv.New64a()
		for _, v := range attentionResults(p) {
			binary.Write(sum, binary.LittleEndian, v)
		}
		if sum.Sum64() != want {
			t.Errorf("the checksum of what %s gives is %#x, want %#x", p.Name, sum.Sum64(), uint64(want))
		}
	}
	if !tested {
		t.Skip("NOT TESTED: this machine runs neither")
	}
}

func TestAttentionDoesNotAllocate(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		x, y, f, g := values(1, 1024, 0), values(2, 1024, 0), values(3, 16, 0), values(4, 16, 0)
		if n := testing.AllocsPerRun(10, func() {
			p.Softmax(SoftmaxArgs{Scores: x, Rows: 16, Columns: 61, Pitch: 64, Scale: 1, Max: f, Sum: g})
			p.SoftmaxGrad(SoftmaxGradArgs{Weights: x, Gradients: y, Rows: 16, Columns: 64, Pitch: 64, Inverse: f, Along: g})
			p.ScaleRows(ScaleRowsArgs{Dst: Float32s(y), Src: Float32s(x), DstPitch: 64, SrcPitch: 64, Rows: 16, Columns: 60,
				Factors: f})
			p.PrefetchRows(Float32s(x), 64, 16, 60)
			p.DotRows(DotRowsArgs{Sum: f, A: Float32s(y), B: Float32s(x), APitch: 64, BPitch: 64, Rows: 16, Columns: 60})
		}); n > 0 {
			t.Errorf("%v allocations a round", n)
		}
	})
}

// BenchmarkSoftmax is the time for rows of 197 scores, the fastest of many runs. The metric is
// nanoseconds a score.
func BenchmarkSoftmax(b *testing.B) {
	const rows, columns, pitch = 24, 197, 208
	for _, p := range Paths() {
		for _, bf16 := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/bf16=%v", p.Name, bf16), func(b *testing.B) {
				given := values(1, rows*pitch, 0)
				scores, largest, sums := make([]float32, rows*pitch), make([]float32, rows), make([]float32, rows)
				fastest := time.Hour
				for b.Loop() {
					copy(scores, given)
					start := time.Now()
					p.Softmax(SoftmaxArgs{Scores: scores, Rows: rows, Columns: columns, Pitch: pitch, Scale: 0.125, Max: largest,
						Sum: sums, BF16: bf16})
					fastest = min(fastest, time.Since(start))
				}
				b.ReportMetric(float64(fastest.Nanoseconds())/(rows*columns), "ns/score")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
