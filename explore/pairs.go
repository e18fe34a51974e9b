package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"

	"moco/evaluate"
	"moco/internal/loader"
)

// pairsExactly is the largest number of rows of which every pair is looked at. More are hashed,
// where that finds all but a millionth of the pairs.
const pairsExactly = 200_000

// tooMany is the error of a search whose threshold passes so many pairs that they mean nothing.
func tooMany(threshold float32) error {
	return fmt.Errorf("more than %d million pairs of images have a cosine of %v; give a higher threshold "+
		"(or have the features collapsed?)", maxPairs/1_000_000, threshold)
}

// Pairs finds the pairs of rows whose cosine reaches a threshold, in the order of A and then B.
// Their Similarity is the cosine.
//
// Up to 200,000 rows, it looks at every pair. The time of that grows with the square of their
// number, so that of more rows, it hashes them (see hashing): a pair right at the threshold is then
// missed with a probability of at most one in a million, and any closer pair with less. At
// thresholds that are too low for that, it looks at every pair again. The same rows give the same
// pairs.
//
// Memory grows with the number of rows, and not with their length: [PairsMemory].
func (x Explorer) Pairs(ctx context.Context, set *evaluate.Embedded, threshold float32) ([]Pair, error) {
	if set.Len() <= pairsExactly {
		return x.allPairs(ctx, set, threshold)
	}
	h, err := newHashing(ctx, set, threshold)
	if err != nil {
		return nil, err
	}
	if h == nil { // the threshold is too low
		return x.allPairs(ctx, set, threshold)
	}
	return x.hashedPairs(ctx, set, h, threshold)
}

// allPairs looks at every pair.
func (x Explorer) allPairs(ctx context.Context, set *evaluate.Embedded, threshold float32) ([]Pair, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var count atomic.Int64
	var pairs []Pair
	for first := 0; first < set.Len(); first += queriesAtOnce {
		last := min(first+queriesAtOnce, set.Len())
		part, err := set.Part(first, last).InMemory()
		if err != nil {
			return nil, err
		}
		found := make([][]Pair, last-first)
		// The rows before the first one have been queries already.
		rest := set.Part(first, set.Len())
		err = evaluate.Similarities(ctx, x.Engine, rest, part, func(query, lo int, similarity []float32) {
			for i, s := range similarity {
				if s >= threshold-tolerance && lo+i > query {
					p := Pair{A: first + query, B: first + lo + i, Similarity: min(s, 1), Cosine: s}
					found[query] = append(found[query], p)
					if count.Add(1) > maxPairs {
						cancel(tooMany(threshold))
						return
					}
				}
			}
		})
		if errors.Is(err, context.Canceled) && context.Cause(ctx) != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		for _, list := range found {
			pairs = append(pairs, list...)
		}
		x.progress("search", last, set.Len())
	}
	return pairs, nil
}

// hashedPairs takes the candidates of each table in turn and computes their cosines.
func (x Explorer) hashedPairs(ctx context.Context, set *evaluate.Embedded, h *hashing, threshold float32) ([]Pair, error) {
	signs, central, err := x.signs(ctx, set, h)
	if err != nil {
		return nil, err
	}
	pairs, err := x.pairsOf(ctx, set, central, threshold)
	if err != nil {
		return nil, err
	}
	for table := range h.tables {
		found, err := x.tablePairs(ctx, set, signs.candidates(ctx, h, table), threshold)
		if err != nil {
			return nil, err
		}
		if pairs = append(pairs, found...); len(pairs) > maxPairs {
			return nil, tooMany(threshold)
		}
		x.progress("pairs", table+1, h.tables)
	}
	slices.SortFunc(pairs, byPlace)
	return slices.CompactFunc(pairs, func(a, b Pair) bool { return byPlace(a, b) == 0 }), nil
}

// pairsOf finds the pairs that some rows, in rising order, make with any others.
func (x Explorer) pairsOf(ctx context.Context, set *evaluate.Embedded, rows []int, threshold float32) ([]Pair, error) {
	var pairs []Pair
	for len(rows) > 0 {
		some := rows[:min(len(rows), queriesAtOnce)]
		rows = rows[len(some):]
		part := &evaluate.Embedded{Dim: set.Dim, Labels: make([]int, len(some)), Features: make([]float32, len(some)*set.Dim)}
		for i, r := range some {
			if err := set.Read(r, row(part, i)); err != nil {
				return nil, err
			}
		}
		found := make([][]Pair, len(some))
		err := evaluate.Similarities(ctx, x.Engine, set, part, func(query, lo int, similarity []float32) {
			for i, s := range similarity {
				if a, b := some[query], lo+i; s >= threshold-tolerance && a != b {
					p := Pair{A: min(a, b), B: max(a, b), Similarity: min(s, 1), Cosine: s}
					found[query] = append(found[query], p)
				}
			}
		})
		if err != nil {
			return nil, err
		}
		for _, list := range found {
			if pairs = append(pairs, list...); len(pairs) > maxPairs {
				return nil, tooMany(threshold)
			}
		}
	}
	return pairs, nil
}

// byPlace orders pairs by A, then B.
func byPlace(a, b Pair) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) }

// candidatesAtOnce is the number of candidates whose cosines are computed before the next are made.
const candidatesAtOnce = 1 << 16

// tablePairs computes the cosines of candidates, and keeps those that reach the threshold.
func (x Explorer) tablePairs(ctx context.Context, set *evaluate.Embedded, candidates iter.Seq2[int, int],
	threshold float32) ([]Pair, error) {
	var pairs []Pair
	lot := make([]Pair, 0, candidatesAtOnce)
	rows := make([][]float32, runtime.GOMAXPROCS(0))
	for w := range rows {
		rows[w] = make([]float32, 2*set.Dim)
	}
	compute := func() error {
		err := loader.Parallel(ctx, len(lot), len(rows), func(w, i int) (err error) {
			lot[i].Cosine, err = cosineIn(set, lot[i].A, lot[i].B, rows[w])
			return err
		})
		for _, p := range lot {
			if p.Cosine >= threshold-tolerance {
				p.Similarity = min(p.Cosine, 1)
				pairs = append(pairs, p)
			}
		}
		lot = lot[:0]
		return err
	}
	var err error
	for a, b := range candidates {
		if lot = append(lot, Pair{A: min(a, b), B: max(a, b)}); len(lot) < candidatesAtOnce {
			continue
		}
		if err = compute(); err != nil || len(pairs) > maxPairs {
			break
		}
	}
	if err == nil {
		err = compute()
	}
	return pairs, cmp.Or(err, ctx.Err())
}
