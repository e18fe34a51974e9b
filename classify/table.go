package classify

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"moco/internal/atomicfile"
)

// Unknown is the label of pictures that a classifier is not sure enough of.
const Unknown = "unknown"

// Row is what one picture was taken for.
type Row struct {
	Path       string  `json:"path" parquet:"path,snappy"`
	Label      string  `json:"label" parquet:"label,dict"`
	Confidence float32 `json:"confidence" parquet:"confidence"`
	// Second is the second choice; of an Unknown picture, the most likely class.
	Second string `json:"second" parquet:"second,dict"`
}

// RowOf is a prediction as a row. Under the least confidence the label is Unknown.
func (c *Classifier) RowOf(path string, p Prediction, least float32) Row {
	r := Row{Path: path, Label: c.Classes[p.Label], Confidence: p.Confidence, Second: c.Classes[p.Second]}
	if p.Confidence < least {
		r.Label, r.Second = Unknown, c.Classes[p.Label]
	}
	return r
}

// table writes rows in one format.
type table func(w io.Writer, rows []Row) error

var tables = map[string]table{".csv": writeCSV, ".parquet": writeParquet, ".jsonl": writeJSONLines}

// tableOf finds the format by the end of a file's name.
func tableOf(path string) (table, error) {
	if t, ok := tables[strings.ToLower(filepath.Ext(path))]; ok {
		return t, nil
	}
	return nil, fmt.Errorf("%q does not say by its ending what it should become: .csv, .parquet or .jsonl",
		filepath.Base(path))
}

// CheckTable returns an error if SaveTable knows no format of a file's ending.
func CheckTable(path string) error {
	_, err := tableOf(path)
	return err
}

// WriteTable writes rows with the columns path, label, confidence and second in the format that a
// file's name asks for: CSV, Parquet or JSON lines.
func WriteTable(w io.Writer, name string, rows []Row) error {
	t, err := tableOf(name)
	if err != nil {
		return err
	}
	return t(w, rows)
}

// SaveTable is WriteTable to a file, which appears whole or not at all.
func SaveTable(path string, rows []Row) error {
	if err := CheckTable(path); err != nil {
		return err
	}
	_, err := atomicfile.Save(path, func(w io.Writer) error { return WriteTable(w, path, rows) })
	return err
}

// IsTable tells whether a file is one that SaveTable wrote in the format that its name asks for.
func IsTable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
		line, err := bufio.NewReader(io.LimitReader(f, maxMark)).ReadString('\n')
		return err == nil && strings.TrimRight(line, "\r\n") == strings.Join(columns, ",")
	case ".jsonl":
		line, err := bufio.NewReader(io.LimitReader(f, maxMark)).ReadBytes('\n')
		var row map[string]any
		return err == nil && json.Unmarshal(line, &row) == nil && len(row) == len(columns) &&
			!slices.ContainsFunc(columns, func(c string) bool { return row[c] == nil })
	case ".parquet":
		return isParquet(f)
	}
	return false
}

// maxMark is how much of a file is read to find out whether SaveTable wrote it.
const maxMark = 1 << 20

// isParquet looks for who wrote a Parquet file, and for its columns, in what stands at its end.
func isParquet(f *os.File) bool {
	const tail = 8 // the footer's length and a word
	info, err := f.Stat()
	if err != nil || info.Size() < tail {
		return false
	}
	end := make([]byte, tail)
	if _, err := f.ReadAt(end, info.Size()-tail); err != nil || string(end[4:]) != "PAR1" {
		return false
	}
	length := int64(binary.LittleEndian.Uint32(end))
	if length > maxMark || length > info.Size()-tail {
		return false
	}
	footer := make([]byte, length)
	if _, err := f.ReadAt(footer, info.Size()-tail-length); err != nil {
		return false
	}
	return bytes.Contains(footer, []byte(writer+" version 1")) &&
		!slices.ContainsFunc(columns, func(c string) bool { return !bytes.Contains(footer, []byte(c)) })
}

// writer is who wrote a Parquet file, as it says.
const writer = "moco"

// columns are those of every table.
var columns = []string{"path", "label", "confidence", "second"}

func writeCSV(w io.Writer, rows []Row) error {
	out := csv.NewWriter(w)
	out.Write(columns) // Error has what fails
	for _, r := range rows {
		out.Write([]string{r.Path, r.Label, strconv.FormatFloat(float64(r.Confidence), 'f', 4, 32), r.Second})
	}
	out.Flush()
	return out.Error()
}

func writeJSONLines(w io.Writer, rows []Row) error {
	buffered := bufio.NewWriter(w)
	out := json.NewEncoder(buffered)
	out.SetEscapeHTML(false)
	for _, r := range rows {
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

func writeParquet(w io.Writer, rows []Row) error {
	out := parquet.NewGenericWriter[Row](w, parquet.CreatedBy(writer, "1", ""))
	if _, err := out.Write(rows); err != nil {
		return err
	}
	return out.Close()
}
