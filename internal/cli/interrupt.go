package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interruptible returns a context that Ctrl-C, SIGTERM or the end of the terminal (SIGHUP) ends, and
// cancel does; commands that keep what they have done save then. A second Ctrl-C or SIGTERM ends the
// program. A second SIGHUP does not: where a terminal closes, both the system and a shell may send
// one.
//
// What the program was started to ignore, as nohup does with SIGHUP, stays ignored. Writing to
// standard output that nobody reads any more is an error and does not end the program.
func interruptible() (ctx context.Context, cancel, release func()) {
	ctx, cancel = context.WithCancel(context.Background())
	signals, pipes := make(chan os.Signal, 4), make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	signal.Notify(pipes, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for told := false; ; {
			select {
			case s := <-signals:
				if told && s != syscall.SIGHUP {
					os.Exit(exitInterrupted)
				}
				told = true
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, cancel, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		close(done)
		cancel()
	}
}
