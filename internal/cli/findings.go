package cli

import (
	"fmt"
	"strings"

	"moco/data"
	"moco/evaluate"
	"moco/explore"
	"moco/internal/event"
	"moco/internal/report"
)

// findings tells what a command that explores finds, in up to three ways: with --json each finding
// is an event; for people, the first ones are lines of a table and strips of pictures on a page.
type findings struct {
	screen *screen
	table  table
	show   int  // findings in the table and on the page
	paged  bool // a page is wanted
	found  int
	lead   bool // the page's lead stands below the table too
	quiet  bool // nothing is said of what was found
	page   report.Page
}

// finding is one thing that was found.
type finding struct {
	event event.Event
	rows  [][]string                   // of the table
	strip func() (report.Strip, error) // of pictures
}

// heading is what stands above findings.
type heading struct {
	columns            []string // of the table
	title, sheet, note string   // of the page, of its only sheet, and below that
}

// begin sets the headings of the table and of the page.
func (f *findings) begin(h heading) {
	if f.show > 0 {
		f.table.row(h.columns...)
	}
	f.page.Title = h.title
	f.page.Sheets = []report.Sheet{{Title: h.sheet, Note: h.note}}
}

// conclude says what the findings come to, below the table and at the top of the page.
func (f *findings) conclude(format string, args ...any) {
	f.lead, f.page.Lead = true, fmt.Sprintf(format, args...)
}

// add tells a finding.
func (f *findings) add(one finding) error {
	f.found++
	if err := f.screen.tell(one.event, nil); err != nil {
		return err
	}
	if f.found > f.show {
		return nil
	}
	for _, r := range one.rows {
		f.table.row(r...)
	}
	if !f.paged {
		return nil
	}
	s, err := one.strip()
	if err != nil {
		return err
	}
	sheet := &f.page.Sheets[len(f.page.Sheets)-1]
	sheet.Strips = append(sheet.Strips, s)
	return nil
}

// picture is a row's image for the page.
func picture(c *explore.Collection, row int, caption string, good bool) (report.Picture, error) {
	img := &data.Image{}
	err := c.Read(row, img)
	return report.Picture{Image: img, Caption: caption, Good: good}, err
}

// nearest adds to a strip, which holds an image already, what lies nearest to that; good, if not
// nil, marks some of those.
func nearest(c *explore.Collection, s report.Strip, list []evaluate.Neighbour, good func(row int) bool) (report.Strip, error) {
	s.Query, s.Marked = true, good != nil
	for _, n := range list {
		caption := strings.TrimSpace(fmt.Sprintf("%.3f %s", n.Similarity, c.Label(n.Row)))
		p, err := picture(c, n.Row, caption, good != nil && good(n.Row))
		if err != nil {
			return s, err
		}
		s.Pictures = append(s.Pictures, p)
	}
	return s, nil
}

// plural is a number of things.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func percent(x float64) string { return fmt.Sprintf("%.1f%%", x) }
