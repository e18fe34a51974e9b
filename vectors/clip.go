package vectors

import (
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// The layout of the program clip-retrieval, which tools that build indices read: arrays in
// DIR/img_emb/img_emb_0.npy, and in DIR/metadata/metadata_0.parquet a table with a row for each of
// the array's. Of several parts, the numbers count from 0 and have leading zeros where there are
// more than ten.
const clipArrays, clipTables = "img_emb", "metadata"

var clipName = regexp.MustCompile(`^img_emb_([0-9]{1,7})\.npy$`)

// ClipRetrieval makes the folders of clip-retrieval's layout below dir. It returns the path to
// which Save writes the array and, beside it, the table of names. The path of a shard is as that of
// any file.
func ClipRetrieval(dir string) (path string, err error) {
	for _, folder := range []string{clipArrays, clipTables} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, clipArrays, clipArrays+"_0.npy"), nil
}

// clipNumber is the number of a part in this layout, and false of any other path.
func clipNumber(path string) (string, bool) {
	m := clipName.FindStringSubmatch(filepath.Base(path))
	if m == nil || filepath.Base(filepath.Dir(path)) != clipArrays {
		return "", false
	}
	return m[1], true
}

// clipShard is the path of a shard of the array at path.
func clipShard(path string, s Shard) string {
	digits := len(strconv.Itoa(s.Count)) // as the program counts them: two for ten parts
	return filepath.Join(filepath.Dir(path), fmt.Sprintf("%s_%0*d.npy", clipArrays, digits, s.Index-1))
}

// clipTable is the path of the table that belongs to an array.
func clipTable(array, number string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(array)), clipTables, clipTables+"_"+number+".parquet")
}

// listClip finds the arrays of this layout, in order. How many there are is not known: what is
// missing behind the last one is not noticed here.
func listClip(dir string) ([]string, error) {
	folder := filepath.Join(dir, clipArrays)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	e := &ShardsError{Folder: dir}
	arrays, digits, last := map[int]string{}, 0, -1
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || strings.HasPrefix(name, ".") || Check(name) != nil {
			continue
		}
		number, ok := clipNumber(filepath.Join(folder, name))
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n >= mostShards || digits > 0 && len(number) != digits {
			e.Foreign = append(e.Foreign, filepath.Join(clipArrays, name))
			continue
		}
		arrays[n], digits, last = name, len(number), max(last, n)
	}
	if last < 0 {
		return nil, fmt.Errorf("there are no arrays in it, as %s/%s_0.npy is one", clipArrays, clipArrays)
	}
	var paths []string
	for n := range last + 1 {
		name, ok := arrays[n]
		if !ok {
			e.Missing = append(e.Missing, fmt.Sprintf("%s/%s_%0*d.npy", clipArrays, clipArrays, digits, n))
			continue
		}
		paths = append(paths, filepath.Join(folder, name))
	}
	if len(e.Missing)+len(e.Foreign) > 0 {
		return nil, e
	}
	return paths, nil
}

// clipRow is a row of the table.
type clipRow struct {
	Path   string  `parquet:"image_path,snappy"`
	Label  *string `parquet:"label,optional,dict"`
	Size   *int64  `parquet:"size,optional"`
	SHA256 *string `parquet:"sha256,optional"`
}

// foreignClipRow is a row of a table that clip-retrieval itself wrote.
type foreignClipRow struct {
	Path string `parquet:"image_path"`
}

func saveClipTable(path string, rows iter.Seq2[Row, error]) error {
	return each(path, rows, func(w io.Writer) (func(Row) error, func() error, error) {
		p := parquet.NewGenericWriter[clipRow](w, parquet.CreatedBy("moco", "1", ""))
		one := make([]clipRow, 1)
		return func(r Row) error {
			one[0] = clipRow{Path: r.Path}
			if r.Label != "" {
				one[0].Label = &r.Label
			}
			if r.SHA256 != "" {
				one[0].Size, one[0].SHA256 = &r.Size, &r.SHA256
			}
			_, err := p.Write(one)
			return err
		}, p.Close, nil
	})
}

// clipNames reads the names of an array's rows from its table.
type clipNames struct {
	file    io.Closer
	own     *parquet.GenericReader[clipRow]        // nil: the table is of the other program
	foreign *parquet.GenericReader[foreignClipRow] // nil: it is ours
	rows    []clipRow
	at      int
	end     bool
}

func openClipNames(path string) (n *clipNames, err error) {
	defer refused(&err)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if n == nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return newClipNames(f, info.Size(), f)
}

func newClipNames(r io.ReaderAt, size int64, closer io.Closer) (n *clipNames, err error) {
	defer refused(&err)
	file, err := parquet.OpenFile(r, size)
	if err != nil {
		return nil, err
	}
	if leaf, ok := file.Schema().Lookup("image_path"); !ok || leaf.Node.Type().Kind() != parquet.ByteArray {
		return nil, fmt.Errorf("the table has no column image_path of strings")
	}
	n = &clipNames{file: closer}
	if digested(file.Schema()) {
		n.own = parquet.NewGenericReader[clipRow](file)
	} else {
		n.foreign = parquet.NewGenericReader[foreignClipRow](file)
	}
	return n, nil
}

// fill reads the next rows.
func (n *clipNames) fill() (err error) {
	defer refused(&err)
	rows, got := make([]clipRow, rowsAtOnce), 0
	if n.own != nil {
		got, err = n.own.Read(rows)
	} else {
		foreign := make([]foreignClipRow, rowsAtOnce)
		got, err = n.foreign.Read(foreign)
		for i, f := range foreign[:got] {
			rows[i] = clipRow{Path: f.Path}
		}
	}
	n.rows, n.at = rows[:got], 0
	if err == io.EOF {
		n.end, err = true, nil
	}
	return err
}

func (n *clipNames) next() error {
	for n.at++; n.at >= len(n.rows); {
		if n.end {
			return io.EOF
		}
		if err := n.fill(); err != nil {
			return err
		}
	}
	return nil
}

func (n *clipNames) row(vector []float32) Row {
	r := n.rows[n.at]
	row := Row{Path: strings.Clone(r.Path), Vector: vector}
	if r.Label != nil {
		row.Label = *r.Label
	}
	if r.Size != nil && r.SHA256 != nil && isDigest(*r.Size, *r.SHA256) {
		row.Size, row.SHA256 = *r.Size, *r.SHA256
	}
	return row
}

func (n *clipNames) close() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}
