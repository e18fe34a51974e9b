package browser_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"moco/internal/browser"
	"moco/internal/cli"
	"moco/vectors"
)

// asMoco makes the test's program be moco: the studio then runs in a process of its own, which can
// be killed.
const asMoco = "MOCO_TEST_AS_MOCO"

// one is the browser that all tests share. A test has tabs of its own.
var one struct {
	sync.Once
	*browser.Browser
	err error
}

func TestMain(m *testing.M) {
	if os.Getenv(asMoco) != "" {
		os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
	}
	code := m.Run()
	if one.Browser != nil {
		one.Close()
	}
	os.Exit(code)
}

// needed skips a test on a machine without a browser.
func needed(t *testing.T) {
	t.Helper()
	if _, err := browser.Find(); err != nil && os.Getenv("MOCO_TEST_BROWSER") == "" {
		t.Skipf("%v", err)
	}
}

// shared is the tests' browser, started once.
func shared(t *testing.T) *browser.Browser {
	t.Helper()
	needed(t)
	one.Do(func() { one.Browser, one.err = browser.Start(context.Background()) })
	if one.err != nil {
		t.Fatal(one.err)
	}
	return one.Browser
}

// studio is a `moco studio` that runs.
type studio struct {
	t       *testing.T
	url     string
	labels  string
	command *exec.Cmd
	done    chan struct{}
}

// start starts a studio, and waits until it answers.
func start(t *testing.T, labels string, args ...string) *studio {
	t.Helper()
	needed(t)
	s := &studio{t: t, labels: labels, done: make(chan struct{})}
	args = append([]string{"studio", "--no-browser", "--json", "--labels", labels}, args...)
	s.command = exec.Command(os.Args[0], args...)
	s.command.Env = append(os.Environ(), asMoco+"=1")
	out, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	ready := make(chan string)
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e struct{ Event, URL string }
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event == "ready" {
				ready <- e.URL
			}
		}
		close(ready)
	}()
	s.url = <-ready
	if s.url == "" {
		t.Fatal("the studio ended before it answered")
	}
	go func() {
		for range ready { // nothing more is expected
		}
	}()
	return s
}

// kill ends the studio as a power cut would.
func (s *studio) kill() {
	if s.command.ProcessState != nil {
		return
	}
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	<-s.done
	_ = s.command.Wait() // it says that it was killed
}

// rows gives the labels file's rows: path -> the rest of the row.
func (s *studio) rows() map[string]string {
	s.t.Helper()
	text, err := os.ReadFile(s.labels)
	if err != nil {
		s.t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if path, rest, ok := strings.Cut(strings.TrimSpace(line), ","); ok && path != "path" {
			rows[path] = rest
		}
	}
	return rows
}

// tab is a page of the studio. Each of its methods ends the test if it fails.
type tab struct {
	t *testing.T
	*browser.Page
}

// open opens a page of the studio. At the test's end the page must have made no error and asked
// nobody else.
func (s *studio) open(page string, o browser.Options) *tab {
	s.t.Helper()
	p, err := shared(s.t).Page(s.url+"#"+page, o)
	if err != nil {
		s.t.Fatal(err)
	}
	w := &tab{s.t, p}
	s.t.Cleanup(p.Close)
	w.ready()
	return w
}

func (w *tab) ready() {
	w.t.Helper()
	w.wait(`document.documentElement.dataset.ready`)
}

// clean fails the test if the page did what it must not.
func (w *tab) clean() {
	w.t.Helper()
	for _, fault := range w.Faults() {
		w.t.Error(fault)
	}
}

func (w *tab) wait(expression string) {
	w.t.Helper()
	if err := w.Wait(expression); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tab) click(selector string) {
	w.t.Helper()
	if err := w.Click(selector); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tab) press(keys string, modifiers ...browser.Modifier) {
	w.t.Helper()
	if err := w.Press(keys, modifiers...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tab) text(expression string) string {
	w.t.Helper()
	v, err := browser.Eval[string](w.Page, "String("+expression+")")
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// waitLabelled waits until the page shows how many pictures have a label.
func (w *tab) waitLabelled(n string) {
	w.t.Helper()
	w.wait(fmt.Sprintf(`document.querySelector("#labelled").textContent === "%s labelled"`, n))
}

const drawnClasses = 10 // of the built-in set: picture i is of class i%10

// features writes features of n pictures of the built-in set, in which classes lie apart.
func features(t *testing.T, n int) string {
	t.Helper()
	names := strings.Fields("checker cross disc dots ring square star stripes triangle waves")
	path := filepath.Join(t.TempDir(), "features.parquet")
	err := vectors.Save(path, vectors.Head{Rows: n, Dim: 16}, func(yield func(vectors.Row, error) bool) {
		for i := range n {
			v := make([]float32, 16)
			v[i%drawnClasses] = 1
			for k := range v {
				v[k] += 0.3 * float32((i*7919+k*104729)%97) / 97
			}
			if !yield(vectors.Row{Path: fmt.Sprintf("test/%06d-%s", i, names[i%drawnClasses]), Vector: v}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// drawn gives the flags of a studio on n drawn pictures with features.
func drawn(t *testing.T, n int) []string {
	t.Helper()
	return []string{"--data", fmt.Sprintf("builtin:test?n=%d", n), "--vectors", features(t, n)}
}

// port finds a port that is free, for a studio that is started twice.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
