package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Spread is a named line through means, each with how far it spreads.
type Spread struct {
	Name               string
	X, Mean, Low, High []float64 // of one length; Low and High are what the spread reaches
}

// SpreadPlot compares series by their means over repeated runs.
type SpreadPlot struct {
	Title, XLabel, YLabel string
	LogX                  bool
	Categories            []string // names of x = 0, 1, ...; nil for numbers
	Series                []Spread
}

// draw makes the plot with gonum.
func (s *SpreadPlot) draw() (*plot.Plot, error) {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = s.Title, s.XLabel, s.YLabel
	p.Title.Padding, p.X.Padding, p.Y.Padding = vg.Points(6), vg.Points(6), vg.Points(6)
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = false, false, vg.Points(3)
	p.Add(plotter.NewGrid())
	var xs []float64
	for i, one := range s.Series {
		if len(one.X) != len(one.Mean) || len(one.X) != len(one.Low) || len(one.X) != len(one.High) {
			return nil, fmt.Errorf("plot %q: series %q has %d x, %d means and %d, %d bounds", s.Title, one.Name, len(one.X), len(one.Mean), len(one.Low), len(one.High))
		}
		points := bounded{}
		for j, x := range one.X {
			if drawable(x) && drawable(one.Mean[j]) && (!s.LogX || x > 0) {
				points.XYs = append(points.XYs, plotter.XY{X: x, Y: one.Mean[j]})
				points.YErrors = append(points.YErrors, struct{ Low, High float64 }{one.Mean[j] - one.Low[j], one.High[j] - one.Mean[j]})
				xs = append(xs, x)
			}
		}
		if len(points.XYs) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points.XYs)
		if err != nil {
			return nil, fmt.Errorf("plot %q: %w", s.Title, err)
		}
		bars, err := plotter.NewYErrorBars(points)
		if err != nil {
			return nil, fmt.Errorf("plot %q: %w", s.Title, err)
		}
		shade := palette[i%len(palette)]
		line.Color, line.Width = shade, vg.Points(1.5)
		dots.Color, dots.Shape, dots.Radius = shade, draw.CircleGlyph{}, vg.Points(2.5)
		bars.Color, bars.Width = shade, vg.Points(1)
		p.Add(line, bars, dots)
		p.Legend.Add(one.Name, line)
	}
	slices.Sort(xs)
	xs = slices.Compact(xs)
	switch {
	case s.Categories != nil:
		var ticks []plot.Tick
		for i, name := range s.Categories {
			ticks = append(ticks, plot.Tick{Value: float64(i), Label: name})
		}
		p.X.Tick.Marker, p.X.Min, p.X.Max = plot.ConstantTicks(ticks), -0.3, float64(len(ticks))-0.7
	case s.LogX && len(xs) > 0:
		p.X.Scale = plot.LogScale{}
		var ticks []plot.Tick
		last := math.Inf(-1)
		for _, x := range xs {
			t := plot.Tick{Value: x}
			if math.Log(x)-last > (math.Log(xs[len(xs)-1])-math.Log(xs[0]))/12 { // labels that do not run into each other
				t.Label, last = strconv.FormatFloat(x, 'g', -1, 64), math.Log(x)
			}
			ticks = append(ticks, t)
		}
		p.X.Tick.Marker, p.X.Min, p.X.Max = plot.ConstantTicks(ticks), xs[0]/1.15, xs[len(xs)-1]*1.15
	}
	return p, nil
}

// bounded is points with spreads, as gonum wants them.
type bounded struct {
	plotter.XYs
	plotter.YErrors
}

// Write draws the plot, six by four inches, as "png" or "svg".
func (s *SpreadPlot) Write(w io.Writer, format string) error {
	p, err := s.draw()
	if err != nil {
		return err
	}
	drawn, err := p.WriterTo(6.5*vg.Inch, 4.2*vg.Inch, format)
	if err != nil {
		return fmt.Errorf("plot %q: %w", s.Title, err)
	}
	if _, err := drawn.WriteTo(w); err != nil {
		return fmt.Errorf("plot %q: write the %s: %w", s.Title, format, err)
	}
	return nil
}
