package data

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"moco/internal/parquetcheck"
)

// listed is a line of a list of images.
type listed struct {
	path, label string
	line        int // counted from 1; of a Parquet file, its row
}

// openList makes a set of the images that a file lists: a CSV with a line of column names, or a
// Parquet file. The column path is needed; paths are relative to the list's folder. The column
// label gives the classes. It returns nil for any other file.
func openList(_ context.Context, box *container, opts Options) (*Set, error) {
	if box.what != "file" {
		return nil, nil
	}
	lines, err := readList(filepath.Join(box.root, box.entries[0].name))
	if err != nil || lines == nil {
		return nil, err
	}
	if opts.Frames {
		return nil, errors.New("this is a list of images, and videos were asked for; give folders of frames or " +
			"video files")
	}
	list := &container{what: "list", root: box.root}
	list.onDisk(func(e entry) string { return listedPlace(box.root, e.name) })
	for i, l := range lines {
		lines[i].path = listedName(box.root, l.path)
	}
	slices.SortStableFunc(lines, func(a, b listed) int { return strings.Compare(a.path, b.path) })
	s := &Set{kind: "list of images"}
	names, there := make([]string, len(lines)), false
	for i, l := range lines {
		if i > 0 && l.path == lines[i-1].path {
			return nil, fmt.Errorf("line %d lists %s, which line %d does too; list each image once",
				l.line, Text(l.path), lines[i-1].line)
		}
		e := entry{name: l.path}
		names[i] = e.name
		if info, err := os.Stat(listedPlace(box.root, e.name)); err == nil && info.Mode().IsRegular() {
			e.size, there = info.Size(), true
		}
		list.entries = append(list.entries, e)
	}
	if !there {
		return nil, fmt.Errorf("none of the %d files that it lists is there, such as %s; paths are relative to "+
			"the list's folder (%w)",
			len(lines), Text(names[0]), fs.ErrNotExist)
	}
	if err := anyLooksLikeImage(list, list.entries); err != nil {
		return nil, err
	}
	lay := layout{names: names}
	if err := lay.byList(lines); err != nil {
		return nil, err
	}
	s.setNames(names, 0)
	s.labels, s.classes = lay.labels, lay.classes
	s.backend = &encodedImages{box: list, entries: list.entries, options: opts.picture()}
	return s, nil
}

// byList labels images by the label column, if there is one.
func (l *layout) byList(lines []listed) error {
	labels := make([]string, len(lines))
	var with, without listed
	for i, line := range lines {
		labels[i] = className(line.label)
		if line.label == "" {
			without = line
		} else {
			with = line
		}
	}
	if with.line > 0 && without.line > 0 {
		return fmt.Errorf("line %d gives no label and line %d does; label all images or none", without.line, with.line)
	}
	if with.line > 0 {
		l.label(labels, compareLabels(labels))
	}
	return nil
}

// listedName is the name of an image in a list: its path, relative to the list's folder where it
// lies in it.
func listedName(root, name string) string {
	if filepath.IsAbs(name) {
		if abs, err := filepath.Abs(root); err == nil {
			if within, err := filepath.Rel(abs, name); err == nil && filepath.IsLocal(within) {
				name = within
			}
		}
	}
	return path.Clean(filepath.ToSlash(name))
}

// listedPlace is where an image of a list lies.
func listedPlace(root, name string) string {
	if path.IsAbs(name) {
		return filepath.FromSlash(name)
	}
	return filepath.Join(root, filepath.FromSlash(name))
}

