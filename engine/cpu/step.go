package cpu

import (
	"slices"

	"moco/engine"
	"moco/graph"
)

// step is one piece of a program's work before it is emitted: what the engine makes of one node, or
// of several that were fused. All decisions are made on the list of steps.
type step struct {
	operation *operation
	node      *graph.Node // the first of the nodes whose work it does
	at        int         // place in the list

	// in and out are operands and results, in an order that the operation defines. An optional one
	// that this step does not have is nil.
	in, out []*value

	// epilogue is the steps that this one does to each part of its output while the part lies in
	// the cache, in order. Only convolutions have some: see epilogue.go.
	epilogue []*step

	conv    *convolution // of the three directions of a convolution
	turn    *convolution // whose weights the step transposes
	norm    *norm        // of a normalisation
	sums    *sums        // of sums over a batch
	again   bool         // computes a value once more
	host    *host        // of an input or output
	message *message     // of an exchange with other ranks
	// variable is what an assignment writes. It is no result of the step: who reads it in this run
	// reads its old value.
	variable *value
}

// operations is what the engine knows of some node kinds. Each family of operations has such a
// table at the top of its file.
type operations map[graph.Op]*operation

// operation is what the engine knows of a kind of step. Everything but emit may be left out.
type operation struct {
	kind   engine.Kind
	name   func(s *step) string // for people; nil: the node kind's name
	helper bool                 // the node's cost does not count this work

	// fits is false of nodes that the kernels cannot do. They run by their definition. nil: none.
	fits func(n *graph.Node) bool
	// build appends the steps of a node; nil: one step that reads the node's operands.
	build func(c *compiler, n *graph.Node)
	// layout is that of the first result; nil: rows.
	layout func(s *step) layout
	// element is that of the first result; nil: float32.
	element func(c *compiler, s *step) element
	// operands brings the operands into a layout and type that emit can read, by c.want; nil: rows
	// of float32, all of them.
	operands func(c *compiler, s *step)
	// emit completes the operation o, whose reads and writes are the buffers of the operands and
	// results.
	emit func(c *compiler, s *step, o *op)
	// rows is what the step does to rows lo to hi of a batch that is cut into so many splits; nil:
	// the step can be no epilogue.
	rows func(c *compiler, s *step, splits int) rowsWork
	// columns is what the step does to some channels of some rows; nil: it needs whole rows, or parts
	// of a batch. It may give the operation phases that come first.
	columns func(c *compiler, s *step, o *op) columnsWork
}

// rowsWork is the work on a part of a batch, rows lo to hi, that lies in one split.
type rowsWork func(w *worker, part, split, lo, hi int)

// kind is what the step's time counts as.
func (s *step) kind() engine.Kind {
	if s.node.Op == graph.MatMul {
		return engine.Product // by a convolution's step too
	}
	return s.operation.kind
}

// label is the step's name for people.
func (s *step) label() string {
	name := s.node.Op.String()
	if s.operation.name != nil {
		name = s.operation.name(s)
	}
	for _, e := range s.epilogue {
		name += "+" + e.label()
	}
	if s.again {
		name += " (again)"
	}
	return name
}

// named is a name that does not depend on the step.
func named(name string) func(*step) string { return func(*step) string { return name } }

// reads calls f with each value that the step reads from memory, those of its epilogue included.
func (s *step) reads(f func(v *value)) {
	for _, v := range s.in {
		if v != nil && !v.inCache {
			f(v)
		}
	}
	for _, e := range s.epilogue {
		for _, v := range e.in {
			if v != nil && !v.inCache && !slices.Contains(s.out, v) {
				f(v)
			}
		}
	}
}

// writes calls f with each value that the step writes, those of its epilogue included.
func (s *step) writes(f func(v *value)) {
	for _, v := range s.out {
		if v != nil {
			f(v)
		}
	}
	for _, e := range s.epilogue {
		for _, v := range e.out {
			if v != nil && !v.inCache && !slices.Contains(s.out, v) {
				f(v)
			}
		}
	}
}

// newStep makes a step and enters it in the records of its values. It is not in the list yet.
func newStep(o *operation, n *graph.Node, in, out []*value) *step {
	s := &step{operation: o, node: n, in: in, out: out}
	for _, v := range in {
		if v != nil {
			v.readers = append(v.readers, s)
		}
	}
	for _, v := range out {
		if v != nil {
			v.producer = s
		}
	}
	return s
}

// add appends a step to the list.
func (c *compiler) add(s *step) *step {
	s.at = len(c.steps)
	c.steps = append(c.steps, s)
	return s
}

// read makes v operand i of the step.
func (s *step) read(i int, v *value) {
	if old := s.in[i]; old != nil {
		k := slices.Index(old.readers, s)
		old.readers = slices.Delete(old.readers, k, k+1)
	}
	s.in[i] = v
	if v != nil {
		v.readers = append(v.readers, s)
	}
}

// write makes v result i of the step.
func (s *step) write(i int, v *value) {
	if old := s.out[i]; old != nil && old.producer == s {
		old.producer = nil
	}
	s.out[i] = v
	if v != nil {
		v.producer = s
	}
}

// drop takes a step out of the list and of the records of what it reads. The step itself still
// knows its operands: a batch norm that nobody stores is computed from them by its readers.
func (c *compiler) drop(s *step) {
	for _, v := range s.in {
		if v != nil {
			k := slices.Index(v.readers, s)
			v.readers = slices.Delete(v.readers, k, k+1)
		}
	}
	c.vacate(s)
}

// vacate takes a step out of the list alone; what it reads and writes stays as it is.
func (c *compiler) vacate(s *step) { c.steps[s.at] = nil }

// settle moves a step to the place of another, which it replaces.
func (c *compiler) settle(s, other *step) {
	c.vacate(s)
	s.at = other.at
	c.steps[s.at] = s
}

// moveBefore moves a step to before an earlier one.
func (c *compiler) moveBefore(s, other *step) {
	from, to := s.at, other.at
	copy(c.steps[to+1:from+1], c.steps[to:from])
	c.steps[to] = s
	for i := to; i <= from; i++ {
		if c.steps[i] != nil {
			c.steps[i].at = i
		}
	}
}

// tidy closes the gaps in the list and numbers the steps.
func (c *compiler) tidy() {
	c.steps = slices.DeleteFunc(c.steps, func(s *step) bool { return s == nil })
	for i, s := range c.steps {
		s.at = i
		for _, e := range s.epilogue {
			e.at = i
		}
	}
}

// rewrite goes through the list and builds it anew: f may append steps with c.add, which then stand
// before the step that it was called for.
func (c *compiler) rewrite(f func(s *step)) {
	old := c.steps
	c.steps = make([]*step, 0, len(old))
	for _, s := range old {
		f(s)
		c.add(s)
	}
}
