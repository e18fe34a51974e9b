package explore

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"moco/data"
	"moco/evaluate"
	"moco/internal/rng"
	"moco/vectors"
)

// withPairs is n random rows around a mean, of which every fifth is followed by one at a cosine of
// about the given one.
func withPairs(n, dim int, mean, cosine float64) *evaluate.Embedded {
	r := rng.New(11)
	var rows [][]float64
	random := func() []float64 {
		v := make([]float64, dim)
		for j := range v {
			v[j] = r.Normal()/math.Sqrt(float64(dim)) + mean
		}
		return v
	}
	for len(rows) < n {
		v := random()
		rows = append(rows, v)
		if len(rows)%5 != 0 {
			continue
		}
		// A step at right angles to v, of the length that gives the cosine.
		u := random()
		length, along := math.Sqrt(dot(v, v)), dot(u, v)/dot(v, v)
		for j := range u {
			u[j] -= along * v[j]
		}
		step, next := math.Sqrt(1/cosine/cosine-1)*length/math.Sqrt(dot(u, u)), make([]float64, dim)
		for j := range next {
			next[j] = v[j] + step*u[j]
		}
		rows = append(rows, next)
	}
	return embedded(rows[:n]...)
}

// TestHashedPairs: hashing finds the pairs that looking at all of them finds, at thresholds high
// and low, of features spread around the origin and of features in a narrow cone.
func TestHashedPairs(t *testing.T) {
	t.Parallel()
	const n, dim = 3000, 32
	for _, c := range []struct {
		mean      float64
		threshold float32
	}{{0, 0.999}, {0, 0.98}, {0.3, 0.999}, {1, 0.9999}, {0, 1}} {
		x, ctx := explorer(t, 0), context.Background()
		set := withPairs(n, dim, c.mean, min(float64(c.threshold)+1e-4, 1-1e-7))
		set.Features = append(set.Features[:(n-1)*dim], make([]float32, dim)...)
		for j := range dim { // a row in the middle of all others
			set.Features[(n-1)*dim+j] = float32(1 / math.Sqrt(dim))
		}
		want, err := x.allPairs(ctx, set, c.threshold)
		if err != nil {
			t.Fatal(err)
		}
		h, err := newHashing(ctx, set, c.threshold)
		if err != nil || h == nil {
			t.Fatalf("mean %v, threshold %v: %v, %v", c.mean, c.threshold, h, err)
		}
		got, err := x.hashedPairs(ctx, set, h, c.threshold)
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b Pair) bool { return a.A == b.A && a.B == b.B && abs(a.Cosine-b.Cosine) < 1e-5 }
		if len(want) < n/6-2 || !slices.EqualFunc(got, want, same) {
			t.Errorf("mean %v, threshold %v: %d pairs of %d in %d tables of %d bits",
				c.mean, c.threshold, len(got), len(want), h.tables, h.keyBits)
		}
		if h.tables*h.keyBits > mostSigns || h.words*64 < h.tables*h.keyBits {
			t.Errorf("%d tables of %d bits in %d words", h.tables, h.keyBits, h.words)
		}
	}
	if h, err := newHashing(context.Background(), withPairs(n, dim, 0, 0.9), 0.5); h != nil || err != nil {
		t.Errorf("a threshold of 0.5 is hashed: %+v, %v", h, err)
	}
}

// TestKeys: keys are the signs at their places, over the borders of words.
func TestKeys(t *testing.T) {
	t.Parallel()
	h := &hashing{keyBits: 23, tables: 8, words: 3}
	s := &signs{words: 3, bits: make([]uint64, 6)}
	heights := make([]float32, 192)
	r := rng.New(1)
	for i := range heights {
		heights[i] = float32(r.Normal())
	}
	s.set(1, heights)
	for table := range h.tables {
		var want uint32
		for b := range 23 {
			if heights[table*23+b] < 0 {
				want |= 1 << b
			}
		}
		if got := s.key(h, 1, table); got != want {
			t.Errorf("table %d: the key is %#x, want %#x", table, got, want)
		}
	}
}

