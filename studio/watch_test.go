package studio

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"moco/internal/event"
	"moco/pretrain"
)

// logOf is a run's log with these events.
func logOf(t *testing.T, events ...event.Event) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range events {
		if err := event.Write(&b, e); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestWatch: a run is shown as its log grows, and what a resumed run does anew replaces what was
// done before.
func TestWatch(t *testing.T) {
	t.Parallel()
	run := t.TempDir()
	log := pretrain.LogPath(run)
	first := logOf(t,
		pretrain.Start{Steps: 100, StepsPerEpoch: 10, FirstStep: 1, ChanceLoss: 5.5},
		pretrain.Step{Step: 1, Epoch: 1, Loss: 5.4, Accuracy: 0.1, ImagesPerSecond: 10, SecondsLeft: 99},
		pretrain.Step{Step: 2, Epoch: 1, Loss: 5.3, Accuracy: 0.2, ImagesPerSecond: 11, SecondsLeft: 98},
		pretrain.Step{Step: 3, Epoch: 1, Loss: 5.2, Accuracy: 0.3, ImagesPerSecond: 12, SecondsLeft: 97},
		pretrain.Monitor{Step: 3, KNNTop1: 20},
	)
	if err := os.WriteFile(log, first, 0o666); err != nil {
		t.Fatal(err)
	}
	c := serve(t, setup{n: 4, run: run})
	var now runNow
	c.until("the run", func() bool {
		status, _, _ := c.ask("GET", "/api/run", nil)
		return status == 200
	})
	now = get[runNow](c, "/api/run")
	if now.State != "running" || now.Step != 3 || now.Steps != 100 || now.Epochs != 10 || now.Chance != 5.5 || now.Rate != 12 ||
		now.Left != 97 || !slices.Equal(now.Loss, [][2]float64{{1, 5.4}, {2, 5.3}, {3, 5.2}}) || len(now.KNN) != 1 {
		t.Errorf("the run is %+v", now)
	}
	then := logOf(t,
		pretrain.Start{Steps: 100, StepsPerEpoch: 10, FirstStep: 2, ChanceLoss: 5.5},
		pretrain.Step{Step: 2, Epoch: 1, Loss: 4, Accuracy: 0.5},
		pretrain.Warning{Step: 2, Message: "careful"},
		pretrain.Done{Step: 2, Interrupted: true},
	)
	if err := os.WriteFile(log, append(first, then...), 0o666); err != nil {
		t.Fatal(err)
	}
	c.until("the end of the run", func() bool {
		now = get[runNow](c, "/api/run")
		return now.State == "stopped"
	})
	if !slices.Equal(now.Loss, [][2]float64{{1, 5.4}, {2, 4}}) || !slices.Equal(now.Warnings, []string{"careful"}) || len(now.KNN) != 0 {
		t.Errorf("resumed, the run is %+v", now)
	}
}

// TestSilentRun: a run whose log does not grow any more was killed.
func TestSilentRun(t *testing.T) {
	t.Parallel()
	run := t.TempDir()
	log := pretrain.LogPath(run)
	if err := os.WriteFile(log, logOf(t, pretrain.Start{Steps: 9, StepsPerEpoch: 3}, pretrain.Step{Step: 1}), 0o666); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * patience)
	if err := os.Chtimes(log, long, long); err != nil {
		t.Fatal(err)
	}
	c := serve(t, setup{n: 4, run: run})
	c.until("the run", func() bool {
		status, _, _ := c.ask("GET", "/api/run", nil)
		return status == 200
	})
	if now := get[runNow](c, "/api/run"); now.State != "stopped" {
		t.Errorf("its state is %s", now.State)
	}
}

// TestThinned: a long curve keeps its course in few points.
func TestThinned(t *testing.T) {
	t.Parallel()
	var curve [][2]float64
	for i := range 5 * curvePoints {
		curve = append(curve, [2]float64{float64(i + 1), float64(i % 5)})
	}
	thin := thinned(curve)
	if len(thin) != curvePoints || thin[0] != [2]float64{5, 2} || thin[len(thin)-1] != [2]float64{5 * curvePoints, 2} {
		t.Errorf("it has %d points, from %v to %v", len(thin), thin[0], thin[len(thin)-1])
	}
}

// TestKept: a file of another kind, or one that is damaged at any byte, is not there.
func TestKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := kept{ints: []int32{1, -2, 3}, floats: []float32{0.5}, more: []string{"a"}}
	const hash = "0123456789abcdef0123"
	if err := k.save(dir, "kind", hash); err != nil {
		t.Fatal(err)
	}
	load := func() (kept, bool) {
		got := kept{more: new([]string)}
		return got, got.load(dir, "kind", hash)
	}
	got, ok := load()
	if !ok || !slices.Equal(got.ints, k.ints) || !slices.Equal(got.floats, k.floats) || !slices.Equal(*got.more.(*[]string), []string{"a"}) {
		t.Fatalf("it is %+v (%v)", got, ok)
	}
	if (&kept{}).load(dir, "kind", hash[:19]+"x") || (&kept{}).load(dir, "other", hash) {
		t.Error("what was made of something else is taken")
	}
	path := keptPath(dir, "kind", hash)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(path) != dir {
		t.Errorf("it lies in %s", path)
	}
	for cut := range raw {
		if err := os.WriteFile(path, raw[:cut], 0o666); err != nil {
			t.Fatal(err)
		}
		if got, ok := load(); ok {
			t.Fatalf("cut at %d it is %+v", cut, got)
		}
	}
	for at := len(raw) - 16; at < len(raw); at++ {
		bad := bytes.Clone(raw)
		bad[at] ^= 4
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		if got, ok := load(); ok {
			t.Fatalf("damaged at %d it is %+v", at, got)
		}
	}
}

// FuzzKept: no kept file makes the reader fail otherwise than by not being there.
func FuzzKept(f *testing.F) {
	f.Add([]byte("{\"kind\":\"k\",\"ints\":1,\"floats\":0}\n\x01\x00\x00\x00"))
	f.Add([]byte("{\"kind\":\"k\",\"ints\":-1,\"floats\":9223372036854775807}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		head, numbers, err := splitKept(raw)
		if err == nil && 4*(head.Ints+head.Floats) != len(numbers) {
			t.Errorf("%d and %d numbers in %d bytes", head.Ints, head.Floats, len(numbers))
		}
	})
}
