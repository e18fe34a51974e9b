package mpi

import (
	"slices"
	"testing"
)

// TestLaunch: what the launchers' variables say.
func TestLaunch(t *testing.T) {
	for _, c := range []struct {
		env      map[string]string
		size     int
		variable string
		first    string // library
	}{
		{nil, 1, "", ""},
		{map[string]string{"OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "1"}, 4, "OMPI_COMM_WORLD_SIZE", "libmpi.so.40"},
		{map[string]string{"PMI_SIZE": "2", "PMI_RANK": "0"}, 2, "PMI_SIZE", "libmpich.so.12"},
		{map[string]string{"SLURM_NTASKS": "8", "PMI_SIZE": "8"}, 8, "PMI_SIZE", "libmpich.so.12"}, // srun --mpi=pmi2
		{map[string]string{"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4", "PMIX_RANK": "0"}, 4, "SLURM_STEP_NUM_TASKS", "libmpi.so.40"},
		{map[string]string{"SLURM_NTASKS": "8"}, 8, "SLURM_NTASKS", "libmpich.so.12"}, // a batch script's own shell
		{map[string]string{"PMI_SIZE": "2", "MOCO_MPI": "/opt/libmpi.so"}, 2, "PMI_SIZE", "/opt/libmpi.so"},
		{map[string]string{"PMI_SIZE": "many"}, 1, "", ""},
	} {
		l := launchOf(func(name string) string { return c.env[name] })
		first := slices.Concat(l.libraries, []string{""})[0]
		if l.size != c.size || l.variable != c.variable || first != c.first {
			t.Errorf("%v: %+v, want %d processes by %q, and %q", c.env, l, c.size, c.variable, c.first)
		}
	}
}
