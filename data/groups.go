package data

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"moco/picture"
)

// group is what some images of a set have in common: they are the frames of one video, or belong
// together by a list of pairs.
type group struct {
	name    string
	members []int // in order: of time, or of names
	damaged bool  // a video that cannot be read; its only member says why
}

// setGroups gives a set its groups; every image is in one.
func (s *Set) setGroups(noun string, groups []group) {
	s.noun, s.groups = noun, groups
	s.groupOf, s.place = make([]int32, s.Len()), make([]int32, s.Len())
	for g := range groups {
		for at, i := range groups[g].members {
			s.groupOf[i], s.place[i] = int32(g), int32(at)
		}
	}
}

// Groups returns the number of groups: videos, if the set was opened with Options.Frames, or those
// of Options.Pairs; else 0.
func (s *Set) Groups() int { return len(s.groups) }

// Group returns the group of image i, -1 if the set has none.
func (s *Set) Group(i int) int {
	if s.groups == nil {
		return -1
	}
	return int(s.groupOf[i])
}

// GroupName returns the name of group g: a video's path within the set, or what the list of pairs
// calls it.
func (s *Set) GroupName(g int) string { return s.groups[g].name }

// Members returns the images of group g, those of a video in order of time. Do not change them.
func (s *Set) Members(g int) []int { return s.groups[g].members }

// Place returns where image i stands among the members of its group, 0 if the set has no groups.
func (s *Set) Place(i int) int {
	if s.groups == nil {
		return 0
	}
	return int(s.place[i])
}

// CheckGroups says why positive pairs cannot be taken from the set's groups: it has none, or a
// single one, so that nothing would be negative, or one of a single image, which nothing is
// positive to.
func (s *Set) CheckGroups() error {
	if s.groups == nil {
		return errors.New("the images are in no groups: open videos as frames, or give a list of pairs")
	}
	if len(s.groups) == 1 {
		return fmt.Errorf("there is a single %s (%q), so nothing would be negative; give several",
			s.noun, s.groups[0].name)
	}
	what := "image"
	if s.noun == video {
		what = "frame"
	}
	var single []string
	for _, g := range s.groups {
		if len(g.members) == 1 && !g.damaged {
			single = append(single, g.name)
		}
	}
	switch n := len(single); {
	case n == 1:
		return fmt.Errorf("the %s %q has a single %s, which no other could be positive to; give it another, or "+
			"take it out", s.noun, single[0], what)
	case n > 1:
		return fmt.Errorf("%d %ss have a single %s, which no other could be positive to, the first being %q; "+
			"give them others, or take them out", n, s.noun, what, single[0])
	}
	return nil
}

// pairLine is one line of a list of pairs.
type pairLine struct {
	path, group string
	line        int
}

// readPairs reads a CSV of path,group; a first line with just these words is a header.
func readPairs(r io.Reader) ([]pairLine, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = 2
	in.TrimLeadingSpace = true
	in.ReuseRecord = true
	var lines []pairLine
	for first := true; ; first = false {
		record, err := in.Read()
		if err == io.EOF {
			break
		}
		if errors.Is(err, csv.ErrFieldCount) {
			at, _ := in.FieldPos(0)
			return nil, fmt.Errorf("line %d has %d fields; want path,group", at, len(record))
		}
		if err != nil {
			return nil, fmt.Errorf("not a CSV of path,group: %w", err)
		}
		at, _ := in.FieldPos(0)
		name, group := strings.TrimSpace(record[0]), strings.TrimSpace(record[1])
		if first {
			name = strings.TrimPrefix(name, "\ufeff") // the mark that spreadsheets put before UTF-8
			if strings.EqualFold(name, "path") && strings.EqualFold(group, "group") {
				continue
			}
		}
		if name == "" || group == "" {
			return nil, fmt.Errorf("line %d lacks its path or its group; want path,group", at)
		}
		lines = append(lines, pairLine{name, group, at})
	}
	if len(lines) == 0 {
		return nil, errors.New("it lists no images; want lines of path,group")
	}
	return lines, nil
}

