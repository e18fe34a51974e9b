package report

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"moco/data"
)

// examplePage has everything that a page can hold, at the size of the demo: curves of 300 steps and
// two galleries of real drawings. Its figures are made up.
func examplePage(t testing.TB) *Page {
	t.Helper()
	set, err := data.Open(context.Background(), "builtin:test", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	picture := func(i int, query int) Picture {
		img := &data.Image{}
		if err := set.Read(i, img); err != nil {
			t.Fatal(err)
		}
		return Picture{Image: img, Caption: set.Classes()[set.Label(i)], Good: set.Label(i) == set.Label(query)}
	}
	var loss, smooth, pixels, trained Curve
	loss.Name, smooth.Name, trained.Name, pixels.Name = "each step", "average of 20 steps", "trained encoder", "raw pixels"
	for i := range 300 {
		x := float64(i)
		base := 5.9 + 2.1*(1-math.Exp(-x/12)) - 3.2*(1-math.Exp(-x/140))
		loss.X, loss.Y = append(loss.X, x), append(loss.Y, base+0.16*math.Sin(x*12.9898))
		smooth.X, smooth.Y = append(smooth.X, x), append(smooth.Y, base)
	}
	for i := range 11 {
		trained.X, trained.Y = append(trained.X, float64(i)), append(trained.Y, 31+52*(1-math.Exp(-float64(i)/3)))
		pixels.X, pixels.Y = append(pixels.X, float64(i)), append(pixels.Y, 27.4)
	}
	before, after := Gallery{Title: "Before training", Note: "by the features of the untrained encoder"},
		Gallery{Title: "After training", Note: "by the features of the trained encoder"}
	for q := range 6 {
		b, a := GalleryRow{Query: picture(q, q)}, GalleryRow{Query: picture(q, q)}
		for n := range 6 {
			b.Neighbours = append(b.Neighbours, picture(20+q*3+n*7, q))
			a.Neighbours = append(a.Neighbours, picture(10*(n+1)+q+n/5, q))
		}
		before.Rows, after.Rows = append(before.Rows, b), append(after.Rows, a)
	}
	return &Page{
		Title: "What an encoder learned from 5,000 unlabelled drawings",
		Lead:  "Momentum contrast, on the CPU, in 2 min 41 s. No label was used to train; labels only measure the result.",
		Table: Table{[]string{"Images compared by", "kNN accuracy", "times chance"},
			[][]string{{"raw pixels", "27.4%", "2.7"}, {"untrained encoder", "31.0%", "3.1"},
				{"trained encoder", "81.3%", "8.1"}}},
		Facts: [][2]string{{"images", "5,000 train, 1,000 test, 32 x 32"},
			{"encoder", "ResNet-18, width 0.25, CIFAR stem"}, {"queue", "K = 2,048 keys, m = 0.99, t = 0.1"},
			{"steps", "300 of 256 images, 480 images/s"}},
		Plots: []Plot{
			{Title: "Contrastive loss", XLabel: "step", YLabel: "InfoNCE", Curves: []Curve{loss, smooth},
				Lines: []Level{{"chance: ln(K+1)", math.Log(2049)}}},
			{Title: "kNN accuracy", XLabel: "epoch", YLabel: "test images right, %",
				Curves: []Curve{trained, pixels}, Lines: []Level{{"chance", 10}}},
		},
		Galleries: []Gallery{before, after},
		Command:   "moco demo --seed 0 --out demo",
		Notes: []string{"The loss rises first, while the queue fills with real keys.",
			"Accuracy is that of a weighted vote of the 200 nearest training images."},
	}
}

func write(t testing.TB, p *Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPage writes the example page to the folder in MOCO_REPORT_DIR, if that is set, for people to
// look at.
func TestPage(t *testing.T) {
	p := examplePage(t)
	html := write(t, p)
	checkMarkup(t, html)
	if html != write(t, p) {
		t.Error("the same page is written as other bytes")
	}
	if len(html) > 1<<20 {
		t.Errorf("the page has %d bytes, more than 1 MB", len(html))
	}
	// The page may load nothing: every address is a data URI, and nothing points elsewhere.
	for _, m := range regexp.MustCompile(`(?i)(?:src|href|action|poster|srcset)\s*=\s*"([^"]{0,30})`).FindAllStringSubmatch(html, -1) {
		if !strings.HasPrefix(m[1], "data:image/png;base64,") {
			t.Errorf("the page refers to %q", m[1])
		}
	}
	for _, bad := range []string{"http:", "https:", "//", "url(", "@import", "<script", "<link", "ZgotmplZ"} {
		text := regexp.MustCompile(`data:image/png;base64,[^"]+`).ReplaceAllString(html, "")
		if strings.Contains(text, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for want, times := range map[string]int{"<svg ": 2, `class="picture query"`: 12, `class="level"`: 2, "81.3%": 1,
		"moco demo --seed 0": 1, "chance: ln(K+1)": 1} {
		if got := strings.Count(html, want); got != times {
			t.Errorf("the page holds %q %d times, want %d", want, got, times)
		}
	}
	good := strings.Count(html, `class="picture good"`)
	if bad := strings.Count(html, `class="picture bad"`); good == 0 || bad == 0 || good+bad != 72 {
		t.Errorf("%d neighbours are marked good and %d bad, want 72 together", good, bad)
	}
	if dir := os.Getenv("MOCO_REPORT_DIR"); dir != "" {
		if err := p.Save(dir); err != nil {
			t.Error(err)
		}
	}
}

// checkMarkup checks HTML by XML's rules of nesting. The page keeps them, except for elements
// without an end.
func checkMarkup(t *testing.T, html string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(regexp.MustCompile(`<((?:meta|img)\b[^>]*)>`).ReplaceAllString(html, "<$1/>")))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
	}
}

// TestIsPage: a page is known for one that this package wrote, and others are not.
func TestIsPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := (&Page{Title: "A page"}).Save(dir); err != nil {
		t.Fatal(err)
	}
	if !IsPage(filepath.Join(dir, "report.html")) {
		t.Error("a page is none")
	}
	other := filepath.Join(dir, "other.html")
	for _, content := range []string{"", "<html>moco</html>", strings.Repeat(" ", 300) + mark} {
		if err := os.WriteFile(other, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if IsPage(other) {
			t.Errorf("%q is a page", content)
		}
	}
	if IsPage(dir) || IsPage(filepath.Join(dir, "nothing")) {
		t.Error("what is no file is a page")
	}
}

func TestScore(t *testing.T) {
	g := Gallery{Rows: []GalleryRow{{Neighbours: []Picture{{Good: true}, {}, {Good: true}}},
		{Query: Picture{Good: true}, Neighbours: []Picture{{}}}}}
	if got := g.score(); got != "2 of 4" {
		t.Errorf("the score is %q, want 2 of 4: the query does not count", got)
	}
}

func TestTextIsEscaped(t *testing.T) {
	const evil = `<script>alert("1")</script>'&`
	img := &data.Image{Width: 1, Height: 1, Pix: []uint8{1, 2, 3}}
	picture := Picture{Image: img, Caption: evil}
	html := write(t, &Page{
		Title: evil, Lead: evil, Facts: [][2]string{{evil, evil}}, Table: Table{[]string{evil}, [][]string{{evil, evil}}},
		Plots: []Plot{{Title: evil, XLabel: evil, YLabel: evil, Curves: []Curve{{Name: evil}, {Name: evil}},
			Lines: []Level{{evil, 1}}}},
		Galleries: []Gallery{{evil, evil, []GalleryRow{{picture, []Picture{picture}}}}}, Command: evil, Notes: []string{evil},
		Sheets: []Sheet{{evil, evil, []Strip{{Title: evil, Note: evil, Pictures: []Picture{picture, picture}, Query: true}}}},
	})
	checkMarkup(t, html)
	if strings.Contains(html, "<script") {
		t.Error("text of the caller is written as markup")
	}
	if n := strings.Count(html, "&lt;script&gt;"); n < 30 {
		t.Errorf("the text stands in %d places, want at least 30: some is left out", n)
	}
}

// TestSheets: the query is not a neighbour, marks are there only where they are asked for, and a
// large photograph becomes a small JPEG.
func TestSheets(t *testing.T) {
	small, large := &data.Image{Width: 3, Height: 2, Pix: make([]uint8, 18)}, &data.Image{Width: 900, Height: 600,
		Pix: make([]uint8, 3*900*600)}
	html := write(t, &Page{Title: "sheets", Sheets: []Sheet{{Title: "Groups", Note: "all of them", Strips: []Strip{
		{Title: "marked", Pictures: []Picture{{Image: small, Caption: "asked for"}, {Image: small, Good: true},
			{Image: large}}, Query: true, Marked: true},
		{Title: "unmarked", Pictures: []Picture{{Image: small}, {Image: small, Good: true}}},
	}}}})
	checkMarkup(t, html)
	for what, n := range map[string]int{
		`class="picture query"`: 1, `class="picture good"`: 1, `class="picture bad"`: 1, `class="picture"`: 2,
		"data:image/png": 4, `class="photo" src="data:image/jpeg`: 1, `<section class="strip">`: 2,
		"<h2>Groups</h2>": 1, `alt="query: asked for"`: 1,
	} {
		if got := strings.Count(html, what); got != n {
			t.Errorf("the page holds %s %d times, want %d", what, got, n)
		}
	}
	if len(html) > 20_000 {
		t.Errorf("the page has %d bytes: the photograph is in it at its full size", len(html))
	}
}

func TestEmptyPage(t *testing.T) {
	html := write(t, &Page{Title: "Nothing yet", Plots: []Plot{{Title: "no curve"}}})
	checkMarkup(t, html)
	for _, absent := range []string{"<table", "<dl", "<pre", "<ul", "NaN", "Inf", "Nearest"} {
		if strings.Contains(html, absent) {
			t.Errorf("a page without content holds %q", absent)
		}
	}
}

func TestPageErrors(t *testing.T) {
	short := &data.Image{Width: 2, Height: 2, Pix: make([]uint8, 11)}
	for name, c := range map[string]struct {
		page Page
		want string
	}{
		"no image": {Page{Galleries: []Gallery{{Rows: []GalleryRow{{}}}}}, "holds no image"},
		"too few bytes": {Page{Galleries: []Gallery{{Rows: []GalleryRow{{Query: Picture{Image: short}}}}}},
			"holds no image"},
		"no image on sheet": {Page{Sheets: []Sheet{{Strips: []Strip{{Pictures: []Picture{{}}}}}}}, "holds no image"},
		"lengths of curve": {Page{Plots: []Plot{{Title: "loss",
			Curves: []Curve{{Name: "a", X: []float64{1, 2}, Y: []float64{1}}}}}},
			`plot "loss": curve 0 ("a") has 2 x but 1 y`},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := c.page.WriteHTML(&b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes of a page that cannot be drawn were written", b.Len())
			}
		})
	}
	if err := (&Page{}).WriteHTML(failing{}); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails gives %v", err)
	}
	if err := (&Plot{}).PNG(failing{}, 300, 200); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails gives %v", err)
	}
}

