//go:build unix

package augment

import (
	"fmt"
	"math"
	"syscall"
	"testing"

	"moco/data"
	"moco/internal/rng"
)

// scene is a picture of the kind that photographs are: colours that change slowly, with a little
// noise. In pure noise each pixel would lie in another sector of the hue's circle, and plain code
// would seem slower than it is.
func scene(w, h int) *data.Image {
	img := &data.Image{Width: w, Height: h, Pix: make([]uint8, 3*w*h)}
	r := rng.New(uint64(w), uint64(h))
	for i := range img.Pix {
		c, x, y := i%3, float64(i/3%w)/float64(w), float64(i/3/w)/float64(h)
		wave := math.Sin(5*x+float64(2*c)+3*y*y) + math.Sin(7*y-float64(c)+4*x*y)
		img.Pix[i] = uint8(120 + 55*wave + 8*r.Float64())
	}
	return img
}

// BenchmarkView draws views of pictures as large as views are drawn from. us/view is the processor
// time of a view: on a busy machine the time by the clock says little.
func BenchmarkView(b *testing.B) {
	for _, c := range []struct {
		policy     string
		size, w, h int
	}{{"cifar", 32, 32, 32}, {"v2", 64, 192, 144}, {"v1", 224, 672, 504}, {"v2", 224, 672, 504}} {
		b.Run(fmt.Sprintf("%s-%d", c.policy, c.size), func(b *testing.B) {
			p, err := Named(c.policy, c.size)
			if err != nil {
				b.Fatal(err)
			}
			img, dst, s, i := scene(c.w, c.h), make([]float32, c.size*c.size*3), &Scratch{}, uint64(0)
			before := processorTime(b)
			for b.Loop() {
				r := rng.New(i)
				i++
				p.View(dst, img, &r, s)
			}
			b.ReportMetric(float64(processorTime(b)-before)/1e3/float64(b.N), "us/view")
		})
	}
}

// processorTime is what this process has taken so far, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
