package cli

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// command runs moco as a user does.
func command(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Main(args, &out, &err, func(string) string { return "" })
	return code, out.String(), err.String()
}

// quick makes training take no time.
var quick = []string{"--set", "encoder.width=0.0625", "--set", "encoder.dim=8", "--set", "queue=16", "--set", "bn_splits=1", "--set", "views.size=8", "--batch", "4"}

func train(data, out string, more ...string) []string {
	return append(append([]string{"train", "--data", data, "--out", out}, quick...), more...)
}

func drawing(seed int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, 16, 12))
	for p := range 16 * 12 {
		img.Set(p%16, p/16, color.RGBA{uint8(p*3 + seed*40), uint8(p ^ seed), uint8(seed * 17), 255})
	}
	return img
}

func pngBytes(seed int) []byte {
	var b bytes.Buffer
	png.Encode(&b, drawing(seed))
	return b.Bytes()
}

func jpegBytes(seed int) []byte {
	var b bytes.Buffer
	jpeg.Encode(&b, drawing(seed), nil)
	return b.Bytes()
}

// hugePNG is a PNG whose header promises 60000 x 60000 pixels.
func hugePNG() []byte {
	raw := pngBytes(0)
	binary.BigEndian.PutUint32(raw[16:], 60000)
	binary.BigEndian.PutUint32(raw[20:], 60000)
	binary.BigEndian.PutUint32(raw[29:], crc32.ChecksumIEEE(raw[12:29]))
	return raw
}

