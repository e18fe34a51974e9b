package vectors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/internal/parquetcheck"
)

// some is n rows with unusual values.
func some(n, dim int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Path: fmt.Sprintf("a, \"b\"\r\n/<%d>é.png", i), Vector: make([]float32, dim)}
		if i%3 > 0 {
			rows[i].Label = fmt.Sprintf("class %d", i%3)
		}
		if i%4 > 0 {
			rows[i].Size, rows[i].SHA256 = int64(i)<<33, fmt.Sprintf("%064x", i)
		}
		for c := range rows[i].Vector {
			rows[i].Vector[c] = float32(math.Sin(float64(i*dim + c)))
		}
		rows[i].Vector[i%dim] = []float32{math.MaxFloat32, math.SmallestNonzeroFloat32, 0, -1e-30}[i%4]
	}
	return rows
}

func all(rows []Row) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// read reads a whole file and copies its rows.
func read(path string) (h Head, rows []Row, err error) {
	r, err := Open(path)
	if err != nil {
		return h, nil, err
	}
	defer r.Close()
	for row, err := range r.All() {
		if err != nil {
			return r.Head(), rows, err
		}
		row.Vector = slices.Clone(row.Vector)
		rows = append(rows, row)
	}
	return r.Head(), rows, nil
}

func same(a, b Row) bool {
	return a.Path == b.Path && a.Label == b.Label && a.Size == b.Size && a.SHA256 == b.SHA256 &&
		slices.Equal(a.Vector, b.Vector)
}

func TestRoundTrip(t *testing.T) {
	for _, f := range formats {
		for _, n := range []int{0, 1, rowsAtOnce, rowsAtOnce*2 + 5} {
			t.Run(fmt.Sprint(n, f.ending), func(t *testing.T) {
				want, path := some(n, 7), filepath.Join(t.TempDir(), "x"+f.ending)
				if err := Save(path, Head{Rows: n, Dim: 7}, all(want)); err != nil {
					t.Fatal(err)
				}
				h, got, err := read(path)
				if err != nil {
					t.Fatal(err)
				}
				if h.Rows != n && h.Rows != -1 || n > 0 && h.Dim != 7 {
					t.Errorf("the head says %+v, want %d rows of 7", h, n)
				}
				if !slices.EqualFunc(got, want, same) {
					t.Errorf("%d rows come back, not the %d that were saved", len(got), n)
				}
				again := filepath.Join(t.TempDir(), "y"+f.ending)
				if err := Save(again, Head{Rows: n, Dim: 7}, all(want)); err != nil {
					t.Fatal(err)
				}
				a, _ := os.ReadFile(path)
				b, _ := os.ReadFile(again)
				if !bytes.Equal(a, b) {
					t.Error("the same rows give other bytes the second time")
				}
			})
		}
	}
}

