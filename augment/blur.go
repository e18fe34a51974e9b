package augment

import (
	"math"
	"slices"

	"moco/internal/taps"
)

// blurrer is PIL's Gaussian blur: three passes each way of a box whose borders count for a part, so
// that the variance is sigma's (Gwosdek et al. 2011). It keeps its memory for the next picture.
type blurrer struct {
	other []uint8 // the picture before or after a pass
	line  []uint8 // a row with its ends repeated
	rows  [][]uint8
	box   taps.Box // of as many rows
}

// blurPasses is how often the box goes over a picture in each direction.
const blurPasses = 3

// run blurs a picture of rows of three bytes a pixel.
func (b *blurrer) run(pix []uint8, width int, sigma float64) {
	b.weigh(boxRadius(sigma))
	b.other = slices.Grow(b.other[:0], len(pix))[:len(pix)]
	from, to := pix, b.other
	for range blurPasses {
		b.across(to, from, 3*width)
		from, to = to, from
	}
	for range blurPasses {
		b.down(to, from, 3*width)
		from, to = to, from
	}
	if &from[0] != &pix[0] {
		copy(pix, from)
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

// across averages along the rows. Pixels beyond the ends are those at the ends.
func (b *blurrer) across(dst, src []uint8, stride int) {
	margin := 3 * (len(b.rows) / 2)
	b.line = slices.Grow(b.line[:0], stride+2*margin)[:stride+2*margin]
	for k := range b.rows {
		b.rows[k] = b.line[3*k:][:stride]
	}
	for at := 0; at < len(src); at += stride {
		row := src[at : at+stride]
		copy(b.line[margin:], row)
		for i := range margin {
			b.line[i] = row[i%3]
			b.line[margin+stride+i] = row[stride-3+i%3]
		}
		b.box.Rows(dst[at:at+stride], b.rows)
	}
}

// down averages along the columns. Pixels beyond the ends are those at the ends.
func (b *blurrer) down(dst, src []uint8, stride int) {
	height, reach := len(src)/stride, len(b.rows)/2
	for y := range height {
		for k := range b.rows {
			from := min(max(y+k-reach, 0), height-1) * stride
			b.rows[k] = src[from : from+stride]
		}
		b.box.Rows(dst[y*stride:(y+1)*stride], b.rows)
	}
}
