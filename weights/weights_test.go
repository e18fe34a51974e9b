package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"moco/tensor"
)

func example() *File {
	ids := tensor.New(tensor.Int32, 3)
	ids.Int32s()[1] = -7
	count := tensor.New(tensor.Int64)
	count.Int64s()[0] = 1 << 40
	return &File{
		Tensors: []Named{
			{"conv1.weight", tensor.FromFloat32s([]float32{1, -2, 3.5, float32(math.Inf(1)), 0, 6}, 2, 3)},
			{"ids", ids}, {"empty", tensor.New(tensor.Float32, 0, 4)}, {"count", count}, {"bytes", tensor.New(tensor.Uint8, 5)},
		},
		Metadata: map[string]string{"arch": "resnet18", "a": "\"quoted\" \u2764"},
	}
}

func encode(t testing.TB, f *File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	f := example()
	raw := encode(t, f)
	if !bytes.Equal(raw, encode(t, f)) {
		t.Error("the same file is written as other bytes")
	}
	back, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(back.Metadata) != fmt.Sprint(f.Metadata) {
		t.Errorf("metadata %v came back as %v", f.Metadata, back.Metadata)
	}
	for _, n := range f.Tensors {
		got := back.Get(n.Name)
		if got == nil || got.Type != n.Tensor.Type || !got.Shape.Equal(n.Tensor.Shape) || !bytes.Equal(got.Bytes(), n.Tensor.Bytes()) {
			t.Errorf("%s came back as %v", n.Name, got)
		}
	}
	if back.Get("nothing") != nil {
		t.Error("a tensor that is not there was found")
	}
}

func file(header string, data int) []byte {
	raw := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(raw, header...), make([]byte, data)...)
}

