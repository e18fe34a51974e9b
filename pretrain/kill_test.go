package pretrain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/recipe"
)

// TestKilled kills a run, by the real signal, wherever it writes or tells something: in the middle
// of files, between a checkpoint and latest.json, between that and the encoder. First once at each
// such place, then at the first place, the second when resumed, and so on. It must end with the
// bits of a run that nobody touched, the encoder of its last step, and every monitor.
func TestKilled(t *testing.T) {
	if at := os.Getenv("MOCO_TEST_KILL_AT"); at != "" {
		dies(t, at, os.Getenv("MOCO_TEST_KILL_OUT"))
		return
	}
	t.Parallel()
	want := finish(t, killOptions(t))
	encoder, err := atomicfile.Sum(want.Encoder)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, out string) {
		o := killOptions(t)
		o.Out = out
		o.Resume = IsRun(out) // or it was killed before there was one
		done := finish(t, o)
		if done.SHA256 != want.SHA256 || done.Loss != want.Loss || done.KNNTop1 != want.KNNTop1 {
			t.Errorf("done is %+v, want %+v", done, want)
		}
		if sum, err := atomicfile.Sum(done.Encoder); err != nil || sum != encoder {
			t.Errorf("SHA-256 of the encoder is %s (%v), want %s", sum, err, encoder)
		}
		if files, _ := filepath.Glob(filepath.Join(out, "checkpoints", "*")); len(files) != 1+2 {
			t.Errorf("checkpoints and latest.json are %v, want those of two steps", files)
		}
		if left, _ := filepath.Glob(filepath.Join(out, ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if raw, err := os.ReadFile(LogPath(out)); err != nil || !bytes.Contains(raw, []byte(`"event":"monitor","epoch":1,`)) {
			t.Errorf("the monitor is lost (%v)", err)
		}
		once(t, out, want.Step)
	}
	places := 0
	o := killOptions(t)
	o.Events = func(event.Event) { places++ }
	if _, err := newRunOn(o, deadly{place: func() { places++ }}).run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if places < 25 {
		t.Errorf("only %d places to be killed at: the seam is gone", places)
	}
	for at := 1; at <= places; at++ {
		t.Run("at place "+strconv.Itoa(at), func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "run")
			if !killed(t, at, out) {
				t.Fatal("the run comes to its end")
			}
			check(t, out)
		})
	}
	t.Run("again and again", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(t.TempDir(), "run")
		for at := 1; killed(t, at, out); at++ {
			if at > places {
				t.Fatal("the run does not come to its end")
			}
		}
		check(t, out)
	})
}

// killed runs a process that kills itself at a place, and tells whether it came to that.
func killed(t *testing.T, at int, out string) bool {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	c.Env = append(os.Environ(), "MOCO_TEST_KILL_AT="+strconv.Itoa(at), "MOCO_TEST_KILL_OUT="+out,
		"TMPDIR="+t.TempDir()) // what a process that is killed leaves there goes with this test
	said, err := c.CombinedOutput()
	if err != nil && !strings.Contains(err.Error(), "killed") {
		t.Fatalf("kill %d: %v\n%s", at, err, said)
	}
	return err != nil
}

func killOptions(t *testing.T) Options {
	o := options(t, 1, "epochs=1", "symmetric=false", "mask_same_image=false")
	o.Monitor.Train, o.Monitor.Test = o.Data, o.Data
	return o
}

