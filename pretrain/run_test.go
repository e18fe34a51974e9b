package pretrain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/engine/cpu"
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/recipe"
	"moco/weights"
)

// tiny is a recipe whose run takes a fraction of a second: 12 images, 3 steps an epoch, 4 epochs.
func tiny(t *testing.T, settings ...string) moco.Recipe {
	t.Helper()
	r, err := recipe.Load("cifar", append([]string{"encoder.width=0.125", "encoder.dim=8", "queue=10", "bn_splits=2", "views.size=8", "batch=4",
		"epochs=4", "checkpoint_every=2", "mask_same_image=true", "symmetric=true"}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func images(t *testing.T, path string) *data.Set {
	t.Helper()
	set, err := data.Open(context.Background(), path, data.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func options(t *testing.T, workers int, settings ...string) Options {
	t.Helper()
	e, err := cpu.New(cpu.Options{Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Recipe: tiny(t, settings...), Data: images(t, "builtin:train?n=14&size=10"), DataPath: "builtin", Out: filepath.Join(t.TempDir(), "run"), Engine: e, Workers: workers}
}

func finish(t *testing.T, o Options) *Done {
	t.Helper()
	done, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// TestSameBits: workers, interruptions, kills and damaged checkpoints change nothing in what a run
// ends with.
func TestSameBits(t *testing.T) {
	want := finish(t, options(t, 1))
	if want.Step != 12 || want.Epoch != 4 || math.IsNaN(want.Loss) {
		t.Fatalf("the run ended as %+v", want)
	}
	t.Run("three workers", func(t *testing.T) {
		if got := finish(t, options(t, 3)); got.SHA256 != want.SHA256 {
			t.Errorf("SHA-256 %s, want %s", got.SHA256, want.SHA256)
		}
	})
	t.Run("interrupted at every step", func(t *testing.T) {
		o := options(t, 2)
		for stops := 0; ; stops++ {
			ctx, cancel := context.WithCancel(context.Background())
			o.Events = func(e event.Event) {
				if _, ok := e.(Step); ok {
					cancel()
				}
			}
			done, err := Run(ctx, o)
			cancel()
			if err == nil {
				if done.SHA256 != want.SHA256 || stops != 12-1 {
					t.Errorf("after %d interruptions SHA-256 %s, want %s", stops, done.SHA256, want.SHA256)
				}
				return
			}
			if !errors.Is(err, ErrInterrupted) || !done.Interrupted || done.Step != stops+1 {
				t.Fatalf("interruption %d gives %v, %+v", stops, err, done)
			}
			o.Resume = true
		}
	})
	for name, harm := range map[string]func(path string, raw []byte) error{
		"truncated":   func(path string, raw []byte) error { return os.WriteFile(path, raw[:len(raw)/2], 0o644) },
		"bit flipped": func(path string, raw []byte) error { raw[len(raw)*2/3] ^= 4; return os.WriteFile(path, raw, 0o644) },
		"lost":        func(path string, raw []byte) error { return os.Remove(path) },
	} {
		t.Run("newest checkpoint "+name, func(t *testing.T) {
			o := options(t, 2)
			o.Steps = 7
			newest := finish(t, o).Checkpoint
			raw, err := os.ReadFile(newest)
			if err != nil {
				t.Fatal(err)
			}
			if err := harm(newest, raw); err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(filepath.Dir(newest), ".step-8.safetensors.1.tmp"), []byte("a save that was killed"), 0o644)
			var told []string
			o.Steps, o.Resume = 0, true
			o.Events = func(e event.Event) {
				switch e := e.(type) {
				case Warning:
					told = append(told, e.Message)
				case Start:
					if e.FirstStep != 6 {
						t.Errorf("goes on after step %d, want 6, the checkpoint before the damaged one", e.FirstStep)
					}
				}
			}
			if got := finish(t, o); got.SHA256 != want.SHA256 {
				t.Errorf("SHA-256 %s, want %s", got.SHA256, want.SHA256)
			}
			if !slices.ContainsFunc(told, func(m string) bool { return strings.Contains(m, "damaged") }) {
				t.Errorf("nobody is told of the damage: %q", told)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(newest), ".*")); len(left) > 0 {
				t.Errorf("leftovers stay: %v", left)
			}
		})
	}
	t.Run("training that ends inside an epoch", func(t *testing.T) {
		whole, o := finish(t, options(t, 2, "epochs=2.34")), options(t, 1, "epochs=2.34")
		o.Steps = 6
		finish(t, o)
		o.Steps, o.Resume = 0, true
		if got := finish(t, o); whole.Step != 7 || got.SHA256 != whole.SHA256 {
			t.Errorf("2.34 epochs of 3 steps are %d, with SHA-256 %s and %s after a stop", whole.Step, whole.SHA256, got.SHA256)
		}
	})
	t.Run("short last batches", func(t *testing.T) {
		one, two := finish(t, options(t, 1, "drop_last=false")), finish(t, options(t, 2, "drop_last=false"))
		if one.SHA256 != two.SHA256 || one.Step != 16 {
			t.Errorf("%d steps end with %s and %s", one.Step, one.SHA256, two.SHA256)
		}
	})
}

// videos is a set of five videos of three frames.
func videos(t *testing.T) *data.Set {
	t.Helper()
	dir := t.TempDir()
	for i := range 15 {
		img := image.NewGray(image.Rect(0, 0, 10, 10))
		for p := range img.Pix {
			img.Pix[p] = uint8(p*(1+i/3) + 10*i)
		}
		name := filepath.Join(dir, fmt.Sprint(i/3), fmt.Sprint(i%3)+".png")
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(png.Encode(f, img), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	set, err := data.Open(context.Background(), dir, data.Options{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// TestFrames: a run whose positives are frames ends with the same bits however it is stopped, and
// its queue holds the ids of videos.
func TestFrames(t *testing.T) {
	frames := func(workers int, more ...string) Options {
		o := options(t, workers, append([]string{"positives=frames", "max_gap=1", "mask_same_image=false", "epochs=3"}, more...)...)
		o.Data = videos(t)
		return o
	}
	one, many := finish(t, frames(1)), frames(3)
	many.Steps = 4
	finish(t, many)
	many.Steps, many.Resume = 0, true
	if again := finish(t, many); again.SHA256 != one.SHA256 {
		t.Errorf("SHA-256 %s with three workers and a stop, want %s", again.SHA256, one.SHA256)
	}
	if other := finish(t, frames(1, "max_gap=0")); other.SHA256 == one.SHA256 {
		t.Error("max_gap changes nothing")
	}
	f, err := weights.Load(t.Context(), one.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if ids := f.Get("queue_ids"); ids == nil || slices.Max(ids.Int32s()) > 4 {
		t.Errorf("the queue does not hold the ids of 5 videos: %v", ids)
	}
	o := frames(1)
	o.Data = images(t, "builtin:train?n=14&size=10")
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "positives: frames: the images are in no groups") {
		t.Errorf("frames of a set without videos give %v", err)
	}
}

func TestRunFolder(t *testing.T) {
	o := options(t, 2)
	o.Monitor.Train, o.Monitor.Test, o.Monitor.Start = o.Data, images(t, "builtin:test?n=20&size=10"), true
	var kinds []string
	o.Events = func(e event.Event) { kinds = append(kinds, e.Kind()) }
	done := finish(t, o)
	if want := "start monitor step step checkpoint step checkpoint epoch monitor"; !strings.HasPrefix(strings.Join(kinds, " "), want) || kinds[len(kinds)-1] != "done" {
		t.Errorf("events are %v, want %s ... done", kinds, want)
	}
	raw, err := os.ReadFile(filepath.Join(o.Out, "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		var e struct{ Event string }
		if err := json.Unmarshal(line, &e); err != nil || e.Event != kinds[i] {
			t.Errorf("line %d of the log is %s, want event %s (%v)", i, line, kinds[i], err)
		}
	}
	if r, err := recipe.Load(filepath.Join(o.Out, "config.yaml"), nil); err != nil || recipe.Write(r) != recipe.Write(o.Recipe) {
		t.Errorf("config.yaml does not hold the recipe (%v)", err)
	}
	if files, _ := filepath.Glob(filepath.Join(o.Out, "checkpoints", "step-*")); len(files) != keepCheckpoints {
		t.Errorf("checkpoints kept: %v, want %d", files, keepCheckpoints)
	}
	f, err := weights.Load(t.Context(), done.Encoder)
	if err != nil {
		t.Fatal(err)
	}
	if f.Get("conv1.weight") == nil || f.Get("bn1.running_mean") == nil || f.Get("layer4.1.bn2.num_batches_tracked").Int64s()[0] != 12 {
		t.Errorf("the encoder lacks tensors: %v", f.Tensors)
	}
}

func TestRefusals(t *testing.T) {
	finished := options(t, 1)
	finished.Steps = 2
	finish(t, finished)
	for name, c := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"a folder that is not empty":   {func(o *Options) { o.Out, o.Resume = finished.Out, false }, "not empty"},
		"resuming nothing":             {func(o *Options) { o.Out = t.TempDir() }, "no checkpoint"},
		"resuming another recipe":      {func(o *Options) { o.Recipe.Temperature = 0.2 }, "t is 0.2 and was 0.1"},
		"resuming with other data":     {func(o *Options) { o.Data = images(t, "builtin:train?n=15&size=10") }, "fingerprint"},
		"a batch larger than the data": {func(o *Options) { o.Recipe.Batch, o.Resume = 16, false }, "more than the 14 images"},
		"too little memory":            {func(o *Options) { o.MemoryLimit = 900 << 10 }, "batch"},
		"no memory at all":             {func(o *Options) { o.MemoryLimit = 1 }, "no batch fits"},
		"an uneven last batch": {func(o *Options) {
			o.Recipe.DropLast, o.Recipe.Batch, o.Recipe.BNSplits = false, 4, 4
		}, "drop_last"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, 1)
			o.Out, o.Resume, o.Data = finished.Out, true, finished.Data
			c.change(&o)
			if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

// TestMemoryRefusalNamesABatchThatFits runs with the batch that the refusal advises: the largest, where
// views are smaller in training than in encoding, and where the monitor takes more than a step, too.
func TestMemoryRefusalNamesABatchThatFits(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		monitor  bool
	}{
		"views as encoded": {},
		"smaller views":    {settings: []string{"views.size=16", "views.train_sizes=[8]"}},
		"a large monitor":  {settings: []string{"views.size=64", "views.train_sizes=[8]"}, monitor: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, 1, append(c.settings, "batch=12")...)
			state := o.Engine.NewState()
			p, err := moco.Compile(o.Recipe.ForSize(8), 6, o.Engine, state)
			if err != nil {
				t.Fatal(err)
			}
			costs := []engine.Cost{p.Cost()}
			if c.monitor {
				o.Monitor = MonitorOptions{Train: o.Data, Test: o.Data}
				e, err := encoder.Following(o.Recipe, state, encoder.Options{Engine: o.Engine, Batch: 6})
				if err != nil {
					t.Fatal(err)
				}
				cost, err := e.Cost()
				if err != nil || cost.WorkBytes <= p.Cost().WorkBytes {
					t.Fatalf("the monitor works in %d bytes, a step in %d (%v): this tests no large monitor", cost.WorkBytes, p.Cost().WorkBytes, err)
				}
				costs = append(costs, cost)
			}
			o.MemoryLimit = engine.TrainingBytes(costs...)
			_, err = Run(context.Background(), o)
			var large *MemoryError
			if !errors.As(err, &large) || large.Batch != 12 || large.Fits != 6 {
				t.Fatalf("the error is %v, want a MemoryError which says that 6 would fit", err)
			}
			o.Recipe.Batch, o.Steps = 6, 1
			finish(t, o)
		})
	}
}

// TestTimeLeft: the work that is left is that of the steps to come, whose views grow, in a run that
// goes on too; a process's first step tells no time.
func TestTimeLeft(t *testing.T) {
	o := options(t, 1, "views.size=12", "views.train_sizes=[8,12]")
	sizes := 0
	for _, stop := range []int{5, 0} {
		r := newRun(o)
		first := true
		r.events.told = func(e event.Event) {
			s, ok := e.(Step)
			if !ok {
				return
			}
			var left float64
			for step := s.Step; step < r.last; step++ {
				left += float64(r.steps[r.kind(step)].Cost().FLOPs)
			}
			known := !first && left > 0
			if r.workLeft() != left || (s.SecondsLeft > 0) != known || (s.ImagesPerSecond > 0) == first {
				t.Errorf("after step %d: %v FLOPs left, want %v; %v images/s and %v s left", s.Step, r.workLeft(), left, s.ImagesPerSecond, s.SecondsLeft)
			}
			first, sizes = false, len(r.steps)
		}
		r.o.Steps = stop
		if _, err := r.run(context.Background()); err != nil {
			t.Fatal(err)
		}
		o.Resume = true
	}
	if sizes != 2 {
		t.Errorf("%d kinds of steps, want 2, a size each", sizes)
	}
}

func TestDiskFull(t *testing.T) {
	o := options(t, 1)
	// config.yaml, a checkpoint, latest.json, the encoder; then there is no room for the next
	// checkpoint.
	_, err := newRunOn(o, &small{room: 4}).run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "disk is full") || !errors.As(err, new(*SaveError)) {
		t.Fatalf("a full disk gives %v", err)
	}
	o.Resume = true
	if got, want := finish(t, o).SHA256, finish(t, options(t, 1)).SHA256; got != want {
		t.Errorf("after the disk was full the run ends with %s, want %s", got, want)
	}
}

// small is a disk that has room for some files.
type small struct {
	atomicfile.OS
	room int
}

func (s *small) CreateTemp(dir, pattern string) (atomicfile.File, error) {
	f, err := s.OS.CreateTemp(dir, pattern)
	if s.room--; s.room < 0 && err == nil {
		return full{f}, nil
	}
	return f, err
}

type full struct{ atomicfile.File }

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestNaNStops(t *testing.T) {
	o := options(t, 1, "lr=1e30")
	var last int
	o.Events = func(e event.Event) {
		if s, ok := e.(Step); ok {
			last = s.Step
		}
	}
	_, err := Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("at step %d", last+1)) && !strings.Contains(err.Error(), fmt.Sprintf("at step %d", last)) || !strings.Contains(err.Error(), "lower lr") {
		t.Fatalf("a loss that is not a number gives %v after step %d", err, last)
	}
	if files, _ := filepath.Glob(filepath.Join(o.Out, "checkpoints", "step-*")); len(files) > 0 {
		for _, path := range files {
			if f, err := weights.Load(t.Context(), path); err != nil || slices.ContainsFunc(f.Get("encoder_q.fc.weight").Float32s(), func(v float32) bool { return v != v }) {
				t.Errorf("%s is not a good checkpoint (%v)", path, err)
			}
		}
	}
}

func TestWarnings(t *testing.T) {
	o := options(t, 1, "queue=100")
	var told string
	o.Steps = 1
	o.Events = func(e event.Event) {
		if w, ok := e.(Warning); ok {
			told += w.Message
		}
	}
	finish(t, o)
	if !strings.Contains(told, "longer than the data set of 14 images") {
		t.Errorf("a queue longer than the data set: told %q", told)
	}
}
