package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"moco/evaluate"
	"moco/internal/atomicfile"
)

// Row is an arm with all its seeds.
type Row struct {
	Arm       string             `json:"arm"`
	Linear    evaluate.Summary   `json:"linear_top1"`   // percent
	Finetuned []evaluate.Summary `json:"finetune_top1"` // for each share of the labels
}

// Table joins the seeds of each arm.
func (c *Comparison) Table(outcomes []Outcome) []Row {
	var rows []Row
	for _, arm := range c.Arms {
		var linear []float64
		tuned := make([][]float64, len(c.Labels))
		for _, o := range outcomes {
			if o.Arm != arm {
				continue
			}
			linear = append(linear, o.Linear.Top1)
			for i, t := range o.Tuned {
				tuned[i] = append(tuned[i], t.Top1)
			}
		}
		row := Row{Arm: arm, Linear: evaluate.Summarise(linear)}
		for _, values := range tuned {
			row.Finetuned = append(row.Finetuned, evaluate.Summarise(values))
		}
		rows = append(rows, row)
	}
	return rows
}

// Markdown writes the table.
func (c *Comparison) Markdown(w io.Writer, rows []Row) error {
	var b strings.Builder
	b.WriteString("| encoder | linear classifier |")
	for _, l := range c.Labels {
		fmt.Fprintf(&b, " fine-tuned, labels: %s |", l)
	}
	b.WriteString(" seeds |\n|---|---|" + strings.Repeat("---|", len(c.Labels)) + "---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %v |", r.Arm, r.Linear)
		for _, f := range r.Finetuned {
			fmt.Fprintf(&b, " %v |", f)
		}
		fmt.Fprintf(&b, " %d |\n", r.Linear.Runs)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Files are the files that Compare writes beside the runs.
var Files = []string{"results.json", "table.md"}

// write puts the results and the table into the folder.
func (c *Comparison) write(outcomes []Outcome) error {
	rows := c.Table(outcomes)
	raw, err := json.MarshalIndent(struct {
		Table    []Row     `json:"table"`
		Outcomes []Outcome `json:"outcomes"`
	}{rows, outcomes}, "", " ")
	if err != nil {
		return err
	}
	contents := []func(io.Writer) error{
		func(w io.Writer) error { _, err := w.Write(append(raw, '\n')); return err },
		func(w io.Writer) error { return c.Markdown(w, rows) },
	}
	for i, name := range Files {
		_, failed := atomicfile.Save(filepath.Join(c.Out, name), contents[i])
		err = errors.Join(err, failed)
	}
	return err
}
