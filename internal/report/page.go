// Package report draws what a run found: plots as PNG files, and one HTML page that needs nothing
// else.
//
// A page is a title, a small table, curves, and images beside their nearest neighbours. It loads
// nothing from disk or network and runs no script. Images are data URIs inside the page and plots
// are inline drawings, so a page can be mailed, archived and printed. The same page gives the same
// bytes.
package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/draw"

	"moco/data"
)

// Picture is an image with its caption. Good marks a neighbour with the class of its query; a query
// does not use it. The page shows and keeps images above 128 pixels as thumbnails of that size.
type Picture struct {
	Image   *data.Image
	Caption string
	Good    bool
}

// GalleryRow is an image with its nearest images, nearest first.
type GalleryRow struct {
	Query      Picture
	Neighbours []Picture
}

// Gallery is rows of neighbours by one way to compare images. Galleries stand side by side where
// the screen is wide enough. If they have the same queries in the same order, a line compares them.
type Gallery struct {
	Title, Note string
	Rows        []GalleryRow
}

// Strip is pictures that belong together, with a line or two of text about them.
type Strip struct {
	Title, Note string
	Pictures    []Picture
	Query       bool // the first picture is the query of the others
	Marked      bool // show which pictures, except a query, are Good
}

// Sheet is strips under one heading. Short strips share a line.
type Sheet struct {
	Title, Note string
	Strips      []Strip
}

// Table is a header and rows of as many cells. The first column names the row. The last row is the
// emphasised one.
type Table struct {
	Header []string
	Rows   [][]string
}

// Page is a report. Empty parts are left out. All text is plain and is escaped.
type Page struct {
	Title     string
	Lead      string // one or two sentences: what was done and what came out
	Facts     [][2]string
	Table     Table
	Plots     []Plot
	Galleries []Gallery
	Sheets    []Sheet
	Command   string // the command that repeats the run
	Notes     []string
}

//go:embed page.html
var pageHTML string

// mark stands in every page, near its beginning. IsPage looks for it.
const mark = `<meta name="generator" content="moco">`

// IsPage tells whether a file is a page of this package, by its mark.
func IsPage(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 256)
	n, _ := io.ReadFull(f, head)
	return bytes.Contains(head[:n], []byte(mark))
}

// WriteHTML writes the page. Before it writes anything, it returns an error if a curve's X and Y
// differ in length or a picture has no image. Later errors are w's.
func (p *Page) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{"png": dataURI, "svg": (*Plot).svg,
		"score": Gallery.score, "hue": hue, "photo": photo}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("report: write the page: %w", err)
	}
	return nil
}

// thumbEdge is the largest length of a picture's longer edge in a page, in pixels: enough for the
// size at which it is shown, even on fine screens.
const thumbEdge = 128

// photo tells whether a picture is too large to be shown pixel by pixel.
func photo(m *data.Image) bool { return m != nil && max(m.Width, m.Height) > thumbEdge/2 }

// dataURI is an image as a data URI: a PNG, or a JPEG of its thumbnail.
func dataURI(m *data.Image) (template.URL, error) {
	if m == nil || m.Width < 1 || m.Height < 1 || len(m.Pix) != 3*m.Width*m.Height {
		return "", errNoImage
	}
	rgba := image.NewRGBA(image.Rect(0, 0, m.Width, m.Height))
	for i := range m.Width * m.Height {
		copy(rgba.Pix[4*i:], m.Pix[3*i:3*i+3])
		rgba.Pix[4*i+3] = 255
	}
	var b bytes.Buffer
	if edge := max(m.Width, m.Height); edge > thumbEdge {
		small := image.NewRGBA(image.Rect(0, 0, max(1, m.Width*thumbEdge/edge), max(1, m.Height*thumbEdge/edge)))
		draw.CatmullRom.Scale(small, small.Bounds(), rgba, rgba.Bounds(), draw.Src, nil)
		if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: 85}); err != nil {
			return "", err
		}
		return template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(b.Bytes())), nil
	}
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, rgba); err != nil {
		return "", err
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())), nil
}

// hue is the style sheet's class for curve i.
func hue(i int) string { return fmt.Sprintf("c%d", i%len(palette)) }

// score counts the neighbours with the class of their query: "31 of 40".
func (g Gallery) score() string {
	good, all := 0, 0
	for _, r := range g.Rows {
		for _, n := range r.Neighbours {
			if n.Good {
				good++
			}
			all++
		}
	}
	return fmt.Sprintf("%d of %d", good, all)
}

