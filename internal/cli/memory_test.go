package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestMemoryFlag: vectors that take more than they may stay in their file, and the answers are the
// same. What cannot be done in so little memory is refused before the work.
func TestMemoryFlag(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run, dir := filepath.Join(t.TempDir(), "run"), t.TempDir()
	if code, _, stderr := command(train(images, run, "--steps", "1")...); code != 0 {
		t.Fatal(stderr)
	}
	array, table := filepath.Join(dir, "x.npy"), filepath.Join(dir, "x.parquet")
	for _, out := range []string{array, table} {
		if code, _, stderr := command("embed", "--model", run, "--data", images, "--out", out, "--dtype", "float16"); code != 0 {
			t.Fatal(stderr)
		}
	}
	for _, ask := range [][]string{{"search", "--k", "3"}, {"dedupe", "--by", "features"}, {"dedupe"}, {"outliers"}, {"cluster", "--k", "2"},
		{"label-errors"}} {
		answer := func(vectors string, more ...string) (code int, stdout, stderr string) {
			return command(append(append(ask, "--data", images, "--vectors", vectors, "--json"), more...)...)
		}
		seconds := func(stdout string) string { // the last line has the time
			found, _, _ := strings.Cut(stdout, `{"event":"done"`)
			return found
		}
		code, want, stderr := answer(array)
		if code != 0 {
			t.Fatalf("%v: %s", ask, stderr)
		}
		if code, got, stderr := answer(table); code != 0 || seconds(got) != seconds(want) {
			t.Errorf("%v: a table gives another answer: %s%s", ask, got, stderr)
		}
		code, _, stderr = answer(array, "--memory", "500B")
		if code != 1 || !strings.Contains(stderr, "takes up to") || !strings.Contains(stderr, "--memory") {
			t.Errorf("%v in 500 bytes: exit code %d, %s", ask, code, stderr)
		}
		oneSentence(t, stderr)
		if code, _, stderr = answer(table, "--memory", "500B"); code != 1 || !strings.Contains(stderr, ".npy") {
			t.Errorf("%v of a table in 500 bytes: exit code %d, %s", ask, code, stderr)
		}
	}
	code, _, stderr := command("search", "--data", images, "--vectors", array, "--memory", "1GB")
	if code != 0 || !strings.Contains(stderr, "10 vectors of 32: they take 0 MB of memory, and the work up to") {
		t.Errorf("what is taken is not said: %s", stderr)
	}
}
