package cli

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// iconBytes is a PNG of a square sign in a colour on white, edge pixels a side.
func iconBytes(edge int, c color.Color, level png.CompressionLevel) []byte {
	img := image.NewRGBA(image.Rect(0, 0, edge, edge))
	for p := range edge * edge {
		x, y := p%edge*40/edge, p/edge*40/edge
		switch {
		case x > 5 && x < 20 && y > 5 && y < 30:
			img.Set(p%edge, p/edge, c)
		case x > 25 && x < 33 && y > 10 && y < 20:
			img.Set(p%edge, p/edge, color.Black)
		default:
			img.Set(p%edge, p/edge, color.White)
		}
	}
	var b bytes.Buffer
	(&png.Encoder{CompressionLevel: level}).Encode(&b, img)
	return b.Bytes()
}

var (
	crimson = color.RGBA{R: 200, G: 20, B: 40, A: 255}
	navy    = color.RGBA{R: 20, G: 30, B: 130, A: 255}
)

// dedupeGroup is what a test reads of an event.
type dedupeGroup struct {
	Best, Why, Reason string
	Extras            []string
	Weakest           float32
	Images            []struct {
		Image string
		Old   bool
	}
	Pairs []struct{ A, B string }
}

// groupsOf runs dedupe with --json and returns its groups.
func groupsOf(t *testing.T, args ...string) (groups []dedupeGroup, stderr string) {
	t.Helper()
	code, stdout, stderr := command(append([]string{"dedupe", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	for _, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
		if !strings.HasPrefix(line, `{"event":"group"`) {
			continue
		}
		var g dedupeGroup
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		groups = append(groups, g)
	}
	return groups, stderr
}

// TestDedupe: the best of each group and why, its weakest link, and the extras, in each form.
func TestDedupe(t *testing.T) {
	t.Parallel()
	images := folder(t, map[string][]byte{
		"a/small.png":  iconBytes(40, crimson, png.DefaultCompression),
		"a/large.png":  iconBytes(80, crimson, png.DefaultCompression),
		"b/packed.png": iconBytes(80, crimson, png.BestCompression),
		"b/loose.png":  iconBytes(80, crimson, png.NoCompression),
		"c/blue.png":   iconBytes(80, navy, png.DefaultCompression),
		"c/grey.png":   iconBytes(80, color.Gray{Y: 200}, png.DefaultCompression),
		"d/1.png":      pngBytes(3),
		"d/2.png":      pngBytes(3),
	})
	page := filepath.Join(t.TempDir(), "page.html")
	args := []string{"--model", "pixels", "--data", images}
	groups, _ := groupsOf(t, append(args, "--html", page)...)
	if len(groups) != 2 {
		t.Fatalf("there are %d groups, want two: %+v", len(groups), groups)
	}
	if g := groups[0]; g.Best != "b/loose.png" || g.Reason != "least compressed" ||
		!strings.HasPrefix(g.Why, "least compressed: ") || !slices.Equal(g.Extras, []string{"a/large.png", "a/small.png", "b/packed.png"}) ||
		g.Weakest < 0.95 || g.Weakest > 1 || len(g.Images) != 4 || len(g.Pairs) != 3 || g.Pairs[2].A != g.Best {
		t.Errorf("the icons' group is %+v", g)
	}
	if g := groups[1]; g.Best != "d/1.png" && g.Best != "d/2.png" || len(g.Extras) != 1 || g.Weakest != 1 {
		t.Errorf("the drawings' group is %+v", g)
	}
	html, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(html), "weakest link") || !strings.Contains(string(html), "Best: least compressed") {
		t.Errorf("the page (%d bytes, %v) lacks the weakest link or why a copy is the best", len(html), err)
	}
	_, stdout, _ := command(append([]string{"dedupe"}, args...)...)
	for _, want := range []string{"best", "(least compressed: ", "(weakest link)"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
	code, stdout, stderr := command(append([]string{"dedupe", "--print", "extras"}, args...)...)
	want := append(slices.Clone(groups[0].Extras), groups[1].Extras...)
	if lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n"); code != 0 || !slices.Equal(lines, want) {
		t.Errorf("exit code %d; printed is %q, want %q\n%s", code, lines, want, stderr)
	}
	none := folder(t, map[string][]byte{"1.png": pngBytes(1), "2.png": iconBytes(40, navy, png.DefaultCompression)})
	if code, stdout, stderr := command("dedupe", "--model", "pixels", "--data", none, "--print", "extras"); code != 0 || stdout != "" {
		t.Errorf("without extras: exit code %d, printed is %q\n%s", code, stdout, stderr)
	}
}

// TestDedupeNew: new images are compared with each other and with the vectors of earlier ones.
func TestDedupeNew(t *testing.T) {
	t.Parallel()
	large := iconBytes(80, crimson, png.DefaultCompression)
	old := good(t, map[string][]byte{"icon.png": iconBytes(40, crimson, png.DefaultCompression), "blue.png": iconBytes(40, navy, png.DefaultCompression)})
	added := folder(t, map[string][]byte{
		"x/icon.png": large, "x/same.png": iconBytes(80, crimson, png.BestSpeed), "drawing.png": pngBytes(2),
		"twin.png": pngBytes(50), "twins.png": pngBytes(50),
	})
	day := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range []string{"twin.png", "twins.png"} {
		if err := os.Chtimes(filepath.Join(added, name), day, day); err != nil {
			t.Fatal(err)
		}
	}
	run := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(old, run, "--steps", "1")...); code != 0 {
		t.Fatal(stderr)
	}
	for _, ending := range []string{".parquet", ".jsonl"} {
		file := filepath.Join(t.TempDir(), "old"+ending)
		if code, _, stderr := command("embed", "--model", run, "--data", old, "--out", file); code != 0 {
			t.Fatal(stderr)
		}
		args := []string{"--model", run, "--new", added, "--against", file}
		groups, stderr := groupsOf(t, append(args, "--data", old)...)
		if len(groups) != 3 || !strings.Contains(stderr, "B of memory") {
			t.Fatalf("there are %d groups, want three: %+v\n%s", len(groups), groups, stderr)
		}
		best := map[string]dedupeGroup{}
		for _, g := range groups {
			best[g.Best] = g
		}
		if g := best["icon.png"]; g.Reason != "already there" || !strings.Contains(g.Why, "smaller: 40 x 40, a new one 80 x 80") ||
			!slices.Equal(g.Extras, []string{"x/icon.png", "x/same.png"}) || !g.Images[len(g.Images)-1].Old || g.Images[0].Old {
			t.Errorf("the icons' group is %+v", g)
		}
		if g := best["cat/2.png"]; !slices.Equal(g.Extras, []string{"drawing.png"}) {
			t.Errorf("the drawings' group is %+v", g)
		}
		if g := best["twin.png"]; g.Reason != "first in order" || !slices.Equal(g.Extras, []string{"twins.png"}) {
			t.Errorf("the new twins' group is %+v", g)
		}
		page := filepath.Join(t.TempDir(), "page.html")
		code, stdout, stderr := command(append([]string{"dedupe", "--print", "extras", "--html", page}, args...)...)
		if lines := strings.Fields(stdout); code != 0 || !slices.Contains(lines, "drawing.png") || !slices.Contains(lines, "twins.png") ||
			slices.Contains(lines, "cat/2.png") || !strings.Contains(stderr, "Only features are compared") {
			t.Errorf("by features: exit code %d, printed is %q\n%s", code, lines, stderr)
		}
		for name, c := range map[string]struct {
			args []string
			code int
			want string
		}{
			"no --against":            {[]string{"--model", run, "--new", added}, 2, "go together"},
			"no --new":                {[]string{"--model", run, "--data", old, "--against", file}, 2, "go together"},
			"no --data":               {[]string{"--model", run}, 2, "data"},
			"text":                    {[]string{"--model", run, "--new", added, "--against", "x.txt"}, 2, ".parquet"},
			"a file that is not":      {[]string{"--model", run, "--new", added, "--against", "nowhere.npy"}, 1, "nowhere.npy"},
			"an overlay of nothing":   {append(args, "--by", "overlay"), 2, "--by overlay needs --data"},
			"another model":           {[]string{"--model", "pixels", "--size", "8", "--new", added, "--against", file}, 1, "makes 192"},
			"another layer":           {append(args, "--data", old, "--features", "head"), 1, "model makes"},
			"other earlier images":    {append(args, "--data", added), 1, "none of the rows"},
			"lines and objects":       {append(args, "--json", "--print", "extras"), 2, "one of them"},
			"something else to print": {append(args, "--print", "best"), 2, "must be one of extras"},
		} {
			code, _, stderr := command(append([]string{"dedupe"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.want) {
				t.Errorf("%s: exit code %d, want %d with %q:\n%s", name, code, c.code, c.want, stderr)
			}
			oneSentence(t, stderr)
		}
	}
}
