package explore

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"slices"
	"testing"

	"moco/data"
	"moco/internal/rng"
)

var (
	paper = color.RGBA{R: 255, G: 255, B: 255, A: 255}
	black = color.RGBA{A: 255}
	red   = color.RGBA{R: 220, G: 30, B: 30, A: 255}
	blue  = color.RGBA{R: 30, G: 60, B: 220, A: 255}
)

// drawn draws a picture by the colour at each place, of coordinates from 0 to 1, as smoothly as
// drawing programs do.
func drawn(w, h int, at func(x, y float64) color.RGBA) *data.Image {
	const sub = 4
	img := &data.Image{Width: w, Height: h, Pix: make([]uint8, 3*w*h)}
	for p := range w * h {
		var sum [3]int
		for s := range sub * sub {
			c := at((float64(p%w)+(float64(s%sub)+0.5)/sub)/float64(w), (float64(p/w)+(float64(s/sub)+0.5)/sub)/float64(h))
			sum[0], sum[1], sum[2] = sum[0]+int(c.R), sum[1]+int(c.G), sum[2]+int(c.B)
		}
		for c, v := range sum {
			img.Pix[3*p+c] = uint8(v / sub / sub)
		}
	}
	return img
}

// star is a thin star polygon of as many points as its name says, in line art.
func star(points, step int) *data.Image {
	vertex := func(i int) (x, y float64) {
		sin, cos := math.Sincos(2 * math.Pi * float64(i*step%points) / float64(points))
		return 0.5 + 0.45*sin, 0.5 - 0.45*cos
	}
	return drawn(100, 100, func(x, y float64) color.RGBA {
		for i := range points {
			ax, ay := vertex(i)
			bx, by := vertex(i + 1)
			t := ((x-ax)*(bx-ax) + (y-ay)*(by-ay)) / ((bx-ax)*(bx-ax) + (by-ay)*(by-ay))
			if t >= 0 && t <= 1 && math.Hypot(x-ax-t*(bx-ax), y-ay-t*(by-ay)) < 0.003 {
				return black
			}
		}
		return paper
	})
}

// badge is an icon: a disc in a colour on paper, with a sign on it.
func badge(edge int, c color.RGBA, sign func(x, y float64) bool) *data.Image {
	return drawn(edge, edge, func(x, y float64) color.RGBA {
		switch r := math.Hypot(x-0.5, y-0.5); {
		case r > 0.45:
			return paper
		case r > 0.4 || sign(x, y):
			return black
		}
		return c
	})
}

func plus(x, y float64) bool {
	x, y = math.Abs(x-0.5), math.Abs(y-0.5)
	return min(x, y) < 0.04 && max(x, y) < 0.2
}

func minus(x, y float64) bool { return math.Abs(y-0.5) < 0.04 && math.Abs(x-0.5) < 0.2 }

// sky is one colour that grows darker downwards.
func sky(c color.RGBA) *data.Image {
	return drawn(90, 60, func(_, y float64) color.RGBA {
		return color.RGBA{R: level(float64(c.R) - 25*y), G: level(float64(c.G) - 25*y), B: level(float64(c.B) - 25*y), A: 255}
	})
}

// signOn is a pale sign on a ground.
func signOn(c color.RGBA, sign func(x, y float64) bool) *data.Image {
	return drawn(90, 90, func(x, y float64) color.RGBA {
		if sign(x, y) {
			return color.RGBA{R: c.R + 20, G: c.G + 20, B: c.B + 20, A: 255}
		}
		return c
	})
}

// flag has three stripes and an emblem that may be left out.
func flag(a, b, c color.RGBA, emblem float64) *data.Image {
	return drawn(120, 80, func(x, y float64) color.RGBA {
		if math.Hypot((x-0.5)*1.5, y-0.5) < emblem {
			return black
		}
		return []color.RGBA{a, b, c}[min(2, int(3*y))]
	})
}

func flat(w, h int, c color.RGBA) *data.Image {
	return drawn(w, h, func(float64, float64) color.RGBA { return c })
}

