package picture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files in testdata/boxed were made by heif-enc of libheif 1.15 and avifenc of libavif 0.11
// from boxedPixel.
const boxedWidth, boxedHeight = 160, 48

func boxedPixel(x, y int) [3]int { return [3]int{x * 3 / 2, 5 * y, (x + 2*y) / 2} }

func TestBoxed(t *testing.T) {
	t.Parallel()
	orientations := map[string]int{"turned.avif": 8, "mirrored.avif": 4, "both.avif": 5}
	files, _ := filepath.Glob("testdata/boxed/*")
	if len(files) < 9 {
		t.Fatalf("found %d files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var m Image
			err = new(Decoder).Decode(content, Options{}, &m)
			if _, reads := boxedReader("heic"); !reads {
				var unsupported *UnsupportedError
				name := strings.ToUpper(strings.TrimPrefix(filepath.Ext(file), "."))
				if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), "it is "+name+", ") {
					t.Errorf("gives %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(file)
			checkBoxed(t, &m, orientations[name], name == "alpha.avif") // of a HEIC the opacity is not read
		})
	}
}

// checkBoxed compares with what was drawn; the files are compressed with some loss. The ones with
// opacity have none in their first 16 columns, half from column 40 on.
func checkBoxed(t *testing.T, got *Image, orientation int, alpha bool) {
	t.Helper()
	drawn := &Image{}
	drawn.Resize(boxedWidth, boxedHeight)
	for y := range boxedHeight {
		for x := range boxedWidth {
			for c, v := range boxedPixel(x, y) {
				switch {
				case alpha && x < 16:
					v = 255
				case alpha && x >= 40:
					v = (v*128 + 255*127) / 255
				}
				drawn.Pix[3*(y*boxedWidth+x)+c] = uint8(v)
			}
		}
	}
	want := drawn
	if orientation != 0 {
		want = &Image{}
		turn(want, drawn, orientation)
	}
	if got.Width != want.Width || got.Height != want.Height {
		t.Fatalf("size is %dx%d, want %dx%d", got.Width, got.Height, want.Width, want.Height)
	}
	sum := 0
	for i, w := range want.Pix {
		sum += max(int(w)-int(got.Pix[i]), int(got.Pix[i])-int(w))
	}
	if mean := float64(sum) / float64(len(want.Pix)); mean > 3 {
		t.Errorf("differs by %.1f levels on average", mean)
	}
}
