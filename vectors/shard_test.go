package vectors

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRanges: shards are contiguous, disjoint and complete for any number of images and shards, and
// of about the same length.
func TestRanges(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 5, 7, 100, 9_999_999, 1 << 40} {
		for _, count := range []int{1, 2, 7, 8, 100, mostShards} {
			at := 0
			for i := 1; i <= count; i++ {
				first, last := Shard{Index: i, Count: count}.Range(n)
				if first != at || last < first || last-first < n/count || last-first > n/count+1 {
					t.Fatalf("shard %d/%d of %d images is %d to %d, after %d", i, count, n, first, last, at)
				}
				at = last
			}
			if at != n {
				t.Fatalf("%d shards of %d images end at %d", count, n, at)
			}
		}
	}
}

func TestShardNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shard Shard
		want  string
	}{
		{Shard{Index: 3, Count: 7}, "parts/photos-0003-of-0007.jsonl"},
		{Shard{Index: 10000, Count: 12345}, "parts/photos-10000-of-12345.jsonl"},
		{Shard{Index: 1, Count: 1}, "parts/photos-0001-of-0001.jsonl"},
		{Shard{}, "parts/photos.jsonl"},
	} {
		if got := c.shard.Path("parts/photos.jsonl"); got != c.want {
			t.Errorf("%v is at %s, want %s", c.shard, got, c.want)
		}
		if c.shard.Whole() {
			continue
		}
		whole, s, ok := parseShardName(filepath.Base(c.want))
		if !ok || s != c.shard || whole != "photos.jsonl" {
			t.Errorf("%s is read as %v of %s, %v", c.want, s, whole, ok)
		}
		if s, err := ParseShard(c.shard.String()); err != nil || s != c.shard {
			t.Errorf("%v is parsed as %v, %v", c.shard, s, err)
		}
	}
	for _, name := range []string{"photos.jsonl", "photos-0008-of-0007.jsonl", "photos-0000-of-0007.jsonl", "photos-3-of-7.jsonl",
		"photos-00003-of-0007.jsonl", "photos-0003-of-0007 (copy).jsonl", "-of-.jsonl", "photos-0003-of-9999999.jsonl"} {
		if _, s, ok := parseShardName(name); ok {
			t.Errorf("%s is taken for shard %v", name, s)
		}
	}
	for _, text := range []string{"", "3", "0/7", "8/7", "-1/7", "3/0", "3/7/9", "a/b", "1/1000001", "3/"} {
		if s, err := ParseShard(text); err == nil {
			t.Errorf("%q is parsed as %v", text, s)
		}
	}
}