// photo is colours that change smoothly, and grain.
func photo(seed uint64, edge int) *data.Image {
	r := rng.New(11, seed)
	var waves [3][8][3]float64
	for c := range waves {
		for i := range waves[c] {
			for k := range waves[c][i] {
				waves[c][i][k] = r.Normal()
			}
		}
	}
	img := drawn(edge, edge, func(x, y float64) color.RGBA {
		var v [3]float64
		for c := range v {
			v[c] = 110
			for i, w := range waves[c] {
				v[c] += 20 * math.Sin(float64(2+2*i)*(w[0]*x+w[1]*y)+6*w[2])
			}
		}
		return color.RGBA{R: level(v[0]), G: level(v[1]), B: level(v[2]), A: 255}
	})
	return changed(img, func(v float64, _ int) float64 { return v + 4*r.Normal() })
}

func level(v float64) uint8 { return uint8(min(255, max(0, v+0.5))) }

// changed changes each value of a picture.
func changed(img *data.Image, f func(v float64, i int) float64) *data.Image {
	out := &data.Image{Width: img.Width, Height: img.Height, Pix: make([]uint8, len(img.Pix))}
	for i, v := range img.Pix {
		out.Pix[i] = level(f(float64(v), i))
	}
	return out
}

func greyed(img *data.Image) *data.Image {
	return changed(img, func(_ float64, i int) float64 {
		p := img.Pix[i/3*3:][:3]
		return 0.299*float64(p[0]) + 0.587*float64(p[1]) + 0.114*float64(p[2])
	})
}

func brighter(img *data.Image, by float64) *data.Image {
	return changed(img, func(v float64, _ int) float64 { return by * v })
}

func compressed(t *testing.T, img *data.Image, quality int) *data.Image {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, toImage(img), &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	m, err := jpeg.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	return fromImage(m)
}

func resized(img *data.Image, w, h int) *data.Image {
	return fromImage(scaled(toImage(img), image.Rect(0, 0, img.Width, img.Height), w, h))
}

func cutOut(img *data.Image, part image.Rectangle) *data.Image {
	return fromImage(scaled(toImage(img), part, part.Dx(), part.Dy()))
}

// TestCloseLook: copies are told from pictures that are alike at a glance.
func TestCloseLook(t *testing.T) {
	t.Parallel()
	icon, painting := badge(160, red, plus), photo(1, 160)
	for name, c := range map[string]struct {
		a, b *data.Image
		same bool
	}{
		"an icon itself":             {a: icon, b: icon, same: true},
		"an icon at half the size":   {a: icon, b: resized(icon, 80, 80), same: true},
		"an icon at two thirds":      {a: icon, b: resized(icon, 107, 107), same: true},
		"an icon drawn smaller":      {a: icon, b: badge(64, red, plus), same: true},
		"an icon as JPEG":            {a: icon, b: compressed(t, icon, 75), same: true},
		"line art as JPEG":           {a: star(31, 14), b: compressed(t, star(31, 14), 80), same: true},
		"line art at two thirds":     {a: star(31, 14), b: resized(star(31, 14), 66, 66), same: true},
		"an icon, cropped":           {a: icon, b: cutOut(icon, image.Rect(4, 6, 154, 156)), same: true},
		"a painting itself":          {a: painting, b: painting, same: true},
		"a painting at half":         {a: painting, b: resized(painting, 80, 80), same: true},
		"a painting as a poor JPEG":  {a: painting, b: compressed(t, painting, 20), same: true},
		"a painting, cropped":        {a: painting, b: cutOut(painting, image.Rect(0, 11, 147, 158)), same: true},
		"a painting, brighter":       {a: painting, b: brighter(painting, 1.2), same: true},
		"a painting that is clipped": {a: painting, b: brighter(painting, 1.5), same: true},
		"a small painting as JPEG":   {a: photo(2, 32), b: compressed(t, photo(2, 32), 50), same: true},
		"a flag itself":              {a: flag(red, paper, blue, 0), b: flag(red, paper, blue, 0), same: true},
		"a flat picture itself":      {a: flat(90, 60, red), b: flat(90, 60, red), same: true},

		"an icon in another colour":        {a: icon, b: badge(160, blue, plus)},
		"an icon in grey":                  {a: icon, b: greyed(icon)},
		"an icon with another sign":        {a: icon, b: badge(160, red, minus)},
		"an icon without a sign":           {a: icon, b: badge(160, red, func(float64, float64) bool { return false })},
		"line art of 31 and 33 points":     {a: star(31, 14), b: star(33, 15)},
		"line art that is nearly a ring":   {a: star(67, 2), b: star(69, 2)},
		"line art, the same but for steps": {a: star(31, 14), b: star(31, 13)},
		"a thin and a thick line":          {a: star(9, 4), b: changed(star(9, 4), func(v float64, _ int) float64 { return 255 - (255-v)/3 })},
		"flags of other colours":           {a: flag(red, paper, blue, 0), b: flag(red, paper, color.RGBA{G: 120, A: 255}, 0)},
		"a flag with an emblem":            {a: flag(red, paper, blue, 0), b: flag(red, paper, blue, 0.08)},
		"a flat red and a flat blue":       {a: flat(90, 60, red), b: flat(90, 60, blue)},
		"a flat picture and a larger one":  {a: flat(90, 60, red), b: flat(180, 120, red)},
		"a flat picture and an icon":       {a: flat(160, 160, paper), b: icon},
		"two paintings":                    {a: painting, b: photo(3, 160)},
		"a red and a blue sky":             {a: sky(red), b: sky(blue)},
		"signs on one red":                 {a: signOn(red, plus), b: signOn(red, minus)},
		"a painting in grey":               {a: painting, b: greyed(painting)},
		"a painting with something on it": {a: painting, b: changed(painting, func(v float64, i int) float64 {
			if x, y := i/3%160, i/3/160; x > 60 && x < 90 && y > 60 && y < 90 {
				return 255 - v
			}
			return v
		})},
	} {
		for k, pair := range [2][2]*data.Image{{c.a, c.b}, {c.b, c.a}} {
			s := similarity(makeDetail(pair[0]), makeDetail(pair[1]), overlay(makeThumbnail(pair[0]), makeThumbnail(pair[1])))
			if (s >= OverlayThreshold) != c.same || s > 1 || s < 0 {
				t.Errorf("%s (%d): the similarity is %.4f; copies: %v", name, k, s, c.same)
			}
		}
	}
}

