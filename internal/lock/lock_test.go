package lock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// holds is set in a process that only holds the lock of the folder that it names.
const holds = "MOCO_TEST_HOLDS"

func TestMain(m *testing.M) {
	if folder := os.Getenv(holds); folder != "" {
		_, release, err := Folder(context.Background(), folder)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin) // until it is killed
		release()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hostage starts a process that holds a folder's lock, and returns how to kill it.
func hostage(t *testing.T, folder string) (pid int, kill func()) {
	t.Helper()
	c := exec.Command(os.Args[0], "a word")
	c.Env = append(os.Environ(), holds+"="+folder)
	if _, err := c.StdinPipe(); err != nil { // which stays open
		t.Fatal(err)
	}
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		c.Process.Kill()
		c.Wait()
	})
	t.Cleanup(kill)
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q (%v)", line, err)
	}
	return c.Process.Pid, kill
}

// TestAnotherProcess: it is named while it lives; its lock ends with it, by SIGKILL too.
func TestAnotherProcess(t *testing.T) {
	t.Parallel()
	ctx, folder := context.Background(), t.TempDir()
	pid, kill := hostage(t, folder)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Folder(ctx, folder)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Path != folder || locked.Holder.PID != pid || locked.Holder.Host != host ||
		!strings.HasSuffix(locked.Holder.Command, " a word") || locked.Holder.Since.IsZero() {
		t.Errorf("a folder that process %d on %s holds gives %v, %+v", pid, host, err, locked)
	}
	kill()
	_, release, err := Folder(ctx, folder)
	if err != nil {
		t.Fatalf("after the holder was killed: %v", err)
	}
	if h := holder(filepath.Join(folder, File)); h.PID != os.Getpid() {
		t.Errorf("the holder is %v, want this process", h)
	}
	release()
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("the folder is left with %v (%v)", left, err)
	}
}

// TestSameWork: whoever holds a folder may take it again further down; others may not.
func TestSameWork(t *testing.T) {
	t.Parallel()
	ctx, folder := context.Background(), t.TempDir()
	held, release, err := Folder(ctx, folder)
	if err != nil {
		t.Fatal(err)
	}
	again, inner, err := Folder(held, filepath.Join(folder, "..", filepath.Base(folder)))
	if err != nil || again != held {
		t.Fatalf("the same folder again: %v", err)
	}
	inner()
	_, other, err := Folder(held, t.TempDir())
	if err != nil {
		t.Fatalf("another folder: %v", err)
	}
	other()
	var locked *LockedError
	if _, _, err := Folder(ctx, folder); !errors.As(err, &locked) || locked.Holder.PID != os.Getpid() {
		t.Errorf("from outside, after the inner release: %v", err)
	}
	release()
}

// TestOneAtATime: the lock file comes and goes, and never do two hold the lock.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "journal")
	var inside, turns atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for turns.Load() < 200 {
				_, release, err := Path(ctx, path)
				var locked *LockedError
				if errors.As(err, &locked) { // a goroutine can be unlucky for the whole grace
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the lock at once", n)
				}
				turns.Add(1)
				inside.Add(-1)
				release()
			}
		})
	}
	all.Wait()
	if _, err := os.Stat(path + File); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock file stays: %v", err)
	}
}

func TestNoFolder(t *testing.T) {
	t.Parallel()
	if _, _, err := Folder(context.Background(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there gives %v", err)
	}
}

// TestUnsupported: what a file system without locks says is told apart from other errors.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		syscall.ENOSYS: true, syscall.EOPNOTSUPP: true, syscall.ENOLCK: true,
		&fs.PathError{Op: "lock", Path: "x", Err: errors.ErrUnsupported}: true,
		syscall.EACCES: false, syscall.ENOENT: false, nil: false,
	} {
		if got := unsupported(err); got != want {
			t.Errorf("unsupported(%v) is %v", err, got)
		}
	}
}

// FuzzHolder: whatever stands in a lock file, a message can be made of it.
func FuzzHolder(f *testing.F) {
	f.Add([]byte(" {\"pid\":7,\"host\":\"h\",\"command\":\"moco train\"}\n7,\"}"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), File)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if h := holder(path); h.String() == "" {
			t.Error("the holder has no name")
		}
	})
}
