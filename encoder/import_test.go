package encoder_test

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco"
	"moco/encoder"
	"moco/tensor"
	"moco/weights"
)

// checkpoint is a case of testdata/import: of features.json, which make_import.py in that folder made
// with PyTorch, or of transformers.json, made by make_transformers.py.
type checkpoint struct {
	File, Policy, Kind, Arch, Stem, Head string
	Size, Heads                          int
	Sides                                map[string]map[encoder.Layer][][]float64
}

// within is how far features may be from PyTorch's. Narrow ResNets divide by small variances.
func (c checkpoint) within() float64 {
	if c.Stem == "" {
		return 1e-5
	}
	return 1e-4
}

func checkpoints(t *testing.T) []checkpoint {
	t.Helper()
	var cases []checkpoint
	for _, name := range []string{"features.json", "transformers.json"} {
		raw, err := os.ReadFile("testdata/import/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var all struct{ Cases []checkpoint }
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, all.Cases...)
	}
	return cases
}

func loaded(t *testing.T, name string) *weights.File {
	t.Helper()
	f, err := weights.Load(t.Context(), filepath.Join("testdata/import", name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// formula draws make_import.py's images.
func formula(size int) []image.Image {
	var out []image.Image
	for i := range 3 {
		img := image.NewRGBA(image.Rect(0, 0, size, size))
		for y := range size {
			for x := range size {
				v := func(c int) uint8 { return uint8(5*x*(3-i) + 3*y*(i+1) + 80*c + x*y*i/4 + 90*i) }
				img.SetRGBA(x, y, color.RGBA{v(0), v(1), v(2), 255})
			}
		}
		out = append(out, img)
	}
	return out
}

// TestImport: a file from PyTorch gives PyTorch's features, from either side, and every tensor is
// accounted for.
func TestImport(t *testing.T) {
	t.Parallel()
	for _, c := range checkpoints(t) {
		for side, layers := range c.Sides {
			t.Run(c.File+"/"+side, func(t *testing.T) {
				t.Parallel()
				f := loaded(t, c.File)
				o := encoder.ImportOptions{Side: side, Policy: c.Policy, Size: c.Size, Heads: c.Heads}
				out, report, err := encoder.Import(f, o)
				if err != nil {
					t.Fatal(err)
				}
				e := report.Encoder
				if report.Kind != c.Kind || report.Side != side || e.Arch != c.Arch || e.Stem != c.Stem || e.Head != c.Head {
					t.Errorf("taken for %v", report)
				}
				accounted(t, f, out, report)
				path := filepath.Join(t.TempDir(), "encoder.safetensors")
				if _, err := weights.Save(path, out); err != nil {
					t.Fatal(err)
				}
				for layer, want := range layers {
					same(t, path, layer, formula(c.Size), want, c.within())
				}
			})
		}
	}
}

// accounted holds an import to its report: every tensor is used or left out, and the result, without
// its metadata, is an encoder of which every tensor is used.
func accounted(t *testing.T, f, out *weights.File, report *encoder.ImportReport) {
	t.Helper()
	if len(report.Used)+len(report.LeftOut) != len(f.Tensors) {
		t.Errorf("%d used and %d left out of %d tensors", len(report.Used), len(report.LeftOut), len(f.Tensors))
	}
	_, again, err := encoder.Import(&weights.File{Tensors: out.Tensors}, encoder.ImportOptions{Heads: report.Encoder.Heads})
	if told, _ := json.Marshal(again); err != nil || len(again.Used) != len(out.Tensors) ||
		!strings.Contains(string(told), `"left_out":[]`) || strings.Contains(string(told), "null") {
		t.Errorf("a bare state dict: %s, %v", told, err)
	}
}

// same compares features with PyTorch's.
func same(t *testing.T, path string, layer encoder.Layer, images []image.Image, want [][]float64, within float64) {
	t.Helper()
	e, err := encoder.OpenWith(context.Background(), path, encoder.Options{Layer: layer})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	got, err := e.Embed(context.Background(), images)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		for j, v := range want[i] {
			if d := math.Abs(float64(got[i][j]) - v); !(d < within) || len(got[i]) != len(want[i]) {
				t.Fatalf("%s features of image %d are\n%v, and PyTorch's are\n%v", layer, i, got[i], want[i])
			}
		}
	}
}

// TestOpenForeign: a checkpoint opens directly, as the query side and with the views that its stem
// suggests.
func TestOpenForeign(t *testing.T) {
	e, err := encoder.Open(context.Background(), "testdata/import/moco_v2_legacy.pth.tar")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Imported == nil || e.Imported.Side != "query" || e.Imported.Prefix != "state_dict.module.encoder_q." ||
		e.Recipe.Views.Size != 224 || len(e.SHA256) != 64 {
		t.Errorf("opened as %v", e.Imported)
	}
	for _, name := range []string{"state_dict.module.queue", "state_dict.module.encoder_k.conv1.weight",
		"optimizer.state.0.momentum_buffer"} {
		if !slices.Contains(e.Imported.LeftOut, name) {
			t.Errorf("%s is not listed as left out", name)
		}
	}
}

// TestImportNames: kinds of names without a checkpoint of their own here.
func TestImportNames(t *testing.T) {
	plain := func() *weights.File { f := loaded(t, "old.tar"); return f }
	for name, c := range map[string]struct {
		rename  func(string) string
		options encoder.ImportOptions
		prefix  string
		side    string
	}{
		"DistributedDataParallel": {func(n string) string { return "module." + n }, encoder.ImportOptions{},
			"module.", "query"},
		"key side by name": {func(n string) string { return "momentum_backbone." + n },
			encoder.ImportOptions{Side: "key"}, "momentum_backbone.", "key"},
		"strip": {func(n string) string { return "a.b." + n },
			encoder.ImportOptions{Strip: "b"}, "a.b.", "query"},
		"strip of the key side": {func(n string) string { return "teacher." + n },
			encoder.ImportOptions{Strip: "teacher."}, "teacher.", "key"},
		"shortcut and linear": {strings.NewReplacer("downsample", "shortcut", "fc.", "linear.").Replace,
			encoder.ImportOptions{}, "", "query"},
		"a Sequential without a pool": {strings.NewReplacer("conv1.", "conv1.", "layer1.", "3.", "layer2.", "4.",
			"layer3.", "5.", "layer4.", "6.").Replace, encoder.ImportOptions{}, "", "query"},
	} {
		t.Run(name, func(t *testing.T) {
			f := plain()
			for i, n := range f.Tensors {
				f.Tensors[i].Name = c.rename(n.Name)
				if name == "a Sequential without a pool" {
					for from, to := range map[string]string{"conv1.": "0.", "bn1.": "1."} {
						if last, ok := strings.CutPrefix(f.Tensors[i].Name, from); ok {
							f.Tensors[i].Name = to + last
						}
					}
				}
			}
			_, report, err := encoder.Import(f, c.options)
			if err != nil {
				t.Fatal(err)
			}
			if report.Prefix != c.prefix || report.Side != c.side || report.Encoder.Arch != "resnet18" ||
				report.Encoder.Stem != "cifar" || len(report.Notes) != 1 {
				t.Errorf("taken for %v, %v", report, report.Notes)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	reshape := func(name string, shape ...int) func(*weights.File) {
		return func(f *weights.File) {
			for i, n := range f.Tensors {
				if n.Name == name {
					f.Tensors[i].Tensor = tensor.New(n.Tensor.Type, shape...)
				}
			}
		}
	}
	without := func(part string) func(*weights.File) {
		return func(f *weights.File) {
			f.Tensors = slices.DeleteFunc(f.Tensors, func(n weights.Named) bool { return strings.Contains(n.Name, part) })
		}
	}
	add := func(name string, shape ...int) func(*weights.File) {
		return func(f *weights.File) {
			f.Tensors = append(f.Tensors, weights.Named{Name: name, Tensor: tensor.New(tensor.Float32, shape...)})
		}
	}
	for name, c := range map[string]struct {
		change  func(*weights.File)
		options encoder.ImportOptions
		want    string
	}{
		"a shape": {reshape("layer2.0.conv1.weight", 2, 2, 3, 3), encoder.ImportOptions{},
			"layer2.0.conv1.weight is float32 2x2x3x3 and should be float32 2x1x3x3"},
		"a type": {func(f *weights.File) { f.Get("bn1.bias").Type = tensor.Int32 }, encoder.ImportOptions{},
			"bn1.bias is int32 1"},
		"a scalar":       {reshape("layer1.0.conv1.weight"), encoder.ImportOptions{}, "scalar"},
		"a head's axes":  {reshape("fc.weight", 6), encoder.ImportOptions{}, "where a head has two axes"},
		"an empty head":  {reshape("fc.weight", 0, 8), encoder.ImportOptions{}, "encoder.dim"},
		"an empty stem":  {reshape("conv1.weight", 0, 3, 3, 3), encoder.ImportOptions{}, "encoder.width"},
		"a missing one":  {without("layer3.1.bn2.running_var"), encoder.ImportOptions{}, "it lacks layer3.1.bn2.running_var"},
		"a missing bias": {without("layer3.1.bn2.bias"), encoder.ImportOptions{}, "it lacks layer3.1.bn2.bias"},
		"no block":       {without("layer3.1"), encoder.ImportOptions{}, "stages of [2 2 1 2] blocks"},
		"many missing":   {without("running"), encoder.ImportOptions{}, "and 30 more"},
		"something more": {add("layer1.0.se.fc1.weight", 1), encoder.ImportOptions{},
			"that encoder has no layer1.0.se.fc1.weight"},
		"a bias":       {add("conv1.bias", 1), encoder.ImportOptions{}, "that encoder has no conv1.bias"},
		"another stem": {reshape("conv1.weight", 1, 3, 5, 5), encoder.ImportOptions{}, "neither ImageNet's"},
		"no ResNet":    {without("layer"), encoder.ImportOptions{}, "no encoder is found"},
		"no tensors":   {without(""), encoder.ImportOptions{}, "no encoder is found"},
		"two encoders": {func(f *weights.File) {
			add("b.conv1.weight", 1, 3, 3, 3)(f)
			add("b.layer1.0.conv1.weight", 1)(f)
		}, encoder.ImportOptions{}, `several encoders, after "", "b."`},
		"no key side": {add("x", 1), encoder.ImportOptions{Side: "key"}, "no encoder of the key side"},
		"a side":      {add("x", 1), encoder.ImportOptions{Side: "left"}, `side "left" is not known`},
		"a prefix": {add("x", 1), encoder.ImportOptions{Strip: "b"},
			`no encoder after "b" is found, but there is one after ""`},
		"a policy": {add("x", 1), encoder.ImportOptions{Policy: "v7"}, "v7"},
		"a size":   {add("x", 1), encoder.ImportOptions{Size: -4}, "size"},
		"a ResNeXt": {func(f *weights.File) {
			add("layer1.0.conv3.weight", 4, 1, 1, 1)(f)
			add("layer1.2.conv1.weight", 1)(f)
			stages(f)
		}, encoder.ImportOptions{}, "wide ResNet or a ResNeXt"},
		"moco's own": {func(f *weights.File) { r := moco.Default(); f.Metadata = encoder.Metadata(&r) },
			encoder.ImportOptions{}, "moco's own"},
		"a checkpoint": {func(f *weights.File) {
			f.Metadata = map[string]string{"format": "x", "recipe": "x", "step": "1", "data": "x"}
		}, encoder.ImportOptions{}, "encoder.safetensors"},
		"twice": {add("linear.weight", 6, 8), encoder.ImportOptions{}, "are both fc.weight"},
		"a taken-apart one": {func(f *weights.File) {
			for i, n := range f.Tensors {
				for from, to := range map[string]string{"conv1.": "0.", "bn1.": "1.", "layer1.": "2.",
					"layer2.": "3.", "layer3.": "4.", "layer4.": "5."} {
					if last, ok := strings.CutPrefix(n.Name, from); ok {
						f.Tensors[i].Name = to + last
					}
				}
			}
		}, encoder.ImportOptions{}, "lost the ReLU"},
	} {
		t.Run(name, func(t *testing.T) {
			f := loaded(t, "old.tar")
			c.change(f)
			if _, _, err := encoder.Import(f, c.options); err == nil || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

// stages gives a file the first convolutions of ResNet-50's blocks, made wide.
func stages(f *weights.File) {
	f.Tensors = slices.DeleteFunc(f.Tensors, func(n weights.Named) bool { return strings.HasSuffix(n.Name, ".conv1.weight") })
	for i, blocks := range []int{3, 4, 6, 3} {
		for block := range blocks {
			f.Tensors = append(f.Tensors, weights.Named{Name: fmt.Sprintf("layer%d.%d.conv1.weight", i+1, block),
				Tensor: tensor.New(tensor.Float32, 2, 1, 1, 1)})
		}
	}
}

// TestImportHeads: a head that moco does not have is left out, and the report says so.
func TestImportHeads(t *testing.T) {
	f := loaded(t, "old.tar")
	f.Tensors = append(f.Tensors, weights.Named{Name: "fc.3.weight", Tensor: tensor.New(tensor.Float32, 2)})
	_, report, err := encoder.Import(f, encoder.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Encoder.Head != "none" || report.Encoder.Dim != 8 || !slices.Contains(report.LeftOut, "fc.weight") ||
		len(report.Notes) != 2 {
		t.Errorf("taken for %v, left out %v, notes %v", report, report.LeftOut, report.Notes)
	}
}
