package picture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// wanted is a line of testdata/want.tsv: what Pillow makes of a file.
type wanted struct {
	file          string
	width, height int
	white, drop   uint32 // checksums of the pixels; zero: Pillow does not read it
}

func readWanted(t *testing.T, dir string) []wanted {
	t.Helper()
	f, err := os.Open(dir + "/want.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []wanted
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := wanted{}
		v := strings.Split(lines.Text(), "\t")
		w.file = v[0]
		if v[1] != "error" {
			if _, err := fmt.Sscan(v[1]+" "+v[2], &w.width, &w.height); err != nil {
				t.Fatal(err)
			}
			for i, into := range []*uint32{&w.white, &w.drop} {
				sum, err := strconv.ParseUint(v[3+i], 16, 32)
				if err != nil {
					t.Fatal(err)
				}
				*into = uint32(sum)
			}
		}
		all = append(all, w)
	}
	return all
}

// Every file in testdata/inputs and testdata/kinds has Pillow's pixels, on white and with
// transparency dropped, or stands in one of the tables below.
func TestKinds(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, w := range readWanted(t, "testdata") {
		listed[w.file] = true
		t.Run(w.file, func(t *testing.T) {
			t.Parallel()
			checkKind(t, w)
		})
	}
	for _, folder := range []string{"inputs", "kinds"} {
		files, err := filepath.Glob("testdata/" + folder + "/*")
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", folder, err)
		}
		for _, file := range files {
			if name := folder + "/" + filepath.Base(file); !listed[name] {
				t.Errorf("%s is not in want.tsv; run testdata/make.py", name)
			}
		}
	}
}

// What a decoder did before changes nothing: one that reads all files, also after failing, gives what
// a new one gives.
func TestDecoderReused(t *testing.T) {
	t.Parallel()
	old := new(Decoder)
	var got Image
	for _, w := range readWanted(t, "testdata") {
		content, err := os.ReadFile("testdata/" + w.file)
		if err != nil {
			t.Fatal(err)
		}
		if format, ok := Sniff(content); !ok || format == "heic" {
			continue
		}
		var want Image
		first, second := new(Decoder).Decode(content, Options{}, &want), old.Decode(content, Options{}, &got)
		if (first == nil) != (second == nil) {
			t.Fatalf("%s: %v, then %v", w.file, first, second)
		}
		if first == nil && (got.Width != want.Width || !bytes.Equal(got.Pix, want.Pix)) {
			t.Errorf("%s: other pixels the second time", w.file)
		}
	}
}

// MOCO_PICTURES_DIR names a folder with other pictures and their want.tsv. Pictures that Pillow
// does not read, and those of JPEG, are passed over.
func TestOtherPictures(t *testing.T) {
	dir := os.Getenv("MOCO_PICTURES_DIR")
	if dir == "" {
		t.Skip("MOCO_PICTURES_DIR is not set")
	}
	d, same := new(Decoder), 0
	for _, w := range readWanted(t, dir) {
		if w.width == 0 {
			continue
		}
		content, err := os.ReadFile(dir + "/" + w.file)
		if err != nil {
			t.Fatal(err)
		}
		if format, _ := Sniff(content); format == "jpeg" {
			continue
		}
		var m Image
		if err := d.Decode(content, Options{}, &m); err != nil {
			t.Errorf("%s: %v", w.file, err)
			continue
		}
		white := crc32.ChecksumIEEE(m.Pix)
		if err := d.Decode(content, Options{Ground: Drop}, &m); err != nil {
			t.Errorf("%s: %v", w.file, err)
			continue
		}
		got := wanted{w.file, m.Width, m.Height, white, crc32.ChecksumIEEE(m.Pix)}
		if got != w {
			t.Errorf("got %+v, want %+v", got, w)
			continue
		}
		same++
	}
	t.Logf("%d pictures have Pillow's pixels", same)
}

