package vectors

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
)

// line is a row as JSON. In the manifest of an array it has no vector.
type line struct {
	Path   *string         `json:"path"`
	Label  string          `json:"label,omitempty"`
	Size   json.RawMessage `json:"size,omitempty"`   // a number; in other tools' files anything
	SHA256 json.RawMessage `json:"sha256,omitempty"` // a string; in other tools' files anything
	Vector floats          `json:"vector,omitempty"`
}

// row makes a row of a line that has a path. The caller gives the vector, wherever it comes from.
func (l *line) row(vector []float32) Row {
	r := Row{Path: *l.Path, Label: l.Label, Vector: vector}
	var size int64
	var sum string
	if json.Unmarshal(l.Size, &size) == nil && json.Unmarshal(l.SHA256, &sum) == nil && isDigest(size, sum) {
		r.Size, r.SHA256 = size, sum
	}
	return r
}

// floats are read strictly: encoding/json would read null as zero.
type floats []float32

// UnmarshalJSON reads an array of numbers.
func (f *floats) UnmarshalJSON(raw []byte) error {
	inside, ok := bytes.CutPrefix(raw, []byte("["))
	if !ok {
		return errors.New("a vector is an array of numbers")
	}
	inside = bytes.TrimSuffix(inside, []byte("]"))
	*f = (*f)[:0]
	if len(bytes.TrimSpace(inside)) == 0 {
		return nil
	}
	for part := range bytes.SplitSeq(inside, []byte(",")) {
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(part)), 32)
		if err != nil {
			return fmt.Errorf("%.20q in a vector is no float32", part)
		}
		*f = append(*f, float32(v))
	}
	return nil
}

func saveJSONLines(path string, _ Head, rows iter.Seq2[Row, error]) error {
	return saveLines(path, rows, true)
}

// saveLines writes a line for each row.
func saveLines(path string, rows iter.Seq2[Row, error], vectors bool) error {
	return each(path, rows, func(w io.Writer) (func(Row) error, func() error, error) {
		out := bufio.NewWriterSize(w, 1<<16)
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		return func(r Row) error {
			l := line{Path: &r.Path, Label: r.Label}
			if r.SHA256 != "" {
				l.Size, l.SHA256 = strconv.AppendInt(nil, r.Size, 10), strconv.AppendQuote(nil, r.SHA256)
			}
			if vectors {
				l.Vector = r.Vector
			}
			return encoder.Encode(l)
		}, out.Flush, nil
	})
}

// maxLine is the length of the longest line that is read: about a million numbers.
const maxLine = 16 << 20

// lines reads rows of JSON.
type lines struct {
	scanner *bufio.Scanner
	file    io.Closer // may be nil
	n       int
	line    line
}

func newLines(r io.Reader) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	return &lines{scanner: s}
}

// next reads the next line that is not empty.
func (l *lines) next() error {
	for l.scanner.Scan() {
		l.n++
		raw := bytes.TrimSpace(l.scanner.Bytes())
		if len(raw) == 0 {
			continue
		}
		l.line = line{Vector: l.line.Vector[:0]}
		if err := json.Unmarshal(raw, &l.line); err != nil {
			return fmt.Errorf("line %d: %w", l.n, err)
		}
		if l.line.Path == nil {
			return fmt.Errorf(`line %d has no "path"`, l.n)
		}
		return nil
	}
	if err := l.scanner.Err(); err != nil {
		return fmt.Errorf("line %d: %w", l.n+1, err)
	}
	return io.EOF
}

func (l *lines) row(vector []float32) Row { return l.line.row(vector) }

func (l *lines) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// jsonLines is the decoder of .jsonl.
type jsonLines struct {
	*lines
	dim    int
	peeked bool // line already holds the first row
}

func newJSONLines(r io.Reader) (decoder, error) {
	j := &jsonLines{lines: newLines(r)}
	switch err := j.lines.next(); {
	case err == io.EOF:
		return j, nil
	case err != nil:
		return nil, err
	}
	if j.dim, j.peeked = len(j.line.Vector), true; j.dim == 0 {
		return nil, fmt.Errorf(`line %d has no "vector"`, j.n)
	}
	return j, nil
}

func (j *jsonLines) head() Head { return Head{Rows: -1, Dim: j.dim} }

func (j *jsonLines) next(row *Row) error {
	if !j.peeked {
		if err := j.lines.next(); err != nil {
			return err
		}
	}
	j.peeked = false
	*row = j.line.row(j.line.Vector)
	return nil
}

func (j *jsonLines) close() error { return nil }
