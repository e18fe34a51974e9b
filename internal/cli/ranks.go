package cli

import (
	"io"
	"slices"
	"strings"

	"moco/engine/cpu"
	"moco/internal/mpi"
	"moco/ranks"
)

// join makes this process one of those that its launcher has started, if there is one. Rank 0 speaks
// for all; the others say only what goes wrong with them.
func (a *app) join() (ranks.Group, func(), error) {
	group, leave, err := mpi.Join(mpi.Options{Getenv: a.getenv, Tell: func(m string) { a.warn("moco: %s", m) }})
	if err != nil {
		return nil, nil, err
	}
	if group.Rank() != 0 {
		a.out = io.Discard
	}
	return group, leave, nil
}

// engineOf makes the engine of one of several processes: on the fastest kernel path that all of them
// have, if MOCO_CPU picks none.
func (m *machine) engineOf(a *app, group ranks.Group) (*cpu.Engine, error) {
	path := a.getenv("MOCO_CPU")
	lists, err := ranks.Strings(group, strings.Join(cpu.Paths(), " "))
	if err != nil {
		return nil, err
	}
	for _, common := range strings.Fields(lists[0]) {
		lacks := func(list string) bool { return !slices.Contains(strings.Fields(list), common) }
		if path == "" && !slices.ContainsFunc(lists, lacks) {
			path = common
		}
	}
	return m.engineIn(group, path)
}

// refuseTime refuses a budget of time for several processes: what one measures, the others would have
// to measure with it.
func (o *trainOptions) refuseTime(group ranks.Group) error {
	if o.choosing.budget > 0 && group.Size() > 1 {
		return usagef("--time measures one process, and there are %d; let it choose a recipe in one, and give that to all "+
			"with --recipe DIR/config.yaml", group.Size())
	}
	return nil
}
