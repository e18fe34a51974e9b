//go:build mpi && (linux || darwin)

package mpi

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is an MPI library of one of three binary interfaces. Handles are integers in the MPICH
// family, addresses in Open MPI, and small numbers in the standard interface of MPI 5.
type library struct {
	name     string
	handle   uintptr
	world    uintptr // MPI_COMM_WORLD
	bytes    uintptr // MPI_BYTE
	funneled uintptr // MPI_THREAD_FUNNELED

	test, barrier, allToAll, allGather, broadcast uintptr

	// What the library writes to. An address that is given to it must stay, and of a local variable it
	// need not: Go moves stacks.
	written struct {
		request uintptr
		status  [8]uint64 // larger than any library's MPI_Status
		number  int32
		done    int32
	}
}

// openLibrary opens the first library that is there. It is opened for all: Open MPI opens parts of
// itself that look for its symbols.
func openLibrary(names []string) (*library, error) {
	var errs []string
	for _, name := range names {
		handle, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		l := &library{name: name, handle: handle}
		if err := l.bind(); err != nil {
			return nil, err
		}
		return l, nil
	}
	return nil, fmt.Errorf("no MPI library can be opened: %s; install MPICH or Open MPI, or name the library in MOCO_MPI",
		strings.Join(errs, "; "))
}

// bind finds the library's interface and what is called often.
func (l *library) bind() error {
	address, err := purego.Dlsym(l.handle, "ompi_mpi_comm_world")
	switch {
	case err == nil:
		l.world, l.funneled = address, 1
		if l.bytes, err = purego.Dlsym(l.handle, "ompi_mpi_byte"); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	case strings.HasPrefix(filepath.Base(l.name), "libmpi_abi."):
		l.world, l.bytes, l.funneled = 0x101, 0x247, 1024
	default:
		l.world, l.bytes, l.funneled = 0x44000000, 0x4c00010d, 1
	}
	for name, f := range map[string]*uintptr{
		"MPI_Test": &l.test, "MPI_Ibarrier": &l.barrier, "MPI_Ialltoall": &l.allToAll, "MPI_Iallgather": &l.allGather,
		"MPI_Ibcast": &l.broadcast,
	} {
		if *f, err = purego.Dlsym(l.handle, name); err != nil {
			return fmt.Errorf("%s is no MPI library: %w", l.name, err)
		}
	}
	return nil
}

// call calls a function of the library that returns MPI_SUCCESS, which is 0, or an error's number.
func (l *library) call(function string, args ...uintptr) error {
	f, err := purego.Dlsym(l.handle, function)
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return l.try(function, f, args...)
}

func (l *library) try(function string, f uintptr, args ...uintptr) error {
	if code, _, _ := purego.SyscallN(f, args...); int32(code) != 0 {
		return fmt.Errorf("%s fails with the error %d of %s", function, int32(code), l.name)
	}
	return nil
}

// number asks for a number of the communicator that holds all processes.
func (l *library) number(function string) (int, error) {
	err := l.call(function, l.world, uintptr(unsafe.Pointer(&l.written.number)))
	return int(l.written.number), err
}

// settings are variables that the libraries under MPI read, and their values, as C has strings.
//
// Handlers of signals would take SIGSEGV from Go's runtime, which turns it into a panic. Hooks that tell
// of memory given back are put into the code of the C library while it runs, in a process whose threads
// are many by then; and Go's runtime gives back its memory without the C library.
var settings = [][2][]byte{
	{[]byte("UCX_ERROR_SIGNALS\x00"), []byte("\x00")},
	{[]byte("UCX_MEM_EVENTS\x00"), []byte("n\x00")},
	{[]byte("OMPI_MCA_opal_signal\x00"), []byte("\x00")},
	{[]byte("OMPI_MCA_memory\x00"), []byte("^patcher\x00")},
	{[]byte("FI_MR_CACHE_MONITOR\x00"), []byte("disabled\x00")},
}

// setenv makes the settings in the C library, which has its own copy of the environment.
func setenv() error {
	name := "libc.so.6"
	if runtime.GOOS == "darwin" {
		name = "/usr/lib/libSystem.B.dylib"
	}
	libc, err := purego.Dlopen(name, purego.RTLD_NOW)
	if err != nil {
		return err
	}
	set, err := purego.Dlsym(libc, "setenv")
	if err != nil {
		return err
	}
	for _, s := range settings {
		purego.SyscallN(set, address(s[0]), address(s[1]), 1)
	}
	return nil
}
