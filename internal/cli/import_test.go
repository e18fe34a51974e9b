package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// foreign is a checkpoint that PyTorch has saved.
func foreign(name string) string {
	return filepath.Join("..", "..", "encoder", "testdata", "import", name)
}

// TestImport imports as a user does: what is told, what is refused, and that a checkpoint is a
// model as it is.
func TestImport(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "encoder.safetensors")
	code, stdout, stderr := command("import", foreign("moco_v2_legacy.pth.tar"), "--out", out)
	for _, want := range []string{"MoCo's, query side", "resnet18", "an MLP head of 6", "v1, 224 pixels", "used       124", "state_dict.module.queue\n", "state_dict.module.encoder_k.* (124)", "optimizer.state.* (64)", out} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Fatalf("exit code %d, and it does not say %q: %s\n%s", code, want, stderr, stdout)
		}
	}
	var done struct {
		Event, Side string
		SHA256      string
		Encoder     struct{ Arch string }
		Used        []string
		LeftOut     []string `json:"left_out"`
		Import      *struct{ Prefix string }
		NoImport    string `json:"no_import"`
	}
	code, stdout, stderr = command("import", foreign("moco_v2_legacy.pth.tar"), "--out", out, "--force", "--side", "key", "--policy", "v2", "--size", "64", "--json")
	if err := json.Unmarshal([]byte(stdout), &done); code != 0 || err != nil || done.Event != "done" || done.Side != "key" || done.Encoder.Arch != "resnet18" || len(done.Used) != 124 || len(done.LeftOut) != 190 {
		t.Errorf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if code, stdout, stderr = command("info", out); code != 0 || !strings.Contains(stdout, "policy: v2") || !strings.Contains(stdout, "size: 64") {
		t.Errorf("info says %s%s", stdout, stderr)
	}
	if code, stdout, stderr = command("info", foreign("solo_learn.ckpt")); code != 0 || !strings.Contains(stdout, "solo-learn's") || !strings.Contains(stdout, "epoch: 3") {
		t.Errorf("info of a foreign file says %s%s", stdout, stderr)
	}
	images := good(t, nil)
	vectors := filepath.Join(t.TempDir(), "x.jsonl")
	code, stdout, stderr = command("embed", "--model", foreign("moco_v1_zip.pth.tar"), "--data", images, "--out", vectors)
	if code != 0 || !strings.Contains(stderr, "MoCo, query side") || !strings.Contains(stderr, "124 left out") {
		t.Errorf("embed by a checkpoint: exit code %d\n%s%s", code, stdout, stderr)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no out":          {[]string{foreign("old.tar")}, 2, "out"},
		"no file":         {[]string{"--out", "x"}, 2, "accepts 1"},
		"a missing file":  {[]string{"nowhere.pth", "--out", "x"}, 1, "nowhere.pth"},
		"there already":   {[]string{foreign("old.tar"), "--out", out}, 1, "--force"},
		"a side":          {[]string{foreign("old.tar"), "--out", "x", "--side", "left"}, 2, "--side"},
		"a policy":        {[]string{foreign("old.tar"), "--out", "x", "--policy", "v9"}, 2, "v9"},
		"a size":          {[]string{foreign("old.tar"), "--out", "x", "--size", "-1"}, 2, "--size"},
		"no key side":     {[]string{foreign("old.tar"), "--out", "x", "--side", "key"}, 1, "--strip names"},
		"side and prefix": {[]string{foreign("old.tar"), "--out", "x", "--side", "key", "--strip", "a"}, 2, "[side strip]"},
		"no checkpoint":   {[]string{foreign("features.json"), "--out", "x"}, 1, "features.json"},
		"moco's own":      {[]string{out, "--out", "x"}, 1, "needs no import"},
	} {
		code, _, stderr := command(append([]string{"import"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q: %s", name, code, c.code, c.want, stderr)
		}
		oneSentence(t, stderr)
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a refused import has written something")
	}
}

// TestDamagedEncoder: an encoder with NaN among its weights is refused wherever it would be used.
func TestDamagedEncoder(t *testing.T) {
	t.Parallel()
	model := filepath.Join("..", "..", "weights", "testdata", "nan.pth")
	images := good(t, nil)
	out := filepath.Join(t.TempDir(), "out")
	for _, args := range [][]string{
		{"dedupe", "--model", model, "--data", images},
		{"label-errors", "--model", model, "--data", images},
		{"outliers", "--model", model, "--data", images},
		{"cluster", "--model", model, "--data", images, "--k", "2"},
		{"eval", "knn", "--model", model, "--train", images, "--test", images},
		{"eval", "linear", "--model", model, "--train", images, "--test", images},
		{"embed", "--model", model, "--data", images, "--out", out + ".npy"},
		{"export", "--model", model, "--out", out + ".onnx"},
		{"import", model, "--out", out + ".safetensors"},
	} {
		code, stdout, stderr := command(args...)
		if code != 1 || !strings.Contains(stderr, "not finite: layer1.0.conv1.weight holds NaN") {
			t.Errorf("%s: exit code %d: %s%s", args[0], code, stdout, stderr)
		}
		oneSentence(t, stderr)
	}
}

func TestFolded(t *testing.T) {
	t.Parallel()
	got := folded([]string{"a", "b.c.d", "b.c.e", "b.f", "g.1.x", "g.2.x", "g.3.x", "g.4.x", "g.5.x", "g.6.x"})
	if want := []string{"a", "b.c.d", "b.c.e", "b.f", "g.* (6)"}; !slices.Equal(got, want) {
		t.Errorf("folded to %q, want %q", got, want)
	}
	if got := folded(nil); len(got) != 0 {
		t.Errorf("nothing is folded to %q", got)
	}
}
