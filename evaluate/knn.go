// Package evaluate measures what an encoder has learned. The engine is passed in.
package evaluate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"moco/engine"
	"moco/graph"
	"moco/internal/loader"
	"moco/tensor"
)

// Embedded is the features of a set of images.
type Embedded struct {
	Features []float32 // [N,Dim], each row of length one
	Labels   []int     // [N]; -1: none
	Images   []int     // [N]; each row's place in the set that it was made from; nil where there is no such set
	Dim      int
	Classes  []string
	Bad      int // images that could not be read; they are not among the rows
}

// Len is the number of images.
func (e *Embedded) Len() int { return len(e.Labels) }

// KNN is the weighted k-nearest-neighbour classifier of Wu et al. 2018 (Sec. 3.4): of the K images of the bank that are most similar
// to a query, each votes for its class with weight exp(similarity/T).
type KNN struct {
	K int     // 200 in the paper; at most the size of the bank
	T float64 // 0.07 in the paper, 0.1 here as in the CIFAR demonstration
}

// Check says what cannot vote.
func (k KNN) Check() error {
	if k.K < 1 || !(k.T > 0) || math.IsInf(k.T, 1) {
		return fmt.Errorf("kNN needs k of at least 1 and t above 0, not %d and %v", k.K, k.T)
	}
	return nil
}

// Result is how a classifier did.
type Result struct {
	K       int     `json:"k"` // after the bank's size was considered
	T       float64 `json:"t"`
	Queries int     `json:"queries"`
	Bank    int     `json:"bank"`
	Score
}

// Neighbour is a row of the bank and its similarity to the query.
type Neighbour struct {
	Row        int
	Similarity float32
}

// nearest orders neighbours by falling similarity; ties go to the lower row.
func nearest(a, b Neighbour) int {
	return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.Row, b.Row))
}

// queriesAtOnce and rowsAtOnce bound the matrix of similarities, votersAtOnce the lists of neighbours that are held at once.
const queriesAtOnce, rowsAtOnce, votersAtOnce = 128, 4096, 2048

