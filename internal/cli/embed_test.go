package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"moco/vectors"
)

// TestEmbed embeds as a user does: each format, unreadable images, and what is refused.
func TestEmbed(t *testing.T) {
	t.Parallel()
	images := good(t, map[string][]byte{"dog/cut.jpg": jpegBytes(3)[:300]})
	run := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(images, run, "--steps", "1", "--set", "max_bad=0.5")...); code != 0 {
		t.Fatal(stderr)
	}
	out := func(name string) string { return filepath.Join(t.TempDir(), name) }
	for _, c := range []struct {
		name string
		args []string
		dim  int
	}{{"x.parquet", nil, 32}, {"x.npy", []string{"--features", "head"}, 8}, {"x.jsonl", []string{"--batch", "3", "--json"}, 32}} {
		path := out(c.name)
		code, stdout, stderr := command(append([]string{"embed", "--model", run, "--data", images, "--out", path, "--max-bad", "0.1"}, c.args...)...)
		if code != 0 || !strings.Contains(stderr, "cut.jpg") {
			t.Fatalf("%s: exit code %d\n%s%s", c.name, code, stdout, stderr)
		}
		r, err := vectors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n := 0
		for row, err := range r.All() {
			if n++; err != nil || len(row.Vector) != c.dim || row.Label+"/" != row.Path[:4] {
				t.Fatalf("%s: row %d is %+v, %v", c.name, n, row, err)
			}
		}
		if n != 10 {
			t.Errorf("%s has %d rows, want 10", c.name, n)
		}
		if c.name != "x.jsonl" {
			if !strings.Contains(stdout, "10 rows") || !strings.Contains(stdout, "1 unreadable image") {
				t.Errorf("%s: it says\n%s", c.name, stdout)
			}
			continue
		}
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		var last struct {
			Event     string
			Rows      int
			BadImages int      `json:"bad_images"`
			BadNames  []string `json:"bad_names"`
		}
		for _, line := range lines {
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Fatalf("%s is no JSON", line)
			}
		}
		if last.Event != "done" || last.Rows != 10 || last.BadImages != 1 || len(last.BadNames) != 1 {
			t.Errorf("the last line is %s", lines[len(lines)-1])
		}
	}
	for name, c := range map[string]struct {
		more []string
		code int
		want string
	}{
		"an ending":        {[]string{"--out", "x.csv"}, 2, ".parquet"},
		"no batch":         {[]string{"--batch", "0"}, 2, "--batch"},
		"a share":          {[]string{"--max-bad", "7"}, 2, "--max-bad"},
		"a layer":          {[]string{"--features", "neck"}, 2, "head"},
		"too many broken":  {[]string{"--max-bad", "0.01"}, 1, "cut.jpg"},
		"no database":      {[]string{"--to", "mysql://x", "--out", ""}, 2, "[out to]"},
		"a missing model":  {[]string{"--model", "nowhere"}, 1, "nowhere"},
		"missing images":   {[]string{"--data", "nowhere"}, 1, "nowhere"},
		"a precision":      {[]string{"--precision", "fp8"}, 2, "fp8"},
		"a missing folder": {[]string{"--out", filepath.Join(t.TempDir(), "a", "b.npy")}, 1, "b.npy"},
	} {
		code, _, stderr := command(append([]string{"embed", "--model", run, "--data", images, "--out", out("y.npy")}, c.more...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q: %s", name, code, c.code, c.want, stderr)
		}
		oneSentence(t, stderr)
	}
}
