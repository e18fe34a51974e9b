//go:build mpi

package mpi

// schedYield is the number of the system call that gives the processor to another thread.
const schedYield = 331
