package volatile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"moco/internal/atomicfile"
	"moco/internal/atomicfile/volatile"
)

// careless saves without a sync: what the file system is there to find out.
func careless(system atomicfile.FS, path, content string) error {
	f, err := system.CreateTemp(filepath.Dir(path), "aside")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, content); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return errors.Join(system.Rename(f.Name(), path), system.SyncDir(filepath.Dir(path)))
}

// TestCareless: a program that forgets to sync is caught by each kind of damage.
func TestCareless(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		system *volatile.FS
		want   string
	}{
		{"lost", &volatile.FS{At: 2, KeepRenames: true}, ""},
		{"cut", &volatile.FS{At: 2, Damage: volatile.Cut, KeepRenames: true}, "so"},
		{"garbled", &volatile.FS{At: 2, Damage: volatile.Garbled, KeepRenames: true}, "\x00\x00\x00\x00"},
		{"the rename undone", &volatile.FS{At: 2}, "old"},
		{"before the rename", &volatile.FS{At: 1, KeepRenames: true}, "old"},
		{"no cut", &volatile.FS{}, "some"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			err := careless(c.system, path, "some")
			if (c.system.At > 0) != errors.Is(err, volatile.ErrPowerCut) {
				t.Errorf("the program ends with %v", err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != c.want {
				t.Errorf("the file holds %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

// TestOff: after a cut nothing works any more.
func TestOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	system := &volatile.FS{At: 1}
	f, err := system.CreateTemp(dir, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name := f.Name()
	if _, err := io.WriteString(f, "a"); err != nil {
		t.Fatal(err)
	}
	_, create := system.CreateTemp(dir, "g")
	if create != nil {
		t.Errorf("before the cut: %v", create)
	}
	sync := f.Sync()
	_, write := f.Write([]byte("b"))
	_, create = system.CreateTemp(dir, "h")
	for call, err := range map[string]error{
		"sync": sync, "write": write, "create": create, "rename": system.Rename(name, name+"x"),
		"sync of the folder": system.SyncDir(dir), "remove": system.Remove(name),
	} {
		if !errors.Is(err, volatile.ErrPowerCut) {
			t.Errorf("%s after the cut: %v", call, err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || len(got) > 0 {
		t.Errorf("the file holds %q (%v), want nothing", got, err)
	}
}
