package explore

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"moco/evaluate"
)

// edge is a directed edge of the graph of neighbours.
type edge struct {
	from, to int32
	weight   float32
}

// joined makes the graph of neighbours from each row's nearest rows. Its weights are symmetric: of
// the weights a and b that two rows give each other, a+b-ab counts (UMAP, Sec. 3.1).
func joined(near [][]evaluate.Neighbour, n, k int) (*edges, error) {
	if len(near) != n {
		return nil, fmt.Errorf("there are neighbours of %d rows for %d rows", len(near), n)
	}
	var all []edge
	for i, list := range near {
		list = list[:min(k, len(list))]
		for _, other := range list {
			if other.Row < 0 || other.Row >= n || other.Row == i || other.Similarity-other.Similarity != 0 {
				return nil, fmt.Errorf("row %d has row %d at a similarity of %v among its neighbours: that cannot be",
					i, other.Row, other.Similarity)
			}
		}
		for j, w := range memberships(list) {
			to := list[j].Row
			all = append(all, edge{int32(i), int32(to), w}, edge{int32(to), int32(i), w})
		}
	}
	slices.SortFunc(all, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.weight, b.weight))
	})
	e := &edges{start: make([]int32, n+1)}
	var weight []float32
	for i := 0; i < len(all); i++ {
		w := all[i].weight
		if i+1 < len(all) && all[i+1].from == all[i].from && all[i+1].to == all[i].to {
			i++
			w += all[i].weight - w*all[i].weight
		}
		e.choice, weight = append(e.choice, choice{to: all[i].to}), append(weight, w)
		e.start[all[i].from+1]++
	}
	for i := range n {
		e.start[i+1] += e.start[i]
	}
	for i := range n {
		alias(e.choice[e.start[i]:e.start[i+1]], weight[e.start[i]:e.start[i+1]])
	}
	return e, nil
}

// memberships are the weights that a row gives its neighbours: 1 to the nearest one, and less to
// others by their distance, at such a scale that all add up to the binary logarithm of their
// number.
func memberships(list []evaluate.Neighbour) []float32 {
	beyond := make([]float64, len(list)) // distance beyond that of the nearest neighbour
	nearest, mean := math.Inf(1), 0.0
	for i, n := range list {
		beyond[i] = max(0, 1-float64(n.Similarity))
		nearest = min(nearest, beyond[i])
		mean += beyond[i] / float64(len(list))
	}
	for i := range beyond {
		beyond[i] -= nearest
	}
	total := func(scale float64) (sum float64) {
		for _, b := range beyond {
			sum += math.Exp(-b / scale)
		}
		return sum
	}
	// The sum rises with the scale. Many neighbours at one distance can make it larger than wanted
	// at any scale, so the scale has a lower end.
	want := max(1, math.Log2(float64(len(list))))
	low, high := max(1e-3*mean, 1e-7), max(1e3*mean, 1e-6)
	for range 64 {
		if middle := math.Sqrt(low * high); total(middle) > want {
			high = middle
		} else {
			low = middle
		}
	}
	w := make([]float32, len(list))
	for i, b := range beyond {
		w[i] = float32(math.Exp(-b / high))
	}
	return w
}

// alias prepares draws among neighbours with some weights (Vose 1991, A linear algorithm for
// generating random numbers with a given distribution).
func alias(list []choice, weight []float32) {
	var sum float64
	for _, w := range weight {
		sum += float64(w)
	}
	share := make([]float64, len(list)) // of the draws, times the number of neighbours
	var less, more []int
	put := func(at int) {
		if share[at] < 1 {
			less = append(less, at)
		} else {
			more = append(more, at)
		}
	}
	for at, w := range weight {
		share[at] = float64(w) / sum * float64(len(list))
		put(at)
	}
	for len(less) > 0 && len(more) > 0 {
		small, large := less[len(less)-1], more[len(more)-1]
		less, more = less[:len(less)-1], more[:len(more)-1]
		list[small].keep, list[small].other = float32(share[small]), list[large].to
		share[large] -= 1 - share[small]
		put(large)
	}
	for _, at := range append(less, more...) { // 1 but for rounding
		list[at].keep = 1
	}
}
