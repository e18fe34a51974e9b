package cpu

import (
	"fmt"
	"slices"

	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// NewState returns an empty set of variables.
func (e *Engine) NewState() engine.State {
	return &state{engine: e, variables: map[string]*variable{}}
}

// variable is a value that lives between runs, in the engine's layout.
type variable struct {
	name   string
	node   *graph.Node // its declaration: type and shape
	layout layout
	buffer *buffer
}

// state holds variables and the working memory that the programs compiled against it share.
type state struct {
	engine    *Engine
	names     []string
	variables map[string]*variable
	arena     []byte
}

// Names lists the variables in the order in which programs first named them.
func (s *state) Names() []string { return slices.Clone(s.names) }

// declare enters a variable, unless it is known already.
func (s *state) declare(v *variable) {
	if s.variables[v.name] == nil {
		s.variables[v.name] = v
		s.names = append(s.names, v.name)
	}
}

func (s *state) find(name string) (*variable, error) {
	if v := s.variables[name]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("no program compiled against this state has a variable %q", name)
}

// Read returns a copy of a variable.
func (s *state) Read(name string) (*tensor.Tensor, error) {
	v, err := s.find(name)
	if err != nil {
		return nil, err
	}
	t := tensor.New(v.node.Type, v.node.Shape...)
	v.store()
	rows, ch := rowsOf(v.node.Shape)
	switch b := v.buffer; {
	case b.element == int32s:
		copy(t.Int32s(), b.i32)
	case v.layout == inTileOrder:
		s.engine.packingOf(v.node.Shape).unpack(t.Float32s(), b.f32)
	case b.element == bfloat16s:
		row := make([]float32, b.stride)
		for r := range rows {
			s.engine.path.Widen(row, b.bf16[r*b.stride:(r+1)*b.stride])
			copy(t.Float32s()[r*ch:(r+1)*ch], row)
		}
	default:
		gather(t.Float32s(), b.f32, rows, ch, b.stride)
	}
	return t, nil
}

// Write sets a variable.
func (s *state) Write(name string, t *tensor.Tensor) error {
	v, err := s.find(name)
	if err != nil {
		return err
	}
	if t.Type != v.node.Type || !t.Shape.Equal(v.node.Shape) {
		return fmt.Errorf("variable %q is %v %v, but was given %v %v",
			name, v.node.Type, v.node.Shape, t.Type, t.Shape)
	}
	v.store()
	rows, ch := rowsOf(v.node.Shape)
	switch b := v.buffer; {
	case b.element == int32s:
		copy(b.i32, t.Int32s())
	case v.layout == inTileOrder:
		s.engine.packingOf(v.node.Shape).pack(b.f32, t.Float32s())
	case b.element == bfloat16s:
		row := make([]float32, b.stride)
		for r := range rows {
			copy(row, t.Float32s()[r*ch:(r+1)*ch])
			s.engine.path.Narrow(b.bf16[r*b.stride:(r+1)*b.stride], row)
		}
	default:
		spread(b.f32, t.Float32s(), rows, ch, b.stride)
	}
	return nil
}

// store gives the variable memory when it has none: a program that is only planned takes none.
func (v *variable) store() {
	if v.buffer.raw == nil {
		v.buffer.bind(allocate(v.buffer.bytes()))
	}
}

// bindArena returns working memory of at least n bytes. It is the same for all programs, since they
// never run together.
func (s *state) bindArena(n int) []byte {
	if len(s.arena) < n {
		s.arena = nil // let the old one go first
		s.arena = allocate(n)
	}
	return s.arena
}