var errFull = errors.New("full")

// failing is a writer on a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

// TestOddCurves draws what a run that went wrong may leave.
func TestOddCurves(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, c := range map[string]struct {
		y      []float64
		pieces int
	}{
		"none":        {nil, 0},
		"one":         {[]float64{3}, 1},
		"flat":        {[]float64{2, 2, 2}, 1},
		"zero":        {[]float64{0, 0}, 1},
		"nothing but": {[]float64{nan, inf, -inf}, 0},
		"gaps":        {[]float64{nan, 1, 2, inf, 3, nan, nan, 4, 5}, 3},
		"huge":        {[]float64{1e90, -1e90, 1e300}, 1},
		"tiny":        {[]float64{1e-300, 2e-300}, 1},
		"close":       {[]float64{1, math.Nextafter(1, 2)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := Plot{Title: name, Curves: []Curve{{Name: "a", Y: c.y}}, Lines: []Level{{"never", nan}}}
			for i := range c.y {
				p.Curves[0].X = append(p.Curves[0].X, float64(i))
			}
			html := write(t, &Page{Plots: []Plot{p}})
			checkMarkup(t, html)
			if got := strings.Count(html, `class="curve c0"`); got != c.pieces {
				t.Errorf("the curve has %d pieces, want %d", got, c.pieces)
			}
			if svg := html[strings.Index(html, "<svg"):]; strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("a coordinate is not finite: %s", svg)
			}
			var b bytes.Buffer
			if err := p.PNG(&b, 300, 200); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPNG(t *testing.T) {
	p := examplePage(t).Plots[0]
	for _, size := range [][2]int{{1200, 750}, {601, 403}} {
		var a, b bytes.Buffer
		if err := errors.Join(p.PNG(&a, size[0], size[1]), p.PNG(&b, size[0], size[1])); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%v: the same plot is drawn as other bytes", size)
		}
		img, err := png.Decode(&a)
		if err != nil {
			t.Fatal(err)
		}
		if got := img.Bounds().Size(); got.X != size[0] || got.Y != size[1] {
			t.Errorf("the PNG is %v, want %v", got, size)
		}
		// Pixels of the second curve's own colour show that the curve is there at all.
		hits := 0
		for y := range size[1] {
			for x := range size[0] {
				if r, g, b, _ := img.At(x, y).RGBA(); uint8(r>>8) == palette[1].R && uint8(g>>8) == palette[1].G &&
					uint8(b>>8) == palette[1].B {
					hits++
				}
			}
		}
		if hits < size[0]/4 {
			t.Errorf("%v: the second curve covers %d pixels: it is not drawn", size, hits)
		}
	}
	for _, size := range [][2]int{{0, 0}, {100, 300}, {300, 100_000}} {
		if err := p.PNG(io.Discard, size[0], size[1]); err == nil {
			t.Errorf("a PNG of %v is no error", size)
		}
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		values    []float64
		round     bool
		low, high float64
		labels    string
	}{
		{[]float64{0, 299}, false, 0, 299, "0 100 200"},
		{[]float64{0, 10}, false, 0, 10, "0 2 4 6 8 10"},
		{[]float64{5.31, 7.62}, true, 5, 8, "5.0 5.5 6.0 6.5 7.0 7.5 8.0"},
		{[]float64{-0.02, 0.021}, true, -0.02, 0.03, "-0.02 -0.01 0.00 0.01 0.02 0.03"},
		{[]float64{10, 83}, true, 0, 100, "0 20 40 60 80 100"},
		{nil, true, 0, 1, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{[]float64{0, 3e7}, false, 0, 3e7, "0 1e+07 2e+07 3e+07"},
	} {
		a := newAxis(c.values, c.round)
		var labels []string
		for _, k := range a.ticks {
			labels = append(labels, k.label)
		}
		if got := strings.Join(labels, " "); got != c.labels || math.Abs(a.low-c.low) > 1e-9 || math.Abs(a.high-c.high) > 1e-9 {
			t.Errorf("%v: axis from %v to %v with ticks %q, want %v to %v with %q", c.values, a.low, a.high, got,
				c.low, c.high, c.labels)
		}
	}
}

// TestLongCurvesStaySmall thins a curve of a million steps. Its one spike must stay.
func TestLongCurvesStaySmall(t *testing.T) {
	long := Curve{X: make([]float64, 1_000_000), Y: make([]float64, 1_000_000)}
	for i := range long.X {
		long.X[i], long.Y[i] = float64(i), float64(i%7)
	}
	long.Y[654_321] = 99
	p := Plot{Curves: []Curve{long}}
	f, err := p.frame()
	if err != nil {
		t.Fatal(err)
	}
	piece, spike := f.curves[0][0], false
	for i, q := range piece {
		spike = spike || q == point{654_321, 99, 99, 99}
		if i > 0 && q.x < piece[i-1].x {
			t.Fatalf("point %d lies left of the one before it", i)
		}
	}
	if !spike || len(piece) > manyPoints+2 || piece[0] != (point{0, 0, 0, 0}) || piece[len(piece)-1].x != 999_999 {
		t.Errorf("%d points are left, from %v to %v; the spike is there: %v", len(piece), piece[0], piece[len(piece)-1], spike)
	}
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	p := &Page{Title: "x", Plots: []Plot{{Title: "The Loss / step"}, {Title: "The loss, step"}, {Title: "†"}}}
	for range 2 { // the second one replaces the first
		if err := p.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got, want := fmt.Sprint(names), "[plot.png report.html the-loss-step-2.png the-loss-step.png]"; got != want {
		t.Errorf("the folder holds %s, want %s", got, want)
	}
	if err := p.Save(filepath.Join(dir, "plot.png")); err == nil {
		t.Error("saving into a file is no error")
	}
	p.Plots[0].Curves = []Curve{{X: []float64{1}}}
	whole, _ := os.ReadFile(filepath.Join(dir, "report.html"))
	if err := p.Save(dir); err == nil {
		t.Error("a curve without its y values is no error")
	}
	if now, _ := os.ReadFile(filepath.Join(dir, "report.html")); len(whole) == 0 || !bytes.Equal(now, whole) {
		t.Error("a page that cannot be drawn has changed the one that stood there")
	}
}

// TestAxes: logarithmic and named axes, bars, and the same plot as PNG and SVG.
func TestAxes(t *testing.T) {
	log := Plot{Title: "over K", XLabel: "K", YLabel: "percent", LogX: true, Curves: []Curve{
		{Name: "queue", X: []float64{0, 256, 1024, 4096}, Y: []float64{1, 40, 44, 46},
			Low: []float64{0, 38, 44, 46}, High: []float64{2, 41, 44, 50}},
		{Name: "batch", X: []float64{63, 255}, Y: []float64{35, 39}}}}
	f, err := log.frame()
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, tick := range f.x.ticks {
		labels = append(labels, tick.label)
	}
	if got := strings.Join(labels, " "); got != "64 128 256 512 1024 2048 4096" {
		t.Errorf("the ticks are at %s", got)
	}
	if piece := f.curves[0][0]; len(piece) != 3 || piece[0] != (point{8, 40, 38, 41}) || f.y.high < 50 {
		t.Errorf("the queue's points are %v below %v; want K 256 at 8, its bar from 38 to 41, and all of the highest bar",
			piece, f.y.high)
	}
	names := Plot{Title: "over m", XNames: []string{"0", "0.999"},
		Curves: []Curve{{Name: "queue", X: []float64{0, 1}, Y: []float64{12, 45}}}}
	for _, p := range []Plot{log, names} {
		var pixels, first, second bytes.Buffer
		if err := errors.Join(p.PNG(&pixels, 1200, 750), p.SVG(&first, 1200, 750), p.SVG(&second, 1200, 750)); err != nil {
			t.Fatal(err)
		}
		if c, err := png.DecodeConfig(&pixels); err != nil || c.Width != 1200 || c.Height != 750 {
			t.Errorf("%s: the PNG is %d x %d, %v", p.Title, c.Width, c.Height, err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s: two drawings differ", p.Title)
		}
		checkMarkup(t, first.String())
		for _, want := range []string{p.Title, "sans-serif", ">" + map[bool]string{true: "4096", false: "0.999"}[p.LogX]} {
			if !strings.Contains(first.String(), want) {
				t.Errorf("%s: the SVG does not hold %q", p.Title, want)
			}
		}
		if strings.Contains(first.String(), "#-") {
			t.Errorf("%s: the SVG holds a colour that is none", p.Title)
		}
	}
	log.Curves[0].High = nil
	if err := log.PNG(io.Discard, 1200, 750); err == nil || !strings.Contains(err.Error(), "bars") {
		t.Errorf("bars with one end give %v", err)
	}
}