func TestOtherTypesBecomeFloat32(t *testing.T) {
	raw := file(`{"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]},"d":{"dtype":"F64","shape":[1],"data_offsets":[10,18]}}`, 0)
	raw = binary.LittleEndian.AppendUint16(raw, 0x3C00) // 1
	raw = binary.LittleEndian.AppendUint16(raw, 0xC500) // -5
	raw = binary.LittleEndian.AppendUint16(raw, 0x0001) // 2^-24
	raw = binary.LittleEndian.AppendUint16(raw, 0x7C00) // infinity
	raw = binary.LittleEndian.AppendUint16(raw, 0x4049) // 3.140625
	raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(-2.25))
	f, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	got := append(append(append([]float32(nil), f.Get("h").Float32s()...), f.Get("b").Float32s()...), f.Get("d").Float32s()...)
	want := []float32{1, -5, 1.0 / (1 << 24), float32(math.Inf(1)), 3.140625, -2.25}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func TestMalformed(t *testing.T) {
	whole := encode(t, example())
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":               {nil, "an empty file"},
		"no header":           {whole[:8], "cut short"},
		"half a header":       {whole[:40], "cut short"},
		"half the data":       {whole[:len(whole)-3], "cut short"},
		"bytes behind":        {append(append([]byte(nil), whole...), 1), "follow the last"},
		"huge header":         {binary.LittleEndian.AppendUint64(nil, 1<<60), "not believable"},
		"text file":           {[]byte("This is not a safetensors file at all."), `a text file, not a file of weights that can be read; it begins with "This is not`},
		"no JSON":             {file("hello, world", 0), "not legal"},
		"an array":            {file("[]", 0), "no JSON object"},
		"two objects":         {file("{}{}", 0), "follows"},
		"unknown type":        {file(`{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}`, 4), "not read"},
		"negative axis":       {file(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), "impossible shape"},
		"overflow":            {file(`{"a":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,4]}}`, 4), "impossible shape"},
		"overflow to zero":    {file(`{"a":{"dtype":"F32","shape":[536870912,16384,1073741824],"data_offsets":[0,0]}}`, 0), "impossible shape"},
		"no shape":            {file(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "needs a shape"},
		"shape null":          {file(`{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, 4), "needs a shape"},
		"one offset":          {file(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[0]}}`, 0), "two data_offsets"},
		"three offsets":       {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,9]}}`, 4), "two data_offsets"},
		"object cut short":    {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}`, 1), "not legal"},
		"one long axis":       {file(`{"a":{"dtype":"U8","shape":[3000000000],"data_offsets":[0,3000000000]}}`, 4), "cut short"},
		"too small a place":   {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4), "takes 8"},
		"overlap":             {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 6), "overlap"},
		"hole":                {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "hole"},
		"backwards":           {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}}`, 4), "hole"},
		"twice":               {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), "twice"},
		"metadata of numbers": {file(`{"__metadata__":{"a":1}}`, 0), "__metadata__"},
		"far beyond the end":  {file(`{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}`, 4), "cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(c.raw), int64(len(c.raw)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

// eager is a reader that says io.EOF together with the last bytes, as an io.ReaderAt may.
type eager struct{ *bytes.Reader }

func (e eager) ReadAt(p []byte, off int64) (int, error) {
	n, err := e.Reader.ReadAt(p, off)
	if err == nil && off+int64(n) == e.Size() {
		err = io.EOF
	}
	return n, err
}

func TestReaderThatEndsEarly(t *testing.T) {
	for _, raw := range [][]byte{file("{}", 0), encode(t, example())} {
		if _, err := Read(eager{bytes.NewReader(raw)}, int64(len(raw))); err != nil {
			t.Errorf("%d bytes: %v", len(raw), err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	one := func() *tensor.Tensor { return tensor.New(tensor.Uint8, 1) }
	long := one()
	long.Shape = tensor.Shape{5}
	for name, c := range map[string]struct {
		file File
		want string
	}{
		"twice":           {File{Tensors: []Named{{"a", one()}, {"a", one()}}}, "two tensors"},
		"reserved":        {File{Tensors: []Named{{"__metadata__", one()}}}, "__metadata__"},
		"name not UTF-8":  {File{Tensors: []Named{{"a\xff", one()}}}, "not UTF-8"},
		"text not UTF-8":  {File{Metadata: map[string]string{"a": "\xff"}}, "not UTF-8"},
		"nil":             {File{Tensors: []Named{{"a", nil}}}, "nil"},
		"type":            {File{Tensors: []Named{{"a", &tensor.Tensor{Shape: tensor.Shape{0}}}}}, "not written"},
		"shape and bytes": {File{Tensors: []Named{{"a", long}}}, "should hold 5"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Write(&b, &c.file); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes of a file that is refused were written", b.Len())
			}
		})
	}
}

// TestSave: what is saved is loaded, with the same sum. That a save is whole or not at all is
// tested in internal/atomicfile.
func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	sha, err := Save(path, example())
	if err != nil {
		t.Fatal(err)
	}
	f, err := Load(t.Context(), path)
	if err != nil || sha != f.SHA256 || len(f.Tensors) != len(example().Tensors) {
		t.Fatalf("saved with SHA-256 %s, loaded as %v (%v)", sha, f, err)
	}
	long := &File{Tensors: []Named{{"\xff", tensor.New(tensor.Uint8, 1)}}}
	if _, err := Save(path, long); err == nil {
		t.Error("a name that is no text was saved")
	}
	if now, err := Load(t.Context(), path); err != nil || now.SHA256 != sha {
		t.Errorf("a save that failed has changed the file that stood there: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(encode(f, example()))
	f.Add(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
	f.Add(file(`{"__metadata__":{}}`, 0))
	f.Add(file(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"F64","shape":[],"data_offsets":[4,12]}}`, 12))
	f.Add(file(`{"a":{"dtype":"F32","shape":[536870912,16384,1073741824],"data_offsets":[0,0]}}`, 0))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		again := encode(t, file)
		back, err := Read(bytes.NewReader(again), int64(len(again)))
		if err != nil || !bytes.Equal(encode(t, back), again) {
			t.Fatalf("what was read cannot be written and read again (%v)", err)
		}
		for _, n := range file.Tensors {
			if n.Tensor.Shape.Elements()*n.Tensor.Type.Size() != len(n.Tensor.Bytes()) {
				t.Errorf("tensor %q of %v has %d bytes", n.Name, n.Tensor.Shape, len(n.Tensor.Bytes()))
			}
		}
	})
}
