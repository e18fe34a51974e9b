package classify

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/text/unicode/norm"

	"moco/encoder"
	"moco/evaluate"
	"moco/internal/loader"
	"moco/tensor"
)

// rows is labelled rows of a set, whose classes all occur. The features stay where they are.
type rows struct {
	x       []float32 // of the set
	at      []int     // [n], places of the rows in the set
	labels  []int     // [n], places in classes
	dim     int
	classes []string
}

func (r *rows) len() int { return len(r.labels) }

func (r *rows) row(i int) []float32 { return r.x[r.at[i]*r.dim : (r.at[i]+1)*r.dim] }

// labelledOf takes the labelled rows of a set. Names of classes that differ only in their Unicode
// form, as those of macOS's and Linux's folders do, are one class.
func labelledOf(set *evaluate.Embedded) (*rows, error) {
	r := &rows{x: set.Features, dim: set.Dim}
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
	r.at, r.labels = make([]int, 0, n), make([]int, 0, n)
	for i, l := range set.Labels {
		if l >= 0 {
			r.at, r.labels = append(r.at, i), append(r.labels, class[l])
		}
	}
	return r, r.check()
}

// check returns an *encoder.FeaturesError if a labelled row is not finite.
func (r *rows) check() error {
	var wrong *encoder.FeaturesError
	for i, at := range r.at {
		if encoder.Finite(r.row(i)) {
			continue
		}
		if wrong == nil {
			wrong = &encoder.FeaturesError{Of: r.len(), First: rowName(at)}
		}
		wrong.Images++
	}
	if wrong != nil {
		return wrong
	}
	return nil
}

// rowName names a row where nothing tells which image it is of.
func rowName(row int) string { return fmt.Sprintf("row %d", row) }

// part is some of the rows.
func (r *rows) part(list []int) *rows {
	p := &rows{x: r.x, dim: r.dim, classes: r.classes, at: make([]int, len(list)), labels: make([]int, len(list))}
	for k, i := range list {
		p.at[k], p.labels[k] = r.at[i], r.labels[i]
	}
	return p
}

// centred is the rows from lo up to hi less a mean, for the engine.
func (r *rows) centred(lo, hi int, mean []float32) *tensor.Tensor {
	t := tensor.New(tensor.Float32, hi-lo, r.dim)
	parts(hi-lo, func(first, last int) {
		for i := first; i < last; i++ {
			to := t.Float32s()[i*r.dim : (i+1)*r.dim]
			for j, v := range r.row(lo + i) {
				to[j] = v - mean[j]
			}
		}
	})
	return t
}

// transposed is a matrix turned.
func transposed(t *tensor.Tensor) *tensor.Tensor {
	n, dim := t.Shape[0], t.Shape[1]
	turned := tensor.New(tensor.Float32, dim, n)
	from, to := t.Float32s(), turned.Float32s()
	parts(n, func(first, last int) {
		for j := range dim {
			for i := first; i < last; i++ {
				to[j*n+i] = from[i*dim+j]
			}
		}
	})
	return turned
}

// parts does work on n rows on all processors, some rows at a time: few enough to stay in a cache.
func parts(n int, work func(first, last int)) {
	const each = 64
	// Without a context it does not fail.
	loader.Parallel(context.Background(), (n+each-1)/each, runtime.GOMAXPROCS(0), func(_, part int) error {
		work(part*each, min((part+1)*each, n))
		return nil
	})
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
