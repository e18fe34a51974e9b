package data

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// content is bytes of a picture that no version of an encoder changes: a PNG's start, padded.
func content(n int) []byte {
	return append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte{7}, n)...)
}

// The fingerprints of ordinary sets must stay what they were when runs began that are resumed
// today.
func TestFingerprintsStay(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{"a/1.png": content(1), "a/2.png": content(2), "b/1.jpg": content(3), "b/notes.txt": content(4)}
	put := func(prefix string) map[string][]byte {
		wrapped := map[string][]byte{}
		for name, c := range files {
			wrapped[prefix+name] = c
		}
		return wrapped
	}
	halves := put("train/")
	for name, c := range put("test/") {
		halves[name] = append(c, 1)
	}
	list := filepath.Join(t.TempDir(), "pairs.csv")
	if err := os.WriteFile(list, []byte("a/1.png,x\nb/1.jpg,x\na/2.png,y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	packed := []file{{"w/a/1.png", content(1)}, {"w/a/2.png", content(2)}, {"w/b/1.jpg", content(3)}}
	for _, c := range []struct {
		name, path string
		opts       Options
		want       string
	}{
		{"class folders", folder(t, files), Options{}, "ee38aeb0c456b99c8e8b50061355f4a6"},
		{"class folders in a folder", folder(t, put("x/y/")), Options{}, "ee38aeb0c456b99c8e8b50061355f4a6"},
		{"a part", folder(t, halves), Options{Part: Train}, "ee38aeb0c456b99c8e8b50061355f4a6"},
		{"both parts", folder(t, halves), Options{}, "d9ef14ec3c020e8f5a2b7dbc3856144a"},
		{"a tar", onDisk(t, "a.tar", packTar(packed...)), Options{}, "ee38aeb0c456b99c8e8b50061355f4a6"},
		{"a zip", onDisk(t, "a.zip", packZip(packed...)), Options{}, "ee38aeb0c456b99c8e8b50061355f4a6"},
		{"pairs", folder(t, files), Options{Pairs: list}, "7b6ef32ad0015db6d5c0bb6d0bd04e1b"},
		{"frames", folder(t, files), Options{Frames: true}, "6177e3747893e50df1bba98e93ea35e7"},
		{"frames of one video", folder(t, map[string][]byte{"v/w/1.png": content(1), "v/w/2.png": content(2)}), Options{Frames: true}, "eb61f35c1800f8233075a463f9b42757"},
		{"bytes that are no text", folder(t, map[string][]byte{"a/\xff.png": content(1), "b/\xe9t\xe9.png": content(2)}), Options{}, "08d36e2fc99ad05d8c059b6462cfc2b9"},
		{"drawn", "builtin:train?n=3", Options{}, "261b818f19be1fef329cd5b8a292e392"},
	} {
		if got := open(t, c.path, c.opts).Fingerprint(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
