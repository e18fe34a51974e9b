package explore

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"moco/data"
	"moco/internal/loader"
)

// Group is copies of one picture: its best and all others that are at the threshold with the best.
// A picture is in one group at most.
type Group struct {
	Best int
	Why  Why
	Rows []int // all, rising
	// Pairs are the best, as A, with each of the others, as B, by falling similarity. The last is
	// the weakest link.
	Pairs []Pair
}

// Weakest is the pair of the best with the picture that is least like it.
func (g Group) Weakest() Pair { return g.Pairs[len(g.Pairs)-1] }

// Extras are the rows beside the best, rising.
func (g Group) Extras() []int {
	return slices.DeleteFunc(slices.Clone(g.Rows), func(r int) bool { return r == g.Best })
}

// Reason is what makes a copy the best of its group, by the first difference to the next best.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	AlreadyThere    Reason = "already there" // an older image, where new ones are compared with it
	MostPixels      Reason = "most pixels"
	LeastCompressed Reason = "least compressed"
	Oldest          Reason = "oldest"
	FirstInOrder    Reason = "first in order" // nothing else tells them apart
)

// Why says why a copy is the best of its group.
type Why struct {
	Reason     Reason
	Best, Next data.Source // of the best copy and of the next best
}

// String is the reason with its numbers, such as "most pixels: 4000 x 3000, the next 1200 x 900".
func (w Why) String() string {
	size := func(s data.Source) string { return fmt.Sprintf("%d x %d", s.Width, s.Height) }
	rate := func(s data.Source) string { return fmt.Sprintf("%.3g", float64(s.Bytes)/float64(s.Pixels())) }
	switch w.Reason {
	case AlreadyThere:
		if w.Next.Pixels() > w.Best.Pixels() {
			return fmt.Sprintf("%s, but smaller: %s, a new one %s", w.Reason, size(w.Best), size(w.Next))
		}
	case MostPixels:
		return fmt.Sprintf("%s: %s, the next %s", w.Reason, size(w.Best), size(w.Next))
	case LeastCompressed:
		return fmt.Sprintf("%s: %s bytes a pixel, the next %s", w.Reason, rate(w.Best), rate(w.Next))
	case Oldest:
		return fmt.Sprintf("%s: %s, the next %s", w.Reason, stamp(w.Best.Time), stamp(w.Next.Time))
	}
	return string(w.Reason)
}

// stamp is a time for people.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "without a date"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// ranked is a row with what its rank among copies follows from.
type ranked struct {
	row int
	old bool
	data.Source
}

// compare orders copies, the better first, and says by what.
func (r ranked) compare(s ranked) (int, Reason) {
	rate := func(r ranked) float64 { return float64(r.Bytes) / float64(max(1, r.Pixels())) }
	old := func(r ranked) int {
		if r.old {
			return 0
		}
		return 1
	}
	for _, by := range []struct {
		order  int
		reason Reason
	}{
		{cmp.Compare(old(r), old(s)), AlreadyThere},
		{cmp.Compare(s.Pixels(), r.Pixels()), MostPixels},
		{cmp.Compare(rate(s), rate(r)), LeastCompressed},
		{compareTimes(r.Time, s.Time), Oldest},
	} {
		if by.order != 0 {
			return by.order, by.reason
		}
	}
	return cmp.Compare(r.row, s.row), FirstInOrder
}

// compareTimes orders times, the earlier first and unknown ones last.
func compareTimes(a, b time.Time) int {
	if a.IsZero() != b.IsZero() {
		if a.IsZero() {
			return 1
		}
		return -1
	}
	return a.Compare(b)
}

// grouping makes groups of pairs.
type grouping struct {
	Duplicates
	// pair compares two images that are not among the pairs. If it is nil, the pairs are all that
	// there are.
	pair func(a, b int) (Pair, error)
	old  func(row int) bool // nil: none is
}

// groups takes the images from the best to the worst. Each that is in no group yet begins one, with
// all its copies that are in none. So every image of a group is at the threshold with its best, and
// images that only a chain of others connects are not together.
func (g grouping) groups(ctx context.Context, pairs []Pair) ([]Group, error) {
	links := map[int]map[int]Pair{}
	link := func(a, b int, p Pair) {
		if links[a] == nil {
			links[a] = map[int]Pair{}
		}
		links[a][b] = Pair{A: a, B: b, Similarity: p.Similarity, Cosine: p.Cosine}
	}
	for _, p := range pairs {
		link(p.A, p.B, p)
		link(p.B, p.A, p)
	}
	order, err := g.rank(ctx, links)
	if err != nil {
		return nil, err
	}
	place := make(map[int]int, len(order)) // in the order
	for i, r := range order {
		place[r.row] = i
	}
	taken := map[int]bool{}
	var all []Group
	for i, best := range order {
		if taken[best.row] {
			continue
		}
		copies, err := g.copies(ctx, links, taken, best.row)
		if err != nil {
			return nil, err
		}
		one := Group{Best: best.row, Rows: []int{best.row}}
		next := len(order)
		for _, p := range copies {
			if !taken[p.B] {
				one.Rows, one.Pairs = append(one.Rows, p.B), append(one.Pairs, p)
				next = min(next, place[p.B])
			}
		}
		if len(one.Pairs) == 0 {
			continue
		}
		for _, r := range one.Rows {
			taken[r] = true
		}
		slices.Sort(one.Rows)
		slices.SortFunc(one.Pairs, func(p, q Pair) int {
			return cmp.Or(cmp.Compare(q.Similarity, p.Similarity), cmp.Compare(p.B, q.B))
		})
		_, reason := order[i].compare(order[next])
		one.Why = Why{Reason: reason, Best: order[i].Source, Next: order[next].Source}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Rows), len(a.Rows)), cmp.Compare(a.Rows[0], b.Rows[0]))
	})
	return all, nil
}

// rank orders the linked rows, the best copy first.
func (g grouping) rank(ctx context.Context, links map[int]map[int]Pair) ([]ranked, error) {
	order := make([]ranked, 0, len(links))
	for row := range links {
		order = append(order, ranked{row: row, old: g.old != nil && g.old(row)})
	}
	if g.Source != nil {
		err := loader.Parallel(ctx, len(order), runtime.GOMAXPROCS(0), func(_, i int) (err error) {
			order[i].Source, err = g.Source(order[i].row)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(order, func(r, s ranked) int {
		c, _ := r.compare(s)
		return c
	})
	return order, nil
}

// copies are the pairs of a row. The copies of its copies are compared with it too, since the search
// may have proposed them to those only.
func (g grouping) copies(ctx context.Context, links map[int]map[int]Pair, taken map[int]bool, of int) ([]Pair, error) {
	var found []Pair
	var more []int
	seen := map[int]bool{of: true}
	for b, p := range links[of] {
		seen[b] = true
		found = append(found, p)
	}
	if g.pair == nil {
		return found, nil
	}
	for _, p := range found {
		for b := range links[p.B] {
			if !seen[b] && !taken[b] && !taken[p.B] {
				seen[b] = true
				more = append(more, b)
			}
		}
	}
	looked := make([]Pair, len(more))
	err := loader.Parallel(ctx, len(more), runtime.GOMAXPROCS(0), func(_, i int) (err error) {
		looked[i], err = g.pair(of, more[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, p := range looked {
		if g.reached(p) {
			found = append(found, Pair{A: of, B: more[i], Similarity: p.Similarity, Cosine: p.Cosine})
		}
	}
	return found, nil
}
