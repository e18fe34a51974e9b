package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// small leaves little to compute, and all that is chosen to be chosen.
var small = []string{"--set", "encoder.width=0.125", "--set", "encoder.dim=8", "--set", "views.size=8"}

func chosen(out string, more ...string) []string {
	return append(append([]string{"train", "--data", "builtin:train?n=60", "--out", out}, small...), more...)
}

// TestChosenRecipe: without --recipe one is chosen and told; what stands in config.yaml repeats the
// run without a clock, and a run that is resumed keeps it.
func TestChosenRecipe(t *testing.T) {
	t.Parallel()
	for name, budget := range map[string][]string{"alone": nil, "in a time": {"--time", "1h"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first, again := filepath.Join(dir, "first"), filepath.Join(dir, "again")
			code, out, errs := command(chosen(first, append(budget, "--steps", "3")...)...)
			if code != 0 || strings.Count(out, "Chosen: ") != 3 || !strings.Contains(errs, "60 pictures are few") {
				t.Fatalf("exit %d\n%s%s", code, out, errs)
			}
			config := filepath.Join(first, "config.yaml")
			before := read(t, config)
			for _, line := range []string{"queue: 16\n", "batch: 8\n", "bn_splits: 1\n", "optimizer: muon\n", "  stem: cifar\n", "  size: 8\n"} {
				if !strings.Contains(before, line) {
					t.Errorf("config.yaml has no %q:\n%s", line, before)
				}
			}
			for _, more := range [][]string{{"--recipe", config, "--out", again}, {"--out", first, "--resume", "--time", "1h"}} {
				args := append([]string{"train", "--data", "builtin:train?n=60", "--steps", "5"}, more...)
				if code, out, errs := command(args...); code != 0 || strings.Contains(out, "Chosen: ") {
					t.Fatalf("%q: exit %d\n%s%s", args, code, out, errs)
				}
			}
			if after := read(t, config); after != before {
				t.Errorf("resuming has changed the recipe to\n%s", after)
			}
			if read(t, filepath.Join(first, "encoder.safetensors")) != read(t, filepath.Join(again, "encoder.safetensors")) {
				t.Error("the recorded recipe gives another encoder")
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestChosenRecipeJSON(t *testing.T) {
	t.Parallel()
	code, out, errs := command(chosen(filepath.Join(t.TempDir(), "run"), "--json", "--steps", "1")...)
	first, _, _ := strings.Cut(out, "\n")
	if code != 0 || !strings.HasPrefix(first, `{"event":"choice",`) || !strings.Contains(first, `"batch":8,`) ||
		!strings.Contains(first, `"images":60,`) {
		t.Errorf("exit %d, first line %s\n%s", code, first, errs)
	}
}

// TestTimeRefused: what a time cannot go with is said before anything is written or measured.
func TestTimeRefused(t *testing.T) {
	t.Parallel()
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{chosen(used+"/run", "--time", "0s"), exitUsage, "must be above 0"},
		{chosen(used+"/run", "--time", "soon"), exitUsage, "soon"},
		{chosen(used+"/run", "--time", "1h", "--epochs", "3"), exitUsage, "exclude each other"},
		{chosen(used+"/run", "--time", "1h", "--set", "epochs=3"), exitUsage, "exclude each other"},
		{chosen(used, "--time", "1h"), exitFailed, "not empty"},
		{chosen(used+"/run", "--time", "1ms"), exitFailed, "is too short"},
		{chosen(used+"/run", "--batch", "100", "--time", "1h"), exitUsage, "use --batch 60 or less"},
		{[]string{"train", "--data", "builtin:train?n=1", "--out", used + "/run"}, exitFailed, "a single picture"},
	} {
		code, out, errs := command(c.args...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
		oneSentence(t, errs)
	}
	if entries, _ := os.ReadDir(used); len(entries) != 1 {
		t.Errorf("something is written: %v", entries)
	}
}

// TestTimeForARecipe: a given recipe gets the epochs of a time, and nothing else.
func TestTimeForARecipe(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "run")
	code, said, errs := command(train("builtin:train?n=60", out, "--recipe", "cifar", "--time", "1h", "--steps", "1")...)
	config := read(t, filepath.Join(out, "config.yaml"))
	kept := strings.Contains(config, "m: 0.99\n") && !strings.Contains(config, "epochs: 200\n")
	if code != 0 || strings.Count(said, "Chosen: ") != 1 || !kept {
		t.Errorf("exit %d\n%s%s%s", code, said, errs, config)
	}
}
