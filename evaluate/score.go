package evaluate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Score is how often predicted classes are the true ones.
type Score struct {
	Top1      float64  `json:"top1"`           // percent
	Top5      float64  `json:"top5,omitempty"` // percent; where there are more than five classes
	Classes   []string `json:"classes"`
	Confusion [][]int  `json:"confusion"` // [true class][predicted class]

	Predicted []int `json:"-"` // for each image
}

// score counts, with votes telling for each image how much speaks for each class.
func score(classes []string, labels []int, votes func(image int) []float64) Score {
	s := Score{Classes: classes, Confusion: make([][]int, len(classes))}
	for c := range s.Confusion {
		s.Confusion[c] = make([]int, len(classes))
	}
	var right, right5 int
	order := make([]int, len(classes))
	for i, label := range labels {
		votes := votes(i)
		for c := range order {
			order[c] = c
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(votes[b], votes[a]) })
		s.Predicted = append(s.Predicted, order[0])
		s.Confusion[label][order[0]]++
		if order[0] == label {
			right++
		}
		if slices.Contains(order[:min(5, len(order))], label) {
			right5++
		}
	}
	s.Top1 = 100 * float64(right) / float64(len(labels))
	if len(classes) > 5 {
		s.Top5 = 100 * float64(right5) / float64(len(labels))
	}
	return s
}

// Classified is how the head of a classifier does whose features are logits of classes; their length says nothing of which is the largest. Test may have fewer classes,
// in another order.
func Classified(classes []string, test *Embedded) (Score, error) {
	switch {
	case test.Dim != len(classes):
		return Score{}, fmt.Errorf("the encoder's head gives %d features, which cannot be one for each of %d classes", test.Dim, len(classes))
	case test.Len() == 0 || slices.Min(test.Labels) < 0:
		return Score{}, errors.New("a classifier needs labelled test images; give class folders")
	}
	labels, err := sameClasses(&Embedded{Classes: classes}, test)
	if err != nil {
		return Score{}, err
	}
	logits := make([]float64, test.Dim)
	return score(classes, labels, func(i int) []float64 {
		for c, v := range test.Features[i*test.Dim : (i+1)*test.Dim] {
			logits[c] = float64(v)
		}
		return logits
	}), nil
}

// Spread is what several seeds make of a figure.
type Spread struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	Runs int     `json:"runs"`
}

// SpreadOf is the spread of values; of none, zero.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	s := Spread{Low: slices.Min(values), High: slices.Max(values), Runs: len(values)}
	for _, v := range values {
		s.Mean += v / float64(len(values))
	}
	s.Mean = math.Max(s.Low, math.Min(s.High, s.Mean)) // rounding must not take it out of its own bounds
	return s
}

// String is the mean with the lowest and the highest, as percent.
func (s Spread) String() string {
	switch s.Runs {
	case 0:
		return "not run"
	case 1:
		return fmt.Sprintf("%.2f%%", s.Mean)
	}
	return fmt.Sprintf("%.2f%% (%.2f to %.2f)", s.Mean, s.Low, s.High)
}
