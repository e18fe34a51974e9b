package cpu

import (
	"errors"
	"testing"

	"moco/graph"
)

// TestCheckFindsFaults breaks what a pass left and expects the checker to say so.
func TestCheckFindsFaults(t *testing.T) {
	convolution := func(c *compiler) *step {
		for _, s := range c.steps {
			if s.inParts() && len(s.epilogue) > 0 {
				return s
			}
		}
		return nil
	}
	for name, fault := range map[string]struct {
		after string
		make  func(c *compiler)
	}{
		"a step before what it reads": {"build", func(c *compiler) {
			c.steps[0], c.steps[1] = c.steps[1], c.steps[0]
			c.tidy()
		}},
		"a place that is not the step's":         {"pair", func(c *compiler) { c.steps[3].at = 0 }},
		"a reader that the record does not name": {"add", func(c *compiler) { c.steps[1].in[0].readers = nil }},
		"a value written twice": {"mask", func(c *compiler) {
			c.steps[2].out[0] = c.steps[1].out[0]
		}},
		"a value without a type": {"element", func(c *compiler) { c.steps[1].out[0].element = noElement }},
		"a form that cannot be read": {"supply", func(c *compiler) {
			c.of[len(c.of)-1].layout = inImages
			for _, v := range c.values {
				if v.layout == inRows && v.element == float32s && !v.pinned {
					v.element = bfloat16s
				}
			}
		}},
		"parts that leave pixels out": {"cut", func(c *compiler) {
			for _, s := range c.steps {
				if s.inParts() {
					s.conv.pixels.bounds[len(s.conv.pixels.bounds)-1]--
				}
			}
		}},
		"sums cut otherwise": {"epilogue", func(c *compiler) {
			e := convolution(c).epilogue[0]
			e.sums.cut = newSplit(e.sums.cut.bounds[e.sums.cut.all()], 1, 1)
		}},
		"an overwritten value that another reads": {"epilogue", func(c *compiler) {
			s := convolution(c)
			s.out[0].inCache = true
			s.out[0].held = true
		}},
		"two buffers in one place": {"plan", func(c *compiler) {
			for _, o := range c.ops {
				for _, b := range o.writes {
					b.root().offset = 0
				}
			}
		}},
		"a buffer behind the arena": {"plan", func(c *compiler) { c.arena = 64 }},
	} {
		t.Run(name, func(t *testing.T) {
			e := verified(t, Options{Path: "portable", Workers: 1})
			g := graph.New()
			block(g, 32, false)
			st := &state{engine: e, variables: map[string]*variable{}}
			tried := errors.New("tried") // a broken program is compiled no further
			_, err := e.compile(g, st, func(c *compiler, p pass) error {
				if p.name != fault.after {
					return nil
				}
				fault.make(c)
				if len(c.check(p.name)) == 0 {
					t.Error("the checker found nothing")
				}
				return tried
			})
			if !errors.Is(err, tried) {
				t.Errorf("the fault was not made: %v", err)
			}
		})
	}
}
