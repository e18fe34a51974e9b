package cpu

import (
	"errors"
	"fmt"
	"slices"

	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// compiler turns a graph into a program by the passes below.
type compiler struct {
	engine *Engine
	state  *state
	graph  *graph.Graph
	team   *team // how its replicas run

	values []*value // of all nodes and steps
	of     []*value // of each node, by its ID
	steps  []*step
	ops    []*op
	// weights are the nodes that convolutions read as weights, or that go with those.
	weights map[*graph.Node]bool

	// What the program gets: tensors that the caller fills and reads, variables, constants.
	// Variables that the state does not have yet are declared there when nothing can fail any more.
	inputs, outputs map[string]*host
	variables       []*variable
	constants       []constant
	arena           int   // bytes
	sent            int64 // bytes that a run sends to other ranks
	errs            []error
}

// constant is a value of the graph that is written once.
type constant struct {
	node   *graph.Node
	buffer *buffer
}

// write fills the rows, zeros behind each.
func (k constant) write() {
	rows, ch := rowsOf(k.node.Shape)
	a := k.node.Attr.(graph.ConstantAttr)
	for r := range rows {
		for i := range ch {
			k.buffer.row(r)[i] = float32(a.At(r*ch + i))
		}
	}
}

// pass is one stage of compiling. Passes run in the order of the table.
type pass struct {
	name, why string
	run       func(c *compiler)
}

// passes is how a graph becomes a list of operations. What is fused is decided on the list of
// steps, before anything is emitted, so each rule sees the whole program.
var passes = []pass{
	{"build", "one step for each node, or several where parts of its work can be fused apart", (*compiler).build},
	{"layout", "the rules of fusion ask whether a value is weights", (*compiler).assignLayouts},
	{"norm", "relu(normalise(x) + residual) is one pass over memory instead of three", (*compiler).fuseNorms},
	{"wise", "bias, scale, residual and GELU are one function of each value", (*compiler).fuseWise},
	{"layer", "layer norm's gradients read the same values, and what is added to one may be there",
		(*compiler).fuseLayerNorms},
	{"pair", "one reading of the activations gives two statistics, or both sums of a gradient", (*compiler).fusePairs},
	{"add", "a data gradient adds to the gradient of the other branch in place", (*compiler).fuseAdds},
	{"adam", "a step of AdamW reads and writes a parameter, its moments and its gradient once", (*compiler).fuseAdam},
	{"mask", "batch norm's gradient finds a ReLU's mask from x again, so the masked gradient is not stored",
		(*compiler).fuseMasks},
	{"way", "how each convolution is computed; what it can be fused with follows", (*compiler).chooseWays},
	{"lazy", "convolutions that lay out their inputs normalise them on the way: no pass, no memory",
		(*compiler).fuseInputs},
	{"element", "who stores bfloat16 is known when it is known which values are stored", (*compiler).assignElements},
	{"frozen", "a convolution finishes a batch norm whose statistics do not depend on it, in the cache",
		(*compiler).fuseFrozen},
	{"block", "a product finishes a block of channels while it is in the first-level cache", (*compiler).finishBlocks},
	{"again", "the backward pass computes a block's output again: a quarter of the memory for 2% of the time",
		(*compiler).computeAgain},
	{"supply", "copies in another layout or type, before the first step that needs them", (*compiler).supply},
	{"assign", "variables take their new values when nobody reads the old ones any more", (*compiler).assign},
	{"cut", "into which parts of a batch a convolution is cut, and so the sums over its output", (*compiler).cut},
	{"epilogue", "sums and masks are taken of each part of a convolution's output while it is in the cache",
		(*compiler).fuseEpilogues},
	{"emit", "steps become operations on buffers", (*compiler).emit},
	{"plan", "each buffer gets its place; copies of a value to where it lies already go", (*compiler).plan},
}

// Compile checks and plans a graph.
func (e *Engine) Compile(g *graph.Graph, s engine.State) (engine.Program, error) {
	st, ok := s.(*state)
	if !ok || st.engine != e {
		return nil, errors.New("the state is not one that this engine made; use its NewState")
	}
	c, err := e.compile(g, st, nil)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	return c.program(), nil
}

// compile runs the passes. If after is given, it is called when each pass is done; an error of it
// ends the compilation.
func (e *Engine) compile(g *graph.Graph, st *state, after func(c *compiler, p pass) error) (*compiler, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	t, err := e.teamOf(g)
	if err != nil {
		return nil, err
	}
	c := &compiler{engine: e, state: st, graph: g, inputs: map[string]*host{}, outputs: map[string]*host{}}
	c.team = t
	for _, p := range passes {
		p.run(c)
		c.tidy()
		if e.verify {
			c.errs = append(c.errs, c.check(p.name)...)
		}
		if len(c.errs) > 0 {
			return nil, errors.Join(c.errs...)
		}
		if after == nil {
			continue
		}
		if err := after(c, p); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *compiler) fail(err error) { c.errs = append(c.errs, err) }

// build makes the steps of a graph: those of its nodes, in the order in which they run, and those
// that fill the outputs.
func (c *compiler) build() {
	c.of, c.weights = make([]*value, len(c.graph.Nodes)), weightsOf(c.graph)
	for _, level := range levelsOf(c.graph) {
		for _, n := range level {
			c.buildNode(n)
			if len(c.errs) > 0 {
				return
			}
		}
		for _, n := range level {
			if n.Varies { // each replica has an output of its own
				c.output(n)
			}
		}
		c.exchange()
	}
	for _, a := range c.graph.Assignments {
		c.of[a.Value.ID].held = true
	}
	for _, o := range c.graph.Outputs {
		if c.outputs[o.Name] == nil {
			c.output(o.Node)
		}
	}
}

// buildNode makes the steps of a node.
func (c *compiler) buildNode(n *graph.Node) {
	switch n.Op {
	case graph.Detach: // another name of the same value
		c.of[n.ID] = c.of[n.In[0].ID]
		return
	case graph.Variable:
		c.declare(n)
		return
	case graph.Constant:
		v := c.newValue(n)
		v.layout, v.element, v.pinned = inRows, float32s, true
		c.of[n.ID] = v
		c.place(v)
		c.constants = append(c.constants, constant{n, v.buffer})
		return
	}
	o := c.engine.operationOf(n)
	switch {
	case o == nil:
		c.fail(fmt.Errorf("the cpu engine cannot run %v", n))
	case o.build != nil:
		o.build(c, n)
	default:
		c.add(newStep(o, n, c.operands(n), []*value{c.result(n)}))
	}
}

// output makes the steps that fill the outputs of a node.
func (c *compiler) output(n *graph.Node) {
	for _, o := range c.graph.Outputs {
		if o.Node != n {
			continue
		}
		v := c.of[n.ID]
		v.held = true
		c.outputs[o.Name] = &host{tensor.New(n.Type, engine.HostShape(n, c.team.share.Count)...), o.Name}
		c.add(newStep(outputOperation, n, []*value{v}, nil)).host = c.outputs[o.Name]
	}
}

// flops counts a run of this process.
func (c *compiler) flops() int64 {
	var all int64
	for _, n := range c.graph.Nodes {
		times := 1
		if n.Varies {
			times = c.team.share.Count
		}
		all += int64(times) * n.Cost().FLOPs
	}
	return all
}

// operands are the values that a node reads.
func (c *compiler) operands(n *graph.Node) []*value {
	in := make([]*value, len(n.In))
	for i, x := range n.In {
		in[i] = c.of[x.ID]
	}
	return in
}

// result makes the value of a node.
func (c *compiler) result(n *graph.Node) *value {
	v := c.newValue(n)
	c.of[n.ID] = v
	return v
}

// declare finds the variable of a node in the state, or makes one that the state gets in the end.
func (c *compiler) declare(n *graph.Node) {
	v := c.result(n)
	v.pinned = true
	switch {
	case n.Type == tensor.Int32:
	case n.Attr.(graph.VariableAttr).Stored == graph.BFloat16:
		v.layout, v.element = inRows, bfloat16s
	case c.weights[n]:
		v.layout, v.element = inTileOrder, float32s
	default:
		v.layout, v.element = inRows, float32s
	}
	known := c.state.variables[n.Name]
	if known != nil {
		v.layout = known.layout // of the program that named it first
	}
	if known == nil {
		c.place(v)
		c.variables = append(c.variables, &variable{name: n.Name, node: n, layout: v.layout, buffer: v.buffer})
		return
	}
	if k := known.node; k.Type != n.Type || !k.Shape.Equal(n.Shape) || known.buffer.element != v.element {
		c.fail(fmt.Errorf("variable %q is %v %v of %v in another program of this state, and %v %v of %v here",
			n.Name, k.Type, k.Shape, known.buffer.element, n.Type, n.Shape, v.element))
	}
	v.buffer = known.buffer
	c.variables = append(c.variables, known)
}

// emit makes an operation of each step.
func (c *compiler) emit() {
	for _, s := range c.steps {
		o := &op{node: s.node, kind: s.kind(), label: s.label()}
		if !s.operation.helper {
			o.cost = s.node.Cost()
		}
		s.reads(func(v *value) {
			c.place(v)
			o.varies = o.varies || v.node.Varies
			o.reads = append(o.reads, v.buffer)
		})
		s.writes(func(v *value) {
			c.place(v)
			o.varies = o.varies || v.node.Varies
			o.writes = append(o.writes, v.buffer)
		})
		for _, v := range s.in {
			if v != nil && v.inCache {
				v.buffer = s.out[0].buffer
			}
		}
		for _, e := range s.epilogue {
			if v := e.in[0]; v.inCache { // it is overwritten where the result lies
				v.buffer = s.out[0].buffer
			}
		}
		s.operation.emit(c, s, o)
		c.ops = append(c.ops, o)
	}
}

// plan places buffers, and drops copies to where a value lies already.
func (c *compiler) plan() {
	c.arena = plan(c.ops, c.team.share.Count)
	c.ops = slices.DeleteFunc(c.ops, func(o *op) bool {
		return o.assigns && o.reads[0].root() == o.writes[0].root()
	})
}
