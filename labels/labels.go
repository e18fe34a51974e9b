// Package labels keeps what people say of pictures, a label and a decision each, in one plain CSV
// file with the columns path, label and decision.
//
// The file is only ever appended to: a later row of a path replaces the earlier ones, and an empty
// field means none. A change is one write, synced before it counts, so a kill at any moment loses
// nothing that was told as done. A row that a kill has cut short is cut off by whoever appends
// next. Several processes may have one file open: each appends under the file's lock, and each
// follows the rows of the others.
//
// Nothing keeps a file open between two changes, so a spreadsheet may save it in the meantime. What
// then stands in it is read anew.
package labels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"moco/internal/atomicfile"
	"moco/internal/lock"
)

// Row is what is said of one picture from now on.
type Row struct {
	Path     string // its name within its set
	Label    string // the name of its class; empty: none
	Decision string // what to do with it, in the words of the program; empty: none
}

// Change is what others have written.
type Change struct {
	// Whole is true where the file is another one than before: Rows is then all that it says, and a
	// picture without a row has neither label nor decision.
	Whole bool
	Rows  []Row // in the file's order: later ones count
}

// File is a file of labels. It is safe for concurrent use.
type File struct {
	path string

	mu       sync.Mutex
	unlocked bool        // the file system has no locks
	at       int64       // up to where the file has been read
	info     fs.FileInfo // of the file that was read
	tail     []byte      // the last bytes before at, by which a file that was replaced is noticed
	spare    int         // rows that later ones replace
	foreign  bool        // rows cannot be appended to the file as it is; it has to be written anew
}

// tailBytes is how much is compared to know a file again. Names of files are used again, and so are
// the numbers by which a file system knows them.
const tailBytes = 256

// Open opens a file and returns its rows, the last one of each path. It makes the file if there is
// none, cuts off a last row that is torn, and writes the file anew where a third of it or more is
// replaced by later rows. A file with other columns than these is a *ColumnsError: it would lose
// them.
func Open(ctx context.Context, path string) (*File, []Row, error) {
	f := &File{path: path}
	var rows []Row
	err := f.locked(ctx, func() error {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if err := write(path, nil); err != nil {
				return err
			}
		}
		change, end, err := f.read(true)
		if err != nil {
			return err
		}
		rows = latest(change.Rows)
		f.spare = len(change.Rows) - len(rows)
		if f.foreign || f.spare > len(rows)/2 {
			return f.compact(rows)
		}
		return f.cut(end)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("labels: %w", err)
	}
	return f, rows, nil
}

// Path is the file's path.
func (f *File) Path() string { return f.path }

// Unlocked tells whether the file system has no locks, so that nothing keeps two processes from
// writing at once.
func (f *File) Unlocked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unlocked
}

// Append writes rows behind those that are there, in one piece, and returns what others have
// written before them. When it returns without an error, the rows outlast a kill and a power cut.
// After an error none of them counts. Rows without a path are an error.
func (f *File) Append(ctx context.Context, rows []Row) (Change, error) {
	var others Change
	err := f.Update(ctx, func(c Change) []Row {
		others = c
		return rows
	})
	return others, err
}

// Update is Append of rows that depend on what others have written. While next makes them, nobody
// else writes.
func (f *File) Update(ctx context.Context, next func(others Change) []Row) error {
	err := f.locked(ctx, func() error {
		others, end, err := f.read(f.foreign)
		if err != nil {
			return err
		}
		if f.foreign {
			err = f.compact(latest(others.Rows))
		} else {
			err = f.cut(end)
		}
		rows := next(others)
		if err != nil || len(rows) == 0 {
			return err
		}
		raw, err := appendRows(rows)
		if err != nil {
			return err
		}
		f.spare += len(rows) + len(others.Rows)
		return f.write(raw)
	})
	if err != nil {
		return fmt.Errorf("labels: %w", err)
	}
	return nil
}

// appendRows writes rows as CSV.
func appendRows(rows []Row) ([]byte, error) {
	var raw []byte
	for _, r := range rows {
		if r.Path == "" {
			return nil, errors.New("a row without a path")
		}
		raw = appendRow(raw, r)
	}
	return raw, nil
}