// dies is the run in the process that is killed.
func dies(t *testing.T, at, out string) {
	left, err := strconv.Atoi(at)
	if err != nil {
		t.Fatal(err)
	}
	place := func() {
		if left--; left == 0 {
			self, err := os.FindProcess(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			self.Kill()
			select {} // the signal is on its way
		}
	}
	o := killOptions(t)
	o.Out = out
	o.Resume = IsRun(out)
	o.Events = func(event.Event) { place() }
	if _, err := newRunOn(o, deadly{place: place}).run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// deadly is a file system on which a process can die: in the middle of a file, and when one has
// just appeared.
type deadly struct {
	atomicfile.OS
	place func()
}

func (d deadly) CreateTemp(dir, pattern string) (atomicfile.File, error) {
	f, err := d.OS.CreateTemp(dir, pattern)
	return &deadlyFile{File: f, place: d.place}, err
}

func (d deadly) SyncDir(dir string) error {
	defer d.place()
	return d.OS.SyncDir(dir)
}

type deadlyFile struct {
	atomicfile.File
	place func()
	begun bool
}

func (f *deadlyFile) Write(b []byte) (n int, err error) {
	if !f.begun && len(b) > 1 {
		f.begun = true
		if n, err = f.File.Write(b[:len(b)/2]); err != nil {
			return n, err
		}
		f.place()
	}
	more, err := f.File.Write(b[n:])
	return n + more, err
}

// TestKilledBeforeItsFirstCheckpoint: a run that has only a recipe begins again, and says so; with
// another recipe it is refused.
func TestKilledBeforeItsFirstCheckpoint(t *testing.T) {
	want := finish(t, options(t, 1))
	o := options(t, 1)
	r := newRun(o)
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := r.begin(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.close()
	o.Resume = true
	other := o
	other.Recipe.Temperature = 0.3
	if _, err := Run(context.Background(), other); err == nil || !strings.Contains(err.Error(), "t is 0.3 and was 0.1") {
		t.Errorf("another recipe gives %v", err)
	}
	told := ""
	o.Events = func(e event.Event) {
		if w, ok := e.(Warning); ok {
			told += w.Message
		}
	}
	if got := finish(t, o); got.SHA256 != want.SHA256 || !strings.Contains(told, "begins again") {
		t.Errorf("SHA-256 %s, want %s; told %q", got.SHA256, want.SHA256, told)
	}
	// Checkpoints without latest.json are somebody's work: they are not trained over.
	if err := os.Remove(filepath.Join(o.Out, "checkpoints", "latest.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "latest.json") {
		t.Errorf("a lost latest.json gives %v", err)
	}
}

// TestMonitorIsMadeUpFor: a run that was stopped between its last checkpoint and the monitor
// evaluates when it is resumed, once.
func TestMonitorIsMadeUpFor(t *testing.T) {
	o := options(t, 1, "epochs=1")
	o.Monitor.Train, o.Monitor.Test = o.Data, o.Data
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.Events = func(e event.Event) {
		if _, ok := e.(Epoch); ok {
			cancel()
		}
	}
	if done, err := Run(ctx, o); !errors.Is(err, ErrInterrupted) || done.KNNTop1 != 0 {
		t.Fatalf("interrupted before the monitor: %+v, %v", done, err)
	}
	monitors := 0
	o.Resume = true
	o.Events = func(e event.Event) {
		if _, ok := e.(Monitor); ok {
			monitors++
		}
	}
	first, second := finish(t, o), finish(t, o)
	if monitors != 1 || first.KNNTop1 == 0 || second.KNNTop1 != first.KNNTop1 {
		t.Errorf("%d monitors after two resumes, kNN %v and %v; want one monitor, told both times", monitors, first.KNNTop1, second.KNNTop1)
	}
}

// TestLonger: resuming with more epochs goes on, says what that means, and writes it down.
func TestLonger(t *testing.T) {
	o := options(t, 1, "epochs=1")
	finish(t, o)
	o.Recipe.Epochs, o.Resume = 2, true
	told := ""
	o.Events = func(e event.Event) {
		if w, ok := e.(Warning); ok {
			told += w.Message
		}
	}
	if done := finish(t, o); done.Step != 6 || !strings.Contains(told, "schedule of 2") {
		t.Errorf("the longer run ended at step %d, told %q", done.Step, told)
	}
	if r, err := recipe.Load(folder(o.Out).config(), nil); err != nil || r.Epochs != 2 {
		t.Errorf("config.yaml has %v epochs, want 2 (%v)", r.Epochs, err)
	}
}

// TestDivergedWeightsAreNotSaved: a step whose loss was still finite can leave weights that are
// not.
func TestDivergedWeightsAreNotSaved(t *testing.T) {
	o := options(t, 1, "checkpoint_every=1")
	finish(t, func() Options { o := o; o.Steps = 2; return o }())
	var r *run
	o.Resume = true
	o.Events = func(e event.Event) {
		if _, ok := e.(Step); ok {
			w, err := r.state.Read("encoder_q.fc.weight")
			if err != nil {
				t.Fatal(err)
			}
			zero := float32(0)
			w.Float32s()[5] = 1 / zero
			if err := r.state.Write("encoder_q.fc.weight", w); err != nil {
				t.Fatal(err)
			}
		}
	}
	r = newRun(o)
	_, err := r.run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "diverged: encoder_q.fc.weight") || !strings.Contains(err.Error(), "step 2 is kept") {
		t.Errorf("infinite weights give %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(o.Out, "checkpoints", "step-*")); len(files) != 2 {
		t.Errorf("checkpoints are %v, want those of steps 1 and 2", files)
	}
}

// TestLastStepIsChecked: the loss of the last step says nothing of the weights that it leaves. Here
// they are finite, and make features that are not.
func TestLastStepIsChecked(t *testing.T) {
	t.Parallel()
	for _, step := range []int{3, 2} { // at the recipe's end, and before
		o := options(t, 1, "checkpoint_every=1", "epochs=1")
		o.Steps = step
		var r *run
		done, warned := false, false
		o.Events = func(e event.Event) {
			switch e := e.(type) {
			case Done:
				done = true
			case Warning:
				warned = warned || strings.Contains(e.Message, "NaN or infinite")
			case Step:
				if e.Step < step {
					return
				}
				for _, name := range []string{"encoder_q.conv1.weight", "encoder_q.layer1.0.conv1.weight"} {
					w, err := r.state.Read(name)
					if err != nil {
						t.Fatal(err)
					}
					for i := range w.Float32s() {
						w.Float32s()[i] = 1e38
					}
					if err := r.state.Write(name, w); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		r = newRun(o)
		_, err := r.run(context.Background())
		if step == 2 {
			if err != nil || !done || !warned {
				t.Errorf("before the recipe's end: %v, done %v, warned %v", err, done, warned)
			}
			continue
		}
		var diverged *DivergedError
		kept := fmt.Sprintf("the checkpoint of step %d is kept", step-1)
		if !errors.As(err, &diverged) || !strings.Contains(err.Error(), "NaN or infinite") || !strings.Contains(err.Error(), kept) || done {
			t.Errorf("the run ends with %v, and tells that it is done: %v", err, done)
		}
	}
}
