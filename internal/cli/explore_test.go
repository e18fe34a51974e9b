package cli

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"moco/weights"
)

// TestExplore runs the five commands as a user does, in all three forms of output.
func TestExplore(t *testing.T) {
	t.Parallel()
	images := folder(t, nil)
	for i := range 12 { // drawings of two kinds, one of them there twice, one unreadable
		for _, class := range []string{"cat", "dog"} {
			name := filepath.Join(images, class, strconv.Itoa(i)+".png")
			os.MkdirAll(filepath.Dir(name), 0o755)
			if err := os.WriteFile(name, pngBytes(7*i+len(class)*i%5), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	os.WriteFile(filepath.Join(images, "cat", "copy of 3.png"), pngBytes(7*3+9%5), 0o644)
	os.WriteFile(filepath.Join(images, "cat", "broken.png"), pngBytes(1)[:60], 0o644)
	run := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(images, run, "--steps", "1", "--set", "max_bad=0.5")...); code != 0 {
		t.Fatal(stderr)
	}
	one := filepath.Join(images, "dog", "5.png")
	for name, c := range map[string]struct {
		args  []string
		event string
		least int // findings
		keys  []string
		says  string
	}{
		"all images":    {[]string{"search", "--k", "3"}, "neighbours", 25, []string{"query", "neighbours"}, "RANK"},
		"one file":      {[]string{"search", "--query", one}, "neighbours", 1, []string{"query", "neighbours"}, "SIMILARITY"},
		"one name":      {[]string{"search", "--query", "cat/4.png", "--k", "999"}, "neighbours", 1, []string{"query", "neighbours"}, "dog/"},
		"a folder":      {[]string{"search", "--query", filepath.Join(images, "dog"), "--query", one}, "neighbours", 13, []string{"query"}, "RANK"},
		"dedupe":        {[]string{"dedupe"}, "group", 1, []string{"images", "pairs"}, "copy of 3"},
		"by features":   {[]string{"dedupe", "--by", "features"}, "group", 1, []string{"images", "pairs"}, "copy of 3"},
		"outliers":      {[]string{"outliers"}, "outlier", 25, []string{"rank", "image", "label", "distance", "nearest"}, "DISTANCE"},
		"doubts":        {[]string{"label-errors", "--k", "3"}, "label_error", 0, []string{"rank", "image", "label", "suggested", "margin", "votes", "nearest"}, "vote for another class"},
		"clusters":      {[]string{"cluster", "--k", "4"}, "cluster", 1, []string{"cluster", "size", "label", "share", "images"}, "MOST TYPICAL"},
		"many clusters": {[]string{"cluster", "--k", "1000", "--seed", "4"}, "cluster", 5, []string{"images"}, "SHARE"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, model := range []string{run, "pixels"} {
				page := filepath.Join(t.TempDir(), "page.html")
				args := append(c.args, "--model", model, "--data", images, "--html", page)
				code, stdout, stderr := command(args...)
				if code != 0 || !strings.Contains(stdout, c.says) || !strings.Contains(stderr, "1 images could not be read") {
					t.Fatalf("exit code %d; the table should say %q, and the log that one image could not be read\n%s%s", code, c.says, stdout, stderr)
				}
				html, err := os.ReadFile(page)
				if err != nil || !strings.Contains(string(html), "<h1>") || c.least > 0 && !strings.Contains(string(html), "data:image/png") || !strings.Contains(string(html), "moco "+c.args[0]+" --") {
					t.Errorf("the page (%d bytes, %v) lacks its title, its pictures or its command", len(html), err)
				}
				code, stdout, stderr = command(append(args, "--json", "--show", "1")...)
				lines := strings.Split(strings.TrimSpace(stdout), "\n")
				if code != 0 || len(lines)-1 < c.least {
					t.Fatalf("--json: exit code %d and %d findings, want at least %d\n%s%s", code, len(lines)-1, c.least, stdout, stderr)
				}
				for i, line := range lines {
					var e map[string]any
					if err := json.Unmarshal([]byte(line), &e); err != nil {
						t.Fatalf("line %d is no JSON: %s", i, line)
					}
					if i == len(lines)-1 {
						if e["event"] != "done" || e["command"] != c.args[0] || e["found"] != float64(i) || e["images"] != float64(25) || e["bad_images"] != float64(1) || e["summary"] == nil || e["html"] != page {
							t.Errorf("the last line is %s, want the sum of %d findings", line, i)
						}
						continue
					}
					for _, key := range c.keys {
						if e[key] == nil {
							t.Errorf("line %d lacks %q: %s", i, key, line)
						}
					}
					if e["event"] != c.event {
						t.Errorf("line %d is of the event %v, want %s", i, e["event"], c.event)
					}
				}
			}
		})
	}
}

func TestExploreBadInput(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	flat := folder(t, map[string][]byte{"a.png": pngBytes(1), "b.png": pngBytes(2)})
	single := folder(t, map[string][]byte{"a.png": pngBytes(1)})
	with := func(command, data string, more ...string) []string {
		return append([]string{command, "--model", "pixels", "--data", data}, more...)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no labels":               {with("label-errors", flat), 1, "no labels"},
		"one image":               {with("outliers", single), 1, "at least two"},
		"an empty folder":         {with("dedupe", t.TempDir()), 1, "holds no files"},
		"a query that is nowhere": {with("search", images, "--query", "bird/1.png"), 1, "no such file, and no image of this name"},
		"a query that is text":    {with("search", images, "--query", filepath.Join(folder(t, map[string][]byte{"a.txt": []byte("hello")}), "a.txt")), 1, "a.txt"},
		"a folder for the page":   {with("cluster", images, "--html", filepath.Join(images, "no", "page.html")), 1, "there is no folder"},
		"k of 0":                  {with("search", images, "--k", "0"), 2, "--k must be"},
		"clusters of 0":           {with("cluster", images, "--k", "0"), 2, "--k must be"},
		"neighbours of 0":         {with("outliers", images, "--k", "0"), 2, "--k must be"},
		"votes of 0":              {with("label-errors", images, "--k", "-1"), 2, "k of at least 1"},
		"votes at t of 0":         {with("label-errors", images, "--t", "0"), 2, "t above 0"},
		"no iterations":           {with("cluster", images, "--iterations", "0"), 2, "--iterations must be"},
		"no candidates":           {with("dedupe", images, "--candidates", "0"), 2, "--candidates must be"},
		"a threshold of 0":        {with("dedupe", images, "--threshold", "0"), 2, "threshold must be"},
		"vectors and a model":     {with("cluster", images, "--vectors", "x.npy"), 2, "not both"},
		"vectors as text":         {[]string{"cluster", "--vectors", "x.csv", "--data", images}, 2, ".parquet"},
		"vectors that are not":    {[]string{"cluster", "--vectors", "nowhere.npy", "--data", images}, 1, "nowhere.npy"},
		"another way to compare":  {with("dedupe", images, "--by", "name"), 2, "overlay or features"},
		"no model":                {[]string{"cluster", "--data", images}, 2, "model"},
		"a model that is none":    {[]string{"outliers", "--model", images, "--data", images}, 1, "encoder.safetensors"},
		"a negative --show":       {with("outliers", images, "--show", "-1"), 2, "--show"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := command(c.args...)
			if code != c.code || !strings.Contains(strings.ToLower(stderr), c.want) {
				t.Errorf("exit code %d, want %d; standard error should say %q:\n%s", code, c.code, c.want, stderr)
			}
			oneSentence(t, stderr)
		})
	}
	// one image, and unlabelled ones, are no error where the question makes sense
	for _, args := range [][]string{with("search", single), with("dedupe", single), with("cluster", single), with("outliers", flat), with("cluster", flat, "--k", "9")} {
		if code, stdout, stderr := command(args...); code != 0 {
			t.Errorf("moco %v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// TestVectors: features from a file that moco embed wrote answer as the encoder does, and are
// matched by path.
func TestVectors(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(images, run, "--steps", "1")...); code != 0 {
		t.Fatal(stderr)
	}
	file := filepath.Join(t.TempDir(), "x.parquet")
	if code, _, stderr := command("embed", "--model", run, "--data", images, "--out", file, "--batch", "128"); code != 0 {
		t.Fatal(stderr)
	}
	more := good(t, map[string][]byte{"cat/new.png": pngBytes(77)}) // the same, and one more
	newImage := filepath.Join(more, "cat", "new.png")
	output := func(args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := command(args...)
		if code != 0 {
			t.Fatalf("moco %v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
		return stdout, stderr
	}
	for _, args := range [][]string{{"search", "--k", "3"}, {"dedupe"}, {"outliers", "--k", "2"}, {"label-errors", "--k", "3"}, {"cluster", "--k", "2"}} {
		want, _ := output(append(args, "--model", run, "--data", images)...)
		if got, _ := output(append(args, "--vectors", file, "--data", images)...); got != want {
			t.Errorf("moco %v with --vectors:\n%s\nwith --model:\n%s", args, got, want)
		}
		got, stderr := output(append(args, "--vectors", file, "--data", more)...)
		if got != want || !strings.Contains(stderr, "1 of 11 images have no row") {
			t.Errorf("moco %v on one image more:\n%s\n%s", args, stderr, got)
		}
	}
	if got, _ := output("search", "--vectors", file, "--data", images, "--model", run, "--query", newImage, "--k", "2"); !strings.Contains(got, "SIMILARITY") {
		t.Errorf("a new image: %s", got)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a new image without an encoder": {nil, 2, "needs --model beside --vectors"},
		"another encoder":                {[]string{"--model", "pixels", "--size", "9"}, 1, "makes 243"},
		"another layer":                  {[]string{"--model", run, "--features", "head"}, 1, "that made"},
	} {
		code, _, stderr := command(append([]string{"search", "--vectors", file, "--data", images, "--query", newImage}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
		oneSentence(t, stderr)
	}
	for _, args := range [][]string{{"eval", "knn", "--k", "3,1"}, {"eval", "linear", "--epochs", "2", "--held-out", "0.4"}} {
		sets := []string{"--train", images, "--test", images}
		want, _ := output(slices.Concat(args, sets, []string{"--model", run, "--features", "backbone"})...)
		got, _ := output(slices.Concat(args, sets, []string{"--train-vectors", file, "--test-vectors", file})...)
		if words := strings.NewReplacer("backbone", "", "vectors", "", " ", ""); words.Replace(got) != words.Replace(want) {
			t.Errorf("moco %v with vectors:\n%s\nwith --model:\n%s", args, got, want)
		}
	}
}

// TestNotFinite: features that are NaN are no answer, wherever they come from. No command may find
// nothing in them and end as if all were well.
func TestNotFinite(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := trained(t, images)
	vectors := filepath.Join(t.TempDir(), "v.npy")
	if code, _, stderr := command("embed", "--model", run, "--data", images, "--out", vectors); code != 0 {
		t.Fatal(stderr)
	}
	raw, err := os.ReadFile(vectors)
	if err != nil {
		t.Fatal(err)
	}
	nan := binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(math.NaN())))
	dim := (len(raw) - 128) / 4 / 10
	for _, row := range []int{3, 7} { // of 10
		copy(raw[128+4*dim*row:], nan)
	}
	if err := os.WriteFile(vectors, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(t.TempDir(), "encoder.safetensors")
	f, err := weights.Load(context.Background(), filepath.Join(run, "encoder.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	v := f.Get("layer2.0.bn1.running_var").Float32s()
	for i := range v {
		v[i] = -1
	}
	if _, err := weights.Save(model, f); err != nil {
		t.Fatal(err)
	}
	for from, flags := range map[string][]string{
		"2 of 10 images are NaN or infinite, cat/3.png first":  {"--vectors", vectors},
		"10 of 10 images are NaN or infinite, cat/0.png first": {"--model", model},
	} {
		for _, c := range [][]string{{"search"}, {"dedupe"}, {"dedupe", "--by", "features"}, {"outliers"}, {"label-errors"}, {"cluster", "--k", "2"}} {
			args := append(append(c, "--data", images), flags...)
			code, stdout, stderr := command(args...)
			if code != exitFailed || stdout != "" || !strings.Contains(stderr, from) {
				t.Errorf("%v: exit code %d, %s%s; want an error of %q", c, code, stdout, stderr, from)
			}
		}
		table := filepath.Join(t.TempDir(), "t.csv")
		c := append([]string{"classify", "--train", images, "--data", images, "--out", table}, flags...)
		if flags[0] == "--vectors" {
			c = append(c, "--train-vectors", vectors)
		}
		code, _, stderr := command(c...)
		if _, err := os.Stat(table); code != exitFailed || err == nil || !strings.Contains(stderr, from) {
			t.Errorf("%v: exit code %d, %s; want an error of %q and no table", c, code, stderr, from)
		}
		for _, c := range [][]string{{"eval", "knn"}, {"eval", "linear", "--epochs", "1", "--rates", "1"}} {
			args := append(c, "--train", images, "--test", images)
			if flags[0] == "--vectors" {
				args = append(args, "--train-vectors", vectors, "--test-vectors", vectors)
			} else {
				args = append(args, flags...)
			}
			code, stdout, stderr := command(args...)
			if code != exitFailed || stdout != "" || !strings.Contains(stderr, from) {
				t.Errorf("%v: exit code %d, %s%s; want an error of %q", c, code, stdout, stderr, from)
			}
		}
	}
	for _, args := range [][]string{
		{"embed", "--model", model, "--data", images, "--out", filepath.Join(t.TempDir(), "v.npy")},
		{"export", "--model", model, "--out", filepath.Join(t.TempDir(), "m.onnx")},
		{"export", "--model", model, "--out", filepath.Join(t.TempDir(), "m.pth")},
		{"search", "--model", model, "--data", images, "--query", filepath.Join(images, "cat", "1.png")},
		{"eval", "linear", "--views", "--epochs", "1", "--rates", "1", "--model", model, "--train", images, "--test", images},
	} {
		code, stdout, stderr := command(args...)
		if code != exitFailed || strings.Contains(stdout, "Done") || !strings.Contains(stderr, "NaN or infinite") {
			t.Errorf("%v: exit code %d, %s%s", args, code, stdout, stderr)
		}
	}
}

// TestOutnumbered: classes that are too small for the votes are named, in all forms of output.
func TestOutnumbered(t *testing.T) {
	t.Parallel()
	images := folder(t, nil)
	for class, n := range map[string]int{"many": 9, "one": 1, "two": 2} {
		for i := range n {
			name := filepath.Join(images, class, strconv.Itoa(i)+".png")
			os.MkdirAll(filepath.Dir(name), 0o755)
			if err := os.WriteFile(name, pngBytes(i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	page := filepath.Join(t.TempDir(), "page.html")
	args := []string{"label-errors", "--model", "pixels", "--data", images, "--k", "3", "--html", page}
	code, stdout, stderr := command(args...)
	for _, want := range []string{"one (1 image)", "2 classes have too few images for the 3 neighbours", "one (1), two (2)", "--k"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, and %q is not said:\n%s%s", code, want, stdout, stderr)
		}
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "one (1), two (2)") {
		t.Errorf("the page does not say it (%v)", err)
	}
	code, stdout, _ = command(append(args, "--json")...)
	if code != 0 || !strings.Contains(stdout, `"outnumbered":[{"name":"one","images":1},{"name":"two","images":2}]`) ||
		!strings.Contains(stdout, `"outnumbered":true`) {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
