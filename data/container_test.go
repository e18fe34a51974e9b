package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file is a file to be packed, in order.
type file struct {
	name    string
	content []byte
}

func packTar(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: 0o644, Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		w.Write(f.content)
	}
	w.Close()
	return b.Bytes()
}

func packZip(files ...file) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, err := w.Create(f.name)
		if err != nil {
			panic(err)
		}
		e.Write(f.content)
	}
	w.Close()
	return b.Bytes()
}

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(content)
	w.Close()
	return b.Bytes()
}

// onDisk writes content to a file of that name.
func onDisk(t testing.TB, name string, content []byte) string {
	return filepath.Join(folder(t, map[string][]byte{name: content}), name)
}

func TestArchivesHoldTheSameAsFolders(t *testing.T) {
	long := strings.Repeat("long-", 30) + "name.png" // more than an old header can hold
	files := []file{
		{"./", nil}, {"./set/", nil}, {"./set/dog/b.png", shade(4)}, {"./set/dog/" + long, shade(5)}, {"./set/cat/a.png", shade(6)},
		{"./set/readme.md", []byte("words")}, {"./set/cat/.a.png", shade(7)}, {"./set/._cat", nil},
	}
	dir := map[string][]byte{}
	for _, f := range files {
		if !strings.HasSuffix(f.name, "/") {
			dir[strings.TrimPrefix(f.name, "./")] = f.content
		}
	}
	want := open(t, folder(t, dir), Options{})
	old := append(packTar(files...), make([]byte, 4096)...) // with more padding, as tar itself writes
	for _, c := range []struct {
		name, kind string
		content    []byte
	}{
		{"a.tar", "tar of class folders", old},
		{"no-extension", "tar of class folders", old},
		{"a.tar.gz", "tar.gz of class folders", gzipped(old)},
		{"a.tgz", "tar.gz of class folders", gzipped(old)},
		{"a.zip", "zip of class folders", packZip(files...)},
		{"in-the-windows-way.zip", "zip of class folders", packZip(file{`set\dog\b.png`, shade(4)}, file{`set\dog\` + long, shade(5)}, file{`set\cat\a.png`, shade(6)}, file{`set\x`, nil}, file{`__MACOSX/set/b.png`, nil}, file{".x", nil})},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, onDisk(t, c.name, c.content), Options{})
			if s.Kind() != c.kind {
				t.Errorf("kind is %q, want %q", s.Kind(), c.kind)
			}
			if got, want := listing(s), listing(want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			left := s.LeftOut()
			if hidden := left.Files - left.Endings[0].Files; hidden != 2 || len(left.Endings) != 1 || left.Endings[0].Files != 1 {
				t.Errorf("left out %+v, want 2 hidden files and 1 other", left)
			}
			if s.Fingerprint() != want.Fingerprint() {
				t.Error("the fingerprint is not that of the folder")
			}
			var a, b Image
			for i := range s.Len() {
				if err := s.Read(i, &a); err != nil {
					t.Fatal(err)
				}
				if err := want.Read(i, &b); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(a.Pix, b.Pix) {
					t.Errorf("%s: pixels %v, in the folder %v", s.Name(i), a.Pix, b.Pix)
				}
			}
		})
	}
}

func TestFlatArchive(t *testing.T) {
	s := open(t, onDisk(t, "a.tar", packTar(file{"b.png", shade(1)}, file{"a.png", shade(2)}, file{"b.png", shade(3)})), Options{})
	if got := s.Kind() + ": " + listing(s); got != "tar of images: a.png=- b.png=-" {
		t.Errorf("got %s", got)
	}
	var m Image
	if err := s.Read(1, &m); err != nil || m.Pix[0] != 3 {
		t.Errorf("of two files of one name the last counts: got shade %v, %v", m.Pix, err)
	}
}

// A tar that is cut anywhere either opens with all that it held so far, which is when only the end mark is
// missing, or is refused with a sentence that says where it ends.
func TestCutTar(t *testing.T) {
	small, large := shade(1), bytes.Repeat([]byte("x"), 3000)
	whole := packTar(file{"a.png", small}, file{"b.png", large}, file{"c.png", small})
	ends := map[int]int{} // the offset where n files are whole
	at := 0
	for n, size := range []int{len(small), len(large), len(small)} {
		at += 512 + size
		ends[n+1] = at
		at = (at + 511) / 512 * 512
	}
	for cut := 1; cut < len(whole); cut += 37 {
		_, err := Open(context.Background(), onDisk(t, "cut.tar", whole[:cut]), Options{})
		fits := false
		for _, end := range ends {
			fits = fits || (cut >= end && cut <= (end+511)/512*512)
		}
		fits = fits || cut >= ends[3]
		switch {
		case fits && err != nil:
			t.Errorf("cut after %d bytes, between files: %v", cut, err)
		case !fits && err == nil:
			t.Errorf("cut after %d bytes, within a file: opened", cut)
		case !fits && (!strings.Contains(err.Error(), "copy it again") || strings.Contains(err.Error(), "\n")):
			t.Errorf("cut after %d bytes: %q does not say what to do", cut, err)
		}
	}
	_, err := Open(context.Background(), onDisk(t, "cut.tar", whole[:512+512+512+1000]), Options{})
	if err == nil || !strings.Contains(err.Error(), "tar ends in the middle of b.png, after 1 whole files") {
		t.Errorf("the error is %v", err)
	}
}

func TestDamagedArchives(t *testing.T) {
	whole := packTar(file{"a.png", shade(1)}, file{"b.png", shade(2)})
	broken := bytes.Clone(whole)
	broken[1024+150] ^= 1 // the second header's checksum
	packed := gzipped(whole)
	flipped := bytes.Clone(packed)
	flipped[len(flipped)-6] ^= 1
	sparse := bytes.Clone(whole)
	sparse[156] = tar.TypeGNUSparse
	copy(sparse[257:], "ustar  \x00")
	copy(sparse[148:], "        ")
	sum := 0
	for _, b := range sparse[:512] {
		sum += int(b)
	}
	copy(sparse[148:], fmt.Sprintf("%06o\x00", sum))
	zipped := packZip(file{"a.png", shade(1)})
	for _, c := range []struct {
		name, as string
		content  []byte
		want     string
	}{
		{"a header is damaged", "a.tar", broken, "tar is damaged after a.png"},
		{"not a tar", "a.tar", []byte(strings.Repeat("hello ", 200)), "tar is damaged"},
		{"a sparse file", "a.tar", sparse, "as plain files"},
		{"gzip cut short", "a.tgz", packed[:len(packed)-20], "cut short"},
		{"gzip with a wrong sum", "a.tgz", flipped, "damaged"},
		{"zip cut short", "a.zip", zipped[:len(zipped)-30], "cut short"},
		{"tar without files", "a.tar", packTar(), "holds no files"},
		{"zip without files", "a.zip", packZip(), "holds no files"},
		{"zip of text", "a.zip", packZip(file{"a.txt", nil}), "none of the 1 files in this zip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(context.Background(), onDisk(t, c.as, c.content), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want one sentence with %q", err, c.want)
			}
		})
	}
}

func TestUnpackingHasALimit(t *testing.T) {
	packed := gzipped(make([]byte, 9<<20))
	open := func(limit int64) error {
		_, err := gunzip(context.Background(), bytes.NewReader(packed), int64(len(packed)), limit)
		return err
	}
	if err := open(9 << 20); err != nil {
		t.Errorf("exactly as long as allowed: %v", err)
	}
	if err := open(9<<20 - 1); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("longer than allowed gives %v", err)
	}
	copy(packed[len(packed)-4:], []byte{0, 0, 0, 0}) // the size that the file claims is not trusted
	if err := open(1 << 20); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("longer than allowed and than claimed gives %v", err)
	}
}

func TestZipEntryDamaged(t *testing.T) {
	content := packZip(file{"a.png", bytes.Repeat(shade(1), 50)}, file{"b.png", shade(2)})
	content[60] ^= 0xff
	s := open(t, onDisk(t, "a.zip", content), Options{})
	var m Image
	if err := s.Read(0, &m); err == nil {
		t.Error("a damaged entry was read")
	}
	if err := s.Read(1, &m); err != nil {
		t.Errorf("the entry beside it: %v", err)
	}
}

// readAllOf reads what an archive lists, which must not panic whatever its bytes are.
func readAllOf(t *testing.T, box *container) {
	for i, e := range box.entries {
		if i > 0 && box.entries[i-1].name >= e.name {
			t.Errorf("entries %q and %q are not in order, or the same", box.entries[i-1].name, e.name)
		}
		content, err := box.read(e, nil)
		if err == nil && box.what == "tar" && int64(len(content)) != e.size {
			t.Errorf("%q has %d bytes, read %d", e.name, e.size, len(content))
		}
	}
	lay := arrange(append(namesOf(box), "x/y.png"), Train)
	if len(lay.names) != len(lay.keep) || (lay.labels != nil && len(lay.labels) != len(lay.keep)) {
		t.Errorf("layout of %q does not add up: %+v", namesOf(box), lay)
	}
}

func namesOf(box *container) (names []string) {
	for _, e := range box.entries {
		names = append(names, e.name)
	}
	return names
}

func FuzzTar(f *testing.F) {
	f.Add(packTar(file{"train/a.png", shade(1)}, file{"train/b/c.png", shade(2)}))
	f.Add(packTar(file{"train/a/1.png", nil}, file{"test/../" + strings.Repeat("b", 200), nil}))
	f.Add(packTar(file{"a.png", shade(1)})[:600])
	f.Fuzz(func(t *testing.T, content []byte) {
		if box, err := indexTar(context.Background(), bytes.NewReader(content), int64(len(content))); err == nil {
			readAllOf(t, box)
		}
	})
}

func FuzzZip(f *testing.F) {
	f.Add(packZip(file{"train/a.png", shade(1)}, file{"train/b/c.png", shade(2)}))
	f.Add(packZip(file{"../a", nil}, file{"/b", nil}))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, content []byte) {
		if box, err := indexZip(context.Background(), bytes.NewReader(content), int64(len(content))); err == nil {
			readAllOf(t, box)
		}
	})
}

func BenchmarkOpenTar(b *testing.B) {
	var files []file
	for i := range 10000 {
		files = append(files, file{fmt.Sprintf("c%d/%05d.png", i%10, i), shade(uint8(i))})
	}
	name := filepath.Join(b.TempDir(), "a.tar")
	if err := os.WriteFile(name, packTar(files...), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		open(b, name, Options{})
	}
}
