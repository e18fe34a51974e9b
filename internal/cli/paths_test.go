package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestPathsFlag(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--data a":                             "a",
		"--data a,b":                           "a,b",
		"--data a --data b/*.tar":              "{a,b/*.tar}",
		"--data x{0..3} --data {a,b}":          "{x{0..3},{a,b}}",
		"--data a --data b,c":                  "cannot be one of several",
		"--data a --data b{c":                  "cannot be one of several",
		"--data builtin:train --data ../other": "{builtin:train,../other}",
	} {
		var got string
		c := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
		pathsFlag(c, &got, "data", "")
		c.SetArgs(strings.Fields(line))
		if err := c.Execute(); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || strings.HasPrefix(want, "{") && got != want {
			t.Errorf("%s gives %s, want %s", line, got, want)
		}
	}
}

// TestGather: words that a shell makes of one pattern belong to the flag before them.
func TestGather(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"outliers --data a":                             "outliers --data=a",
		"outliers --data a b c --k 3":                   "outliers --data={a,b,c} --k 3",
		"outliers --data=a b --html x":                  "outliers --data={a,b} --html x",
		"outliers --json --data a b":                    "outliers --json --data={a,b}",
		"--json outliers --data a b --model m":          "--json outliers --data={a,b} --model m",
		"outliers --data a --data b c":                  "outliers --data=a --data={b,c}",
		"outliers --model m x --data a":                 "outliers --model m x --data=a",
		"outliers --data a -- b":                        "outliers --data=a -- b",
		"outliers --data a,b":                           "outliers --data=a,b",
		"outliers --data":                               "outliers --data",
		"search --query a b --data c d":                 "search --query=a --query=b --data={c,d}",
		"eval knn --train a b --test c d --k 3":         "eval knn --train={a,b} --test={c,d} --k 3",
		"data info a b":                                 "data info a b",
		"train --data a b --set t=1 --set m=0 --resume": "train --data={a,b} --set t=1 --set m=0 --resume",
		"nothing --data a b":                            "nothing --data a b",
		"outliers --data a b,c":                         "error: --data:",
		"outliers --unknown a --data a b":               "outliers --unknown a --data={a,b}",
		"help outliers":                                 "help outliers",
	} {
		words, err := gather(newRoot(&app{}), strings.Fields(line))
		got := strings.Join(words, " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want && !(strings.HasPrefix(want, "error") && strings.HasPrefix(got, want)) {
			t.Errorf("%s is read as %s, want %s", line, got, want)
		}
	}
}

// TestExpandedByShell: the pictures of a folder, given one by one, are that folder's pictures.
func TestExpandedByShell(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	files, err := filepath.Glob(filepath.Join(images, "cat", "*.png"))
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	flags := []string{"--model", "pixels", "--k", "2", "--json"}
	_, want, _ := command(append([]string{"outliers", "--data", filepath.Join(images, "cat")}, flags...)...)
	code, got, stderr := command(append(append([]string{"outliers", "--data"}, files...), flags...)...)
	findings := func(out string) string { before, _, _ := strings.Cut(out, `{"event":"done"`); return before }
	if code != 0 || findings(got) != findings(want) || findings(got) == "" {
		t.Errorf("exit code %d, %s\n%s\nwant\n%s", code, stderr, got, want)
	}
	for line, want := range map[string]string{
		"outliers " + files[0]:                           `"` + files[0] + `" belongs to no flag; images go behind a flag: --data ` + files[0],
		"export --model m --out o.pth " + files[0]:       "belongs to no flag; see",
		"embed --model m x --out o.npy --data " + images: `"x" belongs to no flag; see`,
	} {
		code, _, stderr := command(strings.Fields(line)...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", line, code, stderr)
		}
		oneSentence(t, stderr)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	many := "{" + strings.Repeat("photos/x.jpg,", 99) + "y.jpg}"
	for path, want := range map[string]string{"photos": "photos", "{a,b}": "{a,b}", many: "photos/x.jpg and 99 more",
		strings.Repeat("a", 300): strings.Repeat("a", 300)} {
		if got := short(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}
