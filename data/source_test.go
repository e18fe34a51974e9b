package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"image/color"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSource: size, bytes and time of an image are those of its file, in a folder and in archives.
func TestSource(t *testing.T) {
	t.Parallel()
	when := time.Date(2019, 5, 1, 12, 0, 0, 0, time.UTC)
	content := plainPNG(12, 7, color.NRGBA{200, 10, 10, 255})
	dir := t.TempDir()
	file := filepath.Join(dir, "folder", "a.png")
	os.Mkdir(filepath.Dir(file), 0o755)
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(file, when, when)

	var inTar, inZip, bare bytes.Buffer
	tw := tar.NewWriter(&inTar)
	tw.WriteHeader(&tar.Header{Name: "a.png", Size: int64(len(content)), Mode: 0o644, ModTime: when})
	tw.Write(content)
	tw.Close()
	tw = tar.NewWriter(&bare)
	tw.WriteHeader(&tar.Header{Name: "a.png", Size: int64(len(content)), Mode: 0o644})
	tw.Write(content)
	tw.Close()
	zw := zip.NewWriter(&inZip)
	w, err := zw.CreateHeader(&zip.FileHeader{Name: "a.png", Modified: when, Method: zip.Deflate})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(content)
	zw.Close()

	for name, c := range map[string]struct {
		path    string
		content []byte
		time    time.Time
	}{
		"a folder":            {path: filepath.Dir(file), time: when},
		"a tar":               {path: filepath.Join(dir, "a.tar"), content: inTar.Bytes(), time: when},
		"a zip":               {path: filepath.Join(dir, "a.zip"), content: inZip.Bytes(), time: when},
		"a tar without times": {path: filepath.Join(dir, "b.tar"), content: bare.Bytes()},
	} {
		if c.content != nil {
			if err := os.WriteFile(c.path, c.content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		set, err := Open(context.Background(), c.path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		some, err := set.Subset([]int{0})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Set{set, some} {
			got, err := s.Source(0)
			if err != nil || got.Width != 12 || got.Height != 7 || got.Pixels() != 84 || got.Bytes != int64(len(content)) ||
				!got.Time.Equal(c.time) {
				t.Errorf("%s: the source is %+v (%v), want 12 x 7, %d bytes, %v", name, got, err, len(content), c.time)
			}
		}
	}
}
