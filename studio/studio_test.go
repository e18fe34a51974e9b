package studio

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"moco/data"
	"moco/engine/cpu"
	"moco/labels"
	"moco/vectors"
)

// pictures writes n small pictures of a folder, with three that cannot be read at its end.
func pictures(t testing.TB, dir string, n, broken int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m := image.NewRGBA(image.Rect(0, 0, 40, 30))
		for p := range m.Pix {
			m.Pix[p] = uint8(i*37 + p*(i%3))
		}
		m.Set(1, 1, color.White)
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, nil); err != nil {
			t.Fatal(err)
		}
		content := b.Bytes()
		if i >= n-broken {
			content = content[:40]
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("p%03d.jpg", i)), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// vectorsOf writes features of a folder's pictures: those of class i%2 point one way.
func vectorsOf(t testing.TB, path string, n, dim int) {
	t.Helper()
	err := vectors.Save(path, vectors.Head{Rows: n, Dim: dim}, func(yield func(vectors.Row, error) bool) {
		for i := range n {
			v := make([]float32, dim)
			v[i%2], v[2+i%(dim-2)] = 1, 0.5
			if !yield(vectors.Row{Path: fmt.Sprintf("p%03d.jpg", i), Vector: v}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// client is a program that asks a studio.
type client struct {
	t      testing.TB
	s      *Studio
	base   string
	stop   func()
	labels string
}

// setup says what a test's studio has.
type setup struct {
	dir     string // "": a new one
	n       int
	broken  int
	vectors bool
	run     string
}

// serve opens a studio on a folder of pictures, and answers.
func serve(t testing.TB, with setup) *client {
	t.Helper()
	if with.dir == "" {
		with.dir = t.TempDir()
	}
	photos := filepath.Join(with.dir, "photos")
	if _, err := os.Stat(photos); err != nil {
		pictures(t, photos, with.n, with.broken)
	}
	o := Options{Name: "photos", Labels: filepath.Join(with.dir, "l.csv"), Folder: filepath.Join(with.dir, "l.studio"),
		Advice: "train one", Run: with.run}
	if with.vectors {
		o.Vectors = filepath.Join(with.dir, "v.npy")
		if _, err := os.Stat(o.Vectors); err != nil {
			vectorsOf(t, o.Vectors, with.n, 8)
		}
	}
	var err error
	if o.Data, err = data.Open(t.Context(), photos, data.Options{}); err != nil {
		t.Fatal(err)
	}
	if o.Engine, err = cpu.New(cpu.Options{Workers: 1}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	c := &client{t: t, s: s, base: "http://" + l.Addr().String(), labels: o.Labels}
	stopped := false
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		o.Data.Close()
	}
	t.Cleanup(c.stop)
	return c
}

// ask sends a request as the page does.
func (c *client) ask(method, path string, body any) (int, []byte, http.Header) {
	c.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	q, err := http.NewRequest(method, c.base+path, r)
	if err != nil {
		c.t.Fatal(err)
	}
	q.Header.Set(TokenHeader, c.s.Token())
	q.Header.Set("Origin", c.base)
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		c.t.Fatal(err)
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a.StatusCode, raw, a.Header
}

// get reads an answer of JSON.
func get[T any](c *client, path string) (v T) {
	c.t.Helper()
	status, raw, _ := c.ask("GET", path, nil)
	return decoded[T](c, path, status, raw)
}

// post sends JSON and reads the answer.
func post[T any](c *client, path string, body any) (v T) {
	c.t.Helper()
	status, raw, _ := c.ask("POST", path, body)
	return decoded[T](c, path, status, raw)
}

func decoded[T any](c *client, path string, status int, raw []byte) (v T) {
	c.t.Helper()
	if status != http.StatusOK {
		c.t.Fatalf("%s gives %d: %s", path, status, raw)
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		c.t.Fatalf("%s: %v in %s", path, err, raw)
	}
	return v
}

// until asks again and again until a condition holds.
func (c *client) until(what string, holds func() bool) {
	c.t.Helper()
	for range 600 {
		if holds() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	c.t.Fatalf("%s does not come", what)
}

// worked waits until all parts of the work are done.
func (c *client) worked() {
	c.until("the end of the work", func() bool {
		for name, p := range get[state](c, "/api/state").Work {
			if p.State == "failed" {
				c.t.Fatalf("%s: %s", name, p.Error)
			}
			if p.State != "done" {
				return false
			}
		}
		return true
	})
}

// TestLook: what a page without a model shows.
func TestLook(t *testing.T) {
	t.Parallel()
	c := serve(t, setup{n: 12, broken: 2})
	s := get[state](c, "/api/state")
	if s.Count != 12 || s.Name != "photos" || s.Vectors || s.Model != nil || s.Advice != "train one" || s.LabelsFile != "l.csv" {
		t.Errorf("the state is %+v", s)
	}
	names := get[map[string][]string](c, "/api/names?from=3&count=2")["names"]
	if !slices.Equal(names, []string{"p003.jpg", "p004.jpg"}) {
		t.Errorf("the names are %v", names)
	}
	for _, path := range []string{"/thumb/3?s=64", "/thumb/3", "/thumb/3?s=256", "/picture/3", "/thumb/3?s=64"} {
		status, raw, h := c.ask("GET", path, nil)
		m, err := jpeg.DecodeConfig(bytes.NewReader(raw))
		if status != 200 || h.Get("Content-Type") != "image/jpeg" || err != nil || m.Width != 40 || m.Height != 30 || h.Get("X-Broken") != "" {
			t.Errorf("%s gives %d, %+v (%v)", path, status, m, err)
		}
	}
	status, raw, h := c.ask("GET", "/thumb/11?s=64", nil)
	if _, err := jpeg.DecodeConfig(bytes.NewReader(raw)); status != 200 || err != nil || h.Get("X-Broken") == "" {
		t.Errorf("a broken picture gives %d (%v), %v", status, err, h)
	}
	f := get[facts](c, "/api/picture/2")
	if f.Name != "p002.jpg" || f.Width != 40 || f.Bytes == 0 || f.Cluster != -1 || f.Confidence != nil {
		t.Errorf("the facts are %+v", f)
	}
	if s = get[state](c, "/api/state"); s.Unreadable != 1 {
		t.Errorf("%d pictures are known to be unreadable", s.Unreadable)
	}
	if got := post[found](c, "/api/search", map[string]any{"text": "P00"}); len(got.Images) != 10 {
		t.Errorf("the search by name finds %v", got.Images)
	}
	if next := get[classifierAnswer](c, "/api/classifier").Next; len(next) != 12 {
		t.Errorf("without features %v are to be labelled next", next)
	}
}

// TestLabelAndUndo: what is labelled stands in the file at once, is undone and done again, and is
// there after the next start.
func TestLabelAndUndo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := serve(t, setup{dir: dir, n: 6})
	a := post[tally](c, "/api/label", map[string]any{"images": []int{1, 2, 2}, "label": " cat "})
	if a.Labelled != 2 || a.Undo != 1 || len(a.Classes) != 1 || a.Classes[0] != (classCount{"cat", 2}) {
		t.Fatalf("the answer is %+v", a)
	}
	inFile := func() (text string) {
		rows, err := labels.Read(c.labels)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(rows, func(a, b labels.Row) int { return strings.Compare(a.Path, b.Path) })
		for _, r := range rows {
			text += fmt.Sprintf("%.4s=%s%s ", r.Path, r.Label, r.Decision)
		}
		return text
	}
	post[tally](c, "/api/label", map[string]any{"images": []int{2, 3}, "label": "dog"})
	post[tally](c, "/api/decide", map[string]any{"images": []int{3, 4}, "decision": "drop"})
	post[tally](c, "/api/class", map[string]any{"name": "cat", "to": "lynx"})
	steps := []string{"", "p001=cat p002=cat ", "p001=cat p002=dog p003=dog ", "p001=cat p002=dog p003=dogdrop p004=drop ",
		"p001=lynx p002=dog p003=dogdrop p004=drop "}
	type back struct {
		tally
		Images []int
	}
	for k := len(steps) - 1; k > 0; k-- {
		if got := inFile(); got != steps[k] {
			t.Fatalf("after step %d the file has %q, want %q", k, got, steps[k])
		}
		if a := post[back](c, "/api/undo", struct{}{}); a.Undo != k-1 || len(a.Images) == 0 {
			t.Fatalf("undo of step %d: %+v", k, a)
		}
	}
	if status, raw, _ := c.ask("POST", "/api/undo", struct{}{}); status != 409 || !bytes.Contains(raw, []byte("nothing")) {
		t.Errorf("undo of nothing gives %d: %s", status, raw)
	}
	for k := range len(steps) - 1 {
		if got := inFile(); got != steps[k] {
			t.Fatalf("before redo %d the file has %q, want %q", k, got, steps[k])
		}
		post[back](c, "/api/redo", struct{}{})
	}
	c.stop()
	c = serve(t, setup{dir: dir, n: 6})
	if got := inFile(); got != steps[4] {
		t.Errorf("after a new start the file has %q", got)
	}
	if f := get[facts](c, "/api/picture/3"); f.Label != "dog" || f.Decision != "drop" {
		t.Errorf("after a new start: %+v", f)
	}
}

// TestTwoStudios: each of two studios on one file takes in what the other writes, and undoes only
// what nobody has changed since.
func TestTwoStudios(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := serve(t, setup{dir: dir, n: 6}), serve(t, setup{dir: dir, n: 6})
	before := get[state](b, "/api/state").Version
	post[tally](a, "/api/label", map[string]any{"images": []int{0, 1}, "label": "cat"})
	var seen changes
	b.until("the other's label", func() bool {
		seen = get[changes](b, fmt.Sprintf("/api/changes?since=%d", before))
		return len(seen.Images) > 0
	})
	if !slices.Equal(seen.Images, []int32{0, 1}) || !slices.Equal(seen.Labels, []string{"cat", "cat"}) || seen.Labelled != 2 {
		t.Errorf("the other studio is told %+v", seen)
	}
	post[tally](b, "/api/label", map[string]any{"images": []int{1}, "label": "dog"})
	post[tally](a, "/api/undo", struct{}{})
	rows, err := labels.Read(a.labels)
	if err != nil || !slices.Equal(rows, []labels.Row{{Path: "p001.jpg", Label: "dog"}}) {
		t.Errorf("after one undid and the other relabelled the file has %v (%v)", rows, err)
	}
	if all := get[changes](a, "/api/changes?since=5"); len(all.Images) != 6 {
		t.Errorf("since long ago %d pictures have changed, want all", len(all.Images))
	}
}

// floats reads an answer of numbers.
func (c *client) floats(path string) []float32 {
	c.t.Helper()
	status, raw, _ := c.ask("GET", path, nil)
	if status != 200 {
		c.t.Fatalf("%s gives %d: %s", path, status, raw)
	}
	v := make([]float32, len(raw)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return v
}

// TestWork: with features there are a map, clusters, outliers, queues, and a classifier that
// follows; and a second start has all of it from the disk.
func TestWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const n = 60
	c := serve(t, setup{dir: dir, n: n, vectors: true})
	c.worked()
	places := c.floats("/api/layout")
	if len(places) != 2*n || slices.ContainsFunc(places, func(v float32) bool { return !(v >= 0 && v <= 1) }) {
		t.Errorf("the map is %v", places)
	}
	if v := c.floats("/api/column/outlier"); len(v) != n || v[0] < 0 {
		t.Errorf("the outliers are %v", v)
	}
	for i := range 12 {
		post[tally](c, "/api/label", map[string]any{"images": []int{i}, "label": []string{"even", "odd"}[i%2]})
	}
	var a classifierAnswer
	c.until("the classifier", func() bool {
		a = get[classifierAnswer](c, "/api/classifier")
		return a.Ready && a.Version == get[state](c, "/api/state").Version
	})
	if a.Accuracy < 0.99 || len(a.Next) == 0 || slices.Contains(a.Next, 3) || !slices.Equal(a.Classes, []string{"even", "odd"}) {
		t.Errorf("the classifier says %+v", a)
	}
	status, raw, h := c.ask("GET", "/api/column/prediction", nil)
	if status != 200 || h.Get("X-Kind") != "category" || h.Get("X-Categories") != "%5B%22even%22%2C%22odd%22%5D" {
		t.Fatalf("the predictions: %d, %v", status, h)
	}
	for i := range n {
		if got := int(int32(binary.LittleEndian.Uint32(raw[4*i:]))); got != i%2 {
			t.Errorf("picture %d is taken for class %d", i, got)
		}
	}
	hits := post[found](c, "/api/search", map[string]any{"like": []int{4}, "unlike": []int{5}, "limit": 7})
	if len(hits.Images) != 7 || slices.Contains(hits.Images, 4) || slices.ContainsFunc(hits.Images, func(i int) bool { return i%2 != 0 }) {
		t.Errorf("more like 4 and less like 5 are %v", hits.Images)
	}
	if got := post[tally](c, "/api/accept", map[string]any{"images": []int{20, 21}}); got.Labelled != 14 {
		t.Errorf("accepting gives %+v", got)
	}
	post[tally](c, "/api/label", map[string]any{"images": []int{1}, "label": "even"})
	if d := get[doubtful](c, "/api/clean/doubtful"); len(d.Images) == 0 || d.Images[0] != 1 || d.Suggested[0] != "odd" {
		t.Errorf("the doubtful labels are %+v", d)
	}
	if o := get[found](c, "/api/clean/outliers"); len(o.Images) != n {
		t.Errorf("the outliers are %+v", o)
	}
	c.stop()
	files, err := filepath.Glob(filepath.Join(dir, "l.studio", "*.moco"))
	if err != nil || len(files) < 4 {
		t.Fatalf("only %v are kept (%v)", files, err)
	}
	c = serve(t, setup{dir: dir, n: n, vectors: true})
	c.worked()
	if again := c.floats("/api/layout"); !slices.Equal(again, places) {
		t.Error("after a second start the map is another one")
	}
}

// TestExport: what is said of the pictures as files.
func TestExport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := serve(t, setup{dir: dir, n: 20, vectors: true})
	post[tally](c, "/api/label", map[string]any{"images": []int{0, 2}, "label": "even/a"})
	post[tally](c, "/api/label", map[string]any{"images": []int{1}, "label": "odd"})
	post[tally](c, "/api/decide", map[string]any{"images": []int{7}, "decision": "drop"})
	c.until("the classifier", func() bool { return get[classifierAnswer](c, "/api/classifier").Ready })
	for name, want := range map[string]string{
		"labels.csv":    "path,label\np000.jpg,even/a\np001.jpg,odd\np002.jpg,even/a\n",
		"pairs.csv":     "path,group\np000.jpg,even/a\np002.jpg,even/a\n",
		"decisions.csv": "path,decision\np007.jpg,drop\n",
		"drop.txt":      "p007.jpg\n",
		"keep.txt":      "",
	} {
		if status, raw, h := c.ask("GET", "/api/export/"+name, nil); status != 200 || string(raw) != want ||
			!strings.Contains(h.Get("Content-Disposition"), name) && want != "" {
			t.Errorf("%s gives %d, %q, %v", name, status, raw, h)
		}
	}
	_, raw, _ := c.ask("GET", "/api/export/predictions.csv", nil)
	if lines := strings.Split(strings.TrimSpace(string(raw)), "\n"); len(lines) != 18 || lines[0] != "path,label,confidence,second" ||
		!strings.HasPrefix(lines[1], "p003.jpg,odd,0.") || !strings.HasSuffix(lines[1], ",even/a") {
		t.Errorf("the predictions are %d lines:\n%s", len(lines), raw)
	}
	for _, name := range []string{"labels.parquet", "predictions.parquet"} {
		if status, raw, _ := c.ask("GET", "/api/export/"+name, nil); status != 200 || !bytes.HasPrefix(raw, []byte("PAR1")) {
			t.Errorf("%s gives %d", name, status)
		}
	}
	for range 2 { // the second time it replaces its own
		links := post[map[string]any](c, "/api/export/links", map[string]string{"kind": "labels"})
		at, err := os.Readlink(filepath.Join(links["folder"].(string), "even_a", "p002.jpg"))
		if err != nil || at != filepath.Join(dir, "photos", "p002.jpg") || links["links"] != 3.0 {
			t.Errorf("the link leads to %q (%v), %v", at, err, links)
		}
	}
	theirs := filepath.Join(dir, "l.predictions")
	if err := os.MkdirAll(filepath.Join(theirs, "mine"), 0o777); err != nil {
		t.Fatal(err)
	}
	if status, raw, _ := c.ask("POST", "/api/export/links", map[string]string{"kind": "predictions"}); status != 409 {
		t.Errorf("links into somebody's folder give %d: %s", status, raw)
	}
}

// TestRandom: pictures that were labelled in the random order are told from those that were picked.
func TestRandom(t *testing.T) {
	t.Parallel()
	const n = 100
	s := &Studio{order: make([]int, n)}
	f := &features{row: make([]int32, n)}
	for i := range n {
		s.order[i], f.row[i] = n-1-i, int32(i)
	}
	f.row[95] = -1 // it cannot be read
	labels := make([]int, n)
	for i := range labels {
		labels[i] = -1
	}
	for i := 60; i < n; i++ {
		labels[i] = i % 3
	}
	labels[98], labels[70] = -1, -1 // nobody knew
	labels[10], labels[20] = 0, 0   // picked by a person
	got := s.random(f, labels)
	if len(got) != 40-3 || !got[60] || got[10] || got[98] {
		t.Errorf("%d rows were drawn at random: %v", len(got), got)
	}
}
