package study

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"moco/internal/report"
	"moco/weights"
)

// Cell is a point of the grid over its seeds.
type Cell struct {
	Series, Label   string
	X               float64
	Runs            int // that gave an accuracy
	Failed          int
	Mean, Low, High float64 // kNN accuracy, percent
	Loss            float64 // mean
	ImagesPerSecond float64 // mean
}

// Summarise joins the seeds of each point, in the order of the grid. results are those of Execute, or a part of them.
func (s *Study) Summarise(results []Result) []Cell {
	var cells []Cell
	for _, one := range s.Series {
		for _, p := range one.Points {
			c := Cell{Series: one.Name, Label: p.label(), X: p.X, Low: math.Inf(1), High: math.Inf(-1)}
			for _, r := range results {
				switch {
				case r.Series != c.Series || r.Label != c.Label:
				case r.Failed != "":
					c.Failed++
				default:
					c.Runs++
					c.Mean += r.KNNTop1
					c.Loss += r.Loss
					c.ImagesPerSecond += r.ImagesPerSecond
					c.Low, c.High = min(c.Low, r.KNNTop1), max(c.High, r.KNNTop1)
				}
			}
			if n := float64(c.Runs); n > 0 {
				c.Mean, c.Loss, c.ImagesPerSecond = c.Mean/n, c.Loss/n, c.ImagesPerSecond/n
			} else {
				c.Low, c.High = 0, 0
			}
			cells = append(cells, c)
		}
	}
	return cells
}

