package explore

import (
	"math"

	"moco/data"
)

// A close look tells copies from pictures that are alike at a glance. It compares colours, not only
// grey values, so that what differs in colour alone, as icons do, is no copy. It looks at every
// place by itself, so that one letter on a button makes another button, however much of the two
// agrees. And it takes drawings by other rules than photographs: a drawing is mostly flat ground,
// on which everything agrees with everything, and its copies are clean.

const (
	detailEdge = 128 // pixels a side of a detail, at most
	// leastGrid is the least number of points a side that are compared.
	leastGrid = 16
	// drawnShare is the share of points like their neighbours from which on a picture is a drawing.
	drawnShare = 0.5
	// fineShare is the share of fine steps, of up to fineLevels, up to which a drawing is sharp.
	fineShare, fineLevels = 0.25, 4
	// flatLevels is how far neighbouring points may differ to be alike.
	flatLevels = 2
	// flatDeviation is the standard deviation of a picture in which there is nothing to compare.
	flatDeviation = 1
	// maxContrast is how many times the contrast of a copy may be that of the other picture.
	maxContrast = 1.6
	// A photograph's copy that was made brighter may be clipped: white where the other picture is
	// above dimmed.
	white, dimmed = 253, 150
)

// strictness says how much a difference counts: a likeness of 1 - d becomes a similarity of
// 1 - d x weight. A drawing whose points correlate by 0.9875, or its least alike place by 0.9, has a
// similarity of 0.95; a photograph where they do so by 0.95 or 0.5.
type strictness struct{ whole, place float64 }

var (
	forDrawings = strictness{whole: 4, place: 0.5}
	// forSharp is for two drawings of one size without noise. Nothing but what is drawn tells them
	// apart then: line art whose lines nearly agree is not the same.
	forSharp  = strictness{whole: 20, place: 2}
	forPhotos = strictness{whole: 1, place: 0.1}
)

// detail is a picture as it is looked at closely: a square, whatever the picture's shape, of at most
// detailEdge pixels a side and no more than the picture's shorter edge has.
type detail struct {
	width, height int // of the picture
	edge          int
	colour        []uint8 // [edge,edge,3]
	grey          []uint8 // [edge,edge]
	drawn         bool
	sharp         bool // drawn, and neither blurred nor noisy
}

func makeDetail(img *data.Image) *detail {
	edge := min(detailEdge, max(leastGrid, min(img.Width, img.Height)))
	across := spread(img.Width, span{0, float64(img.Width)}, edge)
	down := spread(img.Height, span{0, float64(img.Height)}, edge)
	values := make([]float32, 3*edge*edge)
	resample(values, plane{img.Pix, img.Width, 3}, across, down)
	d := &detail{width: img.Width, height: img.Height, edge: edge,
		colour: make([]uint8, len(values)), grey: make([]uint8, edge*edge)}
	for i, v := range values {
		d.colour[i] = uint8(min(255, v+0.5))
	}
	for i := range d.grey {
		p := values[3*i:][:3]
		d.grey[i] = uint8(min(255, 0.299*p[0]+0.587*p[1]+0.114*p[2]+0.5))
	}
	flat, fine := d.steps()
	d.drawn = flat >= drawnShare
	d.sharp = d.drawn && fine <= fineShare
	return d
}

// steps looks at each point and those to the right and below. It returns the share of points that
// are like both, and, of all steps from one value to another, the share of those that are so small
// that noise, blurs and shades consist of them.
func (d *detail) steps() (flat, fine float64) {
	var flats, fines, all int
	row := 3 * d.edge
	for y := range d.edge - 1 {
		for x := range d.edge - 1 {
			p, most := y*row+3*x, 0
			for c := p; c < p+3; c++ {
				for _, next := range [2]int{c + 3, c + row} {
					step := abs(int(d.colour[c]) - int(d.colour[next]))
					most = max(most, step)
					if step > 0 {
						all++
					}
					if step > 0 && step <= fineLevels {
						fines++
					}
				}
			}
			if most <= flatLevels {
				flats++
			}
		}
	}
	return float64(flats) / float64((d.edge-1)*(d.edge-1)), float64(fines) / float64(max(1, all))
}

func abs[T int | float32](x T) T { return max(x, -x) }

// plane is pixels in rows, some values each.
type plane struct {
	pix           []uint8
	width, values int
}

// resample writes the weighted means of a plane's pixels: rows of len(across) points, one for each
// of down.
func resample(out []float32, p plane, across, down []taps) {
	k, row := p.values, p.values*len(across)
	lines := make([]float32, row*(down[len(down)-1].from+len(down[len(down)-1].w)))
	for y := down[0].from; y < len(lines)/row; y++ {
		line := lines[y*row:][:row]
		for x, t := range across {
			for i, w := range t.w {
				pixel := p.pix[k*(y*p.width+t.from+i):][:k]
				for c, v := range pixel {
					line[k*x+c] += w * float32(v)
				}
			}
		}
	}
	clear(out)
	for y, t := range down {
		to := out[y*row:][:row]
		for i, w := range t.w {
			for x, v := range lines[(t.from+i)*row:][:row] {
				to[x] += w * v
			}
		}
	}
}

