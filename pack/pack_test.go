package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/data"
	"moco/internal/event"
	"moco/internal/lock"
)

// encoded is a picture with a gradient, as PNG or JPEG.
func encoded(t testing.TB, w, h int, shade uint8, asJPEG bool) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{shade, uint8(x), uint8(y), 255})
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, m)
	if asJPEG {
		b.Reset()
		err = jpeg.Encode(&b, m, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// photos is a folder of 10 pictures in two classes, one of them broken.
func photos(t testing.TB) string {
	dir := t.TempDir()
	for i := range 10 {
		content, ending := encoded(t, 30+10*i, 40, uint8(20*i), i%2 == 0), ".png"
		if i%2 == 0 {
			ending = ".jpg"
		}
		if i == 4 {
			content = []byte("no picture")
		}
		path := filepath.Join(dir, []string{"cat", "dog"}[i/5], fmt.Sprintf("p%d%s", i, ending))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t testing.TB, path string) *data.Set {
	t.Helper()
	s, err := data.Open(context.Background(), path, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// names lists the files of a shard.
func names(t testing.TB, path string) (list []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h.Name)
	}
}

// folderBytes is all that a folder holds.
func folderBytes(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(raw)
	}
	return all
}

func TestPack(t *testing.T) {
	t.Parallel()
	from := open(t, photos(t))
	for _, c := range []struct {
		name    string
		options Options
		shards  int
		size    string // of the last picture
	}{
		{"as they are", Options{}, 1, "120x40"},
		{"by images", Options{Images: 4}, 3, "120x40"},
		{"by bytes", Options{Bytes: 6000}, 9, "120x40"},
		{"shorter side", Options{Side: 20}, 1, "60x20"},
		{"longer side", Options{Side: 60, Longest: true}, 1, "60x20"},
		{"larger than all", Options{Side: 500}, 1, "120x40"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := c.options
			o.Data, o.Out, o.MaxBad = from, filepath.Join(t.TempDir(), "out"), 0.1
			done, err := Run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if done.Images != 9 || done.BadImages != 1 || done.BadNames[0] != "cat/p4.jpg" || done.Shards != c.shards && c.name != "by bytes" || done.Shards < c.shards/2 {
				t.Errorf("%+v", done)
			}
			to := open(t, o.Out)
			if to.Len() != 9 || strings.Join(to.Classes(), " ") != "cat dog" || to.LeftOut().Files != 0 {
				t.Fatalf("%d pictures in %v, left out %+v", to.Len(), to.Classes(), to.LeftOut())
			}
			var a, b data.Image
			for i := range to.Len() {
				j := i // in the set, where picture 4 is broken
				if i >= 4 {
					j++
				}
				if err := errors.Join(to.Read(i, &a), from.Read(j, &b)); err != nil {
					t.Fatal(err)
				}
				if to.Label(i) != from.Label(j) {
					t.Errorf("picture %d has label %d, want %d", i, to.Label(i), from.Label(j))
				}
				if o.Side == 0 && !bytes.Equal(a.Pix, b.Pix) {
					t.Errorf("picture %d has changed", i)
				}
			}
			if got := fmt.Sprintf("%dx%d", a.Width, a.Height); got != c.size {
				t.Errorf("the last picture is %s, want %s", got, c.size)
			}
			again := o
			again.Out = filepath.Join(t.TempDir(), "again")
			if _, err := Run(context.Background(), again); err != nil {
				t.Fatal(err)
			}
			x, y := folderBytes(t, o.Out), folderBytes(t, again.Out)
			for name := range x {
				if x[name] != y[name] {
					t.Errorf("%s has other bytes the second time", name)
				}
			}
		})
	}
}

// TestPixels: a picture that is made smaller is, but for the JPEG, what reading it at that size gives.
func TestPixels(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, size := range [][2]int{{200, 160}, {90, 300}, {25, 20}} {
		content := encoded(t, size[0], size[1], uint8(90*i), i == 0)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("p%d.png", i)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, "builtin:test?n=3&size=70"} {
		for _, longest := range []bool{false, true} {
			from, out := open(t, path), filepath.Join(t.TempDir(), "out")
			o := Options{Data: from, Out: out, Side: 30, Longest: longest, Quality: 95}
			if _, err := Run(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			to := open(t, out)
			for i := range from.Len() {
				var got data.Image
				if err := to.Read(i, &got); err != nil {
					t.Fatal(err)
				}
				if want := expected(t, &o, i); got.Width != want.Width || got.Height != want.Height || !bytes.Equal(got.Pix, want.Pix) {
					t.Errorf("%s, picture %d, longer side %v: %dx%d, want %dx%d with the pixels that are read at this size",
						path, i, longest, got.Width, got.Height, want.Width, want.Height)
				}
			}
		}
	}
}

// expected is a picture as it should be read from a shard.
func expected(t *testing.T, o *Options, i int) *data.Image {
	t.Helper()
	var whole, want data.Image
	err := errors.Join(o.Data.ReadAs(i, data.Reading{Side: o.Side, Longest: o.Longest}, &want), o.Data.Read(i, &whole))
	if err != nil {
		t.Fatal(err)
	}
	if want.Width == whole.Width && want.Height == whole.Height {
		return &want
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, rgba(&want), &jpeg.Options{Quality: o.Quality}); err != nil {
		t.Fatal(err)
	}
	again, err := data.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestShardForm(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Run(context.Background(), Options{Data: open(t, photos(t)), Out: out, Images: 1, MaxBad: 1}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(t, filepath.Join(out, "000001.tar")), " "); got != "000000001.cls 000000001.json 000000001.png" {
		t.Errorf("a shard holds %s", got)
	}
}

// A run that is stopped after any shard goes on to the same bytes.
func TestResume(t *testing.T) {
	t.Parallel()
	o := Options{Data: open(t, photos(t)), Out: filepath.Join(t.TempDir(), "whole"), Images: 2, MaxBad: 0.1}
	if _, err := Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	want := folderBytes(t, o.Out)
	for stop := range 4 {
		o := o
		o.Out = filepath.Join(t.TempDir(), "out")
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		o.Progress = func(e event.Event) {
			if _, ok := e.(Shard); ok {
				if n == stop {
					cancel()
				}
				n++
			}
		}
		var stopped *StoppedError
		if _, err := Run(ctx, o); !errors.As(err, &stopped) || !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped after shard %d: %v", stop, err)
		}
		cancel()
		var used *NotEmptyError
		if _, err := Run(context.Background(), o); !errors.As(err, &used) || !used.Packed {
			t.Fatalf("over a stopped run: %v", err)
		}
		o.Resume, o.Progress = true, nil
		if _, err := Run(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		got := folderBytes(t, o.Out)
		if len(got) != len(want) {
			t.Errorf("%d files, want %d", len(got), len(want))
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("stopped after shard %d: %s differs", stop, name)
			}
		}
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	from := open(t, photos(t))
	for name, c := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"quality":        {func(o *Options) { o.Quality = 101 }, "quality of 101"},
		"a negative":     {func(o *Options) { o.Images = -1 }, "none can be negative"},
		"a share":        {func(o *Options) { o.MaxBad = 2 }, "must be 0 to 1"},
		"many broken":    {func(o *Options) { o.MaxBad, o.Out = 0, filepath.Join(o.Out, "new") }, "1 of 10 images cannot be read"},
		"another folder": {func(o *Options) { o.Out = t.TempDir(); os.WriteFile(filepath.Join(o.Out, "x"), nil, 0o644) }, "folder of their own"},
		"again":          {func(*Options) {}, "holds packed images"},
		"other options":  {func(o *Options) { o.Side, o.Resume = 20, true }, "side was 0 and is 20"},
		"a lost shard": {func(o *Options) {
			o.Resume = true
			os.Remove(filepath.Join(o.Out, "000000.tar"))
		}, "is gone"},
		"a cut shard": {func(o *Options) {
			o.Resume = true
			os.Truncate(filepath.Join(o.Out, "000000.tar"), 100)
		}, "has 100 bytes"},
		"a foreign manifest": {func(o *Options) {
			o.Resume = true
			os.WriteFile(filepath.Join(o.Out, manifestName), []byte(`{"terms": {"format": "x"}}`), 0o644)
		}, "its format"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Data: from, Out: filepath.Join(t.TempDir(), "out"), MaxBad: 0.1}
			if _, err := Run(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			c.change(&o)
			if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

// Sets whose images are no files become PNG, to the last bit.
func TestPackDrawn(t *testing.T) {
	t.Parallel()
	from, out := open(t, "builtin:test?n=3&size=16"), filepath.Join(t.TempDir(), "out")
	if _, err := Run(context.Background(), Options{Data: from, Out: out}); err != nil {
		t.Fatal(err)
	}
	to := open(t, out)
	var a, b data.Image
	for i := range 3 {
		if err := errors.Join(to.Read(i, &a), from.Read(i, &b)); err != nil || !bytes.Equal(a.Pix, b.Pix) {
			t.Errorf("picture %d differs (%v)", i, err)
		}
	}
	if to.Classes()[to.Label(1)] != from.Classes()[from.Label(1)] {
		t.Errorf("class %s, want %s", to.Classes()[to.Label(1)], from.Classes()[from.Label(1)])
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"terms": {"format": "moco pack 2", "total_images": 3}, "shards": [{"name": "000000.tar", "images": 2, "bytes": 3, "next_image": 3}], "bad_images": [1]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseManifest(raw)
		if err == nil && (m.next() > m.Terms.Total || m.next() < 0) {
			t.Errorf("the next image is %d of %d", m.next(), m.Terms.Total)
		}
	})
}

// A folder in which another process packs is left alone.
func TestLocked(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	_, release, err := lock.Folder(context.Background(), out)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Data: open(t, "builtin:test?n=2&size=8"), Out: out}
	var locked *lock.LockedError
	if _, err := Run(context.Background(), o); !errors.As(err, &locked) {
		t.Errorf("the error is %v, want a *lock.LockedError", err)
	}
	release()
	if _, err := Run(context.Background(), o); err != nil {
		t.Error(err)
	}
}
