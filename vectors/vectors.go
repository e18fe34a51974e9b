// Package vectors writes and reads embeddings as files: rows of a path, a label and a vector. It
// streams them, so memory does not grow with their number. The ending of a file's name tells its
// format:
//
//   - .parquet: columns path and label (strings; label null where there is none), size and sha256
//     (of the image's bytes; null where they are not known) and vector, a list of float32 of fixed
//     size, which Arrow, DuckDB, pandas and Polars read; or of float16
//   - .npy: an array [rows, dim] of float32 or float16, and beside it NAME.npy.jsonl, which has a line
//     {"path": ..., "label": ..., "size": ..., "sha256": ...} for each row
//   - .jsonl: a line {"path": ..., "label": ..., "size": ..., "sha256": ..., "vector": [...]} for
//     each row, with as many digits as give the same float32 back
//
// Several files may hold the rows of one set together, as [Shard]s of it: NAME-0003-of-0007.npy.
// Open takes a folder of them in the place of a file.
//
// The same rows give the same bytes.
package vectors

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"moco/internal/atomicfile"
	"moco/internal/half"
)

// Row is an embedded image.
type Row struct {
	// Path is the image's path within its set, with slashes, in UTF-8.
	Path   string
	Label  string // the name of its class; empty: none
	Vector []float32
	// Size and SHA256 are of the bytes that the image was made of when it was embedded. SHA256 is
	// 64 lower-case hexadecimal digits. They tell an image from another one of the same name.
	// SHA256 is empty in files of earlier versions and of other tools.
	Size   int64
	SHA256 string
}

// Head describes the rows of a file.
type Head struct {
	Rows int  // -1 where a reader learns it only at the end
	Dim  int  // length of each vector
	Type Type // of the numbers in the file
}

// Type is how a file holds the numbers of its vectors.
type Type uint8

// The types. A reader gives float32 numbers of either. A float16 takes half of the space and has 11
// significant bits. JSON lines hold the decimals of rounded numbers, and a reader takes them for
// float32.
const (
	Float32 Type = iota
	Float16
)

func (t Type) String() string { return [...]string{"float32", "float16"}[t] }

// Bytes is the size of a number.
func (t Type) Bytes() int { return [...]int{4, 2}[t] }

// format is one kind of file.
type format struct {
	ending string
	save   func(path string, h Head, rows iter.Seq2[Row, error]) error
	open   func(f *os.File, size int64) (decoder, error)
}

// formats are all formats.
var formats = []format{
	{".parquet", saveParquet, openParquet},
	{".npy", saveNPY, openNPY},
	{".jsonl", saveJSONLines, func(f *os.File, _ int64) (decoder, error) { return newJSONLines(f) }},
}

// formatOf finds the format by the ending of a file's name.
func formatOf(path string) (*format, error) {
	var endings []string
	for i, f := range formats {
		if strings.EqualFold(filepath.Ext(path), f.ending) {
			return &formats[i], nil
		}
		endings = append(endings, f.ending)
	}
	return nil, fmt.Errorf("%s: the name of a file of vectors ends in %s", path, strings.Join(endings, ", "))
}

// Check returns an error if Save has no format for the ending of a file's name.
func Check(path string) error {
	_, err := formatOf(path)
	return err
}

// CheckSource returns an error if Open takes nothing of this name: neither a folder nor a file with
// the ending of a format.
func CheckSource(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	return Check(path)
}

// Files names the files that Save makes for a path: itself, and for an array the names of its rows.
func Files(path string) []string {
	if !strings.EqualFold(filepath.Ext(path), ".npy") {
		return []string{path}
	}
	if number, ok := clipNumber(path); ok {
		return []string{path, clipTable(path, number)}
	}
	return []string{path, manifest(path)}
}

// Save writes rows to path, in the format of the path's ending. The file appears whole or not at
// all: it is written under another name, synced and renamed, and an older file stays if anything
// fails. Save iterates over rows once or twice. Each time they must be h.Rows rows of h.Dim finite
// numbers. Numbers are rounded to the type of the head.
func Save(path string, h Head, rows iter.Seq2[Row, error]) error {
	f, err := formatOf(path)
	if err != nil {
		return err
	}
	if h.Rows < 0 || h.Dim < 1 {
		return fmt.Errorf("save %s: %d rows of %d numbers cannot be", path, h.Rows, h.Dim)
	}
	return f.save(path, h, func(yield func(Row, error) bool) {
		n := 0
		var rounded []float32
		for row, err := range rows {
			if err == nil && n == h.Rows {
				err = fmt.Errorf("there are more than the %d rows promised", h.Rows)
			}
			if err == nil {
				if h.Type == Float16 {
					rounded = round(rounded, row.Vector)
					row.Vector = rounded
				}
				err = row.check(n, h.Dim)
			}
			if !yield(row, err) || err != nil {
				return
			}
			n++
		}
		if n < h.Rows {
			yield(Row{}, fmt.Errorf("there are %d rows where %d were promised", n, h.Rows))
		}
	})
}