// TestCollapsed: features that are all alike end with an error, and not with a list of all pairs.
func TestCollapsed(t *testing.T) {
	t.Parallel()
	rows := make([][]float64, 7000)
	for i := range rows {
		rows[i] = []float64{3, 4}
	}
	x, ctx := explorer(t, 0), context.Background()
	set := embedded(rows...)
	if _, err := x.Pairs(ctx, set, 0.999); err == nil || !strings.Contains(err.Error(), "collapsed") {
		t.Errorf("all pairs: %v", err)
	}
	set = stacked(set, withPairs(7000, 2, 0, 0.9999))
	h, err := newHashing(ctx, set, 0.99999)
	if err != nil || h == nil {
		t.Fatal(h, err)
	}
	if _, err := x.hashedPairs(ctx, set, h, 0.99999); err == nil || !strings.Contains(err.Error(), "collapsed") {
		t.Errorf("hashed: %v", err)
	}
}

// inFile saves a set's features as shards of an array and opens them with a limit of memory.
func inFile(t *testing.T, set *evaluate.Embedded, kind vectors.Type, limit int64) *evaluate.Embedded {
	t.Helper()
	images, err := data.Open(context.Background(), "builtin:test?size=8&n="+strconv.Itoa(set.Len()), data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i := 1; i <= 3; i++ {
		s := vectors.Shard{Index: i, Count: 3}
		first, last := s.Range(set.Len())
		err := vectors.Save(filepath.Join(dir, s.Path("x.npy")), vectors.Head{Rows: last - first, Dim: set.Dim, Type: kind},
			func(yield func(vectors.Row, error) bool) {
				for i := first; i < last && yield(vectors.Row{Path: images.Name(i), Vector: set.Row(i)}, nil); i++ {
				}
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	e, _, err := evaluate.OpenVectors(context.Background(), dir, images, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { errors.Join(e.Close(), images.Close()) })
	return e
}

// TestInFile: every question has the same answer for features in memory, as float16 in memory, and
// in files of which parts are read.
func TestInFile(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set := blobs(5, 40, 0.2)
	set.Features = append(set.Features[:100*16], append(slices.Clone(set.Features[50*16:60*16]), set.Features[110*16:]...)...)
	halves := inFile(t, set, vectors.Float16, 0)
	if halves.Features != nil {
		t.Fatal("float16 numbers are kept as float32")
	}
	want, err := halves.InMemory()
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*evaluate.Embedded{"float16": halves, "files": inFile(t, set, vectors.Float16, 1)} {
		e.Labels, e.Classes, want.Classes = set.Labels, set.Classes, set.Classes
		want.Labels = set.Labels
		for question, ask := range map[string]func(e *evaluate.Embedded) (any, error){
			"neighbours": func(e *evaluate.Embedded) (any, error) {
				var all [][]evaluate.Neighbour
				err := explorer(t, 0).Neighbours(ctx, e, 7, func(_ int, list []evaluate.Neighbour) error {
					all = append(all, list)
					return nil
				})
				return all, err
			},
			"near":     func(e *evaluate.Embedded) (any, error) { return explorer(t, 0).Near(ctx, e, 111, 5) },
			"clusters": func(e *evaluate.Embedded) (any, error) { return explorer(t, 0).Cluster(ctx, e, KMeans{K: 5}) },
			"pairs":    func(e *evaluate.Embedded) (any, error) { return explorer(t, 0).Pairs(ctx, e, 0.999) },
			"hashed pairs": func(e *evaluate.Embedded) (any, error) {
				h, err := newHashing(ctx, e, 0.999)
				if err != nil {
					return nil, err
				}
				return explorer(t, 0).hashedPairs(ctx, e, h, 0.999)
			},
			"outliers": func(e *evaluate.Embedded) (any, error) { return explorer(t, 0).Outliers(ctx, e, 5) },
			"labels": func(e *evaluate.Embedded) (any, error) {
				return explorer(t, 0).LabelErrors(ctx, e, evaluate.KNN{K: 5, T: 0.1})
			},
			"layout": func(e *evaluate.Embedded) (any, error) { return explorer(t, 0).Layout(ctx, e, Layout{Rounds: 50}) },
		} {
			a, err := ask(want)
			if err != nil {
				t.Fatal(err)
			}
			b, err := ask(e)
			if err != nil || !reflect.DeepEqual(a, b) {
				t.Errorf("%s of features in %s: %v, another answer than in memory", question, name, err)
			}
		}
	}
}
