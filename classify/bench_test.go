package classify

import (
	"fmt"
	"math"
	"testing"

	"moco/evaluate"
	"moco/internal/rng"
)

// made is rows of length one as encoders make them: classes overlap, and a few directions hold most
// of the spread. Rows of other seeds come from the same classes.
func made(n, dim, classes int, seed uint64) *evaluate.Embedded {
	r := rng.New(1)
	centres := make([]float64, classes*dim)
	for i := range centres {
		centres[i] = 0.7 * r.Normal()
	}
	r = rng.New(2, seed)
	set := &evaluate.Embedded{Dim: dim, Features: make([]float32, n*dim), Labels: make([]int, n)}
	for c := range classes {
		set.Classes = append(set.Classes, fmt.Sprint("class ", c))
	}
	for i := range n {
		l, row, square := i%classes, set.Row(i), 0.0
		for j := range row {
			spread := math.Pow(1+float64(j), -0.6)
			v := 1 + spread*(centres[l*dim+j]+4*r.Normal())
			row[j], square = float32(v), square+v*v
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(square))
		}
		set.Labels[i] = l
	}
	return set
}

// BenchmarkFit fits 20 classes to rows of 512 features: all of it, with C chosen, calibration and
// estimate.
func BenchmarkFit(b *testing.B) {
	for _, n := range []int{200, 2000, 20_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			set := made(n, 512, 20, 0)
			for b.Loop() {
				if _, err := Fit(b.Context(), set, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefit fits again after one more label.
func BenchmarkRefit(b *testing.B) {
	for _, n := range []int{200, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			set := made(n, 512, 20, 0)
			set.Labels[n-1] = -1
			before, err := Fit(b.Context(), set, Options{})
			if err != nil {
				b.Fatal(err)
			}
			set.Labels[n-1] = 19
			for b.Loop() {
				if _, err := Fit(b.Context(), set, Options{From: before}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPredict predicts 100,000 rows of 512 features.
func BenchmarkPredict(b *testing.B) {
	set := made(100_000, 512, 20, 0)
	few := *set
	few.Features, few.Labels = set.Features[:2000*512], set.Labels[:2000]
	c, err := Fit(b.Context(), &few, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Predict(b.Context(), set); err != nil {
			b.Fatal(err)
		}
	}
}