// Follow returns what others have written since this file was read last. A row that somebody is
// just writing comes the next time.
func (f *File) Follow() (Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change, _, err := f.read(false)
	if err != nil {
		return change, fmt.Errorf("labels: %w", err)
	}
	f.spare += len(change.Rows)
	return change, nil
}

// Close leaves a row for each path. Others that have the file open read it anew.
func (f *File) Close(ctx context.Context) error {
	err := f.locked(ctx, func() error {
		if f.spare == 0 {
			return nil
		}
		raw, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		rows, _, err := parse(raw)
		if err != nil {
			return err
		}
		if unique := latest(rows); len(unique) < len(rows) {
			return f.compact(unique)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("labels: %w", err)
	}
	return nil
}

// locked calls do while this process alone may write.
func (f *File) locked(ctx context.Context, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, release, err := lock.Path(ctx, f.path)
	var unsupported *lock.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		f.unlocked = true
	case err != nil:
		return err
	default:
		defer release()
	}
	return do()
}

// read reads what is behind the place up to which the file was read, or the whole file if it is
// another one. Nothing that is there is also nothing new, unless it has to be the whole.
func (f *File) read(whole bool) (change Change, end ending, err error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed it
		change.Whole = f.info != nil
		f.info, f.at, f.tail, f.foreign = nil, 0, nil, true
		return change, end, nil
	}
	if err != nil {
		return change, end, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return change, end, err
	}
	whole = whole || !f.same(file, info)
	from := f.at
	if whole {
		from = 0
	}
	raw, err := io.ReadAll(io.NewSectionReader(file, from, info.Size()-from))
	if err != nil {
		return change, end, err
	}
	change.Whole = whole
	if whole {
		change.Rows, end, err = parse(raw)
	} else {
		change.Rows, end, err = parseRows(raw, standard)
	}
	if err != nil {
		return Change{}, end, err
	}
	f.foreign = end.rewrite
	f.remember(info, from+int64(end.at), append(f.tail, raw[:end.at]...))
	return change, end, nil
}

// same tells whether a file is the one that was read, with what was read.
func (f *File) same(file *os.File, info fs.FileInfo) bool {
	if f.info == nil || !os.SameFile(f.info, info) || info.Size() < f.at {
		return false
	}
	now := make([]byte, len(f.tail))
	_, err := file.ReadAt(now, f.at-int64(len(now)))
	return err == nil && bytes.Equal(now, f.tail)
}

// remember notes up to where a file was read, and what ends there.
func (f *File) remember(info fs.FileInfo, at int64, read []byte) {
	f.info, f.at = info, at
	f.tail = bytes.Clone(read[max(0, len(read)-int(min(tailBytes, at))):])
}

// cut removes a torn last row.
func (f *File) cut(end ending) error {
	if !end.torn {
		return nil
	}
	return os.Truncate(f.path, f.at)
}

// write appends bytes to the file and syncs it. After an error the file is as long as before.
func (f *File) write(raw []byte) error {
	file, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(raw, f.at)
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return errors.Join(err, file.Truncate(f.at))
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.remember(info, f.at+int64(len(raw)), append(f.tail, raw...))
	return nil
}

// compact writes the file anew with these rows.
func (f *File) compact(rows []Row) error {
	if err := write(f.path, rows); err != nil {
		return err
	}
	f.spare = 0
	_, _, err := f.read(true)
	return err
}

// write makes a file of rows, which appears whole.
func write(path string, rows []Row) error {
	_, err := atomicfile.Save(path, func(w io.Writer) error {
		return Write(w, rows)
	})
	return err
}

// latest keeps the last row of each path, in the order of their first ones. Rows that say nothing
// go.
func latest(rows []Row) []Row {
	at := make(map[string]int, len(rows))
	kept := make([]Row, 0, len(rows))
	for _, r := range rows {
		if i, ok := at[r.Path]; ok {
			kept[i] = r
			continue
		}
		at[r.Path] = len(kept)
		kept = append(kept, r)
	}
	all := kept
	kept = kept[:0]
	for _, r := range all {
		if r.Label != "" || r.Decision != "" {
			kept = append(kept, r)
		}
	}
	return kept
}
