package classify

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
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

func writeCSV(w io.Writer, rows []Row) error {
	out := csv.NewWriter(w)
	out.Write([]string{"path", "label", "confidence", "second"}) // Error has what fails
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
	out := parquet.NewGenericWriter[Row](w, parquet.CreatedBy("moco", "1", ""))
	if _, err := out.Write(rows); err != nil {
		return err
	}
	return out.Close()
}
