package labels

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// open opens a file, and fails the test where it cannot be.
func open(t *testing.T, path string) (*File, []Row) {
	t.Helper()
	f, rows, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return f, rows
}

func add(t *testing.T, f *File, rows ...Row) Change {
	t.Helper()
	change, err := f.Append(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func content(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestLaterRowsCount: a later row replaces the earlier ones, and Close leaves one of each path.
func TestLaterRowsCount(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	f, rows := open(t, path)
	if len(rows) > 0 || content(t, path) != header {
		t.Fatalf("a new file has %v and holds %q", rows, content(t, path))
	}
	add(t, f, Row{Path: "a.png", Label: "cat"}, Row{Path: "b, c.png", Label: `a "dog"`})
	add(t, f, Row{Path: "a.png", Label: "dog", Decision: "keep"}, Row{Path: "gone.png"})
	want := []Row{{Path: "a.png", Label: "dog", Decision: "keep"}, {Path: "b, c.png", Label: `a "dog"`}}
	if got, err := Read(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("it reads as %v (%v), want %v", got, err, want)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != header+"a.png,dog,keep\n\"b, c.png\",\"a \"\"dog\"\"\",\n" {
		t.Errorf("closed, it holds\n%s", got)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("%v is left beside it", left)
	}
}

// TestTornAtEveryByte cuts an append off at every byte: what was there before stays, rows that are
// whole count, and the next append stands on a line of its own.
func TestTornAtEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.csv")
	f, _ := open(t, path)
	first := []Row{{Path: "a.png", Label: "cat"}}
	add(t, f, first...)
	before := content(t, path)
	then := []Row{{Path: "line\nbreak,.png", Label: `x"y`, Decision: "drop"}, {Path: "c.png", Label: "dog"}}
	add(t, f, then...)
	all := content(t, path)
	ends := []int{len(before), len(before) + len(appendRow(nil, then[0])), len(all)}
	for cut := range len(all) + 1 {
		torn := filepath.Join(dir, "torn.csv")
		if err := os.WriteFile(torn, []byte(all[:cut]), 0o666); err != nil {
			t.Fatal(err)
		}
		var want []Row
		for i, end := range ends {
			if cut >= end {
				want = append(slices.Clone(first), then[:i]...)
			}
		}
		g, rows := open(t, torn)
		if !slices.Equal(rows, want) {
			t.Fatalf("cut at %d of %d it has %v, want %v", cut, len(all), rows, want)
		}
		add(t, g, Row{Path: "new.png", Label: "owl"})
		if got, err := Read(torn); err != nil || !slices.Equal(got, append(want, Row{Path: "new.png", Label: "owl"})) {
			t.Fatalf("cut at %d, it is then %v (%v)", cut, got, err)
		}
	}
}

// TestTornWhileOpen: a row of another writer that was killed is cut off by the next append.
func TestTornWhileOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	f, _ := open(t, path)
	add(t, f, Row{Path: "a", Label: "cat"})
	addText(t, path, "b,dog,\nc,do")
	change, err := f.Follow()
	if want := []Row{{Path: "b", Label: "dog"}}; err != nil || change.Whole || !slices.Equal(change.Rows, want) {
		t.Fatalf("followed: %+v (%v), want %v", change, err, want)
	}
	add(t, f, Row{Path: "d", Label: "owl"})
	if got := content(t, path); got != header+"a,cat,\nb,dog,\nd,owl,\n" {
		t.Errorf("it holds\n%s", got)
	}
}

func addText(t *testing.T, path, text string) {
	t.Helper()
	w, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestTwoWriters: each of two has all rows of both, and none is lost.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	const each = 40
	var wait sync.WaitGroup
	seen := make([]map[string]string, 2)
	for me := range seen {
		f, rows := open(t, path)
		seen[me] = map[string]string{}
		note := func(c Change) {
			for _, r := range c.Rows {
				seen[me][r.Path] = r.Label
			}
		}
		note(Change{Rows: rows})
		wait.Go(func() {
			for i := range each {
				row := Row{Path: string(rune('a'+me)) + strings.Repeat("x", i), Label: "l"}
				change, err := f.Append(context.Background(), []Row{row})
				if err != nil {
					t.Error(err)
					return
				}
				note(change)
				seen[me][row.Path] = row.Label
			}
		})
		defer func() {
			change, err := f.Follow()
			if err != nil {
				t.Error(err)
			}
			if note(change); len(seen[me]) != 2*each {
				t.Errorf("writer %d has seen %d rows, want %d", me, len(seen[me]), 2*each)
			}
		}()
	}
	wait.Wait()
	if rows, err := Read(path); err != nil || len(rows) != 2*each {
		t.Errorf("the file has %d rows (%v), want %d", len(rows), err, 2*each)
	}
}

// TestReplaced: a file that somebody has written anew, or removed, is noticed.
func TestReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	f, _ := open(t, path)
	g, _ := open(t, path)
	add(t, f, Row{Path: "a", Label: "cat"}, Row{Path: "a", Label: "dog"})
	if err := g.Close(t.Context()); err != nil { // which has nothing of its own to compact
		t.Fatal(err)
	}
	add(t, g, Row{Path: "b", Label: "owl"})
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	change := add(t, f, Row{Path: "c", Label: "emu"})
	want := Change{Whole: true, Rows: []Row{{Path: "a", Label: "dog"}, {Path: "b", Label: "owl"}}}
	if !change.Whole || !slices.Equal(change.Rows, want.Rows) {
		t.Errorf("after another has compacted it, the change is %+v, want %+v", change, want)
	}
	if err := os.WriteFile(path, []byte("path,label\nz,\"yak\""), 0o666); err != nil { // as an editor may
		t.Fatal(err)
	}
	change, err := f.Follow()
	if err != nil || !change.Whole || !slices.Equal(change.Rows, []Row{{Path: "z", Label: "yak"}}) {
		t.Errorf("after an editor: %+v, %v", change, err)
	}
	add(t, f, Row{Path: "y", Decision: "drop"})
	if got := content(t, path); got != header+"z,yak,\ny,,drop\n" {
		t.Errorf("it holds\n%s", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if change, err = f.Follow(); err != nil || !change.Whole || len(change.Rows) > 0 {
		t.Errorf("after it was removed: %+v, %v", change, err)
	}
	if change = add(t, f, Row{Path: "x", Label: "elk"}); change.Whole || content(t, path) != header+"x,elk,\n" {
		t.Errorf("then: %+v, and it holds\n%s", change, content(t, path))
	}
}

// TestForeignFiles: what is no file of labels is refused and stays as it is.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		columns bool
	}{
		{text: "path,label,confidence\na,b,0.5\n", columns: true},
		{text: "label\nb\n", columns: true},
		{text: "hello\n", columns: true},
		{text: "path,label,decision\na,b\n"},
		{text: "path,label,decision\n,b,\n"},
		{text: "path,label,decision\na,\"b,\nc,d,\ne,f,\ng,h,\n"},
	} {
		path := filepath.Join(t.TempDir(), "a.csv")
		if err := os.WriteFile(path, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, _, err := Open(t.Context(), path)
		var columns *ColumnsError
		var row *RowError
		if c.columns && !errors.As(err, &columns) || !c.columns && !errors.As(err, &row) {
			t.Errorf("%q gives %v", c.text, err)
		}
		if got := content(t, path); got != c.text {
			t.Errorf("%q has become %q", c.text, got)
		}
	}
}

// TestOwnColumns: a file with fewer columns, or in another order, is taken over.
func TestOwnColumns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(path, []byte("\ufeffLabel,Path\r\ncat,a\r\n\r\ndog,b"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, rows := open(t, path)
	if want := []Row{{Path: "a", Label: "cat"}, {Path: "b", Label: "dog"}}; !slices.Equal(rows, want) {
		t.Errorf("it has %v, want %v", rows, want)
	}
	if got := content(t, path); got != header+"a,cat,\nb,dog,\n" {
		t.Errorf("it holds\n%s", got)
	}
}

// FuzzParse: no file makes the reader fail otherwise than by an error; what it reads is read again
// the same once it is written, also by encoding/csv.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "path", header, header + "a,b,\n", header + "\"a\r\nb\",\"x\"\"y\",\n",
		"label,path\na,b", header + "a,\"b", header + "\"a\"b\",c,d\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rows, end, err := parse(raw)
		if err != nil {
			return
		}
		if end.at > len(raw) {
			t.Fatalf("it ends at %d of %d", end.at, len(raw))
		}
		var b bytes.Buffer
		if err := Write(&b, rows); err != nil {
			t.Fatal(err)
		}
		again, end, err := parse(b.Bytes())
		if err != nil || end.at != b.Len() || end.torn || !slices.Equal(again, rows) {
			t.Fatalf("%q is then %q (%+v, %v)", rows, again, end, err)
		}
		records, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(records) != len(rows)+1 {
			t.Fatalf("encoding/csv reads %d records of %d rows: %v", len(records), len(rows), err)
		}
	})
}
