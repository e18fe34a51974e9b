package picture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The images in testdata/pixels were made from one drawn picture with cjpeg and cwebp, and the .ppm
// beside each with djpeg of libjpeg-turbo 2.1.5 and dwebp 1.2.4, at their defaults.
func TestPixelsAgreeWithTheReferenceDecoders(t *testing.T) {
	files, _ := filepath.Glob("testdata/pixels/*.ppm")
	if len(files) < 10 {
		t.Fatalf("found %d reference images", len(files))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".ppm")
		t.Run(name, func(t *testing.T) {
			want := readPPM(t, file)
			content, err := os.ReadFile(strings.TrimSuffix(file, ".ppm"))
			if err != nil {
				t.Fatal(err)
			}
			var got Image
			if err := new(Decoder).Decode(content, Options{}, &got); err != nil {
				t.Fatal(err)
			}
			if got.Width != want.Width || got.Height != want.Height {
				t.Fatalf("size is %dx%d, want %dx%d", got.Width, got.Height, want.Width, want.Height)
			}
			if !bytes.Equal(got.Pix, want.Pix) {
				t.Error("the pixels are others")
			}
		})
	}
}

// readPPM reads a binary PPM, or a PGM, which is what djpeg makes of gray.
func readPPM(t *testing.T, file string) Image {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kind string
	var m Image
	var top int
	head := string(content[:min(40, len(content))])
	if _, err := fmt.Sscanf(head, "%s\n%d %d\n%d\n", &kind, &m.Width, &m.Height, &top); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	pix := content[bytes.Index(content, []byte("\n255\n"))+5:]
	if kind == "P6" {
		m.Pix = pix
		return m
	}
	for _, v := range pix {
		m.Pix = append(m.Pix, v, v, v)
	}
	return m
}
