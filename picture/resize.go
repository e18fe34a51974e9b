package picture

import (
	"image"
	"math"
	"slices"
)

// Resizer resizes pictures as PIL's bilinear resize does, with antialiasing: each output is a
// weighted mean under a triangle as wide as the scale, first along rows, then along columns, with
// 8-bit values in between. It keeps its memory for the next picture. The zero value is ready. It is
// not safe for concurrent use.
type Resizer struct {
	columns, rows weights
	lines         []uint8 // rows after the first pass
}

// weights are the contributions to each output along one axis, in fixed point.
type weights struct {
	first, count []int
	factor       []int32 // width of them for each output
	width        int
}

// precision is the number of fractional bits of a weight: 32 less 8 for the value and 2 for the
// sum.
const precision = 32 - 8 - 2

// prepare computes the weights for `out` outputs over `in` inputs.
func (w *weights) prepare(in, out int) {
	scale := float64(in) / float64(out)
	support := max(scale, 1)
	w.width = int(math.Ceil(support))*2 + 1
	w.first, w.count = slices.Grow(w.first[:0], out)[:out], slices.Grow(w.count[:0], out)[:out]
	w.factor = slices.Grow(w.factor[:0], out*w.width)[:out*w.width]
	inverse := 1 / support
	var share [64]float64
	shares := share[:]
	if w.width > len(share) {
		shares = make([]float64, w.width) // pictures are made more than thirty times smaller
	}
	for o := range out {
		centre := (float64(o) + 0.5) * scale
		lo := max(int(centre-support+0.5), 0)
		hi := min(int(centre+support+0.5), in)
		var sum float64
		for i := lo; i < hi; i++ {
			share := max(0, 1-math.Abs((float64(i)-centre+0.5)*inverse))
			shares[i-lo] = share
			sum += share
		}
		for i := range hi - lo {
			w.factor[o*w.width+i] = int32(0.5 + shares[i]/sum*(1<<precision))
		}
		w.first[o], w.count[o] = lo, hi-lo
	}
}

// Resize resizes a part of src, which must lie within it, to dst, which must not be src. Dst has its
// size already.
func (z *Resizer) Resize(dst, src *Image, part image.Rectangle) {
	z.columns.prepare(part.Dx(), dst.Width)
	z.rows.prepare(part.Dy(), dst.Height)
	stride := 3 * dst.Width
	z.lines = slices.Grow(z.lines[:0], part.Dy()*stride)[:part.Dy()*stride]
	for y := range part.Dy() {
		z.across(z.lines[y*stride:(y+1)*stride], src.row(part.Min.Y + y)[3*part.Min.X:3*part.Max.X])
	}
	for o := range dst.Height {
		z.down(dst.row(o), o)
	}
}

// Reduce writes src to dst with its shorter side reduced to side, as Options.Side does, and returns
// dst; a picture that stays as it is is returned itself.
func (z *Resizer) Reduce(dst, src *Image, side int) *Image {
	w, h := Reduced(src.Width, src.Height, side)
	if w == src.Width {
		return src
	}
	dst.Resize(w, h)
	z.Resize(dst, src, src.Bounds())
	return dst
}

// across resizes one row.
func (z *Resizer) across(line, src []uint8) {
	for o := range z.columns.first {
		r, g, b := int32(1<<(precision-1)), int32(1<<(precision-1)), int32(1<<(precision-1))
		pixels := src[3*z.columns.first[o]:]
		for i, f := range z.columns.factor[o*z.columns.width:][:z.columns.count[o]] {
			p := pixels[3*i : 3*i+3]
			r += f * int32(p[0])
			g += f * int32(p[1])
			b += f * int32(p[2])
		}
		line[3*o], line[3*o+1], line[3*o+2] = uint8(r>>precision), uint8(g>>precision), uint8(b>>precision)
	}
}

// down makes row o of the result from z.lines.
func (z *Resizer) down(out []uint8, o int) {
	stride := len(out)
	factors := z.rows.factor[o*z.rows.width:][:z.rows.count[o]]
	first := z.lines[z.rows.first[o]*stride:]
	switch len(factors) {
	case 1:
		copy(out, first[:stride])
	case 2: // enlarging: two neighbouring rows
		a, b := first[:stride], first[stride:2*stride]
		fa, fb := factors[0], factors[1]
		for i := range out {
			out[i] = uint8((1<<(precision-1) + fa*int32(a[i]) + fb*int32(b[i])) >> precision)
		}
	default:
		for i := range out {
			sum := int32(1 << (precision - 1))
			for k, f := range factors {
				sum += f * int32(first[k*stride+i])
			}
			out[i] = uint8(sum >> precision)
		}
	}
}