// TestDetailsAreBounded: the latest are kept, and asking again gives the same.
func TestDetailsAreBounded(t *testing.T) {
	t.Parallel()
	reads := 0
	d := newDetails(func(row int, dst *data.Image) error {
		reads++
		*dst = *flat(200, 200, color.RGBA{R: uint8(row), A: 255})
		return nil
	})
	one := makeDetail(flat(200, 200, red)).bytes()
	d.left = 3 * one
	for _, row := range []int{0, 1, 2, 0, 3, 0, 1} { // 3 takes the place of 1
		got, err := d.of(row)
		if err != nil || got.colour[0] != uint8(row) {
			t.Fatalf("row %d: %v, %v", row, got.colour[0], err)
		}
	}
	if len(d.kept) != 3 || d.left != 0 || reads != 5 {
		t.Errorf("%d details are kept, %d bytes left, after %d reads; want 3, 0, 5", len(d.kept), d.left, reads)
	}
	d.left = 0
	d.offer(9, flat(200, 200, red))
	if _, ok := d.kept[9]; ok {
		t.Error("a detail was kept without room")
	}
}

// TestSpread: the taps of each point add up to one and lie on the edge.
func TestSpread(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n      int
		part   span
		points int
	}{{1, span{0, 1}, 32}, {500, span{0, 500}, 32}, {32, span{3.3, 28}, 16}, {16, span{0, 16}, 16}, {128, span{0, 128}, 64}} {
		all := spread(c.n, c.part, c.points)
		for i, tap := range all {
			var sum float64
			for _, w := range tap.w {
				sum += float64(w)
			}
			if tap.from < 0 || tap.from+len(tap.w) > c.n || math.Abs(sum-1) > 1e-5 {
				t.Errorf("%+v: point %d takes %d pixels from %d on, weights %v", c, i, len(tap.w), tap.from, sum)
			}
		}
		if !slices.IsSortedFunc(all, func(a, b taps) int { return a.from - b.from }) {
			t.Errorf("%+v: the points are out of order", c)
		}
	}
}
