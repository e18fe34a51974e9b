package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// half is a picture whose left or right half is bright, with some noise: two classes.
func half(right bool, seed int) []byte {
	img := image.NewGray(image.Rect(0, 0, 16, 16))
	for i := range img.Pix {
		v := 60
		if (i%16 >= 8) == right {
			v = 180
		}
		seed = seed*1103515245 + 12345
		img.SetGray(i%16, i/16, color.Gray{Y: uint8(v + seed>>16&31)})
	}
	var b bytes.Buffer
	png.Encode(&b, img)
	return b.Bytes()
}

// sides makes class folders of labelled pictures, and a pile whose names tell what they are.
func sides(t *testing.T) (labelled, pile string) {
	t.Helper()
	known, rest := map[string][]byte{}, map[string][]byte{"broken.png": half(true, 1)[:60]}
	for i := range 12 {
		for _, side := range []string{"left", "right"} {
			known[side+"/"+strconv.Itoa(i)+".png"] = half(side == "right", i+1)
			rest["of "+side+"/"+side+strconv.Itoa(i)+".png"] = half(side == "right", 100+i)
		}
	}
	return folder(t, known), folder(t, rest)
}

// predictions reads a CSV of predictions.
func predictions(t *testing.T, path string) (rows []map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil || strings.Join(all[0], ",") != "path,label,confidence,second" {
		t.Fatalf("the predictions begin with %v, %v", all[0], err)
	}
	for _, line := range all[1:] {
		row := map[string]string{}
		for i, value := range line {
			row[all[0][i]] = value
		}
		rows = append(rows, row)
	}
	return rows
}

// lastEvents are the last two lines of JSON.
func lastEvents(t *testing.T, stdout string) (expected, done map[string]any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) < 2 {
		t.Fatalf("there are %d events: %s", len(lines), stdout)
	}
	for i, e := range []*map[string]any{&expected, &done} {
		if err := json.Unmarshal([]byte(lines[len(lines)-2+i]), e); err != nil {
			t.Fatal(err)
		}
	}
	return expected, done
}

