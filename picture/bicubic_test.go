package picture

import (
	"crypto/sha256"
	"fmt"
	"image"
	"slices"
	"testing"
)

// TestBicubic: the pixels are those of PIL 9.4, Image.resize(size, Image.BICUBIC), of which the larger
// results are kept as checksums.
func TestBicubic(t *testing.T) {
	t.Parallel()
	src := &Image{}
	src.Resize(13, 9)
	for y := range 9 {
		for x := range 13 {
			for c := range 3 {
				src.Pix[3*(y*13+x)+c] = uint8(x*x*7 + y*31*(c+1) + (x+y)%2*120)
			}
		}
	}
	for _, c := range []struct {
		width, height int
		sum           string
	}{
		{5, 4, "70a8bfd94f6bc139"},
		{20, 14, "b7fa4b1cec11def4"},
		{3, 17, "2e59700d806e00bc"},
	} {
		dst := &Image{}
		dst.Resize(c.width, c.height)
		new(Resizer).Bicubic(dst, src, src.Bounds())
		if sum := fmt.Sprintf("%x", sha256.Sum256(dst.Pix))[:16]; sum != c.sum {
			t.Errorf("%dx%d: checksum %s, want %s; first pixels %v", c.width, c.height, sum, c.sum, dst.Pix[:12])
		}
	}

	// A part is resized as if it were all.
	part, whole, got := image.Rect(2, 1, 11, 8), &Image{}, &Image{}
	whole.Resize(9, 7)
	for y := range 7 {
		copy(whole.row(y), src.row(y + 1)[6:])
	}
	want := &Image{}
	want.Resize(4, 4)
	got.Resize(4, 4)
	var z Resizer // keeps its windows
	z.Bicubic(want, whole, whole.Bounds())
	z.Bicubic(got, src, part)
	if !slices.Equal(got.Pix, want.Pix) {
		t.Errorf("a part became %v, and alone %v", got.Pix, want.Pix)
	}
}

// BenchmarkBicubic makes a view of 224 pixels of a picture that was reduced for it.
func BenchmarkBicubic(b *testing.B) {
	src, dst := &Image{}, &Image{}
	src.Resize(672, 504)
	dst.Resize(224, 224)
	var z Resizer
	part := image.Rect(115, 31, 556, 472)
	b.Run("bicubic", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			z.Bicubic(dst, src, part)
		}
	})
	b.Run("bilinear", func(b *testing.B) {
		for b.Loop() {
			z.Resize(dst, src, part)
		}
	})
}
