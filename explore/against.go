package explore

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/vectors"
)

// TileRows is the number of older vectors that are in memory at a time.
const TileRows = 8192

// Earlier is images that were embedded before. Their vectors are read once, a tile at a time.
type Earlier struct {
	Rows iter.Seq2[vectors.Row, error]
	// Image reads an older image, by its path. Several goroutines call it. An image that is not
	// there any more is an error, and no copy. If it is nil, only features are compared.
	Image func(path string, dst *data.Image) error
	// Source tells how an older image is stored. It may be nil.
	Source func(path string) (data.Source, error)
}

// Added is what DuplicatesAmong finds.
type Added struct {
	// Groups are of rows of the new images, and of older images behind them: row set.Len()+i is
	// Old[i]. Where an older image is among the copies, one of these is the best.
	Groups []Group
	Old    []string // paths
	Rows   int      // older images that were looked through
	Gone   int      // older images that were to be looked at and could not be read
}

// DuplicatesAmong finds the groups of near-duplicates that new images belong to: copies of each
// other, and of images that were embedded before by the same encoder. Only vectors propose older
// images; blurred thumbnails propose new ones. Older images are not compared with each other.
//
// Memory does not grow with the older images. It holds the new ones as Duplicates does, TileRows
// older vectors, and for each new image its nearest d.Candidates: their paths, and a thumbnail if
// images are compared.
func (x Explorer) DuplicatesAmong(ctx context.Context, set *evaluate.Embedded, d Duplicates, old Earlier) (*Added, error) {
	if err := d.check(set); err != nil {
		return nil, err
	}
	if d.Candidates < 1 {
		return nil, fmt.Errorf("near-duplicates need at least 1 candidate for each image, not %d", d.Candidates)
	}
	near, rows, err := x.nearestOf(ctx, set, old.Rows, d.Candidates)
	if err != nil {
		return nil, err
	}
	a := &addition{Explorer: x, Duplicates: d, set: set, old: old, added: Added{Rows: rows}, cosines: map[[2]int]float32{}}
	a.take(near)
	g := grouping{Duplicates: d, old: func(row int) bool { return row >= set.Len() }}
	g.Source = a.source
	var pairs []Pair
	if old.Image == nil || d.Image == nil {
		pairs, err = a.byCosine(ctx)
	} else {
		pairs, err = a.byOverlay(ctx, &g)
	}
	if err != nil {
		return nil, err
	}
	a.added.Groups, err = g.groups(ctx, pairs)
	return &a.added, err
}

// older is an image of a file of vectors.
type older struct {
	place      int // in the file
	path       string
	similarity float32
}

// nearestOf finds each image's k nearest among rows that are streamed.
func (x Explorer) nearestOf(ctx context.Context, set *evaluate.Embedded, rows iter.Seq2[vectors.Row, error], k int) (
	[][]older, int, error) {
	best := make([][]older, set.Len())
	tile := &evaluate.Embedded{Dim: set.Dim}
	var paths []string
	done := 0
	search := func() error {
		if tile.Len() == 0 {
			return nil
		}
		for first := 0; first < set.Len(); first += queriesAtOnce {
			last := min(first+queriesAtOnce, set.Len())
			queries, err := set.Part(first, last).InMemory()
			if err != nil {
				return err
			}
			lists, err := evaluate.Neighbours(ctx, x.Engine, tile, queries, min(k, tile.Len()))
			if err != nil {
				return err
			}
			for i, list := range lists {
				at := first + i
				for _, n := range list {
					best[at] = append(best[at], older{done + n.Row, paths[n.Row], n.Similarity})
				}
				slices.SortFunc(best[at], func(a, b older) int {
					return cmp.Or(cmp.Compare(b.similarity, a.similarity), cmp.Compare(a.place, b.place))
				})
				best[at] = slices.Clone(best[at][:min(k, len(best[at]))])
			}
		}
		done += tile.Len()
		tile.Features, tile.Labels, paths = tile.Features[:0], tile.Labels[:0], paths[:0]
		x.progress("older images", done, done)
		return ctx.Err()
	}
	for row, err := range rows {
		if err != nil {
			return nil, 0, err
		}
		if len(row.Vector) != set.Dim {
			return nil, 0, &OtherEncoderError{Dim: len(row.Vector), Makes: set.Dim}
		}
		if tile.Features, err = appendUnit(tile.Features, row); err != nil {
			return nil, 0, err
		}
		tile.Labels, paths = append(tile.Labels, -1), append(paths, row.Path)
		if tile.Len() == TileRows {
			if err := search(); err != nil {
				return nil, 0, err
			}
		}
	}
	err := search()
	return best, done, err
}

