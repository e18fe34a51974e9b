package picture

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// addFiles seeds a fuzz test with the small files of an ending.
func addFiles(f *testing.F, pattern string, from int) {
	files, _ := filepath.Glob("testdata/*/" + pattern)
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && len(b) < 4096 {
			f.Add(b[min(from, len(b)):])
		}
	}
}

// tryDecode decodes with a reader that must not panic, whatever the bytes; recovered would hide it.
func tryDecode(t *testing.T, format string, content []byte) {
	const limit = 1 << 14
	r, _ := readerOf(format)
	w, h, err := r.size(content)
	if err != nil || w <= 0 || h <= 0 || w > limit/h {
		return
	}
	d, m := Decoder{factor: 1}, Image{}
	m.Resize(w, h)
	o, err := r.decode(&d, content, &m)
	if err != nil {
		if damaged(format, err).Error() == "" {
			t.Error("an error without words")
		}
		return
	}
	if o < 1 || o > 8 || m.Width != w || m.Height != h || len(m.Pix) != 3*w*h {
		t.Errorf("orientation %d, %dx%d pixels in %d bytes after a header of %dx%d", o, m.Width, m.Height, len(m.Pix), w, h)
	}
}

func fuzzFormat(f *testing.F, format, pattern string) {
	addFiles(f, pattern, 0)
	f.Fuzz(func(t *testing.T, content []byte) { tryDecode(t, format, content) })
}

func FuzzPNG(f *testing.F)  { fuzzFormat(f, "png", "*.png") }
func FuzzGIF(f *testing.F)  { fuzzFormat(f, "gif", "*.gif") }
func FuzzBMP(f *testing.F)  { fuzzFormat(f, "bmp", "*.bmp") }
func FuzzTIFF(f *testing.F) { fuzzFormat(f, "tiff", "*.tif") }

// The pixels of a WebP are a library's business: only the container is tried.
func FuzzWebP(f *testing.F) {
	addFiles(f, "*.webp", 0)
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := parseWebP(content)
		if err != nil {
			return
		}
		w, h, err := p.pictureSize()
		if err != nil || p.x+w > p.width || p.y+h > p.height {
			t.Errorf("a picture of %dx%d at %d, %d of %dx%d, %v", w, h, p.x, p.y, p.width, p.height, err)
		}
		if again, err := parseWebP(p.alone(w, h)); err != nil || !bytes.Equal(again.data, p.data) {
			t.Errorf("alone it cannot be read: %v", err)
		}
	})
}

func FuzzFax(f *testing.F) {
	f.Add([]byte{0x26, 0xa0, 0x80, 0x08}, uint16(20), uint8(0))
	f.Add([]byte{0x00, 0x1b, 0x26, 0xa0}, uint16(9), uint8(1))
	f.Add([]byte{0xff, 0x55, 0x12, 0x34, 0x00, 0x10, 0x01}, uint16(64), uint8(2))
	f.Fuzz(func(t *testing.T, packed []byte, width uint16, mode uint8) {
		w := int(width)%3000 + 1
		stride := (w + 7) / 8
		dst := make([]byte, 20*stride)
		err := unpackFax(dst, packed, w, faxMode(mode%3), mode&4 != 0)
		for y := range 20 { // no bit lies beyond the width
			if last := dst[y*stride+stride-1]; err == nil && w%8 != 0 && last<<(w%8) != 0 {
				t.Errorf("row %d of %d pixels ends in %08b", y, w, last)
			}
		}
	})
}

func FuzzSniff(f *testing.F) {
	addFiles(f, "*", 0)
	f.Add([]byte("\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic"))
	f.Fuzz(func(t *testing.T, content []byte) {
		format, ok := Sniff(content)
		if _, reads := readerOf(format); ok != reads {
			t.Errorf("%q: %v", format, ok)
		}
		if err := Check(content); (err == nil) != ok {
			t.Errorf("%q, %v, and Check gives %v", format, ok, err)
		}
	})
}
