package study

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"moco/evaluate"
	"moco/internal/atomicfile"
	"moco/internal/report"
)

// Cell is a point of the grid with all its seeds.
type Cell struct {
	Series, Label    string
	X                float64
	evaluate.Summary          // kNN accuracy in percent, of the runs that have one
	Failed           []string // reasons of the other runs
	Loss             float64  // mean
	ImagesPerSecond  float64  // mean
	// The dictionary in the middle of training, averaged over the runs: the cosine of its oldest
	// keys with keys of the same views made at that time, and the cosine of different images.
	OldestAge               int
	OldestCosine, Strangers float64
}

// Summarise joins the seeds of each point, in the order of the grid. results are those of Execute,
// or some of them.
func (s *Study) Summarise(results []Result) []Cell {
	var cells []Cell
	for _, one := range s.Series {
		for _, p := range one.Points {
			c := Cell{Series: one.Name, Label: p.label(), X: p.X}
			var accuracy []float64
			for _, r := range results {
				switch {
				case r.Series != c.Series || r.Label != c.Label:
				case r.Failed != "":
					c.Failed = append(c.Failed, fmt.Sprintf("seed %d: %s", r.Seed, r.Failed))
				default:
					accuracy = append(accuracy, r.KNNTop1)
					c.Loss += r.Loss
					c.ImagesPerSecond += r.ImagesPerSecond
					if last := len(r.Age) - 1; last >= 0 {
						c.OldestAge = r.Age[last]
						c.OldestCosine += r.Cosine[last]
						c.Strangers += r.Others
					}
				}
			}
			c.Summary = evaluate.Summarise(accuracy)
			if n := float64(c.Runs); n > 0 {
				c.Loss, c.ImagesPerSecond = c.Loss/n, c.ImagesPerSecond/n
				c.OldestCosine, c.Strangers = c.OldestCosine/n, c.Strangers/n
			}
			cells = append(cells, c)
		}
	}
	return cells
}

