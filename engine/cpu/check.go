package cpu

import (
	"fmt"
	"slices"
)

// check says what is wrong with what a pass left. Tests run it after every pass.
func (c *compiler) check(after string) []error {
	k := checker{compiler: c, after: after, done: map[string]bool{}}
	for _, p := range passes {
		k.done[p.name] = true
		if p.name == after {
			break
		}
	}
	k.list()
	if k.done["element"] {
		k.forms()
	}
	if k.done["cut"] {
		k.cuts()
	}
	if k.done["plan"] {
		k.places()
		k.turns()
	}
	return k.errs
}

// checker holds the rules of a legal program. A rule holds from some pass on.
type checker struct {
	*compiler
	after string
	done  map[string]bool
	errs  []error
}

func (k *checker) wrong(format string, a ...any) {
	k.errs = append(k.errs, fmt.Errorf("after pass "+k.after+": "+format, a...))
}

// list checks the order of the steps and the records of values: who writes a value stands before
// all who read it, and the records name exactly those.
func (k *checker) list() {
	readers := map[*value][]*step{}
	written := map[*value]bool{}
	one := func(s *step, at int) {
		if s.at != at {
			k.wrong("step %s at place %d believes to be at %d", s.label(), at, s.at)
		}
		for _, v := range s.in {
			if v == nil {
				continue
			}
			readers[v] = append(readers[v], s)
			later := v.norm != nil && !k.done["again"] // it is going to be computed again
			if !v.pinned && !written[v] && !later {
				k.wrong("step %d %s reads %v before it is written", at, s.label(), v)
			}
		}
		for _, v := range s.out {
			if v == nil {
				continue
			}
			if v.pinned || written[v] {
				k.wrong("step %d %s writes %v, which is written already", at, s.label(), v)
			}
			written[v] = true
		}
	}
	for at, s := range k.steps {
		if len(s.epilogue) == 0 {
			one(s, at)
			continue
		}
		k.epilogue(s)
		final := s.out
		s.out = []*value{s.epilogue[0].in[0]} // as it is before the epilogue
		if s.epilogue[0].in[0].inCache {
			one(s, at)
		} else {
			s.out = final
			one(s, at)
		}
		s.out = final
		for _, e := range s.epilogue {
			one(e, at)
		}
	}
	for _, v := range k.values {
		for _, r := range v.readers {
			if !slices.Contains(readers[v], r) {
				k.wrong("%v is said to be read by %s, which is not in the list or reads another value", v, r.label())
			}
		}
		if len(v.readers) != len(readers[v]) {
			k.wrong("%v has %d readers and names %d", v, len(readers[v]), len(v.readers))
		}
		if written[v] && v.producer == nil {
			k.wrong("%v is written, and its record does not say by whom", v)
		}
	}
}

// epilogue checks that nobody else reads what an epilogue overwrites, and that the epilogue reads
// nothing that comes later.
func (k *checker) epilogue(s *step) {
	if !s.inParts() {
		k.wrong("%s has an epilogue but is not computed part by part", s.label())
	}
	for _, e := range s.epilogue {
		if e.operation.rows == nil && e.operation.columns == nil {
			k.wrong("%s cannot be an epilogue", e.label())
		}
		for _, v := range e.in {
			if v != nil && v.inCache && !v.only() {
				k.wrong("%v is overwritten by %s but read by others", v, s.label())
			}
		}
	}
}

// forms checks that every value that is read has a layout and a type, and, when copies are
// supplied, that no step needs another one.
func (k *checker) forms() {
	for _, v := range k.values {
		if len(v.readers) > 0 && (v.element == noElement || v.layout == noLayout) {
			k.wrong("%v is read and has no form", v)
		}
	}
	if !k.done["supply"] || k.done["emit"] {
		return
	}
	values := len(k.values)
	steps := k.steps
	for _, s := range steps {
		before := slices.Clone(s.in)
		if s.operation.operands != nil {
			s.operation.operands(k.compiler, s)
		} else {
			for i := range s.in {
				k.want(s, i, inRows, float32s)
			}
		}
		if !slices.Equal(before, s.in) {
			k.wrong("%s reads a value in a form that it cannot read", s.label())
		}
	}
	if len(k.values) != values {
		k.wrong("%d copies are missing", len(k.values)-values)
	}
	k.steps = steps
}