// folder writes files into a new folder; names may have slashes.
func folder(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// good is a folder of two classes with some images each.
func good(t *testing.T, more map[string][]byte) string {
	files := map[string][]byte{}
	for i := range 5 {
		files["cat/"+strconv.Itoa(i)+".png"] = pngBytes(i)
		files["dog/"+strconv.Itoa(i)+".jpg"] = jpegBytes(i + 10)
	}
	for name, raw := range more {
		files[name] = raw
	}
	return folder(t, files)
}

// oneSentence holds an error to what users are promised: one line, from moco, and no stack trace.
func oneSentence(t *testing.T, stderr string) {
	t.Helper()
	var said []string
	for _, line := range strings.Split(strings.TrimSpace(stderr), "\n") {
		if strings.HasPrefix(line, "moco: ") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || strings.Contains(stderr, "goroutine ") || strings.Contains(stderr, "panic") || strings.Contains(stderr, "this is a bug") {
		t.Errorf("standard error should hold one sentence from moco, not\n%s", stderr)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	cut := func(raw []byte) []byte { return raw[:len(raw)*2/3] }
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for i := range 6 {
		raw := jpegBytes(i)
		w.WriteHeader(&tar.Header{Name: "a/" + strconv.Itoa(i) + ".jpg", Mode: 0o644, Size: int64(len(raw))})
		w.Write(raw)
	}
	middle := archive.Len() - len(jpegBytes(5))/2 // of the last image
	w.Close()
	short := filepath.Join(t.TempDir(), "short.tar")
	if err := os.WriteFile(short, archive.Bytes()[:middle], 0o644); err != nil {
		t.Fatal(err)
	}
	images := good(t, nil)
	model := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(images, model, "--steps", "1")...); code != 0 {
		t.Fatalf("training does not work at all: %s", stderr)
	}
	notes := folder(t, map[string][]byte{"a.txt": []byte("hello"), "b/c.md": []byte("# hi")})
	out := func() string { return filepath.Join(t.TempDir(), "run") }
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"an empty folder":            {train(t.TempDir(), out()), 1, "holds no files"},
		"a missing path":             {train(filepath.Join(t.TempDir(), "nothing"), out()), 1, "nothing"},
		"a folder of text files":     {train(notes, out()), 1, "is an image"},
		"only broken images":         {train(folder(t, map[string][]byte{"a.png": nil, "b.jpg": cut(jpegBytes(1)), "c.png": hugePNG()}), out(), "--batch", "2"), 1, ""},
		"many broken images":         {train(good(t, map[string][]byte{"cat/x.png": nil, "dog/y.jpg": cut(jpegBytes(1))}), out()), 1, "max_bad"},
		"a tar cut short":            {train(short, out()), 1, "short.tar"},
		"an unknown recipe key":      {train(images, out(), "--set", "queu_size=7"), 2, "queu_size"},
		"K of 0":                     {train(images, out(), "--set", "queue=0"), 2, "queue"},
		"a negative temperature":     {train(images, out(), "--set", "t=-0.2"), 2, "temperature"},
		"a batch beyond the data":    {train(images, out(), "--batch", "11"), 2, "more than the 10 images"},
		"frames without videos":      {train(notes, out(), "--set", "positives=frames"), 1, "holds no videos"},
		"frames of the built-in set": {train("builtin:train", out(), "--set", "positives=frames"), 1, "holds no videos"},
		"videos of one frame":        {train(folder(t, map[string][]byte{"a/1.png": pngBytes(1), "b/1.png": pngBytes(2), "b/2.png": pngBytes(3)}), out(), "--set", "positives=frames", "--batch", "2"), 2, `the video "a" has a single frame`},
		"pairs without a list":       {train(images, out(), "--set", "positives=pairs"), 2, "--pairs"},
		"a list without pairs":       {train(images, out(), "--pairs", "x.csv"), 2, "positives=pairs"},
		"a list that is missing":     {train(images, out(), "--set", "positives=pairs", "--pairs", "nowhere.csv"), 1, "nowhere.csv"},
		"a rate without frames":      {train(images, out(), "--fps", "3"), 2, "positives=frames"},
		"an unknown recipe":          {train(images, out(), "--recipe", "cifra"), 2, "cifra"},
		"an unknown precision":       {train(images, out(), "--precision", "fp16"), 2, "must be fp32 or bf16"},
		"an unknown flag":            {[]string{"train", "--dta", "x"}, 2, "--dta"},
		"an unknown command":         {[]string{"trian"}, 2, "trian"},
		"a missing flag":             {[]string{"train"}, 2, "data"},
		"a number that is none":      {train(images, out(), "--epochs", "many"), 2, "many"},
		"half a monitor":             {train(images, out(), "--monitor-train", images), 2, "monitor-test"},
		"a folder in use":            {train(images, model), 1, "--resume"},
		"resuming nothing":           {train(images, t.TempDir(), "--resume", "--recipe", "cifar"), 1, "no checkpoint"},
		"a model that is none":       {[]string{"eval", "knn", "--model", images, "--train", images, "--test", images}, 1, "encoder.safetensors"},
		"a model of text":            {[]string{"eval", "knn", "--model", filepath.Join(notes, "a.txt"), "--train", images, "--test", images}, 1, "a.txt"},
		"a rate below 0":             {[]string{"eval", "linear", "--model", model, "--train", images, "--test", images, "--rates", "0.1,-1"}, 2, "positive learning rates"},
		"kNN of k 0":                 {[]string{"eval", "knn", "--model", model, "--train", images, "--test", images, "--k", "3,0"}, 2, "k of at least 1"},
		"kNN of an unknown layer":    {[]string{"eval", "knn", "--model", model, "--train", images, "--test", images, "--features", "head,neck"}, 2, "neck"},
		"kNN without features":       {[]string{"eval", "knn", "--train", images, "--test", images}, 2, "model"},
		"half the vectors":           {[]string{"eval", "knn", "--train", images, "--test", images, "--train-vectors", "x.npy"}, 2, "test-vectors"},
		"linear on two layers":       {[]string{"eval", "linear", "--model", model, "--train", images, "--test", images, "--features", "head,backbone"}, 2, "must be head or backbone"},
		"views of pixels":            {[]string{"eval", "linear", "--model", "pixels", "--train", images, "--test", images, "--views"}, 2, "need an encoder"},
		"a folder for the probe":     {[]string{"eval", "linear", "--model", model, "--train", images, "--test", images, "--save", "no/where/x.safetensors"}, 1, "there is no folder"},
		"unlabelled test images":     {[]string{"eval", "knn", "--model", model, "--train", images, "--test", folder(t, map[string][]byte{"a.png": pngBytes(1)})}, 1, "label"},
		"info on a missing file":     {[]string{"info", "nowhere"}, 1, "nowhere"},
		"info on a folder of images": {[]string{"info", images}, 1, "log.jsonl"},
		"data info on nothing":       {[]string{"data", "info", t.TempDir()}, 1, "holds no files"},
		"bench of nothing":           {[]string{"bench", "--steps", "0"}, 2, "--steps"},
		"a monitor of no epochs":     {train(images, filepath.Join(t.TempDir(), "run"), "--monitor-every", "0"), 2, "--monitor-every"},
		"a demo over other files":    {[]string{"demo", "--out", images}, 1, "not empty"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := command(c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(strings.ToLower(stderr), c.want) {
				t.Errorf("standard error should say %q:\n%s", c.want, stderr)
			}
			oneSentence(t, stderr)
			if strings.Contains(stdout, "Usage:") || strings.Contains(stderr, "Usage:") {
				t.Error("an error should not print the whole help")
			}
		})
	}
}

// TestBrokenImagesAreSkipped: a few unreadable images among many are counted and named, and
// training goes on.
func TestBrokenImagesAreSkipped(t *testing.T) {
	t.Parallel()
	dir := good(t, map[string][]byte{
		"cat/empty.png": nil, "cat/huge.png": hugePNG(), "dog/cut.jpg": jpegBytes(3)[:300], "dog/corrupt.png": bytes.Replace(pngBytes(4), []byte("IDAT"), []byte("IDOT"), 1),
	})
	run := filepath.Join(t.TempDir(), "run")
	code, stdout, stderr := command(train(dir, run, "--set", "max_bad=0.5", "--epochs", "4", "--json")...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, name := range []string{"empty.png", "huge.png", "cut.jpg", "corrupt.png"} {
		if n := strings.Count(stderr, name); n < 1 {
			t.Errorf("%s is not named in the log:\n%s", name, stderr)
		}
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var done struct {
		Event     string
		BadImages int `json:"bad_images"`
		Step      int
	}
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &done); err != nil {
			t.Fatalf("line %d of --json is no JSON: %s", i, line)
		}
	}
	if done.Event != "done" || done.BadImages != 4 || done.Step != 12 {
		t.Errorf("the last line is %s, want done with 4 bad images after 12 steps", lines[len(lines)-1])
	}
}

// TestPositives trains on pairs and on videos, and shows them.
func TestPositives(t *testing.T) {
	t.Parallel()
	list := "path,group\n"
	for i := range 5 {
		list += fmt.Sprintf("cat/%d.png,g%d\n../images/dog/%d.jpg,g%d\n", i, i, i, i)
	}
	dir := folder(t, map[string][]byte{"lists/pairs.csv": []byte(list)})
	images := filepath.Join(dir, "images")
	if err := os.Rename(good(t, nil), images); err != nil {
		t.Fatal(err)
	}
	pairs, run := filepath.Join(dir, "lists", "pairs.csv"), filepath.Join(dir, "run")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"data", "info", images, "--pairs", pairs}, "5 groups of 2 images"},
		{train(images, run, "--set", "positives=pairs", "--pairs", pairs, "--steps", "1"), "10 images"},
		{[]string{"train", "--data", images, "--pairs", pairs, "--out", run, "--resume", "--steps", "2"}, "Going on after step 1"},
		{[]string{"data", "info", images, "--frames"}, "2 videos of 5 images"},
		{train(images, filepath.Join(dir, "frames"), "--set", "positives=frames", "--set", "max_gap=2", "--steps", "2"), "10 images"},
	} {
		if code, stdout, stderr := command(c.args...); code != 0 || !strings.Contains(stdout, c.want) {
			t.Errorf("moco %v: exit code %d, want %q in\n%s%s", c.args, code, c.want, stdout, stderr)
		}
	}
	raw, err := os.ReadFile(filepath.Join(run, "config.yaml"))
	if err != nil || !strings.Contains(string(raw), fmt.Sprintf(" --pairs %q\n", pairs)) {
		t.Errorf("config.yaml does not say where the pairs came from (%v):\n%s", err, raw)
	}
}

