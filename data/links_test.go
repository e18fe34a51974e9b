package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An item of a tree with links: a folder ends in a slash, "=>" makes a symbolic link, "==" a hard
// link; anything else is a picture.
var linkTrees = []struct {
	name  string
	items []string
	want  string // listing
	links int    // left out
	onFS  bool   // a folder with these links gives the same
}{
	{"hard links make a class", []string{"a/1.png", "a/2.png", "b/1.png == a/1.png", "b/2.png == a/2.png"},
		"a/1.png=a a/2.png=a b/1.png=b b/2.png=b", 0, true},
	{"a hard link to a hard link", []string{"a/1.png", "b/1.png == a/1.png", "c/1.png == b/1.png"}, "a/1.png=a b/1.png=b c/1.png=c", 0, true},
	{"a hard link to what is not there", []string{"a/1.png", "b/2.png", "b/1.png == c/1.png"}, "a/1.png=a b/2.png=b", 1, false},
	{"symbolic links to files", []string{"pool/1.png", "a/1.png => ../pool/1.png", "b/x.png => ../a/1.png"},
		"a/1.png=a b/x.png=b pool/1.png=pool", 0, true},
	{"into a hidden folder", []string{".pool/1.png", "a/1.png => ../.pool/1.png", "b/1.png => ../.pool/1.png"}, "a/1.png=a b/1.png=b", 0, true},
	{"to a folder", []string{"a/1.png", "a/n/2.png", "b => a"}, "a/1.png=a a/n/2.png=a b/1.png=b b/n/2.png=b", 0, true},
	{"through a folder", []string{"a/n/2.png", "c/0.png", "b => a/n", "c/1.png => ../b/2.png"}, "a/n/2.png=a b/2.png=b c/0.png=c c/1.png=c", 0, true},
	{"out of the archive", []string{"a/1.png", "a/2.png => ../../2.png", "b/1.png", "b/2.png => /2.png"}, "a/1.png=a b/1.png=b", 2, false},
	{"to nothing", []string{"a/1.png", "b/1.png", "b/2.png => 3.png"}, "a/1.png=a b/1.png=b", 1, true},
	{"to itself", []string{"a/1.png", "b/1.png", "b/2.png => 2.png"}, "a/1.png=a b/1.png=b", 1, true},
	{"round in a circle", []string{"a/1.png", "b/1.png", "b/x.png => y.png", "b/y.png => x.png"}, "a/1.png=a b/1.png=b", 2, true},
	{"a folder in itself", []string{"a/1.png", "b/1.png", "b/up => ../b"}, "a/1.png=a b/1.png=b", 1, true},
	{"up to the top", []string{"a/1.png", "b/1.png", "b/up => .."}, "a/1.png=a b/1.png=b", 1, true},
	{"folders in each other", []string{"a/1.png", "b/1.png", "a/b => ../b", "b/a => ../a"},
		"a/1.png=a a/b/1.png=a b/1.png=b b/a/1.png=b", 2, true},
}

func target(item string) (name, symbolic, hard string) {
	if name, to, ok := strings.Cut(item, " => "); ok {
		return name, to, ""
	}
	name, to, _ := strings.Cut(item, " == ")
	return name, "", to
}

func tarTree(items []string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, item := range items {
		name, symbolic, hard := target(item)
		h := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}
		content := shade(uint8(i))
		switch {
		case symbolic != "":
			h.Typeflag, h.Linkname, content = tar.TypeSymlink, symbolic, nil
		case hard != "":
			h.Typeflag, h.Linkname, content = tar.TypeLink, hard, nil
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		w.Write(content)
	}
	w.Close()
	return b.Bytes()
}

func zipTree(items []string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, item := range items {
		name, symbolic, _ := target(item)
		h := &zip.FileHeader{Name: name}
		content := shade(uint8(i))
		if symbolic != "" {
			h.SetMode(fs.ModeSymlink | 0o777)
			content = []byte(symbolic)
		}
		e, err := w.CreateHeader(h)
		if err != nil {
			panic(err)
		}
		e.Write(content)
	}
	w.Close()
	return b.Bytes()
}

