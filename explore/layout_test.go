package explore

import (
	"cmp"
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"moco/evaluate"
	"moco/internal/rng"
)

// onMap is, of some rows, the k other rows that lie nearest on the map.
func onMap(places []Point, rows []int, k int) [][]int {
	all := make([][]int, len(rows))
	for r, i := range rows {
		others := make([]int, 0, len(places)-1)
		for j := range places {
			if j != i {
				others = append(others, j)
			}
		}
		square := func(j int) float64 {
			return math.Pow(float64(places[j].X-places[i].X), 2) + math.Pow(float64(places[j].Y-places[i].Y), 2)
		}
		slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(square(a), square(b)) })
		all[r] = others[:min(k, len(others))]
	}
	return all
}

// sample is every step-th row of n.
func sample(n, step int) (rows []int) {
	for i := 0; i < n; i += step {
		rows = append(rows, i)
	}
	return rows
}

func isOnMap(t *testing.T, places []Point, n int) {
	t.Helper()
	if len(places) != n {
		t.Fatalf("%d places for %d rows", len(places), n)
	}
	var most float32
	for i, p := range places {
		if !(p.X >= 0 && p.X <= 1 && p.Y >= 0 && p.Y <= 1) {
			t.Fatalf("row %d lies at %v, outside of the map", i, p)
		}
		most = max(most, abs(p.X-places[0].X), abs(p.Y-places[0].Y))
	}
	if n > 1 && most < 0.4 {
		t.Errorf("all lies within %v of the first row: the map does not fill its square", most)
	}
}

// TestLayoutKeepsGroupsApart: of a mixture of groups, nearly all that lies near an image on the map
// is of its group.
func TestLayoutKeepsGroupsApart(t *testing.T) {
	t.Parallel()
	const groups, k = 10, 15
	set := blobs(groups, 150, 0.1)
	places, err := explorer(t, 0).Layout(context.Background(), set, Layout{Rounds: 1000})
	if err != nil {
		t.Fatal(err)
	}
	isOnMap(t, places, set.Len())
	right, rows := 0, sample(set.Len(), 7)
	for r, list := range onMap(places, rows, k) {
		for _, j := range list {
			if set.Labels[j] == set.Labels[rows[r]] {
				right++
			}
		}
	}
	if share := float64(right) / float64(k*len(rows)); share < 0.97 {
		t.Errorf("%.3f of the neighbours on the map are of the same group, want 0.97", share)
	}
}

