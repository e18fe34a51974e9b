// Package explore answers questions about embedded images: what lies nearest to an image, which
// images are near-duplicates of each other, which are unlike all others, which labels disagree with
// their neighbours, and which images belong together. An Explorer finds the rows. A Collection
// gives the rows their names, labels and pictures.
//
// Everything is exact and uses the engine's matrix product: an image is a row of length one, and
// the cosine of two images is a dot product. Time grows with the square of the number of images
// (for clusters, with images times clusters), memory only with the number of images. A few million
// images are practical. The results are the same for any number of workers. The caller passes the
// engine.
package explore

import (
	"context"
	"errors"
	"slices"

	"moco/engine"
	"moco/evaluate"
)

// Explorer answers questions about sets of features.
type Explorer struct {
	Engine engine.Engine
	// Progress, if not nil, is told how far the work has come. A stage is a few words, such as
	// "search".
	Progress func(stage string, done, total int)
}

// errEmpty is the error of any question about an empty set.
var errEmpty = errors.New("there are no images to look through")

func (x Explorer) progress(stage string, done, total int) {
	if x.Progress != nil {
		x.Progress(stage, done, total)
	}
}

// queriesAtOnce limits the number of neighbour lists in memory.
const queriesAtOnce = 8192

// Search gives f each query's k nearest rows of the bank, most similar first, in the order of the
// queries. If the bank has fewer than k rows, the list has them all.
func (x Explorer) Search(ctx context.Context, bank, queries *evaluate.Embedded, k int,
	f func(query int, list []evaluate.Neighbour) error) error {
	if bank.Len() == 0 {
		return errEmpty
	}
	for first := 0; first < queries.Len(); first += queriesAtOnce {
		last := min(first+queriesAtOnce, queries.Len())
		part, err := queries.Part(first, last).InMemory()
		if err != nil {
			return err
		}
		lists, err := evaluate.Neighbours(ctx, x.Engine, bank, part, min(k, bank.Len()))
		if err != nil {
			return err
		}
		for i, list := range lists {
			if err := f(first+i, list); err != nil {
				return err
			}
		}
		x.progress("search", last, queries.Len())
	}
	return nil
}

// Neighbours is Search with every row of one set as a query, among all other rows.
func (x Explorer) Neighbours(ctx context.Context, set *evaluate.Embedded, k int,
	f func(row int, list []evaluate.Neighbour) error) error {
	k = min(k, set.Len()-1)
	return x.Search(ctx, set, set, k+1, func(row int, list []evaluate.Neighbour) error {
		return f(row, without(list, row, k))
	})
}

// Near is the k nearest other rows of one row, most similar first.
func (x Explorer) Near(ctx context.Context, set *evaluate.Embedded, of, k int) (near []evaluate.Neighbour, err error) {
	one, err := set.Part(of, of+1).InMemory()
	if err != nil {
		return nil, err
	}
	k = min(k, set.Len()-1)
	err = x.Search(ctx, set, one, k+1, func(_ int, list []evaluate.Neighbour) error {
		near = without(list, of, k)
		return nil
	})
	return near, err
}

// without removes a row from its own list of neighbours, and keeps at most k. If more than k copies
// of the row come before it, the list does not have it at all.
func without(list []evaluate.Neighbour, row, k int) []evaluate.Neighbour {
	if i := slices.IndexFunc(list, func(n evaluate.Neighbour) bool { return n.Row == row }); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	return list[:min(k, len(list))]
}

// row is the features of one image of a set that has them in Features.
func row(e *evaluate.Embedded, i int) []float32 { return e.Features[i*e.Dim : (i+1)*e.Dim] }

// rowsAtOnce is the number of rows that are read at a time, wherever they are kept.
const rowsAtOnce = 4096

// eachTile reads all rows in order, a tile at a time: those from first on. The tile is valid until
// f returns.
func eachTile(ctx context.Context, set *evaluate.Embedded, f func(first int, tile []float32) error) error {
	buffer := make([]float32, min(rowsAtOnce, set.Len())*set.Dim)
	for first := 0; first < set.Len(); first += rowsAtOnce {
		if err := ctx.Err(); err != nil {
			return err
		}
		tile := buffer[:min(rowsAtOnce, set.Len()-first)*set.Dim]
		if err := set.Read(first, tile); err != nil {
			return err
		}
		if err := f(first, tile); err != nil {
			return err
		}
	}
	return nil
}

// cosineOf is the cosine of two rows of a set, wherever they are kept.
func cosineOf(set *evaluate.Embedded, a, b int) (float32, error) {
	return cosineIn(set, a, b, make([]float32, 2*set.Dim))
}

// cosineIn is cosineOf with memory for the two rows.
func cosineIn(set *evaluate.Embedded, a, b int, rows []float32) (float32, error) {
	err := set.Read(a, rows[:set.Dim])
	if err == nil {
		err = set.Read(b, rows[set.Dim:])
	}
	return cosine(rows[:set.Dim], rows[set.Dim:]), err
}

// cosine is the dot product of two rows.
func cosine(a, b []float32) float32 {
	var dot float32
	for i := range a {
		dot += a[i] * b[i]
	}
	return dot
}
