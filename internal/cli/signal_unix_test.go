//go:build unix

package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asMoco makes the test's own program run moco.
const asMoco = "MOCO_TEST_AS_MOCO"

func TestMain(m *testing.M) {
	if os.Getenv(asMoco) != "" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
	}
	os.Exit(m.Run())
}

// process is moco in a process of its own, that has written a line with some text.
type process struct {
	*exec.Cmd
	stdout *os.File
	said   bytes.Buffer // on standard error
}

// start runs a command line until it writes a line that holds a text. before, if any, is what runs it.
func start(t *testing.T, until string, before, args []string) *process {
	t.Helper()
	line := append(append(before, os.Args[0]), args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(line[0], line[1:]...), stdout: r}
	p.Env = append(os.Environ(), asMoco+"=1", "TMPDIR="+t.TempDir())
	p.Stdout, p.Stderr = w, &p.said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { r.Close(); p.Process.Kill() })
	for lines := bufio.NewReaderSize(r, 16); ; { // which leaves the rest in the pipe
		got, err := lines.ReadString('\n')
		if strings.Contains(got, until) {
			return p
		}
		if err != nil {
			t.Fatalf("%v ends without %q: %v\n%s", args, until, err, p.said.String())
		}
	}
}

// end waits for the process and returns its exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	go io.Copy(io.Discard, p.stdout)
	err := p.Wait()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// TestSignals: whatever asks a command to end, what it has done is kept, and --resume goes on.
func TestSignals(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run := trained(t, images)
	many := "builtin:train?n=2000&size=8" // the events are more than a pipe takes
	commands := map[string]struct {
		args   []string
		until  string // it is at work
		resume []string
		kept   string // a file in its folder
	}{
		"train": {train(images, "OUT", "--epochs", "100000"), `"event":"step"`, []string{"--steps", "20"}, "OUT/checkpoints/latest.json"},
		"embed": {[]string{"embed", "--model", run, "--data", many, "--out", "OUT.npy", "--batch", "2"}, `"event":"progress"`, nil, "OUT.npy.part"},
	}
	for _, c := range []struct {
		name, command string
		stop          func(t *testing.T, p *process)
	}{
		{"Ctrl-C", "train", send(syscall.SIGINT)},
		{"SIGTERM", "train", send(syscall.SIGTERM)},
		{"a closed terminal", "train", send(syscall.SIGHUP, syscall.SIGHUP)},
		{"nobody who reads", "train", func(t *testing.T, p *process) { p.stdout.Close() }},
		{"a closed terminal while embedding", "embed", send(syscall.SIGHUP)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			what, out := commands[c.command], filepath.Join(t.TempDir(), "out")
			var args []string
			for _, a := range what.args {
				args = append(args, strings.Replace(a, "OUT", out, 1))
			}
			p := start(t, what.until, nil, append(args, "--json"))
			c.stop(t, p)
			if code := p.end(t); code != exitInterrupted {
				t.Errorf("exit code %d\n%s", code, p.said.String())
			}
			if _, err := os.Stat(strings.Replace(what.kept, "OUT", out, 1)); err != nil {
				t.Fatalf("nothing is kept: %v\n%s", err, p.said.String())
			}
			if code, _, stderr := command(append(append(args, "--resume"), what.resume...)...); code != 0 {
				t.Errorf("--resume: exit code %d, %s", code, stderr)
			}
		})
	}
}

// send sends signals, one after the other.
func send(list ...syscall.Signal) func(t *testing.T, p *process) {
	return func(t *testing.T, p *process) {
		for _, s := range list {
			if err := p.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNohup: a program that was started to ignore the end of its terminal goes on.
func TestNohup(t *testing.T) {
	t.Parallel()
	args := train(good(t, nil), filepath.Join(t.TempDir(), "run"), "--epochs", "100", "--steps", "100", "--json")
	p := start(t, `"event":"step"`, []string{"/bin/sh", "-c", `trap "" HUP; exec "$0" "$@"`}, args)
	send(syscall.SIGHUP)(t, p)
	if code := p.end(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.said.String())
	}
}
