// Package cpu is the engine that runs graphs on the processor, with kernels in Go assembly: in float32, or with activations in bfloat16.
//
// Compile plans everything: which nodes run as one (compile.go, fuse.go), how each is cut into parts, where each value
// lies (plan.go). Run walks through the list of operations that came of it and allocates nothing.
//
// Results do not depend on the number of workers: see pool. They do depend on the kernel path (Options.Path),
// since a wider vector adds in another order.
package cpu

import (
	"fmt"
	"runtime"
	"strings"
	"sync"

	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
	"moco/tensor"
)

// Options choose how an engine runs.
type Options struct {
	// Path is the kernel path: "avx512", "avx2", "neon" or "portable". Empty takes the fastest that this machine has.
	Path string
	// Workers is the number of goroutines that compute; 0 takes one for each processor that Go may use.
	Workers int
}

// Engine runs graphs on the processor. It implements engine.Engine. One Engine runs one program at a time.
type Engine struct {
	path *kernel.Path
	pool *pool
	mu   sync.Mutex // held while a program runs: the workers are shared

	winograd winogradLimits
}

// New returns an engine. An unknown or unsupported path is an error that names those this machine has.
func New(o Options) (engine.Engine, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func newEngine(o Options) (*Engine, error) {
	if o.Workers < 0 {
		return nil, fmt.Errorf("%d workers cannot compute; give 1 or more, or 0 for one a processor", o.Workers)
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	paths := kernel.Paths()
	var names []string
	for _, p := range paths {
		names = append(names, p.Name)
		if p.Name == o.Path || o.Path == "" {
			e := &Engine{path: p, pool: newPool(o.Workers), winograd: winogradLimits{images: 32, waste: 1.5}}
			// The helpers hold the pool but not the engine, so they end when nobody holds the engine.
			runtime.AddCleanup(e, (*pool).close, e.pool)
			return e, nil
		}
	}
	return nil, fmt.Errorf("kernel path %q is not one that this machine runs; it has %s", o.Path, strings.Join(names, ", "))
}

// Paths names the kernel paths that this machine runs, fastest first.
func Paths() []string {
	var names []string
	for _, p := range kernel.Paths() {
		names = append(names, p.Name)
	}
	return names
}

// Name is "cpu/" and the kernel path.
func (e *Engine) Name() string { return "cpu/" + e.path.Name }

// Workers is the number of goroutines that compute.
func (e *Engine) Workers() int { return len(e.pool.workers) }

// PeakFLOPs runs a loop of independent fused multiply-adds on every worker and returns how many floating-point operations
// it did; the caller times it. It is what `moco bench` measures everything else against.
func (e *Engine) PeakFLOPs(loops int) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	flops := make([]float64, len(e.pool.workers))
	e.pool.run(len(flops), func(_ *worker, part int) { flops[part] = e.path.PeakFLOPs(loops) })
	var sum float64
	for _, f := range flops {
		sum += f
	}
	return sum
}

// NewState returns an empty set of variables.
func (e *Engine) NewState() engine.State {
	return &state{engine: e, variables: map[string]*variable{}}
}

// variable is a value that lives between runs, in the engine's layout.
type variable struct {
	node   *graph.Node // its declaration: type and shape
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
func (s *state) Names() []string { return append([]string(nil), s.names...) }

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
	switch rows, ch := rowsOf(v.node.Shape); {
	case v.node.Type == tensor.Int32:
		copy(t.Int32s(), v.buffer.i)
	case isWeights(v.node):
		s.engine.packingOf(v.node.Shape).unpack(t.Float32s(), v.buffer.f)
	case v.buffer.half:
		row := make([]float32, channels(ch))
		for r := range rows {
			s.engine.path.Widen(row, v.buffer.h[r*len(row):(r+1)*len(row)])
			copy(t.Float32s()[r*ch:(r+1)*ch], row)
		}
	default:
		gather(t.Float32s(), v.buffer.f, rows, ch, channels(ch))
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
		return fmt.Errorf("variable %q is %v %v, but was given %v %v", name, v.node.Type, v.node.Shape, t.Type, t.Shape)
	}
	v.store()
	switch rows, ch := rowsOf(v.node.Shape); {
	case t.Type == tensor.Int32:
		copy(v.buffer.i, t.Int32s())
	case isWeights(v.node):
		s.engine.packingOf(v.node.Shape).pack(v.buffer.f, t.Float32s())
	case v.buffer.half:
		row := make([]float32, channels(ch))
		for r := range rows {
			copy(row, t.Float32s()[r*ch:(r+1)*ch])
			s.engine.path.Narrow(v.buffer.h[r*len(row):(r+1)*len(row)], row)
		}
	default:
		spread(v.buffer.f, t.Float32s(), rows, ch, channels(ch))
	}
	return nil
}

// store gives the variable memory when it has none: a program that is only planned takes none.
func (v *variable) store() {
	if v.buffer.f == nil {
		v.buffer.bind(allocate(4 * v.buffer.words))
	}
}

// bindArena returns working memory of at least n bytes; it is the same for all programs, since they never run together.
func (s *state) bindArena(n int) []byte {
	if len(s.arena) < n {
		s.arena = nil // let the old one go first
		s.arena = allocate(n)
	}
	return s.arena
}
