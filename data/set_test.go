package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"moco/picture"
)

// hugePNG returns the start of a PNG that claims a size.
func hugePNG(w, h uint32) []byte {
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("IHDR"), w), h)
	ihdr = append(ihdr, 8, 2, 0, 0, 0)
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), ihdr...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(ihdr))
}

// plainPNG returns a PNG of one colour.
func plainPNG(w, h int, c color.NRGBA) []byte {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := 0; i < len(m.Pix); i += 4 {
		copy(m.Pix[i:], []uint8{c.R, c.G, c.B, c.A})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// shade returns a small PNG that can be told from others by its colour.
func shade(v uint8) []byte { return plainPNG(3, 2, color.NRGBA{v, v / 2, 255 - v, 255}) }

// folder writes files into a new folder; a name may hold slashes.
func folder(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// filesOf returns files in the order of their names.
func filesOf(files map[string][]byte) (list []file) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, file{name, files[name]})
	}
	return list
}

// images returns files of the given names, each of its own shade in the order given.
func images(names ...string) map[string][]byte {
	files := map[string][]byte{}
	for i, name := range names {
		files[name] = shade(uint8(i))
	}
	return files
}

func open(t testing.TB, path string, opts Options) *Set {
	t.Helper()
	s, err := Open(context.Background(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// listing writes a set as "name=class" words.
func listing(s *Set) string {
	var words []string
	for i := range s.Len() {
		class := "-"
		if l := s.Label(i); l >= 0 {
			class = s.Classes()[l]
		}
		words = append(words, s.Name(i)+"="+class)
	}
	return strings.Join(words, " ")
}

func TestLayouts(t *testing.T) {
	halves := []string{"test/cat/1.png", "test/dog/1.png", "train/cat/1.png", "train/cat/2.png", "train/dog/1.png"}
	for _, c := range []struct {
		name, kind string
		files      []string
		part       Part
		want       string
	}{
		{"class folders", "class folders", []string{"dog/b.png", "cat/z.png", "cat/a.JPG"}, Any, "cat/a.JPG=cat cat/z.png=cat dog/b.png=dog"},
		{"flat", "flat folder", []string{"b.png", "B.png", "a10.png", "a9.png"}, Any, "B.png=- a10.png=- a9.png=- b.png=-"},
		{"wrapped classes", "class folders", []string{"all/images/cat/1.png", "all/images/dog/1.png"}, Any, "all/images/cat/1.png=cat all/images/dog/1.png=dog"},
		{"wrapped flat", "flat folder", []string{"images/1.png", "images/2.png"}, Any, "images/1.png=- images/2.png=-"},
		{"deeper", "nested class folders", []string{"cat/old/1.png", "cat/new/1.png", "dog/1.png"}, Any, "cat/new/1.png=cat cat/old/1.png=cat dog/1.png=dog"},
		{"loose ones on top", "nested folder", []string{"cat/1.png", "dog/1.png", "2.png"}, Any, "2.png=- cat/1.png=- dog/1.png=-"},
		{"common letters are no common folder", "class folders", []string{"cat1/1.png", "cat2/1.png"}, Any, "cat1/1.png=cat1 cat2/1.png=cat2"},
		{"divided, both", "class folders in train and test parts", halves, Any, "test/cat/1.png=cat test/dog/1.png=dog train/cat/1.png=cat train/cat/2.png=cat train/dog/1.png=dog"},
		{"divided, train", "class folders, train part", halves, Train, "train/cat/1.png=cat train/cat/2.png=cat train/dog/1.png=dog"},
		{"divided, test", "class folders, test part", halves, Test, "test/cat/1.png=cat test/dog/1.png=dog"},
		{"test rather than val", "flat folder, test part", []string{"val/1.png", "test/2.png", "train/3.png"}, Test, "test/2.png=-"},
		{"train alone is a wrapper", "class folders", []string{"train/a/1.png", "train/b/1.png"}, Test, "train/a/1.png=a train/b/1.png=b"},
		{"train is a class like others", "class folders", []string{"train/1.png", "test/1.png", "bus/1.png"}, Train, "bus/1.png=bus test/1.png=test train/1.png=train"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, folder(t, images(c.files...)), Options{Part: c.part})
			if s.Kind() != c.kind+" folder" && s.Kind() != c.kind {
				t.Errorf("kind is %q, want %q", s.Kind(), c.kind)
			}
			if got := listing(s); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if !slices.IsSorted(s.names) {
				t.Error("the names are not sorted")
			}
		})
	}
}

func TestNamesBelongToTheirImages(t *testing.T) {
	files := images("train/b/2.png", "train/a/1.png", "train/a/0.png", "train/notes.txt")
	s := open(t, folder(t, files), Options{})
	var m Image
	for i := range s.Len() {
		if err := s.Read(i, &m); err != nil {
			t.Fatal(err)
		}
		want := map[string]uint8{"train/b/2.png": 0, "train/a/1.png": 1, "train/a/0.png": 2}[s.Name(i)]
		if m.Width != 3 || m.Height != 2 || len(m.Pix) != 18 || m.Pix[0] != want || m.Pix[17] != 255-want {
			t.Errorf("%s: read %dx%d %v, want shade %d", s.Name(i), m.Width, m.Height, m.Pix, want)
		}
	}
}

func TestPathsThatHoldNoImages(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string][]byte
		path  string // within the folder
		want  []string
	}{
		{"missing", nil, "nowhere", []string{"no such file or folder", "builtin:train"}},
		{"empty folder", nil, ".", []string{"holds no files", ".jpg", "CIFAR", "IDX"}},
		{"hidden files only", map[string][]byte{".x/a.png": shade(1)}, ".", []string{"holds no files"}},
		{"text files", map[string][]byte{"a.txt": []byte("hello"), "b.md": []byte("x")}, ".", []string{"none of the 2 files", "a.txt", ".png"}},
		{"text named jpg", map[string][]byte{"a.jpg": []byte("hello there"), "b.jpg": {}}, ".", []string{"a.jpg", "it is text", "not an image"}},
		{"a folder of damaged archives", map[string][]byte{"train.tar": {1}, "test.tar": {1}}, ".", []string{".tar: tar ends", "copy it again"}},
		{"a text file", map[string][]byte{"a.txt": []byte("hello")}, "a.txt", []string{"neither an archive", "IDX"}},
		{"a file of no bytes", map[string][]byte{"a.tar": {}}, "a.tar", []string{"empty (0 bytes)"}},
		{"CIFAR's Python form", map[string][]byte{"c/data_batch_1": {1}, "c/batches.meta": {1}}, ".", []string{"binary version"}},
		{"an unknown packer", map[string][]byte{"a.tar.zst": {0x28, 0xb5, 0x2f, 0xfd, 1, 2}}, "a.tar.zst", []string{"unpack it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Open(context.Background(), filepath.Join(folder(t, c.files), c.path), Options{})
			if err == nil {
				t.Fatalf("opened as %s", s.Kind())
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %q lacks %q, or is more than a sentence", err, w)
				}
			}
		})
	}
	for _, opts := range []Options{{Part: 7}, {MaxPixels: -1}, {CacheBytes: -1}} {
		if _, err := Open(context.Background(), "builtin:test", opts); err == nil {
			t.Errorf("options %+v were accepted", opts)
		}
	}
	if _, err := Open(context.Background(), "", Options{}); err == nil {
		t.Error("an empty path was accepted")
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, folder(t, images("a.png")), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

func TestSymbolicLinks(t *testing.T) {
	store := folder(t, images("x/1.png", "2.png"))
	dir := folder(t, images("b/0.png"))
	for link, target := range map[string]string{"a": filepath.Join(store, "x"), "b/2.png": filepath.Join(store, "2.png"), "b/up": dir, "b/gone.png": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	s := open(t, dir, Options{})
	if got, want := listing(s), "a/1.png=a b/0.png=b b/2.png=b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var m Image
	for i := range s.Len() {
		if err := s.Read(i, &m); err != nil {
			t.Error(err)
		}
	}
}

func TestBadImages(t *testing.T) {
	whole := shade(9)
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewYCbCr(image.Rect(0, 0, 64, 64), image.YCbCrSubsampleRatio420), nil); err != nil {
		t.Fatal(err)
	}
	corrupt := slices.Clone(whole)
	corrupt[len(corrupt)-20] ^= 0x55
	files := map[string][]byte{
		"ok.png": whole, "cut.png": whole[:len(whole)-30], "corrupt.png": corrupt, "cut.jpg": photo.Bytes()[:photo.Len()-30],
		"head.jpg": photo.Bytes()[:3], "corrupt.jpg": append(photo.Bytes()[:200:200], make([]byte, 400)...), "empty.gif": {}, "text.bmp": []byte("not a picture"),
		"huge.png": hugePNG(60000, 60000), "webp.webp": []byte("RIFF\x00\x00\x00\x00WEBPVP8 "), "tiff.tif": []byte("II*\x00\xff\xff\xff\xff"),
	}
	dir := folder(t, files)
	s := open(t, dir, Options{CacheBytes: 1 << 20})
	var m Image
	for range 2 { // the second time with a cache
		for i := range s.Len() {
			err := s.Read(i, &m)
			if s.Name(i) == "ok.png" {
				if err != nil {
					t.Errorf("the whole image: %v", err)
				}
				continue
			}
			var bad *BadImage
			if !errors.As(err, &bad) {
				t.Errorf("%s: error is %v, want a *BadImage", s.Name(i), err)
				continue
			}
			if bad.Name != s.Name(i) || !strings.HasPrefix(err.Error(), bad.Name+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: the error is named %q and says %q", s.Name(i), bad.Name, err)
			}
			want := map[string]string{"empty.gif": "empty (0 bytes)", "text.bmp": "it is text", "huge.png": "60000x60000", "cut.jpg": "cut short", "head.jpg": "cut short"}[bad.Name]
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q lacks %q", bad.Name, err, want)
			}
		}
	}
	os.Remove(filepath.Join(dir, "huge.png"))
	var bad *BadImage
	if err := s.Read(slices.Index(s.names, "huge.png"), &m); !errors.As(err, &bad) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that has gone gives %v, want a *BadImage for os.ErrNotExist", err)
	}
	for _, i := range []int{-1, s.Len()} {
		if err := s.Read(i, &m); err == nil || errors.As(err, &bad) {
			t.Errorf("reading image %d of %d gives %v, want an error that is no *BadImage", i, s.Len(), err)
		}
	}

	info := s.Describe(context.Background(), Survey{Decode: true, Sample: -1})
	if info.Looked != len(files) || info.Bad != len(files)-1 || len(info.BadNames) != info.Bad || len(info.Formats) != 1 || info.Formats[0] != (Format{"png", 1}) {
		t.Errorf("description of one good image and %d bad ones: %+v", len(files)-1, info)
	}
}

