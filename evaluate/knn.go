// Package evaluate measures what an encoder has learned. The caller passes the engine.
package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"moco/engine"
)

// KNN is the weighted k-nearest-neighbour classifier of Wu et al. 2018 (Sec. 3.4). The K images of
// the bank that are most similar to a query each vote for their class with weight
// exp(similarity/T).
type KNN struct {
	K int     // 200 in the paper; at most the size of the bank
	T float64 // 0.07 in the paper; 0.1 here, as in the CIFAR demonstration
}

// Check returns an error if the classifier cannot vote.
func (k KNN) Check() error {
	if k.K < 1 || !(k.T > 0) || math.IsInf(k.T, 1) {
		return fmt.Errorf("kNN needs k of at least 1 and t above 0, not %d and %v", k.K, k.T)
	}
	return nil
}

// Result is the outcome of a classifier.
type Result struct {
	K       int     `json:"k"` // at most the bank's size
	T       float64 `json:"t"`
	Queries int     `json:"queries"`
	Bank    int     `json:"bank"`
	Score
}

// votersAtOnce limits the number of neighbour lists in memory.
const votersAtOnce = 2048

// Classify predicts the class of each query from the bank's labels. Both sets must have the same
// classes.
func (k KNN) Classify(ctx context.Context, e engine.Engine, bank, queries *Embedded) (*Result, error) {
	all, err := ClassifyAll(ctx, e, []KNN{k}, bank, queries, nil)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ClassifyAll is Classify for several k and t, with one search for the most neighbours that any of
// them needs. The results are in the order of the classifiers, and each equals the result of that
// classifier alone. progress, if not nil, is told how many queries are done.
//
// Only the features and the predicted classes grow with the bank or the queries. Beside them, 2,048
// queries at a time have lists of the largest K, 16 bytes a neighbour, and similarities are made in
// tiles of 128 x 4,096.
func ClassifyAll(ctx context.Context, e engine.Engine, all []KNN, bank, queries *Embedded, progress func(done int)) ([]*Result, error) {
	most, err := checkVote(all, bank, queries)
	if err != nil {
		return nil, err
	}
	labels, err := queries.labelsAs(bank.Classes)
	if err != nil {
		return nil, err
	}
	results := make([]*Result, len(all))
	for i, k := range all {
		results[i] = &Result{K: min(k.K, bank.Len()), T: k.T, Queries: queries.Len(), Bank: bank.Len(),
			Score: newScore(bank.Classes)}
	}
	for first := 0; first < queries.Len(); first += votersAtOnce {
		last := min(first+votersAtOnce, queries.Len())
		neighbours, err := Neighbours(ctx, e, bank, queries.Part(first, last), most)
		if err != nil {
			return nil, err
		}
		for q, list := range neighbours {
			for i, k := range all {
				results[i].count(k.Votes(list[:results[i].K], bank.Labels, len(bank.Classes)), labels[first+q])
			}
		}
		if progress != nil {
			progress(last)
		}
	}
	for _, r := range results {
		r.finish()
	}
	return results, nil
}

// checkVote returns the most neighbours that any of the classifiers needs, or an error if one
// cannot vote.
func checkVote(all []KNN, bank, queries *Embedded) (most int, err error) {
	switch {
	case bank.Len() == 0 || queries.Len() == 0:
		return 0, errors.New("kNN needs images in the bank and as queries; one of them has none")
	case len(all) == 0:
		return 0, errors.New("kNN needs at least one k and t")
	case slices.Min(bank.Labels) < 0 || slices.Min(queries.Labels) < 0:
		return 0, errors.New("kNN needs labelled images; give folders with one folder a class")
	case bank.Dim != queries.Dim:
		return 0, fmt.Errorf("the bank's features have %d dimensions, the queries' %d", bank.Dim, queries.Dim)
	}
	for _, k := range all {
		if err := k.Check(); err != nil {
			return 0, err
		}
		most = max(most, min(k.K, bank.Len()))
	}
	return most, nil
}

// Votes adds up the neighbours' weights for each class. The list is ordered, the nearest first. An
// empty list gives no votes. Where exp would be infinite (T below 1/700), all weights are divided
// by the largest.
func (k KNN) Votes(list []Neighbour, labels []int, classes int) []float64 {
	votes := make([]float64, classes)
	if len(list) == 0 {
		return votes
	}
	shift := 0.0
	if top := float64(list[0].Similarity) / k.T; math.Abs(top) > 700 {
		shift = top
	}
	for _, n := range list {
		votes[labels[n.Row]] += math.Exp(float64(n.Similarity)/k.T - shift)
	}
	return votes
}
