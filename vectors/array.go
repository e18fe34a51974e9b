package vectors

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
)

// Array reads rows of NumPy arrays anywhere, in one file or in the shards of a folder, so that they
// need not fit in memory. Several goroutines may use it at once.
//
// It reads the file and does not map it: a failing disk is then an error and no crash, and what is
// read counts as memory of this process, which is bounded.
type Array struct {
	head  Head
	parts []arrayPart
}

// arrayPart is one file.
type arrayPart struct {
	file  *os.File
	start int64 // of the numbers in the file
	first int   // the row of the whole with which it begins
	rows  int
}

// NotArrayError is the error of vectors in a format whose rows can only be read in order.
type NotArrayError struct{ Path string }

func (e *NotArrayError) Error() string {
	return fmt.Sprintf("%s is no NumPy array; of other formats no part can be read alone", e.Path)
}

// OpenArray opens a .npy file, or a folder of shards that are such files. The error for other files
// of vectors is a *[NotArrayError]. The names of the rows are not read: [Open] gives them in the
// same order.
func OpenArray(path string) (a *Array, err error) {
	paths := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if paths, err = listShards(path); err != nil {
			return nil, fmt.Errorf("open vectors: %s: %w", path, err)
		}
	}
	a = &Array{}
	defer func() {
		if err != nil {
			a.Close()
			a, err = nil, fmt.Errorf("open vectors: %w", err)
		}
	}()
	for _, p := range paths {
		if !strings.HasSuffix(strings.ToLower(p), ".npy") {
			return a, &NotArrayError{Path: p}
		}
		if err := a.add(p); err != nil {
			return a, err
		}
	}
	return a, nil
}

// add opens the next file.
func (a *Array) add(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	a.parts = append(a.parts, arrayPart{file: file})
	info, err := file.Stat()
	if err != nil {
		return err
	}
	head, start, err := sizedNPYHeader(file, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(a.parts) > 1 && (head.Dim != a.head.Dim || head.Type != a.head.Type) {
		return fmt.Errorf("%s has rows of %d numbers of %v, the shards before it of %d of %v",
			path, head.Dim, head.Type, a.head.Dim, a.head.Type)
	}
	part := &a.parts[len(a.parts)-1]
	part.start, part.first, part.rows = start, a.head.Rows, head.Rows
	a.head = Head{Rows: a.head.Rows + head.Rows, Dim: head.Dim, Type: head.Type}
	return nil
}

// Head is the number of rows, the length of each and the type of their numbers.
func (a *Array) Head() Head { return a.head }

// ReadRows reads rows from first on, as many as dst has room for. raw is memory for it, which it
// grows and returns; it may be nil.
func (a *Array) ReadRows(first int, dst []float32, raw []byte) ([]byte, error) {
	dim := a.head.Dim
	if first < 0 || len(dst)%dim != 0 || first+len(dst)/dim > a.head.Rows {
		return raw, fmt.Errorf("rows %d and on in %d numbers are asked for of %d rows of %d", first, len(dst), a.head.Rows, dim)
	}
	size := a.head.Type.Bytes() * dim
	for len(dst) > 0 {
		// The last part that begins at or before the row.
		p := &a.parts[sort.Search(len(a.parts), func(i int) bool { return a.parts[i].first > first })-1]
		n := min(len(dst)/dim, p.first+p.rows-first)
		if cap(raw) < n*size {
			raw = make([]byte, n*size)
		}
		raw = raw[:n*size]
		if _, err := p.file.ReadAt(raw, p.start+int64(first-p.first)*int64(size)); err != nil {
			return raw, fmt.Errorf("read rows of %s: %w", p.file.Name(), err)
		}
		a.head.Type.decode(dst[:n*dim], raw)
		first, dst = first+n, dst[n*dim:]
	}
	return raw, nil
}

// Close closes the files.
func (a *Array) Close() error {
	var errs []error
	for _, p := range a.parts {
		errs = append(errs, p.file.Close())
	}
	return errors.Join(errs...)
}
