package picture

import (
	"image"
	"image/color"
	"image/png"
	"slices"
	"testing"
)

func TestGroundText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Ground{
		"white": {}, "black": Black, "drop": Drop, "#ffffff": White, "#000000": Black,
		"#102030": RGB(16, 32, 48), "#ABCDEF": RGB(0xab, 0xcd, 0xef),
	} {
		g, err := ParseGround(text)
		if err != nil || g != want {
			t.Errorf("%s is read as %v, %v", text, g, err)
		}
		again, err := ParseGround(g.String())
		if err != nil || again != g {
			t.Errorf("%s is written as %s and read as %v, %v", text, g, again, err)
		}
		var u Ground
		if b, err := g.MarshalText(); err != nil || u.UnmarshalText(b) != nil || u != g {
			t.Errorf("%s does not come back from its text", text)
		}
	}
	for _, text := range []string{"", "White", "#12345", "#12345g", "#1234567", "red", "ffffff", "#"} {
		if g, err := ParseGround(text); err == nil {
			t.Errorf("%q is read as %v", text, g)
		}
	}
}

// Laying is exact for every value and opacity: the nearest of the 255ths.
func TestLay(t *testing.T) {
	t.Parallel()
	var got [3]uint8
	for a := range 256 {
		for v := range 256 {
			for _, under := range []int{0, 1, 100, 254, 255} {
				g := RGB(uint8(under), 0, 255)
				g.lay(got[:], uint8(v), uint8(v), uint8(v), uint8(a))
				nearest := func(ground int) uint8 { return uint8((2*(v*a+ground*(255-a)) + 255) / 510) }
				if want := [3]uint8{nearest(under), nearest(0), nearest(255)}; got != want {
					t.Fatalf("%d at %d on %v gives %v, want %v", v, a, g, got, want)
				}
			}
			Drop.lay(got[:], uint8(v), 1, 2, uint8(a))
			if got != [3]uint8{uint8(v), 1, 2} {
				t.Fatalf("dropped, %d at %d gives %v", v, a, got)
			}
		}
	}
}

func TestGrounds(t *testing.T) {
	t.Parallel()
	m := image.NewNRGBA(image.Rect(0, 0, 3, 1))
	m.SetNRGBA(0, 0, color.NRGBA{10, 20, 30, 255})
	m.SetNRGBA(1, 0, color.NRGBA{10, 20, 30, 0})
	m.SetNRGBA(2, 0, color.NRGBA{100, 100, 100, 51})
	content := encoded(png.Encode, m)
	for _, c := range []struct {
		ground Ground
		want   []uint8
	}{
		{White, []uint8{10, 20, 30, 255, 255, 255, 224, 224, 224}},
		{Black, []uint8{10, 20, 30, 0, 0, 0, 20, 20, 20}},
		{RGB(200, 0, 50), []uint8{10, 20, 30, 200, 0, 50, 180, 20, 60}},
		{Drop, []uint8{10, 20, 30, 10, 20, 30, 100, 100, 100}},
	} {
		var got Image
		err := new(Decoder).Decode(content, Options{Ground: c.ground}, &got)
		if err != nil || !slices.Equal(got.Pix, c.want) {
			t.Errorf("on %v: %v, %v, want %v", c.ground, got.Pix, err, c.want)
		}
		if same, err := FromImage(m, c.ground); err != nil || !slices.Equal(same.Pix, c.want) {
			t.Errorf("from an image, on %v: %v, %v, want %v", c.ground, same, err, c.want)
		}
	}
}

// FromImage has loops of its own for some layouts: they give what the color package gives.
func TestFromImageLayouts(t *testing.T) {
	t.Parallel()
	r := image.Rect(3, 2, 14, 9)
	inside := image.Rect(4, 3, 13, 9)
	gray, rgba, nrgba := image.NewGray(r), image.NewRGBA(r), image.NewNRGBA(r)
	deep := image.NewNRGBA64(r)
	indexed := image.NewPaletted(r, color.Palette{color.White, color.NRGBA{10, 200, 30, 77}, color.RGBA{9, 5, 1, 100}})
	for i := range nrgba.Pix {
		nrgba.Pix[i] = uint8(i * i * 3)
	}
	for i := range deep.Pix {
		deep.Pix[i] = uint8(i * i * 7)
	}
	for i := range gray.Pix {
		gray.Pix[i], indexed.Pix[i] = uint8(11*i), uint8(i%3)
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			rgba.Set(x, y, nrgba.At(x, y))
		}
	}
	for _, whole := range []interface {
		image.Image
		SubImage(image.Rectangle) image.Image
	}{gray, rgba, nrgba, deep, indexed} {
		m := whole.SubImage(inside)
		for _, g := range []Ground{White, RGB(1, 100, 200), Drop} {
			var want Image
			want.Resize(inside.Dx(), inside.Dy())
			throughModel(&want, m, g)
			got, err := FromImage(m, g)
			if err != nil || got.Width != want.Width || got.Height != want.Height || !slices.Equal(got.Pix, want.Pix) {
				t.Errorf("%T on %v is not what the color package makes of it (%v)", m, g, err)
			}
		}
	}
}
