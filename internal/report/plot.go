package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Curve is a named line through the points (X[i], Y[i]), in this order. A value that is not finite
// leaves a gap.
type Curve struct {
	Name string
	X, Y []float64 // of the same length
	// Low and High draw a bar from Low[i] to High[i] where the two differ: the range of repeated
	// runs. Nil draws none; otherwise both have Y's length.
	Low, High []float64
}

// Level is a horizontal reference line, such as the loss at chance. Its label is written on it.
type Level struct {
	Name string
	Y    float64
}

// Plot is curves over one pair of axes. The axes are linear unless a field says otherwise.
type Plot struct {
	Title, XLabel, YLabel string
	// LogX makes the x axis logarithmic, with ticks at powers of two. Points with x of 0 or less
	// are gaps.
	LogX bool
	// XNames makes x a place in this list: 0, 1, ... It excludes LogX.
	XNames []string
	Curves []Curve
	Lines  []Level
}

// palette follows Okabe and Ito (2008): colour-blind eyes can tell these colours apart. The light
// ones are darkened, because the lines are thin and on white. The page's style sheet has the same
// colours, and lighter ones for dark mode.
var palette = [...]color.RGBA{
	{0x00, 0x72, 0xB2, 255}, {0xD5, 0x5E, 0x00, 255}, {0x00, 0x9E, 0x73, 255}, {0xAA, 0x44, 0x88, 255},
	{0xB8, 0x7D, 0x00, 255}, {0x3A, 0x94, 0xCB, 255},
}

const (
	fewPoints  = 25   // curves with at most this many points show each as a dot
	manyPoints = 1200 // longer curves are thinned: a plot's pixels show no more
)

// point is a place in a plot, in the units of its axes (log2 of x on a logarithmic one), with the
// ends of its bar.
type point struct{ x, y, low, high float64 }

// axis is a range with its ticks. The range begins and ends at the data's or at a tick.
type axis struct {
	low, high float64
	ticks     []tick
}

type tick struct {
	at    float64
	label string
}

// frame is a plot that is ready to draw. The PNG and the page's drawing share it, so they show the
// same.
type frame struct {
	x, y   axis
	curves [][][]point // each curve's unbroken pieces
	lines  []Level
}

// frame finds the axes' ranges and cuts the curves at their gaps.
func (p *Plot) frame() (*frame, error) {
	f := &frame{}
	var xs, ys []float64
	for i, c := range p.Curves {
		if len(c.X) != len(c.Y) {
			return nil, fmt.Errorf("plot %q: curve %d (%q) has %d x but %d y values; give each point both", p.Title,
				i, c.Name, len(c.X), len(c.Y))
		}
		bars := c.Low != nil || c.High != nil
		if bars && (len(c.Low) != len(c.Y) || len(c.High) != len(c.Y)) {
			return nil, fmt.Errorf("plot %q: curve %d (%q) has %d y but %d low and %d high ends of bars; give each point both",
				p.Title, i, c.Name, len(c.Y), len(c.Low), len(c.High))
		}
		var pieces [][]point
		open := false
		for j := range c.X {
			x := c.X[j]
			if p.LogX {
				x = math.Log2(x)
			}
			if !drawable(x) || !drawable(c.Y[j]) {
				open = false
				continue
			}
			if !open {
				pieces, open = append(pieces, nil), true
			}
			last := len(pieces) - 1
			q := point{x, c.Y[j], c.Y[j], c.Y[j]}
			if bars && drawable(c.Low[j]) && drawable(c.High[j]) {
				q.low, q.high = c.Low[j], c.High[j]
			}
			pieces[last] = append(pieces[last], q)
			xs, ys = append(xs, x), append(ys, q.y, q.low, q.high)
		}
		for k, piece := range pieces {
			pieces[k] = thin(piece, max(4, manyPoints*len(piece)/len(c.X)))
		}
		f.curves = append(f.curves, pieces)
	}
	for _, l := range p.Lines {
		if drawable(l.Y) {
			f.lines = append(f.lines, l)
			ys = append(ys, l.Y)
		}
	}
	f.x, f.y = newAxis(xs, false), newAxis(ys, true)
	switch {
	case p.LogX:
		f.x = powersOfTwo(xs)
	case p.XNames != nil:
		f.x = axis{low: -0.5, high: float64(len(p.XNames)) - 0.5}
		for i, name := range p.XNames {
			f.x.ticks = append(f.x.ticks, tick{float64(i), name})
		}
	}
	return f, nil
}