// part reads n x n points of a window.
func (d *detail) part(out []float32, n int, at window, colour bool) {
	edge := float64(d.edge)
	across := spread(d.edge, span{at.left * edge, at.edge * edge}, n)
	down := spread(d.edge, span{at.top * edge, at.edge * edge}, n)
	if colour {
		resample(out, plane{d.colour, d.edge, 3}, across, down)
	} else {
		resample(out, plane{d.grey, d.edge, 1}, across, down)
	}
}

// similarity compares two pictures that lie over each other about as o says: 1 for a copy. It is 0
// if one has more than maxContrast times the other's contrast.
func similarity(a, b *detail, o overlap) float32 {
	whole, part := a, b
	if o.ofFirst {
		whole, part = b, a
	}
	grid := max(leastGrid, min(a.edge, b.edge)/2)
	at := fit(whole, part, o.window, grid)
	strict := forPhotos
	drawn := a.drawn || b.drawn
	if drawn { // its lines need all pixels; in a photograph's pixels there is noise
		strict, grid = forDrawings, max(leastGrid, min(a.edge, b.edge))
		if a.sharp && b.sharp && a.width == b.width && a.height == b.height {
			strict = forSharp
		}
	}
	l := look{n: grid, a: make([]float32, 3*grid*grid), b: make([]float32, 3*grid*grid), clip: !drawn}
	whole.part(l.a, grid, window{0, 0, 1}, true)
	part.part(l.b, grid, at, true)
	if isPlain(l.a) || isPlain(l.b) {
		return flatSimilarity(a, b)
	}
	if !l.level(drawn) || l.contrast > maxContrast {
		return 0
	}
	return float32(max(0, 1-max(strict.whole*(1-l.whole), strict.place*(1-l.leastPlace()))))
}

// flatSimilarity compares two pictures, at least one of them of one flat colour. Only those of the
// same size and colour are copies.
func flatSimilarity(a, b *detail) float32 {
	if a.width != b.width || a.height != b.height {
		return 0
	}
	for i, v := range a.colour {
		if abs(int(v)-int(b.colour[i])) > flatLevels {
			return 0
		}
	}
	return 1
}

// isPlain tells whether points are of one colour, up to about one level.
func isPlain(values []float32) bool {
	var sum, square [3]float64
	for i, v := range values {
		sum[i%3] += float64(v)
		square[i%3] += float64(v) * float64(v)
	}
	n := float64(len(values) / 3)
	var variance float64
	for c := range 3 {
		variance += (square[c] - sum[c]*sum[c]/n) / n
	}
	return variance < 3*flatDeviation*flatDeviation
}

// fit moves and scales a window until the grey values correlate best, down to half a point.
func fit(whole, part *detail, at window, n int) window {
	x, y := make([]float32, n*n), make([]float32, n*n)
	whole.part(x, n, window{0, 0, 1}, false)
	likeness := func(w window) float64 {
		const most = 1 + 1e-9
		if w.left < 0 || w.top < 0 || w.edge > most || w.left+w.edge > most || w.top+w.edge > most {
			return -1
		}
		part.part(y, n, w, false)
		return pearson(x, y)
	}
	best := likeness(at)
	for step := 1.0 / (2 * thumbEdge); step >= 0.5/float64(n) && best < alreadyFits; step /= 2 {
		for range 8 { // moves of one length, at most
			from := at
			for _, d := range [...]window{{step, 0, 0}, {-step, 0, 0}, {0, step, 0}, {0, -step, 0}, {0, 0, step}, {0, 0, -step},
				{step, step, -step}, {-step, -step, step}, {step / 2, step / 2, -step}, {-step / 2, -step / 2, step}} {
				w := window{from.left + d.left, from.top + d.top, from.edge + d.edge}
				if s := likeness(w); s > best+1e-6 {
					best, at = s, w
				}
			}
			if at == from {
				break
			}
		}
	}
	return at
}

// alreadyFits is the correlation from which on a better fit is not looked for.
const alreadyFits = 0.998

