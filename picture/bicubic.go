package picture

import (
	"image"
	"math"
	"slices"

	"moco/internal/cubic"
	"moco/internal/taps"
)

// cubicWindows are the pixels of a row that make those of another: windows of `most` weights or
// less, in units of 1/(1<<taps.Precision), some of them negative.
type cubicWindows struct {
	in, out, most int
	first, count  []int
	weights       []int32
}

// Bicubic is Resize by PIL's bicubic filter, which sharpens. It is plain Go, since only the view of
// evaluation is made so: taps has no negative weights.
func (z *Resizer) Bicubic(dst, src *Image, part image.Rectangle) {
	columns, rows, width := &z.cubic.columns, &z.cubic.rows, 3*dst.Width
	columns.set(part.Dx(), dst.Width)
	rows.set(part.Dy(), dst.Height)
	z.cubic.lines = slices.Grow(z.cubic.lines[:0], width*part.Dy())[:width*part.Dy()]
	for y := range part.Dy() {
		to := z.cubic.lines[y*width:][:width]
		from := src.Pix[3*((part.Min.Y+y)*src.Width+part.Min.X):]
		for x := range dst.Width {
			red, green, blue := half, half, half
			near := from[3*columns.first[x]:]
			for i, w := range columns.of(x) {
				red += w * int32(near[3*i])
				green += w * int32(near[3*i+1])
				blue += w * int32(near[3*i+2])
			}
			to[3*x], to[3*x+1], to[3*x+2] = eightBits(red), eightBits(green), eightBits(blue)
		}
	}
	z.cubic.sums = slices.Grow(z.cubic.sums[:0], width)[:width]
	sums := z.cubic.sums
	for y := range dst.Height {
		for i := range sums {
			sums[i] = half
		}
		for i, w := range rows.of(y) {
			for j, v := range z.cubic.lines[(rows.first[y]+i)*width:][:width] {
				sums[j] += w * int32(v)
			}
		}
		to := dst.row(y)
		for i, sum := range sums {
			to[i] = eightBits(sum)
		}
	}
}

// half is what rounds a sum to the nearest.
const half = int32(1) << (taps.Precision - 1)

// eightBits is a sum as a pixel's value. Negative weights reach beyond those that there are.
func eightBits(sum int32) uint8 { return uint8(min(max(sum>>taps.Precision, 0), 255)) }

// of is the weights of pixel o.
func (w *cubicWindows) of(o int) []int32 { return w.weights[o*w.most:][:w.count[o]] }

// set computes the windows of `out` pixels over `in`, if they are not those of the last time.
func (w *cubicWindows) set(in, out int) {
	if w.in == in && w.out == out {
		return
	}
	scale := float64(in) / float64(out)
	wide := max(scale, 1)
	w.in, w.out, w.most = in, out, 2*int(math.Ceil(2*wide))+1
	w.first, w.count = slices.Grow(w.first[:0], out)[:out], slices.Grow(w.count[:0], out)[:out]
	w.weights = slices.Grow(w.weights[:0], out*w.most)[:out*w.most]
	for o := range out {
		centre := (float64(o) + 0.5) * scale
		lo, hi := max(int(centre-2*wide+0.5), 0), min(int(centre+2*wide+0.5), in)
		w.first[o], w.count[o] = lo, hi-lo
		share := func(i int) float64 { return cubic.Kernel((float64(lo+i)-centre+0.5)/wide, -0.5) }
		var sum float64
		for i := range hi - lo {
			sum += share(i)
		}
		for i := range hi - lo {
			w.weights[o*w.most+i] = int32(math.Round(share(i) / sum * (1 << taps.Precision)))
		}
	}
}
