package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// chunk returns a PNG chunk.
func chunk(kind string, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, kind...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// hugePNG returns the start of a PNG that claims a size.
func hugePNG(w, h uint32) []byte {
	body := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	return append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(body, 8, 2, 0, 0, 0))...)
}

func encoded(encode func(io.Writer, image.Image) error, m image.Image) []byte {
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func asGIF(w io.Writer, m image.Image) error  { return gif.Encode(w, m, nil) }
func asTIFF(w io.Writer, m image.Image) error { return tiff.Encode(w, m, nil) }
func asJPEG(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, &jpeg.Options{Quality: 100}) }

// painted fills m, of 2x1 pixels, with two colours.
func painted[M interface {
	image.Image
	Set(x, y int, c color.Color)
}](m M, left, right color.Color) M {
	m.Set(0, 0, left)
	m.Set(1, 0, right)
	return m
}

func TestFormatsAndColours(t *testing.T) {
	r := image.Rect(0, 0, 2, 1)
	red, mud := color.NRGBA{250, 10, 20, 255}, color.NRGBA{100, 90, 80, 255}
	glass, air := color.NRGBA{200, 100, 50, 128}, color.NRGBA{7, 8, 9, 0}
	paletted := image.NewPaletted(r, color.Palette{red, mud, glass})
	paletted.Pix[0], paletted.Pix[1] = 1, 2
	offset := image.NewPaletted(image.Rect(1, 0, 2, 1), color.Palette{red, mud})
	var animated bytes.Buffer
	err := gif.EncodeAll(&animated, &gif.GIF{
		Image: []*image.Paletted{offset, offset}, Delay: []int{0, 0}, Config: image.Config{Width: 2, Height: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	deep := painted(image.NewRGBA64(r), color.RGBA64{0xfaff, 0x0a00, 0x147f, 0xffff}, color.RGBA64{0x6480, 0x5aff, 0x5001, 0xffff})
	deepGlass := painted(image.NewNRGBA64(r), color.NRGBA64{0xfaff, 0x0a00, 0x147f, 0xff09}, color.NRGBA64{0x6480, 0x5aff, 0x5001, 0})
	gray := painted(image.NewGray(r), color.Gray{77}, color.Gray{255})
	deepGray := painted(image.NewGray16(r), color.Gray16{0x4dff}, color.Gray16{0x80ff})
	flat := painted(image.NewGray(r), color.Gray{77}, color.Gray{77})
	web := painted(image.NewPaletted(r, palette.Plan9), color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255})
	solid := []uint8{250, 10, 20, 100, 90, 80}
	for _, c := range []struct {
		name    string
		content []byte
		want    []uint8
	}{
		{"png", encoded(png.Encode, painted(image.NewNRGBA(r), red, mud)), solid},
		{"png, transparent", encoded(png.Encode, painted(image.NewNRGBA(r), glass, air)), []uint8{227, 177, 152, 255, 255, 255}},
		{"png, 16 bit", encoded(png.Encode, deep), solid},
		{"png, 16 bit, transparent", encoded(png.Encode, deepGlass), []uint8{250, 10, 20, 255, 255, 255}},
		{"png, gray", encoded(png.Encode, gray), []uint8{77, 77, 77, 255, 255, 255}},
		{"png, 16-bit gray", encoded(png.Encode, deepGray), []uint8{77, 77, 77, 128, 128, 128}},
		{"png, palette with transparency", encoded(png.Encode, paletted), []uint8{100, 90, 80, 227, 177, 152}},
		{"gif", encoded(asGIF, web), []uint8{255, 0, 0, 0, 0, 255}},
		{"gif, the first frame does not fill the screen", animated.Bytes(), []uint8{250, 10, 20, 250, 10, 20}},
		{"bmp", encoded(bmp.Encode, painted(image.NewRGBA(r), red, mud)), solid},
		{"tiff", encoded(asTIFF, painted(image.NewRGBA(r), red, mud)), solid},
		{"tiff, transparent", encoded(asTIFF, painted(image.NewNRGBA(r), glass, mud)), []uint8{227, 177, 152, 100, 90, 80}},
		{"jpeg, gray", encoded(asJPEG, flat), []uint8{77, 77, 77, 77, 77, 77}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Image
			if err := new(Decoder).Decode(c.content, Options{MaxPixels: 100}, &m); err != nil {
				t.Fatal(err)
			}
			if m.Width != 2 || m.Height != 1 || !slices.Equal(m.Pix, c.want) {
				t.Errorf("got %dx%d %v, want 2x1 %v", m.Width, m.Height, m.Pix, c.want)
			}
		})
	}
}

func TestInks(t *testing.T) {
	m := image.NewCMYK(image.Rect(0, 0, 2, 1))
	copy(m.Pix, []uint8{0, 128, 255, 0, 10, 20, 30, 100})
	got, err := FromImage(m, White)
	if err != nil {
		t.Fatal(err)
	}
	if want := []uint8{255, 127, 0, 149, 143, 137}; !slices.Equal(got.Pix, want) {
		t.Errorf("got %v, want %v", got.Pix, want)
	}
}

func TestPixelLimit(t *testing.T) {
	content := encoded(png.Encode, image.NewNRGBA(image.Rect(0, 0, 10, 10)))
	var m Image
	if err := new(Decoder).Decode(content, Options{MaxPixels: 100}, &m); err != nil {
		t.Errorf("100 pixels where 100 are allowed: %v", err)
	}
	err := new(Decoder).Decode(content, Options{MaxPixels: 9}, &m)
	if err == nil || !strings.Contains(err.Error(), "10x10") {
		t.Errorf("100 pixels where 9 are allowed give %v", err)
	}
	huge := hugePNG(1<<31-1, 1<<31-1)
	if err := new(Decoder).Decode(huge, Options{MaxPixels: DefaultMaxPixels}, &m); err == nil {
		t.Error("a size whose product overflows was accepted")
	}
}

// TestReduction: a PNG above the limit is averaged down by the smallest factor that makes it fit.
func TestReduction(t *testing.T) {
	t.Parallel()
	m := image.NewNRGBA(image.Rect(0, 0, 11, 7))
	for i := range m.Pix {
		m.Pix[i] = uint8(i * i * 7)
	}
	whole, err := FromImage(m, White)
	if err != nil {
		t.Fatal(err)
	}
	content := encoded(png.Encode, m)
	for _, c := range []struct{ limit, width, height int }{
		{77, 11, 7}, {76, 6, 4}, {24, 6, 4}, {23, 4, 3}, {12, 4, 3}, {8, 3, 2},
	} {
		var got Image
		err := new(Decoder).Decode(content, Options{MaxPixels: c.limit}, &got)
		if err != nil || got.Width != c.width || got.Height != c.height {
			t.Fatalf("%d pixels allowed: %dx%d, %v, want %dx%d", c.limit, got.Width, got.Height, err, c.width, c.height)
		}
		k := ceil(whole.Width, c.width)
		for y := range got.Height {
			for x := range 3 * got.Width {
				sum, n := 0, 0
				for yy := y * k; yy < min(y*k+k, whole.Height); yy++ {
					for xx := x / 3 * k; xx < min(x/3*k+k, whole.Width); xx++ {
						sum += int(whole.Pix[3*(yy*whole.Width+xx)+x%3])
						n++
					}
				}
				if v, want := got.Pix[3*y*got.Width+x], uint8((sum+n/2)/n); v != want {
					t.Fatalf("%d pixels allowed: value %d of row %d is %d, want %d", c.limit, x, y, v, want)
				}
			}
		}
	}
	var large *TooLargeError
	if err := new(Decoder).Decode(content, Options{MaxPixels: 7}, new(Image)); !errors.As(err, &large) {
		t.Errorf("eleven times too large gives %v", err)
	}
	if err := new(Decoder).Decode(encoded(asGIF, m), Options{MaxPixels: 76}, new(Image)); !errors.As(err, &large) {
		t.Errorf("a GIF that is too large gives %v", err)
	}
}

func TestDecoderPanicIsAnError(t *testing.T) {
	err := func() (err error) {
		defer recovered(&err)
		panic("index out of range")
	}()
	if err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("a panic became %v", err)
	}
}