func TestCache(t *testing.T) {
	dir := folder(t, images("0.png", "1.png", "2.png", "3.png"))
	s := open(t, dir, Options{CacheBytes: 2 * (18 + 64)}) // two of these images
	plain := open(t, dir, Options{})
	var m, want Image
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var m Image
			for i := range 400 {
				if err := s.Read(i%2, &m); err != nil || m.Pix[0] != uint8(i%2) {
					t.Errorf("image %d, read by several at once: %v %v", i%2, m.Pix, err)
				}
				clear(m.Pix) // the cache must not see what a reader does to its copy
			}
		})
	}
	readers.Wait()
	for i := range 4 {
		for range 2 {
			if err := s.Read(i, &m); err != nil {
				t.Fatal(err)
			}
			if err := plain.Read(i, &want); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Pix, want.Pix) || m.Width != want.Width || m.Height != want.Height {
				t.Errorf("image %d is %v with a cache, %v without", i, m, want)
			}
		}
		if got := s.cache.held(i, Reading{}) != nil; got != (i < 2) {
			t.Errorf("image %d in the cache: %v; the budget is enough for the two that were read first", i, got)
		}
	}
	os.RemoveAll(dir)
	if err := s.Read(1, &m); err != nil {
		t.Errorf("a cached image needs its file: %v", err)
	}
	if left := s.cache.budget.Load(); left != 0 {
		t.Errorf("%d bytes of the cache's budget are left, want 0", left)
	}
	if n := testing.AllocsPerRun(20, func() { s.Read(0, &m) }); n != 0 {
		t.Errorf("reading from the cache allocates %v times", n)
	}
}

