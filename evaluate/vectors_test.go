package evaluate

import (
	"context"
	"iter"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/data"
	"moco/vectors"
)

func TestFromVectors(t *testing.T) {
	ctx := context.Background()
	set, err := data.Open(ctx, "builtin:test?n=6&size=8", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	row := func(i int) vectors.Row {
		return vectors.Row{Path: set.Name(i), Label: "anything", Vector: []float32{float32(i + 1), 0.5}}
	}
	foreign := vectors.Row{Path: "elsewhere.png", Vector: []float32{1, 2}}
	for name, c := range map[string]struct {
		rows   []vectors.Row
		images []int
		extra  int
		want   string // of the error
	}{
		"all, in another order": {[]vectors.Row{row(5), row(1), row(0), row(3), row(2), row(4)}, []int{0, 1, 2, 3, 4, 5}, 0, ""},
		"some, and another":     {[]vectors.Row{row(4), foreign, row(2)}, []int{2, 4}, 1, ""},
		"one twice":             {[]vectors.Row{row(4), row(1), row(4)}, nil, 0, "more than one row"},
		"another twice":         {[]vectors.Row{row(4), foreign, foreign}, nil, 0, "more than one row"},
		"none":                  {[]vectors.Row{foreign}, nil, 0, "elsewhere.png"},
		"no rows":               {nil, nil, 0, "none of the 0 rows"},
	} {
		for _, ending := range []string{".npy", ".parquet", ".jsonl"} {
			path := filepath.Join(t.TempDir(), "x"+ending)
			rows := iter.Seq2[vectors.Row, error](func(yield func(vectors.Row, error) bool) {
				for _, r := range c.rows {
					if !yield(r, nil) {
						return
					}
				}
			})
			if err := vectors.Save(path, vectors.Head{Rows: len(c.rows), Dim: 2}, rows); err != nil {
				t.Fatal(err)
			}
			e, extra, err := FromVectors(ctx, path, set)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s, %s: the error is %v, want one that says %q", name, ending, err, c.want)
				}
				continue
			}
			if err != nil || extra != c.extra || !slices.Equal(e.Images, c.images) || e.Bad != 6-len(c.images) || e.Dim != 2 {
				t.Fatalf("%s, %s: %+v, %d extra, %v", name, ending, e, extra, err)
			}
			for at, i := range c.images {
				length := math.Hypot(float64(i+1), 0.5)
				if x := e.Features[2*at]; math.Abs(float64(x)-float64(i+1)/length) > 1e-6 || e.Labels[at] != set.Label(i) {
					t.Errorf("%s, %s: row %d is %v with label %d", name, ending, at, e.Features[2*at:2*at+2], e.Labels[at])
				}
			}
		}
	}
}
