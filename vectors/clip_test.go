package vectors

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// TestClipRetrieval: parts in clip-retrieval's layout have its names, and come back as the rows
// that were saved.
func TestClipRetrieval(t *testing.T) {
	t.Parallel()
	for count, last := range map[int]string{1: "0", 7: "6", 10: "09", 12: "11"} {
		for _, kind := range []Type{Float32, Float16} {
			dir, want := filepath.Join(t.TempDir(), "parts"), ordinary(23, 4, kind)
			whole, err := ClipRetrieval(dir)
			if err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= count; i++ {
				s := Shard{Index: i, Count: count}
				lo, hi := s.Range(len(want))
				if err := Save(s.Path(whole), Head{Rows: hi - lo, Dim: 4, Type: kind}, all(want[lo:hi])); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"img_emb/img_emb_" + last + ".npy", "metadata/metadata_" + last + ".parquet"} {
				if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
					t.Errorf("%d parts: %v", count, err)
				}
			}
			h, got, err := read(dir)
			if err != nil || h != (Head{Rows: 23, Dim: 4, Type: kind}) || !slices.EqualFunc(got, want, same) {
				t.Errorf("%d parts of %v: %+v, %d rows, %v", count, kind, h, len(got), err)
			}
		}
	}
}

// TestForeignClipRetrieval: a table that clip-retrieval wrote itself has nullable paths and columns
// of its own.
func TestForeignClipRetrieval(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, err := ClipRetrieval(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Save(path, Head{Rows: 2, Dim: 3}, all(some(2, 3))); err != nil {
		t.Fatal(err)
	}
	a, b := "a.jpg", "b.jpg"
	var table bytes.Buffer
	if err := parquet.Write(&table, []struct {
		Caption *string `parquet:"caption,optional"`
		Path    *string `parquet:"image_path,optional"`
		Size    *string `parquet:"size,optional"`
	}{{nil, &a, nil}, {&b, &b, &a}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(clipTable(path, "0"), table.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	_, rows, err := read(dir)
	if err != nil || len(rows) != 2 || rows[0].Path != a || rows[1].Path != b || rows[1].Size != 0 {
		t.Errorf("%+v, %v", rows, err)
	}
	// Damage anywhere gives an error or other names, never a crash.
	for i := range table.Len() {
		broken := slices.Clone(table.Bytes())
		broken[i] ^= 0x5a
		n, err := newClipNames(bytes.NewReader(broken), int64(len(broken)), nil)
		for err == nil {
			err = n.next()
		}
	}
}

func TestClipRetrievalRefuses(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change           func(dir string) error
		missing, foreign []string
	}{
		"missing": {change: func(dir string) error { return os.Remove(filepath.Join(dir, "img_emb", "img_emb_1.npy")) },
			missing: []string{"img_emb/img_emb_1.npy"}},
		"foreign": {change: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "img_emb", "other.npy"), nil, 0o644)
		}, foreign: []string{filepath.Join("img_emb", "other.npy")}},
		"of more parts": {change: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "img_emb", "img_emb_03.npy"), nil, 0o644)
		}, foreign: []string{filepath.Join("img_emb", "img_emb_1.npy")}},
	} {
		dir := t.TempDir()
		whole, err := ClipRetrieval(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			rows := some(2, 4)
			rows[0].Path = fmt.Sprint("first of ", i)
			if err := Save((Shard{Index: i + 1, Count: 3}).Path(whole), Head{Rows: 2, Dim: 4}, all(rows)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		_, _, err = read(dir)
		var e *ShardsError
		if !errors.As(err, &e) || !slices.Equal(e.Missing, c.missing) || what != "of more parts" && !slices.Equal(e.Foreign, c.foreign) {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	dir := t.TempDir()
	whole, err := ClipRetrieval(dir)
	if err == nil {
		err = Save(whole, Head{Rows: 2, Dim: 4}, all(some(2, 4)))
	}
	if err == nil {
		err = os.Remove(clipTable(whole, "0"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an array without its table gives %v", err)
	}
}
