package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"moco/classify"
	"moco/data"
	"moco/internal/atomicfile"
	"moco/internal/links"
	"moco/internal/report"
)

// write writes the outputs that are asked for.
func (k *classification) write(s *sorted) error {
	if k.o.out != "" {
		if err := classify.SaveTable(k.o.out, s.rows); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if k.o.links != "" {
		if err := k.link(s); err != nil {
			return err
		}
	}
	if k.o.html != "" {
		page, err := k.page(s)
		if err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		if _, err := atomicfile.Save(k.o.html, page.WriteHTML); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	return nil
}

// link makes the folder of links.
func (k *classification) link(s *sorted) error {
	list := make([]links.Link, 0, len(s.rows))
	for i, r := range s.rows {
		file, err := linkable(k.pile.Set, k.pile.Images[s.at[i]])
		if err != nil {
			return err
		}
		list = append(list, links.Link{Class: r.Label, Name: linkName(r.Path), Target: file})
	}
	if err := links.Write(k.o.links, list); err != nil {
		return fmt.Errorf("--links: %w", err)
	}
	return nil
}

// linkable is the file that an image is. In an archive it is none.
func linkable(set *data.Set, image int) (string, error) {
	file, ok := set.File(image)
	if !ok {
		return "", fmt.Errorf("--links: %s is no file of its own, so nothing can link to it; unpack the archive and give the folder",
			set.Name(image))
	}
	return file, nil
}

// linkName is the name of a link to a picture: its path, which in a list may be absolute or lead
// upwards.
func linkName(path string) string {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			part = "_"
		}
		parts = append(parts, strings.ReplaceAll(part, ":", "_"))
	}
	return strings.Join(parts, "/")
}

// page is the page with the least certain pictures first, and the most certain ones of each class.
func (k *classification) page(s *sorted) (*report.Page, error) {
	e := k.expected(s)
	p := &report.Page{Title: "Classified pictures", Command: k.o.line,
		Lead: fmt.Sprintf("%s classified; %s of them are expected to be right (%s to %s).",
			plural(s.predicted(), "picture", "pictures"), percent(100*e.Accuracy), percent(100*e.Low), percent(100*e.High)),
		Facts: [][2]string{
			{"pictures", fmt.Sprintf("%d, %s", k.pile.Len(), short(k.o.data))},
			{"model", cmp.Or(k.o.model, k.o.vectors)},
			{"labels", fmt.Sprint(e.Labelled)},
			{"mean confidence", percent(100 * s.mean)},
		}}
	if e.Lacking != "" {
		p.Notes = append(p.Notes, "The labels are too few to say how many are right: "+e.Lacking+".")
	}
	p.Table.Header = []string{"class", "labels", "predicted", "accuracy", "from", "to"}
	counts := map[string]int{}
	for i, r := range s.rows {
		if !s.given[i] {
			counts[r.Label]++
		}
	}
	for _, c := range k.classifier.Estimate.PerClass {
		row := []string{c.Class, fmt.Sprint(c.Labelled), fmt.Sprint(counts[c.Class]), "", "", ""}
		if c.HeldOut > 0 {
			row[3], row[4], row[5] = percent(100*c.Accuracy), percent(100*c.Low), percent(100*c.High)
		}
		p.Table.Rows = append(p.Table.Rows, row)
	}
	return p, k.sheets(p, s)
}

// sheets adds the pictures.
func (k *classification) sheets(p *report.Page, s *sorted) error {
	var order []int // rows that are predictions, the least certain first
	for i := range s.rows {
		if !s.given[i] {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.rows[a].Confidence, s.rows[b].Confidence) })
	doubtful := report.Sheet{Title: "Least certain first", Note: "Under each picture: its class with the confidence, " +
		"and the second choice."}
	const each = 24
	for part := range slices.Chunk(order[:min(k.o.show, len(order))], each) {
		title := fmt.Sprintf("confidence %.2f to %.2f", s.rows[part[0]].Confidence, s.rows[part[len(part)-1]].Confidence)
		strip, err := k.strip(s, title, part)
		if err != nil {
			return err
		}
		doubtful.Strips = append(doubtful.Strips, strip)
	}
	certain := report.Sheet{Title: "Most certain of each class"}
	const best, classes = 8, 50
	for _, class := range k.classifier.Classes[:min(classes, len(k.classifier.Classes))] {
		var list []int
		for _, i := range slices.Backward(order) {
			if s.rows[i].Label == class && len(list) < best {
				list = append(list, i)
			}
		}
		if len(list) == 0 {
			continue
		}
		strip, err := k.strip(s, class, list)
		if err != nil {
			return err
		}
		certain.Strips = append(certain.Strips, strip)
	}
	p.Sheets = []report.Sheet{doubtful, certain}
	if len(order) > k.o.show {
		p.Notes = append(p.Notes, fmt.Sprintf("The %d least certain of %d pictures are shown; --show takes another number.",
			k.o.show, len(order)))
	}
	return nil
}

// strip is pictures with what they were taken for.
func (k *classification) strip(s *sorted, title string, list []int) (report.Strip, error) {
	strip := report.Strip{Title: title}
	for _, i := range list {
		r := s.rows[i]
		caption := fmt.Sprintf("%s %.2f, %s: %s", r.Label, r.Confidence, r.Second, r.Path)
		p, err := picture(k.pile, s.at[i], caption, false)
		if err != nil {
			return strip, err
		}
		strip.Pictures = append(strip.Pictures, p)
	}
	return strip, nil
}
