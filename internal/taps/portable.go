package taps

var portable = path{"portable", rows, box, pixels}

func rows(dst []uint8, rows [][]uint8, weights []uint32, shift uint) {
	var sums [64]uint32
	half := uint32(1) << (shift - 1)
	for at := 0; at < len(dst); at += len(sums) {
		out := dst[at:min(at+len(sums), len(dst))]
		acc := sums[:len(out)]
		for i := range acc {
			acc[i] = half
		}
		for k, w := range weights {
			row := rows[k][at:][:len(acc)]
			for i, v := range row {
				acc[i] += w * uint32(v)
			}
		}
		for i, s := range acc {
			out[i] = uint8(s >> shift)
		}
	}
}

func box(dst []uint8, rows [][]uint8, b Box) {
	var sums [64]uint32
	half, last := uint32(1)<<(b.Shift-1), len(rows)-1
	for at := 0; at < len(dst); at += len(sums) {
		out := dst[at:min(at+len(sums), len(dst))]
		acc := sums[:len(out)]
		clear(acc)
		for _, row := range rows[1:last] {
			for i, v := range row[at:][:len(acc)] {
				acc[i] += uint32(v)
			}
		}
		from, to := rows[0][at:][:len(acc)], rows[last][at:][:len(acc)]
		for i, s := range acc {
			out[i] = uint8((s*b.Middle + (uint32(from[i])+uint32(to[i]))*b.Edge + half) >> b.Shift)
		}
	}
}

func pixels(dst, src Lines, w *Windows) {
	for y := range dst.Rows {
		from, to := src.Pix[y*src.Stride:], dst.Pix[y*dst.Stride:]
		for o := range w.First {
			pixel((*[3]uint8)(to[3*o:]), from[3*w.First[o]:], w.Factors[o*w.Width:][:w.Count[o]])
		}
	}
}

// pixel is one weighted sum.
func pixel(dst *[3]uint8, src []uint8, factors []uint32) {
	const half = 1 << (Precision - 1)
	r, g, b := uint32(half), uint32(half), uint32(half)
	src = src[:3*len(factors)]
	for _, f := range factors {
		r += f * uint32(src[0])
		g += f * uint32(src[1])
		b += f * uint32(src[2])
		src = src[3:]
	}
	dst[0], dst[1], dst[2] = uint8(r>>Precision), uint8(g>>Precision), uint8(b>>Precision)
}
