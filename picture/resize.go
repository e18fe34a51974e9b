package picture

import (
	"image"
	"math"
	"slices"

	"moco/internal/taps"
)

// Resizer resizes pictures as PIL does, with antialiasing, first along rows, then along columns, with
// 8-bit values in between. It keeps its memory for the next picture. The zero value is ready. It is
// not safe for concurrent use.
type Resizer struct {
	columns, rows taps.Windows
	lines         taps.Lines // rows after the first pass
	shares        []float64
	near          [][]uint8 // those that make a row of the result

	cubic struct {
		columns, rows cubicWindows
		lines         []uint8
		sums          []int32
	}
}

// prepare computes the weights for `out` outputs over `in` inputs.
func (z *Resizer) prepare(w *taps.Windows, in, out int) {
	scale := float64(in) / float64(out)
	support := max(scale, 1)
	w.Width = int(math.Ceil(support))*2 + 1
	w.First, w.Count = slices.Grow(w.First[:0], out)[:out], slices.Grow(w.Count[:0], out)[:out]
	w.Factors = slices.Grow(w.Factors[:0], out*w.Width)[:out*w.Width]
	z.shares = slices.Grow(z.shares[:0], w.Width)[:w.Width]
	inverse := 1 / support
	for o := range out {
		centre := (float64(o) + 0.5) * scale
		lo := max(int(centre-support+0.5), 0)
		hi := min(int(centre+support+0.5), in)
		var sum float64
		for i := lo; i < hi; i++ {
			share := 1 - math.Abs((float64(i)-centre+0.5)*inverse)
			if share < 0 {
				share = 0
			}
			z.shares[i-lo] = share
			sum += share
		}
		for i := range hi - lo {
			w.Factors[o*w.Width+i] = uint32(0.5 + z.shares[i]/sum*(1<<taps.Precision))
		}
		w.First[o], w.Count[o] = int32(lo), int32(hi-lo)
	}
}

// Resize resizes a part of src, which must lie within it, to dst, which must not be src. Dst has its
// size already. The filter is PIL's bilinear one: a triangle as wide as the scale.
func (z *Resizer) Resize(dst, src *Image, part image.Rectangle) {
	z.prepare(&z.columns, part.Dx(), dst.Width)
	z.prepare(&z.rows, part.Dy(), dst.Height)
	z.lines.Stride, z.lines.Rows = 3*dst.Width+1, part.Dy() // a byte more, as Pixels needs it
	size := z.lines.Stride * z.lines.Rows
	z.lines.Pix = slices.Grow(z.lines.Pix[:0], size)[:size]
	from := taps.Lines{Pix: src.Pix[3*(part.Min.Y*src.Width+part.Min.X):], Stride: 3 * src.Width, Rows: part.Dy()}
	taps.Pixels(z.lines, from, &z.columns)
	for o := range dst.Height {
		first, count := int(z.rows.First[o]), int(z.rows.Count[o])
		z.near = z.near[:0]
		for k := range count {
			z.near = append(z.near, z.lines.Pix[(first+k)*z.lines.Stride:][:3*dst.Width])
		}
		taps.Rows(dst.row(o), z.near, z.rows.Factors[o*z.rows.Width:][:count], taps.Precision)
	}
}

// Reduce writes src to dst, reduced as the options' Side says, and returns dst; a picture that stays as
// it is is returned itself.
func (z *Resizer) Reduce(dst, src *Image, o Options) *Image {
	w, h := o.Reduced(src.Width, src.Height)
	if w == src.Width && h == src.Height {
		return src
	}
	dst.Resize(w, h)
	z.Resize(dst, src, src.Bounds())
	return dst
}
