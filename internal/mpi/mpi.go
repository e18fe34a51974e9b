//go:build mpi && (linux || darwin)

package mpi

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"moco/ranks"
)

const (
	// patience is how long a process waits for the others before it ends the job; MOCO_MPI_TIMEOUT
	// changes it.
	patience = 5 * time.Minute
	// farewell is how long a process that is done waits for the others to be so too.
	farewell = 10 * time.Second
	// lastWords is what a launcher needs to pass on what was said, before all processes end.
	lastWords = 300 * time.Millisecond
	// turn is how much longer each process waits than the one before it: what a launcher on a busy
	// machine needs to end the others after the first has lost patience.
	turn = 5 * time.Second
	// large is the number of bytes from which processes first wait for each other, without work for the
	// processor, and then move them, with all of it.
	large = 64 << 10
	// most is what a count of MPI can say.
	most = 1<<31 - 1
)

// world is the processes of a job. One goroutine, which has a thread of its own, makes all calls of
// the library.
type world struct {
	library    *library
	rank, size int
	patience   time.Duration
	tell       func(string)
	calls      chan func()
	aborted    atomic.Bool
}

// Join connects with the other processes that the launcher has started, and returns their group and
// what leaves it. Without a launcher, or with one process, it is the group of this process alone.
func Join(o Options) (ranks.Group, func(), error) {
	l := launchOf(o.Getenv)
	if l.size == 1 {
		return ranks.Alone{}, func() {}, nil
	}
	w := &world{patience: patience, tell: o.Tell, calls: make(chan func())}
	if text := o.Getenv("MOCO_MPI_TIMEOUT"); text != "" {
		limit, err := time.ParseDuration(text)
		if err != nil || limit <= 0 {
			return nil, nil, fmt.Errorf("MOCO_MPI_TIMEOUT=%s: must be a time such as 90s or 10m", text)
		}
		w.patience = limit
	}
	go w.serve()
	if err := w.do(func() error { return w.start(l) }); err != nil {
		return nil, nil, err
	}
	if w.size != l.size {
		w.leave()
		return nil, nil, &LaunchError{Variable: l.variable, Announced: l.size, Found: w.size, Library: w.library.name}
	}
	return w, w.leave, nil
}

// serve makes calls on one thread, as MPI_THREAD_FUNNELED wants it.
func (w *world) serve() {
	runtime.LockOSThread()
	for f := range w.calls {
		f()
	}
}

// do runs f where calls are made, and waits.
func (w *world) do(f func() error) error {
	var err error
	done := make(chan struct{})
	w.calls <- func() {
		err = f()
		close(done)
	}
	<-done
	return err
}

func (w *world) start(l launch) (err error) {
	if err := setenv(); err != nil {
		return fmt.Errorf("prepare for MPI: %w", err)
	}
	if w.library, err = openLibrary(l.libraries); err != nil {
		return err
	}
	provided := uintptr(unsafe.Pointer(&w.library.written.number))
	if err := w.library.call("MPI_Init_thread", 0, 0, w.library.funneled, provided); err != nil {
		return err
	}
	if w.rank, err = w.library.number("MPI_Comm_rank"); err != nil {
		return err
	}
	w.size, err = w.library.number("MPI_Comm_size")
	return err
}

// leave ends this process's part. It does not wait for long: a process that ends without the others'
// consent ends the job.
func (w *world) leave() {
	done := make(chan struct{})
	go func() {
		w.do(func() error { return w.library.call("MPI_Finalize") })
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(farewell):
	}
}

func (w *world) Rank() int { return w.rank }
func (w *world) Size() int { return w.size }

func (w *world) AllToAll(send, receive []byte) error {
	each := uintptr(len(send) / w.size)
	return w.collective(len(receive), func(request uintptr) error {
		return w.library.try("MPI_Ialltoall", w.library.allToAll, address(send), each, w.library.bytes,
			address(receive), each, w.library.bytes, w.library.world, request)
	}, send, receive)
}

func (w *world) AllGather(send, receive []byte) error {
	each := uintptr(len(send))
	return w.collective(len(receive), func(request uintptr) error {
		return w.library.try("MPI_Iallgather", w.library.allGather, address(send), each, w.library.bytes,
			address(receive), each, w.library.bytes, w.library.world, request)
	}, send, receive)
}

func (w *world) Broadcast(data []byte) error {
	return w.collective(len(data), func(request uintptr) error {
		return w.library.try("MPI_Ibcast", w.library.broadcast, address(data), uintptr(len(data)), w.library.bytes, 0,
			w.library.world, request)
	}, data)
}

// address is where b lies. Go does not move what is on its heap, so it stays there until the call is
// done.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// Abort ends all processes. It is called from any goroutine, also while a call waits.
func (w *world) Abort(error) {
	w.aborted.Store(true)
	w.do(w.abort)
}

func (w *world) abort() error {
	return w.library.call("MPI_Abort", w.library.world, 1)
}

// collective begins a call that all processes make, and waits until it is done. keep is the memory
// that it uses.
func (w *world) collective(size int, begin func(request uintptr) error, keep ...[]byte) error {
	if size > most {
		return fmt.Errorf("a message of %d bytes is more than MPI takes", size)
	}
	return w.do(func() error {
		defer runtime.KeepAlive(keep)
		if size >= large {
			err := w.wait(false, func(request uintptr) error {
				return w.library.try("MPI_Ibarrier", w.library.barrier, w.library.world, request)
			})
			if err != nil {
				return err
			}
		}
		return w.wait(size >= large, begin)
	})
}

// wait begins a call and asks whether it is done until it is. While processes wait for one that still
// computes, the processor is the engine's, which may be another process's: so the call pauses. While
// bytes move, all processes are here.
func (w *world) wait(moving bool, begin func(request uintptr) error) error {
	state := &w.library.written
	state.done = 0
	if err := begin(uintptr(unsafe.Pointer(&state.request))); err != nil {
		return err
	}
	began, pause := time.Now(), 20*time.Microsecond
	for tries := 0; ; tries++ {
		err := w.library.try("MPI_Test", w.library.test, uintptr(unsafe.Pointer(&state.request)),
			uintptr(unsafe.Pointer(&state.done)), uintptr(unsafe.Pointer(&state.status)))
		if err != nil || state.done != 0 {
			return err
		}
		if w.aborted.Load() {
			return errors.Join(errors.New("this process has ended the job"), w.abort())
		}
		switch {
		case tries < 100:
		case moving:
			syscall.RawSyscall(schedYield, 0, 0, 0)
		default:
			time.Sleep(pause)
			pause = min(pause*5/4, time.Millisecond)
		}
		// The first process to lose patience tells so; the others are ended before they do.
		if tries%64 == 63 && time.Since(began) > w.patience+time.Duration(w.rank)*turn {
			w.tell(fmt.Sprintf("process %d has waited %v for the others and ends the job: one of them hangs or is gone; "+
				"resume goes on from the last checkpoint", w.rank, time.Since(began).Round(time.Second)))
			time.Sleep(lastWords)
			return w.abort()
		}
	}
}
