// Package cli is the command moco: one file a subcommand, each in three steps: parse the command
// line into options, run, and show the result. events.go holds what --json prints, screen.go shows
// it, advice.go says what to do about errors. The package names the concrete engine and is the only
// one that reads the environment.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"moco/pretrain"
	"moco/ranks"
	"moco/recipe"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// app is what every subcommand uses.
type app struct {
	screen
	getenv func(string) string
	cache  cacheFlags
}

// Main runs the command with its arguments and returns its exit code. An error is told once, as one
// sentence on stderr.
func Main(args []string, stdout, stderr io.Writer, getenv func(string) string) (code int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(stderr, "moco: this is a bug: %v; please report it with the command that you gave\n", r)
			code = exitFailed
		}
	}()
	ctx, cancel, release := interruptible()
	defer release()
	a := &app{screen: screen{out: stdout, err: stderr, unread: cancel}, getenv: getenv}
	root := newRoot(a)
	words, err := gather(root, args)
	if err == nil {
		root.SetArgs(words)
		err = root.ExecuteContext(ctx)
	}
	if errors.Is(a.failed, syscall.EPIPE) { // whoever read, such as head, has seen enough
		return exitInterrupted
	}
	if err == nil {
		err = a.failed
	}
	// An interruption was told, with the command that goes on, and another process tells of its failure.
	var other *ranks.OtherError
	if err != nil && !errors.Is(err, pretrain.ErrInterrupted) && !errors.As(err, &other) {
		fmt.Fprintf(stderr, "moco: %s\n", told(err))
	}
	return exitCode(err)
}

// exitCode is what a script sees of an error.
func exitCode(err error) int {
	var recipe *recipe.Error
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, pretrain.ErrInterrupted) || errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usageError{}) || errors.As(err, &recipe):
		return exitUsage
	}
	return exitFailed
}

const rootHelp = `moco trains a ResNet or a vision transformer on unlabelled images by Momentum Contrast (He et al.,
CVPR 2020), on the CPU, and leaves an encoder whose features a nearest-neighbour classifier can use.

Start with

  moco demo                                  see it work in a minute or two, from nothing
  moco data info PATH                        what a folder, archive or data set holds
  moco train --data PATH --time 1h --out run
  moco eval knn --model run --train PATH --test PATH
  moco embed --model run --data PATH --out vectors.parquet
  moco studio --data PATH --model run        look, search, label and clean in the browser
  moco dedupe --model run --data PATH        and search, outliers, label-errors, cluster:
                                             what the features are good for

Every command takes --json for scripts (docs/events.md lists what it prints), and --help for its own
story.
Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted.`

func newRoot(a *app) *cobra.Command {
	below := commands(a, "")
	for _, g := range []struct{ name, short string }{
		{"eval", "Measure what an encoder has learned"},
		{"data", "Look at images, and pack them"},
	} {
		below = append(below, group(g.name, g.short, "", commands(a, g.name)...))
	}
	root := group("moco", "Learn image features without labels, by Momentum Contrast", rootHelp, below...)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.PersistentFlags().BoolVar(&a.json, "json", false, "write JSON objects to standard output, one a line, and nothing else")
	a.cache.bind(root)
	// Lines of flags that are longer than helpWidth are folded.
	usage := strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages ", fmt.Sprintf("Flags.FlagUsagesWrapped %d ", helpWidth))
	root.SetUsageTemplate(usage)
	root.SetOut(a) // before the completion command, which keeps it
	root.SetErr(a.err)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	typed(root)
	return root
}

// helpWidth is the longest line of the help.
const helpWidth = 100
