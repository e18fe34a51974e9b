//go:build mpi

package mpi

import "syscall"

// schedYield is the number of the system call that gives the processor to another thread.
const schedYield = syscall.SYS_SCHED_YIELD
