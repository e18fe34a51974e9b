package evaluate

import (
	"context"
	"encoding/hex"
	"iter"
	"math"
	"os"
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
		want   string // part of the error
	}{
		"all, in another order": {[]vectors.Row{row(5), row(1), row(0), row(3), row(2), row(4)},
			[]int{0, 1, 2, 3, 4, 5}, 0, ""},
		"some, and another": {[]vectors.Row{row(4), foreign, row(2)}, []int{2, 4}, 1, ""},
		"one twice":         {[]vectors.Row{row(4), row(1), row(4)}, nil, 0, "more than one row"},
		"another twice":     {[]vectors.Row{row(4), foreign, foreign}, nil, 0, "more than one row"},
		"none":              {[]vectors.Row{foreign}, nil, 0, "elsewhere.png"},
		"no rows":           {nil, nil, 0, "none of the 0 rows"},
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
			e, match, err := FromVectors(ctx, path, set)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s, %s: the error is %v, want one that says %q", name, ending, err, c.want)
				}
				continue
			}
			if err != nil || match.Foreign != c.extra || match.Missing != e.Bad ||
				match.Unchecked != len(c.images) || !slices.Equal(e.Images, c.images) || e.Bad != 6-len(c.images) ||
				e.Dim != 2 {
				t.Fatalf("%s, %s: %+v, %+v, %v", name, ending, e, match, err)
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

// TestFromVectorsNoticesReplacedImages: an image that was replaced under its name is reported, and
// does not get the old vector.
func TestFromVectorsNoticesReplacedImages(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("\x89PNG\r\n\x1a\n"+content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"0.png", "1.png", "2.png", "3.png", "4.png"} {
		write(name, "before "+name)
	}
	set, err := data.Open(ctx, dir, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var rows []vectors.Row
	for i := range set.Len() {
		d, err := set.Digest(i)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, vectors.Row{Path: set.Name(i), Size: d.Size, SHA256: hex.EncodeToString(d.SHA256[:]),
			Vector: []float32{float32(i), 1}})
	}
	rows[4].Size, rows[4].SHA256 = 0, ""
	path := filepath.Join(t.TempDir(), "x.parquet")
	err = vectors.Save(path, vectors.Head{Rows: len(rows), Dim: 2}, func(yield func(vectors.Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	write("1.png", "behind 1.png") // of the same length
	write("2.png", "longer than before 2.png")
	os.Remove(filepath.Join(dir, "3.png"))
	write("4.png", "nobody knows")
	e, match, err := FromVectors(ctx, path, set)
	if want := (Match{Replaced: 3, Replacing: "1.png", Unchecked: 1}); err != nil || match != want ||
		!slices.Equal(e.Images, []int{0, 4}) || e.Bad != 3 {
		t.Errorf("%+v, %+v, %v; want %+v", e, match, err, want)
	}
}
