package weights

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/internal/half"
)

// whole is a file whose object is made by some operations, and whose storage "0" holds 1, 2, 3, 4.
func whole(t testing.TB, object string) []byte {
	t.Helper()
	return zipped(t, zip.Store, "a/data.pkl", p(object), "a/data/0", sixteen)
}

// floatAt is a tensor of one float32: 1, 2, 3 or 4 by its place from 0.
func floatAt(place int) string {
	return rebuilt(persistent("FloatStorage", "0", 4), place, numbers(1), numbers(1))
}

// TestRecords: objects of any class are gone through as data, and what they are is told.
func TestRecords(t *testing.T) {
	t.Parallel()
	const class = "cm\nC\n"
	for name, c := range map[string]struct{ object, tensors, globals string }{
		"attributes":       {one("args", class+")\x81"+one("w", floatAt(0))+"b"), "args.w=1", "m.C"},
		"slots":            {one("o", class+")\x81N"+one("w", floatAt(1))+"\x86b"), "o.1.w=2", "m.C"},
		"entries":          {one("o", class+")\x81"+text("w")+floatAt(2)+"s"), "o.w=3", "m.C"},
		"items":            {one("o", class+"K\x01\x85R"+floatAt(3)+"a"), "o.1=4", "m.C"},
		"arguments":        {one("o", class+floatAt(0)+floatAt(1)+"\x86R"), "o.0=1 o.1=2", "m.C"},
		"the top":          {class + ")\x81" + one("w", floatAt(0)) + "b", "w=1", "m.C"},
		"an old dict":      {"ccollections\nOrderedDict\n((lp0\n" + "(lp1\n" + text("w") + "a" + floatAt(0) + "aa(lp2\n" + text("v") + "a" + floatAt(1) + "aatR", "w=1 v=2", ""},
		"a dict of tuples": {class + "](" + text("w") + floatAt(0) + "ta\x85R", "w=1", "m.C"},
		"a list of others": {class + "](K\x01" + floatAt(0) + "ta\x85R", "0.0.1=1", "m.C"},
		"TorchVersion":     {"}(" + text("w") + floatAt(0) + text("v") + "ctorch.torch_version\nTorchVersion\n" + text("1.13") + "\x85\x81u", "w=1", "torch.torch_version.TorchVersion"},
		"an enum":          {"}(" + text("w") + floatAt(0) + text("v") + "cm\nMode\nK\x01\x85Ru", "w=1", "m.Mode"},
		"NumPy's scalar": {"}(" + text("best") + "cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n" + text("f8") + "\x85RC\x01ztR" + text("w") + floatAt(0) + "u", "w=1",
			"numpy.core.multiarray.scalar numpy.dtype"},
		"what is popped":   {"cos\nsystem\n" + text("id") + "\x85R0" + one("w", floatAt(0)), "w=1", "os.system"},
		"a class as value": {"}(" + text("w") + floatAt(0) + text("f") + "ctorch.nn.functional\nrelu\nu", "w=1", "torch.nn.functional.relu"},
		"a class as key":   {"}ctorch\nfloat32\n" + floatAt(0) + "s", "torch.float32=1", "torch.float32"},
		"a key of any":     {"}(K\x01K\x02\x86" + floatAt(0) + "N" + floatAt(1) + "u", "0=1 1=2", ""},
		"one twice":        {"}(" + text("a") + floatAt(0) + "q\x00" + text("b") + "h\x00u", "a=1 b=1", ""},
		"one dict twice":   {"}(" + text("a") + one("w", floatAt(0)) + "q\x00" + text("b") + "h\x00u", "a.w=1", ""},
		"holds itself":     {"}q\x00(" + text("up") + "h\x00" + text("w") + floatAt(0) + "u", "w=1", ""},
		"a parent":         {class + ")\x81q\x00}(" + text("up") + "h\x00" + text("w") + floatAt(0) + "ub", "w=1", "m.C"},
	} {
		raw := whole(t, c.object)
		f, err := Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, n := range f.Tensors {
			got = append(got, fmt.Sprintf("%s=%v", n.Name, n.Tensor.Float32s()[0]))
		}
		if tensors := strings.Join(got, " "); tensors != c.tensors {
			t.Errorf("%s: the tensors are %s, want %s", name, tensors, c.tensors)
		}
		if globals := strings.Join(f.Globals, " "); globals != c.globals {
			t.Errorf("%s: the globals are %s, want %s", name, globals, c.globals)
		}
	}
}