// readList reads a list, or returns nil if the file is none.
func readList(name string) ([]listed, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [4]byte
	if n, _ := io.ReadFull(f, magic[:]); n == len(magic) && string(magic[:]) == "PAR1" {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return parquetList(f, info.Size())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	comma := ','
	if ending(name) == ".tsv" {
		comma = '\t'
	}
	lines, err := csvList(f, comma)
	if errors.Is(err, errNoPath) && ending(name) != ".csv" && ending(name) != ".tsv" {
		return nil, nil
	}
	return lines, err
}

// errNoPath is a file without the column that makes it a list.
var errNoPath = errors.New("it has no column path; a list of images begins with a line of column names such as " +
	"path,label")

// csvList reads a CSV whose first line names its columns.
func csvList(r io.Reader, comma rune) ([]listed, error) {
	buffered := bufio.NewReader(r)
	if head, _ := buffered.Peek(512); bytes.IndexByte(head, 0) >= 0 { // no text
		return nil, errNoPath
	}
	in := csv.NewReader(buffered)
	in.Comma, in.ReuseRecord, in.FieldsPerRecord = comma, true, -1
	head, err := in.Read()
	if err != nil {
		return nil, errNoPath
	}
	paths, labels := column(head, "path"), column(head, "label")
	if paths < 0 {
		return nil, errNoPath
	}
	columns, decided := len(head), column(head, "decision") >= 0
	var lines []listed
	for {
		record, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not a CSV: %w", err)
		}
		at, _ := in.FieldPos(0)
		if len(record) != columns {
			return nil, fmt.Errorf("line %d has %d fields where the first line names %d columns",
				at, len(record), columns)
		}
		l := listed{path: strings.Clone(strings.TrimSpace(record[paths])), line: at}
		if labels >= 0 {
			l.label = strings.Clone(strings.TrimSpace(record[labels]))
		}
		lines = append(lines, l)
	}
	if decided {
		if lines = lastLabelled(lines); len(lines) == 0 {
			return nil, errors.New("it is a file of labels in which no image has one")
		}
	}
	return lines, checkListed(lines)
}

// lastLabelled are the images of a file of package labels that have a label: there a later line of
// an image replaces the earlier ones, and an empty label means none.
func lastLabelled(lines []listed) []listed {
	last := make(map[string]int, len(lines)) // the line
	for _, l := range lines {
		last[l.path] = l.line
	}
	return slices.DeleteFunc(lines, func(l listed) bool { return l.label == "" || last[l.path] != l.line })
}

// checkListed refuses a list without images, and lines without a path.
func checkListed(lines []listed) error {
	if len(lines) == 0 {
		return errors.New("it lists no images")
	}
	for _, l := range lines {
		if l.path == "" {
			return fmt.Errorf("line %d has no path", l.line)
		}
	}
	return nil
}

// column finds a column by its name, -1 if there is none.
func column(head []string, name string) int {
	return slices.IndexFunc(head, func(h string) bool {
		return strings.EqualFold(strings.TrimSpace(strings.TrimPrefix(h, "\ufeff")), name) // the mark that spreadsheets write first
	})
}

// parquetList reads the columns path and label of a Parquet file. The library panics on some
// damaged files.
func parquetList(r io.ReaderAt, size int64) (lines []listed, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is damaged, or of a kind of Parquet that is not read (%v)", p)
		}
	}()
	if err := parquetcheck.Check(r, size); err != nil {
		return nil, fmt.Errorf("not a Parquet file that is read: %w", err)
	}
	file, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("not a Parquet file that is read: %w", err)
	}
	paths, err := parquetColumn(file, "path")
	if err != nil {
		return nil, err
	}
	if paths == nil {
		return nil, errNoPath
	}
	labels, err := parquetColumn(file, "label")
	if err != nil {
		return nil, err
	}
	if labels != nil && len(labels) != len(paths) {
		return nil, fmt.Errorf("it has %d paths and %d labels; it is damaged", len(paths), len(labels))
	}
	for i, p := range paths {
		l := listed{path: p, line: i + 1}
		if labels != nil {
			l.label = labels[i]
		}
		lines = append(lines, l)
	}
	return lines, checkListed(lines)
}

// parquetColumn reads a column of strings or whole numbers as text, null as "". It returns nil if
// there is no such column.
func parquetColumn(file *parquet.File, name string) ([]string, error) {
	leaf, ok := file.Schema().Lookup(name)
	if !ok || leaf.MaxRepetitionLevel > 0 {
		return nil, nil
	}
	texts := []string{}
	buf := make([]parquet.Value, 1024)
	for _, group := range file.RowGroups() {
		pages := group.ColumnChunks()[leaf.ColumnIndex].Pages()
		for {
			page, err := pages.ReadPage()
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("column %s: %w", name, err), pages.Close())
			}
			values := page.Values()
			for {
				n, err := values.ReadValues(buf)
				for _, v := range buf[:n] {
					texts = append(texts, parquetText(v))
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					return nil, errors.Join(fmt.Errorf("column %s: %w", name, err), pages.Close())
				}
			}
			parquet.Release(page)
		}
		if err := pages.Close(); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func parquetText(v parquet.Value) string {
	switch {
	case v.IsNull():
		return ""
	case v.Kind() == parquet.Int32:
		return strconv.FormatInt(int64(v.Int32()), 10)
	case v.Kind() == parquet.Int64:
		return strconv.FormatInt(v.Int64(), 10)
	case v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray:
		return string(v.ByteArray())
	}
	return v.String()
}
