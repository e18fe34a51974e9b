// Package mpi connects the processes that an MPI launcher has started (mpirun, srun). Its library is
// the system's, opened when a job begins, without cgo. That takes a program that is no longer static,
// so it is in builds with the tag mpi alone; in others Join refuses to be one of several processes.
package mpi

import (
	"fmt"
	"strconv"
)

// launchers are the variables by which launchers tell a process how many there are, and the libraries
// that such a launcher goes with, the likeliest first.
var launchers = []struct {
	variable  string
	libraries []string
}{
	{"OMPI_COMM_WORLD_SIZE", []string{"libmpi.so.40"}},
	{"PMI_SIZE", []string{"libmpich.so.12", "libmpi.so.12", "libmpi_abi.so.1"}},
	{"SLURM_STEP_NUM_TASKS", anyLibrary},
	{"SLURM_NTASKS", anyLibrary},
}

var anyLibrary = []string{"libmpich.so.12", "libmpi.so.12", "libmpi_abi.so.1", "libmpi.so.40"}

// launch is what the environment says of the job.
type launch struct {
	size      int    // processes that the launcher announces; 1 without a launcher
	variable  string // that says so
	libraries []string
}

// launchOf reads the environment. MOCO_MPI names the library whatever the launcher is.
func launchOf(getenv func(string) string) launch {
	l := launch{size: 1}
	for _, known := range launchers {
		n, err := strconv.Atoi(getenv(known.variable))
		if err != nil || n < 1 {
			continue
		}
		l = launch{size: n, variable: known.variable, libraries: known.libraries}
		if getenv("PMIX_RANK") != "" && known.variable != "OMPI_COMM_WORLD_SIZE" { // srun --mpi=pmix
			l.libraries = append([]string{"libmpi.so.40"}, known.libraries...)
		}
		break
	}
	if path := getenv("MOCO_MPI"); path != "" {
		l.libraries = []string{path}
	}
	return l
}

// LaunchError is the error of a process that its launcher takes for one of several, and that has
// found no others. Each would do all of the work.
type LaunchError struct {
	Variable  string // of the launcher
	Announced int
	Found     int
	Library   string // empty: this program has no MPI
}

func (e *LaunchError) Error() string {
	why := fmt.Sprintf("%s found %d; it is another launcher's library, and MOCO_MPI can name the right one", e.Library, e.Found)
	if e.Library == "" {
		why = "this program was built without MPI; build it with: go build -tags mpi ./cmd/moco"
	}
	return fmt.Sprintf("the launcher announces %d processes (%s), but %s", e.Announced, e.Variable, why)
}

// Options say how to join a job.
type Options struct {
	Getenv func(string) string
	// Tell says the last words of a process that ends the job because others do not answer.
	Tell func(message string)
}
