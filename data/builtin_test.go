package data

import (
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"testing"
)

func TestSheet(t *testing.T) {
	s, err := Open(context.Background(), "builtin:train", Options{})
	if err != nil {
		t.Fatal(err)
	}
	const cols = 20
	sheet := image.NewRGBA(image.Rect(0, 0, cols*34*2, 10*34*2))
	var m Image
	for k := range cols * 10 {
		s.Read(k, &m)
		ox, oy := (k/10)*68, (k%10)*68
		for y := range 64 {
			for x := range 64 {
				p := 3 * (y/2*32 + x/2)
				sheet.Set(ox+x, oy+y, color.RGBA{m.Pix[p], m.Pix[p+1], m.Pix[p+2], 255})
			}
		}
	}
	f, _ := os.Create("/tmp/sheet.png")
	png.Encode(f, sheet)
	f.Close()
}

func BenchmarkBuiltin(b *testing.B) {
	s, _ := Open(context.Background(), "builtin:train", Options{})
	var m Image
	for i := 0; b.Loop(); i++ {
		s.Read(i%5000, &m)
	}
}
