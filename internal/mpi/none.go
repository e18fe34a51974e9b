//go:build !mpi || !(linux || darwin)

package mpi

import "moco/ranks"

// Join returns the group of this process alone, and what ends it. It refuses to be one of several.
func Join(o Options) (ranks.Group, func(), error) {
	l := launchOf(o.Getenv)
	// A batch script has SLURM_NTASKS too, where its commands run once.
	if l.size > 1 && l.variable != "SLURM_NTASKS" {
		return nil, nil, &LaunchError{Variable: l.variable, Announced: l.size}
	}
	return ranks.Alone{}, func() {}, nil
}
