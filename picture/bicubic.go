package picture

import (
	"image"
	"math"

	"moco/internal/taps"
)

// Filter is what a picture is weighted by where it is resized.
type Filter uint8

// The filters, as PIL has them.
const (
	Bilinear Filter = iota // a triangle: what most of torchvision's encoders were made with
	Bicubic                // Keys' cubic with a = -0.5, which sharpens: what many transformers see
)

// cubicWindow is the pixels of a row that make one of another: len(weights) of them from first on, with
// weights in units of 1/(1<<taps.Precision), some of them negative.
type cubicWindow struct {
	first   int
	weights []int32
}

// bicubic is Resize with the filter Bicubic. It is plain Go: only the one view of evaluation uses it.
func (z *Resizer) bicubic(dst, src *Image, part image.Rectangle) {
	columns, rows := cubicWindows(part.Dx(), dst.Width), cubicWindows(part.Dy(), dst.Height)
	lines := make([]uint8, 3*dst.Width*part.Dy())
	for y := range part.Dy() {
		from := src.Pix[3*((part.Min.Y+y)*src.Width+part.Min.X):]
		for x, w := range columns {
			weigh(lines[3*(y*dst.Width+x):][:3], from[3*w.first:], 3, w.weights)
		}
	}
	for y, w := range rows {
		for x := range dst.Width {
			weigh(dst.Pix[3*(y*dst.Width+x):][:3], lines[3*(w.first*dst.Width+x):], 3*dst.Width, w.weights)
		}
	}
}

// weigh makes a pixel of those that lie stride bytes apart.
func weigh(dst, src []uint8, stride int, weights []int32) {
	for channel := range dst {
		sum := int32(1) << (taps.Precision - 1)
		for i, w := range weights {
			sum += w * int32(src[i*stride+channel])
		}
		dst[channel] = uint8(min(max(sum>>taps.Precision, 0), 255))
	}
}

// cubicWindows are the windows of `out` pixels over `in`.
func cubicWindows(in, out int) []cubicWindow {
	scale := float64(in) / float64(out)
	wide := max(scale, 1)
	windows := make([]cubicWindow, out)
	for o := range windows {
		centre := (float64(o) + 0.5) * scale
		lo, hi := max(int(centre-2*wide+0.5), 0), min(int(centre+2*wide+0.5), in)
		shares, sum := make([]float64, hi-lo), 0.0
		for i := range shares {
			shares[i] = cubic((float64(lo+i) - centre + 0.5) / wide)
			sum += shares[i]
		}
		w := cubicWindow{lo, make([]int32, hi-lo)}
		for i, share := range shares {
			w.weights[i] = int32(math.Round(share / sum * (1 << taps.Precision)))
		}
		windows[o] = w
	}
	return windows
}

// cubic is the convolution kernel of bicubic interpolation (Keys 1981) with a = -0.5.
func cubic(x float64) float64 {
	switch x = math.Abs(x); {
	case x < 1:
		return (1.5*x-2.5)*x*x + 1
	case x < 2:
		return ((-0.5*x+2.5)*x-4)*x + 2
	}
	return 0
}
