package choose

import (
	"context"
	"slices"

	"moco"
	"moco/data"
	"moco/internal/loader"
	"moco/picture"
)

// looks is the number of pictures that are decoded to learn what a set holds.
const looks = 96

// lookSide is the shorter side, in pixels, at which they are looked at: enough to tell gray from
// colour.
const lookSide = 64

// Facts are what a choice depends on besides the machine.
type Facts struct {
	Images     int     `json:"images"`
	Classes    int     `json:"classes"`    // 0: no labels, which are learned from only where the user asks for it
	Looked     int     `json:"looked"`     // how many were decoded, evenly spread over the set
	Unreadable int     `json:"unreadable"` // of these
	Smallest   int     `json:"smallest"`   // shorter sides, in pixels: the smallest,
	Edge       int     `json:"edge"`       // the median,
	Largest    int     `json:"largest"`    // and the largest
	Pixels     float64 `json:"pixels"`     // mean number of a picture's pixels
	Gray       bool    `json:"gray"`       // hardly a picture has colour

	sizes [][2]int // width and height of the pictures looked at; empty where facts were not looked up
}

// Look decodes a sample of a set, the same one each time.
func Look(ctx context.Context, set *data.Set, workers int) (*Facts, error) {
	n := min(looks, set.Len())
	type seen struct {
		width, height int
		gray          bool
		err           error
	}
	all, images := make([]seen, n), make([]data.Image, max(1, workers))
	err := loader.Parallel(ctx, n, len(images), func(worker, i int) error {
		img, s := &images[worker], &all[i]
		if s.width, s.height, s.err = set.Size(place(i, n, set.Len())); s.err == nil {
			s.err = set.ReadOnce(place(i, n, set.Len()), data.Reading{Side: lookSide}, img)
			s.gray = gray(img)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f := &Facts{Images: set.Len(), Classes: len(set.Classes()), Looked: n}
	var edges []int
	grays := 0
	for _, s := range all {
		if s.err != nil {
			f.Unreadable++
			continue
		}
		edges = append(edges, min(s.width, s.height))
		f.sizes = append(f.sizes, [2]int{s.width, s.height})
		f.Pixels += float64(s.width) * float64(s.height)
		if s.gray {
			grays++
		}
	}
	if len(edges) == 0 {
		return nil, all[0].err
	}
	slices.Sort(edges)
	f.Smallest, f.Edge, f.Largest = edges[0], edges[len(edges)/2], edges[len(edges)-1]
	f.Pixels /= float64(len(edges))
	f.Gray = grays*20 >= len(edges)*19
	return f, nil
}

// fitted is a recipe completed from the images, as training completes it.
func (f *Facts) fitted(r *moco.Recipe) (*moco.Recipe, error) {
	of := *r
	m, err := of.Mechanism()
	if err != nil {
		return nil, err
	}
	return &of, m.Fit(moco.DataSize{Images: f.Images, Classes: f.Classes})
}

// drawn is the mean number of pixels that views are drawn from. Each picture is reduced by itself: a
// few that are a thousand times larger than the others must not count for more than what they become.
func (f *Facts) drawn(r data.Reading) float64 {
	if n := float64(len(f.sizes)); n > 0 {
		var pixels float64
		for _, s := range f.sizes {
			width, height := picture.Reduced(s[0], s[1], r.Side)
			pixels += float64(width) * float64(height) / n
		}
		return pixels
	}
	if f.Edge <= r.Side {
		return f.Pixels
	}
	by := float64(r.Side) / float64(f.Edge)
	return f.Pixels * by * by
}

// place is the i-th of n places that are evenly spread over a set.
func place(i, n, images int) int { return i * images / n }

// gray tells whether a picture has next to no colour. JPEG leaves a trace of it in scans of grays.
func gray(img *data.Image) bool {
	const trace = 12
	step := 3 * max(1, len(img.Pix)/3/10_000)
	coloured, looked := 0, 0
	for i := 0; i+2 < len(img.Pix); i += step {
		r, g, b := img.Pix[i], img.Pix[i+1], img.Pix[i+2]
		if max(r, g, b)-min(r, g, b) > trace {
			coloured++
		}
		looked++
	}
	return coloured*100 <= looked
}