// drawable limits values, so that their differences and ratios do not overflow.
func drawable(v float64) bool { return math.Abs(v) < 1e100 }

// thin keeps about limit points: the lowest and the highest of each run of neighbours, so that no
// peak is lost.
func thin(piece []point, limit int) []point {
	if len(piece) <= limit {
		return piece
	}
	parts := max(limit/2, 2)
	out := []point{piece[0]}
	for i := range parts {
		run := piece[i*len(piece)/parts : (i+1)*len(piece)/parts]
		low, high := 0, 0
		for j, p := range run {
			if p.y < run[low].y {
				low = j
			}
			if p.y > run[high].y {
				high = j
			}
		}
		out = append(out, run[min(low, high)])
		if low != high {
			out = append(out, run[max(low, high)])
		}
	}
	return append(out, piece[len(piece)-1])
}

// newAxis covers values with about five ticks, at multiples of 1, 2 or 5 times a power of ten.
// round widens the range to the nearest ticks.
func newAxis(values []float64, round bool) axis {
	low, high := 0.0, 1.0
	if len(values) > 0 {
		low, high = slices.Min(values), slices.Max(values)
	}
	// A flat curve gets some room: more than float64 needs to tell the ticks apart.
	if room := max(math.Abs(low), math.Abs(high)) * 1e-9; high-low <= room {
		room = max(room*1e6, 1e-6)
		low, high = low-room, high+room
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/5)))
	switch n := (high - low) / 5 / step; {
	case n > 5:
		step *= 10
	case n > 2:
		step *= 5
	case n > 1:
		step *= 2
	}
	first, last := math.Ceil(low/step-1e-6), math.Floor(high/step+1e-6)
	if round {
		first, last = math.Floor(low/step+1e-6), math.Ceil(high/step-1e-6)
		low, high = first*step, last*step
	}
	a := axis{low: low, high: high}
	for i := first; i <= last; i++ {
		a.ticks = append(a.ticks, tick{i * step, tickLabel(i*step, step)})
	}
	return a
}

// powersOfTwo covers values that are base-2 logarithms. It has at most about eight ticks, and some
// room at the ends.
func powersOfTwo(values []float64) axis {
	low, high := 0.0, 1.0
	if len(values) > 0 {
		low, high = slices.Min(values), slices.Max(values)
	}
	room := max(0.25, 0.03*(high-low))
	a := axis{low: low - room, high: high + room}
	step := math.Ceil((high - low) / 8)
	for i := math.Ceil(a.low); i <= a.high; i += max(1, step) {
		a.ticks = append(a.ticks, tick{i, strconv.FormatFloat(math.Exp2(i), 'g', 6, 64)})
	}
	return a
}

// tickLabel writes v with as many decimals as it takes to tell it from its neighbours one step
// away.
func tickLabel(v, step float64) string {
	if v == 0 {
		v = 0 // no "-0"
	}
	if largest := max(math.Abs(v), step); largest >= 1e7 || step < 1e-5 {
		return strconv.FormatFloat(v, 'g', 5, 64)
	}
	return strconv.FormatFloat(v, 'f', max(0, -int(math.Floor(math.Log10(step)+1e-9))), 64)
}

// Sizes of the PNG in points. It is six inches wide for any number of pixels, so text grows with
// them.
const (
	inches    = 6
	titleSize = 13
	textSize  = 10
	tickSize  = 9
)