// Markdown writes the table, the ranking of the points, and the reasons of failed runs. The columns
// "oldest keys" and "different images" are cosines, see Cell.
func (s *Study) Markdown(w io.Writer, cells []Cell) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| series | %s | kNN accuracy, %% | lowest to highest | runs | loss | oldest keys | different images | images/s |\n",
		plain(s.X.Label))
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range cells {
		b.WriteString(c.row())
	}
	if order := ranking(cells); order != "" {
		fmt.Fprintf(&b, "\nBest first: %s.\n", order)
	}
	for _, c := range cells {
		for _, reason := range c.Failed {
			fmt.Fprintf(&b, "\n%s at %s failed, %s.\n", c.Series, c.Label, strings.TrimSuffix(reason, "."))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plain removes what would break a row of a table from a text.
func plain(text string) string { return strings.NewReplacer("|", "/", "\n", "; ").Replace(text) }

// row is the point's row of the table.
func (c Cell) row() string {
	series, label := plain(c.Series), plain(c.Label)
	switch {
	case c.Runs == 0 && len(c.Failed) == 0:
		return fmt.Sprintf("| %s | %s | not run | | 0 | | | | |\n", series, label)
	case c.Runs == 0:
		return fmt.Sprintf("| %s | %s | failed | | %d | | | | |\n", series, label, len(c.Failed))
	}
	runs, oldest, strangers := strconv.Itoa(c.Runs), "", ""
	if len(c.Failed) > 0 {
		runs += fmt.Sprintf(", %d failed", len(c.Failed))
	}
	if c.OldestAge > 0 {
		oldest = fmt.Sprintf("%.3f (%d steps)", c.OldestCosine, c.OldestAge)
	}
	if c.Strangers != 0 {
		strangers = fmt.Sprintf("%.3f", c.Strangers)
	}
	return fmt.Sprintf("| %s | %s | %.2f | %.2f to %.2f | %s | %.3f | %s | %s | %.0f |\n",
		series, label, c.Mean, c.Low, c.High, runs, c.Loss, oldest, strangers, c.ImagesPerSecond)
}

// ranking names the points that have an accuracy, best first.
func ranking(cells []Cell) string {
	ranked := slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool { return c.Runs == 0 })
	slices.SortStableFunc(ranked, func(a, b Cell) int { return cmp.Compare(b.Mean, a.Mean) })
	var order []string
	for _, c := range ranked {
		order = append(order, fmt.Sprintf("%s at %s (%.2f)", c.Series, c.Label, c.Mean))
	}
	return strings.Join(order, ", ")
}

// CSV writes a row for each run.
func CSV(w io.Writer, results []Result) error {
	c := csv.NewWriter(w)
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	c.Write([]string{"series", "label", "x", "seed", "knn_top1", "loss", "steps", "images_per_second", "seconds", "failed"})
	for _, r := range results {
		accuracy, loss := number(r.KNNTop1), number(r.Loss)
		if r.Failed != "" { // no accuracy
			accuracy, loss = "", ""
		}
		c.Write([]string{r.Series, r.Label, number(r.X), fmt.Sprint(r.Seed), accuracy, loss, strconv.Itoa(r.Steps),
			number(r.ImagesPerSecond), number(r.Seconds), r.Failed})
	}
	c.Flush()
	return c.Error()
}

// What Write writes beside runsFolder, which holds the runs. Plots have an ending for each format.
const (
	rowsFile, tableFile                       = "results.csv", "table.md"
	accuracyPlot, curvesPlot, consistencyPlot = "accuracy", "curves", "consistency"
	runsFolder                                = "runs"
)

// files are the names of all files that Write may write.
func files() []string {
	list := []string{rowsFile, tableFile}
	for _, plot := range []string{accuracyPlot, curvesPlot, consistencyPlot} {
		list = append(list, plot+".png", plot+".svg")
	}
	return list
}

// Write writes results.csv, table.md and the plots accuracy, curves and, where it was measured,
// consistency into a folder. The plots are PNG and SVG. It returns the names of the files.
func (s *Study) Write(dir string, results []Result) ([]string, error) {
	cells := s.Summarise(results)
	var written []string
	save := func(name string, write func(io.Writer) error) error {
		if _, err := atomicfile.Save(filepath.Join(dir, name), write); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		written = append(written, name)
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("write the study's results: %w", err)
	}
	if err := save(rowsFile, func(w io.Writer) error { return CSV(w, results) }); err != nil {
		return nil, err
	}
	if err := save(tableFile, func(w io.Writer) error { return s.Markdown(w, cells) }); err != nil {
		return nil, err
	}
	plots := []struct {
		name string
		plot *report.Plot
	}{{accuracyPlot, s.accuracy(cells)}, {curvesPlot, s.curves(results)}, {consistencyPlot, s.consistency(results)}}
	for _, p := range plots {
		if len(p.plot.Curves) == 0 {
			continue
		}
		for format, draw := range map[string]func(io.Writer, int, int) error{"png": p.plot.PNG, "svg": p.plot.SVG} {
			if err := save(p.name+"."+format, func(w io.Writer) error { return draw(w, 1200, 750) }); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(written)
	return written, nil
}

const accuracyLabel = "kNN accuracy, %"

// accuracy plots the mean over seeds along each series.
func (s *Study) accuracy(cells []Cell) *report.Plot {
	p := &report.Plot{Title: s.Title, XLabel: s.X.Label, YLabel: accuracyLabel, LogX: s.X.Axis == "log"}
	var categories []string
	for _, one := range s.Series {
		line := report.Curve{Name: one.Name}
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
			line.X, line.Y = append(line.X, x), append(line.Y, c.Mean)
			line.Low, line.High = append(line.Low, c.Low), append(line.High, c.High)
		}
		if len(line.X) > 0 {
			p.Curves = append(p.Curves, line)
		}
	}
	p.XNames = categories
	return p
}

// curves plots the accuracy by epoch, averaged over seeds, of each point. If there are many points,
// it takes the best one of each series.
func (s *Study) curves(results []Result) *report.Plot {
	p := &report.Plot{Title: s.Title + ": learning", XLabel: "epoch", YLabel: accuracyLabel}
	p.Curves = s.pointCurves(results, func(r Result) (x, y []float64) { return r.Epochs, r.Accuracy },
		func(c report.Curve) float64 { return c.Y[len(c.Y)-1] })
	return p
}

// consistency plots the cosine by age of each point's dictionary, averaged over seeds. If there are
// many points, it takes the one with the oldest keys of each series. A dictionary without old keys
// has no curve.
func (s *Study) consistency(results []Result) *report.Plot {
	p := &report.Plot{Title: s.Title + ": consistency", XLabel: "age of a key, steps",
		YLabel: "cosine with the same view encoded now"}
	p.Curves = s.pointCurves(results, func(r Result) (x, y []float64) {
		for _, age := range r.Age {
			x = append(x, float64(age))
		}
		return x, r.Cosine
	}, func(c report.Curve) float64 { return c.X[len(c.X)-1] })
	return p
}

// manyCurves is the number of curves from which a plot is hard to read.
const manyCurves = 7

// pointCurves are the curves of the points, each averaged over its runs that did not fail. If there
// are manyCurves or more, the curve with the highest rank of each series stays.
func (s *Study) pointCurves(
	results []Result, of func(Result) (x, y []float64), rank func(report.Curve) float64,
) []report.Curve {
	var all, best []report.Curve
	for _, one := range s.Series {
		var top *report.Curve
		for _, p := range one.Points {
			var runs []Result
			for _, r := range results {
				if r.Series == one.Name && r.Label == p.label() && r.Failed == "" {
					runs = append(runs, r)
				}
			}
			c := mean(runs, of)
			if len(c.X) < 2 {
				continue
			}
			if c.Name = p.label(); len(s.Series) > 1 {
				c.Name = one.Name + ", " + p.label()
			}
			all = append(all, c)
			if top == nil || rank(c) >= rank(*top) {
				top = &c
			}
		}
		if top != nil {
			best = append(best, *top)
		}
	}
	if len(all) >= manyCurves {
		return best
	}
	return all
}

// mean is the curve of means, over the runs that have a value at x, with the lowest and the highest
// value.
func mean(runs []Result, of func(Result) (x, y []float64)) report.Curve {
	values := map[float64][]float64{}
	for _, r := range runs {
		x, y := of(r)
		for i := range min(len(x), len(y)) {
			values[x[i]] = append(values[x[i]], y[i])
		}
	}
	var c report.Curve
	for _, x := range slices.Sorted(maps.Keys(values)) {
		sum := 0.0
		for _, v := range values[x] {
			sum += v
		}
		c.X, c.Y = append(c.X, x), append(c.Y, sum/float64(len(values[x])))
		c.Low, c.High = append(c.Low, slices.Min(values[x])), append(c.High, slices.Max(values[x]))
	}
	return c
}
