package atomicfile_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"moco/internal/atomicfile"
	"moco/internal/atomicfile/volatile"
)

// content is a write function of some bytes, in two pieces.
func content(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		if _, err := w.Write(b[:len(b)/2]); err != nil {
			return err
		}
		_, err := w.Write(b[len(b)/2:])
		return err
	}
}

// holds checks the content of a file, and that nothing stands aside in its folder.
func holds(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left aside: %v", left)
	}
}

func TestSave(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	old := []byte("as it was")
	sha, err := atomicfile.Save(path, content(old))
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(old)
	if sum, err := atomicfile.Sum(path); err != nil || sha != sum || sha != hex.EncodeToString(want[:]) {
		t.Errorf("saved with SHA-256 %s, summed as %s (%v), want %x", sha, sum, err, want)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o444 != 0o444 {
		t.Errorf("others cannot read the file: %v (%v)", info.Mode(), err)
	}
	holds(t, path, old)
	if _, err := atomicfile.Save(path, content([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	holds(t, path, []byte("new"))
	if _, err := atomicfile.Save(filepath.Join(t.TempDir(), "no", "folder", "f"), content(old)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("saving to a folder that is not there: %v", err)
	}
	if _, err := atomicfile.Sum(filepath.Join(t.TempDir(), "f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the sum of a file that is not there: %v", err)
	}
}

// TestSaveFails: what stood there stays, whichever call fails.
func TestSaveFails(t *testing.T) {
	t.Parallel()
	old := []byte("as it was")
	for _, call := range []string{"CreateTemp", "Write", "Chmod", "Sync", "Close", "Rename"} {
		path := filepath.Join(t.TempDir(), "f")
		if _, err := atomicfile.Save(path, content(old)); err != nil {
			t.Fatal(err)
		}
		_, err := atomicfile.SaveOn(failing{call: call}, path, content([]byte("something new")))
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s on a full disk gives %v", call, err)
		}
		holds(t, path, old)
	}
	path := filepath.Join(t.TempDir(), "f")
	if _, err := atomicfile.SaveOn(failing{call: "SyncDir"}, path, content(old)); err == nil {
		t.Error("a folder that cannot be synced is no error")
	}
	mine := errors.New("mine")
	_, err := atomicfile.Save(path, func(w io.Writer) error {
		io.WriteString(w, "half of")
		return mine
	})
	if !errors.Is(err, mine) || strings.Contains(err.Error(), "disk") {
		t.Errorf("the writer's own error becomes %v", err)
	}
	holds(t, path, old)
}

// failing is the real file system, but that one call fails as on a full disk.
type failing struct {
	atomicfile.OS
	call string
}

func (f failing) fail(call string) error {
	if call == f.call {
		return &fs.PathError{Op: call, Path: "f", Err: syscall.ENOSPC}
	}
	return nil
}

func (f failing) CreateTemp(dir, pattern string) (atomicfile.File, error) {
	if err := f.fail("CreateTemp"); err != nil {
		return nil, err
	}
	file, err := f.OS.CreateTemp(dir, pattern)
	return failingFile{file, f}, err
}

func (f failing) Rename(from, to string) error {
	return errors.Join(f.fail("Rename"), f.unless("Rename", func() error { return f.OS.Rename(from, to) }))
}

func (f failing) SyncDir(dir string) error { return f.fail("SyncDir") }

// unless does something unless the named call fails.
func (f failing) unless(call string, do func() error) error {
	if f.call == call {
		return nil
	}
	return do()
}

type failingFile struct {
	atomicfile.File
	f failing
}

func (f failingFile) Write(b []byte) (int, error) {
	if err := f.f.fail("Write"); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f failingFile) Chmod(mode fs.FileMode) error {
	return errors.Join(f.File.Chmod(mode), f.f.fail("Chmod"))
}
func (f failingFile) Sync() error  { return errors.Join(f.File.Sync(), f.f.fail("Sync")) }
func (f failingFile) Close() error { return errors.Join(f.File.Close(), f.f.fail("Close")) }

// TestPowerCut: whenever the power goes, the file is the old one or the new one.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	old, new := []byte("as it was"), []byte("something new")
	for _, damage := range []volatile.Damage{volatile.Lost, volatile.Cut, volatile.Garbled} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprint(damage, keep), func(t *testing.T) {
				cut := 0
				for at := 1; ; at++ {
					path := filepath.Join(t.TempDir(), "f")
					if _, err := atomicfile.Save(path, content(old)); err != nil {
						t.Fatal(err)
					}
					system := &volatile.FS{At: at, Damage: damage, KeepRenames: keep}
					_, err := atomicfile.SaveOn(system, path, content(new))
					got, readErr := os.ReadFile(path)
					if err == nil {
						if cut = at - 1; !bytes.Equal(got, new) || len(system.Places()) != cut {
							t.Errorf("without a cut the file holds %q (%v) after %d places", got, readErr, len(system.Places()))
						}
						break
					}
					if !errors.Is(err, volatile.ErrPowerCut) || !bytes.Equal(got, old) && !bytes.Equal(got, new) {
						t.Errorf("cut at place %d (%v): the file holds %q (%v)", at, err, got, readErr)
					}
				}
				if cut != 3 { // sync, rename, sync of the folder
					t.Errorf("the power could go at %d places, want 3", cut)
				}
			})
		}
	}
}

// TestFullDisk fills a real one, where the test may mount it.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no small disk can be mounted here, so a real full disk was not tried: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount %s: %v %s", dir, err, out)
		}
	})
	path := filepath.Join(dir, "f")
	old := []byte("as it was")
	if _, err := atomicfile.Save(path, content(old)); err != nil {
		t.Fatal(err)
	}
	_, err := atomicfile.Save(path, content(make([]byte, 4<<20)))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("a full disk gives %v", err)
	}
	holds(t, path, old)
}
