package studio

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"moco/labels"
)

// The decisions that a person may take on a picture.
var decisions = []string{"", "keep", "drop", "ok"}

// mark is what is said of a picture: the numbers of a class, -1 for none, and of a decision.
type mark struct {
	class    int32
	decision int8
}

// none is the mark of a picture of which nothing is said.
var none = mark{class: -1}

// edit is a change that can be undone: what was said of pictures before and after it.
type edit struct {
	images        []int32
	before, after []mark
}

// board holds what is said of all pictures, in memory as in the file. Two locks: writing is held
// while a change is written, which waits for the disk; mu only while memory changes, so that reading
// never waits for the disk.
type board struct {
	names []string
	place map[string]int32 // of a picture, by its name
	file  *labels.File

	writing sync.Mutex

	mu      sync.RWMutex
	version int64 // counts changes, from a start that is above that of all studios before
	began   int64 // the version when this studio began: what changed before is not known
	stamp   []int64
	marks   []mark
	classes []string
	number  map[string]int32 // of a class, by its name
	counts  []int            // pictures of each class
	shown   []bool           // classes without pictures that are listed nevertheless
	undo    []edit
	redo    []edit
}

// listedClasses is up to how many classes of the set are offered as labels from the start.
const listedClasses = 100

// openBoard opens a file of labels for the pictures with these names.
func openBoard(ctx context.Context, path string, names, classes []string) (*board, error) {
	b := &board{names: names, place: make(map[string]int32, len(names)), number: map[string]int32{},
		marks: make([]mark, len(names)), stamp: make([]int64, len(names))}
	b.began = time.Now().UnixMilli()
	b.version = b.began
	for i, name := range names {
		b.place[name] = int32(i)
		b.marks[i], b.stamp[i] = none, b.began
	}
	if len(classes) <= listedClasses {
		for _, c := range classes {
			b.shown[b.class(c)] = true
		}
	}
	file, rows, err := labels.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	b.file = file
	b.apply(labels.Change{Rows: rows})
	return b, nil
}

// class is the number of a class, which is added if it is new. b.mu is held.
func (b *board) class(name string) int32 {
	if name == "" {
		return -1
	}
	n, ok := b.number[name]
	if !ok {
		n = int32(len(b.classes))
		b.number[name] = n
		b.classes, b.counts, b.shown = append(b.classes, name), append(b.counts, 0), append(b.shown, false)
	}
	return n
}

// set says something of a picture. b.mu is held.
func (b *board) set(image int32, to mark) {
	was := b.marks[image]
	if was.class >= 0 {
		b.counts[was.class]--
	}
	if to.class >= 0 {
		b.counts[to.class]++
	}
	b.marks[image], b.stamp[image] = to, b.version
}

// apply takes in rows of the file, and tells whether they changed anything. b.mu is held, or nobody
// else has b yet. Rows of pictures that the set does not have stay in the file.
func (b *board) apply(c labels.Change) bool {
	next := map[int32]mark{}
	if c.Whole {
		for i, m := range b.marks {
			if m != none {
				next[int32(i)] = none
			}
		}
	}
	for _, r := range c.Rows {
		if i, ok := b.place[r.Path]; ok {
			next[i] = mark{b.class(r.Label), int8(max(0, slices.Index(decisions, r.Decision)))}
		}
	}
	changed := false
	for i, m := range next {
		if b.marks[i] == m {
			continue
		}
		if !changed {
			changed = true
			b.version++
		}
		b.set(i, m)
	}
	return changed
}