func folderTree(t *testing.T, items []string) string {
	dir := t.TempDir()
	for i, item := range items {
		name, symbolic, hard := target(item)
		place := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(place), 0o755)
		switch {
		case err != nil:
		case symbolic != "":
			err = os.Symlink(symbolic, place)
		case hard != "":
			err = os.Link(filepath.Join(dir, filepath.FromSlash(hard)), place)
		default:
			err = os.WriteFile(place, shade(uint8(i)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLinks(t *testing.T) {
	t.Parallel()
	for _, c := range linkTrees {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			paths := map[string]string{"tar": onDisk(t, "a.tar", tarTree(c.items)), "tar.gz": onDisk(t, "a.tgz", gzipped(tarTree(c.items)))}
			if !strings.Contains(strings.Join(c.items, ""), " == ") {
				paths["zip"] = onDisk(t, "a.zip", zipTree(c.items))
			}
			if c.onFS {
				paths["folder"] = folderTree(t, c.items)
			}
			print := ""
			for what, path := range paths {
				s := open(t, path, Options{})
				if got := listing(s); got != c.want || s.LeftOut().Links != c.links {
					t.Errorf("%s: got  %s, %d links left out\nwant %s, %d", what, got, s.LeftOut().Links, c.want, c.links)
				}
				if print != "" && print != s.Fingerprint() {
					t.Errorf("%s has another fingerprint", what)
				}
				print = s.Fingerprint()
				var m Image
				for i := range s.Len() {
					if err := s.Read(i, &m); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
		})
	}
}

// A hard link is to the file that had the name then, and keeps it when another takes the name.
func TestHardLinkKeepsItsFile(t *testing.T) {
	t.Parallel()
	s := open(t, onDisk(t, "a.tar", tarTree([]string{"a.png", "b.png == a.png", "a.png"})), Options{})
	var m Image
	for i, want := range []uint8{2, 0} {
		if err := s.Read(i, &m); err != nil || m.Pix[0] != want {
			t.Errorf("%s has shade %d (%v), want %d", s.Name(i), m.Pix[0], err, want)
		}
	}
}

// Links among n folders, each to all others, are as many paths as there are orders of the folders.
func TestLinksDoNotMultiply(t *testing.T) {
	t.Parallel()
	var items []string
	names := strings.Split("abcdefg", "")
	for _, from := range names {
		items = append(items, from+"/1.png")
		for _, to := range names {
			if from != to {
				items = append(items, from+"/"+to+" => ../"+to)
			}
		}
	}
	most := 7 * 7 * 7 * 7
	for what, path := range map[string]string{"tar": onDisk(t, "a.tar", tarTree(items)), "folder": folderTree(t, items)} {
		s := open(t, path, Options{})
		if s.Len() > most || s.LeftOut().Links == 0 {
			t.Errorf("%s: %d images, %d links left out", what, s.Len(), s.LeftOut().Links)
		}
	}
}

func FuzzLinks(f *testing.F) {
	for _, c := range linkTrees {
		f.Add(strings.Join(c.items, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		box := &container{what: "tar"}
		list := archiveList{box: box}
		for i, item := range strings.Split(text, "\n") {
			name, symbolic, hard := target(item)
			switch name = cleanName(name); {
			case hard != "":
				list.hardLink(name, cleanName(hard))
			case symbolic != "":
				list.symlink(name, symbolic)
			default:
				list.file(entry{name: name, at: int64(i)})
			}
		}
		if err := list.finish(context.Background()); err != nil {
			t.Fatal(err)
		}
		for i, e := range box.entries {
			if i > 0 && box.entries[i-1].name >= e.name {
				t.Errorf("entries %q and %q are not in order, or the same", box.entries[i-1].name, e.name)
			}
			if e.name == "" || strings.HasPrefix(e.name, "/") || e.name == ".." || strings.HasPrefix(e.name, "../") {
				t.Errorf("entry %q is not below the root", e.name)
			}
		}
	})
}