// Classify predicts the class of each query from the bank's. Labels of both must mean the same classes.
func (k KNN) Classify(ctx context.Context, e engine.Engine, bank, queries *Embedded) (*Result, error) {
	all, err := ClassifyAll(ctx, e, []KNN{k}, bank, queries, nil)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ClassifyAll is Classify with several k and t, from one search for the most neighbours that any of them needs; the results are in the order of the
// classifiers, and each is what it would be alone. progress, if not nil, is told how many queries are done.
//
// Beside the features, memory grows neither with the bank nor with the queries, but for the predicted class of each: 2,048 queries at a time have
// lists of the largest K, 16 bytes a neighbour, and similarities are made in tiles of 128 x 4,096.
func ClassifyAll(ctx context.Context, e engine.Engine, all []KNN, bank, queries *Embedded, progress func(done int)) ([]*Result, error) {
	if bank.Len() == 0 || queries.Len() == 0 {
		return nil, errors.New("kNN needs images in the bank and as queries; one of them has none")
	}
	if len(all) == 0 {
		return nil, errors.New("kNN needs at least one k and t")
	}
	most := 0
	for _, k := range all {
		if err := k.Check(); err != nil {
			return nil, err
		}
		most = max(most, min(k.K, bank.Len()))
	}
	if slices.Min(bank.Labels) < 0 || slices.Min(queries.Labels) < 0 {
		return nil, errors.New("kNN needs labelled images; give folders with one folder a class")
	}
	if bank.Dim != queries.Dim {
		return nil, fmt.Errorf("the bank's features have %d dimensions, the queries' %d", bank.Dim, queries.Dim)
	}
	labels, err := sameClasses(bank, queries)
	if err != nil {
		return nil, err
	}
	results := make([]*Result, len(all))
	for i, k := range all {
		results[i] = &Result{min(k.K, bank.Len()), k.T, queries.Len(), bank.Len(), newScore(bank.Classes)}
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

// Part is the rows first up to last, without a copy.
func (e *Embedded) Part(first, last int) *Embedded {
	p := &Embedded{Features: e.Features[first*e.Dim : last*e.Dim], Labels: e.Labels[first:last], Dim: e.Dim, Classes: e.Classes}
	if e.Images != nil {
		p.Images = e.Images[first:last]
	}
	return p
}

// sameClasses returns the queries' labels as places in the bank's list of classes: two sets may number the same names differently.
func sameClasses(bank, queries *Embedded) ([]int, error) {
	if queries.Classes == nil || slices.Equal(bank.Classes, queries.Classes) {
		return queries.Labels, nil
	}
	labels := make([]int, len(queries.Labels))
	for i, l := range queries.Labels {
		name := queries.Classes[l]
		if labels[i] = slices.Index(bank.Classes, name); labels[i] < 0 {
			return nil, fmt.Errorf("the class %q of the test images is not among those of the training images (%d classes, %q first)", name, len(bank.Classes), bank.Classes[0])
		}
	}
	return labels, nil
}

// Votes adds up the neighbours' weights for each class. The list is ordered. Where exp would be infinite (T below 1/700), all
// weights are divided by the largest.
func (k KNN) Votes(list []Neighbour, labels []int, classes int) []float64 {
	votes := make([]float64, classes)
	shift := 0.0
	if top := float64(list[0].Similarity) / k.T; math.Abs(top) > 700 {
		shift = top
	}
	for _, n := range list {
		votes[labels[n.Row]] += math.Exp(float64(n.Similarity)/k.T - shift)
	}
	return votes
}

// Neighbours finds, for each query, the k rows of the bank with the largest dot product, most similar first.
func Neighbours(ctx context.Context, e engine.Engine, bank, queries *Embedded, k int) ([][]Neighbour, error) {
	best := make([][]Neighbour, queries.Len())
	err := Similarities(ctx, e, bank, queries, func(query, lo int, similarity []float32) {
		best[query] = keepBest(best[query], similarity, lo, k)
	})
	if err != nil {
		return nil, fmt.Errorf("kNN: %w", err)
	}
	for _, list := range best {
		slices.SortFunc(list, nearest)
	}
	return best, nil
}

// Similarities visits the dot products of every query with every row of the bank, a tile at a time, by the engine's matrix product: visit
// gets those of one query with the rows lo, lo+1, ..., which are its own only until it returns. The tiles of one query come in the order of
// their rows, those of different queries at the same time from several goroutines.
func Similarities(ctx context.Context, e engine.Engine, bank, queries *Embedded, visit func(query, lo int, similarity []float32)) error {
	if bank.Len() == 0 || queries.Len() == 0 {
		return nil
	}
	if bank.Dim != queries.Dim {
		return fmt.Errorf("the bank's features have %d dimensions, the queries' %d", bank.Dim, queries.Dim)
	}
	dim, rows := bank.Dim, min(rowsAtOnce, bank.Len())
	g := graph.New()
	q := g.Input("queries", tensor.Float32, queriesAtOnce, dim)
	b := g.Variable("bank", tensor.Float32, rows, dim)
	g.Output("similarity", g.MatMul(q, b, false, true))
	s := e.NewState()
	p, err := e.Compile(g, s)
	if err != nil {
		return err
	}
	defer p.Close()
	chunk := tensor.New(tensor.Float32, rows, dim)
	for lo := 0; lo < bank.Len(); lo += rows {
		have := min(rows, bank.Len()-lo)
		copy(chunk.Float32s(), bank.Features[lo*dim:(lo+have)*dim])
		if err := s.Write("bank", chunk); err != nil {
			return err
		}
		for first := 0; first < queries.Len(); first += queriesAtOnce {
			if err := ctx.Err(); err != nil {
				return err
			}
			count := min(queriesAtOnce, queries.Len()-first)
			copy(p.Input("queries").Float32s(), queries.Features[first*dim:(first+count)*dim])
			if err := p.Run(); err != nil {
				return err
			}
			similarity := p.Output("similarity").Float32s()
			// the rows of a query are its own: no order of work changes the result
			err := loader.Parallel(ctx, count, runtime.GOMAXPROCS(0), func(_, i int) error {
				visit(first+i, lo, similarity[i*rows:i*rows+have])
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// keepBest merges similarities of rows lo, lo+1, ... into the k best so far, kept as a heap whose first element is the worst.
func keepBest(heap []Neighbour, similarity []float32, lo, k int) []Neighbour {
	worse := func(a, b Neighbour) bool { return nearest(a, b) > 0 }
	for i, s := range similarity {
		n := Neighbour{lo + i, s}
		if len(heap) < k {
			heap = append(heap, n)
			for c := len(heap) - 1; c > 0 && worse(heap[c], heap[(c-1)/2]); c = (c - 1) / 2 {
				heap[c], heap[(c-1)/2] = heap[(c-1)/2], heap[c]
			}
			continue
		}
		if !worse(heap[0], n) {
			continue
		}
		heap[0] = n
		for c := 0; ; {
			child := 2*c + 1
			if child >= k {
				break
			}
			if child+1 < k && worse(heap[child+1], heap[child]) {
				child++
			}
			if !worse(heap[child], heap[c]) {
				break
			}
			heap[c], heap[child] = heap[child], heap[c]
			c = child
		}
	}
	return heap
}