// Markdown writes the table, and the order of the points, best first.
func (s *Study) Markdown(w io.Writer, cells []Cell) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| series | %s | kNN accuracy, %% | lowest to highest | runs | loss | images/s |\n|---|---|---|---|---|---|---|\n", strings.ReplaceAll(s.X.Label, "|", "/"))
	for _, c := range cells {
		switch {
		case c.Runs == 0 && c.Failed == 0:
			fmt.Fprintf(&b, "| %s | %s | not run | | 0 | | |\n", c.Series, c.Label)
		case c.Runs == 0:
			fmt.Fprintf(&b, "| %s | %s | diverged | | %d | | |\n", c.Series, c.Label, c.Failed)
		default:
			runs := strconv.Itoa(c.Runs)
			if c.Failed > 0 {
				runs += fmt.Sprintf(", %d diverged", c.Failed)
			}
			fmt.Fprintf(&b, "| %s | %s | %.2f | %.2f to %.2f | %s | %.3f | %.0f |\n", c.Series, c.Label, c.Mean, c.Low, c.High, runs, c.Loss, c.ImagesPerSecond)
		}
	}
	ranked := slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool { return c.Runs == 0 })
	slices.SortStableFunc(ranked, func(a, b Cell) int {
		if a.Mean > b.Mean {
			return -1
		} else if a.Mean < b.Mean {
			return 1
		}
		return 0
	})
	var order []string
	for _, c := range ranked {
		order = append(order, fmt.Sprintf("%s at %s (%.2f)", c.Series, c.Label, c.Mean))
	}
	if len(order) > 0 {
		fmt.Fprintf(&b, "\nBest first: %s.\n", strings.Join(order, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// CSV writes one row a run.
func CSV(w io.Writer, results []Result) error {
	c := csv.NewWriter(w)
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	c.Write([]string{"series", "label", "x", "seed", "knn_top1", "loss", "steps", "images_per_second", "seconds", "failed"})
	for _, r := range results {
		c.Write([]string{r.Series, r.Label, number(r.X), fmt.Sprint(r.Seed), number(r.KNNTop1), number(r.Loss), strconv.Itoa(r.Steps), number(r.ImagesPerSecond), number(r.Seconds), r.Failed})
	}
	c.Flush()
	return c.Error()
}

// Write puts results.csv, table.md, accuracy, curves and, where it was measured, consistency as PNG and SVG into a folder, and returns their names.
func (s *Study) Write(dir string, results []Result) ([]string, error) {
	cells := s.Summarise(results)
	var written []string
	save := func(name string, write func(io.Writer) error) error {
		if _, err := weights.SaveFunc(filepath.Join(dir, name), write); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		written = append(written, name)
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("write the study's results: %w", err)
	}
	if err := save("results.csv", func(w io.Writer) error { return CSV(w, results) }); err != nil {
		return nil, err
	}
	if err := save("table.md", func(w io.Writer) error { return s.Markdown(w, cells) }); err != nil {
		return nil, err
	}
	plots := []struct {
		name string
		plot *report.SpreadPlot
	}{{"accuracy", s.accuracy(cells)}, {"curves", s.curves(results)}, {"consistency", s.consistency(results)}}
	for _, p := range plots {
		if len(p.plot.Series) == 0 {
			continue
		}
		for _, format := range []string{"png", "svg"} {
			if err := save(p.name+"."+format, func(w io.Writer) error { return p.plot.Write(w, format) }); err != nil {
				return nil, err
			}
		}
	}
	return written, nil
}

const accuracyLabel = "kNN accuracy, %"

// accuracy is the mean over seeds along each series.
func (s *Study) accuracy(cells []Cell) *report.SpreadPlot {
	p := &report.SpreadPlot{Title: s.Title, XLabel: s.X.Label, YLabel: accuracyLabel, LogX: s.X.Axis == "log"}
	var categories []string
	for _, one := range s.Series {
		line := report.Spread{Name: one.Name}
		for _, c := range cells {
			if c.Series != one.Name || c.Runs == 0 {
				continue
			}
			x := c.X
			if s.X.Axis == "categories" {
				at := slices.Index(categories, c.Label)
				if at < 0 {
					at, categories = len(categories), append(categories, c.Label)
				}
				x = float64(at)
			}
			line.X, line.Mean = append(line.X, x), append(line.Mean, c.Mean)
			line.Low, line.High = append(line.Low, c.Low), append(line.High, c.High)
		}
		if len(line.X) > 0 {
			p.Series = append(p.Series, line)
		}
	}
	if s.X.Axis == "categories" {
		p.Categories = categories
	}
	return p
}

// curves is the accuracy by epoch of each point, mean over seeds.
func (s *Study) curves(results []Result) *report.SpreadPlot {
	p := &report.SpreadPlot{Title: s.Title, XLabel: "epoch", YLabel: accuracyLabel}
	s.eachPoint(results, func(name string, of []Result) {
		line := report.Spread{Name: name}
		for i, epoch := range of[0].Epochs {
			addMean(&line, epoch, of, func(r Result) ([]float64, int) { return r.Accuracy, i })
		}
		if len(line.X) > 1 {
			p.Series = append(p.Series, line)
		}
	})
	return p
}

// consistency is the cosine by age of each point's dictionary, mean over seeds. A dictionary without old keys has no curve.
func (s *Study) consistency(results []Result) *report.SpreadPlot {
	p := &report.SpreadPlot{Title: s.Title + ": consistency of the dictionary", XLabel: "age of a key, steps", YLabel: "cosine with the same view encoded now"}
	s.eachPoint(results, func(name string, of []Result) {
		line := report.Spread{Name: name}
		for i, age := range of[0].Age {
			addMean(&line, float64(age), of, func(r Result) ([]float64, int) { return r.Cosine, i })
		}
		if len(line.X) > 1 {
			p.Series = append(p.Series, line)
		}
	})
	return p
}

// eachPoint calls f with the runs of each point that did not fail.
func (s *Study) eachPoint(results []Result, f func(name string, of []Result)) {
	for _, one := range s.Series {
		for _, p := range one.Points {
			var of []Result
			for _, r := range results {
				if r.Series == one.Name && r.Label == p.label() && r.Failed == "" {
					of = append(of, r)
				}
			}
			if len(of) > 0 {
				f(one.Name+", "+p.label(), of)
			}
		}
	}
}

// addMean adds the mean over runs of one value to a line, with the lowest and the highest.
func addMean(line *report.Spread, x float64, of []Result, value func(Result) ([]float64, int)) {
	low, high, sum := math.Inf(1), math.Inf(-1), 0.0
	for _, r := range of {
		values, i := value(r)
		if i >= len(values) {
			return
		}
		low, high, sum = min(low, values[i]), max(high, values[i]), sum+values[i]
	}
	line.X, line.Mean = append(line.X, x), append(line.Mean, sum/float64(len(of)))
	line.Low, line.High = append(line.Low, low), append(line.High, high)
}
