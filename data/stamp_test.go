package data

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFileAndStamp: the file of an image is told where it is one, and Stamp changes with it.
func TestFileAndStamp(t *testing.T) {
	t.Parallel()
	dir, content := t.TempDir(), shade(9)
	for _, name := range []string{"a.png", "b.png"} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	set, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	path, ok := set.File(1)
	if want := filepath.Join(dir, "b.png"); !ok || path != want {
		t.Errorf("image 1 is the file %q (%v), want %q", path, ok, want)
	}
	if size := set.Bytes(1); size != int64(len(content)) {
		t.Errorf("it has %d bytes", size)
	}
	if _, ok := set.File(2); ok {
		t.Error("an image that is not there is a file")
	}
	first, ok := set.Stamp(1)
	other, _ := set.Stamp(0)
	if !ok || first == other {
		t.Error("two images have one stamp")
	}
	drawn, err := Open(t.Context(), "builtin:test?n=3", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer drawn.Close()
	if _, ok := drawn.File(0); ok {
		t.Error("a drawn image is a file")
	}
	if _, ok := drawn.Stamp(0); ok {
		t.Error("a drawn image has a stamp of a file")
	}
}
