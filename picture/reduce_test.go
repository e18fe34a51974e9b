package picture

import (
	"encoding/binary"
	"image"
	"image/png"
	"slices"
	"testing"
)

func TestReducedSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ width, height, side, wantWidth, wantHeight int }{
		{4000, 3000, 504, 672, 504},
		{3000, 4000, 504, 504, 672},
		{505, 505, 504, 504, 504},
		{504, 9000, 504, 504, 9000}, // not larger
		{300, 200, 504, 300, 200},
		{4000, 3000, 0, 4000, 3000},
		{1001, 1000, 3, 3, 3},
		{1500, 1000, 3, 5, 3}, // 4.5 is rounded up
		{100_000, 1000, 1, 100, 1},
		{1, 1, 1, 1, 1},
	} {
		w, h := Reduced(c.width, c.height, c.side)
		if w != c.wantWidth || h != c.wantHeight {
			t.Errorf("Reduced(%d, %d, %d) = %d, %d, want %d, %d", c.width, c.height, c.side, w, h, c.wantWidth, c.wantHeight)
		}
	}
}

func TestReducedLongerSide(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ width, height, side, wantWidth, wantHeight, needed int }{
		{4000, 3000, 1000, 1000, 750, 750},
		{3000, 4000, 1000, 750, 1000, 750},
		{6000, 4000, 1000, 1000, 667, 667},
		{3000, 1000, 100, 100, 33, 34}, // at 33 of 1000, the longer side might be below 100
		{10_000, 10, 100, 100, 1, 1},
		{1, 5000, 100, 1, 100, 1},
		{300, 200, 300, 300, 200, 200}, // not larger
		{300, 200, 0, 300, 200, 0},
	} {
		o := Options{Side: c.side, Longest: true}
		w, h := o.Reduced(c.width, c.height)
		if w != c.wantWidth || h != c.wantHeight {
			t.Errorf("%d x %d reduced to %d is %d x %d, want %d x %d", c.width, c.height, c.side, w, h, c.wantWidth, c.wantHeight)
		}
		if got := o.needed(c.width, c.height); got != c.needed {
			t.Errorf("%d x %d reduced to %d needs a shorter side of %d, want %d", c.width, c.height, c.side, got, c.needed)
		}
	}
}

// TestThinStrip: a picture that only becomes shorter is reduced, too.
func TestThinStrip(t *testing.T) {
	t.Parallel()
	content, got := encoded(png.Encode, image.NewNRGBA(image.Rect(0, 0, 1, 500))), &Image{}
	err := new(Decoder).Decode(content, Options{Side: 100, Longest: true}, got)
	if err != nil || got.Width != 1 || got.Height != 100 {
		t.Errorf("%d x %d (%v), want 1 x 100", got.Width, got.Height, err)
	}
}

func TestSide(t *testing.T) {
	t.Parallel()
	m := image.NewNRGBA(image.Rect(0, 0, 90, 60))
	for i := range m.Pix {
		m.Pix[i] = uint8(i*i>>3) | 1
	}
	lying := encoded(png.Encode, m)
	upright := turnedPNG(lying, 6)
	var d Decoder
	decode := func(content []byte, o Options) *Image {
		t.Helper()
		got := &Image{}
		if err := d.Decode(content, o, got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for name, content := range map[string][]byte{"as stored": lying, "turned": upright} {
		whole := decode(content, Options{})
		for _, side := range []int{60, 61, 1000} {
			if got := decode(content, Options{Side: side}); !slices.Equal(got.Pix, whole.Pix) {
				t.Errorf("%s: a shorter side of 60 is not larger than %d, and the picture is not itself", name, side)
			}
			if new(Resizer).Reduce(&Image{}, whole, Options{Side: side}) != whole {
				t.Errorf("%s: Reduce to %d copies what it does not reduce", name, side)
			}
		}
		for _, side := range []int{59, 20, 1} {
			want := &Image{}
			want.Resize(Reduced(whole.Width, whole.Height, side))
			new(Resizer).Resize(want, whole, whole.Bounds())
			if again := new(Resizer).Reduce(&Image{}, whole, Options{Side: side}); !slices.Equal(again.Pix, want.Pix) {
				t.Errorf("%s: Reduce to %d is not what resizing the whole gives", name, side)
			}
			got := decode(content, Options{Side: side})
			if got.Width != want.Width || got.Height != want.Height || !slices.Equal(got.Pix, want.Pix) {
				t.Errorf("%s: reduced to %d, it is not what resizing the whole gives", name, side)
			}
		}
	}
}

// TestSideOfJPEG: a JPEG is decoded at a smaller scale where it can be, gets the size that the whole
// would get, and nearly its pixels; one that is not larger keeps its bits.
func TestSideOfJPEG(t *testing.T) {
	t.Parallel()
	m := image.NewRGBA(image.Rect(0, 0, 333, 251))
	for y := range 251 {
		for x := range 333 {
			i := m.PixOffset(x, y)
			m.Pix[i], m.Pix[i+1], m.Pix[i+2], m.Pix[i+3] = uint8(x*y>>9), uint8(128+x/4-y/3), uint8(x*x>>10), 255
		}
	}
	lying := encoded(asJPEG, m)
	orientation := append([]byte("Exif\x00\x00"), exif(binary.BigEndian, 6)...)
	upright := slices.Concat(lying[:2], []byte{0xff, 0xe1, 0, uint8(len(orientation) + 2)}, orientation, lying[2:])
	var d Decoder
	for name, content := range map[string][]byte{"as stored": lying, "turned": upright} {
		whole := &Image{}
		if err := d.Decode(content, Options{}, whole); err != nil {
			t.Fatal(err)
		}
		if (whole.Width < whole.Height) != (name == "turned") {
			t.Fatalf("%s, it is %dx%d", name, whole.Width, whole.Height)
		}
		for _, side := range []int{1000, 251, 250, 125, 70, 40, 31, 9, 3, -332, -166, -40} {
			o := Options{Side: side}
			if side < 0 {
				o = Options{Side: -side, Longest: true}
			}
			want, got := new(Resizer).Reduce(&Image{}, whole, o), &Image{}
			if err := d.Decode(content, o, got); err != nil {
				t.Fatal(err)
			}
			if got.Width != want.Width || got.Height != want.Height {
				t.Errorf("%s, reduced to %d: %dx%d, want %dx%d", name, side, got.Width, got.Height, want.Width, want.Height)
				continue
			}
			var sum int
			for i, v := range want.Pix {
				sum += max(int(v)-int(got.Pix[i]), int(got.Pix[i])-int(v))
			}
			mean := float64(sum) / float64(len(want.Pix))
			if mean > 1 || side >= 126 && sum > 0 { // from 125 on, half the picture is enough
				t.Errorf("%s, reduced to %d: it is off by %.2f levels in the mean", name, side, mean)
			}
		}
	}
}
