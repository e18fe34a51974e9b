package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// trained is a run of one step on images.
func trained(t *testing.T, images string) string {
	t.Helper()
	run := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(images, run, "--steps", "1")...); code != 0 {
		t.Fatal(stderr)
	}
	return run
}

// writing are command lines that write a file, up to its name.
func writing(images, run string) map[string][]string {
	return map[string][]string{
		"page.html":         {"outliers", "--model", "pixels", "--data", images, "--k", "1", "--html"},
		"probe.safetensors": {"eval", "linear", "--model", run, "--train", images, "--test", images, "--epochs", "1", "--rates", "1", "--save"},
		"model.pth":         {"export", "--model", run, "--out"},
		"model.onnx":        {"export", "--model", run, "--out"},
		"model.safetensors": {"import", foreign("moco_v2_legacy.pth.tar"), "--out"},
		"table.csv":         {"classify", "--model", run, "--train", images, "--data", images, "--out"},
		"table.jsonl":       {"classify", "--model", run, "--train", images, "--data", images, "--out"},
		"table.parquet":     {"classify", "--model", run, "--train", images, "--data", images, "--out"},
		"class.safetensors": {"classify", "--model", run, "--train", images, "--data", images, "--save"},
		"review.html":       {"classify", "--model", run, "--train", images, "--data", images, "--html"},
		"vectors.npy":       {"embed", "--model", run, "--data", images, "--out"},
		"vectors.jsonl":     {"embed", "--model", run, "--data", images, "--out"},
		"vectors.parquet":   {"embed", "--model", run, "--data", images, "--out"},
	}
}

// TestOutputs: a file that moco did not write is not replaced without --force, and a link is followed.
func TestOutputs(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := trained(t, images)
	for name, args := range writing(images, run) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name)
			write := func(to string, more ...string) (code int, stderr string) {
				t.Helper()
				code, _, stderr = command(append(append(slices.Clone(args), to), more...)...)
				return code, stderr
			}
			if err := os.WriteFile(path, []byte("theirs"), 0o644); err != nil {
				t.Fatal(err)
			}
			code, stderr := write(path)
			if code != exitFailed || !strings.Contains(stderr, path+" is there already") || !strings.Contains(stderr, "--force") {
				t.Errorf("a foreign file: exit code %d, %s", code, stderr)
			}
			oneSentence(t, stderr)
			if raw, err := os.ReadFile(path); err != nil || string(raw) != "theirs" {
				t.Errorf("the foreign file now holds %.20q (%v)", raw, err)
			}
			if code, stderr := write(path, "--force"); code != 0 {
				t.Errorf("--force: exit code %d, %s", code, stderr)
			}
			made, err := os.ReadFile(path)
			if err != nil || len(made) < 10 {
				t.Errorf("--force wrote %q (%v)", made, err)
			}
			at, to := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), "elsewhere"+filepath.Ext(name))
			if err := os.Symlink(to, at); err != nil {
				t.Skipf("no links here: %v", err)
			}
			if code, stderr := write(at); code != 0 {
				t.Errorf("a link: exit code %d, %s", code, stderr)
			}
			info, err := os.Lstat(at)
			linked, err2 := os.ReadFile(to)
			if err := errors.Join(err, err2); err != nil || info.Mode()&fs.ModeSymlink == 0 || filepath.Ext(name) != ".html" && !bytes.Equal(linked, made) {
				t.Errorf("the link is a %v, and what it leads to has %d bytes, not %d (%v)", info.Mode(), len(linked), len(made), err)
			}
		})
	}
}

// TestOwnOutputs: what moco wrote is replaced unasked where nothing is lost by it.
func TestOwnOutputs(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := trained(t, images)
	for name, args := range writing(images, run) {
		if args[0] == "embed" || args[0] == "export" || args[0] == "import" {
			continue // what these wrote is not replaced without --force
		}
		path := filepath.Join(t.TempDir(), name)
		for range 2 {
			if code, _, stderr := command(append(slices.Clone(args), path)...); code != 0 {
				t.Errorf("%s: exit code %d, %s", name, code, stderr)
			}
		}
	}
}

// TestOutputIsStandardOutput: what is said goes to standard error then, and events are refused.
func TestOutputIsStandardOutput(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := trained(t, images)
	stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	to := fmt.Sprintf("/dev/fd/%d", stdout.Fd())
	if _, err := os.Stat(to); err != nil {
		t.Skipf("open files have no names here: %v", err)
	}
	args := []string{"export", "--model", run, "--format", "onnx", "--out", to}
	var said strings.Builder
	if code := Main(args, stdout, &said, func(string) string { return "" }); code != 0 || !strings.Contains(said.String(), "SHA-256") {
		t.Errorf("exit code %d, said %s", code, said.String())
	}
	file := filepath.Join(t.TempDir(), "model.onnx")
	if code, _, stderr := command("export", "--model", run, "--out", file); code != 0 {
		t.Fatal(stderr)
	}
	want, err := os.ReadFile(file)
	got, err2 := os.ReadFile(stdout.Name())
	if err := errors.Join(err, err2); err != nil || !bytes.Equal(got, want) {
		t.Errorf("standard output has %d bytes, and a file %d (%v)", len(got), len(want), err)
	}
	said.Reset()
	if code := Main(append(args, "--json"), stdout, &said, func(string) string { return "" }); code != exitUsage {
		t.Errorf("with --json: exit code %d, said %s", code, said.String())
	}
}

