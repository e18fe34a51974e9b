package picture

import "encoding/binary"

// Reduced returns the size of a picture of width x height pixels once its shorter side is reduced to
// side: the longer one keeps its proportion, rounded to the nearest pixel. A picture whose shorter
// side is not larger stays as it is, and so does every picture where side is 0.
//
// Options.Side reduces by the resize of [Resizer], once the picture is decoded and upright.
func Reduced(width, height, side int) (int, int) {
	short, long := min(width, height), max(width, height)
	if side <= 0 || short <= side {
		return width, height
	}
	long = int((int64(long)*int64(side)*2 + int64(short)) / (2 * int64(short)))
	if width < height {
		return side, long
	}
	return long, side
}

// Reduced returns the size of a picture of width x height pixels once it is reduced as Side and
// Longest say, as the function of this name does for the shorter side.
func (o Options) Reduced(width, height int) (int, int) {
	long := max(width, height)
	if !o.Longest || o.Side <= 0 {
		return Reduced(width, height, o.Side)
	}
	if long <= o.Side {
		return width, height
	}
	short := max(1, int((int64(min(width, height))*int64(o.Side)*2+int64(long))/(2*int64(long))))
	if width < height {
		return short, o.Side
	}
	return o.Side, short
}

// needed returns the shorter side that a picture must have before it is resized, so that nothing is
// enlarged; 0 if none is reduced.
func (o Options) needed(width, height int) int {
	if !o.Longest || o.Side <= 0 {
		return o.Side
	}
	long, short := max(width, height), min(width, height)
	if long <= o.Side {
		return short
	}
	return int((int64(short)*int64(o.Side) + int64(long) - 1) / int64(long)) // rounded up
}

// reducible is how many times MaxPixels a picture may have that can be averaged down while it is
// read.
const reducible = 10

// widest is the longest row, in pixels, of such a picture.
const widest = 1 << 20

// reduction returns the whole factor that a picture above the limit is to be reduced by, row for
// row, so that it fits; 0 if its format does not allow it, or it is larger by far.
func reduction(h Header, content []byte, limit int) int {
	if h.Format != "png" || h.Width > widest || h.Width > reducible*limit/h.Height || pngInterlaced(content) {
		return 0
	}
	k := 2
	for ceil(h.Width, k) > limit/ceil(h.Height, k) {
		k++
	}
	return k
}

// ceil returns a/b, rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }

// pngInterlaced looks into IHDR.
func pngInterlaced(content []byte) bool {
	const at = pngHead + 8 + 12
	return len(content) <= at || content[at] != 0 || binary.BigEndian.Uint32(content[pngHead:]) < 13
}

// reducer averages squares of factor x factor pixels, fewer at the right and lower edges.
type reducer struct {
	factor int
	width  int      // of a row that goes in
	row    []uint8  // one such row
	sums   []uint32 // over the rows so far
	rows   int
}

func newReducer(factor, width int) *reducer {
	r := &reducer{factor: factor, width: width}
	r.row, r.sums = make([]uint8, 3*width), make([]uint32, 3*ceil(width, factor))
	return r
}

// add takes what is in r.row for row y of the large picture; after the last row of a square it
// writes to dst.
func (r *reducer) add(dst *Image, y int, last bool) {
	for i, x := 0, 0; x < r.width; i++ {
		sum := r.sums[3*i:][:3]
		for range min(r.factor, r.width-x) {
			p := r.row[3*x:][:3]
			sum[0] += uint32(p[0])
			sum[1] += uint32(p[1])
			sum[2] += uint32(p[2])
			x++
		}
	}
	r.rows++
	if r.rows < r.factor && !last {
		return
	}
	out := dst.row(y / r.factor)
	for i := range dst.Width {
		n := uint32(r.rows * min(r.factor, r.width-i*r.factor))
		for c := range 3 {
			out[3*i+c] = uint8((r.sums[3*i+c] + n/2) / n)
		}
	}
	clear(r.sums)
	r.rows = 0
}
