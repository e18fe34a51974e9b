package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/internal/atomicfile"
	"moco/weights"
)

// TestExport exports as a user does: each format by its name's ending or --format, what is printed,
// and what is refused.
func TestExport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	if code, _, stderr := command(train(good(t, nil), run, "--steps", "1")...); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"a.pth", "torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=8)", nil},
		{"b.safetensors", "It takes RGB from 0 to 1, less (0.4914, 0.4822, 0.4465), divided by (0.2023, 0.1994, 0.201)", nil},
		{"c.onnx", `Input "images": uint8 [N,3,8,8], RGB from 0 to 255. Output "features" (backbone)`, nil},
		{"d", `Input "images": float [N,3,8,8], RGB from 0 to 1, less (0.4914, 0.4822, 0.4465)`, []string{"--format", "onnx", "--input", "float", "--output", "head"}},
		{"e.onnx", `Output "logits" (logits)`, []string{"--output", "logits"}},
	} {
		path := filepath.Join(dir, c.name)
		code, stdout, stderr := command(append([]string{"export", "--model", run, "--out", path}, c.args...)...)
		sum, err := atomicfile.Sum(path)
		if code != 0 || err != nil || !strings.Contains(stdout, c.want) || !strings.Contains(stdout, "SHA-256 "+sum) {
			t.Errorf("%s: exit code %d, want %q and %s: %s%s", c.name, code, c.want, sum, stdout, stderr)
		}
		if warned := strings.Contains(stderr, "--probe is what you want"); warned != (c.name == "e.onnx") {
			t.Errorf("%s: it warns %q", c.name, stderr)
		}
	}
	original, err := os.ReadFile(filepath.Join(run, "encoder.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := weights.Load(t.Context(), filepath.Join(dir, "b.safetensors"))
	if err != nil || len(original) == 0 || back.Get("bn1.num_batches_tracked").Int64s()[0] != 1 {
		t.Errorf("the exported safetensors: %v", err)
	}

	var done struct {
		Event string
		exported
	}
	code, stdout, stderr := command("export", "--model", run, "--out", filepath.Join(dir, "a.pth"), "--force", "--json")
	if err := json.Unmarshal([]byte(stdout), &done); code != 0 || err != nil || done.Event != "done" || done.Format != "torch" || done.Tensors != 74 || len(done.Loader) == 0 || done.Encoder == "" {
		t.Errorf("exit code %d, %+v, %v, %s", code, done, err, stderr)
	}

	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no ending":        {[]string{"--out", filepath.Join(dir, "x.bin")}, 2, ".onnx"},
		"a format":         {[]string{"--out", "x", "--format", "caffe"}, 2, "caffe"},
		"a file":           {[]string{"--out", filepath.Join(dir, "a.pth")}, 1, "--force"},
		"weights only":     {[]string{"--out", filepath.Join(dir, "x.pth"), "--output", "head"}, 2, "--output is for ONNX"},
		"an input":         {[]string{"--out", filepath.Join(dir, "x.onnx"), "--input", "int4"}, 2, "int4"},
		"an output":        {[]string{"--out", filepath.Join(dir, "x.onnx"), "--output", "neck"}, 2, "neck"},
		"probe and output": {[]string{"--out", filepath.Join(dir, "x.onnx"), "--output", "head", "--probe", "p"}, 2, "--probe makes logits"},
		"no probe":         {[]string{"--out", filepath.Join(dir, "x.onnx"), "--probe", filepath.Join(dir, "absent")}, 1, "absent"},
		"not a probe":      {[]string{"--out", filepath.Join(dir, "x.onnx"), "--probe", filepath.Join(dir, "b.safetensors")}, 1, "eval linear --save"},
		"detectron2":       {[]string{"--out", filepath.Join(dir, "x.pkl")}, 1, "this is a resnet10"},
		"a missing model":  {[]string{"--out", filepath.Join(dir, "x.pth"), "--model", "nowhere"}, 1, "nowhere"},
		"a missing folder": {[]string{"--out", filepath.Join(dir, "y", "x.pth")}, 1, "x.pth"},
	} {
		code, _, stderr := command(append([]string{"export", "--model", run}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q: %s", name, code, c.code, c.want, stderr)
		}
		oneSentence(t, stderr)
	}
}
