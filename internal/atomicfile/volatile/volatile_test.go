package volatile_test

import (
	"errors"
	"io"
	"io/fs"
	"maps"
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

// TestNames: until their folder is synced, new folders and files may vanish, and what was appended to
// a file too.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		system *volatile.FS
		want   map[string]string
	}{
		{"before the first sync", &volatile.FS{At: 1}, map[string]string{"old": "old"}},
		{"names kept", &volatile.FS{At: 1, KeepRenames: true}, map[string]string{"old": "old", "a/b/new": ""}},
		{"all kept", &volatile.FS{At: 1, KeepRenames: true, Damage: volatile.Kept}, map[string]string{"old": "old, and more", "a/b/new": "new"}},
		{"one file synced", &volatile.FS{At: 2, Damage: volatile.Cut, KeepRenames: true}, map[string]string{"old": "old, and", "a/b/new": "new"}},
		{"not its folder's name", &volatile.FS{At: 4}, map[string]string{"old": "old"}},
		{"no cut", &volatile.FS{}, map[string]string{"old": "old, and more", "a/b/new": "new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			in := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
			if err := os.WriteFile(in("old"), []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			write := func(name, text string) atomicfile.File {
				f, err := c.system.Append(in(name))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(f, text); err != nil {
					t.Fatal(err)
				}
				return f
			}
			write("old", ", and more")
			if err := c.system.MkdirAll(in("a/b")); err != nil {
				t.Fatal(err)
			}
			f := write("a/b/new", "new")
			for _, last := range []func() error{f.Sync, func() error { return c.system.SyncDir(in("a/b")) },
				func() error { return c.system.SyncDir(in("a")) }, func() error { return c.system.SyncDir(dir) }} {
				if err := last(); err != nil {
					break
				}
			}
			got := map[string]string{}
			filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					raw, _ := os.ReadFile(path)
					name, _ := filepath.Rel(dir, path)
					got[filepath.ToSlash(name)] = string(raw)
				}
				return err
			})
			if !maps.Equal(got, c.want) {
				t.Errorf("there is %q, want %q", got, c.want)
			}
		})
	}
}
