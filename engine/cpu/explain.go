package cpu

import (
	"fmt"
	"strings"

	"moco/graph"
)

// Stage is what a pass of the compiler left, for people.
type Stage struct {
	Pass string
	Why  string // the pass is there
	Text string // one line a step: its place, its work, what it reads and writes, its bytes and FLOPs
}

// Explain compiles a graph and returns what each pass left of it, in order.
func (e *Engine) Explain(g *graph.Graph) ([]Stage, error) {
	var stages []Stage
	st := &state{engine: e, variables: map[string]*variable{}}
	_, err := e.compile(g, st, func(c *compiler, p pass) error {
		stages = append(stages, Stage{Pass: p.name, Why: p.why, Text: c.text()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	return stages, nil
}

// text is the list of steps or, when there are some, of operations.
func (c *compiler) text() string {
	var b strings.Builder
	if len(c.ops) > 0 {
		for i, o := range c.ops {
			fmt.Fprintf(&b, "%4d  %s", i, o.label)
			for _, p := range o.phases {
				fmt.Fprintf(&b, " [%d]", p.parts)
			}
			fmt.Fprintf(&b, " (%s)", o.text())
			writeCost(&b, o.cost)
		}
		fmt.Fprintf(&b, "arena of %s\n", size(c.arena))
		return b.String()
	}
	for i, s := range c.steps {
		fmt.Fprintf(&b, "%4d  %s", i, s.label())
		b.WriteString(" (")
		s.reads(func(v *value) { fmt.Fprintf(&b, " %v", v) })
		b.WriteString(" ->")
		s.writes(func(v *value) { fmt.Fprintf(&b, " %v", v) })
		if s.variable != nil {
			fmt.Fprintf(&b, " %v", s.variable)
		}
		b.WriteString(" )")
		if !s.operation.helper {
			writeCost(&b, s.node.Cost())
		} else {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// writeCost ends a line with a cost, if there is one.
func writeCost(b *strings.Builder, c graph.Cost) {
	if c.FLOPs > 0 || c.Bytes > 0 {
		fmt.Fprintf(b, "  %d FLOPs, %s", c.FLOPs, size(int(c.Bytes)))
	}
	b.WriteString("\n")
}

// text is where the buffers of an operation lie: in the arena, or in memory of their own.
func (o *op) text() string {
	var b strings.Builder
	list := func(buffers []*buffer) {
		for _, x := range buffers {
			r := x.root()
			if r.pinned {
				fmt.Fprintf(&b, " own:%s", size(x.bytes()))
			} else {
				fmt.Fprintf(&b, " %d:%s", r.offset, size(x.bytes()))
			}
		}
	}
	list(o.reads)
	b.WriteString(" ->")
	list(o.writes)
	b.WriteString(" ")
	return strings.TrimPrefix(b.String(), " ")
}

// size is a number of bytes for people.
func size(n int) string {
	if n >= 10<<10 {
		return fmt.Sprintf("%d KB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// String is a value's number, name, form and size: "%3 conv1 weights f32".
func (v *value) String() string {
	s := fmt.Sprintf("%%%d", v.id)
	if v.node.Name != "" && v.pinned {
		s += " " + v.node.Name
	}
	return fmt.Sprintf("%s:%v:%v", s, v.layout, v.element)
}