// TestUse goes through the commands as the README does: train, look, evaluate.
func TestUse(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := filepath.Join(t.TempDir(), "run")
	code, stdout, stderr := command(train(images, run, "--epochs", "2", "--monitor-train", images, "--monitor-test", images)...)
	if code != 0 || !strings.Contains(stdout, "kNN accuracy after epoch 2") || !strings.Contains(stdout, "Loss at chance: 2.833") {
		t.Fatalf("train: exit code %d\n%s%s", code, stdout, stderr)
	}
	partly := filepath.Join(t.TempDir(), "partly")
	if _, stdout, stderr := command(train(images, partly, "--epochs", "1.5", "--monitor-train", images, "--monitor-test", images)...); !strings.Contains(stdout, "kNN accuracy after step 3:") {
		t.Errorf("train: a run that ends within an epoch does not say so at its monitor:\n%s%s", stdout, stderr)
	}
	// Nothing tells yet how fast it goes.
	if !regexp.MustCompile(`(?m)^step 1 of 4  epoch 1  loss \d\.\d+  accuracy \d+%$`).MatchString(stderr) {
		t.Errorf("train: the first step should be told with its loss and accuracy alone:\n%s", stderr)
	}
	file := func(names ...string) string { return filepath.Join(append([]string{run}, names...)...) }
	sets := []string{"--train", images, "--test", images}
	for _, c := range []struct {
		args []string
		want string // what it says, with its figures
		key  string // of the result's JSON
	}{
		{append([]string{"eval", "knn", "--model", run}, sets...),
			`kNN accuracy \d+\.\d\d% on 10 images \(bank of 10, head features, k 10, t 0\.1\)\n\nRows are .*\n +cat( +\d+){2}\n +dog( +\d+){2}\n`, "knn_top1"},
		{append([]string{"eval", "knn", "--model", file("encoder.safetensors"), "--features", "backbone"}, sets...),
			`backbone features, k 10`, "confusion"},
		{append([]string{"eval", "linear", "--model", run, "--epochs", "2", "--held-out", "0.4"}, sets...),
			`Linear accuracy \d+\.\d\d% on 10 images \(backbone features of plain views of 10 images; rate [\d.]+, [^\n]*\n\n +rate +held out +test\n( +[\d.]+ +[\d.]+% +[\d.]+%\n){10}$`, "linear_top1"},
		{append([]string{"eval", "knn", "--model", run, "--features", "head,backbone", "--k", "1,3", "--t", "0.07,0.1"}, sets...),
			`features +k +t +top 1 +top 5 *\n( +(head|backbone) +[13] +0\.\d+ +[\d.]+% +- *\*?\n){8}`, "results"},
		{append([]string{"eval", "linear", "--model", run, "--epochs", "2", "--held-out", "0.4", "--views", "--save", file("probe.safetensors")}, sets...),
			`of random views of 10 images[^$]*The classifier is in .*probe\.safetensors`, "saved"},
		{[]string{"info", file("probe.safetensors")}, `: 2 tensors, 0\.00 million values, SHA-256 [0-9a-f]{64}\n  classes: \["cat","dog"\]`, "metadata"},
		{[]string{"info", run}, `step 4, epoch 2, loss \d\.\d{4}\n  kNN accuracy \d+\.\d\d%\n.*74 tensors`, "run"},
		{[]string{"info", file("encoder.safetensors"), "--tensors"}, `  conv1\.weight +float32 +\[4 3 3 3\]\n`, "list"},
		{[]string{"info", file("checkpoints", "step-4.safetensors")}, `  step: 4\n`, "parameters"},
		{[]string{"data", "info", images, "--decode"}, `10 images \(\d+ bytes\)\n  2 classes:\n    cat +5\n    dog +5\n  of 10 images looked at: 16x12 pixels`, "fingerprint"},
		{append([]string{"bench", "--steps", "1"}, quick...), `training step: [\d.e+]+ images/s[^$]*\n +Conv[^\n]* +\d+ +\d+\.\d\d +[\d.]+%`, "kinds"},
		{[]string{"train", "--data", images, "--out", run, "--resume"}, `Going on after step 4\.`, "sha256"},
	} {
		code, stdout, stderr := command(c.args...)
		if code != 0 || !regexp.MustCompile(c.want).MatchString(stdout) {
			t.Errorf("moco %v: exit code %d, it should say %s\n%s%s", c.args, code, c.want, stdout, stderr)
		}
		code, stdout, stderr = command(append(c.args, "--json")...)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		var last map[string]any
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); code != 0 || err != nil || last["event"] != "done" || last[c.key] == nil {
			t.Errorf("moco %v --json: exit code %d, last line %s, want done with %q\n%s", c.args, code, lines[len(lines)-1], c.key, stderr)
		}
	}
	for _, args := range [][]string{{"--help"}, {"train", "--help"}, {"completion", "bash"}} {
		if code, stdout, stderr := command(args...); code != 0 || len(stdout) < 1000 {
			t.Errorf("moco %v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// TestCompare: a path that holds both parts gives each flag its own; a failing run is a row; the
// last line is done.
func TestCompare(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "study.yaml")
	text := "title: Lengths\nset: [encoder.width=0.0625, encoder.dim=8, bn_splits=1, views.size=8, batch=4, epochs=1]\nx: {label: K, axis: log}\nseries: [{name: queue, vary: queue, values: [4, 8]}, {name: bank, set: [dictionary=bank], vary: queue, values: [4, 90]}]\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	divided := map[string][]byte{}
	for i := range 8 {
		divided["train/"+[]string{"cat", "dog"}[i%2]+"/"+strconv.Itoa(i)+".png"] = pngBytes(i)
	}
	divided["test/cat/a.png"], divided["test/dog/b.png"] = pngBytes(20), pngBytes(21)
	images, out := folder(t, divided), filepath.Join(t.TempDir(), "study")
	args := []string{"compare", "--study", file, "--data", images, "--monitor-train", images, "--monitor-test", images, "--out", out}
	code, stdout, stderr := command(args...)
	if code != 0 || !strings.Contains(stdout, "| bank | 90 | failed |") || !strings.Contains(stdout, "Best first: ") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	raw, err := os.ReadFile(filepath.Join(out, "results.csv"))
	if err != nil || strings.Count(string(raw), "\n") != 5 {
		t.Errorf("results.csv is %s, %v", raw, err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n")[1:] { // of two test images 0, 1 or 2 are right; of eight others are likely
		if accuracy := strings.Split(line, ",")[4]; accuracy != "" && accuracy != "0" && accuracy != "50" && accuracy != "100" {
			t.Errorf("an accuracy of %s is none of two test images", accuracy)
		}
	}
	code, stdout, stderr = command(append(args, "--json")...)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 0 || !strings.Contains(lines[len(lines)-1], `"event":"done"`) || strings.Count(stdout, `"event":"run_done"`) != 1 {
		t.Errorf("the second time, with only the failed run to do: exit code %d\n%s%s", code, stdout, stderr)
	}
	for name, more := range map[string][]string{"mechanisms, momentum": {"--study", "mechanism"}, "--seeds": {"--seeds", "0"}, "itself sets queue": {"--set", "queue=3"}, "class folders": {"--monitor-test", folder(t, map[string][]byte{"a.png": pngBytes(1)})}} {
		code, _, stderr := command(append(args, more...)...)
		if code == 0 || !strings.Contains(stderr, name) {
			t.Errorf("%v: exit code %d, %s", more, code, stderr)
		}
		oneSentence(t, stderr)
	}
}
