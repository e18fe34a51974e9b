package pretrain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"moco/internal/event"
	"moco/internal/lock"
)

// TestLiveRun: while a process trains, others are refused its folder, and it ends as if nobody had
// come. When it is killed its folder can be gone on with at once.
func TestLiveRun(t *testing.T) {
	if out := os.Getenv("MOCO_TEST_LIVE_OUT"); out != "" {
		lives(t, out)
		return
	}
	t.Parallel()
	want := finish(t, options(t, 1))
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(t.TempDir(), "run")
		live := begin(t, out)
		for _, resume := range []bool{true, false} {
			o := options(t, 1)
			o.Out, o.Resume = out, resume
			var locked *LockedError
			if _, err := Run(context.Background(), o); !errors.As(err, &locked) || locked.Path != out || locked.Holder.PID != live.Process.Pid {
				t.Errorf("resume %v: another run in the folder of process %d gives %v", resume, live.Process.Pid, err)
			}
		}
		live.goOn.Close()
		if err := live.Wait(); err != nil {
			t.Fatalf("the first process ends with %v", err)
		}
		o := options(t, 1)
		o.Out, o.Resume = out, true
		if done := finish(t, o); done.SHA256 != want.SHA256 {
			t.Errorf("the first run ended with %s, want %s", done.SHA256, want.SHA256)
		}
		if _, err := os.Stat(filepath.Join(out, lock.File)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the lock file stays: %v", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(t.TempDir(), "run")
		live := begin(t, out)
		if err := live.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		o := options(t, 1)
		o.Out, o.Resume = out, true
		if done := finish(t, o); done.SHA256 != want.SHA256 {
			t.Errorf("the run ends with %s, want %s", done.SHA256, want.SHA256)
		}
		live.Wait()
	})
}

// process is a run in another process, which waits in the middle until goOn is closed.
type process struct {
	*exec.Cmd
	goOn io.Closer
}

func begin(t *testing.T, out string) *process {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestLiveRun$")
	c.Env = append(os.Environ(), "MOCO_TEST_LIVE_OUT="+out, "TMPDIR="+t.TempDir())
	goOn, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "in the middle\n" {
		t.Fatalf("the first process says %q (%v)", line, err)
	}
	return &process{c, goOn}
}

// lives is the run in the other process.
func lives(t *testing.T, out string) {
	o := options(t, 1)
	o.Out = out
	o.Events = func(e event.Event) {
		if s, ok := e.(Step); ok && s.Step == 5 { // the checkpoint of step 4 is there
			fmt.Println("in the middle")
			io.Copy(io.Discard, os.Stdin)
		}
	}
	finish(t, o)
}

// TestNoLocks: on a file system without locks a run goes on, and says what that means.
func TestNoLocks(t *testing.T) {
	t.Parallel()
	o := options(t, 1)
	told := ""
	o.Steps = 1
	o.Events = func(e event.Event) {
		if w, ok := e.(Warning); ok {
			told += w.Message
		}
	}
	r := newRun(o)
	r.hold = func(ctx context.Context, folder string) (context.Context, func(), error) {
		return ctx, nil, &lock.UnsupportedError{Path: folder, Err: errors.ErrUnsupported}
	}
	if _, err := r.run(context.Background()); err != nil || !strings.Contains(told, "nothing keeps a second process") {
		t.Errorf("the run ends with %v, and told %q", err, told)
	}
}
