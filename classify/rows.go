package classify

import (
	"fmt"

	"golang.org/x/text/unicode/norm"

	"moco/evaluate"
	"moco/tensor"
)

// rows is labelled rows of features, whose classes all occur.
type rows struct {
	x       []float32 // [n,dim]
	labels  []int     // [n], places in classes
	dim     int
	classes []string
}

func (r *rows) len() int { return len(r.labels) }

func (r *rows) row(i int) []float32 { return r.x[i*r.dim : (i+1)*r.dim] }

// labelledOf takes the labelled rows of a set. Names of classes that differ only in their Unicode
// form, as those of macOS's and Linux's folders do, are one class.
func labelledOf(set *evaluate.Embedded) (*rows, error) {
	r := &rows{dim: set.Dim}
	counts := make([]int, len(set.Classes))
	n := 0
	for i, l := range set.Labels {
		if l >= len(counts) {
			return nil, fmt.Errorf("row %d has label %d, and there are names of %d classes", i, l, len(counts))
		}
		if l >= 0 {
			counts[l]++
			n++
		}
	}
	class, known := make([]int, len(counts)), map[string]int{}
	for l, count := range counts {
		if count == 0 {
			continue
		}
		name := norm.NFC.String(set.Classes[l])
		if _, ok := known[name]; !ok {
			known[name] = len(r.classes)
			r.classes = append(r.classes, name)
		}
		class[l] = known[name]
	}
	if len(r.classes) < 2 {
		return nil, ErrFewClasses
	}
	r.x, r.labels = make([]float32, 0, n*r.dim), make([]int, 0, n)
	for i, l := range set.Labels {
		if l >= 0 {
			r.x, r.labels = append(r.x, set.Row(i)...), append(r.labels, class[l])
		}
	}
	return r, nil
}

// part is a copy of some rows.
func (r *rows) part(list []int) *rows {
	p := &rows{dim: r.dim, classes: r.classes, x: make([]float32, 0, len(list)*r.dim), labels: make([]int, 0, len(list))}
	for _, i := range list {
		p.x, p.labels = append(p.x, r.row(i)...), append(p.labels, r.labels[i])
	}
	return p
}

// centred is the rows less a mean, for the engine.
func (r *rows) centred(mean []float32) *tensor.Tensor {
	t := tensor.New(tensor.Float32, r.len(), r.dim)
	for i := range r.len() {
		to := t.Float32s()[i*r.dim : (i+1)*r.dim]
		for j, v := range r.row(i) {
			to[j] = v - mean[j]
		}
	}
	return t
}

// counts is the number of rows of each class.
func (r *rows) counts() []int {
	counts := make([]int, len(r.classes))
	for _, l := range r.labels {
		counts[l]++
	}
	return counts
}

// centre is the mean row, and the mean squared distance of a row from it.
func (r *rows) centre() (mean []float32, spread float64) {
	sum, square := make([]float64, r.dim), 0.0
	for i := range r.len() {
		for j, v := range r.row(i) {
			sum[j] += float64(v)
			square += float64(v) * float64(v)
		}
	}
	mean = make([]float32, r.dim)
	n := float64(r.len())
	for j, s := range sum {
		mean[j] = float32(s / n)
		square -= s * s / n
	}
	return mean, square / n
}
