package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFinetune(t *testing.T) {
	images := good(t, nil)
	run := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(images, run, "--steps", "1")...); code != 0 {
		t.Fatal(stderr)
	}
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	finetune := func(model string, more ...string) []string {
		return append([]string{"eval", "finetune", "--model", model, "--train", images, "--test", images, "--epochs", "2"}, more...)
	}
	code, stdout, stderr := command(finetune(run, "--labels", "2", "--seeds", "2", "--lr", "0.1")...)
	for _, want := range []string{"seed 1: fine-tuned accuracy ", "from 4 labelled ones (2), 2 epochs, 2 steps", "over 2 seeds"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d; it should say %q:\n%s%s", code, want, stdout, stderr)
		}
	}
	out := filepath.Join(t.TempDir(), "tuned")
	code, stdout, stderr = command(finetune(filepath.Join(run, "encoder.safetensors"), "--labels", "50%", "--out", out, "--json")...)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var last struct {
		Event  string
		Labels string
		Top1   struct{ Mean float64 } `json:"finetune_top1"`
		Runs   []struct{ Images int }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || code != 0 || last.Event != "done" || last.Labels != "50%" || last.Runs[0].Images != 6 && last.Runs[0].Images != 4 {
		t.Errorf("exit code %d, %v, %+v\n%s", code, err, last, stderr)
	}
	classifier := filepath.Join(out, "seed-0")
	if code, stdout, stderr := command("eval", "knn", "--model", classifier, "--train", images, "--test", images); code != 0 {
		t.Errorf("the classifier cannot be used: %s%s", stdout, stderr)
	}
	if code, stdout, _ := command(finetune(scratch, "--recipe", filepath.Join(run, "config.yaml"))...); code != 0 || !strings.Contains(stdout, "10 labelled ones (all)") {
		t.Errorf("from scratch: exit code %d\n%s", code, stdout)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("%v stay in the folder for temporary files, %v", left, err)
	}

	// An encoder is also what further training without labels can start from.
	again := filepath.Join(t.TempDir(), "again")
	if code, stdout, stderr := command(train(images, again, "--steps", "1", "--init", classifier)...); code != 0 {
		t.Errorf("train --init: exit code %d\n%s%s", code, stdout, stderr)
	}
	if config, err := os.ReadFile(filepath.Join(again, "config.yaml")); err != nil || !strings.Contains(string(config), "\nstart: ") || !strings.Contains(string(config), "--init") {
		t.Errorf("the run does not say what it started from: %s, %v", config, err)
	}
	if code, stdout, stderr := command("train", "--data", images, "--out", again, "--resume"); code != 0 {
		t.Errorf("train --resume without --init: exit code %d\n%s%s", code, stdout, stderr)
	}

	flat := folder(t, map[string][]byte{"a.png": pngBytes(1), "b.png": pngBytes(2)})
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"an unknown model":           {finetune(filepath.Join(run, "nothing")), 1, "nothing"},
		"unlabelled training images": {finetune(run, "--train", flat), 1, "class folders"},
		"unlabelled test images":     {finetune(run, "--test", flat), 1, "class folders"},
		"more labels than there are": {finetune(run, "--labels", "6"), 1, `the class "cat" has 5`},
		"labels of no kind":          {finetune(run, "--labels", "some"), 2, "want all, a percentage"},
		"no seeds":                   {finetune(run, "--seeds", "0"), 2, "--seeds"},
		"a recipe beside a model":    {finetune(run, "--recipe", "cifar"), 2, "--model scratch"},
		"an unknown recipe":          {finetune(scratch, "--recipe", "cifra"), 2, "cifra"},
		"a rate below 0":             {finetune(run, "--lr", "-1"), 2, "lr: must not be negative"},
		"another encoder":            {finetune(run, "--set", "encoder.width=0.5"), 2, "width 0.0625"},
		"no labels":                  {finetune(run, "--set", "objective=contrastive"), 2, "objective"},
		"a seed among the settings":  {finetune(run, "--set", "seed=3"), 2, "--seeds"},
		"an init that is none":       {train(images, filepath.Join(t.TempDir(), "run"), "--init", flat), 1, "encoder.safetensors"},
		"an init of another width":   {train(images, filepath.Join(t.TempDir(), "run"), "--init", run, "--set", "encoder.width=0.5"), 2, "width 0.0625"},
	} {
		code, _, stderr := command(c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d, and it should say %q:\n%s", name, code, c.code, c.want, stderr)
		}
		oneSentence(t, stderr)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("after errors %v stay in the folder for temporary files, %v", left, err)
	}
}
