// Package cpu is the engine that runs graphs on the processor, with kernels in Go assembly: in
// float32, or with activations in bfloat16.
//
// Compile turns a graph into a list of operations by a table of passes (compile.go): steps, what is
// fused with what, copies, cuts, operations, places in memory. Each pass works on the list that the
// one before left, and Engine.Explain prints it. Run walks through the operations and allocates
// nothing.
//
// A node kind has an entry in the table of its family (conv.go, norm.go, matrix.go, ...). One
// without an entry runs by its definition in package reference, slowly.
//
// Results do not depend on the number of workers: see pool. They do depend on the kernel path
// (Options.Path), since a wider vector adds in another order.
package cpu

import (
	"fmt"
	"runtime"
	"strings"
	"sync"

	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/internal/sys"
	"moco/ranks"
)

// Options choose how an engine runs.
type Options struct {
	// Path is the kernel path, one of AllPaths. Empty takes the fastest that this machine has.
	Path string
	// Workers is the number of goroutines that compute; 0 takes one for each processor that Go may
	// use.
	Workers int
	// Group is the ranks that compute the replicas of a graph together with this process; nil: there
	// are no others.
	Group ranks.Group
}

// Engine runs graphs on the processor. It implements engine.Engine. One Engine runs one program at
// a time.
type Engine struct {
	path  *kernel.Path
	pool  *pool
	group ranks.Group
	mu    sync.Mutex // held while a program runs: the workers are shared

	winograd winogradLimits
	cache    int // bytes of a worker's second-level cache

	verify       bool // tests: check what every pass leaves
	byDefinition bool // tests: run every node by its definition
}

// New returns an engine. An unknown or unsupported path is an error that names those this machine
// has.
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
	if o.Group == nil {
		o.Group = ranks.Alone{}
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	paths := kernel.Paths()
	var names []string
	for _, p := range paths {
		names = append(names, p.Name)
		if p.Name == o.Path || o.Path == "" {
			e := &Engine{path: p, pool: newPool(o.Workers), group: o.Group}
			e.winograd = winogradLimits{images: 32, waste: 1.5}
			e.cache = workerCache(sys.SecondLevelCache())
			// The helpers hold the pool but not the engine, so they end when nobody holds the
			// engine.
			runtime.AddCleanup(e, (*pool).close, e.pool)
			return e, nil
		}
	}
	return nil, fmt.Errorf("kernel path %q is not one that this machine runs; it has %s", o.Path, strings.Join(names, ", "))
}

// usualCache is the second-level cache, in bytes, that constants were chosen for. What decides about
// sums follows it on every machine.
const usualCache = 1 << 20

// workerCache is the cache that work is blocked for, if a processor has so many bytes; 0 is not known.
// More than the usual gained nothing (Zen 5, 1x1 convolutions in parts of twice its cache).
func workerCache(bytes int64) int {
	if bytes == 0 {
		return usualCache
	}
	return int(min(max(bytes, 128<<10), usualCache))
}

// Paths names the kernel paths that this machine runs, fastest first.
func Paths() []string {
	var names []string
	for _, p := range kernel.Paths() {
		names = append(names, p.Name)
	}
	return names
}

// AllPaths names the kernel paths that there are, on any machine.
func AllPaths() []string { return kernel.AllPaths() }

// Name is "cpu/" and the kernel path.
func (e *Engine) Name() string { return "cpu/" + e.path.Name }

// Share says which of so many replicas this process computes.
func (e *Engine) Share(replicas int) (ranks.Share, error) { return ranks.ShareOf(e.group, replicas) }

// Workers is the number of goroutines that compute.
func (e *Engine) Workers() int { return len(e.pool.workers) }

// PeakFLOPs runs a loop of independent fused multiply-adds on every worker and returns how many
// floating-point operations it did; the caller times it. `moco bench` measures everything else
// against it.
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