// PNG draws the plot, dark on white, in widthPx by heightPx pixels: 200 to 10,000 each, 1200 x 750
// is good. It returns an error if a curve's X, Y, Low and High differ in length, or w's error.
func (p *Plot) PNG(w io.Writer, widthPx, heightPx int) error {
	if err := p.checkSize(widthPx, heightPx); err != nil {
		return err
	}
	dpi := widthPx / inches
	length := func(pixels int) vg.Length { return vg.Length(float64(pixels)/float64(dpi)) * vg.Inch }
	return p.paint(func() draw.Canvas {
		return draw.New(vgimg.NewWith(vgimg.UseWH(length(widthPx), length(heightPx)), vgimg.UseDPI(dpi)))
	}, func(c draw.Canvas) error {
		_, err := vgimg.PngCanvas{Canvas: c.Canvas.(*vgimg.Canvas)}.WriteTo(w)
		return err
	})
}

// SVG draws the same as PNG as a vector drawing of the same proportions, six inches wide. Text
// stays text. The same plot gives the same bytes.
func (p *Plot) SVG(w io.Writer, widthPx, heightPx int) error {
	if err := p.checkSize(widthPx, heightPx); err != nil {
		return err
	}
	return p.paint(func() draw.Canvas {
		c := draw.New(vgsvg.New(inches*vg.Inch, inches*vg.Inch*vg.Length(heightPx)/vg.Length(widthPx)))
		c.SetColor(color.White)
		c.Fill(c.Rectangle.Path())
		return c
	}, func(c draw.Canvas) error {
		var b bytes.Buffer
		if _, err := c.Canvas.(*vgsvg.Canvas).WriteTo(&b); err != nil {
			return err
		}
		// Viewers without the library's font take one of the same widths.
		_, err := w.Write(bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
			[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
		return err
	})
}

func (p *Plot) checkSize(widthPx, heightPx int) error {
	if min(widthPx, heightPx) < 200 || max(widthPx, heightPx) > 10_000 {
		return fmt.Errorf("plot %q: %d x %d pixels is out of range; each must be from 200 to 10000", p.Title, widthPx, heightPx)
	}
	return nil
}

// paint makes a canvas, draws the plot on it and passes it to write.
func (p *Plot) paint(open func() draw.Canvas, write func(draw.Canvas) error) (err error) {
	f, err := p.frame()
	if err != nil {
		return err
	}
	// The plotting library panics at fonts and sizes that it cannot use.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("plot %q: %v", p.Title, r)
		}
	}()
	whole := open()
	p.draw(draw.Crop(whole, 12, -14, 10, -12), f)
	if err := write(whole); err != nil {
		return fmt.Errorf("plot %q: write it: %w", p.Title, err)
	}
	return nil
}

