package cpu

import (
	"time"
	"unsafe"

	"moco/engine"
	"moco/graph"
)

// phase is work cut into parts that may run in any order and at the same time. The cut depends on
// shapes alone.
type phase struct {
	parts int
	run   func(w *worker, part int)
}

// serial is a phase of one part.
func serial(f func(w *worker)) phase {
	return phase{1, func(w *worker, _ int) { f(w) }}
}

// cut makes a phase over 0..n-1 in runs of `each`.
func cut(n, each int, f func(w *worker, lo, hi int)) phase {
	return phase{(n + each - 1) / each, func(w *worker, part int) {
		f(w, part*each, min((part+1)*each, n))
	}}
}

// elementsEach is how many floats a part of an elementwise operation takes: 64 KB, which leaves
// room for several operands in a second-level cache, and keeps a kernel's call in the order of ten
// microseconds.
const elementsEach = 1 << 14

// rowsPhase makes a phase over the rows of a matrix, some at a time.
func rowsPhase(rows, ch int, f func(w *worker, r int)) phase {
	return cut(rows, max(1, elementsEach/max(ch, 1)), func(w *worker, lo, hi int) {
		for r := lo; r < hi; r++ {
			f(w, r)
		}
	})
}

// op is one operation of a program: phases on buffers, made of one step.
type op struct {
	node    *graph.Node
	kind    engine.Kind
	label   string
	cost    graph.Cost
	assigns bool // copies a value into its variable, and does nothing else
	phases  []phase
	reads   []*buffer
	writes  []*buffer // the result first
	// reuse names buffers that are read element by element, or at the same places as written: the
	// result may lie in one of them if nobody needs it afterwards.
	reuse []*buffer
	// Of replicas: see replicas.go. varies: each does it for itself. kept are buffers that the next
	// replica must find as the one before left them. A barrier ends a level.
	varies, barrier bool
	kept            []*buffer
	message         *message // to exchange behind the phases
	// floats and sums are how much scratch memory each worker needs: see worker.
	floats, sums int
	tables       int // bytes of the lists of places that kernels are given

	runs int
	time time.Duration
}

// then appends phases.
func (o *op) then(p ...phase) { o.phases = append(o.phases, p...) }

// work is a buffer that the operation alone uses.
func (o *op) work(e element, rows, stride int) *buffer {
	b := newRows(e, rows, stride)
	o.writes = append(o.writes, b)
	return b
}

// needs asks for so many floats of scratch memory for each worker.
func (o *op) needs(floats int) { o.floats = max(o.floats, floats) }

// keeps counts a list of places that the operation keeps.
func keeps[T int32 | int64](o *op, list []T) {
	o.tables += len(list) * int(unsafe.Sizeof(*new(T)))
}

// split is a cut of a batch's rows into parts that each lie in one of its splits.
type split struct {
	splits, parts int   // parts of a split
	bounds        []int // part i is rows bounds[i] to bounds[i+1]
}

// newSplit cuts rows into parts of `each`, but for the last one of a split.
func newSplit(rows, splits, each int) split {
	size := rows / splits
	s := split{splits: splits, parts: (size + each - 1) / each}
	for k := range splits {
		for p := range s.parts {
			s.bounds = append(s.bounds, k*size+p*each)
		}
	}
	s.bounds = append(s.bounds, rows)
	return s
}

// splitRows cuts rows of ch floats into parts of about 64 KB.
func splitRows(rows, splits, ch int) split { return newSplit(rows, splits, max(1, elementsEach/ch)) }

// evenSplit cuts rows into parts of about `each`, as even as can be. A small odd number of parts
// would leave one of two workers idle at the end.
func evenSplit(rows, splits, each int) split {
	size := rows / splits
	parts := (size + each - 1) / each
	if parts%2 == 1 && parts > 1 && parts < size {
		parts++
	}
	return newSplit(rows, splits, (size+parts-1)/parts)
}

// size is the number of rows of one split.
func (s split) size() int { return s.bounds[s.parts] }

// rows is the number of rows of a part.
func (s split) rows(part int) int { return s.bounds[part+1] - s.bounds[part] }

// all is the number of parts of all splits.
func (s split) all() int { return s.splits * s.parts }

// phase makes a phase of all parts.
func (s split) phase(f rowsWork) phase {
	return phase{s.all(), func(w *worker, part int) {
		f(w, part, part/s.parts, s.bounds[part], s.bounds[part+1])
	}}
}
