package explore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"moco/evaluate"
)

// shownNeighbours is the number of neighbours that a finding keeps for display.
const shownNeighbours = 8

// Outlier is an image and how far it lies from its neighbours.
type Outlier struct {
	Row      int
	Distance float64              // mean of 1 - cosine over the k nearest neighbours: 0 to 2
	Nearest  []evaluate.Neighbour // the first neighbours
}

// Outliers ranks all images: the ones most unlike the others come first, ties go to the lower row.
// The score is the mean cosine distance to the k nearest neighbours: the "weight" of Angiulli and
// Pizzuti 2002 (Fast outlier detection in high dimensional spaces), divided by k. The distance to
// the nearest neighbour alone would miss an outlier that is there twice.
func (x Explorer) Outliers(ctx context.Context, set *evaluate.Embedded, k int) ([]Outlier, error) {
	switch {
	case set.Len() == 0:
		return nil, errEmpty
	case set.Len() == 1:
		return nil, errors.New("one image alone cannot be unlike the others; give at least two")
	case k < 1:
		return nil, errors.New("outliers need k of at least 1 neighbour")
	}
	var all []Outlier
	err := x.Neighbours(ctx, set, k, func(row int, list []evaluate.Neighbour) error {
		o := Outlier{Row: row, Nearest: slices.Clone(list[:min(shownNeighbours, len(list))])}
		for _, n := range list {
			o.Distance += (1 - float64(n.Similarity)) / float64(len(list))
		}
		all = append(all, o)
		return nil
	})
	slices.SortFunc(all, func(a, b Outlier) int {
		return cmp.Or(cmp.Compare(b.Distance, a.Distance), cmp.Compare(a.Row, b.Row))
	})
	return all, err
}
