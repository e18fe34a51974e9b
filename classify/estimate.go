package classify

import (
	"fmt"
	"math"
	"strings"
)

// Estimate is how accurate a classifier is expected to be on pictures like the labelled ones. It
// comes from rows that were held out: each was predicted by a fit that had not seen it. Where the
// labelled pictures were not picked at random from those that are to be classified, the accuracy on
// these is another: lower if the labelled ones are the easy ones, for instance.
type Estimate struct {
	Interval
	Labelled int `json:"labelled"` // rows with a label
	HeldOut  int `json:"held_out"` // rows that were held out and predicted; 0: there is no estimate
	// PerClass has the accuracy on the rows of each class.
	PerClass []ClassEstimate `json:"per_class"`
	// Confusion counts held-out rows: [true class][predicted class].
	Confusion [][]int `json:"confusion"`
	// Enough is true if the labels are enough to say: the interval is at most 20 points wide, and
	// there are at least FewLabels of each class.
	Enough bool `json:"enough"`

	rows []heldOutRow
}

// FewLabels is how many labels a class needs for Estimate.Enough.
const FewLabels = 5

// widest is the widest interval of an estimate that says something.
const widest = 0.2

// Interval is an accuracy, a share from 0 to 1, and its 95% interval by Wilson (1927). Without rows
// all that is known is that it lies between 0 and 1.
type Interval struct {
	Accuracy float64 `json:"accuracy"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

// ClassEstimate is the accuracy on the rows of one class.
type ClassEstimate struct {
	Class string `json:"class"`
	Interval
	Labelled int `json:"labelled"`
	HeldOut  int `json:"held_out"`
}

// interval is the share of right rows among n, with its interval.
func interval(right, n int) Interval {
	if n == 0 {
		return Interval{High: 1}
	}
	const z = 1.959964 // of 95%
	share, count := float64(right)/float64(n), float64(n)
	middle := (share + z*z/(2*count)) / (1 + z*z/count)
	half := z / (1 + z*z/count) * math.Sqrt(share*(1-share)/count+z*z/(4*count*count))
	return Interval{Accuracy: share, Low: max(0, min(share, middle-half)), High: min(1, max(share, middle+half))}
}

// heldOutRow is a row that was held out: its place in the set, its label, and what it was taken for.
type heldOutRow struct{ at, label, taken int }

// estimate counts what held-out rows were taken for. labelled is the number of labels of each class.
func estimate(h *heldOut, classes []string, labelled []int) Estimate {
	rows := make([]heldOutRow, len(h.labels))
	for i, label := range h.labels {
		best := 0
		row := h.row(i)
		for c, v := range row {
			if v > row[best] {
				best = c
			}
		}
		rows[i] = heldOutRow{h.at[i], label, best}
	}
	return count(rows, classes, labelled)
}

// count makes an estimate of rows that were held out.
func count(rows []heldOutRow, classes []string, labelled []int) Estimate {
	e := Estimate{HeldOut: len(rows), Confusion: make([][]int, len(classes)), rows: rows}
	for c := range e.Confusion {
		e.Confusion[c] = make([]int, len(classes))
	}
	for _, r := range rows {
		e.Confusion[r.label][r.taken]++
	}
	right, enough := 0, true
	for c, name := range classes {
		n := 0
		for _, count := range e.Confusion[c] {
			n += count
		}
		e.PerClass = append(e.PerClass, ClassEstimate{Class: name, Interval: interval(e.Confusion[c][c], n),
			Labelled: labelled[c], HeldOut: n})
		e.Labelled += labelled[c]
		right += e.Confusion[c][c]
		enough = enough && labelled[c] >= FewLabels
	}
	e.Interval = interval(right, e.HeldOut)
	e.Enough = enough && e.High-e.Low <= widest
	return e
}

// Among is the estimate by some of the held-out rows alone, for instance by those that were picked
// at random; counts says of a row's place in the set whether it is one. It needs a classifier that
// was fitted here: one from a file does not know the rows, and its Among has none.
func (e *Estimate) Among(counts func(row int) bool) Estimate {
	var rows []heldOutRow
	for _, r := range e.rows {
		if counts(r.at) {
			rows = append(rows, r)
		}
	}
	var classes []string
	var labelled []int
	for _, c := range e.PerClass {
		classes, labelled = append(classes, c.Class), append(labelled, c.Labelled)
	}
	return count(rows, classes, labelled)
}

// Lacking says in a sentence why the labels are too few for an estimate, empty if Enough.
func (e *Estimate) Lacking() string {
	if e.Enough {
		return ""
	}
	var few []string
	for _, c := range e.PerClass {
		if c.Labelled < FewLabels {
			few = append(few, fmt.Sprintf("%s has %d", c.Class, c.Labelled))
		}
	}
	const most = 5
	switch {
	case e.Labelled == 0:
		return "the classifier's file does not tell what it was tested on"
	case e.HeldOut == 0:
		return "fewer than two classes have two labels, so that none could be held out to test with"
	case len(few) > most:
		return fmt.Sprintf("%d of %d classes have fewer than %d labels", len(few), len(e.PerClass), FewLabels)
	case len(few) > 0:
		return fmt.Sprintf("a class needs %d labels: %s", FewLabels, strings.Join(few, ", "))
	}
	return fmt.Sprintf("%d labels leave it between %.0f and %.0f%%", e.HeldOut, 100*e.Low, 100*e.High)
}
