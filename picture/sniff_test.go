package picture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSniff(t *testing.T) {
	t.Parallel()
	box := func(brand, compatible string) string {
		return "\x00\x00\x00" + string(rune(16+len(compatible))) + "ftyp" + brand + "\x00\x00\x00\x00" + compatible
	}
	for _, c := range []struct {
		head, want string
		ok         bool
	}{
		{"\xff\xd8\xff\xe0\x00\x10JFIF", "jpeg", true},
		{"\xff\xd8\xff\xdb", "jpeg", true},
		{"\x89PNG\r\n\x1a\n", "png", true},
		{"GIF89a", "gif", true},
		{"RIFF\x10\x00\x00\x00WEBPVP8X", "webp", true},
		{"II*\x00\x08\x00\x00\x00", "tiff", true},
		{"MM\x00*\x00\x00\x00\x08", "tiff", true},
		{"II+\x00\x08\x00\x00\x00", "tiff", true},
		{"BM\x00\x00\x00\x00\x12\x34\x56\x78\x36\x00\x00\x00\x28\x00\x00\x00", "bmp", true},
		{"BMW is a maker of cars in Munich", "", false},
		{"II*\x00\x10\x00\x00\x00CR\x02\x00", "raw", false},
		{"FUJIFILMCCD-RAW 0201", "raw", false},
		{box("crx ", ""), "raw", false},
		{box("jpm ", ""), "jp2", false},
		{box("isom", "isomiso2avc1mp41"), "mp4", false},
		{box("qt  ", ""), "mov", false},
		{"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl", false},
		{"\xff\x0a\xfa\x7f", "jxl", false},
		{"\x00\x00\x00\x0cjP  \r\n\x87\n", "jp2", false},
		{"%PDF-1.7\n", "pdf", false},
		{"<svg xmlns=\"http://www.w3.org/2000/svg\">", "svg", false},
		{"\ufeff<?xml version=\"1.0\"?>\n<!-- drawn -->\n<svg>", "svg", false},
		{"<!DOCTYPE html><html><body>", "html", false},
		{"\x1aE\xdf\xa3\x01", "mkv", false},
		{"RIFF\x10\x00\x00\x00AVI LIST", "avi", false},
		{"P6\n3 2\n255\n", "pnm", false},
		{"8BPS\x00\x01", "psd", false},
		{"PK\x03\x04", "zip", false},
		{"hello, world", "", false},
		{"", "", false},
	} {
		format, ok := Sniff([]byte(c.head))
		if format != c.want || ok != c.ok {
			t.Errorf("%.24q is %q, %v; want %q, %v", c.head, format, ok, c.want, c.ok)
		}
		err := Check([]byte(c.head))
		var unsupported *UnsupportedError
		var none *NotPictureError
		switch {
		case c.ok && err != nil, !c.ok && err == nil:
			t.Errorf("%.24q: Check gives %v", c.head, err)
		case c.ok:
		case c.want != "" && !(errors.As(err, &unsupported) && unsupported.Format == c.want):
			t.Errorf("%.24q: Check gives %v, want that it is a %s", c.head, err, c.want)
		case c.want == "" && !errors.As(err, &none):
			t.Errorf("%.24q: Check gives %v, want that it is no picture", c.head, err)
		}
	}
}

// HEIC and AVIF are read by some builds and known by name in all.
func TestSniffBoxed(t *testing.T) {
	t.Parallel()
	for brand, want := range map[string]string{"heic": "heic", "heix": "heic", "avif": "avif", "avis": "avif"} {
		head := "\x00\x00\x00\x18ftyp" + brand + "\x00\x00\x00\x00mif1heic"
		format, ok := Sniff([]byte(head))
		if _, reads := boxedReader(format); format != want || ok != reads {
			t.Errorf("%s is %q, %v", brand, format, ok)
		}
	}
	if format, _ := Sniff([]byte("\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1miaf")); format != "heif" {
		t.Errorf("mif1 alone is %q", format)
	}
	if format, _ := Sniff([]byte("\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic")); format != "heic" {
		t.Errorf("mif1 with heic among the compatible brands is %q", format)
	}
}

// A name says nothing: the formats of the committed pictures are those of their endings, found
// without them.
func TestSniffFiles(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/*/*.*")
	endings := map[string]string{
		".tif": "tiff", ".jpg": "jpeg", ".png": "png", ".gif": "gif", ".webp": "webp", ".bmp": "bmp",
		".ppm": "pnm", ".heic": "heic", ".avif": "avif",
	}
	for _, file := range files {
		if strings.Contains(file, "named_heic") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if format, _ := Sniff(content[:min(len(content), SniffBytes)]); format != endings[filepath.Ext(file)] {
			t.Errorf("%s is %q", file, format)
		}
	}
}

func TestErrorKinds(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile("testdata/kinds/rgb8.png")
	if err != nil {
		t.Fatal(err)
	}
	var m Image
	decode := func(b []byte, o Options) error { return new(Decoder).Decode(b, o, &m) }
	var large *TooLargeError
	if err := decode(whole, Options{MaxPixels: 23 * 17 / 11}); !errors.As(err, &large) || large.Width != 23 || large.Height != 17 {
		t.Errorf("too many pixels give %v", err)
	}
	var damaged *DamagedError
	if err := decode(whole[:len(whole)/2], Options{}); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("half a file gives %v", err)
	}
	var unsupported *UnsupportedError
	pdf := decode([]byte("%PDF-1.4"), Options{})
	if !errors.As(pdf, &unsupported) || unsupported.Format != "pdf" || !strings.Contains(pdf.Error(), "PDF, not a picture") {
		t.Errorf("a PDF gives %v", pdf)
	}
	var none *NotPictureError
	if err := decode(nil, Options{}); !errors.As(err, &none) || !strings.Contains(err.Error(), "empty") {
		t.Errorf("no bytes give %v", err)
	}
}