// round gives the vector with the values of float16 numbers, in the place of to.
func round(to, vector []float32) []float32 {
	to = grow(to, len(vector))
	for i, v := range vector {
		to[i] = half.From(half.To(v))
	}
	return to
}

// check returns an error if not every format can hold the row.
func (r *Row) check(n, dim int) error {
	if len(r.Vector) != dim {
		return fmt.Errorf("row %d (%s) has %d numbers where the others have %d", n, r.Path, len(r.Vector), dim)
	}
	if !utf8.ValidString(r.Path) || !utf8.ValidString(r.Label) {
		return fmt.Errorf("row %d: the path %q or label %q is not UTF-8 text", n, r.Path, r.Label)
	}
	if r.SHA256 != "" && !isDigest(r.Size, r.SHA256) {
		return fmt.Errorf("row %d (%s): size %d and SHA-256 %.80q are not those of an image",
			n, r.Path, r.Size, r.SHA256)
	}
	for _, v := range r.Vector {
		if v-v != 0 {
			return &NotFiniteError{Row: n, Path: r.Path, Value: v}
		}
	}
	return nil
}

// NotFiniteError is the error of a row that holds NaN or an infinity.
type NotFiniteError struct {
	Row   int // counted from 0
	Path  string
	Value float32 // the first such number
}

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("row %d (%s) holds %v, which is no number", e.Row, e.Path, e.Value)
}

// isDigest tells whether size and sum have the form of a digest.
func isDigest(size int64, sum string) bool {
	return size >= 0 && len(sum) == 2*sha256.Size && strings.Trim(sum, "0123456789abcdef") == ""
}

// each saves a file whose content follows from one pass over the rows.
func each(path string, rows iter.Seq2[Row, error], begin func(w io.Writer) (write func(Row) error, end func() error, err error)) error {
	_, err := atomicfile.Save(path, func(w io.Writer) error {
		write, end, err := begin(w)
		if err != nil {
			return err
		}
		for row, err := range rows {
			if err == nil {
				err = write(row)
			}
			if err != nil {
				return err
			}
		}
		return end()
	})
	return err
}

// decoder reads the rows of one file.
type decoder interface {
	head() Head
	next(row *Row) error // io.EOF after the last; row.Vector may be used again
	close() error
}

// Reader reads a file of vectors. It is not safe for concurrent use.
type Reader struct {
	path    string
	file    *os.File // nil of a folder
	decoder decoder
	used    bool
}

// Open opens a file that Save wrote, or that another tool wrote in the same form. A folder is taken
// for the shards of one set, whose rows it gives in the order of the shards. The folder must hold
// each of them once, or the error is a *[ShardsError]. Close the reader after use.
func Open(path string) (r *Reader, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		d, err := openShards(path)
		if err != nil {
			return nil, fmt.Errorf("open vectors: %s: %w", path, err)
		}
		return &Reader{path: path, decoder: d}, nil
	}
	f, err := formatOf(path)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open vectors: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("open vectors: %w", err)
	}
	d, err := f.open(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("open vectors: %s: %w", path, err)
	}
	return &Reader{path: path, file: file, decoder: d}, nil
}

// Head is the number of rows, -1 for JSON lines, and the length of the vectors, 0 if there are no
// rows.
func (r *Reader) Head() Head { return r.decoder.head() }

// All iterates over the rows, once. A row's Vector is valid until the next row; copy it to keep it.
// An error ends the iteration, but for a *NotFiniteError: it comes with its row, and the rows after
// it can be read.
func (r *Reader) All() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if r.used {
			yield(Row{}, fmt.Errorf("read %s: its rows were read already; open it again", r.path))
			return
		}
		r.used = true
		var row Row
		for n := 0; ; n++ {
			err := r.decoder.next(&row)
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				err = row.check(n, r.decoder.head().Dim)
			}
			last := false
			if err != nil {
				last = !errors.As(err, new(*NotFiniteError))
				err = fmt.Errorf("read %s: %w", r.path, err)
			}
			if !yield(row, err) || last {
				return
			}
		}
	}
}

// Close closes the file.
func (r *Reader) Close() error {
	if r.file == nil {
		return r.decoder.close()
	}
	return errors.Join(r.decoder.close(), r.file.Close())
}

// fits tells whether an array of this size can exist in memory or in a file.
func fits(rows, dim int64) bool {
	return rows >= 0 && dim >= 0 && (dim == 0 || rows <= math.MaxInt64/8/dim)
}

// grow returns s with n elements.
func grow(s []float32, n int) []float32 { return slices.Grow(s[:0], n)[:n] }
