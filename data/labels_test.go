package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReadLabels: labels are matched by path, the last row of an image counts, and classes are NFC.
func TestReadLabels(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string][]byte{"a.png": shade(1), "sub/b.png": shade(2), "c.png": shade(3), "d.png": shade(4)})
	s := open(t, dir, Options{})
	read := func(text string) (*LabelList, error) {
		list := filepath.Join(t.TempDir(), "labels.csv")
		if err := os.WriteFile(list, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return s.ReadLabels(list, dir)
	}
	at := func(l *LabelList, name string) string {
		for i := range s.Len() {
			if s.Name(i) == name {
				return l.Labels[i]
			}
		}
		t.Fatalf("there is no %s", name)
		return ""
	}
	l, err := read("path,label,decision\na.png,cat,keep\n" + filepath.Join(dir, "sub/b.png") + ",cafe\u0301,\na.png,dog,\n" +
		"c.png,cat,\nc.png,,\nz.png,cat,\ny.png,,\n")
	if err != nil {
		t.Fatal(err)
	}
	if at(l, "a.png") != "dog" || at(l, "sub/b.png") != "caf\u00e9" || at(l, "c.png") != "" || at(l, "d.png") != "" ||
		l.Labelled != 2 || l.Foreign != 1 || l.First != "z.png" {
		t.Errorf("the labels are %+v", l)
	}
	for text, want := range map[string]string{
		"path,label\nz.png,cat\n":  "none of its 1 rows",
		"path,label\na.png,\n":     "no row has a label",
		"path\na.png\n":            "no row has a label",
		"name,label\na.png,cat\n":  "no column path",
		"path,label\na.png,cat,\n": "line 2 has 3 fields",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q: %v", text, want, err)
		}
	}
}

// TestFile: the images of folders and lists are files; those of archives and the built-in set are
// not.
func TestFile(t *testing.T) {
	t.Parallel()
	content := map[string][]byte{"cat/a.png": shade(1), "dog/b.png": shade(2)}
	files, dir := filesOf(content), folder(t, content)
	list := filepath.Join(dir, "list.csv")
	if err := os.WriteFile(list, []byte("path,label\ndog/b.png,dog\ncat/a.png,cat\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, list, "{" + dir + "/cat," + dir + "/dog}"} {
		s := open(t, path, Options{})
		var got []string
		for i := range s.Len() {
			f, ok := s.File(i)
			if !ok {
				t.Fatalf("%s: %s is no file", path, s.Name(i))
			}
			rel, _ := filepath.Rel(dir, f)
			got = append(got, filepath.ToSlash(rel))
		}
		if !slices.Equal(got, []string{"cat/a.png", "dog/b.png"}) {
			t.Errorf("%s: the files are %v", path, got)
		}
		if _, ok := s.File(s.Len()); ok {
			t.Errorf("%s: there is a file behind the last", path)
		}
	}
	for _, path := range []string{onDisk(t, "a.zip", packZip(files...)), onDisk(t, "a.tar", packTar(files...)), "builtin:test?n=2&size=8"} {
		if f, ok := open(t, path, Options{}).File(0); ok {
			t.Errorf("%s: an image is the file %s", path, f)
		}
	}
}
