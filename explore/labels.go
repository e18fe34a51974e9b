package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"moco/evaluate"
)

// LabelError is an image whose neighbours vote for another class than its label.
type LabelError struct {
	Row       int
	Suggested int                  // the class with the most votes
	Given     float64              // share of the votes for the label
	Other     float64              // share of the votes for the suggested class
	Nearest   []evaluate.Neighbour // the first voters
	// Outnumbered is true where the label's class has fewer other images than there are voters.
	// Other classes can then outvote it by their number alone.
	Outnumbered bool
}

// Margin is the lead of the suggested class over the label in the neighbours' votes: above 0, at
// most 1.
func (l LabelError) Margin() float64 { return l.Other - l.Given }

// LabelErrors lists the images whose label gets fewer of their neighbours' votes than another
// class. The largest margin comes first; ties go to the lower row. Images of the classes that
// Outnumbered names come after all others. The vote is evaluate.KNN's (Wu
// et al. 2018, Sec. 3.4) among the k nearest other images: an image does not vote for itself. The
// margin between the best other class and the given label is the "normalized margin" of Northcutt
// et al. 2021 (Confident learning, Sec. 3), with votes in place of a classifier's probabilities.
func (x Explorer) LabelErrors(ctx context.Context, set *evaluate.Embedded, vote evaluate.KNN) ([]LabelError, error) {
	switch {
	case set.Len() == 0:
		return nil, errEmpty
	case len(set.Classes) == 0 || slices.Min(set.Labels) < 0:
		return nil, errors.New("the images have no labels that could be wrong; give a folder with one folder a class")
	case vote.K < 1 || !(vote.T > 0):
		return nil, fmt.Errorf("label errors need k of at least 1 and t above 0, not %d and %v", vote.K, vote.T)
	}
	few := make([]bool, len(set.Classes))
	for _, c := range Outnumbered(set, vote.K) {
		few[c.Class] = true
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
			all = append(all, LabelError{Row: row, Suggested: best, Given: votes[label] / sum, Other: votes[best] / sum,
				Nearest: slices.Clone(list[:min(shownNeighbours, len(list))]), Outnumbered: few[label]})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b LabelError) int {
		return cmp.Or(last(a.Outnumbered, b.Outnumbered), cmp.Compare(b.Margin(), a.Margin()), cmp.Compare(a.Row, b.Row))
	})
	return all, err
}

// last orders what is true behind what is not.
func last(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// ClassSize is a class with the number of its images.
type ClassSize struct{ Class, Images int }

// Outnumbered lists the classes that have images, but for each of these fewer others than k. Even if
// all of them are among the k nearest images, the rest of the k are of other classes.
func Outnumbered(set *evaluate.Embedded, k int) []ClassSize {
	images := make([]int, len(set.Classes))
	for _, l := range set.Labels {
		images[l]++
	}
	var few []ClassSize
	for class, n := range images {
		if n > 0 && n-1 < k {
			few = append(few, ClassSize{Class: class, Images: n})
		}
	}
	return few
}