// follow takes in what other studios have written.
func (b *board) follow() (changed bool, err error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	c, err := b.file.Follow()
	if err != nil || !c.Whole && len(c.Rows) == 0 {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.apply(c), nil
}

// change writes marks of pictures, and then has them in memory. next is called once the rows of
// others are taken in; it gives an edit, whose before it need not fill. The edit is added to the
// log that it belongs to by note.
func (b *board) change(ctx context.Context, next func() (edit, error), note func(edit)) ([]int32, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	var e edit
	var wrong error
	err := b.file.Update(ctx, func(others labels.Change) []labels.Row {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.apply(others)
		if e, wrong = next(); wrong != nil {
			return nil
		}
		return b.rows(&e)
	})
	if err = cmp.Or(wrong, err); err != nil {
		return nil, fmt.Errorf("nothing is changed: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.version++
	for k, i := range e.images {
		b.set(i, e.after[k])
	}
	note(e)
	return e.images, nil
}

// rows drops from an edit what it does not change, notes what was before, and returns the rows that
// it writes. b.mu is held.
func (b *board) rows(e *edit) []labels.Row {
	var kept edit
	var rows []labels.Row
	seen := make(map[int32]bool, len(e.images))
	for k, i := range e.images {
		if seen[i] || b.marks[i] == e.after[k] {
			continue
		}
		seen[i] = true
		m := e.after[k]
		kept.images, kept.before, kept.after = append(kept.images, i), append(kept.before, b.marks[i]), append(kept.after, m)
		row := labels.Row{Path: b.names[i], Decision: decisions[m.decision]}
		if m.class >= 0 {
			row.Label = b.classes[m.class]
		}
		rows = append(rows, row)
	}
	*e = kept
	return rows
}

// done notes an edit of the person's: it can be undone, and what was undone before is gone.
func (b *board) done(e edit) {
	if len(e.images) > 0 {
		b.undo, b.redo = append(b.undo, e), nil
	}
}

// label gives pictures a class, by its name; "" takes theirs away.
func (b *board) label(ctx context.Context, images []int32, class string) error {
	_, err := b.change(ctx, func() (edit, error) {
		e := edit{images: images, after: make([]mark, len(images))}
		n := b.class(class)
		for k, i := range images {
			e.after[k] = mark{n, b.marks[i].decision}
		}
		return e, nil
	}, b.done)
	return err
}

// labelEach gives each picture a class of its own.
func (b *board) labelEach(ctx context.Context, images []int32, classes []string) error {
	_, err := b.change(ctx, func() (edit, error) {
		e := edit{images: images, after: make([]mark, len(images))}
		for k, i := range images {
			e.after[k] = mark{b.class(classes[k]), b.marks[i].decision}
		}
		return e, nil
	}, b.done)
	return err
}

// decide takes a decision on pictures.
func (b *board) decide(ctx context.Context, images []int32, decision string) error {
	d := int8(slices.Index(decisions, decision))
	_, err := b.change(ctx, func() (edit, error) {
		e := edit{images: images, after: make([]mark, len(images))}
		for k, i := range images {
			e.after[k] = mark{b.marks[i].class, d}
		}
		return e, nil
	}, b.done)
	return err
}

// rename gives a class another name, that of an other class too: then the two are one.
func (b *board) rename(ctx context.Context, from, to string) error {
	_, err := b.change(ctx, func() (edit, error) {
		old, ok := b.number[from]
		if !ok {
			return edit{}, refuse("there is no class %q", from)
		}
		var e edit
		n := b.class(to)
		for i, m := range b.marks {
			if m.class == old {
				e.images, e.after = append(e.images, int32(i)), append(e.after, mark{n, m.decision})
			}
		}
		b.shown[old], b.shown[n] = from == to, true
		return e, nil
	}, b.done)
	return err
}

// add lists a class that has no pictures yet.
func (b *board) add(class string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shown[b.class(class)] = true
	b.version++
}

// errNothing is the error of undoing where nothing is left.
type errNothing string

func (e errNothing) Error() string { return "nothing is left to " + string(e) }

// turnBack undoes the last edit, or, with again, does the last undone one again. Pictures of which
// somebody else has said something else since stay as they are.
func (b *board) turnBack(ctx context.Context, again bool) ([]int32, error) {
	from, to, word := &b.undo, &b.redo, "undo"
	if again {
		from, to, word = to, from, "redo"
	}
	var last edit
	return b.change(ctx, func() (edit, error) {
		if len(*from) == 0 {
			return edit{}, errNothing(word)
		}
		last = (*from)[len(*from)-1]
		is, want := last.after, last.before
		if again {
			is, want = want, is
		}
		var e edit
		for k, i := range last.images {
			if b.marks[i] == is[k] {
				e.images, e.after = append(e.images, i), append(e.after, want[k])
			}
		}
		return e, nil
	}, func(edit) {
		*from, *to = (*from)[:len(*from)-1], append(*to, last)
	})
}

// now is the present version.
func (b *board) now() int64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.version
}

// classCount is a class and the number of its pictures.
type classCount struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// tally is what every answer to a change says.
type tally struct {
	Version  int64        `json:"version"`
	Classes  []classCount `json:"classes"`
	Labelled int          `json:"labelled"`
	Undo     int          `json:"undo"`
	Redo     int          `json:"redo"`
}

// tally counts.
func (b *board) tally() tally {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.count()
}

// count makes a tally. b.mu is held.
func (b *board) count() tally {
	t := tally{Version: b.version, Classes: []classCount{}, Undo: len(b.undo), Redo: len(b.redo)}
	for n, name := range b.classes {
		if b.counts[n] > 0 || b.shown[n] {
			t.Classes = append(t.Classes, classCount{name, b.counts[n]})
		}
		t.Labelled += b.counts[n]
	}
	return t
}

// changes is what has changed since a version.
type changes struct {
	tally
	Images    []int32  `json:"images"`
	Labels    []string `json:"labels"`
	Decisions []string `json:"decisions"`
}

// since tells what has changed after a version: everything, if it is of an earlier studio.
func (b *board) since(version int64) changes {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := changes{tally: b.count(), Images: []int32{}, Labels: []string{}, Decisions: []string{}}
	for i, at := range b.stamp {
		if at <= version && version >= b.began {
			continue
		}
		m := b.marks[i]
		c.Images = append(c.Images, int32(i))
		c.Labels = append(c.Labels, b.nameOf(m.class))
		c.Decisions = append(c.Decisions, decisions[m.decision])
	}
	return c
}

// nameOf is a class's name, "" for none. b.mu is held.
func (b *board) nameOf(class int32) string {
	if class < 0 {
		return ""
	}
	return b.classes[class]
}

// snapshot is a copy of what is said of all pictures.
type snapshot struct {
	version int64
	marks   []mark
	classes []string
}

func (b *board) snapshot() snapshot {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return snapshot{b.version, slices.Clone(b.marks), slices.Clone(b.classes)}
}

// labelOf is the name of the class that was given to a picture, "" for none.
func (s *snapshot) labelOf(image int) string {
	if c := s.marks[image].class; c >= 0 {
		return s.classes[c]
	}
	return ""
}

// of is what is said of one picture.
func (b *board) of(image int) (label, decision string) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	m := b.marks[image]
	return b.nameOf(m.class), decisions[m.decision]
}

// close leaves the file with a row for each picture.
func (b *board) close() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.file.Close(context.Background())
}

// maxClassName is the longest name of a class, in bytes.
const maxClassName = 200

// className is a class's name as it is kept, or why it cannot be one.
func className(text string) (string, error) {
	text = strings.TrimSpace(norm.NFC.String(text))
	switch {
	case len(text) > maxClassName:
		return "", fmt.Errorf("a class's name has at most %d bytes", maxClassName)
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return "", fmt.Errorf("a class's name is one line of text")
	}
	return text, nil
}
