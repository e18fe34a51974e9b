package cli

import (
	"context"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/engine/cpu"
	"moco/internal/sys"
	"moco/ranks"
)

// options is what a command line says, a type for each command.
type options interface {
	// bind declares the flags. Afterwards, they set the options.
	bind(c *cobra.Command)
	// parse checks what the command line says and completes it, before anything is opened.
	parse(c *cobra.Command, args []string) error
}

// subcommand makes a command of its three steps: parse reads the command line into options, run
// does the work, and the screen shows the result.
func subcommand[O options](a *app, c *cobra.Command, o O, run func(ctx context.Context, a *app, o O) (result, error)) *cobra.Command {
	if c.Args == nil {
		c.Args = noArguments
	}
	o.bind(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := ready(o, c, args); err != nil {
			return err
		}
		if err := a.giveWay(o); err != nil {
			return err
		}
		r, err := run(c.Context(), a, o)
		if err != nil {
			return err
		}
		return a.show(r)
	}
	return c
}

// registered are the makers of all commands, by the command above them; "" is moco itself.
var registered = map[string][]func(*app) *cobra.Command{}

// register adds a command below moco, or below one of its groups. The file of each command calls it.
func register(group string, maker func(*app) *cobra.Command) {
	registered[group] = append(registered[group], maker)
}

// commands makes the commands of a group.
func commands(a *app, group string) (list []*cobra.Command) {
	for _, maker := range registered[group] {
		list = append(list, maker(a))
	}
	return list
}

// group makes a command that only has commands below it.
func group(use, short, long string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(below...)
	return c
}

// machine is what every command that computes can be told about the machine.
type machine struct{ threads int }

func (m *machine) bind(c *cobra.Command) {
	c.Flags().IntVar(&m.threads, "threads", 0, "processors to compute on; 0 takes all. The result is the same for any number")
}

// engine makes the engine. The environment variable MOCO_CPU picks a kernel path, one of
// cpu.AllPaths.
func (m *machine) engine(a *app) (*cpu.Engine, error) { return m.engineOn(a.getenv("MOCO_CPU")) }

// engineOn makes the engine on a kernel path; "" is the fastest.
func (m *machine) engineOn(path string) (*cpu.Engine, error) {
	return m.engineIn(ranks.Alone{}, path)
}

// engineIn is engineOn for one of several processes.
func (m *machine) engineIn(group ranks.Group, path string) (*cpu.Engine, error) {
	e, err := cpu.New(cpu.Options{Path: path, Workers: m.threads, Group: group})
	if err != nil {
		return nil, usageError{err}
	}
	return e.(*cpu.Engine), nil
}

// workers is the number of goroutines that decode and draw.
func (m *machine) workers() int {
	if m.threads > 0 {
		return m.threads
	}
	return runtime.GOMAXPROCS(0)
}

// open opens a set of images.
func (a *app) open(ctx context.Context, path string, part data.Part) (*data.Set, error) {
	return a.openWith(ctx, path, data.Options{Part: part})
}

// openWith is open with more to say about the data. It keeps decoded images in memory while they
// take no more than a quarter of what is free.
func (a *app) openWith(ctx context.Context, path string, o data.Options) (*data.Set, error) {
	o.CacheBytes = 2 << 30
	if free := sys.FreeMemory(); free > 0 {
		o.CacheBytes = min(o.CacheBytes, free/4)
	}
	return a.openOnce(ctx, path, o)
}

// openOnce opens a set of images and tells what lies beside them and is left out. It keeps no
// decoded images in memory.
func (a *app) openOnce(ctx context.Context, path string, o data.Options) (*data.Set, error) {
	o.CacheDir, o.CacheLimit = a.cache.dir, int64(a.cache.limit)
	o.Progress, o.Log = a.unpacking(), a.logger()
	set, err := data.Open(ctx, path, o)
	if err != nil {
		return nil, err
	}
	if left := set.LeftOut().String(); left != "" {
		a.warn("%s: %s", short(path), left)
	}
	return set, nil
}

// paragraphs joins lines of a help text that is partly made.
func paragraphs(p ...string) string { return strings.Join(p, "\n\n") }