// draw fills a canvas.
func (p *Plot) draw(page draw.Canvas, f *frame) {
	ink, grey := color.Gray{0x22}, color.Gray{0x60}
	style := func(size vg.Length, c color.Color) text.Style {
		s := plot.New().Title.TextStyle // this has the library's text handler
		s.Font.Variant, s.Font.Size, s.Color = "Sans", size, c
		s.XAlign, s.YAlign = text.XLeft, text.YTop
		return s
	}
	if p.Title != "" {
		s := style(titleSize, ink)
		s.Font.Weight = stdfont.WeightBold
		page.FillText(s, vg.Point{X: page.Min.X, Y: page.Max.Y}, p.Title)
		page.Max.Y -= titleSize * 1.7
	}
	p.legend(&page, style(textSize, ink))
	page.Max.Y -= 4

	grid := draw.LineStyle{Color: color.Gray{0xE2}, Width: 0.6}
	g := plot.New()
	g.BackgroundColor = nil
	for _, a := range []struct {
		to    *plot.Axis
		from  axis
		label string
	}{{&g.X, f.x, p.XLabel}, {&g.Y, f.y, p.YLabel}} {
		a.to.Min, a.to.Max = a.from.low, a.from.high
		a.to.Label.Text, a.to.Padding = a.label, 0
		a.to.Label.Padding = 5
		for _, s := range []*text.Style{&a.to.Label.TextStyle, &a.to.Tick.Label} {
			s.Font.Variant, s.Font.Size, s.Color = "Sans", tickSize, grey
		}
		a.to.Label.TextStyle.Font.Size = textSize
		a.to.LineStyle.Width, a.to.Tick.LineStyle, a.to.Tick.Length = 0, grid, 0
		var marks plot.ConstantTicks
		for _, t := range a.from.ticks {
			marks = append(marks, plot.Tick{Value: t.at, Label: t.label})
		}
		a.to.Tick.Marker = marks
	}
	g.X.LineStyle, g.X.Tick.Length = draw.LineStyle{Color: color.Gray{0x88}, Width: 0.75}, 4
	g.Add(&plotter.Grid{Horizontal: grid, Vertical: grid})
	for i, pieces := range f.curves {
		hue := palette[i%len(palette)]
		for _, piece := range pieces {
			var xys plotter.XYs
			for _, q := range piece {
				xys = append(xys, plotter.XY{X: q.x, Y: q.y})
				if q.low < q.high {
					bar := plotter.XYs{{X: q.x, Y: q.low}, {X: q.x, Y: q.high}}
					g.Add(&plotter.Line{XYs: bar, LineStyle: draw.LineStyle{Color: hue, Width: 1}})
					g.Add(&plotter.Scatter{XYs: bar, GlyphStyle: draw.GlyphStyle{Color: hue, Radius: 3, Shape: dash{}}})
				}
			}
			g.Add(&plotter.Line{XYs: xys, LineStyle: draw.LineStyle{Color: hue, Width: 1.6}})
			if dotted(p.Curves[i], piece) {
				g.Add(&plotter.Scatter{XYs: xys, GlyphStyle: draw.GlyphStyle{Color: hue, Radius: 2.4,
					Shape: draw.CircleGlyph{}}})
			}
		}
	}
	for _, l := range f.lines {
		xys := plotter.XYs{{X: f.x.low, Y: l.Y}, {X: f.x.high, Y: l.Y}}
		g.Add(&plotter.Line{XYs: xys, LineStyle: draw.LineStyle{Color: grey, Width: 1, Dashes: []vg.Length{4, 3}}})
		s := style(tickSize, grey)
		s.XAlign, s.YAlign = text.XRight, text.YBottom
		if f.above(l) {
			s.YAlign = text.YTop
		}
		g.Add(&plotter.Labels{XYs: xys[1:], Labels: []string{l.Name}, TextStyle: []text.Style{s},
			Offset: vg.Point{X: -2, Y: 3 * (1 + 2*vg.Length(s.YAlign))}})
	}
	g.Draw(page)
}

// dash is the end of a bar.
type dash struct{}

// DrawGlyph draws it.
func (dash) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	c.StrokeLine2(draw.LineStyle{Color: s.Color, Width: 1}, at.X-s.Radius, at.Y, at.X+s.Radius, at.Y)
}

// above tells whether a line lies so near the top that its label must go below it.
func (f *frame) above(l Level) bool { return (f.y.high-l.Y)/(f.y.high-f.y.low) < 0.08 }

// dotted tells whether a curve has so few points, or a piece is so short, that it is drawn as dots.
func dotted(c Curve, piece []point) bool { return len(c.X) <= fewPoints || len(piece) == 1 }

// legend writes the curves' names in a row at the top left, outside the data's area, and cuts that
// row off the canvas. A single curve needs no legend: title and axis name it.
func (p *Plot) legend(c *draw.Canvas, s text.Style) {
	if len(p.Curves) < 2 {
		return
	}
	s.YAlign = text.YCenter
	const swatch, row = 16, textSize * 1.6
	at := vg.Point{X: c.Min.X, Y: c.Max.Y - row/2}
	for i, curve := range p.Curves {
		width := swatch + 5 + s.Width(curve.Name) + 16
		if at.X > c.Min.X && at.X+width > c.Max.X {
			at = vg.Point{X: c.Min.X, Y: at.Y - row}
		}
		c.StrokeLine2(draw.LineStyle{Color: palette[i%len(palette)], Width: 2.4}, at.X, at.Y, at.X+swatch, at.Y)
		c.FillText(s, vg.Point{X: at.X + swatch + 5, Y: at.Y}, curve.Name)
		at.X += width
	}
	c.Max.Y = at.Y - row/2
}

// errNoImage is the error of a picture without an image.
var errNoImage = errors.New("the picture holds no image, or its bytes are not 3 x width x height; read it again")
