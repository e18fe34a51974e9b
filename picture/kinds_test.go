package picture

import (
	"bufio"
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

func readWanted(t *testing.T) []wanted {
	t.Helper()
	f, err := os.Open("testdata/want.tsv")
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

// Every file in testdata/inputs and testdata/kinds has Pillow's pixels, on white and with transparency dropped, or
// stands in one of the tables below.
func TestKinds(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, w := range readWanted(t) {
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

func checkKind(t *testing.T, w wanted) {
	content, err := os.ReadFile("testdata/" + w.file)
	if err != nil {
		t.Fatal(err)
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

// checkNear allows what inverse DCTs differ by in rounding: 1 level in luma or chroma, up to 3 after the matrix.
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
	"inputs/arith.jpg":      "arithmetic coding",
	"inputs/named_heic.jpg": "HEIC",
	"inputs/float01.tif":    "float samples from 0 to 1",
}

// ours are checksums where Pillow's pixels are not wanted.
var ours = map[string]uint32{}