// exif returns a TIFF structure with a directory of two fields, the second the orientation.
func exif(order binary.AppendByteOrder, value uint16) []byte {
	b := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 2)
	for _, field := range [][2]uint16{{0x0103, 7}, {0x0112, value}} {
		b = order.AppendUint16(b, field[0])
		b = order.AppendUint16(b, 3)
		b = order.AppendUint32(b, 1)
		b = order.AppendUint16(b, field[1])
		b = order.AppendUint16(b, 0)
	}
	return order.AppendUint32(b, 0)
}

// turnedPNG returns a PNG with an orientation.
func turnedPNG(plain []byte, orientation uint16) []byte {
	head := len("\x89PNG\r\n\x1a\n") + 25 // after IHDR
	return slices.Concat(plain[:head], chunk("eXIf", exif(binary.BigEndian, orientation)), plain[head:])
}

func TestOrientation(t *testing.T) {
	// ABC over DEF, as each orientation shows it; rows from the standard's "row 0 is at the ...,
	// column 0 at the ...".
	views := []string{
		1: "ABC/DEF", 2: "CBA/FED", 3: "FED/CBA", 4: "DEF/ABC",
		5: "AD/BE/CF", 6: "DA/EB/FC", 7: "FC/EB/DA", 8: "CF/BE/AD", 9: "ABC/DEF",
	}
	m := image.NewGray(image.Rect(0, 0, 3, 2))
	copy(m.Pix, "ABCDEF")
	plain := encoded(png.Encode, m)
	for value := 1; value < len(views); value++ {
		content := turnedPNG(plain, uint16(value))
		var got Image
		if err := new(Decoder).Decode(content, Options{MaxPixels: 100}, &got); err != nil {
			t.Fatal(err)
		}
		var view strings.Builder
		for i := 0; i < len(got.Pix); i += 3 {
			if i > 0 && i/3%got.Width == 0 {
				view.WriteByte('/')
			}
			view.WriteByte(got.Pix[i])
		}
		if view.String() != views[value] {
			t.Errorf("orientation %d shows %s, want %s", value, view.String(), views[value])
		}
	}
}