// TestRowGroups: a file has more rows than one row group of Parquet.
func TestRowGroups(t *testing.T) {
	const dim = groupBytes / 4 / 4 // four rows a group
	path, row := filepath.Join(t.TempDir(), "x.parquet"), Row{Vector: make([]float32, dim)}
	err := Save(path, Head{Rows: 9, Dim: dim}, func(yield func(Row, error) bool) {
		for i := range 9 {
			row.Path, row.Vector[i] = fmt.Sprint(i), float32(i) // the same vector every time
			if !yield(row, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for row, err := range r.All() {
		if err != nil || row.Path != fmt.Sprint(n) || row.Vector[n] != float32(n) || row.Vector[n+1] != 0 {
			t.Fatalf("row %d is %s, %v", n, row.Path, err)
		}
		n++
	}
	if n != 9 || r.Head() != (Head{Rows: 9, Dim: dim}) {
		t.Errorf("%d rows, head %+v", n, r.Head())
	}
}

// TestParquetClaims: a file that asks for gigabytes is refused before it gets them.
func TestParquetClaims(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.parquet")
	err := Save(path, Head{Rows: 1, Dim: 2}, func(yield func(Row, error) bool) { yield(Row{Path: "a", Vector: []float32{1, 2}}, nil) })
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(raw[len(raw)-8:], 4<<30-1) // the footer's length
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	var limit *parquetcheck.LimitError
	if _, err := Open(path); !errors.As(err, &limit) {
		t.Errorf("the error is %v, want a *parquetcheck.LimitError", err)
	}
}

func TestSaveRefuses(t *testing.T) {
	two := func(change func(r *Row)) []Row {
		rows := some(2, 3)
		change(&rows[1])
		return rows
	}
	none := func(*Row) {}
	broken := func(yield func(Row, error) bool) { yield(Row{}, errors.New("broken source")) }
	for name, c := range map[string]struct {
		file string
		head Head
		rows iter.Seq2[Row, error]
		want string
	}{
		"an ending":            {"x.txt", Head{Rows: 2, Dim: 3}, all(two(none)), ".parquet, .npy, .jsonl"},
		"too few rows":         {"x", Head{Rows: 3, Dim: 3}, all(two(none)), "2 rows where 3"},
		"too many rows":        {"x", Head{Rows: 1, Dim: 3}, all(two(none)), "more than the 1 rows"},
		"a vector of another":  {"x", Head{Rows: 2, Dim: 3}, all(two(func(r *Row) { r.Vector = r.Vector[:2] })), "row 1"},
		"no number":            {"x", Head{Rows: 2, Dim: 3}, all(two(func(r *Row) { r.Vector[1] = float32(math.NaN()) })), "NaN"},
		"infinity":             {"x", Head{Rows: 2, Dim: 3}, all(two(func(r *Row) { r.Vector[1] = float32(math.Inf(-1)) })), "Inf"},
		"half of a sum":        {"x", Head{Rows: 2, Dim: 3}, all(two(func(r *Row) { r.SHA256 = "12ab" })), "SHA-256"},
		"a path of bytes":      {"x", Head{Rows: 2, Dim: 3}, all(two(func(r *Row) { r.Path = "\xff" })), "UTF-8"},
		"a source that breaks": {"x", Head{Rows: 2, Dim: 3}, broken, "broken source"},
		"no dimensions":        {"x", Head{Rows: 0, Dim: 0}, all(nil), "cannot be"},
	} {
		for _, f := range formats {
			file := c.file
			if file == "x" {
				file += f.ending
			}
			path := filepath.Join(t.TempDir(), file)
			if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
			err := Save(path, c.head, c.rows)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: the error is %v, want one that says %q", name, file, err, c.want)
			}
			if raw, _ := os.ReadFile(path); string(raw) != "before" {
				t.Errorf("%s, %s: what stood there is lost", name, file)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
				t.Errorf("%s: %v is left over", name, left)
			}
		}
	}
}

// files are the bytes of a saved file and of its manifest, if it has one.
func files(t *testing.T, ending string) (content, names []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x"+ending)
	if err := Save(path, Head{Rows: 5, Dim: 3}, all(some(5, 3))); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	names, _ = os.ReadFile(manifest(path))
	return content, names
}

func TestOpenRefuses(t *testing.T) {
	array, names := files(t, ".npy")
	table, _ := files(t, ".parquet")
	header := func(text string) []byte {
		return append(append([]byte(npyMagic), 1, 0, byte(len(text)), 0), text...)
	}
	swap := func(raw []byte, old, new string) []byte { return bytes.Replace(raw, []byte(old), []byte(new), 1) }
	for name, c := range map[string]struct {
		ending         string
		content, names []byte
		want           string
	}{
		"an array cut short":  {".npy", array[:len(array)-1], names, "cut short"},
		"a longer array":      {".npy", append(slices.Clone(array), 0), names, "takes"},
		"an array of doubles": {".npy", swap(array, "<f4", "<f8"), names, "float32"},
		"Fortran's order":     {".npy", swap(array, "False", "True "), names, "ascontiguousarray"},
		"another shape":       {".npy", swap(array, "(5, 3)", "(5,99)"), names, "cut short"},
		"one dimension":       {".npy", swap(array, "(5, 3)", "(15, )"), names, "two-dimensional"},
		"a shape beyond all": {".npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9999999), }"),
			names, "believable"},
		"rows of nothing": {".npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 0), }"),
			names, "believable"},
		"a header beyond all":      {".npy", append([]byte(npyMagic), 2, 0, 255, 255, 255, 255), names, "believable"},
		"a manifest cut short":     {".npy", array, names[:bytes.IndexByte(names, '\n')+1], "1 lines for 5 rows"},
		"a manifest with more":     {".npy", array, append(slices.Clone(names), "{\"path\":\"z\"}\n"...), "more lines"},
		"no manifest":              {".npy", array, nil, "names of its rows"},
		"an empty table":           {".parquet", nil, nil, ""},
		"a table cut short":        {".parquet", table[:len(table)/2], nil, ""},
		"a table without its head": {".parquet", table[9:], nil, ""},
		"text":                     {".jsonl", []byte("hello\n"), nil, "line 1"},
		"a line cut short":         {".jsonl", []byte("{\"path\":\"a\",\"vector\":[1]}\n{\"path\":\"b\",\"vec"), nil, "line 2"},
		"a vector of another": {".jsonl",
			[]byte("{\"path\":\"a\",\"vector\":[1]}\n{\"path\":\"b\",\"vector\":[1,2]}"), nil, "row 1"},
		"no vector":          {".jsonl", []byte("{\"path\":\"a\"}\n"), nil, `no "vector"`},
		"no path":            {".jsonl", []byte("{\"vector\":[1]}\n"), nil, `no "path"`},
		"null in a vector":   {".jsonl", []byte("{\"path\":\"a\",\"vector\":[1,null]}\n"), nil, "no float32"},
		"too large a number": {".jsonl", []byte("{\"path\":\"a\",\"vector\":[1e39]}\n"), nil, "no float32"},
		"text for a vector":  {".jsonl", []byte("{\"path\":\"a\",\"vector\":\"[1]\"}\n"), nil, "array"},
	} {
		path := filepath.Join(t.TempDir(), "x"+c.ending)
		if err := os.WriteFile(path, c.content, 0o644); err != nil {
			t.Fatal(err)
		}
		if c.names != nil {
			if err := os.WriteFile(manifest(path), c.names, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := read(path); err == nil || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error is %v, want one with the path that says %q", name, err, c.want)
		}
	}
	if _, err := Open("x.csv"); err == nil || !strings.Contains(err.Error(), ".parquet") {
		t.Errorf("another ending gives %v", err)
	}
}

// TestForeignTable: a table with other columns is refused. Damage anywhere gives an error or other
// rows, never a crash.
func TestForeignTable(t *testing.T) {
	table, _ := files(t, ".parquet")
	if _, err := newParquet(bytes.NewReader(bytes.ReplaceAll(table, []byte("vector"), []byte("wector"))),
		int64(len(table))); err == nil || !strings.Contains(err.Error(), "column") {
		t.Errorf("a table without vectors gives %v", err)
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	if err := Save(path, Head{Rows: 5, Dim: 3, Type: Float16}, all(ordinary(5, 3, Float16))); err != nil {
		t.Fatal(err)
	}
	halves, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(table) + len(halves) {
		broken := slices.Clone(table)
		if i >= len(table) {
			i, broken = i-len(table), slices.Clone(halves)
		}
		broken[i] ^= 0x5a
		d, err := newParquet(bytes.NewReader(broken), int64(len(broken)))
		for row := (Row{}); err == nil; {
			err = d.next(&row)
		}
	}
}

// readAll reads all rows of a decoder and checks them against its head.
func readAll(t *testing.T, d decoder, err error) {
	if err != nil {
		return
	}
	var row Row
	n := 0
	for {
		err := d.next(&row)
		if err == io.EOF && d.head().Rows >= 0 && n != d.head().Rows {
			t.Fatalf("%d rows of %d", n, d.head().Rows)
		}
		if err != nil {
			return
		}
		n++
	}
}

func FuzzNPY(f *testing.F) {
	names := []byte("{\"path\":\"a\"}\n{\"path\":\"b\",\"label\":\"c\"}\n")
	for _, h := range []Head{{Rows: 2, Dim: 1}, {Rows: 2, Dim: 3}, {Rows: 0, Dim: 5}, {Rows: 2, Dim: 3, Type: Float16}} {
		f.Add(append(npyHeader(h), make([]byte, h.Type.Bytes()*h.Rows*h.Dim)...), names)
	}
	f.Fuzz(func(t *testing.T, array, names []byte) {
		d, err := newNPY(bytes.NewReader(array), int64(len(array)), newLines(bytes.NewReader(names)))
		readAll(t, d, err)
	})
}

func FuzzJSONLines(f *testing.F) {
	f.Add([]byte("{\"path\":\"a\",\"label\":\"b\",\"vector\":[1,-2.5e-3]}\n\n{\"path\":\"\",\"vector\":[3,4]}"))
	f.Add([]byte(`{"path":"a","vector":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := newJSONLines(bytes.NewReader(raw))
		readAll(t, d, err)
		var v floats
		if json.Unmarshal(raw, &v) == nil {
			var want []float64
			if err := json.Unmarshal(raw, &want); err != nil || len(want) != len(v) {
				t.Fatalf("%q is read as %v, by encoding/json as %v (%v)", raw, v, want, err)
			}
		}
	})
}

// TestNotFinite: a row that is not finite comes with an error, and those after it can be read.
func TestNotFinite(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	rows := [][]float32{{1, 2}, {3, nan}, {5, 6}, {inf, 8}}
	path := filepath.Join(t.TempDir(), "x.npy")
	raw := npyHeader(Head{Rows: len(rows), Dim: 2})
	var names bytes.Buffer
	for i, r := range rows {
		for _, v := range r {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		fmt.Fprintf(&names, "{\"path\":\"%d\"}\n", i)
	}
	for file, content := range map[string][]byte{path: raw, path + ".jsonl": names.Bytes()} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for row, err := range r.All() {
		var wrong *NotFiniteError
		if bad := n%2 == 1; row.Path != fmt.Sprint(n) || errors.As(err, &wrong) != bad ||
			bad && (wrong.Row != n || wrong.Path != row.Path) {
			t.Errorf("row %d is %+v, %v", n, row, err)
		}
		n++
	}
	if n != len(rows) {
		t.Errorf("%d rows were read", n)
	}
}
