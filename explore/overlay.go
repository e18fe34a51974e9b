package explore

import (
	"math"

	"moco/data"
)

// Features tolerate changes that make two photographs different, and how close they bring two
// different images depends on the encoder and its training. So the pairs that features propose are
// compared by overlaying their pixels.

const (
	thumbEdge = 32 // pixels a side of a thumbnail
	gridEdge  = 16 // points a side where two thumbnails are compared
	blurEdge  = 8  // pixels a side of the blurred thumbnail that rules most pairs out
	// maxCrop is, of thumbEdge, how much may be cut off an edge in all: an eighth.
	maxCrop = 4
	// Pairs whose blurred thumbnails correlate less than blurFloor are dropped.
	blurFloor = 0.4
)

// thumbnail is an image's grey values, scaled to a small square whatever the image's shape.
type thumbnail []uint8

// makeThumbnail averages the image's pixels over each of the thumbnail's. It interpolates along an
// edge that is shorter than the thumbnail's.
func makeThumbnail(img *data.Image) thumbnail {
	across, down := weights(img.Width), weights(img.Height)
	rows := make([]float32, img.Height*thumbEdge)
	for y := range img.Height {
		for x := range thumbEdge {
			var sum float32
			for i, w := range across[x].w {
				p := img.Pix[3*(y*img.Width+across[x].from+i):][:3]
				sum += w * (0.299*float32(p[0]) + 0.587*float32(p[1]) + 0.114*float32(p[2]))
			}
			rows[y*thumbEdge+x] = sum
		}
	}
	t := make(thumbnail, thumbEdge*thumbEdge)
	for y := range thumbEdge {
		for x := range thumbEdge {
			var sum float32
			for i, w := range down[y].w {
				sum += w * rows[(down[y].from+i)*thumbEdge+x]
			}
			t[y*thumbEdge+x] = uint8(min(255, sum+0.5))
		}
	}
	return t
}

// taps are the weights of consecutive pixels.
type taps struct {
	from int
	w    []float32
}

// weights gives, for each place of the thumbnail's edge, the taps on an edge of n pixels. They are
// a triangle, twice as wide as the larger of the two kinds of pixel.
func weights(n int) [thumbEdge]taps {
	var all [thumbEdge]taps
	scale := float64(n) / thumbEdge
	reach := max(1, scale)
	for i := range all {
		centre := (float64(i)+0.5)*scale - 0.5
		from, to := max(0, int(math.Ceil(centre-reach))), min(n-1, int(math.Floor(centre+reach)))
		t := taps{from: from}
		var sum float32
		for p := from; p <= to; p++ {
			w := float32(max(1e-6, 1-math.Abs(float64(p)-centre)/reach))
			t.w = append(t.w, w)
			sum += w
		}
		for j := range t.w {
			t.w[j] /= sum
		}
		all[i] = t
	}
	return all
}

// crop is where the grid's points lie on a thumbnail, if the other thumbnail shows only this part
// of it.
type crop [gridEdge * gridEdge]struct {
	at         int32 // the pixel above and to the left
	a, b, c, d float32
}

// crops are all parts that cut off whole pixels, as many in both directions. The first is the
// whole.
var crops = func() []crop {
	var all []crop
	for cut := range maxCrop + 1 {
		for top := range cut + 1 {
			for left := range cut + 1 {
				var c crop
				scale := float64(thumbEdge-cut) / gridEdge
				for i := range c {
					x, y := float64(left)+(float64(i%gridEdge)+0.5)*scale-0.5, float64(top)+(float64(i/gridEdge)+0.5)*scale-0.5
					fx, fy := math.Floor(x), math.Floor(y)
					u, v := float32(x-fx), float32(y-fy)
					c[i].at = int32(fy)*thumbEdge + int32(fx)
					c[i].a, c[i].b, c[i].c, c[i].d = (1-u)*(1-v), u*(1-v), (1-u)*v, u*v
				}
				all = append(all, c)
			}
		}
	}
	return all
}()

// sample reads a thumbnail at a crop's points and subtracts their mean. It returns the root of the
// sum of squares.
func (c *crop) sample(t thumbnail, out *[gridEdge * gridEdge]float32) float32 {
	var sum float32
	for i := range c {
		p := &c[i]
		above, below := t[p.at:p.at+2:p.at+2], t[p.at+thumbEdge:p.at+thumbEdge+2]
		out[i] = p.a*float32(above[0]) + p.b*float32(above[1]) + p.c*float32(below[0]) + p.d*float32(below[1])
		sum += out[i]
	}
	sum /= gridEdge * gridEdge
	var square float32
	for i := range out {
		out[i] -= sum
		square += out[i] * out[i]
	}
	return float32(math.Sqrt(float64(square)))
}

// overlay is the correlation of two images' grey values at the best crop of either. It is 1 for a
// copy of any size, brightness and contrast.
func overlay(a, b thumbnail) float32 {
	best := float32(-1)
	var whole, part [gridEdge * gridEdge]float32
	for _, pair := range [2][2]thumbnail{{a, b}, {b, a}} {
		norm := crops[0].sample(pair[0], &whole)
		for i := range crops {
			n := crops[i].sample(pair[1], &part)
			best = max(best, correlation(whole[:], part[:], norm, n))
		}
	}
	return best
}

// flatNorm is the norm of grid points that differ by about one level each. Below it there is
// nothing to compare.
const flatNorm = gridEdge

func correlation(x, y []float32, nx, ny float32) float32 {
	if nx < flatNorm || ny < flatNorm {
		return 0
	}
	var dot float32
	for i := range x {
		dot += x[i] * y[i]
	}
	return dot / (nx * ny)
}
