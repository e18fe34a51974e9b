package encoder

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"moco/tensor"
	"moco/weights"
)

func testProbe() *Probe {
	p := &Probe{Weight: tensor.New(tensor.Float32, 3, 32), Bias: tensor.New(tensor.Float32, 3), Scale: 5.656854,
		Features: Backbone, Classes: []string{"cat", "dog", "eel"}, Encoder: "abc"}
	p.Weight.Float32s()[5] = 0.1
	return p
}

// TestProbe: a probe comes back from its file, and another file is refused.
func TestProbe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.safetensors")
	want := testProbe()
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadProbe(context.Background(), path)
	if err != nil || string(got.Weight.Bytes()) != string(want.Weight.Bytes()) ||
		!reflect.DeepEqual(got.Classes, want.Classes) ||
		got.Scale != want.Scale || got.Features != want.Features || got.Encoder != want.Encoder {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	if !IsProbe(path) {
		t.Error("a probe's file is none")
	}
	for want, change := range map[string]func(f *weights.File){
		"no linear probe": func(f *weights.File) { delete(f.Metadata, "kind") },
		"its scale":       func(f *weights.File) { f.Metadata["scale"] = "NaN" },
		"list of classes": func(f *weights.File) { f.Metadata["classes"] = "cat" },
		"do not fit":      func(f *weights.File) { f.Metadata["classes"] = `["cat"]` },
		`"neck"`:          func(f *weights.File) { f.Metadata["features"] = "neck" },
		"weight and bias": func(f *weights.File) { f.Tensors = f.Tensors[:1] },
	} {
		f, err := weights.Load(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		change(f)
		changed := filepath.Join(t.TempDir(), "changed.safetensors")
		if _, err := weights.Save(changed, f); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadProbe(context.Background(), changed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	diverged := testProbe()
	diverged.Bias.Float32s()[1] = float32(math.NaN())
	if err := diverged.Save(filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "diverged") {
		t.Errorf("a classifier of NaN gives %v", err)
	}
}

// TestIsProbe: other files are none, whatever they hold.
func TestIsProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if IsProbe(filepath.Join(dir, "nothing")) || IsProbe(dir) {
		t.Error("what is no file is a probe")
	}
	path := filepath.Join(dir, "f")
	for _, raw := range []string{"", "short", "\xff\xff\xff\xff\xff\xff\xff\xff{}", "\x02\x00\x00\x00\x00\x00\x00\x00{}",
		"\x20\x00\x00\x00\x00\x00\x00\x00{}", "kind: linear probe"} {
		if err := os.WriteFile(path, []byte(raw), 0o644); err != nil {
			t.Fatal(err)
		}
		if IsProbe(path) {
			t.Errorf("%q is a probe", raw)
		}
	}
}
