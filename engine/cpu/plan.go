package cpu

import (
	"cmp"
	"slices"
	"sort"
)

// plan decides where every buffer lies and returns the size of the arena in bytes. First it lets
// assigned values lie in their variable, and results in the place of operands that nobody needs any
// more. Then it packs what is left into one arena, so that buffers alive at the same time do not
// overlap.
//
// turns is how many replicas take their turns: they share the memory of everything that is no longer
// needed when a turn ends.
func plan(ops []*op, turns int) int {
	all := lifetimes(ops)
	var repeated []stretch
	if turns > 1 {
		repeated = repeatedIn(ops)
		for _, r := range repeated {
			r.extend(ops, all, turns)
		}
	}
	for _, o := range ops {
		if o.assigns {
			intoVariable(ops, o.reads[0], o.writes[0], repeated)
		}
	}
	for i, o := range ops {
		if len(o.writes) > 0 {
			for _, b := range o.reuse {
				if fromWithin(repeated, b.root(), i) {
					reusePlace(o.writes[0], b.root(), i)
				}
			}
		}
	}
	var roots []*buffer
	for _, b := range all {
		if b.alias == nil && !b.pinned {
			roots = append(roots, b)
		}
	}
	return arrange(roots)
}

// reusePlace makes the result of operation i lie in an operand if that is last read there.
func reusePlace(result, operand *buffer, i int) {
	free := result.alias == nil && !result.pinned && result.first == i && result != operand && result.places+operand.places == 0
	if free && !operand.pinned && operand.bytes() == result.bytes() && operand.last == i && operand.first < i {
		result.alias = operand
		operand.last = result.last
	}
}

// stretch is operations from..to, which every replica of the process goes through in its turn.
type stretch struct{ from, to int }

// repeatedIn finds the stretches of a program, at most one in a level: from the first operation that
// replicas do for themselves to the last one.
func repeatedIn(ops []*op) []stretch {
	var all []stretch
	open := false
	for i, o := range ops {
		switch {
		case o.barrier:
			open = false
		case o.varies && open:
			all[len(all)-1].to = i
		case o.varies:
			all, open = append(all, stretch{i, i}), true
		}
	}
	return all
}

// extend lets buffers live for the whole stretch that are made before it and read in it, or made in
// it and read behind it, and those that replicas hand each other. What each replica reads in a later
// level gets a place for each.
func (r stretch) extend(ops []*op, all []*buffer, turns int) {
	for _, o := range ops[r.from : r.to+1] {
		for _, b := range o.kept {
			b.first, b.last = r.from, max(b.last, r.to)
		}
	}
	for _, b := range all {
		switch {
		case b.first < r.from && b.last >= r.from:
			b.last = max(b.last, r.to)
		case b.first >= r.from && b.first <= r.to && b.last > r.to:
			b.first = r.from
			if b.varies {
				b.places = turns
			}
		}
	}
}

// fromWithin is false of an operation that is repeated and of a buffer that holds what other turns
// read too. The result must not overwrite it.
func fromWithin(repeated []stretch, operand *buffer, i int) bool {
	for _, r := range repeated {
		if i >= r.from && i <= r.to {
			return !operand.pinned && operand.first > r.from
		}
	}
	return true
}

// lifetimes sets first and last of every buffer and returns them in the order of their first use.
func lifetimes(ops []*op) []*buffer {
	seen := map[*buffer]bool{}
	var all []*buffer
	for i, o := range ops {
		for _, list := range [][]*buffer{o.writes, o.reads} {
			for _, b := range list {
				if !seen[b] {
					seen[b] = true
					all = append(all, b)
					b.first = i
				}
				b.last = i
			}
		}
	}
	return all
}

// intoVariable makes a value lie in a variable's own memory, if nobody reads the variable's old
// value from the moment at which the value is written. The operation that writes it may read the
// variable itself only element by element.
func intoVariable(ops []*op, value, variable *buffer, repeated []stretch) {
	if value.alias != nil || value.pinned || value.bytes() != variable.bytes() {
		return
	}
	for i := value.first; i < len(ops); i++ {
		o := ops[i]
		for _, r := range o.reads {
			inPlace := i == value.first && slices.Contains(o.reuse, r) && fromWithin(repeated, variable, i)
			if r.root() == variable && !inPlace {
				return
			}
		}
		for _, w := range o.writes {
			if w.root() == variable && !(o.assigns && o.reads[0] == value) {
				return
			}
		}
	}
	value.alias = variable
}

// orders are orders in which buffers are placed. Which one packs best differs from graph to graph
// by some percent, so all are tried.
var orders = []func(a, b *buffer) int{
	func(a, b *buffer) int { return cmp.Or(b.room()-a.room(), b.lifetime()-a.lifetime()) },
	func(a, b *buffer) int { return cmp.Or(b.room()-a.room(), a.lifetime()-b.lifetime()) },
	func(a, b *buffer) int { return b.room()*b.lifetime() - a.room()*a.lifetime() },
}

// lifetime is how many operations the buffer lives for.
func (b *buffer) lifetime() int { return b.last - b.first + 1 }

// arrange gives each buffer an offset, by the order that needs the smallest arena, and returns its
// size. (The arena is within some percent of the largest sum of live buffers on these graphs.)
func arrange(roots []*buffer) int {
	best := -1
	offsets := make([]int, len(roots))
	for _, order := range orders {
		sorted := slices.Clone(roots)
		slices.SortStableFunc(sorted, order)
		size := arrangeIn(sorted)
		if best >= 0 && size >= best {
			continue
		}
		best = size
		for i, b := range roots {
			offsets[i] = b.offset
		}
	}
	for i, b := range roots {
		b.offset = offsets[i]
	}
	return best
}

// arrangeIn gives each buffer in turn the lowest place where it meets no other that is alive at the
// same time.
func arrangeIn(roots []*buffer) int {
	const align = 64
	var placed []*buffer // by rising offset
	end := 0
	for _, b := range roots {
		size := roundUp(b.room(), align)
		offset := 0
		for _, p := range placed {
			if p.first > b.last || p.last < b.first {
				continue
			}
			if p.offset >= offset+size {
				break
			}
			offset = max(offset, p.offset+roundUp(p.room(), align))
		}
		b.offset = offset
		end = max(end, offset+size)
		at := sort.Search(len(placed), func(i int) bool { return placed[i].offset > offset })
		placed = slices.Insert(placed, at, b)
	}
	return max(end, align)
}
