package explore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"

	"moco/data"
	"moco/evaluate"
	"moco/internal/loader"
)

// The default thresholds. They were found on CIFAR-10 with planted near-duplicates: docs/use.md.
// The overlay's holds for any encoder. The cosine's depends on the encoder, and separates worse.
const (
	OverlayThreshold = 0.95
	CosineThreshold  = 0.999
)

// Candidates is the default number of neighbours that are compared with each image.
const Candidates = 32

// blurredCandidates is the number of nearest blurred thumbnails that are compared besides. Where
// they find a copy, it is among the very first.
const blurredCandidates = 8

// maxPairs ends a search whose threshold passes so many pairs that they mean nothing.
const maxPairs = 20_000_000

// Duplicates defines what a near-duplicate is.
type Duplicates struct {
	Threshold  float32 // pairs at or above it are near-duplicates
	Candidates int     // neighbours that are compared with each image
	// Image reads the image of a row. Several goroutines call it. If it is nil, only features are
	// compared.
	Image func(row int, dst *data.Image) error
}

// Pair is two images that are near-duplicates, A before B.
type Pair struct {
	A, B int
	// Similarity is the number that was compared with the threshold: the overlay's correlation or,
	// without images, the cosine.
	Similarity float32
	Cosine     float32 // of the features
}

// Group is images that pairs connect.
type Group struct {
	Rows  []int  // rising
	Pairs []Pair // by falling similarity
}

// Duplicates finds the groups of images that are near-duplicates. Larger groups come first, then
// those with a lower first row.
//
// With images, it first proposes pairs: an image's nearest neighbours by the encoder's features,
// which tolerate a crop, and by blurred thumbnails, which tolerate a change of brightness that the
// encoder may have learned to see. Then it overlays the two images of each pair as grey thumbnails,
// at the best crop of either, up to an eighth of an edge. The pair counts if the normalised
// cross-correlation reaches the threshold. So precision does not depend on how close the encoder
// brings different images. Mirrored and rotated copies are not found.
//
// Without images, all pairs count whose cosine reaches the threshold.
func (x Explorer) Duplicates(ctx context.Context, set *evaluate.Embedded, d Duplicates) ([]Group, error) {
	if set.Len() == 0 {
		return nil, errEmpty
	}
	if !(d.Threshold > 0 && d.Threshold <= 1) {
		return nil, fmt.Errorf("the threshold must be above 0 and at most 1, not %v", d.Threshold)
	}
	var pairs []Pair
	var err error
	if d.Image == nil {
		pairs, err = x.Pairs(ctx, set, d.Threshold)
	} else {
		pairs, err = x.pairsByOverlay(ctx, set, d)
	}
	if err != nil {
		return nil, err
	}
	return groups(set.Len(), pairs), nil
}

// tolerance lets copies of one image reach a threshold of 1 in spite of rounding.
const tolerance = 1e-6

func (x Explorer) pairsByOverlay(ctx context.Context, set *evaluate.Embedded, d Duplicates) ([]Pair, error) {
	if d.Candidates < 1 {
		return nil, fmt.Errorf("near-duplicates need at least 1 candidate for each image, not %d", d.Candidates)
	}
	workers := runtime.GOMAXPROCS(0)
	thumbs := make([]thumbnail, set.Len())
	blurred := &evaluate.Embedded{Dim: blurEdge * blurEdge, Labels: set.Labels,
		Features: make([]float32, set.Len()*blurEdge*blurEdge)}
	images := make([]data.Image, workers)
	for first := 0; first < set.Len(); first += queriesAtOnce {
		last := min(first+queriesAtOnce, set.Len())
		err := loader.Parallel(ctx, last-first, workers, func(w, i int) error {
			if err := d.Image(first+i, &images[w]); err != nil {
				return fmt.Errorf("an image that was embedded cannot be read again: %w", err)
			}
			thumbs[first+i] = makeThumbnail(&images[w])
			thumbs[first+i].blur(row(blurred, first+i))
			return nil
		})
		if err != nil {
			return nil, err
		}
		x.progress("thumbnails", last, set.Len())
	}
	var pairs []Pair
	for b, by := range []*evaluate.Embedded{set, blurred} {
		k := min(d.Candidates, set.Len()-1)
		if b == 1 {
			k = min(k, blurredCandidates)
		}
		for first := 0; first < set.Len(); first += queriesAtOnce {
			last := min(first+queriesAtOnce, set.Len())
			lists, err := evaluate.Neighbours(ctx, x.Engine, by, by.Part(first, last), k+1)
			if err != nil {
				return nil, err
			}
			found := make([][]Pair, last-first)
			err = loader.Parallel(ctx, last-first, workers, func(_, i int) error {
				for _, n := range without(lists[i], first+i, k) {
					a, b := min(first+i, n.Row), max(first+i, n.Row)
					if cosine(row(blurred, a), row(blurred, b)) < blurFloor {
						continue
					}
					if s := overlay(thumbs[a], thumbs[b]); s >= d.Threshold-tolerance {
						c, err := cosineOf(set, a, b)
						if err != nil {
							return err
						}
						found[i] = append(found[i], Pair{a, b, min(s, 1), c})
					}
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			for _, list := range found {
				pairs = append(pairs, list...)
			}
			x.progress("search", last, set.Len())
		}
	}
	// A pair comes up to four times: from either side, by features and by thumbnails.
	slices.SortFunc(pairs, byRows)
	return slices.CompactFunc(pairs, func(a, b Pair) bool { return byRows(a, b) == 0 }), nil
}

// groups joins pairs. A group is a connected component of the graph with the pairs as edges.
func groups(n int, pairs []Pair) []Group {
	root := make([]int, n) // union-find: the lowest row of a component is its root
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	for _, p := range pairs {
		a, b := find(p.A), find(p.B)
		root[max(a, b)] = min(a, b)
	}
	place := map[int]int{}
	var all []Group
	for i := range n {
		r := find(i)
		if r == i {
			continue
		}
		at, ok := place[r]
		if !ok {
			at = len(all)
			place[r] = at
			all = append(all, Group{Rows: []int{r}})
		}
		all[at].Rows = append(all[at].Rows, i)
	}
	for _, p := range pairs {
		g := &all[place[find(p.A)]]
		g.Pairs = append(g.Pairs, p)
	}
	for _, g := range all {
		slices.SortFunc(g.Pairs, func(a, b Pair) int {
			return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B))
		})
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Rows), len(a.Rows)), cmp.Compare(a.Rows[0], b.Rows[0]))
	})
	return all
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
