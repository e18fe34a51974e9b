package data

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"moco/picture"
)

// TestReadAs: every kind of set reduces, and lays on the ground asked for, whatever is cached.
func TestReadAs(t *testing.T) {
	t.Parallel()
	large := images("a.png", "b.png", "c.png")
	readings := []Reading{{}, {Side: 2}, {Side: 1}, {Side: 1, Ground: picture.Black}, {Side: 2, Longest: true}}
	for _, c := range []struct {
		name, path string
		opts       Options
	}{
		{"files", folder(t, large), Options{}},
		{"archive", onDisk(t, "a.tar", packTar(file{"a.png", shade(1)}, file{"b.png", shade(2)})), Options{}},
		{"drawn", "builtin:train?n=3&size=9", Options{}},
		{"animation", folder(t, map[string][]byte{"a.gif": animation(10, 5), "b.gif": animation(100, 3)}), Options{Frames: true}},
		{"pairs", folder(t, map[string][]byte{"a.png": shade(1), "b.png": shade(2), "pairs.csv": []byte("a.png,1\nb.png,1\n")}), Options{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.name == "pairs" {
				c.opts.Pairs = filepath.Join(c.path, "pairs.csv")
			}
			plain := open(t, c.path, c.opts)
			c.opts.CacheBytes, c.opts.CacheDir = 1000, t.TempDir()
			cached := open(t, c.path, c.opts)
			for range 2 {
				for i := range plain.Len() {
					var whole, want, got, again Image
					if err := plain.Read(i, &whole); err != nil {
						t.Fatal(err)
					}
					for _, r := range readings {
						err := plain.ReadAs(i, r, &got)
						if err == nil {
							err = cached.ReadAs(i, r, &again)
						}
						if err != nil {
							t.Fatal(err)
						}
						if reduced := new(picture.Resizer).Reduce(&want, &whole, picture.Options{Side: r.Side, Longest: r.Longest}); !same(&got, reduced) {
							t.Errorf("image %d read as %v is %v, want %v", i, r, got, reduced)
						}
						if !same(&got, &again) {
							t.Errorf("image %d read as %v depends on the cache: %v and %v", i, r, again, got)
						}
						if err := cached.ReadOnce(i, r, &again); err != nil || !same(&got, &again) {
							t.Errorf("image %d read once as %v is %v, %v, want %v", i, r, again, err, got)
						}
					}
				}
			}
		})
	}
}

func same(a, b *Image) bool {
	return a.Width == b.Width && a.Height == b.Height && bytes.Equal(a.Pix, b.Pix)
}