// cuts checks that parts cover a batch, that none lies in two splits, and that an epilogue's sums
// are cut as the convolution is.
func (k *checker) cuts() {
	for _, s := range k.steps {
		if !s.inParts() {
			continue
		}
		p := s.conv.pixels
		rows, _ := s.out[0].shape()
		if len(p.bounds) != p.all()+1 || p.bounds[0] != 0 || p.bounds[p.all()] != rows || !slices.IsSorted(p.bounds) {
			k.wrong("%s: parts %v do not cover %d pixels", s.label(), p.bounds, rows)
		}
		for i := 0; i < p.splits; i++ {
			if p.bounds[i*p.parts] != i*rows/p.splits {
				k.wrong("%s: a part lies in two of %d splits", s.label(), p.splits)
			}
		}
		for _, e := range s.epilogue {
			if e.sums != nil && !slices.Equal(e.sums.cut.bounds, p.bounds) {
				k.wrong("%s: %s is cut otherwise", s.label(), e.label())
			}
		}
	}
}

// places checks that every buffer is written before it is read, and that buffers in the arena which
// are alive at the same time lie apart.
func (k *checker) places() {
	written := map[*buffer]bool{}
	roots := map[*buffer]bool{}
	for i, o := range k.ops {
		for _, b := range o.reads {
			if !b.pinned && !written[b] {
				k.wrong("operation %d %s reads a buffer that nobody has written", i, o.label)
			}
		}
		for _, b := range o.writes {
			written[b] = true
			if r := b.root(); !r.pinned {
				roots[r] = true
			}
		}
	}
	var all []*buffer
	for b := range roots {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *buffer) int { return a.offset - b.offset })
	for i, a := range all {
		if a.offset+a.room() > k.arena {
			k.wrong("a buffer ends at %d, behind the arena of %d bytes", a.offset+a.bytes(), k.arena)
		}
		for _, b := range all[i+1:] {
			if b.offset >= a.offset+a.room() {
				break
			}
			if a.first <= b.last && b.first <= a.last {
				k.wrong("buffers alive in operations %d-%d and %d-%d overlap", a.first, a.last, b.first, b.last)
			}
		}
	}
}

// turns goes through a program as replicas run it, and checks that every operation finds in each
// buffer what was written there last: in the same turn, if the value is a replica's own.
func (k *checker) turns() {
	count := k.team.share.Count
	type place struct {
		root *buffer
		turn int // 0 where the buffer has one place for all
	}
	holds := map[place]*buffer{} // what was written to a place last
	writer := map[*buffer]int{}  // the turn of the last one who wrote a buffer
	at := func(b *buffer, turn int) place {
		if b.root().places > 1 {
			return place{b.root(), turn}
		}
		return place{b.root(), 0}
	}
	start := func(p place) int { return p.root.offset + p.turn*p.root.bytes() }
	for _, s := range turnsOf(k.ops, count) {
		for turn := range s.turns {
			for _, o := range k.ops[s.from : s.to+1] {
				for _, b := range o.reads {
					if b.root().pinned {
						continue
					}
					own := b.varies && b.root().places <= 1 && s.turns > 1
					if holds[at(b, turn)] == nil || own && writer[b.root()] != turn {
						k.wrong("in turn %d, %s finds something else than what it reads", turn, o.label)
					}
				}
				for _, b := range o.writes {
					if b.root().pinned {
						continue
					}
					mine := at(b, turn)
					for other := range holds {
						if other != mine && start(other) < start(mine)+mine.root.bytes() && start(mine) < start(other)+other.root.bytes() {
							delete(holds, other)
						}
					}
					holds[mine], writer[b.root()] = b, turn
				}
			}
		}
	}
}
