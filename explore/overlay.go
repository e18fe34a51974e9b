package explore

import (
	"math"

	"moco/data"
)

// Features tolerate changes that make two pictures different, and how close they bring two
// different pictures depends on the encoder and its training. So the pairs that features propose
// are compared by laying their pixels over each other: first small and grey, at every crop that is
// allowed for, which is quick and rules most pairs out (this file); then the rest closely, in colour
// and place by place (closely.go).

const (
	thumbEdge = 32 // pixels a side of a thumbnail
	gridEdge  = 16 // points a side where two thumbnails are compared
	blurEdge  = 8  // pixels a side of the blurred thumbnail that rules most pairs out
	// maxCrop is, of thumbEdge, how much may be cut off an edge in all: an eighth.
	maxCrop = 4
	// Pairs whose blurred thumbnails correlate less than blurFloor are dropped.
	blurFloor = 0.4
	// overlaySlack is how far below the threshold grey thumbnails may correlate. The close look
	// finds where two pictures lie over each other better than the thumbnails do.
	overlaySlack = 0.02
)

// thumbnail is a picture's grey values, scaled to a small square whatever the picture's shape.
type thumbnail []uint8

// makeThumbnail averages the picture's pixels over each of the thumbnail's. It interpolates along an
// edge that is shorter than the thumbnail's.
func makeThumbnail(img *data.Image) thumbnail {
	across := spread(img.Width, span{0, float64(img.Width)}, thumbEdge)
	down := spread(img.Height, span{0, float64(img.Height)}, thumbEdge)
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

// span is a part of an edge, in pixels.
type span struct{ from, size float64 }

// spread gives, for each of some points that are evenly spread over a part of an edge of n pixels,
// the taps on that edge. They are a triangle, twice as wide as the larger of the two kinds of pixel.
func spread(n int, part span, points int) []taps {
	all := make([]taps, points)
	scale := part.size / float64(points)
	reach := max(1, scale)
	for i := range all {
		centre := part.from + (float64(i)+0.5)*scale - 0.5
		centre = min(max(centre, 0), float64(n-1))
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
type crop struct {
	window // the part, in shares of the edges
	points [gridEdge * gridEdge]struct {
		at         int32 // the pixel above and to the left
		a, b, c, d float32
	}
}

// window is a part of a picture in shares of its edges. It cuts off as much of either edge.
type window struct{ left, top, edge float64 }

// crops are all parts that cut off whole pixels, as many in both directions. The first is the
// whole.
var crops = func() []crop {
	var all []crop
	for cut := range maxCrop + 1 {
		for top := range cut + 1 {
			for left := range cut + 1 {
				all = append(all, makeCrop(left, top, cut))
			}
		}
	}
	return all
}()

func makeCrop(left, top, cut int) crop {
	c := crop{window: window{float64(left) / thumbEdge, float64(top) / thumbEdge, 1 - float64(cut)/thumbEdge}}
	scale := float64(thumbEdge-cut) / gridEdge
	for i := range c.points {
		x := float64(left) + (float64(i%gridEdge)+0.5)*scale - 0.5
		y := float64(top) + (float64(i/gridEdge)+0.5)*scale - 0.5
		fx, fy := math.Floor(x), math.Floor(y)
		u, v := float32(x-fx), float32(y-fy)
		p := &c.points[i]
		p.at = int32(fy)*thumbEdge + int32(fx)
		p.a, p.b, p.c, p.d = (1-u)*(1-v), u*(1-v), (1-u)*v, u*v
	}
	return c
}

// sample reads a thumbnail at a crop's points and subtracts their mean. It returns the root of the
// sum of squares.
func (c *crop) sample(t thumbnail, out *[gridEdge * gridEdge]float32) float32 {
	var sum float32
	for i := range c.points {
		p := &c.points[i]
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

// overlap is how two pictures lie over each other: one of them shows the other's window.
type overlap struct {
	similarity float32 // the correlation of the grey values there
	ofFirst    bool    // the window is the first picture's
	window
}

// overlay finds the best crop of either picture for the other. The correlation is 1 for a copy of
// any size, brightness and contrast. Two pictures that are flat at this size, as fine patterns are,
// lie over each other as a whole.
func overlay(a, b thumbnail) overlap {
	best := overlap{similarity: -1}
	var whole, part [gridEdge * gridEdge]float32
	for k, pair := range [2][2]thumbnail{{a, b}, {b, a}} {
		norm := crops[0].sample(pair[0], &whole)
		for i := range crops {
			n := crops[i].sample(pair[1], &part)
			if i == 0 && norm < flatNorm && n < flatNorm {
				return overlap{similarity: 1, window: crops[0].window}
			}
			if s := correlation(whole[:], part[:], norm, n); s > best.similarity {
				best = overlap{similarity: s, ofFirst: k == 1, window: crops[i].window}
			}
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

// blur writes the thumbnail's blurred grey values as a row: their mean subtracted, scaled to length
// one. A flat image gives zeros.
func (t thumbnail) blur(out []float32) {
	const block = thumbEdge / blurEdge
	clear(out)
	var mean float32
	for i, v := range t {
		out[i/thumbEdge/block*blurEdge+i%thumbEdge/block] += float32(v) / (block * block)
		mean += float32(v) / (thumbEdge * thumbEdge)
	}
	var square float32
	for i := range out {
		out[i] -= mean
		square += out[i] * out[i]
	}
	if square < blurEdge*blurEdge { // flat, up to about one level
		clear(out)
		return
	}
	inverse := float32(1 / math.Sqrt(float64(square)))
	for i := range out {
		out[i] *= inverse
	}
}
