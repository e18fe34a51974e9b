package cpu

import (
	"errors"
	"time"

	"moco/engine"
	"moco/tensor"
)

// program is a compiled graph.
type program struct {
	engine    *Engine
	state     *state
	inputs    map[string]*host
	outputs   map[string]*host
	ops       []*op
	buffers   []*buffer
	fixed     []constant
	variables []*variable
	arena     int    // bytes
	bound     []byte // the memory that buffers point to
	cost      engine.Cost
	profile   bool
	closed    bool
}

// Input is the tensor to fill with a named input's value; nil if the graph has no such input.
func (p *program) Input(name string) *tensor.Tensor { return tensorOf(p.inputs[name]) }

// Output is the tensor with a named output's value; nil if the graph has no such output.
func (p *program) Output(name string) *tensor.Tensor { return tensorOf(p.outputs[name]) }

func tensorOf(h *host) *tensor.Tensor {
	if h == nil {
		return nil
	}
	return h.tensor
}

// Run executes the graph once.
func (p *program) Run() error {
	if p.closed {
		return errors.New("this program is closed; compile the graph again")
	}
	p.engine.mu.Lock()
	defer p.engine.mu.Unlock()
	p.bind()
	if !p.profile {
		for _, o := range p.ops {
			for i := range o.phases {
				p.engine.pool.run(o.phases[i].parts, o.phases[i].run)
			}
		}
		return nil
	}
	for _, o := range p.ops {
		start := time.Now()
		for i := range o.phases {
			p.engine.pool.run(o.phases[i].parts, o.phases[i].run)
		}
		o.time += time.Since(start)
		o.runs++
	}
	return nil
}

// bind gives every buffer its memory. The arena may have grown for another program since the last run.
func (p *program) bind() {
	arena := p.state.bindArena(p.arena)
	if len(p.bound) > 0 && &arena[0] == &p.bound[0] {
		return
	}
	for _, v := range p.variables {
		v.store()
	}
	for _, b := range p.buffers {
		if r := b.root(); r.pinned {
			b.f, b.i, b.h = r.f[:b.words], r.i[:b.words], r.h[:2*b.words]
		} else {
			b.bind(arena[r.offset:])
		}
	}
	p.bound = arena
}

// Cost is what one run takes.
func (p *program) Cost() engine.Cost { return p.cost }

// Profile switches measuring on or off and returns what was measured since it was switched on.
func (p *program) Profile(on bool) []engine.NodeTime {
	p.profile = on
	var times []engine.NodeTime
	for _, o := range p.ops {
		if o.runs > 0 {
			times = append(times, engine.NodeTime{Node: o.node, Label: o.label, Runs: o.runs, Time: o.time, Cost: o.cost})
		}
		if on {
			o.runs, o.time = 0, 0
		}
	}
	return times
}

// Close makes the program unusable and lets go of its memory.
func (p *program) Close() error {
	p.engine.mu.Lock()
	defer p.engine.mu.Unlock()
	p.closed, p.ops, p.buffers, p.bound = true, nil, nil, nil
	return nil
}
