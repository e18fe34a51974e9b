//go:build !mpi || !(linux || darwin)

package mpi

import (
	"errors"
	"testing"
)

// TestNoMPI: a program without MPI refuses to be one of several processes, and runs by itself
// otherwise.
func TestNoMPI(t *testing.T) {
	for _, c := range []struct {
		variable, value string
		refused         bool
	}{
		{"PMI_SIZE", "2", true}, {"OMPI_COMM_WORLD_SIZE", "4", true}, {"SLURM_STEP_NUM_TASKS", "2", true},
		{"SLURM_NTASKS", "4", false}, {"PMI_SIZE", "1", false}, {"", "", false},
	} {
		group, leave, err := Join(Options{Getenv: func(name string) string {
			if name == c.variable {
				return c.value
			}
			return ""
		}})
		var launch *LaunchError
		if c.refused != errors.As(err, &launch) {
			t.Errorf("%s=%s: %v", c.variable, c.value, err)
		}
		if err == nil {
			if group.Size() != 1 {
				t.Errorf("%s=%s: a group of %d", c.variable, c.value, group.Size())
			}
			leave()
		}
	}
}
