package cpu

import (
	"runtime"
	"sync/atomic"

	"moco/engine/cpu/internal/kernel"
)

// worker is what one worker owns: argument blocks, and scratch memory. (The blocks are kept here
// because a pointer handed to a kernel through a function value would escape, once a call.)
type worker struct {
	tile      kernel.TileArgs
	grad      kernel.GradArgs
	transform kernel.Transform
	scratch   []float32
	row       []float32
}

// floats returns n floats of the worker's own, with whatever they held before. An operation must
// have asked for as many: see op.needs.
func (w *worker) floats(n int) []float32 { return w.scratch[:n] }

// sums is like floats, for a row of channels beside them: see op.sums.
func (w *worker) sums(n int) []float32 { return w.row[:n] }

// reserve gives every worker so much scratch memory.
func (p *pool) reserve(floats, row int) {
	for _, w := range p.workers {
		if len(w.scratch) < floats {
			w.scratch = make([]float32, floats)
		}
		if len(w.row) < row {
			w.row = make([]float32, row)
		}
	}
}

// pool runs the parts of a phase on its workers. A step has some thousand phases, many of them
// shorter than the 50 us that waking a goroutine takes, so idle workers spin for a while before
// they sleep (measured in the prototype: about 1 us a phase against 60 to 110 for goroutine and
// WaitGroup).
//
// Which worker takes which part is up to chance; what a part computes is not: a phase is cut by its
// shape alone, and no two parts write the same memory. That is what makes results independent of
// the number of workers.
type pool struct {
	workers []*worker
	parts   int64
	work    func(w *worker, part int)
	next    atomic.Int64 // next part to take
	round   atomic.Int64 // phases begun
	done    atomic.Int64 // helpers finished with this round
	asleep  []atomic.Bool
	wake    []chan struct{}
	closed  atomic.Bool
}

// spins is how often an idle helper looks for work before it sleeps: some tens of microseconds.
const spins = 1 << 14

func newPool(workers int) *pool {
	p := &pool{asleep: make([]atomic.Bool, workers), wake: make([]chan struct{}, workers)}
	for i := range workers {
		p.workers = append(p.workers, &worker{})
		p.wake[i] = make(chan struct{}, 1)
		if i > 0 {
			go p.help(i)
		}
	}
	return p
}

// run calls work for every part in 0..parts-1, on all workers, and returns when all are done.
func (p *pool) run(parts int, work func(w *worker, part int)) {
	helpers := len(p.workers) - 1
	if parts <= 1 || helpers == 0 {
		for i := range parts {
			work(p.workers[0], i)
		}
		return
	}
	p.parts, p.work = int64(parts), work
	p.next.Store(0)
	p.done.Store(0)
	p.round.Add(1)
	for i := 1; i <= helpers; i++ {
		if p.asleep[i].Load() {
			select {
			case p.wake[i] <- struct{}{}:
			default: // woken already
			}
		}
	}
	p.take(p.workers[0])
	for spin := 1; p.done.Load() < int64(helpers); spin++ {
		if spin%256 == 0 {
			runtime.Gosched() // the helper may want this very core
		}
	}
	p.work = nil // it holds the engine, and the helpers hold the pool: see newEngine
}

// runPhases runs phases one after the other.
func (p *pool) runPhases(phases []phase) {
	for i := range phases {
		p.run(phases[i].parts, phases[i].run)
	}
}

func (p *pool) take(w *worker) {
	for {
		i := p.next.Add(1) - 1
		if i >= p.parts {
			return
		}
		p.work(w, int(i))
	}
}

func (p *pool) help(i int) {
	var seen int64
	for {
		for spin := 1; p.round.Load() == seen; spin++ {
			if p.closed.Load() {
				return
			}
			if spin%256 == 0 {
				runtime.Gosched()
			}
			if spin < spins {
				continue
			}
			// Swap, not Store: emulators of arm64 let the load below overtake a store, and the
			// wake-up is lost.
			p.asleep[i].Swap(true)
			if p.round.Load() == seen && !p.closed.Load() {
				<-p.wake[i]
			}
			p.asleep[i].Store(false)
			spin = 1
		}
		seen++
		p.take(p.workers[i])
		p.done.Add(1)
	}
}

// close ends the helpers; the pool must not be used any more.
func (p *pool) close() {
	p.closed.Store(true)
	for i := 1; i < len(p.wake); i++ {
		select {
		case p.wake[i] <- struct{}{}:
		default:
		}
	}
}