func pearson(x, y []float32) float64 {
	var mx, my, xx, yy, xy float64
	for i := range x {
		mx, my = mx+float64(x[i]), my+float64(y[i])
	}
	mx, my = mx/float64(len(x)), my/float64(len(y))
	for i := range x {
		u, v := float64(x[i])-mx, float64(y[i])-my
		xx, yy, xy = xx+u*u, yy+v*v, xy+u*v
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// look is two pictures on one grid, [n,n,3] values each.
type look struct {
	n        int
	a, b     []float32
	clip     bool // leave out what one of them clips
	variance float64
	whole    float64 // likeness of all points
	contrast float64 // of the picture that has more, in contrasts of the other
}

// left tells whether value i is left out: white in one picture and nearly in the other.
func (l *look) left(i int) bool {
	low, high := min(l.a[i], l.b[i]), max(l.a[i], l.b[i])
	return l.clip && high >= white && low >= dimmed && low < white
}

// level subtracts each colour's mean and compares the whole: by the correlation, after which both
// pictures have the same variance, or, if contrast counts, by the concordance correlation
// coefficient (Lin 1989). Means whose hues differ take off from it. It is false if too little is
// left to compare.
func (l *look) level(contrastCounts bool) bool {
	n, meanA, meanB := l.means()
	var aa, bb, ab float64
	for i := range l.a {
		if l.left(i) {
			l.a[i], l.b[i] = 0, 0
			continue
		}
		u, v := float64(l.a[i])-meanA[i%3], float64(l.b[i])-meanB[i%3]
		l.a[i], l.b[i] = float32(u), float32(v)
		aa, bb, ab = aa+u*u, bb+v*v, ab+u*v
	}
	if n < float64(len(l.a))/4 || aa == 0 || bb == 0 {
		return false
	}
	l.contrast = math.Sqrt(max(aa, bb) / min(aa, bb))
	if contrastCounts {
		l.whole, l.variance = 2*ab/(aa+bb), (aa+bb)/(2*n)
		l.whole -= castOf(meanA, meanB, flatLevels) / (2 * l.variance)
		return true
	}
	l.whole, l.variance = ab/math.Sqrt(aa*bb), math.Sqrt(aa*bb)/n
	scaleA, scaleB := math.Sqrt(l.variance*n/aa), math.Sqrt(l.variance*n/bb)
	for c := range 3 {
		meanA[c], meanB[c] = scaleA*meanA[c], scaleB*meanB[c]
	}
	l.whole -= castOf(meanA, meanB, freeCast) / (2 * l.variance)
	for i := range l.a {
		l.a[i], l.b[i] = float32(scaleA)*l.a[i], float32(scaleB)*l.b[i]
	}
	return true
}

// means are those of each colour, of the n values that are not left out.
func (l *look) means() (n float64, a, b [3]float64) {
	var count [3]float64
	for i := range l.a {
		if !l.left(i) {
			count[i%3]++
			a[i%3] += float64(l.a[i])
			b[i%3] += float64(l.b[i])
		}
	}
	for c := range 3 {
		n += count[c]
		a[c], b[c] = a[c]/max(count[c], 1), b[c]/max(count[c], 1)
	}
	return n, a, b
}

// freeCast is how many levels the mean colour of a photograph's copy may be off, apart from its
// brightness.
const freeCast = 8

// castOf is the mean square of how far two mean colours are apart beyond some levels, apart from
// their brightness.
func castOf(a, b [3]float64, free float64) float64 {
	var square float64
	greyA, greyB := (a[0]+a[1]+a[2])/3, (b[0]+b[1]+b[2])/3
	for c := range 3 {
		d := max(0, math.Abs(a[c]-greyA-b[c]+greyB)-free)
		square += d * d / 3
	}
	return square
}

// leastPlace is the likeness of the place where the pictures differ most, a square of a quarter of
// the edge: 1 minus the mean square of the difference over twice the variance there. A variance
// below a quarter of the whole picture's counts as that, since what is flat needs no likeness.
func (l *look) leastPlace() float64 {
	const places, span = 8, 2
	least := 1.0
	for j := range places - span + 1 {
		for i := range places - span + 1 {
			least = min(least, l.place(i*l.n/places, j*l.n/places, (i+span)*l.n/places, (j+span)*l.n/places))
		}
	}
	return least
}

func (l *look) place(left, top, right, bottom int) float64 {
	var difference, square float64
	var sumA, sumB [3]float64
	for y := top; y < bottom; y++ {
		for x := left; x < right; x++ {
			p := 3 * (y*l.n + x)
			for c := range 3 {
				u, v := float64(l.a[p+c]), float64(l.b[p+c])
				difference += (u - v) * (u - v)
				square += (u*u + v*v) / 2
				sumA[c], sumB[c] = sumA[c]+u, sumB[c]+v
			}
		}
	}
	points := float64((right - left) * (bottom - top))
	for c := range 3 { // about the mean of the place, colour by colour
		square -= (sumA[c]*sumA[c] + sumB[c]*sumB[c]) / 2 / points
	}
	return 1 - difference/(2*max(square, l.variance/4*3*points))
}
