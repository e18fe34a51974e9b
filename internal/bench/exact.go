package bench

import (
	"math"
	"runtime"

	"golang.org/x/sync/errgroup"

	"moco/graph"
	"moco/internal/rng"
)

// convolution computes single outputs in float64, straight from the equations in package graph. The
// definitions that engines are held to compute whole results, which for one layer at ImageNet's
// size takes minutes; some hundred outputs are enough here, and a test holds them to those
// definitions.
type convolution struct {
	Form
	precision  graph.Precision // of the operands x and dy, and of y where it is an activation
	outH, outW int
	x, w, dy   []float32 // [N,H,W,C], [O,C,k,k], [N,outH,outW,O]; those that are operands
}

func newConvolution(f Form) *convolution {
	out := func(in int) int { return (in+2*f.Pad-f.Kernel)/f.Stride + 1 }
	return &convolution{Form: f, outH: out(f.Height), outW: out(f.Width)}
}

// samples is how many outputs an error is taken over.
const samples = 256

func (c *convolution) error(which pass, y []float32, random *rng.Source) float64 {
	places := make([]int, samples)
	for i := range places {
		places[i] = random.IntN(len(y))
	}
	places[0], places[1] = 0, len(y)-1
	got := make([]float64, samples)
	for i, place := range places {
		got[i] = float64(y[place])
	}
	return relative(got, c.outputs(which, places))
}

// relative is the largest difference of numbers to what they should be, over the root mean square of
// the latter.
func relative(got, want []float64) float64 {
	var largest, square float64
	for i, v := range want {
		d := math.Abs(got[i] - v)
		if math.IsNaN(d) {
			d = math.MaxFloat64 // JSON has no NaN
		}
		largest = max(largest, d)
		square += v * v / float64(len(want))
	}
	return min(largest/max(math.Sqrt(square), 1e-30), math.MaxFloat64)
}

// outputs computes the outputs at some places.
func (c *convolution) outputs(which pass, places []int) []float64 {
	want := make([]float64, len(places))
	part := func(lo, hi int) {
		switch which {
		case forward:
			for i := lo; i < hi; i++ {
				want[i] = c.forward(places[i])
			}
		case dataGradient:
			for i := lo; i < hi; i++ {
				want[i] = c.dataGradient(places[i])
			}
		default:
			for n := range c.images { // an image stays in the cache for all samples
				for i := lo; i < hi; i++ {
					want[i] += c.weightGradient(places[i], n)
				}
			}
		}
	}
	var workers errgroup.Group
	each := (len(places) + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
	for lo := 0; lo < len(places); lo += each {
		workers.Go(func() error {
			part(lo, min(lo+each, len(places)))
			return nil
		})
	}
	workers.Wait()
	return want
}

// forward is y at a place: the sum over c,u,v of x[n, i*stride-pad+u, j*stride-pad+v, c] *
// w[o,c,u,v].
func (c *convolution) forward(place int) float64 {
	o, j, i, n := place%c.Out, place/c.Out%c.outW, place/c.Out/c.outW%c.outH, place/c.Out/c.outW/c.outH
	var sum float64
	for u := range c.Kernel {
		for v := range c.Kernel {
			h, w := i*c.Stride-c.Pad+u, j*c.Stride-c.Pad+v
			if h < 0 || h >= c.Height || w < 0 || w >= c.Width {
				continue
			}
			for ch := range c.In {
				sum += float64(c.x[((n*c.Height+h)*c.Width+w)*c.In+ch]) * float64(c.w[((o*c.In+ch)*c.Kernel+u)*c.Kernel+v])
			}
		}
	}
	return sum
}

// dataGradient is dx at a place: the sum over all y that it went into.
func (c *convolution) dataGradient(place int) float64 {
	ch, w, h, n := place%c.In, place/c.In%c.Width, place/c.In/c.Width%c.Height, place/c.In/c.Width/c.Height
	var sum float64
	for u := range c.Kernel {
		for v := range c.Kernel {
			i, j := h+c.Pad-u, w+c.Pad-v
			if i < 0 || j < 0 || i%c.Stride != 0 || j%c.Stride != 0 || i/c.Stride >= c.outH || j/c.Stride >= c.outW {
				continue
			}
			y := ((n*c.outH+i/c.Stride)*c.outW + j/c.Stride) * c.Out
			for o := range c.Out {
				sum += float64(c.dy[y+o]) * float64(c.w[((o*c.In+ch)*c.Kernel+u)*c.Kernel+v])
			}
		}
	}
	return sum
}

// weightGradient is the share of image n in dw at a place.
func (c *convolution) weightGradient(place, n int) float64 {
	v, u, ch, o := place%c.Kernel, place/c.Kernel%c.Kernel, place/c.Kernel/c.Kernel%c.In, place/c.Kernel/c.Kernel/c.In
	var sum float64
	for i := range c.outH {
		h := i*c.Stride - c.Pad + u
		if h < 0 || h >= c.Height {
			continue
		}
		for j := range c.outW {
			if w := j*c.Stride - c.Pad + v; w >= 0 && w < c.Width {
				sum += float64(c.dy[((n*c.outH+i)*c.outW+j)*c.Out+o]) * float64(c.x[((n*c.Height+h)*c.Width+w)*c.In+ch])
			}
		}
	}
	return sum
}
