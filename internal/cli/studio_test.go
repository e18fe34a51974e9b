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
	for path, want := range map[string]string{
		photos:                            photos + ".labels.csv",
		photos + string(os.PathSeparator): photos + ".labels.csv",
		"builtin:test?n=3":                "builtin-test-n-3.labels.csv",
		"{a,b}/*.tar":                     "a-b---.tar.labels.csv",
	} {
		if got := labelsBeside(path); got != want {
			t.Errorf("the labels of %s are %s, want %s", path, got, want)
		}
	}
	if got := studioFolder("x/photos.labels.csv"); got != "x/photos.studio" {
		t.Errorf("the folder is %s", got)
	}
}

// TestStudio: the command answers where it says, and ends when it is interrupted.
func TestStudio(t *testing.T) {
	t.Parallel()
	dir := good(t, nil)
	file := filepath.Join(t.TempDir(), "l.csv")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	root := newRoot(&app{screen: screen{out: in, err: io.Discard}, getenv: func(string) string { return "" }})
	root.SetArgs([]string{"studio", "--data", dir, "--labels", file, "--no-browser", "--json"})
	done := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		in.Close()
		done <- err
	}()
	lines := bufio.NewScanner(out)
	next := func(want string) (e struct{ Event, URL, Labels string }) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("it ends before %s: %v", want, <-done)
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Event != want || e.Labels != file {
			t.Fatalf("it prints %s (%v), want the event %s", lines.Bytes(), err, want)
		}
		return e
	}
	e := next("ready")
	if !strings.HasPrefix(e.URL, "http://127.0.0.1:") || !strings.Contains(e.URL, "/?token=") {
		t.Errorf("the address is %s", e.URL)
	}
	a, err := http.Get(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(a.Body)
	a.Body.Close()
	if err != nil || a.StatusCode != 200 || !strings.Contains(string(page), "<html") {
		t.Errorf("the page is %d %s (%v)", a.StatusCode, page, err)
	}
	cancel()
	next("done")
	if err := <-done; err != nil {
		t.Errorf("interrupted, it gives %v", err)
	}
}
