package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"text/tabwriter"

	"golang.org/x/term"

	"moco/internal/event"
)

// screen shows what happens and what was found: as lines of JSON, or as text for people. Only it
// knows which, so that a command is written once.
type screen struct {
	out, err io.Writer
	json     bool
	failed   error  // why something could not be written to out
	unread   func() // is called when nobody reads out any more; may be nil
}

// Write writes to standard output, and keeps the first error: a command that goes on without its
// output must not end as if all were well.
func (s *screen) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	if err != nil {
		if errors.Is(err, syscall.EPIPE) && s.unread != nil {
			s.unread()
		}
		err = fmt.Errorf("standard output: %w", err)
		s.fail(err)
	}
	return n, err
}

// fail keeps the first error.
func (s *screen) fail(err error) {
	if s.failed == nil {
		s.failed = err
	}
}

// write writes an event.
func (s *screen) write(e event.Event) error {
	err := event.Write(s, e)
	s.fail(err)
	return err
}

// result is what a command has found: an event, and the same for people.
type result interface {
	event() event.Event
	text(s *screen) error
}

// show shows a result; nil is nothing.
func (s *screen) show(r result) error {
	switch {
	case r == nil:
		return nil
	case s.json:
		return s.write(r.event())
	}
	return r.text(s)
}

// tell shows something on the way: e is for programs, text for people. Either may be nil.
func (s *screen) tell(e event.Event, text func()) error {
	if s.json && e != nil {
		return s.write(e)
	}
	if !s.json && text != nil {
		text()
	}
	return nil
}

// say writes a line for people: on standard output, or nowhere with --json.
func (s *screen) say(format string, args ...any) { fmt.Fprintln(s.people(), formatted(format, args)) }

// people is where text goes.
func (s *screen) people() io.Writer {
	if s.json {
		return io.Discard
	}
	return s
}

// table is a table for people, to be flushed. Its columns are aligned to the right, or else to the
// left.
func (s *screen) table(right bool) table {
	var flags uint
	if right {
		flags = tabwriter.AlignRight
	}
	return table{tabwriter.NewWriter(s.people(), 0, 0, 2, ' ', flags)}
}

// warn writes a line to standard error.
func (s *screen) warn(format string, args ...any) { fmt.Fprintln(s.err, formatted(format, args)) }

// logger is for what happens along the way: skipped images.
func (s *screen) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{ReplaceAttr: func(_ []string, at slog.Attr) slog.Attr {
		if at.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return at
	}}))
}

// onTerminal is true where a progress bar can be drawn.
func (s *screen) onTerminal() bool {
	f, ok := s.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