// appendUnit appends a row's vector, scaled to length one.
func appendUnit(to []float32, r vectors.Row) ([]float32, error) {
	to = append(to, r.Vector...)
	v := to[len(to)-len(r.Vector):]
	square := float64(cosine(v, v))
	if math.IsNaN(square) || math.IsInf(square, 0) {
		return nil, fmt.Errorf("the vector of %q is not finite", r.Path)
	}
	if math.Abs(square-1) > 1e-5 {
		encoder.Normalise(v)
	}
	return to, nil
}

// addition is DuplicatesAmong at work.
type addition struct {
	Explorer
	Duplicates
	set     *evaluate.Embedded
	old     Earlier
	added   Added
	cosines map[[2]int]float32 // of a new row and the row of an older image
}

// take gives the nearest older images rows of their own.
func (a *addition) take(near [][]older) {
	rows := map[string]int{}
	for i, list := range near {
		for _, o := range list {
			row, ok := rows[o.path]
			if !ok {
				row = a.set.Len() + len(a.added.Old)
				rows[o.path] = row
				a.added.Old = append(a.added.Old, o.path)
			}
			a.cosines[[2]int{i, row}] = o.similarity
		}
	}
}

// path is that of an older image, by its row.
func (a *addition) path(row int) (string, bool) {
	if row < a.set.Len() {
		return "", false
	}
	return a.added.Old[row-a.set.Len()], true
}

func (a *addition) image(row int, dst *data.Image) error {
	if path, old := a.path(row); old {
		return a.old.Image(path, dst)
	}
	return a.Duplicates.Image(row, dst)
}

func (a *addition) source(row int) (data.Source, error) {
	path, old := a.path(row)
	switch {
	case old && a.old.Source != nil:
		return a.old.Source(path)
	case !old && a.Duplicates.Source != nil:
		return a.Duplicates.Source(row)
	}
	return data.Source{}, nil
}

// cosine is 0 of an older image with a new one that it was not among the nearest of.
func (a *addition) cosine(p, q int) (float32, error) {
	p, q = min(p, q), max(p, q)
	if q < a.set.Len() {
		return cosineOf(a.set, p, q)
	}
	return a.cosines[[2]int{p, q}], nil
}

func (a *addition) byCosine(ctx context.Context) ([]Pair, error) {
	pairs, err := a.Pairs(ctx, a.set, a.Threshold)
	if err != nil {
		return nil, err
	}
	for _, k := range a.links() {
		p := Pair{A: k[0], B: k[1], Similarity: min(a.cosines[k], 1), Cosine: a.cosines[k]}
		if a.reached(p) {
			pairs = append(pairs, p)
		}
	}
	return pairs, nil
}

// links are the pairs of a new and an older image, in order.
func (a *addition) links() [][2]int {
	all := make([][2]int, 0, len(a.cosines))
	for k := range a.cosines {
		all = append(all, k)
	}
	slices.SortFunc(all, func(p, q [2]int) int { return cmp.Or(cmp.Compare(p[0], q[0]), cmp.Compare(p[1], q[1])) })
	return all
}

func (a *addition) byOverlay(ctx context.Context, g *grouping) ([]Pair, error) {
	n := a.set.Len()
	d := a.Duplicates
	d.Image = a.image
	o := newOverlays(a.Explorer, n+len(a.added.Old), d)
	o.absent = func(row int) bool { return row >= n }
	o.cosine, g.pair = a.cosine, o.pair
	if _, err := o.thumbnails(ctx); err != nil {
		return nil, err
	}
	for _, t := range o.thumbs {
		if t == nil {
			a.added.Gone++
		}
	}
	found, err := o.propose(ctx, a.set, min(d.Candidates, n-1))
	if err != nil {
		return nil, err
	}
	more, err := o.propose(ctx, o.blurred.Part(0, n), min(d.Candidates, n-1, blurredCandidates))
	if err != nil {
		return nil, err
	}
	found = append(found, more...)
	for _, k := range a.links() {
		if p, ok := o.lay(k[0], k[1]); ok {
			found = append(found, p)
		}
	}
	return o.pairs(ctx, found)
}
