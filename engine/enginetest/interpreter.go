// Package enginetest says what every engine must do: an interpreter that runs graphs by the float64
// definitions of package reference, and a suite (Run) that compares an engine with it. The suite's
// cases stand in a file for each family of operations.
package enginetest

import (
	"errors"
	"fmt"

	"moco/engine"
	"moco/engine/reference"
	"moco/graph"
	"moco/ranks"
	"moco/tensor"
)

// Interpreter is the engine that runs every node by its definition, in float64, one after the
// other. It computes all replicas of a graph, node by node.
type Interpreter struct{}

// New returns the interpreter.
func New() engine.Engine { return Interpreter{} }

// Name is "interpreter".
func (Interpreter) Name() string { return "interpreter" }

// NewState returns an empty set of variables.
func (Interpreter) NewState() engine.State { return &State{values: map[string]*reference.Value{}} }

// Share is all replicas.
func (Interpreter) Share(replicas int) (ranks.Share, error) {
	return ranks.ShareOf(ranks.Alone{}, replicas)
}

// State is the interpreter's variables, kept in float64 between runs.
type State struct {
	names  []string
	values map[string]*reference.Value
}

// Names lists the variables in the order of their declaration.
func (s *State) Names() []string { return append([]string(nil), s.names...) }

// Read returns a variable, rounded.
func (s *State) Read(name string) (*tensor.Tensor, error) {
	v := s.values[name]
	if v == nil {
		return nil, fmt.Errorf("no variable %q", name)
	}
	t := tensor.New(v.Type(), v.Shape()...)
	v.Write(t)
	return t, nil
}

// Float64s is a variable's own storage; nil if there is no such variable. Reference tests read and
// write it, to compare in full precision.
func (s *State) Float64s(name string) []float64 {
	if v := s.values[name]; v != nil {
		return v.Float64s()
	}
	return nil
}

// Write sets a variable.
func (s *State) Write(name string, t *tensor.Tensor) error {
	v := s.values[name]
	if v == nil {
		return fmt.Errorf("no variable %q", name)
	}
	if v.Type() != t.Type || !v.Shape().Equal(t.Shape) {
		return fmt.Errorf("variable %q is %v %v, but was given %v %v", name, v.Type(), v.Shape(), t.Type, t.Shape)
	}
	v.Read(t)
	return nil
}

// Program is a graph ready for interpretation.
type Program struct {
	graph   *graph.Graph
	state   *State
	inputs  map[string]*tensor.Tensor
	wide    map[string][]float64 // inputs in full precision, where given
	outputs map[string]*tensor.Tensor
	last    map[string]*reference.Value // by output
	cost    engine.Cost
}

// Compile checks the graph and declares its variables.
func (Interpreter) Compile(g *graph.Graph, s engine.State) (engine.Program, error) {
	st, ok := s.(*State)
	if !ok {
		return nil, errors.New("the state is not the interpreter's; use its NewState")
	}
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	p := &Program{
		graph: g, state: st,
		inputs: map[string]*tensor.Tensor{}, wide: map[string][]float64{}, outputs: map[string]*tensor.Tensor{},
	}
	p.cost.FLOPs = g.Cost().FLOPs
	if err := st.declare(g); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	for _, n := range g.Nodes {
		size := int64(8 * n.Shape.Elements())
		switch n.Op {
		case graph.Input:
			p.inputs[n.Name] = tensor.New(n.Type, engine.HostShape(n, g.Replicas)...)
			p.cost.WorkBytes += size
		case graph.Variable:
			p.cost.VariableBytes += size
		default:
			p.cost.WorkBytes += size
		}
	}
	for _, o := range g.Outputs {
		p.outputs[o.Name] = tensor.New(o.Node.Type, engine.HostShape(o.Node, g.Replicas)...)
	}
	return p, nil
}