func checkKind(t *testing.T, w wanted) {
	content, err := os.ReadFile("testdata/" + w.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, reads := boxedReader("heic"); reads && w.file == "inputs/named_heic.jpg" {
		t.Skip("NOT TESTED: this build reads HEIC")
	}
	var white, drop Image
	d := new(Decoder)
	err = d.Decode(content, Options{}, &white)
	if sentence, ok := sentences[w.file]; ok {
		if err == nil || !strings.Contains(err.Error(), sentence) {
			t.Errorf("gives %v, want an error with %q", err, sentence)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(content, Options{Ground: Drop}, &drop); err != nil {
		t.Fatal(err)
	}
	if other, ok := like[w.file]; ok {
		other, err := os.ReadFile("testdata/" + other)
		if err != nil {
			t.Fatal(err)
		}
		var want Image
		if err := d.Decode(other, Options{}, &want); err != nil {
			t.Fatal(err)
		}
		if white.Width != want.Width || !bytes.Equal(white.Pix, want.Pix) {
			t.Error("the pixels are others")
		}
		return
	}
	if sum, ok := ours[w.file]; ok {
		if got := crc32.ChecksumIEEE(white.Pix); got != sum {
			t.Errorf("checksum is %08x, want %08x", got, sum)
		}
		return
	}
	if white.Width != w.width || white.Height != w.height {
		t.Fatalf("size is %dx%d, want %dx%d", white.Width, white.Height, w.width, w.height)
	}
	if file := "testdata/near/" + strings.ReplaceAll(w.file, "/", "_") + ".png"; exists(file) {
		checkNear(t, file, &white)
		return
	}
	if got := crc32.ChecksumIEEE(white.Pix); got != w.white {
		t.Errorf("on white the checksum is %08x, want %08x", got, w.white)
	}
	if got := crc32.ChecksumIEEE(drop.Pix); got != w.drop {
		t.Errorf("with transparency dropped the checksum is %08x, want %08x", got, w.drop)
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, os.ErrNotExist)
}

// checkNear allows what inverse DCTs differ by in rounding: 1 level in luma or chroma, up to 3
// after the matrix.
func checkNear(t *testing.T, file string, got *Image) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	want, err := FromImage(m, White)
	if err != nil {
		t.Fatal(err)
	}
	worst, off := 0, 0
	for i, w := range want.Pix {
		d := max(int(got.Pix[i])-int(w), int(w)-int(got.Pix[i]))
		worst = max(worst, d)
		if d > 1 {
			off++
		}
	}
	if worst > 3 || off*20 > len(want.Pix) {
		t.Errorf("differs by up to %d levels, by more than 1 in %d of %d values", worst, off, len(want.Pix))
	}
}

// sentences are of files that are not read.
var sentences = map[string]string{
	"inputs/named_heic.jpg": "it is HEIC",
	"inputs/float01.tif":    "float samples from 0 to 1",

	// Damage that Pillow finds too.
	"kinds/adler.png": "the checksum of the pixels is wrong",

	// Of these Pillow reads the last three: colours through a library, and numbers clipped to 255.
	"kinds/kind_565.tif":       "samples of different lengths",
	"kinds/kind_double.tif":    "float samples of 64 bits",
	"kinds/kind_mask.tif":      "a transparency mask",
	"kinds/kind_rgb_float.tif": "3 float samples",
	"kinds/kind_lzma.tif":      "LZMA compression",
	"kinds/kind_lab.tif":       "CIELab colours",
	"kinds/kind_int16.tif":     "signed samples",
	"kinds/kind_uint32.tif":    "32 bits a sample",
}

// like names a file with the right pixels for files that Pillow reads otherwise, or not at all.
var like = map[string]string{
	"kinds/bigtiff_be.tif":    "kinds/rgb_raw.tif",
	"kinds/bad_tail.png":      "kinds/no_adler.png",
	"kinds/exif_le_type1.png": "kinds/exif_le_type3.png", // Pillow takes a number of type BYTE for text
	"kinds/exif_be_type1.png": "kinds/exif_le_type3.png",
	"kinds/turned_type1.tif":  "kinds/turned_type3.tif",
}

// ours are checksums of files whose pixels are not Pillow's.
var ours = map[string]uint32{
	"kinds/kind_gray16.tif": 0xeb6d7df5, // high bytes; Pillow clips to 255, which makes most pictures white
	"kinds/kind_gray12.tif": 0xdc068e20,
	"kinds/runs8_delta.bmp": 0x0e73aad7, // Pillow 9.4 reads the two bytes of a delta twice
}
