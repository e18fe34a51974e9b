package cpu

import (
	"fmt"
	"time"

	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// phase is work cut into parts that may run in any order and at the same time. The cut depends on shapes alone.
type phase struct {
	parts int
	run   func(w *worker, part int)
}

// serial is a phase of one part.
func serial(f func(w *worker)) phase {
	return phase{1, func(w *worker, _ int) { f(w) }}
}

// op is one step of a program: what the engine made of one node, or of several that it runs as one.
type op struct {
	node   *graph.Node
	label  string
	cost   graph.Cost
	phases []phase
	reads  []*buffer
	writes []*buffer
	// reuse names buffers read element by element, or at the same places as written: the first write may lie in one of
	// them if nobody needs it afterwards.
	reuse []*buffer

	runs int
	time time.Duration
}

// compiler turns a graph into a list of operations.
type compiler struct {
	engine *Engine
	state  *state
	graph  *graph.Graph
	users  map[*graph.Node][]*graph.Node // who reads a node
	held   map[*graph.Node]bool          // read after the run: outputs and assigned values
	fusion fusion
	values map[*graph.Node]*buffer
	again  map[*graph.Node]*buffer // values computed again for the backward pass
	halves map[*graph.Node]*buffer // copies as rows of bfloat16
	wides  map[*graph.Node]*buffer // copies as rows of 16 float32: of narrow images, of bfloat16
	affine map[*graph.Node]*affine // of a Normalise
	low    map[*graph.Node]*buffer // of a BatchMean: what rounding took from it
	parted map[*graph.Node]*parted // who writes a value part by part
	ops    []*op
	fixed  []constant
	err    error
}

// constant is a scalar that is written once.
type constant struct {
	buffer *buffer
	value  float32
}

// Compile checks and plans a graph.
func (e *Engine) Compile(g *graph.Graph, s engine.State) (engine.Program, error) {
	st, ok := s.(*state)
	if !ok || st.engine != e {
		return nil, fmt.Errorf("the state is not one that this engine made; use its NewState")
	}
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	c := &compiler{
		engine: e, state: st, graph: g,
		users:  map[*graph.Node][]*graph.Node{},
		held:   map[*graph.Node]bool{},
		values: map[*graph.Node]*buffer{},
		wides:  map[*graph.Node]*buffer{},
		halves: map[*graph.Node]*buffer{},
		again:  map[*graph.Node]*buffer{},
		affine: map[*graph.Node]*affine{},
		low:    map[*graph.Node]*buffer{},
		parted: map[*graph.Node]*parted{},
	}
	for _, n := range g.Nodes {
		for _, in := range n.In {
			c.users[in] = append(c.users[in], n)
		}
	}
	for _, a := range g.Assignments {
		c.held[a.Value] = true
	}
	for _, o := range g.Outputs {
		c.held[o.Node] = true
	}
	c.fusion = c.findFusions()
	p := &program{engine: e, state: st, inputs: map[string]*host{}, outputs: map[string]*host{}}
	for _, n := range g.Nodes {
		c.lower(p, n)
	}
	if c.err != nil {
		return nil, fmt.Errorf("compile: %w", c.err)
	}
	for _, o := range g.Outputs {
		c.programOutput(p, o)
	}
	c.assign() // last: an output may be a variable's old value
	p.ops, p.fixed = c.ops, c.fixed
	p.arena = plan(c.ops)
	p.cost = engine.Cost{FLOPs: g.Cost().FLOPs, WorkBytes: int64(p.arena)}
	for _, n := range g.Nodes {
		if n.Op == graph.Variable {
			v := st.variables[n.Name]
			p.variables = append(p.variables, v)
			p.cost.VariableBytes += int64(4 * v.buffer.words)
		}
	}
	for _, o := range p.ops {
		p.buffers = append(append(p.buffers, o.reads...), o.writes...)
	}
	for _, k := range p.fixed {
		k.buffer.bind(allocate(4 * k.buffer.words))
		k.buffer.f[0] = k.value
	}
	return p, nil
}

// declare finds or makes the variable of a node.
func (c *compiler) declare(n *graph.Node) *buffer {
	if v := c.state.variables[n.Name]; v != nil {
		if v.node.Type != n.Type || !v.node.Shape.Equal(n.Shape) || v.node.Attr != n.Attr {
			c.fail(fmt.Errorf("variable %q is %v %v in another program of this state, and %v %v here", n.Name, v.node.Type, v.node.Shape, n.Type, n.Shape))
		}
		return v.buffer
	}
	b := c.newBuffer(n)
	if n.Attr.(graph.VariableAttr).Stored == graph.BFloat16 {
		if isWeights(n) {
			c.fail(fmt.Errorf("the cpu engine cannot keep %v as bfloat16", n))
		}
		b.half, b.words = true, b.words/2
	}
	b.pinned = true
	c.state.variables[n.Name] = &variable{node: n, buffer: b}
	c.state.names = append(c.state.names, n.Name)
	return b
}

func (c *compiler) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// newBuffer makes a place for a node's value in the engine's layout.
func (c *compiler) newBuffer(n *graph.Node) *buffer {
	rows, ch := rowsOf(n.Shape)
	b := &buffer{}
	switch {
	case n.Type == tensor.Int32:
		b.stride = ch
		b.words = roundUp(rows*ch, lanes)
	case isWeights(n):
		b.words = c.engine.packingOf(n.Shape).floats()
		b.stride = b.words
	case isImage(n):
		b.stride = imageChannels(ch)
		b.words = roundUp(rows*b.stride, lanes)
	default:
		b.stride = channels(ch)
		b.words = rows * b.stride
	}
	return b
}

// isImage is true of values whose rows may be narrower than 16 floats: images given as inputs, also after a shuffle.
func isImage(n *graph.Node) bool {
	switch n.Op {
	case graph.Input:
		return len(n.Shape) == 4 && n.Type == tensor.Float32
	case graph.GatherRows, graph.Rows, graph.Detach:
		return isImage(n.In[0])
	}
	return false
}

// stored is the buffer of an operand as rows of a multiple of 16 values, of bfloat16 if that is how they lie in memory.
func (c *compiler) stored(n *graph.Node) *buffer {
	if b := c.values[n]; b.half {
		return b
	}
	return c.value(n)
}

// storedLike is stored, in the storage of another buffer: what one call of a kernel reads is all float32 or all bfloat16.
func (c *compiler) storedLike(n *graph.Node, like *buffer) *buffer {
	if !like.half {
		return c.value(n)
	}
	b := c.stored(n)
	if b.half {
		return b
	}
	if h := c.halves[n]; h != nil {
		return h
	}
	h := &buffer{stride: b.stride, words: b.words / 2, half: true}
	c.halves[n] = h
	c.emit(&op{node: n, label: "Narrow", reads: []*buffer{b}, writes: []*buffer{h}, phases: []phase{cut(b.words, elementsEach, func(_ *worker, lo, hi int) {
		c.engine.path.Narrow(h.h[lo:hi], b.f[lo:hi])
	})}})
	return h
}

// activations makes the buffer of a node's value, in bfloat16 if the graph asks for that. Values that are no activations stay float32: see graph.Precision.
func (c *compiler) activations(n *graph.Node) *buffer {
	return c.resultLike(n, &buffer{half: c.graph.Precision == graph.BFloat16 && n.Activation})
}

// resultLike makes the buffer of a node's value, stored like another one.
func (c *compiler) resultLike(n *graph.Node, like *buffer) *buffer {
	b := c.result(n)
	if like.half {
		b.half = true
		b.words /= 2
	}
	return b
}

// value is the buffer of an operand as rows of a multiple of 16 float32, which is what nearly every node has anyway.
func (c *compiler) value(n *graph.Node) *buffer {
	b := c.values[n]
	if n.Type != tensor.Float32 || !b.half && !isWeights(n) && b.stride%lanes == 0 {
		return b
	}
	if w := c.wides[n]; w != nil {
		return w
	}
	rows, ch := rowsOf(n.Shape)
	w := &buffer{stride: channels(ch), words: rows * channels(ch)}
	c.wides[n] = w
	if isWeights(n) {
		packing := c.engine.packingOf(n.Shape)
		c.emit(&op{node: n, label: "Unpack", reads: []*buffer{b}, writes: []*buffer{w}, phases: []phase{serial(func(*worker) {
			plain := make([]float32, n.Shape.Elements())
			packing.unpack(plain, b.f)
			spread(w.f, plain, rows, ch, w.stride)
		})}})
		return w
	}
	if b.half {
		c.emit(&op{node: n, label: "Widen", reads: []*buffer{b}, writes: []*buffer{w}, phases: []phase{cut(w.words, elementsEach, func(_ *worker, lo, hi int) {
			c.engine.path.Widen(w.f[lo:hi], b.h[lo:hi])
		})}})
		return w
	}
	c.emit(&op{node: n, label: "Widen", reads: []*buffer{b}, writes: []*buffer{w}, phases: []phase{
		cut(rows, 1024, func(_ *worker, lo, hi int) {
			for r := lo; r < hi; r++ {
				row := w.f[r*w.stride : (r+1)*w.stride]
				copy(row, b.f[r*b.stride:(r+1)*b.stride])
				clear(row[b.stride:])
			}
		}),
	}})
	return w
}

// packed is the buffer of an operand in the order of convolution weights. Weights that are no variable or made of one are
// packed here; no step has such, so this is not made fast.
func (c *compiler) packed(n *graph.Node) *buffer {
	if isWeights(n) {
		return c.values[n]
	}
	b := c.value(n)
	packing := c.engine.packingOf(n.Shape)
	w := &buffer{words: packing.floats(), stride: packing.floats()}
	rows, ch := rowsOf(n.Shape)
	c.emit(&op{node: n, label: "Pack", reads: []*buffer{b}, writes: []*buffer{w}, phases: []phase{serial(func(*worker) {
		plain := make([]float32, n.Shape.Elements())
		gather(plain, b.f, rows, ch, b.stride)
		packing.pack(w.f, plain)
	})}})
	return w
}

// as is the buffer of an operand in the layout that n has.
func (c *compiler) as(n, operand *graph.Node) *buffer {
	if isWeights(n) {
		return c.packed(operand)
	}
	return c.value(operand)
}

func (c *compiler) emit(o *op) {
	if o.label == "" {
		o.label = o.node.Op.String()
	}
	c.ops = append(c.ops, o)
}

// cut makes a phase over 0..n-1 in runs of `each`.
func cut(n, each int, f func(w *worker, lo, hi int)) phase {
	return phase{(n + each - 1) / each, func(w *worker, part int) {
		f(w, part*each, min((part+1)*each, n))
	}}
}

// elementsEach is how many floats a part of an elementwise operation takes: 64 KB, which leaves room for several operands in
// a second-level cache, and keeps a kernel's call in the order of ten microseconds.
const elementsEach = 1 << 14

// lower makes the operations of one node, unless another node's operation does its work.
func (c *compiler) lower(p *program, n *graph.Node) {
	switch n.Op {
	case graph.Input:
		c.programInput(p, n)
		return
	case graph.Variable:
		c.values[n] = c.declare(n) // again, if an operation before it has asked for it
		return
	case graph.Fill:
		b := c.newBuffer(n)
		b.pinned = true
		c.values[n] = b
		c.fixed = append(c.fixed, constant{b, float32(n.Attr.(graph.FillAttr).Value)})
		return
	case graph.Detach:
		c.values[n] = c.values[n.In[0]]
		return
	}
	if c.fusion.absorbed[n] {
		return
	}
	f, ok := lowerings[n.Op]
	if !ok {
		c.fail(fmt.Errorf("the cpu engine cannot run %v", n))
		return
	}
	f(c, n)
}

// lowerings has one line for each node kind that computes.
var lowerings map[graph.Op]func(c *compiler, n *graph.Node)

func init() { // a table that refers to functions that refer to it
	lowerings = map[graph.Op]func(c *compiler, n *graph.Node){
		graph.WeightedSum:        (*compiler).weightedSum,
		graph.Conv:               (*compiler).conv,
		graph.ConvGradInput:      (*compiler).convGradInput,
		graph.ConvGradWeight:     (*compiler).convGradWeight,
		graph.BatchMean:          (*compiler).batchStatistics,
		graph.BatchVariance:      (*compiler).batchStatistics,
		graph.Normalise:          (*compiler).normalise,
		graph.ChannelSum:         (*compiler).channelSum,
		graph.ChannelDot:         (*compiler).channelDot,
		graph.BatchNormGradInput: (*compiler).batchNormGradInput,
		graph.SplitSum:           (*compiler).splitSum,
		graph.ReLU:               (*compiler).relu,
		graph.ReLUGrad:           (*compiler).reluGrad,
		graph.MaxPool:            (*compiler).maxPool,
		graph.MaxPoolGrad:        (*compiler).maxPoolGrad,
		graph.AveragePool:        (*compiler).averagePool,
		graph.AveragePoolGrad:    (*compiler).averagePoolGrad,
		graph.MatMul:             (*compiler).matMul,
		graph.BiasAdd:            (*compiler).biasAdd,
		graph.L2Normalise:        (*compiler).l2Normalise,
		graph.L2NormaliseGrad:    (*compiler).l2NormaliseGrad,
		graph.RowDot:             (*compiler).rowDot,
		graph.RowSum:             (*compiler).rowSum,
		graph.ScaleRows:          (*compiler).scaleRows,
		graph.InfoNCE:            (*compiler).infoNCE,
		graph.InfoNCEGrad:        (*compiler).infoNCEGrad,
		graph.ContrastAccuracy:   (*compiler).contrastAccuracy,
		graph.GatherRows:         (*compiler).gatherRows,
		graph.WriteRows:          (*compiler).writeRows,
		graph.Advance:            (*compiler).advance,
		graph.Rows:               (*compiler).rows,
		graph.RowsGrad:           (*compiler).rowsGrad,
		graph.Concat:             (*compiler).concat,
		graph.ReplaceRows:        (*compiler).replaceRows,
		graph.GatherDot:          (*compiler).gatherDot,
		graph.GatherDotGrad:      (*compiler).gatherDotGrad,
		graph.CrossEntropy:       (*compiler).crossEntropy,
		graph.CrossEntropyGrad:   (*compiler).crossEntropyGrad,
		graph.LabelAccuracy:      (*compiler).labelAccuracy,
		graph.NCE:                (*compiler).nce,
		graph.NCEGrad:            (*compiler).nceGrad,
		graph.Partition:          (*compiler).partition,
		graph.TrustRatio:         (*compiler).trustRatio,
	}
}

// result makes the buffer of a node's value.
func (c *compiler) result(n *graph.Node) *buffer {
	b := c.newBuffer(n)
	c.values[n] = b
	return b
}

// assign makes values variables. A value that was computed into the variable's own place needs nothing (plan.go decides
// after this, from the reads listed here); others are copied at the end, all of them after every read.
func (c *compiler) assign() {
	var copies []*op
	for _, a := range c.graph.Assignments {
		variable := c.values[a.Variable]
		var value *buffer
		if variable.half {
			value = c.storedLike(a.Value, variable)
		} else {
			value = c.as(a.Variable, a.Value)
		}
		if value == variable {
			continue
		}
		if value.pinned { // another variable: its old value must survive until all are read
			kept := &buffer{words: value.words, stride: value.stride, half: value.half}
			c.emit(copyOp(a.Value, kept, value))
			value = kept
		}
		copies = append(copies, copyOp(a.Value, variable, value))
	}
	c.ops = append(c.ops, copies...)
}

// copyOp copies a value, unless it lies there already.
func copyOp(n *graph.Node, dst, src *buffer) *op {
	return &op{node: n, label: "Assign", reads: []*buffer{src}, writes: []*buffer{dst}, phases: []phase{
		cut(dst.words, 4*elementsEach, func(_ *worker, lo, hi int) {
			if dst.root() != src.root() {
				copy(dst.i[lo:hi], src.i[lo:hi])
			}
		}),
	}}
}

// host is a tensor that the caller fills or reads.
type host struct {
	tensor *tensor.Tensor
	node   *graph.Node
}

func (c *compiler) programInput(p *program, n *graph.Node) {
	h := &host{tensor.New(n.Type, n.Shape...), n}
	p.inputs[n.Name] = h
	b := c.result(n)
	rows, ch := rowsOf(n.Shape)
	c.emit(&op{node: n, writes: []*buffer{b}, phases: []phase{cut(rows, 4096, func(_ *worker, lo, hi int) {
		if n.Type == tensor.Int32 {
			copy(b.i[lo*ch:hi*ch], h.tensor.Int32s()[lo*ch:hi*ch])
			return
		}
		spread(b.f[lo*b.stride:], h.tensor.Float32s()[lo*ch:], hi-lo, ch, b.stride)
	})}})
}

func (c *compiler) programOutput(p *program, o graph.Output) {
	h := &host{tensor.New(o.Node.Type, o.Node.Shape...), o.Node}
	p.outputs[o.Name] = h
	b := c.values[o.Node]
	if b.half {
		b = c.value(o.Node)
	}
	rows, ch := rowsOf(o.Node.Shape)
	if isWeights(o.Node) {
		packing := c.engine.packingOf(o.Node.Shape)
		c.emit(&op{node: o.Node, label: "Output", reads: []*buffer{b}, phases: []phase{serial(func(*worker) { packing.unpack(h.tensor.Float32s(), b.f) })}})
		return
	}
	c.emit(&op{node: o.Node, label: "Output", reads: []*buffer{b}, phases: []phase{cut(rows, 4096, func(_ *worker, lo, hi int) {
		if o.Node.Type == tensor.Int32 {
			copy(h.tensor.Int32s()[lo*ch:hi*ch], b.i[lo*ch:hi*ch])
			return
		}
		gather(h.tensor.Float32s()[lo*ch:], b.f[lo*b.stride:], hi-lo, ch, b.stride)
	})}})
}
