package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/tensor"
)

// writers are what writes tensors for other tools.
var writers = map[string]func(io.Writer, []Named) error{"PyTorch": WriteTorch, "detectron2": WriteDetectron2}

// TestWritersRefuse: what a format cannot hold is an error before a byte is written; a full disk is
// one too.
func TestWritersRefuse(t *testing.T) {
	x := tensor.New(tensor.Float32, 2)
	for format, write := range writers {
		for want, tensors := range map[string][]Named{
			"two tensors are named": {{"a", x}, {"a", x}},
			"not UTF-8":             {{"\xff", x}},
			"is nil":                {{"a", nil}},
			"not written":           {{"a", &tensor.Tensor{Type: 99}}},
			"should hold 8":         {{"a", &tensor.Tensor{Type: tensor.Float32, Shape: tensor.Shape{2}}}},
		} {
			var b bytes.Buffer
			if err := write(&b, tensors); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), format) || b.Len() > 0 {
				t.Errorf("%s: want %q and nothing written: %v, %d bytes", format, want, err, b.Len())
			}
		}
		if err := write(full{}, example().Tensors); !errors.Is(err, errFull) {
			t.Errorf("%s: a full disk gives %v", format, err)
		}
		var a, b bytes.Buffer
		if write(&a, example().Tensors) != nil || write(&b, example().Tensors) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: the same tensors are written as other bytes", format)
		}
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestWriteTorch holds the zip and its pickle to what torch.save makes of the same tensors, but for
// the memo, which readers do without. scripts/interop/export.py loads such files into PyTorch.
func TestWriteTorch(t *testing.T) {
	count := tensor.New(tensor.Int64)
	count.Int64s()[0] = 300
	tensors := []Named{{"conv1.weight", tensor.FromFloat32s([]float32{1, -2, 3, 4, 5, 6}, 2, 3)}, {"n", count}, {"wide", tensor.New(tensor.Float32, 70000)}}
	var b bytes.Buffer
	if err := WriteTorch(&b, tensors); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	members := map[string][]byte{}
	for i, f := range z.File {
		at, err := f.DataOffset()
		if err != nil || at%64 != 0 || f.Method != zip.Store || f.Flags != 0 {
			t.Errorf("%s lies at %d, method %d, flags %x, %v", f.Name, at, f.Method, f.Flags, err)
		}
		if i == 0 && f.Name != "archive/data.pkl" {
			t.Errorf("the first member is %s; torch.load takes the folder from it", f.Name)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r) // checks the CRC
		if err != nil {
			t.Fatal(err)
		}
		members[strings.TrimPrefix(f.Name, "archive/")] = raw
	}
	for i, n := range tensors {
		if name := fmt.Sprint("data/", i); !bytes.Equal(members[name], n.Tensor.Bytes()) {
			t.Errorf("%s holds %d bytes, not those of %s", name, len(members[name]), n.Name)
		}
	}
	if string(members["version"]) != "3\n" || string(members["byteorder"]) != "little" {
		t.Errorf("version %q, byteorder %q", members["version"], members["byteorder"])
	}
	one := func(name, storage, key, elements, shape, strides string) string {
		return name + "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n" + storage + "\nX\x01\x00\x00\x00" + key + "X\x03\x00\x00\x00cpu" + elements + "tQK\x00" +
			shape + strides + "\x89ccollections\nOrderedDict\n)RtR"
	}
	want := "\x80\x02ccollections\nOrderedDict\n)R(" +
		one("X\x0c\x00\x00\x00conv1.weight", "FloatStorage", "0", "K\x06", "(K\x02K\x03t", "(K\x03K\x01t") +
		one("X\x01\x00\x00\x00n", "LongStorage", "1", "K\x01", ")", ")") +
		one("X\x04\x00\x00\x00wide", "FloatStorage", "2", "J\x70\x11\x01\x00", "(J\x70\x11\x01\x00t", "(K\x01t") + "u."
	if got := string(members["data.pkl"]); got != want {
		t.Errorf("the pickle is\n%q, want\n%q", got, want)
	}
}

// TestDetectron2 holds the pickle to NumPy's reduction, opcode by opcode. scripts/interop/export.py
// loads such files into Python.
func TestDetectron2(t *testing.T) {
	var b bytes.Buffer
	if err := WriteDetectron2(&b, []Named{{"w", tensor.FromFloat32s([]float32{1, 2}, 1, 2)}}); err != nil {
		t.Fatal(err)
	}
	want := "\x80\x03}(X\x05\x00\x00\x00model}(X\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tB\x01\x00\x00\x00btR" +
		"(K\x01(K\x01K\x02tcnumpy\ndtype\n(X\x02\x00\x00\x00f4\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B\x08\x00\x00\x00" +
		"\x00\x00\x80\x3f\x00\x00\x00\x40tbu" +
		"X\x0a\x00\x00\x00__author__X\x04\x00\x00\x00mocoX\x13\x00\x00\x00matching_heuristics\x88u."
	if b.String() != want {
		t.Errorf("the pickle is\n%q, want\n%q", b.String(), want)
	}
}

// TestWriteTorchIsRead: what is written for PyTorch reads back the same.
func TestWriteTorchIsRead(t *testing.T) {
	count := tensor.New(tensor.Int64)
	count.Int64s()[0] = 300
	want := []Named{{"conv1.weight", tensor.FromFloat32s([]float32{1, -2, 3, 4, 5, 6}, 2, 3)}, {"n", count}}
	var b bytes.Buffer
	if err := WriteTorch(&b, want); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "encoder.pth")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range want {
		if got := f.Get(n.Name); got == nil || !got.Shape.Equal(n.Tensor.Shape) || !bytes.Equal(got.Bytes(), n.Tensor.Bytes()) {
			t.Errorf("%s is read as %v", n.Name, got)
		}
	}
}
