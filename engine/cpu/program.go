package cpu

import (
	"errors"
	"fmt"
	"slices"
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
	team      *team
	stretches []turns
	buffers   []*buffer
	variables []*variable
	arena     int    // bytes
	bound     []byte // the memory that buffers point to
	floats    int    // scratch memory of each worker: see worker
	sums      int
	cost      engine.Cost
	profile   bool
	closed    bool
}

// program makes a program of what the passes left, and declares its variables in the state.
func (c *compiler) program() *program {
	p := &program{
		engine: c.engine, state: c.state, inputs: c.inputs, outputs: c.outputs,
		ops: c.ops, variables: c.variables, arena: c.arena, team: c.team, stretches: turnsOf(c.ops, c.team.share.Count),
	}
	p.cost.SentBytes = c.sent
	for _, v := range p.variables {
		c.state.declare(v)
		p.cost.VariableBytes += int64(v.buffer.bytes())
	}
	for _, k := range c.constants {
		k.buffer.bind(allocate(k.buffer.bytes()))
		k.write()
		p.cost.WorkBytes += int64(k.buffer.bytes())
	}
	for _, o := range p.ops {
		p.buffers = append(append(p.buffers, o.reads...), o.writes...)
		p.floats, p.sums = max(p.floats, o.floats), max(p.sums, o.sums)
		p.cost.WorkBytes += int64(o.tables)
	}
	for _, tensors := range []map[string]*host{p.inputs, p.outputs} {
		for _, h := range tensors {
			p.cost.WorkBytes += int64(len(h.tensor.Bytes()))
		}
	}
	p.cost.FLOPs = c.flops()
	p.cost.WorkBytes += int64(p.arena + 4*(p.floats+p.sums)*c.engine.Workers())
	return p
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
	for _, s := range p.stretches {
		for turn := range s.turns {
			p.takeTurn(s, turn)
			for _, o := range p.ops[s.from : s.to+1] {
				if err := p.do(o); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// do runs one operation.
func (p *program) do(o *op) error {
	var start time.Time
	if p.profile {
		start = time.Now()
	}
	p.engine.pool.runPhases(o.phases)
	if o.message != nil {
		if err := o.message.exchange(p.engine.pool); err != nil {
			return fmt.Errorf("exchange with the other ranks: %w", err)
		}
	}
	if p.profile {
		o.time += time.Since(start)
		o.runs++
	}
	return nil
}

// turns is a stretch of a program and how many replicas go through it.
type turns struct {
	stretch
	turns    int
	separate []*buffer // those that have a place for each
}

// turnsOf divides a program into what replicas do in turns and what is done once.
func turnsOf(ops []*op, count int) []turns {
	var all []turns
	next := 0
	until := func(to int) {
		if to >= next {
			all = append(all, turns{stretch{next, to}, 1, nil})
		}
	}
	if count > 1 {
		for _, r := range repeatedIn(ops) {
			until(r.from - 1)
			t := turns{r, count, nil}
			for _, o := range ops[r.from : r.to+1] {
				for _, b := range slices.Concat(o.reads, o.writes) {
					if b.places > 1 && !slices.Contains(t.separate, b) {
						t.separate = append(t.separate, b)
					}
				}
			}
			all, next = append(all, t), r.to+1
		}
	}
	until(len(ops) - 1)
	return all
}

// takeTurn makes it a replica's turn.
func (p *program) takeTurn(s turns, turn int) {
	p.team.turn = turn
	for _, b := range s.separate {
		b.bind(p.bound[b.offset+turn*b.bytes():])
	}
}

// bind gives every buffer its memory. The arena may have grown for another program since the last
// run.
func (p *program) bind() {
	p.engine.pool.reserve(p.floats, p.sums)
	arena := p.state.bindArena(p.arena)
	if len(p.bound) > 0 && &arena[0] == &p.bound[0] {
		return
	}
	for _, v := range p.variables {
		v.store()
	}
	for _, b := range p.buffers {
		switch r := b.root(); {
		case r == b && r.pinned: // bound already
		case r.pinned:
			b.bind(r.raw)
		default:
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
			times = append(times, engine.NodeTime{
				Node: o.node, Kind: o.kind, Label: o.label, Runs: o.runs, Time: o.time, Cost: o.cost,
			})
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
