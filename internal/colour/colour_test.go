package colour

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"moco/internal/rng"
)

// eachKernel runs f for every path but the plain one, which is what the others are held to.
func eachKernel(t *testing.T, f func(t *testing.T, p path)) {
	t.Parallel()
	list := paths()
	if len(list) == 1 {
		t.Skip("NOT TESTED: this machine runs plain Go alone")
	}
	for _, p := range list[:len(list)-1] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f(t, p)
		})
	}
}

// same reports the first pixel that a kernel and plain Go change in different ways.
func same(t *testing.T, what string, before, got, want []uint8) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := 0; i < len(want); i += 3 {
		if !bytes.Equal(got[i:i+3], want[i:i+3]) {
			t.Fatalf("%s: pixel %d of %v becomes %v, want %v", what, i/3, before[i:i+3], got[i:i+3], want[i:i+3])
		}
	}
}

// TestEveryColour goes through all 1<<24 of them, with other factors and shifts for each of red.
func TestEveryColour(t *testing.T) {
	t.Parallel()
	kernels := paths()
	kernels = kernels[:len(kernels)-1]
	if len(kernels) == 0 {
		t.Skip("NOT TESTED: this machine runs plain Go alone")
	}
	all := make([]uint8, 3*256*256)
	got, want := make([]uint8, len(all)), make([]uint8, len(all))
	for red := range 256 {
		for i := range 256 * 256 {
			all[3*i], all[3*i+1], all[3*i+2] = uint8(red), uint8(i>>8), uint8(i)
		}
		r := rng.New(uint64(red))
		shift, factor := uint8(r.IntN(256)), float32(r.Uniform(0, 2))
		for _, c := range []struct {
			what string
			run  func(p path, pix []uint8)
		}{
			{fmt.Sprint("turn by ", shift), func(p path, pix []uint8) { p.turn(pix, shift) }},
			{fmt.Sprint("saturate by ", factor), func(p path, pix []uint8) { p.saturate(pix, factor) }},
			{"gray", func(p path, pix []uint8) { p.gray(pix) }},
		} {
			copy(want, all)
			c.run(portable, want)
			for _, p := range kernels {
				copy(got, all)
				c.run(p, got)
				same(t, p.name+", "+c.what, all, got, want)
			}
		}
		for _, p := range kernels {
			if got, want := p.sumLuma(all), portable.sumLuma(all); got != want {
				t.Fatalf("%s: the lumas with red %d add up to %d, want %d", p.name, red, got, want)
			}
		}
	}
}

// TestEveryHue turns a colour of every value and saturation by every angle.
func TestEveryHue(t *testing.T) {
	eachKernel(t, func(t *testing.T, p path) {
		var all []uint8
		for largest := range 256 {
			for smallest := range largest {
				all = append(all, uint8(largest), uint8(smallest), uint8(smallest))
			}
		}
		for shift := range 256 {
			got, want := bytes.Clone(all), bytes.Clone(all)
			p.turn(got, uint8(shift))
			portable.turn(want, uint8(shift))
			same(t, fmt.Sprint("turn by ", shift), all, got, want)
		}
	})
}

// TestBlend has every value, and factors far beyond what views are drawn with.
func TestBlend(t *testing.T) {
	eachKernel(t, func(t *testing.T, p path) {
		all := make([]uint8, 3*256)
		for i := range all {
			all[i] = uint8(i)
		}
		for n := range 3000 {
			r := rng.New(uint64(n))
			factor, level := float32(r.Uniform(0, 3)), float32(r.IntN(256))
			switch n % 10 {
			case 0:
				level = 0
			case 1:
				factor = float32(n) * 1e20
			}
			got, want := bytes.Clone(all), bytes.Clone(all)
			p.blend(got, factor, level)
			portable.blend(want, factor, level)
			same(t, fmt.Sprintf("blend by %v from %v", factor, level), all, got, want)
		}
	})
}

