package evaluate

import (
	"context"
	"encoding/hex"
	"errors"
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
			openAs(t, path, set, e, match)
			for at, i := range c.images {
				length := math.Hypot(float64(i+1), 0.5)
				if x := e.Features[2*at]; math.Abs(float64(x)-float64(i+1)/length) > 1e-6 || e.Labels[at] != set.Label(i) {
					t.Errorf("%s, %s: row %d is %v with label %d", name, ending, at, e.Features[2*at:2*at+2], e.Labels[at])
				}
			}
		}
	}
}

// openAs opens vectors with and without a limit of memory, and wants what FromVectors gave.
func openAs(t *testing.T, path string, set *data.Set, want *Embedded, wantMatch Match) {
	t.Helper()
	for _, limit := range []int64{0, 1} {
		e, match, err := OpenVectors(context.Background(), path, set, limit)
		var large *MemoryError
		if limit > 0 && filepath.Ext(path) != ".npy" {
			if !errors.As(err, &large) || large.Limit != 1 {
				t.Errorf("%s, at most %d bytes: %v", path, limit, err)
			}
			continue
		}
		if err != nil || match != wantMatch || !slices.Equal(e.Images, want.Images) || !slices.Equal(e.Labels, want.Labels) {
			t.Fatalf("%s, at most %d bytes: %+v, %+v, %v", path, limit, e, match, err)
		}
		if inFile := e.Features == nil; inFile != (limit > 0) {
			t.Errorf("%s, at most %d bytes: in the file: %v", path, limit, inFile)
		}
		for first := range e.Len() { // parts of parts
			part := e.Part(0, e.Len()).Part(first, e.Len())
			all, err := part.InMemory()
			if err != nil || !slices.Equal(all.Features, want.Features[first*want.Dim:]) {
				t.Errorf("%s, at most %d bytes: rows from %d are %v, %v, want %v", path, limit, first, all.Features, err, want.Features)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestHalvesInMemory: float16 numbers stay so in memory, and give what FromVectors gives, in the
// set's order, with an image without a row.
func TestHalvesInMemory(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, err := data.Open(ctx, "builtin:test?n=6&size=8", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, ending := range []string{".npy", ".parquet"} {
		path := filepath.Join(t.TempDir(), "x"+ending)
		err := vectors.Save(path, vectors.Head{Rows: 5, Dim: 2, Type: vectors.Float16}, func(yield func(vectors.Row, error) bool) {
			for _, i := range []int{3, 1, 5, 0, 4} {
				if !yield(vectors.Row{Path: set.Name(i), Vector: []float32{float32(i) + 0.1, 0.7}}, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := FromVectors(ctx, path, set)
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range []int64{0, 1} {
			if limit > 0 && ending != ".npy" {
				continue
			}
			e, match, err := OpenVectors(ctx, path, set, limit)
			if err != nil || match.Missing != 1 || e.Features != nil {
				t.Fatalf("%s: %+v, %+v, %v", ending, e, match, err)
			}
			all, err := e.InMemory()
			if err != nil || !slices.Equal(all.Features, want.Features) || !slices.Equal(all.Images, want.Images) {
				t.Errorf("%s, at most %d bytes: %v, %v, want %v", ending, limit, all.Features, err, want.Features)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
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
