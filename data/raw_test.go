package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// cifarFile returns records whose labels are given after head, the bytes before the label; a record's pixel
// p has red, green and blue values of p%256, 1 and the label.
func cifarFile(head []byte, labels ...byte) []byte {
	var b []byte
	for _, l := range labels {
		b = append(append(b, head...), l)
		for p := range 1024 {
			b = append(b, byte(p))
		}
		b = append(b, bytes.Repeat([]byte{1}, 1024)...)
		b = append(b, bytes.Repeat([]byte{l}, 1024)...)
	}
	return b
}

// idxFile returns an IDX file of bytes.
func idxFile(values []byte, dims ...uint32) []byte {
	b := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, values...)
}

func TestCIFARBinary(t *testing.T) {
	ten := map[string][]byte{
		"data_batch_1.bin": cifarFile(nil, 3, 4), "data_batch_2.bin": cifarFile(nil, 5), "data_batch_10.bin": cifarFile(nil, 6),
		"test_batch.bin": cifarFile(nil, 9), "readme.html": []byte("<html>"),
	}
	named := map[string][]byte{"cifar-10-batches-bin/batches.meta.txt": []byte("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n")}
	for name, content := range ten {
		named["cifar-10-batches-bin/"+name] = content
	}
	hundred := map[string][]byte{"train.bin": cifarFile([]byte{7}, 99, 0), "test.bin": cifarFile([]byte{8}, 50)}
	var packed []file
	for name, content := range named {
		packed = append(packed, file{name, content})
	}
	for _, c := range []struct {
		name, path string
		part       Part
		kind, want string
	}{
		{"10, both", folder(t, ten), Any, "CIFAR-10 binary", "train/00000=cat train/00001=deer train/00002=dog train/00003=frog test/00000=truck"},
		{"10, train", folder(t, ten), Train, "CIFAR-10 binary", "train/00000=cat train/00001=deer train/00002=dog train/00003=frog"},
		{"10, test, with names", folder(t, named), Test, "CIFAR-10 binary", "test/00000=j"},
		{"10, packed", onDisk(t, "c.tar.gz", gzipped(packTar(packed...))), Test, "CIFAR-10 binary", "test/00000=j"},
		{"100, both", folder(t, hundred), Any, "CIFAR-100 binary", "train/00000=99 train/00001=0 test/00000=50"},
		{"100, test", folder(t, hundred), Test, "CIFAR-100 binary", "test/00000=50"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, c.path, Options{Part: c.part, CacheBytes: 1 << 20})
			if s.Kind() != c.kind || listing(s) != c.want {
				t.Errorf("got %s: %s\nwant %s: %s", s.Kind(), listing(s), c.kind, c.want)
			}
			var m Image
			for i := range s.Len() {
				if err := s.Read(i, &m); err != nil {
					t.Fatal(err)
				}
				label := byte(map[string]int{"j": 9}[s.Classes()[s.Label(i)]])
				if label == 0 {
					label = byte(s.Label(i))
				}
				if at := 3 * 33; m.Width != 32 || m.Height != 32 || !slices.Equal(m.Pix[at:at+3], []byte{33, 1, label}) {
					t.Errorf("image %d: pixel 33 is %v, want 33, 1 and the label %d", i, m.Pix[at:at+3], label)
				}
			}
		})
	}
	both := open(t, folder(t, ten), Options{})
	changed := map[string][]byte{}
	for name, content := range ten {
		changed[name] = slices.Clone(content)
	}
	changed["data_batch_2.bin"][100]++
	if open(t, folder(t, changed), Options{}).Fingerprint() == both.Fingerprint() {
		t.Error("other pixels give the same fingerprint")
	}
	if n := testing.AllocsPerRun(10, func() { both.Read(0, &Image{Pix: make([]uint8, 3072)}) }); n > 2 {
		t.Errorf("reading allocates %v times", n)
	}
}

func TestIDX(t *testing.T) {
	pixels := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	mnist := map[string][]byte{
		"train-images-idx3-ubyte": idxFile(pixels, 2, 3, 2), "train-labels-idx1-ubyte": idxFile([]byte{4, 0}, 2),
		"t10k-images-idx3-ubyte.gz": gzipped(idxFile(pixels[:6], 1, 3, 2)), "t10k-labels-idx1-ubyte.gz": gzipped(idxFile([]byte{7}, 1)),
	}
	for _, c := range []struct {
		name, file string
		files      map[string][]byte
		part       Part
		want       string
		pix        []byte // of the first image
	}{
		{"both", "", mnist, Any, "train/00000=4 train/00001=0 test/00000=7", []byte{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6}},
		{"train", "", mnist, Train, "train/00000=4 train/00001=0", nil},
		{"test", "", mnist, Test, "test/00000=7", nil},
		{"one file brings its labels", "t10k-images-idx3-ubyte.gz", mnist, Train, "test/00000=7", nil},
		{"dots in the name", "", map[string][]byte{"train-images.idx3-ubyte": idxFile(pixels, 2, 3, 2), "train-labels.idx1-ubyte": idxFile([]byte{1, 0}, 2)}, Train, "train/00000=1 train/00001=0", nil},
		{"no labels", "", map[string][]byte{"train-images-idx3-ubyte": idxFile(pixels, 2, 3, 2)}, Any, "train/00000=- train/00001=-", nil},
		{"any name", "pictures", map[string][]byte{"pictures": idxFile(pixels, 2, 3, 2)}, Any, "any/00000=- any/00001=-", nil},
		{"colour", "c", map[string][]byte{"c": idxFile(pixels, 2, 1, 2, 3)}, Any, "any/00000=- any/00001=-", []byte{1, 2, 3, 4, 5, 6}},
		{"packed and unpacked", "", map[string][]byte{"train-images-idx3-ubyte": idxFile(pixels, 2, 3, 2), "train-images-idx3-ubyte.gz": gzipped(idxFile(pixels, 2, 3, 2))}, Any, "train/00000=- train/00001=-", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.files)
			if c.file != "" {
				dir += "/" + c.file
			}
			s := open(t, dir, Options{Part: c.part})
			if s.Kind() != "IDX" || listing(s) != c.want {
				t.Errorf("got %s: %s\nwant IDX: %s", s.Kind(), listing(s), c.want)
			}
			var m Image
			if err := s.Read(0, &m); err != nil {
				t.Fatal(err)
			}
			if c.pix != nil && !slices.Equal(m.Pix, c.pix) {
				t.Errorf("the first image is %v, want %v", m.Pix, c.pix)
			}
		})
	}
}

