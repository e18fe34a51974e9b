package cpu

import "sort"

// plan decides where every buffer lies and returns the size of the arena in bytes. First it lets assigned values lie in their
// variable, and results in the place of operands that nobody needs any more; then it packs what is left into
// one arena, so that buffers alive at the same time do not overlap.
func plan(ops []*op) int {
	all := lifetimes(ops)
	for _, o := range ops {
		if o.label == "Assign" && o.writes[0].pinned {
			intoVariable(ops, o.reads[0], o.writes[0])
		}
	}
	for i, o := range ops {
		if len(o.writes) == 0 {
			continue
		}
		w := o.writes[0]
		for _, r := range o.reuse {
			root := r.root()
			if w.alias == nil && !w.pinned && w.first == i && !root.pinned && root.words == w.words && root.last == i && root != w && root.first < i {
				w.alias = root
				root.last = w.last
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

// intoVariable makes value lie in variable's own memory, if nobody reads the variable's old value from the moment at which
// the value is written. The operation that writes it may read the variable itself only element by element.
func intoVariable(ops []*op, value, variable *buffer) {
	if value.alias != nil || value.pinned || value.words != variable.words {
		return
	}
	for i := value.first; i < len(ops); i++ {
		o := ops[i]
		for _, r := range o.reads {
			if r.root() == variable && !(i == value.first && contains(o.reuse, r)) {
				return
			}
		}
		for _, w := range o.writes {
			if w.root() == variable && !(o.label == "Assign" && o.reads[0] == value) {
				return
			}
		}
	}
	value.alias = variable
}

func contains(list []*buffer, b *buffer) bool {
	for _, x := range list {
		if x == b {
			return true
		}
	}
	return false
}

// arrange gives each buffer an offset: largest first, each at the lowest place where it meets no other that is alive at the
// same time. (Greedy by size is within some percent of the largest sum of live buffers on these graphs.)
func arrange(roots []*buffer) int {
	const align = 64
	sort.SliceStable(roots, func(i, j int) bool { return roots[i].words > roots[j].words })
	var placed []*buffer // by rising offset
	end := 0
	for _, b := range roots {
		size := roundUp(4*b.words, align)
		offset := 0
		for _, p := range placed {
			if p.first > b.last || p.last < b.first {
				continue
			}
			if p.offset >= offset+size {
				break
			}
			offset = max(offset, p.offset+roundUp(4*p.words, align))
		}
		b.offset = offset
		end = max(end, offset+size)
		at := sort.Search(len(placed), func(i int) bool { return placed[i].offset > offset })
		placed = append(placed, nil)
		copy(placed[at+1:], placed[at:])
		placed[at] = b
	}
	return max(end, align)
}
