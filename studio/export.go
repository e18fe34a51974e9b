package studio

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"moco/internal/links"
)

// labelRow is a row of the exported labels.
type labelRow struct {
	Path  string `parquet:"path"`
	Label string `parquet:"label"`
}

// predictionRow is a row of the exported predictions, with the columns of `moco classify`.
type predictionRow struct {
	Path       string  `parquet:"path"`
	Label      string  `parquet:"label"`
	Confidence float32 `parquet:"confidence"`
	Second     string  `parquet:"second"`
}

// fields are the row's in a CSV.
func (r labelRow) fields() []string { return []string{r.Path, r.Label} }

func (r predictionRow) fields() []string {
	return []string{r.Path, r.Label, strconv.FormatFloat(float64(r.Confidence), 'f', 4, 32), r.Second}
}

// exports are the files that can be downloaded.
var exports = map[string]func(s *Studio, w io.Writer) error{
	"labels.csv": func(s *Studio, w io.Writer) error {
		return writeCSV(w, []string{"path", "label"}, s.labelRows(), labelRow.fields)
	},
	"labels.parquet": func(s *Studio, w io.Writer) error { return writeParquet(w, s.labelRows()) },
	"predictions.csv": func(s *Studio, w io.Writer) error {
		rows, err := s.predictionRows()
		if err != nil {
			return err
		}
		return writeCSV(w, []string{"path", "label", "confidence", "second"}, rows, predictionRow.fields)
	},
	"predictions.parquet": func(s *Studio, w io.Writer) error {
		rows, err := s.predictionRows()
		if err != nil {
			return err
		}
		return writeParquet(w, rows)
	},
	"decisions.csv": func(s *Studio, w io.Writer) error {
		return writeCSV(w, []string{"path", "decision"}, s.decisionRows(), labelRow.fields)
	},
	// Pictures of one label are a group: two of them are a positive pair in training.
	"pairs.csv": func(s *Studio, w io.Writer) error {
		return writeCSV(w, []string{"path", "group"}, s.pairRows(), labelRow.fields)
	},
	"drop.txt": func(s *Studio, w io.Writer) error { return s.writeDecided(w, "drop") },
	"keep.txt": func(s *Studio, w io.Writer) error { return s.writeDecided(w, "keep") },
}

// getExport sends a file to be saved.
func (s *Studio) getExport(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	write := exports[name]
	if write == nil {
		return &refusal{http.StatusNotFound, fmt.Sprintf("there is no file %.40q to export", name)}
	}
	kind := map[string]string{".csv": "text/csv; charset=utf-8", ".txt": "text/plain; charset=utf-8",
		".parquet": "application/vnd.apache.parquet"}[path.Ext(name)]
	return write(s, &download{w: w, kind: kind, name: name})
}

// download sets the headers of a file with its first bytes, so that an error before them can still
// be told.
type download struct {
	w          http.ResponseWriter
	kind, name string
	begun      bool
}

func (d *download) Write(b []byte) (int, error) {
	if !d.begun {
		d.begun = true
		d.w.Header().Set("Content-Type", d.kind)
		d.w.Header().Set("Content-Disposition", `attachment; filename="`+d.name+`"`)
	}
	return d.w.Write(b)
}

// labelRows are the pictures with a label.
func (s *Studio) labelRows() (rows []labelRow) {
	now := s.board.snapshot()
	for i, name := range s.names {
		if l := now.labelOf(i); l != "" {
			rows = append(rows, labelRow{name, l})
		}
	}
	return rows
}

// pairRows are the pictures with a label that another one has too.
func (s *Studio) pairRows() (rows []labelRow) {
	count := map[string]int{}
	all := s.labelRows()
	for _, r := range all {
		count[r.Label]++
	}
	for _, r := range all {
		if count[r.Label] > 1 {
			rows = append(rows, r)
		}
	}
	return rows
}

// decisionRows are the pictures with a decision, which stands in the place of the label.
func (s *Studio) decisionRows() (rows []labelRow) {
	now := s.board.snapshot()
	for i, name := range s.names {
		if d := decisions[now.marks[i].decision]; d != "" {
			rows = append(rows, labelRow{name, d})
		}
	}
	return rows
}

// predictionRows are what the pictures without a label are taken for.
func (s *Studio) predictionRows() (rows []predictionRow, err error) {
	t, f := s.work.classifier.now.Load(), s.work.features()
	if t == nil || t.c == nil {
		return nil, &refusal{http.StatusConflict, "there are no predictions yet: label pictures of at least two classes"}
	}
	now := s.board.snapshot()
	for i, name := range s.names {
		p, ok := t.prediction(f, i)
		if !ok || now.marks[i].class >= 0 {
			continue
		}
		rows = append(rows, predictionRow{name, t.c.Classes[p.Label], p.Confidence, t.c.Classes[p.Second]})
	}
	return rows, nil
}

// writeDecided writes the paths with a decision, one a line.
func (s *Studio) writeDecided(w io.Writer, decision string) error {
	var b strings.Builder
	for _, r := range s.decisionRows() {
		if r.Label == decision {
			b.WriteString(strings.NewReplacer("\n", `\x0a`, "\r", `\x0d`).Replace(r.Path) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCSV[R any](w io.Writer, head []string, rows []R, fields func(R) []string) error {
	out := csv.NewWriter(w)
	out.Write(head) // its first error is kept
	for _, r := range rows {
		out.Write(fields(r))
	}
	out.Flush()
	return out.Error()
}

func writeParquet[R any](w io.Writer, rows []R) error {
	out := parquet.NewGenericWriter[R](w)
	if _, err := out.Write(rows); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}

// postLinks makes a folder with a folder for each class, and in it links to the pictures of that
// class.
func (s *Studio) postLinks(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Kind string `json:"kind"`
	}
	if err := body(w, r, &q); err != nil {
		return err
	}
	var class func(i int) string
	switch q.Kind {
	case "labels":
		now := s.board.snapshot()
		class = now.labelOf
	case "predictions":
		t, f := s.work.classifier.now.Load(), s.work.features()
		if t == nil || t.c == nil {
			return &refusal{http.StatusConflict, "there are no predictions yet: label pictures of at least two classes"}
		}
		now := s.board.snapshot()
		class = func(i int) string {
			p, ok := t.prediction(f, i)
			if l := now.labelOf(i); l != "" || !ok {
				return l
			}
			return t.c.Classes[p.Label]
		}
	default:
		return refuse("the kind is %.40q, and can be labels or predictions", q.Kind)
	}
	if _, ok := s.o.Data.File(0); !ok {
		return &refusal{http.StatusConflict,
			"links lead to files, and these pictures are not files of their own; export a CSV"}
	}
	var list []links.Link
	for i, name := range s.names {
		if file, ok := s.o.Data.File(i); ok && class(i) != "" {
			list = append(list, links.Link{Class: class(i), Name: name, Target: file})
		}
	}
	folder := strings.TrimSuffix(s.o.Labels, ".csv") + "." + q.Kind
	s.linking.Lock()
	defer s.linking.Unlock()
	err := links.Write(folder, list)
	var theirs *links.NotOursError
	if errors.As(err, &theirs) {
		return &refusal{http.StatusConflict, theirs.Error() + "; move it away"}
	}
	if err != nil {
		return err
	}
	return send(w, map[string]any{"folder": folder, "links": len(list)})
}