// declare enters the variables of a graph, all or none.
func (s *State) declare(g *graph.Graph) error {
	for _, n := range g.Nodes {
		v := s.values[n.Name]
		if n.Op == graph.Variable && v != nil && (v.Type() != n.Type || !v.Shape().Equal(n.Shape)) {
			return fmt.Errorf("variable %q is %v %v in another program, and %v here", n.Name, v.Type(), v.Shape(), n)
		}
	}
	for _, n := range g.Nodes {
		if n.Op == graph.Variable && s.values[n.Name] == nil {
			s.names = append(s.names, n.Name)
			s.values[n.Name] = reference.NewValue(n.Type, n.Shape)
		}
	}
	return nil
}

// Input is the tensor of an input.
func (p *Program) Input(name string) *tensor.Tensor { return p.inputs[name] }

// SetFloat64s gives an input in full precision, instead of what its tensor holds.
func (p *Program) SetFloat64s(name string, x []float64) { p.wide[name] = x }

// Output is the tensor of an output.
func (p *Program) Output(name string) *tensor.Tensor { return p.outputs[name] }

// Float64s is an output of the last run in full precision.
func (p *Program) Float64s(name string) []float64 {
	if v := p.last[name]; v != nil {
		return v.Float64s()
	}
	return nil
}

// Run interprets the graph.
func (p *Program) Run() error {
	replicas := max(1, p.graph.Replicas)
	values := make([][]*reference.Value, len(p.graph.Nodes)) // by node and replica
	for id, n := range p.graph.Nodes {
		values[id] = make([]*reference.Value, replicas)
		for r := range replicas {
			if r > 0 && !n.Varies {
				values[id][r] = values[id][0]
			} else {
				values[id][r] = reference.NewValue(n.Type, n.Shape)
			}
		}
		if err := p.compute(n, values); err != nil {
			return err
		}
	}
	for _, a := range p.graph.Assignments {
		copy(p.state.values[a.Variable.Name].Float64s(), values[a.Value.ID][0].Float64s())
	}
	p.last = map[string]*reference.Value{}
	for _, o := range p.graph.Outputs {
		all := values[o.Node.ID][0]
		if o.Node.Varies {
			all = below(values[o.Node.ID], p.outputs[o.Name].Shape)
		}
		p.last[o.Name] = all
		all.Write(p.outputs[o.Name])
	}
	return nil
}

// compute gives a node its values: one, or one for each replica.
func (p *Program) compute(n *graph.Node, values [][]*reference.Value) error {
	y := values[n.ID]
	switch n.Op {
	case graph.Input:
		p.readInput(n, y)
		return nil
	case graph.Variable:
		copy(y[0].Float64s(), p.state.values[n.Name].Float64s()) // assignments come later, all at once
		return nil
	}
	in := make([][]*reference.Value, len(y))
	for r := range in {
		for _, x := range n.In {
			in[r] = append(in[r], values[x.ID][r])
		}
	}
	if !n.Varies && !graph.Collective(n.Op) {
		return reference.Compute(n, in[0], y[0])
	}
	return reference.ComputeReplicas(n, in, y)
}

// readInput takes an input from its tensor, or as it was given in full precision. Where it varies,
// each replica takes its own rows.
func (p *Program) readInput(n *graph.Node, y []*reference.Value) {
	all := reference.NewValue(n.Type, p.inputs[n.Name].Shape)
	if x, ok := p.wide[n.Name]; ok {
		copy(all.Float64s(), x)
	} else {
		all.Read(p.inputs[n.Name])
	}
	for r, v := range y {
		if each := len(v.Float64s()); n.Varies {
			copy(v.Float64s(), all.Float64s()[r*each:])
		} else {
			copy(v.Float64s(), all.Float64s())
		}
	}
}

// below puts the rows of all replicas below each other.
func below(values []*reference.Value, shape tensor.Shape) *reference.Value {
	all := reference.NewValue(values[0].Type(), shape)
	for r, v := range values {
		copy(all.Float64s()[r*len(v.Float64s()):], v.Float64s())
	}
	return all
}

// Cost counts every value as alive at once.
func (p *Program) Cost() engine.Cost { return p.cost }

// Profile measures nothing.
func (p *Program) Profile(bool) []engine.NodeTime { return nil }

// Close does nothing.
func (p *Program) Close() error { return nil }