// disguise makes a file unreadable without a change of its size and time.
func disguise(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, info.Size()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// TestBorrow: an image that is kept comes without a copy, any other one in the room that is given.
func TestBorrow(t *testing.T) {
	t.Parallel()
	path := folder(t, images("a.png", "b.png"))
	for _, c := range []struct {
		bytes int64
		kept  bool
	}{{0, false}, {1000, true}} {
		set := open(t, path, Options{CacheBytes: c.bytes})
		var want, room Image
		if err := set.Read(1, &want); err != nil {
			t.Fatal(err)
		}
		first, err := set.Borrow(1, Reading{}, &room)
		if err != nil || !same(first, &want) {
			t.Fatalf("borrowed %v (%v), want %v", first, err, want)
		}
		second, err := set.Borrow(1, Reading{}, &room)
		if err != nil || !same(second, &want) || (second != &room) != c.kept {
			t.Errorf("with %d bytes of cache, borrowed %v (%v) again, want %v, kept: %v", c.bytes, second, err, want, c.kept)
		}
	}
	if _, err := open(t, path, Options{}).Borrow(2, Reading{}, new(Image)); err == nil {
		t.Error("an image that the set does not have was borrowed")
	}
}

// TestCacheDir: the next run takes images from the folder, as long as their files are the same.
func TestCacheDir(t *testing.T) {
	t.Parallel()
	files := images("x/a.png", "x/b.png", "x/c.png")
	tar := packTar(file{"x/a.png", shade(0)}, file{"x/b.png", shade(1)}, file{"x/c.png", shade(2)})
	inFolder := folder(t, files)
	for _, c := range []struct{ name, path, spoilt string }{
		{"folder", inFolder, filepath.Join(inFolder, "x", "b.png")},
		{"tar", onDisk(t, "a.tar", tar), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, r := t.TempDir(), Reading{Side: 1}
			run := func(r Reading) (found []*Image, bad int) {
				s := open(t, c.path, Options{CacheDir: dir})
				defer s.Close()
				for i := range s.Len() {
					m := &Image{}
					if err := s.ReadAs(i, r, m); err != nil {
						bad++
						continue
					}
					found = append(found, m)
				}
				return found, bad
			}
			first, bad := run(r)
			if bad > 0 {
				t.Fatalf("%d images cannot be read", bad)
			}
			spoilt := c.spoilt
			if spoilt == "" { // the archive's list of files stays
				spoilt = c.path
				spoilPixels(t, spoilt)
			} else {
				disguise(t, spoilt)
			}
			second, bad := run(r)
			if bad > 0 || !slices.EqualFunc(first, second, same) {
				t.Errorf("the next run decodes again: %d cannot be read, %v, want %v", bad, second, first)
			}
			if _, bad := run(Reading{Side: 1, Ground: picture.Black}); bad == 0 {
				t.Error("another reading takes what was kept of this one")
			}
			now := time.Now().Add(time.Hour)
			if err := os.Chtimes(spoilt, now, now); err != nil {
				t.Fatal(err)
			}
			if _, bad := run(r); bad == 0 {
				t.Error("a file that has changed is taken from the cache")
			}
		})
	}
}

// spoilPixels damages the pictures in an archive without a change of its size, list and time.
func spoilPixels(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("IDAT"), []byte("IXAT"))
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestCacheDirFull(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	o := Options{CacheDir: t.TempDir(), CacheLimit: 150, Log: slog.New(slog.NewTextHandler(&said, nil))}
	path := folder(t, images("1.png", "2.png", "3.png", "4.png"))
	s, plain := open(t, path, o), open(t, path, Options{})
	for range 2 {
		for i := range 4 {
			var m, want Image
			if err := s.Read(i, &m); err != nil {
				t.Fatal(err)
			}
			if err := plain.Read(i, &want); err != nil {
				t.Fatal(err)
			}
			if !same(&m, &want) {
				t.Errorf("image %d is %v, want %v", i, m, want)
			}
		}
	}
	if n := strings.Count(said.String(), "the cache is full"); n != 1 || !strings.Contains(said.String(), "images=2 of=4") {
		t.Errorf("want one line that says that 2 of 4 images are kept:\n%s", &said)
	}
	file := filepath.Join(path, "1.png")
	if _, err := Open(context.Background(), path, Options{CacheDir: file}); err == nil {
		t.Error("a file is taken for the folder of a cache")
	}
}

// TestCacheDirOfAnother: what another program left under the name of the cache's file stays, and images
// are read all the same.
func TestCacheDirOfAnother(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	o := Options{CacheDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&said, nil))}
	path := folder(t, images("1.png"))
	s := open(t, path, o)
	var m Image
	if err := s.Read(0, &m); err != nil {
		t.Fatal(err)
	}
	s.Close()
	found, err := filepath.Glob(filepath.Join(o.CacheDir, "*.pictures"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the cache's files are %v; %v", found, err)
	}
	if err := os.WriteFile(found[0], []byte(fmt.Sprint("mine", make([]byte, 40))), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, o)
	if err := s.Read(0, &m); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(found[0]); err != nil || !strings.HasPrefix(string(b), "mine") || strings.Count(said.String(), "\n") != 1 {
		t.Errorf("the file is %q, and what is said %q", b, &said)
	}
}