// TestLayoutPreservesNeighbours: the images lie on a bent sheet, which has two dimensions of its
// own. At least half of the nearest ones stay among the nearest on the map, where chance gives 1%.
func TestLayoutPreservesNeighbours(t *testing.T) {
	t.Parallel()
	const n, k = 1500, 15
	r := rng.New(3)
	var rows [][]float64
	for range n {
		u, v := r.Uniform(0, 2), r.Uniform(0, 2)
		rows = append(rows, []float64{math.Cos(u), math.Sin(u), math.Cos(v), math.Sin(v)})
	}
	set, x := embedded(rows...), explorer(t, 0)
	near := make([][]evaluate.Neighbour, n)
	err := x.Neighbours(context.Background(), set, k, func(row int, list []evaluate.Neighbour) error {
		near[row] = slices.Clone(list)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	places, err := x.Layout(context.Background(), set, Layout{Rounds: 1000, Near: near})
	if err != nil {
		t.Fatal(err)
	}
	kept, some := 0, sample(n, 7)
	for r, list := range onMap(places, some, k) {
		for _, b := range near[some[r]] {
			if slices.Contains(list, b.Row) {
				kept++
			}
		}
	}
	if share := float64(kept) / float64(k*len(some)); share < 0.5 {
		t.Errorf("%.3f of the nearest neighbours are nearest on the map, want 0.5", share)
	}
}

// TestLayoutBits: the same seed gives the same bits for any number of workers, and with neighbours
// that are given; another seed does not.
func TestLayoutBits(t *testing.T) { // not parallel: it sets the number of processors
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	set := blobs(4, pointsAtOnce, 0.2) // four blocks of work
	layout := func(workers int, l Layout) []Point {
		runtime.GOMAXPROCS(workers)
		l.Rounds, l.Neighbours = 60, 5
		places, err := explorer(t, workers).Layout(context.Background(), set, l)
		if err != nil {
			t.Fatal(err)
		}
		return places
	}
	want := layout(1, Layout{Seed: 1})
	for workers := 2; workers <= 3; workers++ {
		if !slices.Equal(layout(workers, Layout{Seed: 1}), want) {
			t.Errorf("%d workers give another map", workers)
		}
	}
	near := make([][]evaluate.Neighbour, set.Len())
	err := explorer(t, 0).Neighbours(context.Background(), set, 8, func(row int, list []evaluate.Neighbour) error {
		near[row] = slices.Clone(list)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(layout(2, Layout{Seed: 1, Near: near}), want) {
		t.Error("neighbours that are given change the map")
	}
	if slices.Equal(layout(2, Layout{Seed: 2, Near: near}), want) {
		t.Error("another seed gives the same map")
	}
}

func TestLayoutOfFew(t *testing.T) {
	t.Parallel()
	same := make([][]float64, 50)
	for i := range same {
		same[i] = []float64{3, 4}
	}
	line := embedded([]float64{1}, []float64{1}, []float64{-1}) // a single dimension
	for name, set := range map[string]*evaluate.Embedded{
		"one":                       embedded([]float64{1, 0}),
		"two":                       embedded([]float64{1, 0}, []float64{0, 1}),
		"fewer than neighbours":     blobs(3, 3, 0.1),
		"copies":                    embedded(same...),
		"copies and one other":      stacked(embedded(same...), embedded([]float64{1, -1})),
		"features of one dimension": line,
		"opposites":                 embedded([]float64{1, 0}, []float64{-1, 0}, []float64{0, 1}, []float64{0, -1}),
		"more copies than a block":  blobs(1, 2*pointsAtOnce, 0),
	} {
		places, err := explorer(t, 0).Layout(context.Background(), set, Layout{Rounds: 100})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		isOnMap(t, places, set.Len())
	}
	if _, err := explorer(t, 0).Layout(context.Background(), embedded(), Layout{}); !errors.Is(err, errEmpty) {
		t.Errorf("no images give %v", err)
	}
}

func TestLayoutRefuses(t *testing.T) {
	t.Parallel()
	good := func(change func(near [][]evaluate.Neighbour)) Layout {
		near := [][]evaluate.Neighbour{{{Row: 1, Similarity: 0.5}}, {{Row: 0, Similarity: 0.5}}, {{Row: 0, Similarity: 0.2}}}
		change(near)
		return Layout{Near: near}
	}
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		spoilt float32
		layout Layout
		want   string
	}{
		"NaN":                   {nan, Layout{}, "NaN or infinite, row 1 first"},
		"infinity":              {float32(math.Inf(1)), Layout{}, "NaN or infinite, row 1 first"},
		"negative neighbours":   {1, Layout{Neighbours: -1}, "positive"},
		"negative rounds":       {1, Layout{Rounds: -1}, "positive"},
		"too few lists":         {1, Layout{Near: make([][]evaluate.Neighbour, 2)}, "2 rows for 3"},
		"a row that is not":     {1, good(func(n [][]evaluate.Neighbour) { n[2][0].Row = 3 }), "row 2 has row 3"},
		"a negative row":        {1, good(func(n [][]evaluate.Neighbour) { n[2][0].Row = -1 }), "row 2 has row -1"},
		"itself":                {1, good(func(n [][]evaluate.Neighbour) { n[2][0].Row = 2 }), "row 2 has row 2"},
		"a similarity of NaN":   {1, good(func(n [][]evaluate.Neighbour) { n[2][0].Similarity = nan }), "similarity of NaN"},
		"nothing wrong with it": {1, good(func([][]evaluate.Neighbour) {}), ""},
	} {
		set := embedded([]float64{1, 0}, []float64{0, 1}, []float64{1, 1})
		set.Features[3] = c.spoilt
		_, err := explorer(t, 0).Layout(context.Background(), set, c.layout)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: the error is %v, want one that says %q", name, err, c.want)
		}
	}
}

// TestLayoutStops: a context that ends stops it, and progress is told.
func TestLayoutStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	x, last := explorer(t, 0), 0
	x.Progress = func(stage string, done, total int) {
		if stage == "layout" && total == 1000 {
			if last = done; done == 100 {
				cancel()
			}
		}
	}
	if _, err := x.Layout(ctx, blobs(3, 20, 0.1), Layout{Rounds: 1000}); !errors.Is(err, context.Canceled) || last != 100 {
		t.Errorf("stopped after round 100, it ends with %v after round %d", err, last)
	}
}

// TestMemberships: the nearest neighbour has weight 1, weights fall with the distance and add up to
// the binary logarithm of their number, whatever the scale of the distances.
func TestMemberships(t *testing.T) {
	t.Parallel()
	for _, scale := range []float32{1, 1e-2, 1e-4} {
		list := make([]evaluate.Neighbour, 16)
		for i := range list {
			list[i] = evaluate.Neighbour{Row: i, Similarity: 1 - scale*float32(i+1)/20}
		}
		w, sum := memberships(list), float32(0)
		for i := range w {
			sum += w[i]
			if i > 0 && !(w[i] < w[i-1]) {
				t.Errorf("scale %v: the weights %v do not fall", scale, w)
			}
		}
		if w[0] != 1 || abs(sum-4) > 1e-3 {
			t.Errorf("scale %v: the first weight is %v, the sum %v, want 1 and 4", scale, w[0], sum)
		}
	}
}

// TestDraw: neighbours are drawn in proportion to their weights.
func TestDraw(t *testing.T) {
	t.Parallel()
	weight := []float32{1, 0.5, 0.25, 0.25, 0, 1e-3}
	e := &edges{start: []int32{0, 6, 6}}
	for i := range weight {
		e.choice = append(e.choice, choice{to: int32(i)})
	}
	alias(e.choice, weight)
	const draws = 200_000
	count, r := map[int32]int{}, rng.New(1)
	for range draws {
		j, ok := e.draw(0, r.Uint64())
		if !ok {
			t.Fatal("nothing is drawn")
		}
		count[j]++
	}
	for i, w := range weight {
		got, want := float64(count[int32(i)])/draws, float64(w)/2.001
		if math.Abs(got-want) > 0.005 {
			t.Errorf("neighbour %d is drawn with the frequency %.4f, want %.4f", i, got, want)
		}
	}
	if _, ok := e.draw(1, 0); ok {
		t.Error("a row without neighbours has one drawn")
	}
}

// TestPrincipal: the first two coordinates are those of the directions of largest variance.
func TestPrincipal(t *testing.T) {
	t.Parallel()
	const dim = 40
	r := rng.New(5)
	set := &evaluate.Embedded{Dim: dim}
	var want []Point
	for range 5000 { // more than a tile
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(0.1*r.Normal()) + 1 // far from the origin
		}
		p := Point{X: float32(3 * r.Normal()), Y: float32(r.Normal())}
		v[7] += p.X
		v[21] += p.Y
		want = append(want, p)
		set.Features, set.Labels = append(set.Features, v...), append(set.Labels, -1)
	}
	got, err := explorer(t, 0).principal(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if abs(got[i].X-want[i].X) > 0.6 || abs(got[i].Y-want[i].Y) > 0.6 {
			t.Fatalf("row %d is at %v, want about %v", i, got[i], want[i])
		}
	}
}

func BenchmarkLayout(b *testing.B) {
	const n = 100_000
	r := rng.New(9)
	set := &evaluate.Embedded{Dim: 512, Features: make([]float32, n*512), Labels: make([]int, n)}
	for i := range set.Features {
		set.Features[i] = float32(r.Normal() / math.Sqrt(512))
	}
	near := make([][]evaluate.Neighbour, n)
	for i := range near { // in groups of 100 rows
		for k := range 15 {
			near[i] = append(near[i], evaluate.Neighbour{Row: i/100*100 + (i+1+7*k)%100, Similarity: 0.9 - float32(k)/100})
		}
	}
	x := explorer(b, 0)
	for b.Loop() {
		if _, err := x.Layout(context.Background(), set, Layout{Near: near}); err != nil {
			b.Fatal(err)
		}
	}
}
