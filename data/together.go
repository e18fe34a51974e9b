package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"moco/internal/text"
	"moco/picture"
)

// member is one of several sets that are opened as one.
type member struct {
	path   string
	prefix string // of its images' names
	set    *Set
}

// openMembers opens each path on its own.
func openMembers(ctx context.Context, paths, prefixes []string, opts Options) ([]member, error) {
	list := make([]member, len(paths))
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range paths {
		workers.Go(func() error {
			s, err := openPath(ctx, p, opts)
			list[i] = member{p, prefixes[i], s}
			return err
		})
	}
	if err := workers.Wait(); err != nil {
		for _, m := range list {
			if m.set != nil {
				m.set.Close()
			}
		}
		return nil, err
	}
	return list, nil
}

// together makes one set of several. Classes of the same name are the same class; if one of the
// sets is unlabelled, all are. It owns the sets, also after an error.
func together(list []member) (*Set, error) {
	b := &joined{sets: make([]*Set, len(list))}
	for m := range list {
		b.sets[m] = list[m].set
		for i := range b.sets[m].Len() {
			b.at = append(b.at, spot{int32(m), int32(i)})
		}
	}
	file := func(p spot) string {
		s := b.sets[p.member]
		if s.files == nil {
			return list[p.member].prefix + "/" + s.names[p.image]
		}
		return list[p.member].prefix + "/" + s.files[p.image]
	}
	names := make(map[spot]string, len(b.at))
	for _, p := range b.at {
		names[p] = file(p)
	}
	slices.SortFunc(b.at, func(x, y spot) int { return cmp.Compare(names[x], names[y]) })
	files := make([]string, len(b.at))
	for i, p := range b.at {
		files[i] = names[p]
		if i > 0 && files[i] == files[i-1] {
			b.close()
			return nil, fmt.Errorf("two images are called %s; give their folder once, or rename one of the paths",
				Text(files[i]))
		}
	}
	s := &Set{kind: b.kind(), backend: b}
	s.setNames(files, 0)
	b.nameFiles(s, list)
	var left []LeftOut
	for _, m := range b.sets {
		left = append(left, m.left)
	}
	s.left = merge(left)
	b.label(s)
	b.group(s, list)
	return s, nil
}

// nameFiles gives an image that is a path of its own the path's name alone, if no other has it. In
// the fingerprint it keeps the whole.
func (b *joined) nameFiles(s *Set, list []member) {
	taken := make(map[string]bool, len(s.files))
	for _, f := range s.files {
		taken[f] = true
	}
	var names []string
	for i, p := range b.at {
		if m := list[p.member]; m.set.kind == oneImage && !taken[m.prefix] {
			if names == nil {
				names = slices.Clone(s.files)
			}
			names[i] = m.prefix
		}
	}
	if names != nil {
		s.names = text.Names(names)
	}
}

// joined reads the images of several sets.
type joined struct {
	sets []*Set
	at   []spot
}

// spot says where an image is.
type spot struct{ member, image int32 }

// kind says what the sets are.
func (b *joined) kind() string {
	first := b.sets[0].kind
	if slices.ContainsFunc(b.sets, func(s *Set) bool { return s.kind != first }) {
		return fmt.Sprintf("%d paths, the first a %s", len(b.sets), first)
	}
	if len(b.sets) == 1 {
		return first
	}
	return fmt.Sprintf("%d paths, each a %s", len(b.sets), first)
}

// label gives s the labels of the sets, if all have some.
func (b *joined) label(s *Set) {
	if slices.ContainsFunc(b.sets, func(m *Set) bool { return m.labels == nil }) {
		return
	}
	labels := make([]string, len(b.at))
	for i, p := range b.at {
		m := b.sets[p.member]
		labels[i] = m.classes[m.labels[p.image]]
	}
	var lay layout
	lay.label(labels, compareLabels(labels))
	s.labels, s.classes = lay.labels, lay.classes
}

// group gives s the groups of the sets, if they have some: all or none do.
func (b *joined) group(s *Set, list []member) {
	if b.sets[0].groups == nil {
		return
	}
	places := b.places()
	var groups []group
	for m, set := range b.sets {
		for _, g := range set.groups {
			members := make([]int, len(g.members))
			for k, i := range g.members {
				members[k] = int(places[m][i])
			}
			groups = append(groups, group{name: list[m].prefix + "/" + g.name, members: members, damaged: g.damaged})
		}
	}
	slices.SortFunc(groups, func(x, y group) int { return cmp.Compare(x.name, y.name) })
	s.setGroups(b.sets[0].noun, groups)
}

// places tells for each image of each set where it stands in the whole.
func (b *joined) places() [][]int32 {
	places := make([][]int32, len(b.sets))
	for m, s := range b.sets {
		places[m] = make([]int32, s.Len())
	}
	for i, p := range b.at {
		places[p.member][p.image] = int32(i)
	}
	return places
}

func (b *joined) of(i int) (backend, int) {
	p := b.at[i]
	return b.sets[p.member].backend, int(p.image)
}

func (b *joined) read(i int, how picture.Options, dst *Image) error {
	m, at := b.of(i)
	return m.read(at, how, dst)
}

func (b *joined) identity(to []byte, i int) ([]byte, bool) {
	m, at := b.of(i)
	return identity(m, to, at)
}

func (b *joined) header(i int) (string, int, int, error) {
	m, at := b.of(i)
	return m.header(at)
}

func (b *joined) stored(i int, buf []byte) ([]byte, bool, error) {
	m, at := b.of(i)
	return m.stored(at, buf)
}

func (b *joined) changed(i int) int64 {
	m, at := b.of(i)
	return changedOf(m, at)
}

func (b *joined) size(i int) int64 {
	m, at := b.of(i)
	return m.size(at)
}

func (b *joined) inMemory() bool {
	return !slices.ContainsFunc(b.sets, func(s *Set) bool { return !s.inMemory() })
}

// lend passes the cache on to those sets that can fill it.
func (b *joined) lend(all spare) {
	places := b.places()
	for m, s := range b.sets {
		if taker, ok := s.backend.(cacheFiller); ok {
			taker.lend(spare{
				wanted: func(i int, r Reading) bool { return all.wanted(int(places[m][i]), r) },
				keep:   func(i int, r Reading, img *Image) { all.keep(int(places[m][i]), r, img) },
			})
		}
	}
}

func (b *joined) fingerprint(h hash.Hash) {
	for _, s := range b.sets {
		s.backend.fingerprint(h)
	}
}

func (b *joined) close() error {
	var err error
	for _, s := range b.sets {
		err = errors.Join(err, s.Close())
	}
	return err
}
