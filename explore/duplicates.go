package explore

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"moco/data"
	"moco/evaluate"
	"moco/internal/loader"
)

// The default thresholds. They were found on CIFAR-10 and on clip-art with planted near-duplicates:
// docs/use.md. The overlay's holds for any encoder. The cosine's depends on the encoder, and
// separates worse.
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
	// Image reads the image of a row. Several goroutines call it, and some rows are read twice. If
	// it is nil, only features are compared.
	Image func(row int, dst *data.Image) error
	// Source tells how a row's image is stored, for the choice of the best copy. If it is nil, the
	// lowest row is the best.
	Source func(row int) (data.Source, error)
}

// Pair is two images that are near-duplicates.
type Pair struct {
	A, B int
	// Similarity is the number that was compared with the threshold: the overlay's or, without
	// images, the cosine.
	Similarity float32
	Cosine     float32 // of the features
}

// Duplicates finds the groups of images that are near-duplicates: copies of each group's best. Larger
// groups come first, then those with a lower first row.
//
// With images, it first proposes pairs: an image's nearest neighbours by the encoder's features,
// which tolerate a crop, and by blurred thumbnails, which tolerate a change of brightness that the
// encoder may have learned to see. Then it overlays the two images of each pair, at the best crop of
// either, up to an eighth of an edge: quickly as grey thumbnails, and those that agree closely. So
// precision does not depend on how close the encoder brings different images. Mirrored and rotated
// copies are not found.
//
// The close look compares colours, on a grid of up to 128 points a side. Its similarity is 1 for a
// copy of any size and brightness; it falls with what the two do not share in all and with what they
// do not share at the place where they differ most. So neither a common ground nor a common outline
// makes two drawings copies, and the same drawing in other colours is none.
//
// Without images, all pairs count whose cosine reaches the threshold.
func (x Explorer) Duplicates(ctx context.Context, set *evaluate.Embedded, d Duplicates) ([]Group, error) {
	if err := d.check(set); err != nil {
		return nil, err
	}
	if d.Image == nil {
		pairs, err := x.Pairs(ctx, set, d.Threshold)
		if err != nil {
			return nil, err
		}
		return grouping{Duplicates: d}.groups(ctx, pairs)
	}
	o := newOverlays(x, set.Len(), d)
	blurred, err := o.thumbnails(ctx)
	if err != nil {
		return nil, err
	}
	var found []proposal
	for b, by := range []*evaluate.Embedded{set, blurred} {
		k := min(d.Candidates, set.Len()-1)
		if b == 1 {
			k = min(k, blurredCandidates)
		}
		more, err := o.propose(ctx, by, k)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	o.cosine = func(a, b int) (float32, error) { return cosineOf(set, a, b) }
	pairs, err := o.pairs(ctx, found)
	if err != nil {
		return nil, err
	}
	return grouping{Duplicates: d, pair: o.pair}.groups(ctx, pairs)
}

func (d Duplicates) check(set *evaluate.Embedded) error {
	switch {
	case set.Len() == 0:
		return errEmpty
	case !(d.Threshold > 0 && d.Threshold <= 1):
		return fmt.Errorf("the threshold must be above 0 and at most 1, not %v", d.Threshold)
	case d.Image != nil && d.Candidates < 1:
		return fmt.Errorf("near-duplicates need at least 1 candidate for each image, not %d", d.Candidates)
	}
	return nil
}

// tolerance lets copies of one image reach a threshold of 1 in spite of rounding.
const tolerance = 1e-6

// proposal is two images whose grey thumbnails lie over each other, a before b.
type proposal struct {
	a, b int
	overlap
}

func byRows(p, q proposal) int { return cmp.Or(cmp.Compare(p.a, q.a), cmp.Compare(p.b, q.b)) }

// overlays lays images over each other.
type overlays struct {
	Explorer
	Duplicates
	thumbs  []thumbnail // nil: an image that cannot be read
	blurred *evaluate.Embedded
	details *details
	cosine  func(a, b int) (float32, error) // of two images' features
	// absent, if not nil, tells whether a row's image may be unreadable. Other rows were embedded.
	absent func(row int) bool
}

func newOverlays(x Explorer, n int, d Duplicates) *overlays {
	return &overlays{Explorer: x, Duplicates: d, thumbs: make([]thumbnail, n), details: newDetails(d.Image)}
}

// thumbnails makes all thumbnails, and their blurs as features.
func (o *overlays) thumbnails(ctx context.Context) (*evaluate.Embedded, error) {
	n := len(o.thumbs)
	o.blurred = &evaluate.Embedded{Dim: blurEdge * blurEdge, Labels: make([]int, n),
		Features: make([]float32, n*blurEdge*blurEdge)}
	workers := runtime.GOMAXPROCS(0)
	images := make([]data.Image, workers)
	for first := 0; first < n; first += queriesAtOnce {
		last := min(first+queriesAtOnce, n)
		err := loader.Parallel(ctx, last-first, workers, func(w, i int) error {
			at := first + i
			if err := o.Image(at, &images[w]); err != nil {
				if o.absent != nil && o.absent(at) {
					return nil
				}
				return fmt.Errorf("an image that was embedded cannot be read again: %w", err)
			}
			o.thumbs[at] = makeThumbnail(&images[w])
			o.thumbs[at].blur(row(o.blurred, at))
			o.details.offer(at, &images[w])
			return nil
		})
		if err != nil {
			return nil, err
		}
		o.progress("thumbnails", last, n)
	}
	return o.blurred, nil
}

// propose lays each image over its k nearest neighbours.
func (o *overlays) propose(ctx context.Context, by *evaluate.Embedded, k int) ([]proposal, error) {
	var all []proposal
	for first := 0; first < by.Len(); first += queriesAtOnce {
		last := min(first+queriesAtOnce, by.Len())
		queries, err := by.Part(first, last).InMemory()
		if err != nil {
			return nil, err
		}
		lists, err := evaluate.Neighbours(ctx, o.Engine, by, queries, k+1)
		if err != nil {
			return nil, err
		}
		found := make([][]proposal, last-first)
		err = loader.Parallel(ctx, last-first, runtime.GOMAXPROCS(0), func(_, i int) error {
			for _, n := range without(lists[i], first+i, k) {
				if p, ok := o.lay(first+i, n.Row); ok {
					found[i] = append(found[i], p)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, slices.Concat(found...)...)
		o.progress("search", last, by.Len())
	}
	return all, nil
}

// lay lays two images' thumbnails over each other. It is false if they cannot be copies.
func (o *overlays) lay(a, b int) (proposal, bool) {
	p := proposal{a: min(a, b), b: max(a, b)}
	if o.thumbs[a] == nil || o.thumbs[b] == nil {
		return p, false
	}
	x, y := row(o.blurred, p.a), row(o.blurred, p.b)
	if cosine(x, y) < blurFloor && !(isFlat(x) && isFlat(y)) {
		return p, false
	}
	p.overlap = overlay(o.thumbs[p.a], o.thumbs[p.b])
	return p, p.overlap.similarity >= o.Threshold-overlaySlack
}

// isFlat tells whether a thumbnail's blur is of one grey value.
func isFlat(blurred []float32) bool { return slices.Max(blurred) == 0 && slices.Min(blurred) == 0 }

// pairs looks closely at what was proposed. A pair may be proposed several times: from either side,
// by features and by thumbnails.
func (o *overlays) pairs(ctx context.Context, found []proposal) ([]Pair, error) {
	slices.SortFunc(found, byRows)
	found = slices.CompactFunc(found, func(p, q proposal) bool { return byRows(p, q) == 0 })
	const lot = 1024
	var pairs []Pair
	for first := 0; first < len(found); first += lot {
		some := found[first:min(first+lot, len(found))]
		looked := make([]Pair, len(some))
		err := loader.Parallel(ctx, len(some), runtime.GOMAXPROCS(0), func(_, i int) (err error) {
			looked[i], err = o.look(some[i])
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, p := range looked {
			if o.reached(p) {
				pairs = append(pairs, p)
			}
		}
		o.progress("compare", first+len(some), len(found))
	}
	return pairs, nil
}

// reached tells whether a pair is at the threshold.
func (d Duplicates) reached(p Pair) bool { return p.Similarity >= d.Threshold-tolerance }

// look looks closely at a proposal.
func (o *overlays) look(p proposal) (Pair, error) {
	pair := Pair{A: p.a, B: p.b}
	var err error
	if pair.Cosine, err = o.cosine(p.a, p.b); err != nil {
		return pair, err
	}
	a, err := o.details.of(p.a)
	if err != nil {
		return pair, err
	}
	b, err := o.details.of(p.b)
	if err != nil {
		return pair, err
	}
	pair.Similarity = similarity(a, b, p.overlap)
	return pair, nil
}

// pair compares two images that nothing has proposed.
func (o *overlays) pair(a, b int) (Pair, error) {
	p, ok := o.lay(a, b)
	if !ok {
		return Pair{A: p.a, B: p.b}, nil
	}
	return o.look(p)
}
