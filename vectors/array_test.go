package vectors

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestArray: rows read anywhere are those that were saved, over the borders of shards too.
func TestArray(t *testing.T) {
	t.Parallel()
	const n, dim = 29, 3
	for _, kind := range []Type{Float32, Float16} {
		rows := ordinary(n, dim, kind)
		var want []float32
		for _, r := range rows {
			want = append(want, r.Vector...)
		}
		h := Head{Rows: n, Dim: dim, Type: kind}
		file := filepath.Join(t.TempDir(), "x.npy")
		if err := Save(file, h, all(rows)); err != nil {
			t.Fatal(err)
		}
		clip := t.TempDir()
		whole, err := ClipRetrieval(clip)
		if err == nil {
			err = Save(whole, h, all(rows))
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{file, shardsOf(t, rows, h, "x.npy", 7), shardsOf(t, rows, h, "x.npy", 40), clip} {
			a, err := OpenArray(path)
			if err != nil {
				t.Fatal(err)
			}
			if a.Head() != h {
				t.Fatalf("%s: the head is %+v", path, a.Head())
			}
			var raw []byte
			for first := range n + 1 {
				for count := range n - first + 1 {
					got := make([]float32, count*dim)
					if raw, err = a.ReadRows(first, got, raw); err != nil || !slices.Equal(got, want[first*dim:(first+count)*dim]) {
						t.Fatalf("%s: %d rows from %d: %v, %v", path, count, first, got, err)
					}
				}
			}
			for _, first := range []int{-1, n, n + 1} {
				if _, err := a.ReadRows(first, make([]float32, dim), nil); err == nil {
					t.Errorf("%s: row %d is read", path, first)
				}
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestOpenArrayRefuses(t *testing.T) {
	t.Parallel()
	lines := shardsOf(t, some(5, 3), Head{Dim: 3}, "x.jsonl", 2)
	for _, path := range []string{lines, filepath.Join(lines, "x-0001-of-0002.jsonl")} {
		var not *NotArrayError
		if _, err := OpenArray(path); !errors.As(err, &not) {
			t.Errorf("%s gives %v", path, err)
		}
	}
	arrays := shardsOf(t, some(5, 3), Head{Dim: 3}, "x.npy", 3)
	second := filepath.Join(arrays, "x-0002-of-0003.npy")
	if err := Save(second, Head{Rows: 2, Dim: 4}, all(some(2, 4))); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenArray(arrays); err == nil {
		t.Error("arrays with rows of other lengths are opened")
	}
	if err := os.Truncate(second, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenArray(second); err == nil {
		t.Error("an array cut short is opened")
	}
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	var missing *ShardsError
	if _, err := OpenArray(arrays); !errors.As(err, &missing) || !slices.Equal(missing.Missing, []string{"x-0002-of-0003.npy"}) {
		t.Errorf("a missing shard gives %v", err)
	}
}
