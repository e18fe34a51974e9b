package picture

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"testing"
)

// animation is a GIF of n frames of 4x3 pixels, each of one colour: first, first+1, ... of red.
func animation(first uint8, n int) []byte {
	g := &gif.GIF{}
	for k := range n {
		colours := color.Palette{color.RGBA{first + uint8(k), 0, 0, 255}, color.Black}
		m := image.NewPaletted(image.Rect(0, 0, 4, 3), colours)
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 5)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// TestComposition: three frames over each other, with each disposal, on a screen of 2x1 pixels.
func TestComposition(t *testing.T) {
	clear := color.RGBA{}
	red, green, blue := color.RGBA{255, 0, 0, 255}, color.RGBA{0, 255, 0, 255}, color.RGBA{0, 0, 255, 255}
	palette := color.Palette{clear, red, green, blue}
	one := func(x0, x1 int, pix ...uint8) *image.Paletted {
		m := image.NewPaletted(image.Rect(x0, 0, x1, 1), palette)
		copy(m.Pix, pix)
		return m
	}
	const r, g, b = "\xff\x00\x00", "\x00\xff\x00", "\x00\x00\xff"
	const nothing = "\xff\xff\xff" // the ground
	for _, c := range []struct {
		name     string
		disposal byte // of the second frame
		want     [3]string
	}{
		{"none", gif.DisposalNone, [3]string{r + r, r + g, b + g}},
		{"unspecified", 0, [3]string{r + r, r + g, b + g}},
		{"to the background", gif.DisposalBackground, [3]string{r + r, r + g, b + nothing}},
		{"to the frame before", gif.DisposalPrevious, [3]string{r + r, r + g, b + r}},
	} {
		var content bytes.Buffer
		err := gif.EncodeAll(&content, &gif.GIF{
			Image:    []*image.Paletted{one(0, 2, 1, 1), one(1, 2, 2), one(0, 2, 3, 0)},
			Delay:    []int{1, 1, 1},
			Disposal: []byte{gif.DisposalNone, c.disposal, gif.DisposalNone},
			Config:   image.Config{Width: 2, Height: 1, ColorModel: palette},
		})
		if err != nil {
			t.Fatal(err)
		}
		var got [3]string
		err = new(Decoder).Animate(content.Bytes(), Options{MaxPixels: 100}, func(k int, m *Image) bool {
			got[k] = string(m.Pix)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%s: got %x, want %x", c.name, got, c.want)
		}
	}
}

func FuzzAnimation(f *testing.F) {
	f.Add(animation(1, 3))
	f.Add(animation(1, 1))
	f.Add(animation(1, 2)[:60])
	f.Fuzz(func(t *testing.T, content []byte) {
		n, err := Frames(content)
		seen := 0
		drawn := new(Decoder).Animate(content, Options{MaxPixels: 1 << 12}, func(k int, m *Image) bool {
			if k != seen || len(m.Pix) != 3*m.Width*m.Height {
				t.Fatalf("frame %d is given as %d, with %d bytes for %dx%d", seen, k, len(m.Pix), m.Width, m.Height)
			}
			seen++
			return true
		})
		if format, _ := Sniff(content); format == "gif" && drawn == nil && (err != nil || seen != n) {
			t.Errorf("%d frames were counted (%v), and %d drawn", n, err, seen)
		}
	})
}