// orientationOf finds the orientation without decoding.
func orientationOf(content []byte, format string) int {
	switch format {
	case "jpeg":
		return jpegOrientation(content)
	case "png":
		if f, err := new(Decoder).parsePNG(content); err == nil || f != nil {
			return f.orientation()
		}
	case "webp":
		if f, err := parseWebP(content); err == nil {
			o, _ := exifOrientation(f.exif)
			return o
		}
	case "tiff":
		if d, err := readDirectory(content); err == nil {
			return orientationIn(d)
		}
	}
	return 1
}

func TestWhereOrientationIsKept(t *testing.T) {
	photo := encoded(asJPEG, image.NewGray(image.Rect(0, 0, 16, 8)))
	segment := func(marker byte, body []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(body)+2)), body...)
	}
	app1 := segment(0xe1, append([]byte("Exif\x00\x00"), exif(binary.LittleEndian, 6)...))
	longExif := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08" + "\x00\x01" +
		"\x01\x12\x00\x04\x00\x00\x00\x01\x00\x00\x00\x06" + "\x00\x00\x00\x00")
	webp, err := os.ReadFile("testdata/pixels/lossless.webp")
	if err != nil {
		t.Fatal(err)
	}
	riff := func(kind string, body []byte) []byte {
		b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(body)))
		b = append(b, body...)
		return append(b, make([]byte, len(body)%2)...)
	}
	extended := slices.Concat(riff("VP8X", []byte{8, 0, 0, 0, 36, 0, 0, 22, 0, 0}), webp[12:], riff("EXIF", exif(binary.LittleEndian, 8)))
	extended = slices.Concat([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(4+len(extended))), []byte("WEBP"), extended)
	for _, c := range []struct {
		name    string
		content []byte
		want    int
	}{
		{"none", photo, 1},
		{"jpeg", slices.Concat(photo[:2], segment(0xe0, []byte("JFIF\x00")), []byte{0xff}, app1, photo[2:]), 6},
		{"jpeg, as a 32-bit number", slices.Concat(photo[:2], segment(0xe1, longExif), photo[2:]), 6},
		{"jpeg, in another application's segment", slices.Concat(photo[:2], segment(0xe2, app1[4:]), photo[2:]), 1},
		{"webp", extended, 8},
		{"tiff", exif(binary.LittleEndian, 3), 3},
		{"tiff, out of range", exif(binary.BigEndian, 9), 1},
		{"tiff, cut", exif(binary.BigEndian, 3)[:20], 1},
	} {
		if got := orientationOf(c.content, sniff(c.content)); got != c.want {
			t.Errorf("%s: orientation %d, want %d", c.name, got, c.want)
		}
	}
	for _, content := range [][]byte{extended, slices.Concat(photo[:2], app1, photo[2:])} {
		var m Image
		if err := new(Decoder).Decode(content, Options{MaxPixels: 10000}, &m); err != nil || m.Width > m.Height {
			t.Errorf("an image on its side was not turned: %dx%d, %v", m.Width, m.Height, err)
		}
	}
}