func TestFingerprint(t *testing.T) {
	base := images("a/1.png", "b/2.png")
	more := images("a/1.png", "b/2.png", "b/3.png")
	other := images("a/1.png", "b/2.png")
	other["a/1.png"] = plainPNG(40, 40, color.NRGBA{1, 2, 3, 255})
	prints := map[string]string{}
	for name, files := range map[string]map[string][]byte{"base": base, "more": more, "other": other, "renamed": images("a/1.png", "c/2.png")} {
		f := open(t, folder(t, files), Options{}).Fingerprint()
		if before, ok := prints[f]; ok {
			t.Errorf("%s and %s have the same fingerprint", name, before)
		}
		prints[f] = name
	}
	again := open(t, folder(t, map[string][]byte{"wrap/a/1.png": base["a/1.png"], "wrap/b/2.png": base["b/2.png"]}), Options{})
	if prints[again.Fingerprint()] != "base" {
		t.Error("the same images in another place have another fingerprint")
	}
}

func TestDescribe(t *testing.T) {
	s := open(t, folder(t, map[string][]byte{
		"cat/1.png": shade(1), "cat/2.png": plainPNG(8, 9, color.NRGBA{1, 2, 3, 255}), "dog/1.jpg": shade(3), "dog/zero.png": {}, "readme.txt": {1}, ".DS_Store": {1},
	}), Options{})
	info := s.Describe(context.Background(), Survey{})
	if got := fmt.Sprintln(info.Kind, info.Images, info.Classes, info.Ignored, info.IgnoredName, info.Looked, info.Formats, info.MinWidth, info.MaxWidth, info.MinHeight, info.MaxHeight, info.Bad, info.BadNames); got != "class folders 4 [{cat 2} {dog 2}] 2 readme.txt 4 [{png 3}] 3 8 2 9 1 [dog/zero.png: the file is empty (0 bytes)]\n" {
		t.Errorf("description is %s", got)
	}
	if info.Bytes != int64(2*len(shade(1))+len(plainPNG(8, 9, color.NRGBA{1, 2, 3, 255}))) {
		t.Errorf("%d bytes counted", info.Bytes)
	}
	if few := s.Describe(context.Background(), Survey{Sample: 2}); few.Looked != 2 || few.Images != 4 {
		t.Errorf("a sample of 2 looked at %d", few.Looked)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if none := s.Describe(ctx, Survey{}); none.Looked != 0 || none.Images != 4 || none.Bad != 0 {
		t.Errorf("a description given up at once is %+v", none)
	}
}

// MOCO_TEST_CIFAR10 names a tar or folder of CIFAR-10's training images.
func TestCIFAR10(t *testing.T) {
	path := os.Getenv("MOCO_TEST_CIFAR10")
	if path == "" {
		t.Skip("MOCO_TEST_CIFAR10 is not set")
	}
	s := open(t, path, Options{})
	if s.Len() != 50000 || len(s.Classes()) != 10 {
		t.Fatalf("%s: %d images in %d classes, want 50000 in 10", path, s.Len(), len(s.Classes()))
	}
	info := s.Describe(context.Background(), Survey{Decode: true})
	if info.Bad > 0 || info.MinWidth != 32 || info.MaxHeight != 32 || info.Classes[3].Images != 5000 {
		t.Errorf("description is %+v", info)
	}
}

func BenchmarkReadCIFAR10(b *testing.B) {
	path := os.Getenv("MOCO_TEST_CIFAR10")
	if path == "" {
		b.Skip("MOCO_TEST_CIFAR10 is not set")
	}
	for name, cache := range map[string]int64{"decoded": 0, "cached": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			s := open(b, path, Options{CacheBytes: cache})
			var m Image
			for i := range 5000 {
				s.Read(i*10, &m)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Read(i%5000*10, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Transparent pixels are laid on the ground that a set was opened with.
func TestGround(t *testing.T) {
	glass := plainPNG(2, 2, color.NRGBA{200, 100, 0, 51})
	dir := folder(t, map[string][]byte{"a.png": glass, "b.png": shade(7)})
	for ground, want := range map[picture.Ground][3]uint8{
		picture.White: {244, 224, 204}, picture.Black: {40, 20, 0}, picture.Drop: {200, 100, 0}, picture.RGB(0, 0, 255): {40, 20, 204},
	} {
		s := open(t, dir, Options{Ground: ground})
		var m Image
		if err := s.Read(0, &m); err != nil || [3]uint8(m.Pix[:3]) != want {
			t.Errorf("on %v: %v, %v, want %v", ground, m.Pix, err, want)
		}
		if err := s.Read(1, &m); err != nil || [3]uint8(m.Pix[:3]) != [3]uint8{7, 3, 248} {
			t.Errorf("on %v an opaque picture is %v, %v", ground, m.Pix, err)
		}
	}
}
