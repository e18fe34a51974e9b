// Package cli is the command moco: one file a subcommand. It names the concrete engine and is the only place that reads the environment.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"moco/data"
	"moco/engine/cpu"
	"moco/internal/event"
	"moco/internal/sys"
	"moco/pretrain"
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
	out, err io.Writer
	getenv   func(string) string
	json     bool
	threads  int
}

// usageError is an error of the command line: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Main runs the command with its arguments and returns its exit code. An error is told once, as one sentence on stderr.
func Main(args []string, stdout, stderr io.Writer, getenv func(string) string) (code int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(stderr, "moco: this is a bug: %v; please report it with the command that you gave\n", r)
			code = exitFailed
		}
	}()
	ctx, stop := interruptible()
	defer stop()
	root := newRoot(&app{out: stdout, err: stderr, getenv: getenv})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if !errors.Is(err, pretrain.ErrInterrupted) { // that was told, with the command that goes on
		fmt.Fprintf(stderr, "moco: %s\n", told(err))
	}
	var recipe *recipe.Error
	switch {
	case errors.Is(err, pretrain.ErrInterrupted) || errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usageError{}) || errors.As(err, &recipe) || isCobraUsage(err):
		return exitUsage
	}
	return exitFailed
}

// isCobraUsage recognises cobra's own complaints, which have no type.
func isCobraUsage(err error) bool {
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "required flag", "accepts ", "requires at least", "invalid argument", "flag needs an argument", "if any flags in the group", "at least one of the flags"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

// interruptible returns a context that the first interrupt ends; the second one ends the program.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case <-signals:
			os.Exit(exitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "moco",
		Short: "Learn image features without labels, by Momentum Contrast",
		Long: `moco trains a ResNet on unlabelled images by Momentum Contrast (He et al., CVPR 2020), on the CPU,
and leaves an encoder whose features a nearest-neighbour classifier can use.

Start with

  moco demo                                  see it work in two minutes, on pictures that it draws itself
  moco data info PATH                        what a folder, archive or data set holds
  moco train --data PATH --recipe cifar --out run
  moco eval knn --model run --train PATH --test PATH
  moco embed --model run --data PATH --out vectors.parquet
  moco dedupe --model run --data PATH        and search, outliers, label-errors, cluster: what the features are good for

Every command takes --json for scripts, and --help for its own story.
Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "write JSON objects to standard output, one a line, and nothing else")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	eval := &cobra.Command{Use: "eval", Short: "Measure what an encoder has learned", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	eval.AddCommand(a.evalKNN(), a.evalLinear(), a.evalFinetune())
	dataset := &cobra.Command{Use: "data", Short: "Look at images", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	dataset.AddCommand(a.dataInfo())
	root.AddCommand(a.train(), a.compare(), a.transfer(), a.embedCommand(), eval, a.bench(), a.info(), dataset, a.demo())
	root.AddCommand(a.search(), a.dedupe(), a.outliers(), a.labelErrors(), a.cluster(), a.importCommand(), a.exportCommand())
	return root
}

// threadsFlag adds --threads.
func (a *app) threadsFlag(c *cobra.Command) {
	c.Flags().IntVar(&a.threads, "threads", 0, "processors to compute on; 0 takes all. The result is the same for any number")
}

// engine makes the engine. The environment variable MOCO_CPU picks a kernel path: avx512, avx2, neon or portable.
func (a *app) engine() (*cpu.Engine, error) {
	e, err := cpu.New(cpu.Options{Path: a.getenv("MOCO_CPU"), Workers: a.threads})
	if err != nil {
		return nil, usageError{err}
	}
	return e.(*cpu.Engine), nil
}

// workers is the number of goroutines that decode and draw.
func (a *app) workers() int {
	if a.threads > 0 {
		return a.threads
	}
	return runtime.GOMAXPROCS(0)
}

// open opens a set of images and keeps the decoded ones in memory while that takes no more than a quarter of what is free.
func (a *app) open(ctx context.Context, path string, part data.Part) (*data.Set, error) {
	return a.openWith(ctx, path, data.Options{Part: part})
}

// openWith is open with more to say about the data.
func (a *app) openWith(ctx context.Context, path string, o data.Options) (*data.Set, error) {
	o.CacheBytes = 2 << 30
	if free := sys.FreeMemory(); free > 0 {
		o.CacheBytes = min(o.CacheBytes, free/4)
	}
	o.Progress = a.unpacking()
	return data.Open(ctx, path, o)
}

// unpacking tells now and then how far ffmpeg is with video files.
func (a *app) unpacking() func(done, total int) {
	line := time.Now()
	return func(done, total int) {
		if time.Since(line) > 5*time.Second {
			line = time.Now()
			a.warn("unpacking videos: %d of %d", done, total)
		}
	}
}

// print writes one JSON object.
func (a *app) print(v any) error {
	if e, ok := v.(event.Event); ok {
		return event.Write(a.out, e)
	}
	return json.NewEncoder(a.out).Encode(v)
}

// say writes a line for people: on standard output, or nowhere with --json.
func (a *app) say(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// warn writes a line to standard error.
func (a *app) warn(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// logger is for what happens along the way: skipped images.
func (a *app) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{ReplaceAttr: func(_ []string, at slog.Attr) slog.Attr {
		if at.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return at
	}}))
}

// onTerminal is true where a progress bar can be drawn.
func (a *app) onTerminal() bool {
	f, ok := a.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
