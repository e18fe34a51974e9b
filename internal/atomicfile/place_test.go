package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"moco/internal/atomicfile"
)

// link makes a link, or skips the test where links need a right that it does not have.
func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Skipf("no links here: %v", err)
	}
}

// TestSaveFollowsLinks: a link stays, and what it leads to is written.
func TestSaveFollowsLinks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, to string // the link's text, below the folder; it should lead to real/f
		there    bool   // the file is
	}{
		{"relative", "real/f", true},
		{"absolute", "/real/f", true},
		{"a file that is not there yet", "real/f", false},
		{"out of a linked folder", "sideways/../real/f", true},
		{"a link to a link", "second", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, at := filepath.Join(dir, "real", "f"), filepath.Join(dir, "link")
			for _, d := range []string{"real", "elsewhere"} {
				if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if c.there {
				if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			link(t, filepath.Join(dir, "elsewhere"), filepath.Join(dir, "sideways"))
			link(t, file, filepath.Join(dir, "second"))
			to := c.to
			if to[0] == '/' {
				to = filepath.Join(dir, to)
			}
			link(t, to, at)
			if _, err := atomicfile.Save(at, content([]byte("new"))); err != nil {
				t.Fatal(err)
			}
			holds(t, file, []byte("new"))
			if info, err := os.Lstat(at); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link is now a %v (%v)", info.Mode(), err)
			}
		})
	}
}

// TestSaveInLinkedFolder: ".." in a link is taken from what the link's folder leads to.
func TestSaveInLinkedFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	link(t, filepath.Join("a", "b"), filepath.Join(dir, "short"))
	link(t, filepath.Join("..", "f"), filepath.Join(dir, "a", "b", "link"))
	if _, err := atomicfile.Save(filepath.Join(dir, "short", "link"), content([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	holds(t, filepath.Join(dir, "a", "f"), []byte("new"))
}

// TestSaveRefuses: what is no place for a file stays as it is.
func TestSaveRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link(t, filepath.Join(dir, "round"), filepath.Join(dir, "about"))
	link(t, filepath.Join(dir, "about"), filepath.Join(dir, "round"))
	for _, path := range []string{dir, filepath.Join(dir, "round")} {
		if _, err := atomicfile.Save(path, content([]byte("new"))); err == nil {
			t.Errorf("%s was written", path)
		}
		if err := atomicfile.Free(path, nil); err == nil {
			t.Errorf("%s is free", path)
		}
	}
}

// TestSaveKeepsMode: a file that only its owner may read stays one.
func TestSaveKeepsMode(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes")
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := atomicfile.Save(path, content([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode is %v (%v)", info.Mode(), err)
	}
}

func TestFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	all := func(string) bool { return true }
	none := func(string) bool { return false }
	for _, c := range []struct {
		path string
		own  func(string) bool
		free bool
	}{
		{filepath.Join(dir, "nothing"), nil, true},
		{file("empty", ""), nil, true},
		{file("foreign", "x"), nil, false},
		{file("foreign", "x"), none, false},
		{file("own", "x"), all, true},
		{os.DevNull, nil, true},
	} {
		err := atomicfile.Free(c.path, c.own)
		var exists *atomicfile.ExistsError
		if c.free != (err == nil) || !c.free && (!errors.As(err, &exists) || exists.Path != c.path) {
			t.Errorf("%s: %v, want it free: %v", c.path, err, c.free)
		}
	}
	if err := atomicfile.Free(filepath.Join(dir, "own", "below"), nil); err == nil {
		t.Error("a file below a file is free")
	}
}
