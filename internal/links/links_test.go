package links

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tree lists what a folder holds: links with their targets' names, and files.
func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir || d.Name() == List {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			rel += "/"
		}
		if to, err := os.Readlink(p); err == nil {
			rel += " -> " + filepath.Base(to)
		}
		list = append(list, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func write(t *testing.T, dir string, list ...Link) {
	t.Helper()
	if err := Write(dir, list); err != nil {
		t.Fatal(err)
	}
}

// TestWrite: a folder of links is laid out, brought up to date, and what else lies in it stays.
func TestWrite(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	picture := filepath.Join(base, "p.jpg")
	if err := os.WriteFile(picture, []byte("picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "sorted")
	write(t, dir, Link{"cat", "a/p.jpg", picture}, Link{"dog", "q.jpg", picture})
	if got := tree(t, dir); !slices.Equal(got, []string{"cat/", "cat/a/", "cat/a/p.jpg -> p.jpg", "dog/", "dog/q.jpg -> p.jpg"}) {
		t.Errorf("it holds %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "cat", "mine.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, dir, Link{"dog", "a/p.jpg", picture})
	if got := tree(t, dir); !slices.Equal(got, []string{"cat/", "cat/mine.txt", "dog/", "dog/a/", "dog/a/p.jpg -> p.jpg"}) {
		t.Errorf("later it holds %q", got)
	}
	if raw, err := os.ReadFile(picture); err != nil || string(raw) != "picture" {
		t.Errorf("the picture is %q, %v", raw, err)
	}
}

// TestNotOurs: nothing is replaced that Write did not make, and then nothing is changed at all.
func TestNotOurs(t *testing.T) {
	t.Parallel()
	var not *NotOursError
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "a.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(foreign, []Link{{"cat", "p.jpg", "p.jpg"}}); !errors.As(err, &not) || not.Path != foreign {
		t.Errorf("a folder of something else: %v", err)
	}
	dir := t.TempDir()
	write(t, dir, Link{"cat", "p.jpg", "p.jpg"})
	if err := os.Mkdir(filepath.Join(dir, "dog"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "dog", "p.jpg")
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, []Link{{"dog", "p.jpg", "p.jpg"}}); !errors.As(err, &not) || not.Path != file {
		t.Errorf("a file in the way: %v", err)
	}
	if got := tree(t, dir); !slices.Equal(got, []string{"cat/", "cat/p.jpg -> p.jpg", "dog/", "dog/p.jpg"}) {
		t.Errorf("it holds %q", got)
	}
	for _, name := range []string{"../p.jpg", "/p.jpg", "a/../../p.jpg", ""} {
		if err := Write(t.TempDir(), []Link{{"cat", name, "p.jpg"}}); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
}

// TestFolders: any text becomes a folder's name of its own, within the folder of links.
func TestFolders(t *testing.T) {
	t.Parallel()
	var list []Link
	classes := []string{"cat", "Cat", "a/b", `a\b`, "..", ".", "", " dog. ", ".hidden", "a\nb", "caf\u00e9", "\xff"}
	for _, c := range classes {
		list = append(list, Link{Class: c, Name: "p.jpg", Target: "p.jpg"})
	}
	dir := t.TempDir()
	write(t, dir, list...)
	want := []string{"Cat (2)", "_", "_ (2)", "_ (3)", "_ (4)", "_.hidden", "a_b", "a_b (2)", "a_b (3)", "caf\u00e9", "cat", "dog"}
	var got []string
	for _, p := range tree(t, dir) {
		if p[len(p)-1] == '/' {
			got = append(got, p[:len(p)-1])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the folders are %q, want %q", got, want)
	}
}
