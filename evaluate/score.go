package evaluate

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Score tells how often predicted classes are the true ones.
type Score struct {
	Top1      float64  `json:"top1"`           // percent
	Top5      float64  `json:"top5,omitempty"` // percent; where there are more than five classes
	Classes   []string `json:"classes"`
	Confusion [][]int  `json:"confusion"` // [true class][predicted class]

	Predicted []int `json:"-"` // for each image
}

// newScore is an empty score.
func newScore(classes []string) Score {
	s := Score{Classes: classes, Confusion: make([][]int, len(classes))}
	for c := range s.Confusion {
		s.Confusion[c] = make([]int, len(classes))
	}
	return s
}

// count adds an image of a class, by the votes for each class. Ties go to the lower class. Top1 and
// Top5 count images until finish makes percentages of them.
func (s *Score) count(votes []float64, label int) {
	best := 0
	for c, v := range votes {
		if v > votes[best] || math.IsNaN(votes[best]) {
			best = c
		}
	}
	s.Predicted = append(s.Predicted, best)
	s.Confusion[label][best]++
	above := rank(votes, label)
	if above == 0 {
		s.Top1++
	}
	if above < 5 {
		s.Top5++
	}
}

// rank is the number of classes with more votes than the label. Ties go to the lower class. A NaN
// counts as more than any number, and a label with NaN votes comes last: a classifier that has
// diverged is never right.
func rank[F float32 | float64](votes []F, label int) int {
	if label < 0 || label >= len(votes) || votes[label] != votes[label] {
		return len(votes)
	}
	above := 0
	for i, v := range votes {
		if v > votes[label] || v == votes[label] && i < label || v != v {
			above++
		}
	}
	return above
}

// finish turns counts into percentages.
func (s *Score) finish() {
	n := len(s.Predicted)
	s.Top1 = percent(s.Top1, n)
	if s.Top5 = percent(s.Top5, n); len(s.Classes) <= 5 {
		s.Top5 = 0
	}
}

// percent is the share that a count has of n. The count is exact, so that its share has no tail: 51.22,
// and not 51.21999999999838.
func percent(count float64, n int) float64 { return 100 * count / float64(n) }

// Classified scores a classifier. The features of test are its head's outputs: a logit for each
// class. Normalising them to length one changes no order. test may have fewer classes, in another
// order.
func Classified(classes []string, test *Embedded) (Score, error) {
	switch {
	case test.Dim != len(classes):
		return Score{}, fmt.Errorf("the encoder's head gives %d features, which cannot be one for each of %d classes",
			test.Dim, len(classes))
	case test.Len() == 0 || slices.Min(test.Labels) < 0:
		return Score{}, errors.New("a classifier needs labelled test images; give class folders")
	}
	labels, err := test.labelsAs(classes)
	if err != nil {
		return Score{}, err
	}
	s := newScore(classes)
	logits := make([]float64, test.Dim)
	for i, label := range labels {
		for c, v := range test.Features[i*test.Dim : (i+1)*test.Dim] {
			logits[c] = float64(v)
		}
		s.count(logits, label)
	}
	s.finish()
	return s, nil
}

// Summary is the mean and the range of a figure over several seeds.
type Summary struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	Runs int     `json:"runs"`
}

// Summarise is the summary of values. Without values it is zero.
func Summarise(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	s := Summary{Low: slices.Min(values), High: slices.Max(values), Runs: len(values)}
	for _, v := range values {
		s.Mean += v / float64(len(values))
	}
	// Rounding must not take the mean out of the range.
	s.Mean = math.Max(s.Low, math.Min(s.High, s.Mean))
	return s
}

// String is the mean with the lowest and the highest, as percent.
func (s Summary) String() string {
	switch s.Runs {
	case 0:
		return "not run"
	case 1:
		return fmt.Sprintf("%.2f%%", s.Mean)
	}
	return fmt.Sprintf("%.2f%% (%.2f to %.2f)", s.Mean, s.Low, s.High)
}