// TestClassify sorts pictures by class folders, and by a list of some of them.
func TestClassify(t *testing.T) {
	t.Parallel()
	labelled, pile := sides(t)
	out, page := filepath.Join(t.TempDir(), "out.csv"), filepath.Join(t.TempDir(), "page.html")
	code, stdout, stderr := command("classify", "--model", "pixels", "--size", "8", "--train", labelled, "--data", pile,
		"--out", out, "--html", page, "--json")
	if code != 0 {
		t.Fatal(stderr)
	}
	rows := predictions(t, out)
	if len(rows) != 24 {
		t.Fatalf("there are %d rows, want one for each of 24 readable pictures", len(rows))
	}
	for _, r := range rows {
		if r["path"] != "of "+r["label"]+"/"+strings.TrimPrefix(r["path"], "of "+r["label"]+"/") || r["second"] == r["label"] {
			t.Errorf("a row is %v", r)
		}
	}
	expected, done := lastEvents(t, stdout)
	if expected["event"] != "expected" || expected["expected_accuracy"] != 1.0 || expected["per_class"] == nil {
		t.Errorf("expected is %v", expected)
	}
	if done["event"] != "done" || done["expected_accuracy"] != 1.0 || done["enough"] != true || done["predicted"] != 24.0 ||
		done["bad_images"] != 1.0 || done["images"] != 24.0 || done["held_out"] != 24.0 {
		t.Errorf("done is %v", done)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "Least certain first") ||
		!strings.Contains(string(html), "moco classify --") || strings.Count(string(html), "data:image/png") < 24 {
		t.Errorf("the page of %d bytes, %v, lacks its pictures or its command", len(html), err)
	}

	list := filepath.Join(t.TempDir(), "labels.csv")
	text := "path,label,decision\nof left/left0.png,right,keep\nof left/left0.png,left,\nof left/left1.png,left,drop\n" +
		"of right/right3.png,right,\nof right/right4.png,right,\nof right/right5.png,right,\nof right/right5.png,,\n"
	if err := os.WriteFile(list, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = command("classify", "--model", "pixels", "--labels", list, "--data", pile, "--out", out)
	if code != 0 || !strings.Contains(stderr, "too few to say") || !strings.Contains(stdout, "4 pictures that have a label are left out") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if rows := predictions(t, out); len(rows) != 20 {
		t.Errorf("with 4 of 24 labelled there are %d rows", len(rows))
	}
	code, _, stderr = command("classify", "--model", "pixels", "--labels", list, "--data", pile, "--out", out,
		"--with-labelled", "--min-confidence", "0.9999")
	if code != 0 {
		t.Fatal(stderr)
	}
	given, unknown := 0, 0
	for _, r := range predictions(t, out) {
		switch {
		case r["confidence"] == "1.0000" && r["second"] == "" && strings.HasPrefix(r["path"], "of "+r["label"]):
			given++
		case r["label"] == "unknown" && strings.HasPrefix(r["path"], "of "+r["second"]):
			unknown++
		}
	}
	if given != 4 || unknown != 20 {
		t.Errorf("%d rows have the label that they were given and %d are unknown; want 4 and 20", given, unknown)
	}
}

// TestClassifyLinks lays out links by class, anew, and never over something else.
func TestClassifyLinks(t *testing.T) {
	t.Parallel()
	labelled, pile := sides(t)
	dir := filepath.Join(t.TempDir(), "sorted")
	args := []string{"classify", "--model", "pixels", "--train", labelled, "--data", pile, "--links", dir}
	for range 2 {
		if code, _, stderr := command(args...); code != 0 {
			t.Fatal(stderr)
		}
		to, err := os.Readlink(filepath.Join(dir, "left", "of left", "left3.png"))
		if err != nil || to != filepath.Join(pile, "of left", "left3.png") {
			t.Errorf("a link leads to %s, %v", to, err)
		}
	}
	code, _, stderr := command(append(args, "--links", labelled)...)
	if code != 1 || !strings.Contains(stderr, "holds no links of moco's") {
		t.Errorf("a folder of pictures: exit code %d, %s", code, stderr)
	}
	code, _, stderr = command("classify", "--model", "pixels", "--train", labelled, "--data", "builtin:test?n=5", "--links", dir,
		"--out", filepath.Join(dir, "none.csv"))
	if code != 1 || !strings.Contains(stderr, "nothing can link to it") {
		t.Errorf("pictures that are no files: exit code %d, %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "none.csv")); err == nil {
		t.Error("a table is written before links are refused")
	}
}

// TestClassifyKept keeps a classifier, uses it again, exports it, and refuses it with another
// encoder.
func TestClassifyKept(t *testing.T) {
	t.Parallel()
	labelled, pile := sides(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for i, name := range []string{"run", "other"} {
		code, _, stderr := command(train(labelled, at(name), "--steps", "1", "--seed", strconv.Itoa(i))...)
		if code != 0 {
			t.Fatal(stderr)
		}
	}
	run := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := command(args...)
		if code != want {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		return stdout + stderr
	}
	run(0, "classify", "--model", at("run"), "--train", labelled, "--data", pile, "--out", at("a.csv"),
		"--save", at("kept.safetensors"), "--features", "head")
	run(0, "classify", "--model", at("run"), "--classifier", at("kept.safetensors"), "--data", pile, "--out", at("b.csv"))
	a, b := predictions(t, at("a.csv")), predictions(t, at("b.csv"))
	for i := range a {
		if a[i]["path"] != b[i]["path"] || a[i]["label"] != b[i]["label"] || a[i]["confidence"] != b[i]["confidence"] {
			t.Errorf("it was %v, and is %v with the classifier that was kept", a[i], b[i])
		}
	}
	run(0, "export", "--model", at("run"), "--probe", at("kept.safetensors"), "--out", at("c.onnx"))
	text := run(1, "classify", "--model", at("other"), "--classifier", at("kept.safetensors"), "--data", pile, "--out", at("c.csv"))
	if !strings.Contains(text, "another encoder") {
		t.Errorf("another encoder: %s", text)
	}
	run(2, "classify", "--model", at("run"), "--features", "backbone", "--classifier", at("kept.safetensors"), "--data", pile,
		"--out", at("c.csv"))

	run(0, "embed", "--model", at("run"), "--data", pile, "--out", at("pile.npy"), "--max-bad", "1")
	run(0, "embed", "--model", at("run"), "--data", labelled, "--out", at("labelled.npy"))
	run(0, "classify", "--vectors", at("pile.npy"), "--train-vectors", at("labelled.npy"), "--train", labelled, "--data", pile,
		"--out", at("d.parquet"))
	text = run(0, "classify", "--model", at("run"), "--vectors", at("pile.npy"), "--train-vectors", at("labelled.npy"),
		"--train", labelled, "--data", pile, "--save", at("e.safetensors"))
	if !strings.Contains(text, "The classifier is in") {
		t.Error(text)
	}
}

// TestClassifyUsage: what makes no sense is refused before anything is opened.
func TestClassifyUsage(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--out":                            {"--train", "x", "--out", "out.xlsx"},
		"[out html links save]":            {"--train", "x"},
		"[train labels classifier]":        {"--out", "x.csv"},
		"[classifier train]":               {"--train", "x", "--classifier", "y", "--out", "x.csv"},
		"--min-confidence":                 {"--train", "x", "--out", "x.csv", "--min-confidence", "1"},
		"go together":                      {"--train", "x", "--out", "x.csv", "--vectors", "x.npy"},
		"--train-vectors are the features": {"--labels", "x", "--out", "x.csv", "--train-vectors", "x.npy"},
		"--save and --classifier need":     {"--train", "x", "--save", "x.safetensors"},
		"there is no folder":               {"--train", "x", "--out", "nowhere/x.csv"},
	} {
		code, _, stderr := command(append([]string{"classify", "--model", "pixels", "--data", "x"}, args...)...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, want %q: %s", args, code, want, stderr)
		}
	}
}
