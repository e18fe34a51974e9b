package data

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// film is a set of videos as "name: frame frame ..." lines, frames in order of time.
func film(s *Set) string {
	var lines []string
	for g := range s.Groups() {
		var names []string
		for at, i := range s.Members(g) {
			if s.Group(i) != g || s.Place(i) != at {
				return fmt.Sprintf("image %d is number %d of group %d, but says %d of %d", i, at, g, s.Place(i), s.Group(i))
			}
			names = append(names, s.Name(i))
		}
		lines = append(lines, s.GroupName(g)+": "+strings.Join(names, " "))
	}
	return strings.Join(lines, "\n")
}

// animation is a GIF of n frames of 4x3 pixels, each of one colour: first, first+1, ... of red.
func animation(first uint8, n int) []byte {
	g := &gif.GIF{}
	for k := range n {
		m := image.NewPaletted(image.Rect(0, 0, 4, 3), color.Palette{color.RGBA{first + uint8(k), 0, 0, 255}, color.Black})
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 5)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestVideos(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string][]byte
		part  Part
		want  string // film
		class string // of the first image
		wrong string // what CheckGroups says
	}{
		{"folders", images("b/f10.png", "b/f9.png", "a/2.png", "a/1.png"), Any, "a: a/1.png a/2.png\nb: b/f9.png b/f10.png", "", ""},
		{"folders in class folders", images("dog/x/2.png", "dog/x/1.png", "cat/y/1.png", "cat/y/2.png"), Any, "cat/y: cat/y/1.png cat/y/2.png\ndog/x: dog/x/1.png dog/x/2.png", "cat", ""},
		{"one half of them", images("train/dog/x/1.png", "train/dog/x/2.png", "train/dog/z/1.png", "train/dog/z/2.png", "test/dog/y/1.png"), Train, "train/dog/x: train/dog/x/1.png train/dog/x/2.png\ntrain/dog/z: train/dog/z/1.png train/dog/z/2.png", "", ""},
		{"animations, and a still one", map[string][]byte{"x.gif": animation(3, 2), "v/1.gif": animation(9, 1), "v/2.png": shade(1), "notes.txt": nil}, Any,
			"v: v/1.gif v/2.png\nx.gif: x.gif/000000 x.gif/000001", "", ""},
		{"a damaged animation", map[string][]byte{"x.gif": animation(3, 2), "y.gif": animation(3, 2)[:60], "z.gif": animation(3, 2)}, Any,
			"x.gif: x.gif/000000 x.gif/000001\ny.gif: y.gif/0\nz.gif: z.gif/000000 z.gif/000001", "", ""},
		{"one video", images("1.png", "2.png"), Any, ".: 1.png 2.png", "", `a single video (".")`},
		{"a video of one frame", images("a/1.png", "a/2.png", "b/1.png"), Any, "a: a/1.png a/2.png\nb: b/1.png", "", `"b" has a single frame`},
		{"videos of one frame", images("a/1.png", "b/1.png"), Any, "a: a/1.png\nb: b/1.png", "", "2 videos have a single frame"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, folder(t, c.files), Options{Frames: true, Part: c.part})
			if got := film(s); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			class := ""
			if l := s.Label(0); l >= 0 {
				class = s.Classes()[l]
			}
			if class != c.class {
				t.Errorf("the first image is of class %q, want %q", class, c.class)
			}
			if err := s.CheckGroups(); (err == nil) != (c.wrong == "") || (err != nil && !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("CheckGroups says %v, want %q", err, c.wrong)
			}
			if !slices.IsSorted(s.names) {
				t.Errorf("the names are not sorted: %q", s.names)
			}
		})
	}
	if s := open(t, folder(t, images("a/1.png")), Options{}); s.Groups() != 0 || s.Group(0) != -1 || s.CheckGroups() == nil {
		t.Error("a set that was not opened for its videos has groups")
	}
	for _, c := range []struct {
		path string
		opts Options
		want string
	}{
		{folder(t, map[string][]byte{"a.txt": nil}), Options{Frames: true}, "holds no videos"},
		{"builtin:train", Options{Frames: true}, "holds no videos"},
		{folder(t, images("a/1.png")), Options{Frames: true, Pairs: "x.csv"}, "exclude"},
		{folder(t, images("a/1.png")), Options{Frames: true, FPS: -1}, "frames a second"},
		{onDisk(t, "a.zip", packZip(file{"a.mp4", shade(1)})), Options{Frames: true}, "unpack the archive"},
	} {
		if _, err := Open(context.Background(), c.path, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %+v gives %v, want %q", filepath.Base(c.path), c.opts, err, c.want)
		}
	}
}

