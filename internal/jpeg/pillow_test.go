package jpeg

import (
	"archive/zip"
	"bufio"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strings"
	"testing"
)

var corpus = flag.String("corpus", "", "a folder made by scripts/jpeg/corpus.py, instead of testdata/pillow.zip")

// TestPillow decodes files of many kinds and compares CRCs with those of Pillow's pixels.
func TestPillow(t *testing.T) {
	files := os.DirFS(*corpus)
	if *corpus == "" {
		archive, err := zip.OpenReader("testdata/pillow.zip")
		if err != nil {
			t.Fatal(err)
		}
		defer archive.Close()
		files = archive
	}
	list, err := files.Open("sums.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	checked, wrong, lenient := 0, 0, 0
	for lines := bufio.NewScanner(list); lines.Scan(); checked++ {
		err := checkSum(files, lines.Text())
		if err == errLenient {
			lenient++
		} else if err != nil {
			if wrong++; wrong <= 20 {
				t.Error(err)
			}
		}
	}
	if wrong > 0 || checked == 0 {
		t.Errorf("%d of %d pictures differ", wrong, checked)
	}
	t.Logf("%d pictures, of which Pillow refuses %d (damaged or cut behind the last block)", checked, lenient)
	if lenient > checked/500 {
		t.Errorf("%d pictures were read that Pillow refuses", lenient)
	}
}

// errLenient says that a file was read that Pillow refuses.
var errLenient = errors.New("read, though Pillow refuses it")

// checkSum checks one line of sums.txt on every kernel path.
func checkSum(files fs.FS, line string) error {
	var name, rest string
	var scale int
	if _, err := fmt.Sscan(line, &name, &scale); err != nil {
		return err
	}
	rest = strings.SplitN(line, " ", 3)[2]
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return err
	}
	for _, path := range Paths() {
		got := "error"
		img, err := decodeAt(data, scale, path)
		if err == nil {
			got = fmt.Sprintf("%d %d %08x", img.Width, img.Height, crc32.ChecksumIEEE(img.Pix))
		}
		if rest == "error" && err == nil {
			return errLenient
		}
		if got != rest {
			return fmt.Errorf("%s at 1/%d, %s: %s (%v), want %s", name, scale, path, got, err, rest)
		}
	}
	return nil
}

// decodeAt decodes at a given scale.
func decodeAt(data []byte, scale int, path string) (*Image, error) {
	config, err := DecodeConfig(data)
	if err != nil {
		return nil, err
	}
	img, err := Decode(data, Options{MinSide: min(config.Width, config.Height) / scale, Path: path})
	if err == nil && img.Scale != scale {
		return nil, errors.New("decoded at another scale")
	}
	return img, err
}
