//go:build unix

package atomicfile_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"moco/internal/atomicfile"
)

// TestSaveIntoPipe: a pipe with a name is written into, also through a link, and stays.
func TestSaveIntoPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, at := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	link(t, pipe, at)
	for _, path := range []string{pipe, at} {
		read := make(chan []byte)
		go func() {
			got, _ := os.ReadFile(pipe)
			read <- got
		}()
		if _, err := atomicfile.Save(path, content([]byte("new"))); err != nil {
			t.Fatal(err)
		}
		if got := <-read; string(got) != "new" {
			t.Errorf("%s gives %q", path, got)
		}
		if info, err := os.Lstat(pipe); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
			t.Errorf("the pipe is now a %v (%v)", info.Mode(), err)
		}
	}
}

// TestSaveIntoOpenFile: what /dev/fd names is written into, at the end of what was written before.
func TestSaveIntoOpenFile(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := fmt.Sprintf("/dev/fd/%d", f.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skipf("open files have no names here: %v", err)
	}
	io.WriteString(f, "before ")
	before, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Free(path, nil); err != nil {
		t.Error(err)
	}
	if _, err := atomicfile.Save(path, content([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	holds(t, f.Name(), []byte("before new"))
	if after, err := os.Stat(f.Name()); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
}

// TestSaveIntoDevice: devices stay, and a full one is told of.
func TestSaveIntoDevice(t *testing.T) {
	t.Parallel()
	if sum, err := atomicfile.Save(os.DevNull, content([]byte("new"))); err != nil || len(sum) != 64 {
		t.Errorf("the null device: %q, %v", sum, err)
	}
	if info, err := os.Lstat(os.DevNull); err != nil || info.Mode()&fs.ModeDevice == 0 {
		t.Fatalf("the null device is now a %v (%v)", info.Mode(), err)
	}
	if runtime.GOOS != "linux" {
		t.Skip("no full device")
	}
	if _, err := atomicfile.Save("/dev/full", content([]byte("new"))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the full device: %v", err)
	}
}
