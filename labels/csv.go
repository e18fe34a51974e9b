package labels

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// The file is CSV as RFC 4180 describes it, read here by its own reader: encoding/csv does not tell
// whether the last row is whole, and it changes line ends within a name.

// header is the first line of a file.
const header = "path,label,decision\n"

// maxTorn is the longest end that is taken for a row that a kill has cut short.
const maxTorn = 64 << 10

// ColumnsError is the error of a file that has other columns, or lacks the column path.
type ColumnsError struct {
	Columns []string // of the file
}

// Error names the columns.
func (e *ColumnsError) Error() string {
	return fmt.Sprintf("the columns of a file of labels are path, label and decision; this one has %s",
		strings.Join(e.Columns, ", "))
}

// RowError is the error of a row that cannot be read.
type RowError struct {
	Row     int // counted from 1; the line of the columns' names is the first
	Problem string
}

// Error names the row.
func (e *RowError) Error() string { return fmt.Sprintf("row %d %s", e.Row, e.Problem) }

// ending tells how what was read ends.
type ending struct {
	at      int  // behind the last whole row
	torn    bool // something is behind it
	rewrite bool // rows cannot be appended to the file: it is empty, or has other columns
}

// columns are the places of the fields in a row, -1 where there is none.
type columns struct{ path, label, decision, count int }

// standard are the columns of a file that this package wrote.
var standard = columns{path: 0, label: 1, decision: 2, count: 3}

// Read reads a file of labels and returns the last row of each path. It changes nothing. A last row
// that is torn is left out.
func Read(path string) ([]Row, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	rows, _, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("labels: %s: %w", path, err)
	}
	return latest(rows), nil
}

// Write writes rows in the form of a file of labels.
func Write(w io.Writer, rows []Row) error {
	raw := []byte(header)
	for _, r := range rows {
		raw = appendRow(raw, r)
	}
	_, err := w.Write(raw)
	return err
}

// parse reads a file from its beginning.
func parse(raw []byte) ([]Row, ending, error) {
	if strings.HasPrefix(header, string(raw)) && len(raw) < len(header) { // empty, or torn in its first line
		return nil, ending{rewrite: true}, nil
	}
	body := bytes.TrimPrefix(raw, []byte("\ufeff"))
	names, n, whole := record(body)
	if !whole {
		names, n = splitLast(body), len(body)
	}
	c, err := columnsOf(names)
	if err != nil {
		return nil, ending{}, err
	}
	rest, foreign := body[n:], c != standard || !whole
	if foreign && len(rest) > 0 && rest[len(rest)-1] != '\n' { // a person's file, whose last line counts
		rest = append(bytes.Clone(rest), '\n')
	}
	rows, end, err := parseRows(rest, c)
	end.at = min(end.at+len(raw)-len(body)+n, len(raw))
	end.rewrite = foreign
	return rows, end, err
}

// splitLast are the fields of a line without an end.
func splitLast(line []byte) []string {
	fields, _, _ := record(append(bytes.Clone(line), '\n'))
	return fields
}

// columnsOf finds the columns by their names.
func columnsOf(names []string) (columns, error) {
	c := columns{path: -1, label: -1, decision: -1, count: len(names)}
	for i, name := range names {
		switch place := map[string]*int{"path": &c.path, "label": &c.label, "decision": &c.decision}[strings.ToLower(
			strings.TrimSpace(name))]; {
		case place == nil || *place >= 0:
			return c, &ColumnsError{Columns: names}
		default:
			*place = i
		}
	}
	if c.path < 0 {
		return c, &ColumnsError{Columns: names}
	}
	return c, nil
}

// parseRows reads rows as far as they are whole.
func parseRows(raw []byte, c columns) (rows []Row, end ending, err error) {
	for line := 2; end.at < len(raw); line++ {
		fields, n, whole := record(raw[end.at:])
		if !whole {
			break
		}
		end.at += n
		if len(fields) == 1 && fields[0] == "" { // an empty line
			continue
		}
		if len(fields) != c.count {
			return nil, end, &RowError{Row: line, Problem: fmt.Sprintf("has %d fields, not %d", len(fields), c.count)}
		}
		row := Row{Path: fields[c.path]}
		if c.label >= 0 {
			row.Label = fields[c.label]
		}
		if c.decision >= 0 {
			row.Decision = fields[c.decision]
		}
		if row.Path == "" {
			return nil, end, &RowError{Row: line, Problem: "has no path"}
		}
		rows = append(rows, row)
	}
	// A quote that nobody closes makes all that follows one field. That is no row that a kill cut
	// short, and cutting it off would lose rows.
	if rest := raw[end.at:]; len(rest) > maxTorn || bytes.Count(rest, []byte("\n")) > 2 {
		return nil, end, &RowError{Row: len(rows) + 2, Problem: "opens a quote that is not closed"}
	}
	end.torn = end.at < len(raw)
	return rows, end, nil
}

// record reads the fields of the first row of raw and how long it is. It is not whole if its line
// end is missing.
func record(raw []byte) (fields []string, n int, whole bool) {
	for {
		field, length, last, ok := field(raw[n:])
		if !ok {
			return nil, 0, false
		}
		fields, n = append(fields, field), n+length
		if last {
			return fields, n, true
		}
	}
}

// field reads the first field of raw, and how long it is with what ends it. It is the last of its
// row if a line end does. A quote within an unquoted field, or one within a quoted field that does
// not end it, stands for itself.
func field(raw []byte) (text string, n int, last, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		end := bytes.IndexAny(raw, ",\n")
		if end < 0 {
			return "", 0, false, false
		}
		body := raw[:end]
		if raw[end] == '\n' {
			body = bytes.TrimSuffix(body, []byte("\r"))
		}
		return string(body), end + 1, raw[end] == '\n', true
	}
	var b []byte
	for i := 1; i < len(raw); i++ {
		if raw[i] != '"' {
			b = append(b, raw[i])
			continue
		}
		rest := raw[i+1:]
		switch {
		case len(rest) == 0:
			return "", 0, false, false
		case rest[0] == '"':
			b = append(b, '"')
			i++
		case rest[0] == ',':
			return string(b), i + 2, false, true
		case rest[0] == '\n':
			return string(b), i + 2, true, true
		case rest[0] == '\r' && len(rest) > 1 && rest[1] == '\n':
			return string(b), i + 3, true, true
		case rest[0] == '\r' && len(rest) == 1:
			return "", 0, false, false
		default:
			b = append(b, '"')
		}
	}
	return "", 0, false, false
}

// appendRow writes a row as CSV.
func appendRow(b []byte, r Row) []byte {
	for i, text := range [...]string{r.Path, r.Label, r.Decision} {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendField(b, text)
	}
	return append(b, '\n')
}

// appendField writes a field, quoted where it must be, or where readers would trim it.
func appendField(b []byte, text string) []byte {
	if !strings.ContainsAny(text, ",\"\r\n") && text == strings.TrimSpace(text) && !strings.HasPrefix(text, "\ufeff") {
		return append(b, text...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(text, `"`, `""`)...)
	return append(b, '"')
}
