package augment

import (
	"math"
	"slices"

	"moco/internal/taps"
)

// blurrer is PIL's Gaussian blur: three passes each way of a box whose borders count for a part, so
// that the variance is sigma's (Gwosdek et al. 2011). It keeps its memory for the next picture.
type blurrer struct {
	from, to []uint8 // a picture with margins, before and after a pass
	rows     [][]uint8
	box      taps.Box // of as many rows
}

// blurPasses is how often the box goes over a picture in each direction.
const blurPasses = 3

// run blurs a picture of rows of three bytes a pixel. Pixels beyond the ends are those at the ends.
func (b *blurrer) run(pix []uint8, width int, sigma float64) {
	b.weigh(boxRadius(sigma))
	margin, length := 3*(len(b.rows)/2), 3*width
	stride := length + 2*margin
	size := len(pix) / length * stride
	b.from, b.to = slices.Grow(b.from[:0], size)[:size], slices.Grow(b.to[:0], size)[:size]
	for row, at := b.from, 0; at < len(pix); row, at = row[stride:], at+length {
		copy(row[margin:], pix[at:at+length])
	}
	for range blurPasses {
		pad(b.from, stride, margin)
		b.across(margin)
		b.from, b.to = b.to, b.from
	}
	for range blurPasses - 1 {
		b.down(b.to[margin:], stride, length, stride)
		b.from, b.to = b.to, b.from
	}
	b.down(pix, length, length, stride)
}

// pad repeats the pixels at both ends of each row in the margins beside them.
func pad(pix []uint8, stride, margin int) {
	for at := 0; at < len(pix); at += stride {
		row := pix[at : at+stride]
		for i := range margin {
			row[i] = row[margin+i%3]
			row[stride-margin+i] = row[stride-margin-3+i%3]
		}
	}
}

// boxRadius is half the length of the box, in pixels, less the half of the middle one.
func boxRadius(sigma float64) float32 {
	variance := float32(sigma) * float32(sigma) / blurPasses
	length := math.Sqrt(12*float64(variance) + 1)
	whole := math.Floor((length - 1) / 2)
	part := (2*whole + 1) * (whole*(whole+1) - 3*float64(variance)) / (6 * (float64(variance) - (whole+1)*(whole+1)))
	return float32(whole + part)
}

// boxPrecision is the number of fractional bits of the box's weights.
const boxPrecision = 24

// weigh sets the weights of the pixels in a box: equal ones, and on either side one for the part of
// a pixel.
func (b *blurrer) weigh(radius float32) {
	reach := int(radius)
	b.box = taps.Box{Middle: uint32(float32(1<<boxPrecision) / (radius*2 + 1)), Shift: boxPrecision}
	b.box.Edge = (1<<boxPrecision - uint32(reach*2+1)*b.box.Middle) / 2
	b.rows = slices.Grow(b.rows[:0], 2*reach+3)[:2*reach+3]
}

// across averages along the rows, all of which are one to it: what it makes of the margins means
// nothing.
func (b *blurrer) across(margin int) {
	n := len(b.from) - 2*margin
	for k := range b.rows {
		b.rows[k] = b.from[3*k:][:n]
	}
	b.box.Rows(b.to[margin:][:n], b.rows)
}

// down averages along the columns, to rows of `length` bytes that are `next` apart.
func (b *blurrer) down(dst []uint8, next, length, stride int) {
	height, reach := len(b.from)/stride, len(b.rows)/2
	margin := 3 * reach
	for y := range height {
		for k := range b.rows {
			from := min(max(y+k-reach, 0), height-1)*stride + margin
			b.rows[k] = b.from[from : from+length]
		}
		b.box.Rows(dst[y*next:][:length], b.rows)
	}
}
