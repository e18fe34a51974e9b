package data

import (
	"fmt"

	"golang.org/x/text/unicode/norm"
)

// LabelList is what a list says of the images of a set.
type LabelList struct {
	// Labels has the class of each image of the set, as Text shows it and in Unicode's NFC; empty:
	// none.
	Labels []string
	// Labelled counts the images with a label.
	Labelled int
	// Foreign counts rows with a label and a path of no image here; First is the first such path.
	Foreign int
	First   string
}

// ReadLabels reads which class the images of a set belong to, from a CSV or Parquet file with the
// columns path and label. Other columns are passed over. Paths are those of Name, or relative to
// root, the path that the set was opened with, or to the list's own folder. An image need not be
// listed; of several rows of an image the last counts; an empty label takes an earlier one back.
func (s *Set) ReadLabels(list, root string) (*LabelList, error) {
	lines, err := readList(list)
	if err == nil && lines == nil {
		err = errNoPath
	}
	if err != nil {
		return nil, fmt.Errorf("labels: %s: %w", list, err)
	}
	find := s.finder(list, []place{{path: root}})
	l := &LabelList{Labels: make([]string, s.Len())}
	for _, line := range lines {
		i, ok := find(line.path)
		if !ok {
			if i, ok = find(norm.NFC.String(line.path)); !ok {
				i, ok = find(norm.NFD.String(line.path))
			}
		}
		if ok {
			l.Labels[i] = Text(norm.NFC.String(line.label))
		} else if line.label != "" {
			if l.Foreign++; l.Foreign == 1 {
				l.First = line.path
			}
		}
	}
	for _, label := range l.Labels {
		if label != "" {
			l.Labelled++
		}
	}
	if l.Labelled == 0 && l.Foreign > 0 {
		return nil, fmt.Errorf("labels: %s: none of its %d rows is of one of the %d images: its first path is %q, "+
			"that of the images %q; paths are relative to the data", list, l.Foreign, s.Len(), Text(l.First), s.Name(0))
	}
	if l.Labelled == 0 {
		return nil, fmt.Errorf("labels: %s: no row has a label; its first line names the columns: path,label", list)
	}
	return l, nil
}

// File returns the path of the file that image i is on the disk, false if it is none of its own: in
// an archive, for instance.
func (s *Set) File(i int) (string, bool) {
	if i < 0 || i >= s.Len() {
		return "", false
	}
	f, ok := s.backend.(filed)
	if !ok {
		return "", false
	}
	return f.file(i)
}

// filed is a backend whose images may be files of their own.
type filed interface {
	file(i int) (string, bool)
}

func (e *encodedImages) file(i int) (string, bool) {
	switch e.box.what {
	case "folder", "list", "file":
		return e.box.place(e.entries[i]), true
	}
	return "", false
}

func (b *subset) file(i int) (string, bool) {
	f, ok := b.of.(filed)
	if !ok {
		return "", false
	}
	return f.file(b.keep[i])
}

func (b *joined) file(i int) (string, bool) {
	m, at := b.of(i)
	f, ok := m.(filed)
	if !ok {
		return "", false
	}
	return f.file(at)
}
