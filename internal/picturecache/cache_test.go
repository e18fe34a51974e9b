package picturecache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// plenty is a limit that is not reached.
const plenty = 1 << 30

// picture is the n-th of several pictures, all different.
func picture(n int) (k Key, width, height int, pix []byte) {
	binary.LittleEndian.PutUint64(k[:], uint64(n)+1)
	width, height = 1+n%7, 1+n%5
	pix = make([]byte, 3*width*height)
	for i := range pix {
		pix[i] = byte(n*31 + i*i)
	}
	return k, width, height, pix
}

func openIn(t testing.TB, dir string, limit int64, id byte) *File {
	t.Helper()
	f, err := Open(dir, limit, [32]byte{id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func put(t testing.TB, f *File, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		if err := f.Put(picture(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// holds returns which of the first pictures are there, one letter each, and fails if one is wrong.
func holds(t testing.TB, f *File, count int) string {
	t.Helper()
	var b strings.Builder
	for n := range count {
		k, width, height, want := picture(n)
		w, h, pix, ok := f.Get(k, nil)
		switch {
		case !ok:
			b.WriteByte('.')
		case w != width || h != height || !bytes.Equal(pix, want):
			t.Fatalf("picture %d comes back as %dx%d %v, want %dx%d %v", n, w, h, pix, width, height, want)
		default:
			b.WriteByte('x')
		}
	}
	return b.String()
}

func wantHeld(t testing.TB, f *File, want string) {
	t.Helper()
	if got := holds(t, f, len(want)); got != want {
		t.Errorf("pictures %s are there, want %s", got, want)
	}
}

func TestNextRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	f := openIn(t, dir, plenty, 1)
	put(t, f, 0, 1, 3, 1)
	wantHeld(t, f, "xx.x.")
	other := openIn(t, dir, plenty, 2)
	wantHeld(t, other, ".....")
	put(t, other, 4)
	f.Close()
	wantHeld(t, f, ".....")
	again := openIn(t, dir, plenty, 1)
	wantHeld(t, again, "xx.x.")
	put(t, again, 2)
	wantHeld(t, again, "xxxx.")
	if again.Len() != 4 || again.Full() {
		t.Errorf("%d pictures, full: %v", again.Len(), again.Full())
	}
	info, err := os.Stat(again.f.Name())
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read the pictures: %v, %v", info.Mode(), err)
	}
}

func TestGetKeepsMemory(t *testing.T) { // counts allocations, so not in parallel
	f := openIn(t, t.TempDir(), plenty, 1)
	put(t, f, 3)
	k, _, _, want := picture(3)
	buf := make([]byte, 0, 1000)
	if n := testing.AllocsPerRun(10, func() { _, _, buf, _ = f.Get(k, buf) }); n > 1 || !bytes.Equal(buf, want) {
		t.Errorf("a get allocates %v times and gives %v", n, buf)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	f := openIn(t, t.TempDir(), plenty, 1)
	for _, c := range []struct{ width, height, bytes int }{{1, 1, 4}, {0, 1, 0}, {-1, -1, 3}, {2, 1, 3}} {
		if err := f.Put(Key{1}, c.width, c.height, make([]byte, c.bytes)); err == nil {
			t.Errorf("a picture of %dx%d in %d bytes is taken", c.width, c.height, c.bytes)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, plenty, [32]byte{}); err == nil || Usable(file) == nil {
		t.Error("a file is taken for a folder")
	}
	if err := Usable(t.TempDir()); err != nil {
		t.Error(err)
	}
}

// TestDamage: whatever happened to a file, no wrong picture comes out of it, and it can be used on.
func TestDamage(t *testing.T) {
	t.Parallel()
	const count = 6
	records := make([]int64, count+1) // where each begins
	records[0] = fileHeadBytes
	for n := range count {
		_, _, _, pix := picture(n)
		records[n+1] = records[n] + headBytes + int64(len(pix))
	}
	flip := func(at int64) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 0x40; return b }
	}
	cut := func(at int64) func([]byte) []byte { return func(b []byte) []byte { return b[:at] } }
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"none", cut(records[count]), "xxxxxx"},
		{"torn in a record's head", cut(records[4] + 7), "xxxx.."},
		{"torn in a record's pixels", cut(records[5] - 1), "xxxx.."},
		{"torn between records", cut(records[5]), "xxxxx."},
		{"torn in the file's head", cut(fileHeadBytes - 3), "......"},
		{"nothing but the file's head", cut(fileHeadBytes), "......"},
		{"empty", cut(0), "......"},
		{"zeros at the end", func(b []byte) []byte { return append(b, make([]byte, 500)...) }, "xxxxxx"},
		{"another pixel", flip(records[2] + headBytes), "xx.xxx"},
		{"another key", flip(records[2] + 4), "xx...."},
		{"another width", flip(records[2] + 20), "xx...."},
		{"another checksum of pixels", flip(records[2] + 28), "xx...."},
		{"another checksum of the head", flip(records[2]), "xx...."},
		{"records one byte later", func(b []byte) []byte {
			return bytes.Join([][]byte{b[:fileHeadBytes], {0}, b[fileHeadBytes:]}, nil)
		}, "......"},
		{"a record twice", func(b []byte) []byte { return append(b, b[records[1]:records[2]]...) }, "xxxxxx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := openIn(t, dir, plenty, 1)
			put(t, f, 0, 1, 2, 3, 4, 5)
			path := f.f.Name()
			f.Close()
			b, err := os.ReadFile(path)
			if err != nil || int64(len(b)) != records[count] {
				t.Fatalf("%d bytes, want %d; %v", len(b), records[count], err)
			}
			if err := os.WriteFile(path, c.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			again := openIn(t, dir, plenty, 1)
			wantHeld(t, again, c.want)
			put(t, again, 5, 4, 3, 2, 1, 0)
			wantHeld(t, again, "xxxxxx")
			again.Close()
			wantHeld(t, openIn(t, dir, plenty, 1), "xxxxxx")
		})
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := openIn(t, dir, plenty, 1)
	path := f.f.Name()
	f.Close()
	for _, content := range []string{"x", "moco pictures 2\n" + strings.Repeat("a", 90), strings.Repeat("photo", 30)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var foreign *ForeignError
		if _, err := Open(dir, plenty, [32]byte{1}); !errors.As(err, &foreign) || foreign.Path != path {
			t.Errorf("%.20q: %v, want a ForeignError of %s", content, err, path)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%.20q was changed to %q", content, b)
		}
	}
}

// TestLimit: the files of a folder keep within the limit. Those that nobody uses make room, the one
// that was unused for longest first; files of others are not touched.
func TestLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, older, busy := openIn(t, dir, plenty, 1), openIn(t, dir, plenty, 2), openIn(t, dir, plenty, 3)
	for _, f := range []*File{old, older, busy} {
		put(t, f, 6)
	}
	_, _, _, pix := picture(6)
	one := headBytes + int64(len(pix))
	age := func(f *File, hours int) {
		when := time.Now().Add(-time.Duration(hours) * time.Hour)
		if err := os.Chtimes(f.f.Name(), when, when); err != nil {
			t.Fatal(err)
		}
	}
	age(old, 1)
	age(older, 2)
	age(busy, 3)
	old.Close()
	older.Close()
	foreign := []string{"notes.txt", "0123.pictures", "0123456789abcdef.pictures"}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const heads = 4 * fileHeadBytes
	f := openIn(t, dir, heads+3*one+one/2+4, 4) // room for a half picture more; the last foreign file counts
	there := func(c *File) bool { _, err := os.Stat(c.f.Name()); return err == nil }
	put(t, f, 6)
	if !there(old) || there(older) || !there(busy) {
		t.Errorf("after one picture old, older, busy are there: %v %v %v; want older gone", there(old), there(older), there(busy))
	}
	put(t, f, 13)
	if there(old) || !there(busy) || f.Full() {
		t.Errorf("after two pictures old, busy are there: %v %v, full: %v; want old gone", there(old), there(busy), f.Full())
	}
	for n := range 20 {
		put(t, f, 20+n)
	}
	if !there(busy) || !f.Full() {
		t.Errorf("a file in use is there: %v; full: %v", there(busy), f.Full())
	}
	wantHeld(t, busy, "......x")
	var total int64
	for _, c := range []*File{f, busy} {
		info, err := os.Stat(c.f.Name())
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > f.limit {
		t.Errorf("%d bytes are taken of %d", total, f.limit)
	}
	for _, name := range foreign {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "mine" {
			t.Errorf("%s, which is not the cache's, is %q, %v", name, b, err)
		}
	}
}

// TestTwoAtOnce: two that have a file open see what the other appends, and write nothing twice.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := openIn(t, dir, plenty, 1), openIn(t, dir, plenty, 1)
	put(t, a, 0, 1)
	put(t, b, 1, 2) // sees what is there before it appends
	wantHeld(t, b, "xxx.")
	put(t, a, 2, 3)
	wantHeld(t, a, "xxxx")
	size, err := a.f.Stat()
	if err != nil || a.end != size.Size() || a.Len() != 4 {
		t.Errorf("the file's end is known as %d, it has %d bytes for %d pictures; %v", a.end, size.Size(), a.Len(), err)
	}
	if err := os.Truncate(a.f.Name(), fileHeadBytes+5); err != nil { // as if a third had found damage
		t.Fatal(err)
	}
	put(t, b, 0)
	wantHeld(t, b, "x...")
	wantHeld(t, a, "x...")
	put(t, a, 0, 1)
	wantHeld(t, a, "xx..")
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const count = 60
	var workers sync.WaitGroup
	for w := range 4 {
		f := openIn(t, dir, plenty, 1)
		for half := range 2 {
			workers.Go(func() {
				for i := range count {
					n := (i + w*count/4 + half*count/2) % count
					if err := f.Put(picture(n)); err != nil {
						t.Error(err)
					}
					holds(t, f, 5)
				}
			})
		}
	}
	workers.Wait()
	f := openIn(t, dir, plenty, 1)
	wantHeld(t, f, strings.Repeat("x", count))
	if f.Len() != count {
		t.Errorf("%d pictures, want %d", f.Len(), count)
	}
}

// TestKilled: processes that are killed while they append leave a file that is right.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("PICTURECACHE_DIR"); dir != "" {
		f := openIn(t, dir, plenty, 1)
		fmt.Println("ready")
		for n := range 100_000 { // killed long before
			put(t, f, n)
		}
		return
	}
	t.Parallel()
	dir := t.TempDir()
	for range 3 {
		var both [2]*exec.Cmd
		for i := range both {
			c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
			c.Env = append(os.Environ(), "PICTURECACHE_DIR="+dir)
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			both[i] = c
		}
		f := openIn(t, dir, plenty, 1)
		before := f.Len()
		for f.Len() < before+50 { // they are at work: what this one puts shows it what they have
			put(t, f, f.Len())
		}
		for _, c := range both {
			c.Process.Kill()
			c.Wait()
		}
		f.Close()
		again := openIn(t, dir, plenty, 1)
		if got := holds(t, again, again.Len()); strings.Contains(got, ".") {
			t.Errorf("pictures are missing: %s", got)
		}
	}
}

func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	c := openIn(f, dir, plenty, 1)
	put(f, c, 0, 1, 2)
	whole, err := os.ReadFile(c.f.Name())
	if err != nil {
		f.Fatal(err)
	}
	c.Close()
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append(bytes.Clone(whole), whole[fileHeadBytes:]...))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		c := openIn(t, dir, plenty, 1)
		path := c.f.Name()
		c.Close()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(dir, plenty, [32]byte{1})
		var foreign *ForeignError
		if errors.As(err, &foreign) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		holds(t, c, 5)
		put(t, c, 4, 3, 2, 1, 0)
		wantHeld(t, c, "xxxxx")
	})
}
