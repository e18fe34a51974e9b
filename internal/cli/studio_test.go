package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moco/studio"
)

// TestStudioParse: what the command line may say.
func TestStudioParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, want string }{
		{"--data d", ""},
		{"--data d --listen localhost --port 8080", ""},
		{"--data d --listen ::1", ""},
		{"--data d --listen 0.0.0.0 --token abcdefghijklmnop", ""},
		{"", "data"},
		{"--data d --listen 0.0.0.0", "--token"},
		{"--data d --listen 192.168.1.2 --token short", "16"},
		{"--data d --token not/a/token/at/all", "letters"},
		{"--data d --listen somewhere", "address"},
		{"--data d --port 70000", "--port"},
		{"--data d --labels l.txt", ".csv"},
		{"--data d --vectors v.txt", "--vectors"},
		{"--data d --model pixels", "pixels"},
		{"--data d --batch 0", "--batch"},
	} {
		err := parsed(&studioOptions{}, c.line)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q gives %v, want %q", c.line, err, c.want)
		}
	}
}

// TestLabelsBeside: where labels stand if nobody says so.
func TestLabelsBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	photos := filepath.Join(dir, "photos")
	if err := os.Mkdir(photos, 0o777); err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(photos, "1.jpg"), filepath.Join(photos, "2.jpg")
	for _, file := range []string{one, two} {
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"{" + one + "," + two + "}":            photos + ".labels.csv",
		"{" + strings.Repeat("a,", 400) + "b}": strings.Repeat("a-", 50) + ".labels.csv",
		photos:                                 photos + ".labels.csv",
		photos + string(os.PathSeparator):      photos + ".labels.csv",
		"builtin:test?n=3":                     "builtin-test-n-3.labels.csv",
		"{a,b}/*.tar":                          "a-b---.tar.labels.csv",
	} {
		if got := labelsBeside(path); got != want {
			t.Errorf("the labels of %s are %s, want %s", path, got, want)
		}
	}
	if got := studioFolder("x/photos.labels.csv"); got != "x/photos.studio" {
		t.Errorf("the folder is %s", got)
	}
}

// studioAt is a studio that runs as the command, with the address that it printed.
type studioAt struct {
	t           *testing.T
	base, token string
	stop        func()
}

// startStudio runs the command until the test ends.
func startStudio(t *testing.T, args ...string) *studioAt {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	root := newRoot(&app{screen: screen{out: in, err: io.Discard}, getenv: func(string) string { return "" }})
	root.SetArgs(append([]string{"studio", "--no-browser", "--json"}, args...))
	done := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		in.Close()
		done <- err
	}()
	lines := bufio.NewScanner(out)
	next := func(want string) (e struct{ Event, URL string }) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("it ends before %s: %v", want, <-done)
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Event != want {
			t.Fatalf("it prints %s (%v), want the event %s", lines.Bytes(), err, want)
		}
		return e
	}
	s := &studioAt{t: t}
	e := next("ready")
	var ok bool
	if s.base, s.token, ok = strings.Cut(e.URL, "/?token="); !ok || !strings.HasPrefix(s.base, "http://127.0.0.1:") {
		t.Fatalf("the address is %s", e.URL)
	}
	s.stop = func() {
		cancel()
		next("done")
		if err := <-done; err != nil {
			t.Errorf("interrupted, it gives %v", err)
		}
	}
	return s
}

// get asks for something, and returns the status and the answer.
func (s *studioAt) get(path string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequest("GET", s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set(studio.TokenHeader, s.token)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return a.StatusCode, string(raw)
}

// TestStudio: the command answers where it says, and ends when it is interrupted. With a run's
// folder it encodes the pictures, and watches the run.
func TestStudio(t *testing.T) {
	t.Parallel()
	dir, run := good(t, nil), filepath.Join(t.TempDir(), "run")
	if code, _, stderr := command(train(dir, run, "--steps", "2")...); code != 0 {
		t.Fatal(stderr)
	}
	file := filepath.Join(t.TempDir(), "l.csv")
	s := startStudio(t, "--data", dir, "--labels", file, "--model", run)
	if status, page := s.get("/"); status != 200 || !strings.Contains(page, "<html") {
		t.Errorf("the page is %d %s", status, page)
	}
	wait := func(what, path string, holds func(status int, answer string) bool) {
		t.Helper()
		for range 400 {
			if holds(s.get(path)) {
				return
			}
			time.Sleep(25 * time.Millisecond)
		}
		_, answer := s.get(path)
		t.Errorf("%s does not come: %s", what, answer)
	}
	wait("the map", "/api/layout", func(status int, answer string) bool { return status == 200 && len(answer) == 8*10 })
	wait("the run", "/api/run", func(status int, answer string) bool {
		return status == 200 && strings.Contains(answer, `"state":"done"`) && strings.Contains(answer, `"probes":[{`)
	})
	s.stop()
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
