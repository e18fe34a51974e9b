package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTransfer(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	flat := folder(t, map[string][]byte{"a.png": pngBytes(1), "b.png": pngBytes(2), "c.png": pngBytes(3), "d.png": pngBytes(4)})
	with := func(out string, more ...string) []string {
		return append([]string{"transfer", "--pretrain", images, "--train", images, "--test", images, "--out", out,
			"--finetune-epochs", "1", "--linear-epochs", "2"}, more...)
	}
	transfer := func(out string, more ...string) []string {
		args := with(out, "--epochs", "1")
		for _, s := range quick {
			if s == "--batch" {
				break
			}
			args = append(args, s)
		}
		return append(append(args, "--set", "batch=4"), more...)
	}
	out := filepath.Join(t.TempDir(), "transfer")
	code, stdout, stderr := command(transfer(out, "--labels", "2,all")...)
	for _, want := range []string{"11 of 11: scratch, labels-all, seed 0", "| encoder | linear classifier | fine-tuned, labels: 2 | fine-tuned, labels: all | seeds |", "| supervised | "} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d; it should say %q:\n%s%s", code, want, stdout, stderr)
		}
	}
	code, stdout, stderr = command(transfer(out, "--labels", "2,all", "--json")...)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var last struct {
		Event string
		Table []struct {
			Arm    string
			Linear struct{ Runs int } `json:"linear_top1"`
		}
		Files []string
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || code != 0 || last.Event != "done" || len(last.Table) != 3 || last.Table[2].Arm != "scratch" || last.Table[2].Linear.Runs != 1 {
		t.Errorf("exit code %d, %v, %+v\n%s", code, err, last, stderr)
	}
	for _, file := range last.Files {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(stdout, `"event":"step"`) {
		t.Error("what is done is done again")
	}
	os.RemoveAll(filepath.Join(out, "scratch", "linear"))
	if _, stdout, _ = command(transfer(out, "--labels", "2,all", "--json")...); strings.Count(stdout, `{"event":"epoch","epoch":2,"of":2`) != 1 {
		t.Errorf("one arm's linear classifiers are to be trained again, epoch by epoch:\n%s", stdout)
	}
	model := filepath.Join(out, "moco", "pretrain", "seed-0")
	if code, stdout, stderr := command(with(filepath.Join(t.TempDir(), "other"), "--model", model, "--pretrain", flat, "--arms", "moco,scratch")...); code != 0 || !strings.Contains(stdout, "4 of 4: ") {
		t.Errorf("with a model: exit code %d\n%s%s", code, stdout, stderr)
	}
	for name, c := range map[string]struct {
		more []string
		code int
		want string
	}{
		"unlabelled pretraining":    {[]string{"--pretrain", flat}, 1, "leave that arm out"},
		"unlabelled training":       {[]string{"--train", flat}, 1, "class folders"},
		"unlabelled test images":    {[]string{"--test", flat}, 1, "class folders"},
		"an unknown arm":            {[]string{"--arms", "moco,none"}, 2, "moco, supervised, scratch"},
		"labels of no kind":         {[]string{"--labels", "some"}, 2, "want all"},
		"more labels than there":    {[]string{"--labels", "9"}, 1, "has 5"},
		"no seeds":                  {[]string{"--seeds", "0"}, 2, "--seeds"},
		"a seed among the settings": {[]string{"--set", "seed=2"}, 2, "--seeds"},
		"supervised MoCo":           {[]string{"--set", "objective=supervised"}, 2, "without labels"},
		"an unknown key":            {[]string{"--finetune-set", "bacth=3"}, 2, "bacth"},
		"a model and a recipe":      {[]string{"--model", model}, 2, "leave them out"},
	} {
		code, _, stderr := command(transfer(filepath.Join(t.TempDir(), "none"), c.more...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d, and it should say %q:\n%s", name, code, c.code, c.want, stderr)
		}
		oneSentence(t, stderr)
	}
	if code, _, stderr := command(with(filepath.Join(t.TempDir(), "none"), "--model", flat)...); code != 1 || !strings.Contains(stderr, "encoder.safetensors") {
		t.Errorf("a model that is none: exit code %d\n%s", code, stderr)
	}
}
