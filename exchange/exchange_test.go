package exchange

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"moco"
	"moco/encoder"
	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// trained is an encoder as a run leaves it, with made-up values: each tensor has its own.
func trained(t *testing.T, c nn.Config) *encoder.Encoder {
	t.Helper()
	r := moco.Default()
	r.Encoder, r.Views = c, moco.Views{Policy: "cifar", Size: 16}
	f := &weights.File{Metadata: encoder.Metadata(&r)}
	add := func(name string, shape ...int) {
		x := tensor.New(tensor.Float32, shape...)
		for i := range x.Float32s() {
			x.Float32s()[i] = float32(len(f.Tensors)) + float32(i%7)/8
		}
		f.Tensors = append(f.Tensors, weights.Named{Name: name, Tensor: x})
	}
	for _, p := range c.Parameters() {
		add(p.Name, p.Shape...)
	}
	for _, b := range c.Buffers() {
		add(b.Name, b.Channels)
	}
	path := filepath.Join(t.TempDir(), encoder.File)
	if _, err := weights.Save(path, f); err != nil {
		t.Fatal(err)
	}
	e, err := encoder.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var small = nn.Config{Arch: "resnet18", Stem: "cifar", Width: 1.0 / 16, Dim: 8, Head: "linear"}

// TestOrder: tensors come in the order of torchvision's state_dict(). A count is added where the
// file has none.
func TestOrder(t *testing.T) {
	e := trained(t, small)
	var names []string
	for _, n := range e.Weights.Tensors[:7] {
		names = append(names, n.Name)
	}
	want := "[conv1.weight bn1.weight bn1.bias bn1.running_mean bn1.running_var bn1.num_batches_tracked layer1.0.conv1.weight]"
	if fmt.Sprint(names) != want || len(e.Weights.Tensors) != 122 {
		t.Errorf("%d tensors, first %v, want 122 and %s", len(e.Weights.Tensors), names, want)
	}
	if count := e.Weights.Get("layer4.1.bn2.num_batches_tracked"); count == nil || count.Type != tensor.Int64 ||
		len(count.Shape) != 0 {
		t.Errorf("num_batches_tracked is %v", count)
	}
	if e.SHA256 == "" || e.Recipe.Encoder.Dim != 8 {
		t.Errorf("it is %+v", e.Recipe.Encoder)
	}
}

func TestDetectron2(t *testing.T) {
	wide := nn.Config{Arch: "resnet50", Stem: "imagenet", Width: 1, Dim: 8, Head: "mlp"}
	narrow := wide
	narrow.Width = 1.0 / 64 // names do not depend on the width
	e := trained(t, narrow)
	got := map[string]string{}
	for i, n := range detectron2(e.Weights.Tensors) {
		// The head comes last in both, so the order is the same.
		got[n.Name] = e.Weights.Tensors[i].Name
	}
	for ours, theirs := range map[string]string{
		"conv1.weight": "stem.conv1.weight", "bn1.running_mean": "stem.conv1.norm.running_mean",
		"bn1.num_batches_tracked": "stem.conv1.norm.num_batches_tracked",
		"layer1.0.conv1.weight":   "res2.0.conv1.weight", "layer1.0.downsample.0.weight": "res2.0.shortcut.weight",
		"layer4.0.downsample.1.bias": "res5.0.shortcut.norm.bias",
		"layer2.3.bn3.running_var":   "res3.3.conv3.norm.running_var", "layer3.5.conv2.weight": "res4.5.conv2.weight",
	} {
		if got[theirs] != ours {
			t.Errorf("%s is %q, want %s", theirs, got[theirs], ours)
		}
	}
	for name := range got {
		if !strings.HasPrefix(name, "stem.conv1.") && !strings.HasPrefix(name, "res") ||
			strings.Contains(name, "bn") || strings.Contains(name, "layer") {
			t.Errorf("%s is no name of detectron2's", name)
		}
	}
	var b bytes.Buffer
	e.Recipe.Encoder = wide
	if n, err := Write(&b, e, Options{Format: Detectron2}); err != nil || n != len(got) ||
		!bytes.Contains(b.Bytes(), []byte("res5.2.conv3.norm.bias")) {
		t.Errorf("%d tensors in %d bytes, %v", n, b.Len(), err)
	}
	for want, c := range map[string]func(c *nn.Config){
		"this is a resnet18": func(c *nn.Config) { c.Arch = "resnet18" },
		"the cifar stem":     func(c *nn.Config) { c.Stem = "cifar" },
		"width 0.5":          func(c *nn.Config) { c.Width = 0.5 },
		"[1 1 1 1] blocks":   func(c *nn.Config) { c.Layers = []int{1, 1, 1, 1} },
	} {
		changed := wide
		c(&changed)
		if err := checkDetectron2(changed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestLoader compares the lines for each kind of encoder; scripts/interop/export.py runs them.
func TestLoader(t *testing.T) {
	for _, c := range []struct {
		change func(c *nn.Config)
		want   string // a part of the lines
		not    string
	}{
		{func(c *nn.Config) {}, "resnet18(num_classes=8)\nm.load_state_dict(state); m.eval()", "fc"},
		{func(c *nn.Config) { c.Head = "mlp" },
			"torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 8)", "num_classes"},
		{func(c *nn.Config) { c.Head = "none" }, "m.fc = torch.nn.Identity()", "num_classes"},
		{func(c *nn.Config) { c.Stem = "cifar" }, "torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()", "m.fc"},
		{func(c *nn.Config) { c.Stem = "strided" }, "torch.nn.Conv2d(3, 64, 3, 2, 1, bias=False), torch.nn.Identity()", "m.fc"},
		{func(c *nn.Config) { c.Layers = []int{1, 1, 1, 1} },
			"models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=8)", "resnet18"},
		{func(c *nn.Config) { c.Arch = "resnet10" },
			"models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=8)", "resnet10"},
		{func(c *nn.Config) { c.Arch, c.Layers, c.Head = "resnet50", []int{1, 2, 1, 2}, "none" },
			"models.ResNet(torchvision.models.resnet.Bottleneck, [1, 2, 1, 2])\nm.fc = torch.nn.Identity()", "resnet50"},
		{func(c *nn.Config) { c.Layers = []int{2, 2, 2, 2} }, "resnet18(num_classes=8)", "BasicBlock"},
		{func(c *nn.Config) { c.Width = 0.25 }, "t.data = state[name]", "load_state_dict"},
	} {
		config := nn.Config{Arch: "resnet18", Stem: "imagenet", Width: 1, Dim: 8, Head: "linear"}
		c.change(&config)
		for f, reads := range map[Format]string{Torch: `torch.load("a.file")`, Safetensors: `open("a.file", 'rb')`} {
			r := moco.Recipe{Encoder: config}
			lines := strings.Join(Loader(r, Options{Format: f}, "a.file"), "\n")
			if !strings.Contains(lines, c.want) || strings.Contains(lines, c.not) || !strings.Contains(lines, reads) {
				t.Errorf("%+v as %s: want %q, not %q, in\n%s", config, f, c.want, c.not, lines)
			}
		}
		if r := (moco.Recipe{Encoder: config}); Loader(r, Options{Format: ONNX}, "a") != nil ||
			Loader(r, Options{Format: Detectron2}, "a") != nil {
			t.Error("there are lines of Python for a format that PyTorch does not read")
		}
	}
}

// probe is a linear probe on the backbone's features of an encoder.
func probe(e *encoder.Encoder) *encoder.Probe {
	return &encoder.Probe{Weight: tensor.New(tensor.Float32, 3, 32), Bias: tensor.New(tensor.Float32, 3),
		Scale: 5.656854, Features: encoder.Backbone, Classes: []string{"cat", "dog", "eel"}, Encoder: e.SHA256}
}

// TestOutputs: each encoder has the right outputs, and takes the probes that fit it.
func TestOutputs(t *testing.T) {
	e := trained(t, small)
	p := probe(e)
	if err := (ONNXOptions{Output: Logits, Probe: p}).check(e); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(p *encoder.Probe){
		"another encoder":         func(p *encoder.Probe) { p.Encoder = "00ff" },
		"features of 32 numbers,": func(p *encoder.Probe) { p.Features = encoder.Head },
	} {
		p := probe(e)
		change(p)
		if err := (ONNXOptions{Output: Logits, Probe: p}).check(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	headless := small
	headless.Head = "mlp"
	for want, o := range map[string]ONNXOptions{
		"is not known": {Output: "neck"}, "a probe makes logits": {Output: Backbone, Probe: p},
		"is no classifier": {Output: Logits},
	} {
		if err := o.check(trained(t, headless)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestWrite writes each format twice. The bytes must be the same, and their content right where
// there is a reader.
func TestWrite(t *testing.T) {
	e := trained(t, small)
	p := probe(e)
	for _, c := range []struct {
		o       Options
		tensors int
		want    []string // parts of the file
	}{
		{Options{Format: Safetensors}, 122, []string{`"arch":"resnet18"`}},
		{Options{Format: Torch}, 122, []string{"layer1.0.bn1.num_batches_tracked"}},
		{Options{Format: ONNX, ONNX: ONNXOptions{Output: Backbone}}, 100, []string{"features", "uint8 [N,3,16,16]", e.SHA256}},
		{Options{Format: ONNX, ONNX: ONNXOptions{Output: Head, Floats: true}}, 102, []string{"float32 [N,3,16,16]", "0.4914"}},
		{Options{Format: ONNX, ONNX: ONNXOptions{Output: Logits}}, 102, []string{"linear head"}},
		{Options{Format: ONNX, ONNX: ONNXOptions{Output: Logits, Probe: p}}, 102, []string{`["cat","dog","eel"]`,
			"probe.weight"}},
	} {
		var a, b bytes.Buffer
		n, err := Write(&a, e, c.o)
		if err != nil || n != c.tensors {
			t.Errorf("%+v: %d tensors, want %d, %v", c.o, n, c.tensors, err)
		}
		if Write(&b, e, c.o); !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%+v: other bytes each time", c.o)
		}
		for _, want := range c.want {
			if !bytes.Contains(a.Bytes(), []byte(want)) {
				t.Errorf("%+v: %q is not in the file", c.o, want)
			}
		}
		if c.o.Format == Safetensors {
			if back, err := weights.Read(bytes.NewReader(a.Bytes()), int64(a.Len())); err != nil || len(back.Tensors) != n {
				t.Errorf("read back: %v", err)
			}
		}
	}
	if _, err := Write(&bytes.Buffer{}, e, Options{Format: "caffe"}); err == nil {
		t.Error("an unknown format is written")
	}
	names, _ := json.Marshal(p.Classes)
	if e.Weights.Metadata["classes"] == string(names) {
		t.Error("the encoder's own metadata have changed")
	}
}

func TestByName(t *testing.T) {
	for path, want := range map[string]Format{"a/b.safetensors": Safetensors, "x.PTH": Torch, "x.pt": Torch,
		"x.pkl": Detectron2, "x.onnx": ONNX} {
		if got, err := ByName(path); got != want || err != nil {
			t.Errorf("%s is %q, %v", path, got, err)
		}
	}
	if _, err := ByName("x.bin"); err == nil || !strings.Contains(err.Error(), ".onnx") {
		t.Errorf("x.bin gives %v", err)
	}
}