// TestTensorKinds: the ways in which PyTorch pickles tensors.
func TestTensorKinds(t *testing.T) {
	t.Parallel()
	const v3 = "ctorch._utils\n_rebuild_tensor_v3\n("
	untyped := "(" + text("storage") + "ctorch.storage\nUntypedStorage\n" + text("0") + text("cpu") + number(16) + "tQ"
	typed := func(dtype string, n int) string {
		return v3 + untyped + number(0) + numbers(n) + numbers(1) + "\x89}ctorch\n" + dtype + "\ntR"
	}
	for name, c := range map[string]struct{ tensor, want string }{
		"parameter":       {"ctorch._utils\n_rebuild_parameter\n(" + floatAt(1) + "\x88}tR", "w float32 1 [2]"},
		"with state":      {"ctorch._utils\n_rebuild_parameter_with_state\n(" + floatAt(1) + "\x88}}tR", "w float32 1 [2]"},
		"with attributes": {"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncm\nMyTensor\n(" + persistent("FloatStorage", "0", 4) + number(2) + numbers(1) + numbers(1) + "t}tR", "w float32 1 [3]"},
		"a torch.Size":    {rebuilt(persistent("FloatStorage", "0", 4), 0, "ctorch\nSize\n"+numbers(2)+"\x85R", numbers(1)), "w float32 2 [1 2]"},
		"float32, v3":     {typed("float32", 4), "w float32 4 [1 2 3 4]"},
		"uint16, v3":      {typed("uint16", 2), "w int32 2 [0 16256]"},
		"uint32, v3":      {typed("uint32", 1), "w int64 1 [1065353216]"},
	} {
		raw := whole(t, one("w", c.tensor))
		f, err := Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := printed(f.Tensors[0]); got != c.want {
			t.Errorf("%s: read %s, want %s", name, got, c.want)
		}
	}
	for name, c := range map[string]struct{ tensor, want string }{
		"sparse":    {"ctorch._utils\n_rebuild_sparse_tensor\n(K\x01tR", "a sparse layout"},
		"quantised": {"ctorch._utils\n_rebuild_qtensor\n(K\x01tR", "quantised numbers"},
		"meta":      {"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(K\x01tR", "no data at all"},
		"to come":   {"ctorch._utils\n_rebuild_future\n(K\x01tR", "torch._utils._rebuild_future"},
		"complex":   {rebuilt(persistent("ComplexFloatStorage", "1", 2), 0, numbers(2), numbers(1)), "C64"},
		"float8":    {typed("float8_e4m3fn", 4), "F8_E4M3"},
		"int4":      {typed("int4", 4), "torch.int4"},
	} {
		raw := whole(t, "}("+text("w")+c.tensor+text("x")+typed("float32", 1)+"u")
		if name == "complex" {
			raw = whole(t, "}("+text("w")+c.tensor+text("x")+floatAt(0)+"u")
		}
		f, err := Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil || len(f.Tensors) != 1 || len(f.Skipped) != 1 || f.Skipped[0].Name != "w" || !strings.Contains(f.Skipped[0].Why, c.want) {
			t.Errorf("%s beside a float: %v, %v", name, f, err)
		}
		raw = whole(t, one("w", c.tensor))
		if _, err := Read(bytes.NewReader(raw), int64(len(raw))); err == nil || !strings.Contains(err.Error(), `can be read; "w" has`) {
			t.Errorf("%s alone: %v", name, err)
		}
	}
	for name, object := range map[string]string{
		"a parameter of nothing": "ctorch._utils\n_rebuild_parameter\n(N\x88}tR",
		"no arguments":           "ctorch._utils\n_rebuild_parameter\n)R",
		"a type of nothing":      "ctorch._tensor\n_rebuild_from_type_v2\n(NNNtR",
		"v3 without a type":      v3 + untyped + number(0) + numbers(1) + numbers(1) + "tR",
		"beyond the bytes":       typed("float64", 3),
	} {
		raw := whole(t, one("w", object))
		if f, err := Read(bytes.NewReader(raw), int64(len(raw))); err == nil {
			t.Errorf("%s is read as %v", name, f)
		}
	}
	raw := file(`{"c":{"dtype":"C64","shape":[1],"data_offsets":[0,8]},"f":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12)
	if f, err := Read(bytes.NewReader(raw), int64(len(raw))); err != nil || len(f.Tensors) != 1 || !slices.Equal(f.Skipped, []Skipped{{"c", "numbers of type C64"}}) {
		t.Errorf("a complex tensor of safetensors: %v, %v", f, err)
	}
}

// TestCommands: what pickles have been made to run is told apart from harmless companions.
func TestCommands(t *testing.T) {
	t.Parallel()
	f := &File{Globals: []string{"__builtin__.set", "argparse.Namespace", "builtins.eval", "builtins.evaluate", "os.system", "osgeo.x", "posix.system", "torch.Size"}}
	if got := f.Commands(); !slices.Equal(got, []string{"builtins.eval", "os.system", "posix.system"}) {
		t.Errorf("commands are %v", got)
	}
}

// TestBombs: pickles whose values share and nest are gone through in time and memory that follow
// from their bytes. In Python, or by walking every way to a value, these would take years.
func TestBombs(t *testing.T) {
	t.Parallel()
	const n = 20_000
	list := "](" + strings.Repeat("K\x01", n) + "eq\x00"
	dict := "}(" + strings.Repeat(text("k")+"N", n) + "uq\x00"
	pairs := "](" + strings.Repeat("(U\x01kNt", n) + "eq\x00"
	doubling := "]q\x00" + strings.Repeat("]h\x00ah\x00aq\x00", n)
	long := strings.Repeat("x", 900)
	for name, object := range map[string]string{
		"doubling":           doubling,
		"nested":             strings.Repeat("]", n) + strings.Repeat("a", n-1),
		"shared arguments":   list + "0h\x00\x85q\x01](" + strings.Repeat("cm\nC\nh\x01R", n) + "e",
		"shared states":      dict + "0](" + strings.Repeat("cm\nC\n)Rh\x00b", n) + "e",
		"shared pairs":       pairs + "0](" + strings.Repeat("cm\nC\nh\x00\x85R", n) + "e",
		"wrapped parameters": strings.Repeat("ctorch._utils\n_rebuild_parameter\n", n) + "N" + strings.Repeat("\x85R", n),
		"long names":         floatAt(0) + "q\x00" + one(long, "]("+strings.Repeat("h\x00", 90_000)+"e"),
	} {
		raw := whole(t, object)
		if f, err := Read(bytes.NewReader(raw), int64(len(raw))); err == nil {
			t.Errorf("%s: %d tensors are read", name, len(f.Tensors))
		} else if len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGetAfterChange: the index of a file that was read does not outlive a change.
func TestGetAfterChange(t *testing.T) {
	t.Parallel()
	raw := encode(t, example())
	f, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	f.Tensors[0].Name = "new"
	if f.Get("conv1.weight") != nil || f.Get("new") != f.Tensors[0].Tensor {
		t.Error("a tensor that was renamed is found by its old name, or not by its new one")
	}
	f.Tensors = f.Tensors[1:]
	if f.Get("new") != nil || f.Get("ids") != f.Tensors[0].Tensor {
		t.Error("after one was taken out, tensors are not found")
	}
	f.Tensors = nil
	if f.Get("bytes") != nil {
		t.Error("a tensor that was taken out is found")
	}
}

// TestFloat16 holds every number of 16 bits to its definition.
func TestFloat16(t *testing.T) {
	t.Parallel()
	for h := range 1 << 16 {
		sign, exponent, fraction := math.Pow(-1, float64(h>>15)), h>>10&31, float64(h&1023)
		want := sign * math.Ldexp(1024+fraction, exponent-25)
		switch {
		case exponent == 0:
			want = sign * math.Ldexp(fraction, -24)
		case exponent == 31 && fraction == 0:
			want = math.Inf(int(sign))
		case exponent == 31:
			want = math.NaN()
		}
		got := float64(half.From(uint16(h)))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != (h>>15 == 1) {
			t.Fatalf("0x%04x is %v, want %v", h, got, want)
		}
	}
}

// ending is a context that ends when it has been asked a number of times.
type ending struct {
	context.Context
	left *int
}

func (e ending) Err() error {
	if *e.left--; *e.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestCancelledWithin: wherever in a file a context ends, that is what the error says, and never
// that the file is damaged.
func TestCancelledWithin(t *testing.T) {
	t.Parallel()
	old := filepath.Join(t.TempDir(), "old.pth")
	if err := os.WriteFile(old, legacy(square, []string{"0"}, le64(4)+sixteen), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{sharded(t, goodIndex), old, filepath.Join("testdata", "with_yacs.pth")} {
		reads := 0
		for step := 1; ; step += 1 + reads/20 {
			left := step
			if _, err := Load(ending{t.Context(), &left}, path); err == nil {
				break
			} else if !strings.Contains(err.Error(), context.Canceled.Error()) {
				t.Errorf("%s, cancelled at read %d: %v", path, step, err)
			}
			reads = step
		}
		if reads < 3 {
			t.Errorf("%s takes %d reads", path, reads)
		}
	}
}
