package jpeg

import (
	"archive/zip"
	"bytes"
	"errors"
	"image"
	"image/color"
	gojpeg "image/jpeg"
	"io"
	"math"
	"strings"
	"testing"
)

// drawn returns the files of testdata/pillow.zip, and their names.
func drawn(t testing.TB) (names []string, files [][]byte) {
	t.Helper()
	archive, err := zip.OpenReader("testdata/pillow.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if !strings.HasSuffix(f.Name, ".jpg") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, files = append(names, f.Name), append(files, b)
	}
	return names, files
}

// gradient is a smooth picture, whose chroma is much the same however it is upsampled.
func gradient(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{byte(40 + x), byte(200 - y), byte(60 + (x+y)/2), 255})
		}
	}
	return m
}

// encoded is a picture as Go's encoder writes it: baseline, 4:2:0.
func encoded(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gojpeg.Encode(&b, m, &gojpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestAgainstGo compares with Go's decoder. Its transform may be off by one, which colours add up
// to 3; it repeats chroma where libjpeg interpolates, so what has less chroma is compared where
// that is smooth.
func TestAgainstGo(t *testing.T) {
	t.Parallel()
	compared := 0
	check := func(name string, data []byte, tolerance int, whole bool) {
		want, err := gojpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return // it reads less than we do
		}
		if m, ok := want.(*image.YCbCr); ok && whole && m.SubsampleRatio != image.YCbCrSubsampleRatio444 {
			return
		}
		if _, ok := want.(*image.CMYK); ok {
			return // it mixes inks otherwise
		}
		got, err := Decode(data, Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		compared++
		if size := want.Bounds().Size(); size != (image.Point{X: got.Width, Y: got.Height}) {
			t.Errorf("%s: %dx%d, want %v", name, got.Width, got.Height, size)
			return
		}
		for i, v := range got.Pix {
			r, g, b, _ := want.At(i/3%got.Width, i/3/got.Width).RGBA()
			if w := [3]uint32{r, g, b}[i%3] >> 8; math.Abs(float64(v)-float64(w)) > float64(tolerance) {
				t.Errorf("%s: value %d is %d, want %d", name, i, v, w)
				return
			}
		}
	}
	check("gradient", encoded(t, gradient(100, 83)), 8, false)
	names, files := drawn(t)
	for i, data := range files {
		if bytes.Contains(data, []byte("\xff\xc2")) {
			continue // Go does not estimate what a progressive file leaves out
		}
		check(names[i], data, 3, true)
	}
	if compared < 20 {
		t.Errorf("only %d pictures were compared", compared)
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	data := encoded(t, gradient(131, 97))
	for _, c := range []struct{ side, scale, width, height int }{
		{0, 1, 131, 97}, {98, 1, 131, 97}, {49, 1, 131, 97}, {48, 2, 66, 49}, {25, 2, 66, 49}, {24, 4, 33, 25},
		{12, 8, 17, 13}, {1, 8, 17, 13},
	} {
		m, err := Decode(data, Options{MinSide: c.side})
		if err != nil {
			t.Fatal(err)
		}
		if m.Scale != c.scale || m.Width != c.width || m.Height != c.height || len(m.Pix) != 3*c.width*c.height {
			t.Errorf("for a side of %d: 1/%d, %dx%d, want 1/%d, %dx%d",
				c.side, m.Scale, m.Width, m.Height, c.scale, c.width, c.height)
		}
	}
}

// with returns a file with bytes of its frame header replaced, from the precision on.
func with(data []byte, at int, values ...byte) []byte {
	b := bytes.Clone(data)
	sof := bytes.Index(b, []byte("\xff\xc0"))
	copy(b[sof+4+at:], values)
	return b
}

func TestErrors(t *testing.T) {
	t.Parallel()
	data := encoded(t, gradient(64, 48))
	kind := func(marker byte) []byte {
		return bytes.Replace(data, []byte("\xff\xc0"), []byte{0xFF, marker}, 1)
	}
	sos := bytes.Index(data, []byte("\xff\xda"))
	var format FormatError
	var unsupported UnsupportedError
	var size *SizeError
	for name, c := range map[string]struct {
		data []byte
		as   any    // a target for errors.As
		word string // in the message
	}{
		"empty":              {nil, &format, "SOI"},
		"no JPEG":            {[]byte("\x89PNG\r\n\x1a\n"), &format, "SOI"},
		"12 bits":            {with(data, 0, 12), &unsupported, "8 bits"},
		"precision 3":        {with(data, 0, 3), &format, "precision"},
		"lossless":           {kind(0xC3), &unsupported, "lossless"},
		"arithmetic l.":      {kind(0xCB), &unsupported, "lossless"},
		"hierarchical":       {kind(0xC5), &unsupported, "hierarchical"},
		"no height":          {with(data, 1, 0, 0), &unsupported, "DNL"},
		"no width":           {with(data, 3, 0, 0), &format, "frame header"},
		"sampling 0":         {with(data, 7, 0x02), &format, "sampling"},
		"sampling 3 to 2":    {with(data, 7, 0x31, 0, 2, 0x21), &unsupported, "whole number"},
		"2 components":       {with(kind(0xC0), 5, 2), &format, "frame header"},
		"huge":               {with(data, 1, 0xFF, 0xFF, 0xFF, 0xFF), &size, "allowed"},
		"too few bytes":      {with(data, 1, 0x40, 0, 0x20, 0), &size, "hold"},
		"no scan":            {append(bytes.Clone(data[:sos]), 0xFF, 0xD9), &format, "no scan"},
		"scan without frame": {append([]byte("\xff\xd8"), data[sos:]...), &format, "frame"},
		"second frame": {insert(data, sos, data[bytes.Index(data, []byte("\xff\xc0")):sos]),
			&format, "second frame"},
		"unknown marker": {insert(data, sos, []byte{0xFF, 0x55}), &format, "unknown marker"},
	} {
		m, err := Decode(c.data, Options{})
		if err == nil || m != nil || !errors.As(err, c.as) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v (%T), want a %T about %q", name, err, err, c.as, c.word)
		}
	}
	if _, err := Decode(data, Options{Path: "abacus"}); err == nil {
		t.Error("an unknown kernel path was taken")
	}
}

func insert(b []byte, at int, what []byte) []byte {
	return append(append(bytes.Clone(b[:at]), what...), b[at:]...)
}

// TestCutShort: a file that ends within its picture is refused wherever it is cut, and one that
// lacks only its end-of-image marker is read.
func TestCutShort(t *testing.T) {
	t.Parallel()
	data := encoded(t, gradient(64, 48))
	for n := 3; n < len(data)-3; n++ {
		if _, err := Decode(data[:n], Options{}); err != ErrTruncated {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
	want, err := Decode(data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data[:len(data)-2], Options{})
	if err != nil || !bytes.Equal(got.Pix, want.Pix) {
		t.Errorf("without its last marker: %v", err)
	}
	// With an end marker the missing part is grey, as libjpeg has it.
	ended := append(bytes.Clone(data[:len(data)*3/4]), 0xFF, markerEOI)
	if got, err = Decode(ended, Options{}); err != nil || !bytes.HasSuffix(got.Pix, []byte{128, 128, 128}) {
		t.Errorf("cut and ended: %v", err)
	}
}

// TestLittleForAClaim: a small file with a large size must not cost memory of that size.
func TestLittleForAClaim(t *testing.T) {
	data := with(encoded(t, gradient(64, 48)), 1, 0x7F, 0, 0x7F, 0)
	if got := testing.AllocsPerRun(1, func() { Decode(data, Options{MaxPixels: 1 << 31}) }); got > 50 {
		t.Errorf("%v allocations", got)
	}
	_, err := Decode(data, Options{MaxPixels: 1 << 31})
	var size *SizeError
	if !errors.As(err, &size) || size.Width != 0x7F00 {
		t.Error(err)
	}
}

// TestPix decodes into memory that is not clean, and into too little of it.
func TestPix(t *testing.T) {
	t.Parallel()
	data := encoded(t, gradient(37, 29))
	want, err := Decode(data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10, 3 * 37 * 29, 5000} {
		pix := bytes.Repeat([]byte{guard}, n)
		got, err := Decode(data, Options{Pix: pix[:0]})
		if err != nil || !bytes.Equal(got.Pix, want.Pix) || (n >= len(want.Pix)) != (&got.Pix[0] == &pix[0]) {
			t.Errorf("memory of %d bytes: %v", n, err)
		}
		if n > len(want.Pix) && pix[len(want.Pix)] != guard {
			t.Error("wrote behind the picture")
		}
	}
}

// TestScanLimit: scans that each visit every block cannot be had for a few bytes without end.
func TestScanLimit(t *testing.T) {
	t.Parallel()
	data := bytes.Replace(encoded(t, gradient(64, 48)), []byte("\xff\xc0"), []byte("\xff\xc2"), 1)
	data = data[:bytes.Index(data, []byte("\xff\xda"))]
	for range maxScans + 1 {
		data = append(data, 0xFF, markerSOS, 0, 8, 1, 1, 0, 0, 0, 0x10, 0)
	}
	data = append(data, 0xFF, markerEOI)
	var unsupported UnsupportedError
	if _, err := Decode(data, Options{}); !errors.As(err, &unsupported) {
		t.Error(err)
	}
}

// TestGreySampling: the sampling factors of a plane that is alone mean nothing.
func TestGreySampling(t *testing.T) {
	t.Parallel()
	grey := image.NewGray(image.Rect(0, 0, 45, 37))
	for i := range grey.Pix {
		grey.Pix[i] = byte(i * i >> 3)
	}
	data := encoded(t, grey)
	want, err := Decode(data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, factors := range []byte{0x22, 0x21, 0x14} {
		got, err := Decode(with(data, 7, factors), Options{})
		if err != nil || !bytes.Equal(got.Pix, want.Pix) {
			t.Errorf("factors %x: %v", factors, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	data := encoded(t, gradient(64, 48))
	c, err := DecodeConfig(data[:bytes.Index(data, []byte("\xff\xda"))])
	if err != nil || c != (Config{Width: 64, Height: 48, Components: 3}) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := DecodeConfig(data[:100]); err != ErrTruncated {
		t.Error(err)
	}
}

// FuzzDecode looks for panics, untyped errors, sizes that are not the header's, and kernel paths
// that do not agree.
func FuzzDecode(f *testing.F) {
	_, files := drawn(f)
	for i, data := range files {
		f.Add(data, uint8(i*5))
	}
	f.Fuzz(func(t *testing.T, data []byte, side uint8) {
		config, configErr := DecodeConfig(data)
		var first *Image
		for i, path := range Paths() {
			m, err := Decode(data, Options{MinSide: int(side), MaxPixels: 1 << 20, Path: path})
			if err != nil {
				var format FormatError
				var unsupported UnsupportedError
				var size *SizeError
				if !errors.As(err, &format) && !errors.As(err, &unsupported) && !errors.As(err, &size) && err != ErrTruncated {
					t.Fatalf("an error of type %T: %v", err, err)
				}
				if i > 0 && first != nil {
					t.Fatalf("path %s fails: %v", path, err)
				}
				continue
			}
			if configErr != nil || m.Width != up(config.Width, m.Scale) || m.Height != up(config.Height, m.Scale) {
				t.Fatalf("%dx%d at 1/%d, header %+v (%v)", m.Width, m.Height, m.Scale, config, configErr)
			}
			if i == 0 {
				first = m
			} else if first == nil || !bytes.Equal(first.Pix, m.Pix) {
				t.Fatalf("path %s differs", path)
			}
		}
	})
}

// TestTables: what T.81 says of the order of coefficients, and of the counts of its tables.
func TestTables(t *testing.T) {
	t.Parallel()
	seen := map[uint8]bool{}
	for k, place := range zigzag[:64] {
		x, y := int(place%8), int(place/8)
		if k > 0 && x+y != int(zigzag[k-1]%8)+int(zigzag[k-1]/8) &&
			x != 0 && y != 0 && x != 7 && y != 7 {
			t.Errorf("place %d is within a diagonal and starts it", k)
		}
		seen[place] = true
	}
	if len(seen) != 64 {
		t.Errorf("%d places", len(seen))
	}
	for class := range standardTables {
		for to, table := range standardTables[class] {
			n := 0
			for _, count := range table.counts {
				n += int(count)
			}
			if n != len(table.symbols) || !standard()[class][to].valid {
				t.Errorf("table %d %d has %d symbols for %d codes", class, to, len(table.symbols), n)
			}
		}
	}
}

// TestExtend: the ends of the ranges of values of each size (T.81, table F.1).
func TestExtend(t *testing.T) {
	t.Parallel()
	for size := 1; size <= 15; size++ {
		for _, v := range []int32{-1<<size + 1, -1 << (size - 1), 1 << (size - 1), 1<<size - 1} {
			raw := uint32(v)
			if v < 0 {
				raw = uint32(v + 1<<size - 1)
			}
			if got := extend(raw&(1<<size-1), size); got != v {
				t.Errorf("%d bits %b: %d, want %d", size, raw, got, v)
			}
		}
	}
}