// TestLengths has few pixels at odd addresses, and bytes beside them that must not change.
func TestLengths(t *testing.T) {
	eachKernel(t, func(t *testing.T, p path) {
		const margin = 40
		r := rng.New(1)
		for n := range 80 {
			all := make([]uint8, 3*n+2*margin+n%3)
			for i := range all {
				all[i] = uint8(r.Uint64())
			}
			for name, run := range map[string]func(p path, pix []uint8){
				"blend":    func(p path, pix []uint8) { p.blend(pix, 1.3, 100) },
				"saturate": func(p path, pix []uint8) { p.saturate(pix, 0.4) },
				"gray":     func(p path, pix []uint8) { p.gray(pix) },
				"turn":     func(p path, pix []uint8) { p.turn(pix, 77) },
				"sumLuma": func(p path, pix []uint8) {
					if got, want := p.sumLuma(pix), sumLuma(pix); got != want {
						t.Errorf("the lumas of %d pixels add up to %d, want %d", n, got, want)
					}
				},
			} {
				got, want, from := bytes.Clone(all), bytes.Clone(all), margin+n%3
				run(p, got[from:from+3*n:from+3*n])
				run(portable, want[from:from+3*n])
				if !bytes.Equal(got, want) {
					t.Errorf("%s of %d pixels: the bytes are not those of plain Go", name, n)
				}
			}
		}
	})
}

// TestNormal has every value in every channel, in order and mirrored, at every length, for means and
// deviations of data sets and for some that are hard to divide by.
func TestNormal(t *testing.T) {
	eachKernel(t, func(t *testing.T, p path) {
		r := rng.New(6)
		for n := range 300 {
			mean, std := [3]float32{0.485, 0.456, 0.406}, [3]float32{0.229, 0.224, 0.225}
			if n%2 == 1 {
				for c := range mean {
					mean[c], std[c] = float32(r.Float64()), float32(r.Uniform(0.01, 1))
				}
			}
			if n == 99 {
				std = [3]float32{math.Nextafter32(1, 0), math.Nextafter32(2, 0), 1}
			}
			var by Normal
			by.Set(mean, std)
			pix := make([]uint8, 3*n)
			for i := range pix {
				pix[i] = uint8(r.Uint64())
			}
			for name, run := range map[string]func(p path, dst []float32){
				"floats":   func(p path, dst []float32) { p.floats(dst, pix, &by) },
				"mirrored": func(p path, dst []float32) { p.mirrored(dst, pix, &by) },
			} {
				got, want := make([]float32, len(pix)+20), make([]float32, len(pix)+20)
				run(p, got[10:10+len(pix)])
				run(portable, want[10:10+len(pix)])
				if !slices.Equal(got, want) {
					t.Fatalf("%s of %d pixels, mean %v, std %v: %v, want %v", name, n, mean, std, got, want)
				}
			}
		}
	})
}

// TestNormalFallsBack: where the kernels would round a quotient otherwise, the table is used.
func TestNormalFallsBack(t *testing.T) {
	t.Parallel()
	var by Normal
	by.Set([3]float32{}, [3]float32{1e-39, 1, 1}) // its inverse is infinite
	got, want := make([]float32, 3*64), make([]float32, 3*64)
	pix := bytes.Repeat([]byte{0, 7, 255, 90}, 48)
	by.Floats(got, pix)
	portable.floats(want, pix, &by)
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("value %d becomes %v, want %v", pix[i], got[i], want[i])
		}
	}
}

func BenchmarkOperations(b *testing.B) {
	pix := make([]uint8, 3*224*224)
	r := rng.New(1)
	for i := range pix {
		pix[i] = uint8(r.Uint64())
	}
	for _, p := range paths() {
		for name, run := range map[string]func(){
			"blend":    func() { p.blend(pix, 1, 128) },
			"saturate": func() { p.saturate(pix, 1) },
			"gray":     func() { p.gray(pix) },
			"turn":     func() { p.turn(pix, 85) },
			"sumLuma":  func() { p.sumLuma(pix) },
		} {
			b.Run(p.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(pix)))
				for b.Loop() {
					run()
				}
			})
		}
	}
}
