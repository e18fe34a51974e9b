package data

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFromImage(t *testing.T) {
	whole := image.NewNRGBA(image.Rect(0, 0, 9, 7))
	for i := range whole.Pix {
		whole.Pix[i] = uint8(i * 37)
		if i%4 == 3 {
			whole.Pix[i] = 255
		}
	}
	var coded bytes.Buffer
	if err := jpeg.Encode(&coded, whole, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	ycc, err := jpeg.Decode(bytes.NewReader(coded.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	part := image.Rect(1, 2, 6, 7)
	for name, src := range map[string]image.Image{"NRGBA": whole, "part of an NRGBA": whole.SubImage(part), "part of a YCbCr": ycc.(*image.YCbCr).SubImage(part)} {
		m, err := FromImage(src)
		if err != nil {
			t.Fatal(err)
		}
		b := src.Bounds()
		if m.Bounds() != image.Rect(0, 0, b.Dx(), b.Dy()) {
			t.Fatalf("%s: bounds are %v of %v", name, m.Bounds(), b)
		}
		for y := range b.Dy() {
			for x := range b.Dx() {
				c := color.NRGBAModel.Convert(src.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				if got := m.At(x, y); got != (color.RGBA{c.R, c.G, c.B, 255}) {
					t.Fatalf("%s: the pixel at %d, %d is %v, want %v", name, x, y, got, c)
				}
			}
		}
		if same, err := FromImage(m); err != nil || same != m {
			t.Errorf("%s: an Image is copied, or %v", name, err)
		}
		if m.At(-1, 0) != (color.RGBA{}) || m.At(0, m.Height) != (color.RGBA{}) {
			t.Errorf("%s: there is something outside of the image", name)
		}
	}
	if _, err := FromImage(&Image{Width: 2, Height: 2}); err == nil {
		t.Error("an Image without its pixels is accepted")
	}
}

func TestDecodeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jpg")
	if err := os.WriteFile(path, []byte("no image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("text gives %v, want an error with the path", err)
	}
	var coded bytes.Buffer
	if err := jpeg.Encode(&coded, image.NewGray(image.Rect(0, 0, 5, 4)), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, coded.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err := DecodeFile(path); err != nil || m.Width != 5 || m.Height != 4 {
		t.Errorf("a JPEG of 5x4 gives %v, %v", m, err)
	}
}