func TestDamagedRawFiles(t *testing.T) {
	images, labels := "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
	for _, c := range []struct {
		name  string
		files map[string][]byte
		part  Part
		want  string
	}{
		{"CIFAR cut short", map[string][]byte{"data_batch_1.bin": cifarFile(nil, 1, 2)[:5000]}, Any, "cut short"},
		{"CIFAR empty", map[string][]byte{"data_batch_1.bin": {}}, Any, "cut short"},
		{"CIFAR label", map[string][]byte{"data_batch_1.bin": cifarFile(nil, 1, 10)}, Any, "record 1 has label 10"},
		{"CIFAR without the part", map[string][]byte{"data_batch_1.bin": cifarFile(nil, 1)}, Test, "no test part"},
		{"CIFAR in two places", map[string][]byte{"a/data_batch_1.bin": cifarFile(nil, 1), "b/data_batch_1.bin": cifarFile(nil, 1)}, Any, "one of these folders"},
		{"IDX cut short", map[string][]byte{images: idxFile(make([]byte, 11), 2, 3, 2)}, Any, "cut short"},
		{"IDX too long", map[string][]byte{images: idxFile(make([]byte, 13), 2, 3, 2)}, Any, "1 bytes after its last value"},
		{"IDX of floats", map[string][]byte{images: {0, 0, 13, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, Any, "0x0d"},
		{"IDX of a size that overflows", map[string][]byte{images: idxFile(nil, 1<<31, 1<<31, 1<<31)}, Any, "more than is held"},
		{"IDX without images", map[string][]byte{images: idxFile(nil, 0, 28, 28)}, Any, "holds no images"},
		{"IDX of no size", map[string][]byte{images: idxFile(nil, 5, 0, 28)}, Any, "holds no images"},
		{"IDX in one dimension", map[string][]byte{images: idxFile([]byte{1}, 1)}, Any, "no list of images"},
		{"IDX with a header cut short", map[string][]byte{images: {0, 0, 8, 3, 0}}, Any, "header"},
		{"IDX text", map[string][]byte{images: []byte("hello")}, Any, "no IDX file"},
		{"IDX with others' labels", map[string][]byte{images: idxFile(make([]byte, 12), 2, 3, 2), labels: idxFile([]byte{1}, 1)}, Any, "do not belong together"},
		{"IDX without the part", map[string][]byte{images: idxFile(make([]byte, 12), 2, 3, 2)}, Test, "no test part"},
		{"IDX of two sets", map[string][]byte{"a-" + images: idxFile(make([]byte, 12), 2, 3, 2), "b-" + images: idxFile(make([]byte, 12), 2, 3, 2)}, Any, "same part"},
		{"IDX parts of two sizes", map[string][]byte{images: idxFile(make([]byte, 12), 2, 3, 2), "t10k-images-idx3-ubyte": idxFile(make([]byte, 12), 2, 2, 3)}, Any, "[2 3 1]"},
		{"IDX gzip cut short", map[string][]byte{images + ".gz": gzipped(idxFile(make([]byte, 12), 2, 3, 2))[:20]}, Any, "cut short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Open(context.Background(), folder(t, c.files), Options{Part: c.part})
			if err == nil {
				t.Fatalf("opened: %s", listing(s))
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want one sentence with %q", err, c.want)
			}
		})
	}
}

func FuzzIDX(f *testing.F) {
	f.Add(idxFile([]byte{1, 2, 3, 4}, 1, 2, 2))
	f.Add(idxFile(nil, 1<<31, 1<<31, 1<<31, 1<<31))
	f.Add(idxFile(nil, 0, 1<<31))
	f.Fuzz(func(t *testing.T, content []byte) {
		dims, values, err := parseIDX(content)
		if err != nil {
			return
		}
		n := 1
		for _, d := range dims {
			n *= d
		}
		if n != len(values) {
			t.Errorf("%v with %d values", dims, len(values))
		}
	})
}

func FuzzCIFAR(f *testing.F) {
	f.Add(cifarFile(nil, 1, 9), false)
	f.Add(cifarFile([]byte{1}, 99), true)
	f.Add([]byte{1}, false)
	f.Fuzz(func(t *testing.T, content []byte, hundred bool) {
		labelBytes, classes := 1, 10
		if hundred {
			labelBytes, classes = 2, 100
		}
		pix, labels, err := parseCIFAR(content, labelBytes, classes, nil, nil)
		if err != nil {
			return
		}
		if len(pix) != 3072*len(labels) || len(content) != (3072+labelBytes)*len(labels) || int(slices.Max(labels)) >= classes {
			t.Errorf("%d bytes gave %d values and labels %v", len(content), len(pix), labels)
		}
	})
}