// shardsOf saves rows as shards and returns their folder.
func shardsOf(t *testing.T, rows []Row, h Head, whole string, count int) string {
	t.Helper()
	dir := t.TempDir()
	for i := 1; i <= count; i++ {
		s := Shard{Index: i, Count: count}
		first, last := s.Range(len(rows))
		h.Rows = last - first
		if err := Save(filepath.Join(dir, s.Path(whole)), h, all(rows[first:last])); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFolder: the shards of a folder are read as the one file that they are parts of, also if some
// are empty. Other files in the folder change nothing.
func TestFolder(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		for _, kind := range []Type{Float32, Float16} {
			for _, n := range []int{0, 5, 23} {
				want := ordinary(n, 4, kind)
				dir := shardsOf(t, want, Head{Dim: 4, Type: kind}, "x"+f.ending, 7)
				for _, name := range []string{"slurm-17.out", ".x.tmp", "x.shards.json", "x-0001-of-0007" + f.ending + ".part"} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte("hello"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				h, got, err := read(dir)
				if err != nil || !slices.EqualFunc(got, want, same) {
					t.Fatalf("%s, %v: %d of %d rows come back (%v)", f.ending, kind, len(got), n, err)
				}
				lines := f.ending == ".jsonl"
				if !lines && (h != Head{Rows: n, Dim: 4, Type: kind}) && n > 0 || lines && h.Rows != -1 {
					t.Errorf("%s, %v, %d rows: the head is %+v", f.ending, kind, n, h)
				}
			}
		}
	}
}

// TestShardsAreParts: files of lines, one after the other, are the bytes of the whole file.
func TestShardsAreParts(t *testing.T) {
	t.Parallel()
	rows := some(23, 4)
	whole := filepath.Join(t.TempDir(), "x.jsonl")
	if err := Save(whole, Head{Rows: 23, Dim: 4}, all(rows)); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	dir := shardsOf(t, rows, Head{Dim: 4}, "x.jsonl", 5)
	var got []byte
	for i := 1; i <= 5; i++ {
		raw, err := os.ReadFile(filepath.Join(dir, Shard{Index: i, Count: 5}.Path("x.jsonl")))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, raw...)
	}
	if !bytes.Equal(got, want) {
		t.Error("the shards' bytes are not those of the whole")
	}
}

func TestFolderRefuses(t *testing.T) {
	t.Parallel()
	name := func(i, count int) string { return Shard{Index: i, Count: count}.Path("x.npy") }
	copyFile := func(t *testing.T, dir, from, to string) {
		t.Helper()
		for _, more := range []string{"", ".jsonl"} {
			raw, err := os.ReadFile(filepath.Join(dir, from+more))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, to+more), raw, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, c := range map[string]struct {
		change                    func(t *testing.T, dir string)
		missing, doubled, foreign []string
	}{
		"missing": {change: func(_ *testing.T, dir string) { os.Remove(filepath.Join(dir, name(2, 3))) },
			missing: []string{name(2, 3)}},
		"a shard of another count": {change: func(t *testing.T, dir string) { copyFile(t, dir, name(1, 3), name(1, 5)) },
			foreign: []string{name(1, 5)}},
		"a shard of another set": {change: func(t *testing.T, dir string) { copyFile(t, dir, name(1, 3), "y-0001-of-0003.npy") },
			foreign: []string{"y-0001-of-0003.npy"}},
		"a file that is no shard": {change: func(t *testing.T, dir string) { copyFile(t, dir, name(1, 3), "x.npy") },
			foreign: []string{"x.npy"}},
		"a shard twice": {change: func(t *testing.T, dir string) { copyFile(t, dir, name(1, 3), name(3, 3)) },
			doubled: []string{name(1, 3), name(3, 3)}},
		"a shard in two formats": {change: func(t *testing.T, dir string) {
			h, rows, err := read(filepath.Join(dir, name(2, 3)))
			if err == nil {
				err = Save(filepath.Join(dir, "x-0002-of-0003.parquet"), h, all(rows))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, doubled: []string{name(2, 3), "x-0002-of-0003.parquet"}},
		"other vectors": {change: func(t *testing.T, dir string) {
			if err := Save(filepath.Join(dir, name(2, 3)), Head{Rows: 2, Dim: 5}, all(some(2, 5))); err != nil {
				t.Fatal(err)
			}
		}, foreign: []string{name(2, 3)}},
		"other numbers": {change: func(t *testing.T, dir string) {
			if err := Save(filepath.Join(dir, name(3, 3)), Head{Rows: 2, Dim: 4, Type: Float16}, all(ordinary(2, 4, Float16))); err != nil {
				t.Fatal(err)
			}
		}, foreign: []string{name(3, 3)}},
	} {
		dir := shardsOf(t, some(9, 4), Head{Dim: 4}, "x.npy", 3)
		c.change(t, dir)
		_, _, err := read(dir)
		var e *ShardsError
		if !errors.As(err, &e) || !slices.Equal(e.Missing, c.missing) || !slices.Equal(e.Doubled, c.doubled) ||
			!slices.Equal(e.Foreign, c.foreign) {
			t.Errorf("%s: the error is %v", what, err)
			continue
		}
		for _, n := range slices.Concat(c.missing, c.doubled, c.foreign) {
			if !strings.Contains(err.Error(), n) {
				t.Errorf("%s: the error %v does not name %s", what, err, n)
			}
		}
	}
	if _, _, err := read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no shards") {
		t.Errorf("an empty folder gives %v", err)
	}
}

// TestDamagedShard: the error of a damaged shard names its file.
func TestDamagedShard(t *testing.T) {
	t.Parallel()
	dir := shardsOf(t, some(90, 4), Head{Dim: 4}, "x.jsonl", 3)
	path := filepath.Join(dir, "x-0002-of-0003.jsonl")
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, raw[:len(raw)-9], 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, rows, err := read(dir); err == nil || !strings.Contains(err.Error(), "x-0002-of-0003.jsonl") || len(rows) != 59 {
		t.Errorf("after %d rows the error is %v", len(rows), err)
	}
}

func FuzzShardName(f *testing.F) {
	f.Add("x-0003-of-0007.npy")
	f.Add("-0003-of-0007")
	f.Fuzz(func(t *testing.T, name string) {
		whole, s, ok := parseShardName(name)
		if ok && (s.Check() != nil || s.Path(whole) != name) {
			t.Fatalf("%q is taken for shard %v of %q", name, s, whole)
		}
	})
}

// ordinary is n rows whose values the type holds exactly.
func ordinary(n, dim int, kind Type) []Row {
	rows := some(n, dim)
	for i := range rows {
		for c := range rows[i].Vector {
			rows[i].Vector[c] = float32(i-c) / 64
		}
		if kind == Float16 {
			rows[i].Vector = round(nil, rows[i].Vector)
		}
	}
	return rows
}

// TestHalves: float16 numbers are rounded when they are written, and take half of the space where a
// format has them.
func TestHalves(t *testing.T) {
	t.Parallel()
	const n, dim = rowsAtOnce*2 + 5, 64
	rows := ordinary(n, dim, Float32)
	for i := range rows {
		rows[i].Vector[3] += 1e-5
	}
	for _, f := range formats {
		var size [2]int64
		for kind := range size {
			path := filepath.Join(t.TempDir(), fmt.Sprint("x", f.ending))
			h := Head{Rows: n, Dim: dim, Type: Type(kind)}
			if err := Save(path, h, all(rows)); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			size[kind] = info.Size()
			got, back, err := read(path)
			if err != nil || len(back) != n {
				t.Fatalf("%s, %v: %d rows, %v", f.ending, h.Type, len(back), err)
			}
			if f.ending != ".jsonl" && got != h {
				t.Errorf("%s: the head is %+v, want %+v", f.ending, got, h)
			}
			for i := range back {
				want := rows[i]
				if h.Type == Float16 {
					want.Vector = round(nil, want.Vector)
				}
				if !same(back[i], want) {
					t.Fatalf("%s, %v: row %d is %v, want %v", f.ending, h.Type, i, back[i], want)
				}
			}
		}
		if f.ending != ".jsonl" && float64(size[1]) > 0.75*float64(size[0]) {
			t.Errorf("%s: float16 takes %d bytes, float32 %d", f.ending, size[1], size[0])
		}
	}
	large := some(1, 2)
	large[0].Vector[1] = 65520
	if err := Save(filepath.Join(t.TempDir(), "x.npy"), Head{Rows: 1, Dim: 2, Type: Float16}, all(large)); err == nil {
		t.Error("a number that no float16 can be is written")
	}
}