// The frames of an animation are read in any order, cached or not, and are what they were.
func TestFramesOfAnAnimation(t *testing.T) {
	dir := folder(t, map[string][]byte{"a.gif": animation(10, 5), "b.gif": animation(100, 3), "c.gif": animation(10, 5)[:75]})
	for _, cache := range []int64{0, 300, 1 << 20} {
		s := open(t, dir, Options{Frames: true, CacheBytes: cache})
		var m Image
		for _, i := range []int{7, 3, 0, 4, 1, 5, 2, 6, 3, 7} {
			if err := s.Read(i, &m); err != nil {
				t.Fatal(err)
			}
			want := uint8(10 + i)
			if i >= 5 {
				want = uint8(100 + i - 5)
			}
			if m.Width != 4 || m.Height != 3 || m.Pix[0] != want || m.Pix[33] != want {
				t.Errorf("%s with a cache of %d is %dx%d and begins with %d, want 4x3 and %d", s.Name(i), cache, m.Width, m.Height, m.Pix[0], want)
			}
		}
		if err := s.Read(8, &m); err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("the cut GIF gives %v", err)
		}
	}
}

func TestVideoFiles(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	dir := folder(t, map[string][]byte{"broken.mp4": shade(1), "x.gif": animation(1, 2)})
	if err != nil {
		t.Skip("NOT TESTED: there is no ffmpeg")
	}
	// Two seconds of a grey that grows lighter.
	c := exec.Command(ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "color=gray:size=32x24:rate=10:duration=2,geq=lum='10*N':cb=128:cr=128", "-c:v", "mpeg4", filepath.Join(dir, "a.mp4"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: this ffmpeg makes no video: %s", out)
	}
	told := 0
	s, err := Open(context.Background(), dir, Options{Frames: true, FPS: 4, Progress: func(done, total int) { told += done * total }})
	if err != nil {
		t.Fatal(err)
	}
	unpacked := s.backend.(*videoFrames).unpacked
	if want := "a.mp4: a.mp4/000001.png"; !strings.HasPrefix(film(s), want) || s.Groups() != 3 || told != 2+4 {
		t.Errorf("got\n%s\nwant it to begin with %q; progress %d", film(s), want, told)
	}
	if n := len(s.Members(0)); n != 8 {
		t.Errorf("two seconds at 4 frames a second give %d", n)
	}
	var m Image
	last := -1
	for _, i := range s.Members(0) {
		if err := s.Read(i, &m); err != nil {
			t.Fatal(err)
		}
		if m.Width != 32 || m.Height != 24 || int(m.Pix[0]) <= last {
			t.Errorf("%s is %dx%d and begins with %d after %d; want 32x24 and growing lighter", s.Name(i), m.Width, m.Height, m.Pix[0], last)
		}
		last = int(m.Pix[0])
	}
	if err := s.Read(s.Members(1)[0], &m); err == nil || !strings.Contains(err.Error(), "ffmpeg cannot read") {
		t.Errorf("the broken video gives %v", err)
	}
	if other := open(t, dir, Options{Frames: true, FPS: 3}); other.Fingerprint() == s.Fingerprint() {
		t.Error("frames at another rate have the same fingerprint")
	}
	if again := open(t, dir, Options{Frames: true, FPS: 4}); again.Fingerprint() != s.Fingerprint() {
		t.Error("the same frames have another fingerprint")
	}
	s.Close()
	if _, err := os.Stat(unpacked); !os.IsNotExist(err) {
		t.Errorf("the unpacked frames are still there after Close (%v)", err)
	}
}

func TestNoFFmpeg(t *testing.T) {
	dir := folder(t, map[string][]byte{"a.mp4": shade(1)})
	t.Setenv("PATH", t.TempDir())
	_, err := Open(context.Background(), dir, Options{Frames: true})
	if err == nil || !strings.Contains(err.Error(), "a.mp4 is a video file, and reading it takes ffmpeg, which is not installed") {
		t.Errorf("got %v", err)
	}
}

func TestPairs(t *testing.T) {
	dir := folder(t, images("in/cat/1.png", "in/cat/2.png", "in/dog/1.png", "in/dog/2.png", "in/dog/3.png"))
	list := func(text string) string {
		name := filepath.Join(dir, "pairs.csv")
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	data := filepath.Join(dir, "in")
	want := "a: cat/1.png dog/3.png\nb: cat/2.png dog/1.png"
	prints := map[string]bool{}
	for _, text := range []string{
		"path,group\ncat/1.png,a\ndog/3.png,a\n\ndog/1.png,b\ncat/2.png,b\n",
		"cat/1.png,a\ncat/2.png, b\r\n./dog/3.png,a\ndog/1.png,b",
		"\ufeffPath,Group\n\"in/cat/1.png\",a\nin/cat/2.png,b\n" + data + "/dog/3.png,a\nin/../in/dog/1.png,b\n",
	} {
		s := open(t, data, Options{Pairs: list(text)})
		if got := film(s); got != want {
			t.Errorf("%q gives\n%s\nwant\n%s", text, got, want)
		}
		if err := s.CheckGroups(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		var m Image
		if err := s.Read(3, &m); err != nil || m.Pix[0] != 4 || s.Label(3) != 1 {
			t.Errorf("%s is of class %d and begins with %v (%v); want 1 and 4", s.Name(3), s.Label(3), m.Pix[:min(1, len(m.Pix))], err)
		}
		prints[s.Fingerprint()] = true
	}
	prints[open(t, data, Options{Pairs: list("cat/1.png,a\ndog/3.png,b\ndog/1.png,b\ncat/2.png,a\n")}).Fingerprint()] = true
	prints[open(t, data, Options{}).Fingerprint()] = true
	if len(prints) != 3 {
		t.Errorf("%d fingerprints, want one for the same pairs in three ways, one for others, one for none", len(prints))
	}
	if s := open(t, "builtin:train?n=40", Options{Pairs: list("train/000000-checker,a\ntrain/000010-checker,a\ntrain/000001-cross,b\ntrain/000011-cross,b"), CacheBytes: 1 << 20}); s.Len() != 4 || s.CheckGroups() != nil {
		t.Errorf("pairs of the built-in set: %d images, %v", s.Len(), s.CheckGroups())
	}
	if err := open(t, data, Options{Pairs: list("cat/1.png,a\ndog/3.png,a\ncat/2.png,b")}).CheckGroups(); err == nil || !strings.Contains(err.Error(), `group "b" has a single image`) {
		t.Errorf("a group of one gives %v", err)
	}
	for text, want := range map[string]string{
		"":                             "lists no images",
		"path,group\n":                 "lists no images",
		"cat/1.png,a\ncat/2.png":       "line 2 has 1 fields",
		"cat/1.png,a\ncat/2.png,":      "line 2 lacks",
		"cat/1.png,a\ncat/1.png,b":     "line 2: cat/1.png is listed on line 1 already",
		"cat/1.png,a\nin/cat/1.png,a":  "is listed on line 1 already",
		"cat/1.png,a\ncat/9.png,a":     "line 2: cat/9.png is not among the images of",
		"../../../etc/passwd,a\nx,a":   "is not among the images",
		"cat/1.png,\"a\ncat/2.png,b\n": "not a CSV",
	} {
		if _, err := Open(context.Background(), data, Options{Pairs: list(text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want %q", text, err, want)
		}
	}
}

func FuzzPairs(f *testing.F) {
	f.Add("path,group\na.png,1\nb.png,1\n")
	f.Add("\ufeffa,\"b\nc\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := readPairs(strings.NewReader(text))
		if (err == nil) != (len(lines) > 0) {
			t.Errorf("%d lines and %v", len(lines), err)
		}
		for _, l := range lines {
			if l.path == "" || l.group == "" || l.line < 1 {
				t.Errorf("%+v lacks something", l)
			}
		}
	})
}

func TestNatural(t *testing.T) {
	sorted := []string{"", "a", "a1", "a2", "a2b", "a10", "a10.png", "a010.png", "a11", "b", "frame9", "frame10", "z99999999999999999999999", "z100000000000000000000000"}
	for i, a := range sorted {
		for j, b := range sorted {
			if c := natural(a, b); (c < 0) != (i < j) || (c > 0) != (i > j) {
				if !(strings.Contains(a, "10.png") && strings.Contains(b, "10.png")) || c == 0 {
					t.Errorf("natural(%q, %q) is %d", a, b, c)
				}
			}
		}
	}
}
