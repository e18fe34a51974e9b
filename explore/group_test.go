package explore

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"moco/data"
)

// TestGroups: every image of a group is at the threshold with its best, whatever the order of the
// pairs.
func TestGroups(t *testing.T) {
	t.Parallel()
	pair := func(a, b int, s float32) Pair { return Pair{A: a, B: b, Similarity: s} }
	size := func(w, h int) data.Source { return data.Source{Width: w, Height: h, Bytes: 1000} }
	at := func(bytes int64, day int) data.Source {
		s := data.Source{Width: 10, Height: 10, Bytes: bytes}
		if day > 0 {
			s.Time = time.Date(2020, 1, day, 0, 0, 0, 0, time.UTC)
		}
		return s
	}
	for name, c := range map[string]struct {
		pairs   []Pair
		sources []data.Source
		rows    [][]int
		best    []int
		why     []string
		weakest []float32
	}{
		"a chain": {
			pairs:   []Pair{pair(0, 1, 0.97), pair(1, 2, 0.98), pair(2, 3, 0.99)},
			sources: []data.Source{size(10, 10), size(20, 10), size(10, 10), size(10, 10)},
			rows:    [][]int{{0, 1, 2}},
			best:    []int{1},
			why:     []string{"most pixels: 20 x 10, the next 10 x 10"},
			weakest: []float32{0.97},
		},
		"two that share a picture": {
			pairs:   []Pair{pair(0, 1, 0.97), pair(1, 2, 0.98), pair(2, 3, 0.99)},
			sources: []data.Source{size(40, 10), size(10, 10), size(30, 10), size(10, 10)},
			rows:    [][]int{{0, 1}, {2, 3}},
			best:    []int{0, 2},
			why:     []string{"most pixels: 40 x 10, the next 10 x 10", "most pixels: 30 x 10, the next 10 x 10"},
			weakest: []float32{0.97, 0.99},
		},
		"less compressed": {
			pairs:   []Pair{pair(0, 1, 1), pair(0, 2, 0.96), pair(1, 2, 0.95)},
			sources: []data.Source{at(100, 1), at(300, 3), at(200, 2)},
			rows:    [][]int{{0, 1, 2}},
			best:    []int{1},
			why:     []string{"least compressed: 3 bytes a pixel, the next 2"},
			weakest: []float32{0.95},
		},
		"older": {
			pairs:   []Pair{pair(0, 1, 1), pair(0, 2, 1), pair(1, 2, 1)},
			sources: []data.Source{at(100, 0), at(100, 3), at(100, 2)},
			rows:    [][]int{{0, 1, 2}},
			best:    []int{2},
			why:     []string{"oldest: 2020-01-02 00:00:00, the next 2020-01-03 00:00:00"},
			weakest: []float32{1},
		},
		"all the same": {
			pairs:   []Pair{pair(3, 4, 1)},
			sources: []data.Source{{}, {}, {}, at(100, 1), at(100, 1)},
			rows:    [][]int{{3, 4}},
			best:    []int{3},
			why:     []string{"first in order"},
			weakest: []float32{1},
		},
	} {
		for range 5 {
			rand.Shuffle(len(c.pairs), func(i, j int) { c.pairs[i], c.pairs[j] = c.pairs[j], c.pairs[i] })
			d := Duplicates{Threshold: 0.95, Source: func(row int) (data.Source, error) { return c.sources[row], nil }}
			got, err := grouping{Duplicates: d}.groups(context.Background(), c.pairs)
			if err != nil {
				t.Fatal(err)
			}
			var rows [][]int
			var best []int
			var why []string
			var weakest []float32
			for _, g := range got {
				rows, best, why = append(rows, g.Rows), append(best, g.Best), append(why, g.Why.String())
				weakest = append(weakest, g.Weakest().Similarity)
				for _, p := range g.Pairs {
					if p.A != g.Best || !slices.Contains(g.Extras(), p.B) {
						t.Errorf("%s: the pair %+v is not of the best %d with another", name, p, g.Best)
					}
				}
			}
			if !reflect.DeepEqual(rows, c.rows) || !slices.Equal(best, c.best) || !slices.Equal(why, c.why) ||
				!slices.Equal(weakest, c.weakest) {
				t.Fatalf("%s: groups %v, best %v, %q, weakest %v; want %v, %v, %q, %v",
					name, rows, best, why, weakest, c.rows, c.best, c.why, c.weakest)
			}
		}
	}
}

// TestSourceThatFails: an image whose file is gone is an error.
func TestSourceThatFails(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	d := Duplicates{Threshold: 0.9, Source: func(int) (data.Source, error) { return data.Source{}, gone }}
	if _, err := (grouping{Duplicates: d}).groups(context.Background(), []Pair{{A: 0, B: 1, Similarity: 1}}); !errors.Is(err, gone) {
		t.Errorf("the error is %v", err)
	}
}

// TestMoreCopiesThanCandidates: all copies of one picture are one group, also where an image has
// more of them than are looked at.
func TestMoreCopiesThanCandidates(t *testing.T) {
	t.Parallel()
	var rows [][]float64
	var images []*data.Image
	for range 9 {
		rows, images = append(rows, []float64{1, 0}), append(images, badge(48, red, plus))
	}
	rows, images = append(rows, []float64{1, 0.1}), append(images, badge(48, blue, plus))
	d := Duplicates{Threshold: OverlayThreshold, Candidates: 2,
		Image:  func(row int, dst *data.Image) error { *dst = *images[row]; return nil },
		Source: func(row int) (data.Source, error) { return data.Source{Width: 1, Height: 1 + row%8, Bytes: 1}, nil },
	}
	got, err := explorer(t, 0).Duplicates(context.Background(), embedded(rows...), d)
	if err != nil || len(got) != 1 || got[0].Best != 7 || !slices.Equal(got[0].Rows, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("the groups are %+v (%v), want one of nine", got, err)
	}
}