func FuzzOrientation(f *testing.F) {
	f.Add(exif(binary.LittleEndian, 6))
	f.Add(slices.Concat([]byte{0xff, 0xd8, 0xff, 0xe1, 0, 46}, []byte("Exif\x00\x00"), exif(binary.BigEndian, 6)))
	f.Add([]byte("II*\x00\xff\xff\xff\xff"))
	f.Add([]byte("RIFF\x00\x00\x00\x00WEBPEXIF\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, format := range []string{"jpeg", "png", "webp", "tiff", "gif"} {
			if o := orientationOf(content, format); o < 1 || o > 8 {
				t.Errorf("%s: orientation %d", format, o)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/pixels/*")
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil {
			f.Add(content)
		}
	}
	m := image.NewPaletted(image.Rect(0, 0, 9, 7), palette.WebSafe)
	for _, encode := range []func(io.Writer, image.Image) error{png.Encode, asGIF, bmp.Encode, asTIFF} {
		f.Add(encoded(encode, m))
	}
	f.Add(hugePNG(60000, 60000))
	f.Fuzz(func(t *testing.T, content []byte) {
		const limit = 1 << 16
		var m Image
		if err := new(Decoder).Decode(content, Options{MaxPixels: limit}, &m); err != nil {
			if errors.Unwrap(err) == nil && err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if m.Width <= 0 || m.Height <= 0 || m.Width*m.Height > limit || len(m.Pix) != 3*m.Width*m.Height {
			t.Errorf("decoded to %dx%d with %d bytes", m.Width, m.Height, len(m.Pix))
		}
	})
}

func BenchmarkDecodePhoto(b *testing.B) {
	m := image.NewRGBA(image.Rect(0, 0, 500, 375))
	for i := range m.Pix {
		m.Pix[i] = uint8(i/7 ^ i/2000)
	}
	var content bytes.Buffer
	if err := jpeg.Encode(&content, m, nil); err != nil {
		b.Fatal(err)
	}
	b.Run("jpeg alone", func(b *testing.B) {
		for b.Loop() {
			jpeg.Decode(bytes.NewReader(content.Bytes()))
		}
	})
	b.Run("to RGB", func(b *testing.B) {
		b.ReportAllocs()
		var d Decoder
		var dst Image
		for b.Loop() {
			if err := d.Decode(content.Bytes(), Options{}, &dst); err != nil {
				b.Fatal(err)
			}
		}
	})
}
