package taps

import (
	"bytes"
	"fmt"
	"testing"

	"moco/internal/rng"
)

// guarded returns n random bytes with others before and behind them, and a check that those have not
// changed.
func guarded(r *rng.Source, n int) (middle []uint8, intact func() bool) {
	const margin = 40
	all := make([]uint8, n+2*margin)
	for i := range all {
		all[i] = uint8(r.Uint64())
	}
	before := bytes.Clone(all)
	return all[margin : margin+n : margin+n], func() bool {
		return bytes.Equal(all[:margin], before[:margin]) && bytes.Equal(all[margin+n:], before[margin+n:])
	}
}

// random returns n bytes, extremes among them.
func random(r *rng.Source, n int) []uint8 {
	b := make([]uint8, n)
	for i := range b {
		if b[i] = uint8(r.Uint64()); r.IntN(4) == 0 {
			b[i] = 255 * uint8(r.IntN(2))
		}
	}
	return b
}

// shares returns n weights that sum up to at most 1<<shift.
func shares(r *rng.Source, n int, shift uint) []uint32 {
	w, left := make([]uint32, n), uint64(1)<<shift
	for i := range w {
		w[i] = uint32(left)
		if i < n-1 {
			w[i] = uint32(r.Float64() * float64(left))
		}
		left -= uint64(w[i])
	}
	return w
}

// TestRows holds every path to exact sums, at every length and offset.
func TestRows(t *testing.T) {
	t.Parallel()
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := rng.New(1)
			for n := range 100 {
				for _, k := range []int{1, 2, 3, 5, 17} {
					shift := []uint{22, 24, 8, 1}[(n+k)%4]
					list, weights := make([][]uint8, k), shares(&r, k, shift)
					for i := range list {
						list[i] = random(&r, n+r.IntN(3))
						if r.IntN(3) == 0 {
							list[i] = random(&r, n+7)[7:] // at an odd address
						}
					}
					dst, intact := guarded(&r, n)
					p.rows(dst, list, weights, shift)
					for i, got := range dst {
						sum := uint64(1) << (shift - 1)
						for j, row := range list {
							sum += uint64(row[i]) * uint64(weights[j])
						}
						if want := uint8(sum >> shift); got != want {
							t.Fatalf("%d rows of %d: place %d is %d, want %d", k, n, i, got, want)
						}
					}
					if !intact() {
						t.Fatalf("%d rows of %d: bytes beside the result were written", k, n)
					}
				}
			}
		})
	}
}

// TestPixels holds every path to exact sums, with windows that reach to the ends of rows.
func TestPixels(t *testing.T) {
	t.Parallel()
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := rng.New(2)
			for in := 1; in < 40; in++ {
				for out := range 40 {
					w := Windows{Width: min(in, 1+r.IntN(7))}
					for range out {
						count := 1 + r.IntN(w.Width)
						w.Count, w.First = append(w.Count, int32(count)), append(w.First, int32(r.IntN(in-count+1)))
						w.Factors = append(w.Factors, shares(&r, count, Precision)...)
						w.Factors = append(w.Factors, make([]uint32, w.Width-count)...)
					}
					src := random(&r, 3*in)
					src = src[:len(src):len(src)]
					dst, intact := guarded(&r, 3*out)
					p.pixels(dst, src, &w)
					for i, got := range dst {
						sum := uint64(1) << (Precision - 1)
						for k := range int(w.Count[i/3]) {
							sum += uint64(src[3*(int(w.First[i/3])+k)+i%3]) * uint64(w.Factors[i/3*w.Width+k])
						}
						if want := uint8(sum >> Precision); got != want {
							t.Fatalf("%d pixels of %d: value %d is %d, want %d", out, in, i, got, want)
						}
					}
					if !intact() {
						t.Fatalf("%d pixels of %d: bytes beside the result were written", out, in)
					}
				}
			}
		})
	}
}

func BenchmarkRows(b *testing.B) {
	for _, p := range paths() {
		for _, k := range []int{3, 5} {
			b.Run(fmt.Sprintf("%s-%d", p.name, k), func(b *testing.B) {
				r := rng.New(3)
				list, dst := make([][]uint8, k), make([]uint8, 672)
				for i := range list {
					list[i] = random(&r, len(dst))
				}
				weights := shares(&r, k, 24)
				b.SetBytes(int64(len(dst)))
				for b.Loop() {
					p.rows(dst, list, weights, 24)
				}
			})
		}
	}
}