// finder returns a search for the image that a path in a list of pairs names. The path is one
// within the set, or relative to the list's own folder.
func (s *Set) finder(list string, places []place) func(name string) (int, bool) {
	byName := make(map[string]int, 2*s.Len())
	for i, name := range s.names {
		byName[name] = i
	}
	for i, file := range s.files {
		byName[file] = i
	}
	for i, file := range s.files { // as names were before they kept the folders that all images lie in
		if _, taken := byName[file[s.common:]]; !taken {
			byName[file[s.common:]] = i
		}
	}
	return func(name string) (int, bool) {
		if i, ok := byName[path.Clean(filepath.ToSlash(name))]; ok {
			return i, true
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(list), name)
		}
		to, err := filepath.Abs(name)
		if err != nil {
			return 0, false
		}
		for _, p := range places {
			from, err1 := filepath.Abs(p.path)
			within, err2 := filepath.Rel(from, to)
			if err1 != nil || err2 != nil || !filepath.IsLocal(within) {
				continue
			}
			if i, ok := byName[path.Join(p.prefix, filepath.ToSlash(within))]; ok {
				return i, true
			}
		}
		return 0, false
	}
}

// pair narrows a set to the images that a list of pairs names, and groups them.
func (s *Set) pair(_ context.Context, list string, places []place) (*Set, error) {
	f, err := os.Open(list)
	if err != nil {
		return nil, fmt.Errorf("pairs: %w", err)
	}
	defer f.Close()
	lines, err := readPairs(f)
	if err != nil {
		return nil, fmt.Errorf("pairs: %s: %w", list, err)
	}
	find := s.finder(list, places)
	lineOf := map[int]pairLine{}
	for _, l := range lines {
		i, ok := find(l.path)
		if !ok {
			return nil, fmt.Errorf("pairs: %s, line %d: %s is not among the images of %s; "+
				"paths are those within it, or relative to the list", list, l.line, l.path, places[0].path)
		}
		if before, twice := lineOf[i]; twice {
			return nil, fmt.Errorf("pairs: %s, line %d: %s is listed on line %d already; "+
				"an image belongs to one group", list, l.line, l.path, before.line)
		}
		lineOf[i] = l
	}
	keep := make([]int, 0, len(lineOf))
	for i := range lineOf {
		keep = append(keep, i)
	}
	slices.Sort(keep)

	paired := s.take(keep)
	paired.kind, paired.backend = s.kind+", in pairs", &subset{s.backend, keep}
	members := map[string][]int{}
	for k, i := range keep {
		members[lineOf[i].group] = append(members[lineOf[i].group], k)
	}
	groups := make([]group, 0, len(members))
	for name, m := range members {
		groups = append(groups, group{name: name, members: m})
	}
	slices.SortFunc(groups, func(a, b group) int { return cmp.Compare(a.name, b.name) })
	paired.setGroups("group", groups)
	return paired, nil
}

// subset is some of the images of a backend.
type subset struct {
	of   backend
	keep []int
}

func (b *subset) read(i int, how picture.Options, dst *Image) error {
	return b.of.read(b.keep[i], how, dst)
}

func (b *subset) identity(to []byte, i int) ([]byte, bool) { return identity(b.of, to, b.keep[i]) }

func (b *subset) header(i int) (string, int, int, error) { return b.of.header(b.keep[i]) }
func (b *subset) stored(i int, buf []byte) ([]byte, bool, error) {
	return b.of.stored(b.keep[i], buf)
}
func (b *subset) inMemory() bool {
	held, ok := b.of.(interface{ inMemory() bool })
	return ok && held.inMemory()
}
func (b *subset) changed(i int) int64     { return changedOf(b.of, b.keep[i]) }
func (b *subset) size(i int) int64        { return b.of.size(b.keep[i]) }
func (b *subset) fingerprint(h hash.Hash) { b.of.fingerprint(h) }
func (b *subset) close() error            { return b.of.close() }

// natural compares names with runs of digits taken as numbers, so that frame 9 comes before frame
// 10.
func natural(a, b string) int {
	whole := cmp.Compare(a, b)
	digits := func(s string) int {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n
	}
	for a != "" && b != "" {
		m, n := digits(a), digits(b)
		if m > 0 && n > 0 {
			x, y := strings.TrimLeft(a[:m], "0"), strings.TrimLeft(b[:n], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[m:], b[n:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Or(cmp.Compare(len(a), len(b)), whole)
}
