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

// TestBox holds every path to exact sums, at every length, and with boxes too long for 16 bits.
func TestBox(t *testing.T) {
	t.Parallel()
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := rng.New(4)
			for n := range 100 {
				for _, k := range []int{3, 5, 9, 300} {
					list, b := make([][]uint8, k), Box{Shift: 24}
					for i := range list {
						list[i] = random(&r, n+5)[r.IntN(6):]
					}
					b.Middle = uint32(r.Float64() * (1 << 24) / float64(k-2))
					if n == 50 {
						b.Middle = 1 << 24 / uint32(k-2)
					}
					b.Edge = (1<<24 - uint32(k-2)*b.Middle) / 2
					dst, intact := guarded(&r, n)
					p.box(dst, list, b)
					for i, got := range dst {
						sum := uint64(1) << 23
						for j, row := range list {
							w := b.Middle
							if j == 0 || j == k-1 {
								w = b.Edge
							}
							sum += uint64(row[i]) * uint64(w)
						}
						if want := uint8(sum >> 24); got != want {
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

// someWindows are windows over rows of a number of pixels, some of which reach to their ends.
func someWindows(r *rng.Source, in, out int) *Windows {
	w := &Windows{Width: min(in, 1+r.IntN(11))}
	for range out {
		count := 1 + r.IntN(w.Width)
		w.Count, w.First = append(w.Count, int32(count)), append(w.First, int32(r.IntN(in-count+1)))
		w.Factors = append(w.Factors, shares(r, count, Precision)...)
		w.Factors = append(w.Factors, make([]uint32, w.Width-count)...)
	}
	return w
}

// TestPixels holds every path to exact sums, for few rows and many, with and without room behind
// the source's.
func TestPixels(t *testing.T) {
	t.Parallel()
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := rng.New(2)
			for in := 1; in < 40; in++ {
				for out := range 40 {
					w, height := someWindows(&r, in, out), r.IntN(6)
					src := Lines{Stride: 3*in + r.IntN(3), Rows: height}
					src.Pix = random(&r, max(0, src.Stride*(height-1)+3*in))
					dst := Lines{Stride: 3*out + 1 + r.IntN(3), Rows: height}
					var intact func() bool
					dst.Pix, intact = guarded(&r, max(0, dst.Stride*(height-1)+3*out+1))
					p.pixels(dst, src, w)
					for i := range 3 * out * height {
						y, i := i/(3*out), i%(3*out)
						sum := uint64(1) << (Precision - 1)
						for k := range int(w.Count[i/3]) {
							v := src.Pix[y*src.Stride+3*(int(w.First[i/3])+k)+i%3]
							sum += uint64(v) * uint64(w.Factors[i/3*w.Width+k])
						}
						if got, want := dst.Pix[y*dst.Stride+i], uint8(sum>>Precision); got != want {
							t.Fatalf("%d pixels of %d, row %d of %d: value %d is %d, want %d", out, in, y, height, i, got, want)
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