// The drawing area of a plot in the page, in its own units. The page scales it to the available
// room. It is small, so that text stays readable on a phone.
const (
	svgWidth, svgHeight                          = 440, 270
	svgLeft, svgRight, svgTop, svgBottom         = 52, 8, 10, 40
	plotWidth, plotHeight                        = svgWidth - svgLeft - svgRight, svgHeight - svgTop - svgBottom
	lineHeight                           float64 = 4 // half a line of text
)

// svg draws the plot without its title and legend, which the page sets as text. The page's style
// sheet gives colours and fonts.
func (p *Plot) svg() (template.HTML, error) {
	f, err := p.frame()
	if err != nil {
		return "", err
	}
	x := func(v float64) float64 { return svgLeft + plotWidth*(v-f.x.low)/(f.x.high-f.x.low) }
	y := func(v float64) float64 { return svgTop + plotHeight*(f.y.high-v)/(f.y.high-f.y.low) }
	esc := template.HTMLEscapeString
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, svgWidth, svgHeight,
		esc(p.Title+": "+p.YLabel+" over "+p.XLabel))
	for _, t := range f.x.ticks {
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %dv%d"/><text class="tick mid" x="%.1f" y="%d">%s</text>`,
			x(t.at), svgTop, plotHeight, x(t.at), svgHeight-svgBottom+15, esc(t.label))
	}
	for _, t := range f.y.ticks {
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fh%d"/><text class="tick end" x="%d" y="%.1f">%s</text>`,
			svgLeft, y(t.at), plotWidth, svgLeft-6, y(t.at)+lineHeight, esc(t.label))
	}
	fmt.Fprintf(&b, `<path class="base" d="M%d %dh%d"/>`, svgLeft, svgHeight-svgBottom, plotWidth)
	fmt.Fprintf(&b, `<text class="tick mid" x="%d" y="%d">%s</text>`, svgLeft+plotWidth/2, svgHeight-6, esc(p.XLabel))
	fmt.Fprintf(&b, `<text class="tick mid" transform="translate(12 %d) rotate(-90)">%s</text>`,
		svgTop+plotHeight/2, esc(p.YLabel))
	for i, pieces := range f.curves {
		for _, piece := range pieces {
			var path, dots strings.Builder
			for j, q := range piece {
				fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], x(q.x), y(q.y))
				if q.low < q.high {
					fmt.Fprintf(&path, "M%.1f %.1fV%.1fM%.1f %.1f", x(q.x), y(q.high), y(q.low), x(q.x), y(q.y))
				}
				if dotted(p.Curves[i], piece) {
					fmt.Fprintf(&dots, `<circle class="%s" cx="%.1f" cy="%.1f" r="2.6"/>`, hue(i), x(q.x), y(q.y))
				}
			}
			fmt.Fprintf(&b, `<path class="curve %s" d="%s"/>%s`, hue(i), path.String(), dots.String())
		}
	}
	for _, l := range f.lines {
		at := y(l.Y) - lineHeight
		if f.above(l) {
			at += 4.5 * lineHeight
		}
		fmt.Fprintf(&b, `<path class="level" d="M%d %.1fh%d"/><text class="tick end halo" x="%d" y="%.1f">%s</text>`,
			svgLeft, y(l.Y), plotWidth, svgWidth-svgRight-3, at, esc(l.Name))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()), nil
}

// Save writes report.html into the folder dir, which it makes if there is none. Beside it, Save
// writes each plot as a PNG of 1200 x 750 pixels, named after the plot's title: "Contrastive loss"
// becomes contrastive-loss.png, and a second one contrastive-loss-2.png.
func (p *Page) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	save := func(name string, draw func(io.Writer) error) error {
		// The page is drawn to memory first: if it cannot be drawn, an older file stays as it is.
		var b bytes.Buffer
		if err := draw(&b); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		return nil
	}
	if err := save("report.html", p.WriteHTML); err != nil {
		return err
	}
	taken := map[string]bool{}
	for i := range p.Plots {
		name := slug(p.Plots[i].Title)
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", slug(p.Plots[i].Title), n)
		}
		taken[name] = true
		if err := save(name+".png", func(w io.Writer) error { return p.Plots[i].PNG(w, 1200, 750) }); err != nil {
			return err
		}
	}
	return nil
}

// slug makes a file name of a title: lower-case letters, digits and single dashes, at most 60.
func slug(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	name := strings.Join(words, "-")
	if name = strings.TrimRight(name[:min(len(name), 60)], "-"); name == "" {
		return "plot"
	}
	return name
}