// fullDisk takes so many bytes.
type fullDisk struct{ left int }

var errFull = errors.New("no space left on device")

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(d.left, len(p))
	d.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// TestFullStandardOutput: a command whose output is lost has failed, whatever it printed and where
// it stopped.
func TestFullStandardOutput(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := trained(t, images)
	pixels := []string{"--model", "pixels", "--data", images}
	for _, args := range [][]string{
		{"--help"}, {"train", "--help"}, {"completion", "bash"},
		{"data", "info", images}, {"info", run},
		append([]string{"search"}, pixels...), append([]string{"dedupe"}, pixels...),
		append([]string{"outliers"}, pixels...), append([]string{"label-errors"}, pixels...),
		append([]string{"cluster", "--k", "2"}, pixels...),
		{"eval", "knn", "--model", "pixels", "--train", images, "--test", images},
		{"eval", "linear", "--model", "pixels", "--train", images, "--test", images, "--epochs", "1", "--rates", "1"},
		{"bench", "--steps", "1", "--recipe", "cifar", "--set", "encoder.width=0.0625", "--batch", "2", "--set", "bn_splits=1"},
	} {
		for _, json := range []bool{false, true} {
			if json {
				if args[len(args)-1] == "--help" || args[0] == "completion" {
					continue
				}
				args = append(args, "--json")
			}
			for _, room := range []int{0, 20} {
				var stderr strings.Builder
				code := Main(args, &fullDisk{left: room}, &stderr, func(string) string { return "" })
				if code != exitFailed || !strings.Contains(stderr.String(), "moco: standard output: no space left on device") {
					t.Errorf("%v with room for %d bytes: exit code %d, %s", args, room, code, stderr.String())
				}
			}
		}
	}
	// A command that works for long ends its work all the same.
	out := filepath.Join(t.TempDir(), "run")
	var stderr strings.Builder
	code := Main(train(images, out, "--steps", "1"), &fullDisk{}, &stderr, func(string) string { return "" })
	if _, err := os.Stat(filepath.Join(out, "encoder.safetensors")); code != exitFailed || err != nil {
		t.Errorf("train: exit code %d, the encoder: %v", code, err)
	}
}

// TestFullDevice: the same with the system's own full disk.
func TestFullDevice(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no full device here: %v", err)
	}
	defer full.Close()
	var stderr strings.Builder
	args := []string{"data", "info", "builtin:test"}
	if code := Main(args, full, &stderr, func(string) string { return "" }); code != exitFailed {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
	code, _, said := command("outliers", "--model", "pixels", "--data", good(t, nil), "--html", "/dev/full")
	if code != exitFailed || !strings.Contains(said, "disk is full") {
		t.Errorf("a page: exit code %d, %s", code, said)
	}
}

// TestVisible: no name can do more on a terminal than be read.
func TestVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain/é/日本/👩\u200d🔬.png":    "plain/é/日本/👩\u200d🔬.png",
		"a\tb\nc\rd":                 `a\tb\nc\rd`,
		"\x1b[2J\x7f\u009b":          `\x1b[2J\x7f\u009b`,
		"gpj.\u202egnp":              `gpj.\u202egnp`,
		"a\u200bb\ufeff\u2060\u2028": `a\u200bb\ufeff\u2060\u2028`,
		"caf\xe9":                    `caf\xe9`,
		"\ufffd":                     "\ufffd",
	} {
		if got := visible(text); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
	if got := formatted("%s|%-5s|%.2f|%3d|%v\n", []any{"a\nb", "c", 1.0, 7, errors.New("x\ty")}); got != `a\nb|c    |1.00|  7|x\ty`+"\n" {
		t.Errorf("formatted gives %q", got)
	}
	if got := formatted("%s", []any{multiline("a\n\tb\n")}); got != "a\n"+`\tb`+"\n" {
		t.Errorf("lines are %q", got)
	}
}

// TestNamesInTables: a name does not break its table, nor any other line.
func TestNamesInTables(t *testing.T) {
	t.Parallel()
	name := "evil\x1b[31m\ttab.png"
	images := folder(t, map[string][]byte{"a\x1b/" + name: pngBytes(1), "b/2.png": pngBytes(2), "b/bad\x1b.png": pngBytes(3)[:60]})
	if _, err := os.Stat(filepath.Join(images, "a\x1b", name)); err != nil {
		t.Skipf("no such names here: %v", err)
	}
	pixels := []string{"--model", "pixels", "--data", images}
	for _, args := range [][]string{
		append([]string{"search"}, pixels...), append([]string{"outliers", "--k", "1"}, pixels...),
		append([]string{"cluster", "--k", "1"}, pixels...), append([]string{"label-errors", "--k", "1"}, pixels...),
		{"data", "info", images, "--decode"}, {"data", "pack", "--data", images, "--out", filepath.Join(t.TempDir(), "p"), "--max-bad", "1"},
		{"eval", "knn", "--model", "pixels", "--train", images, "--test", images},
		{"embed", "--model", "nothing\x1b", "--data", images, "--out", "x.npy"},
	} {
		_, stdout, stderr := command(args...)
		if strings.ContainsAny(stdout+stderr, "\x1b\t") || stdout+stderr == "" {
			t.Errorf("%v prints %q%q", args, stdout, stderr)
		}
	}
}
