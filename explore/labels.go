package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"moco/evaluate"
)

// LabelError is an image whose neighbours vote for another class than its label's.
type LabelError struct {
	Row       int
	Suggested int                  // the class that gets most votes
	Given     float64              // share of the votes for the label
	Other     float64              // share of the votes for the suggested class
	Nearest   []evaluate.Neighbour // the first of those who voted
}

// Margin is by how much the neighbours prefer the suggested class: above 0, at most 1.
func (l LabelError) Margin() float64 { return l.Other - l.Given }

// LabelErrors lists the images whose label gets fewer votes of their neighbours than another class,
// by falling margin; ties go to the lower row. The vote is evaluate.KNN's (Wu et al. 2018, Sec.
// 3.4), of the k nearest others: an image has no say about itself. Ranking by the margin between
// the best other class and the given label is the "normalized margin" of Northcutt et al. 2021
// (Confident learning, Sec. 3), with the votes in the place of a classifier's probabilities.
func (x Explorer) LabelErrors(ctx context.Context, set *evaluate.Embedded, vote evaluate.KNN) ([]LabelError, error) {
	switch {
	case set.Len() == 0:
		return nil, errEmpty
	case len(set.Classes) == 0 || slices.Min(set.Labels) < 0:
		return nil, errors.New("the images have no labels that could be wrong; give a folder with one folder a class")
	case vote.K < 1 || !(vote.T > 0):
		return nil, fmt.Errorf("label errors need k of at least 1 and t above 0, not %d and %v", vote.K, vote.T)
	}
	var all []LabelError
	err := x.Neighbours(ctx, set, vote.K, func(row int, list []evaluate.Neighbour) error {
		if len(list) == 0 {
			return nil
		}
		votes := vote.Votes(list, set.Labels, len(set.Classes))
		var sum float64
		best := 0
		for class, v := range votes {
			sum += v
			if v > votes[best] {
				best = class
			}
		}
		if label := set.Labels[row]; votes[best] > votes[label] {
			all = append(all, LabelError{row, best, votes[label] / sum, votes[best] / sum, slices.Clone(list[:min(shownNeighbours, len(list))])})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b LabelError) int {
		return cmp.Or(cmp.Compare(b.Margin(), a.Margin()), cmp.Compare(a.Row, b.Row))
	})
	return all, err
}
