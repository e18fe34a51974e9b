package pretrain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"moco/engine/cpu"
	"moco/internal/event"
	"moco/ranks"
)

// onRanks runs a recipe on ranks of this process, which have one folder. each may change a rank's
// options.
func onRanks(t *testing.T, size int, out string, each func(rank int, o *Options), settings ...string) ([]*Done, []error) {
	t.Helper()
	return onRanksWith(t, size, out, each, make([]context.CancelFunc, size), settings...)
}

// onRanksWith is onRanks, which also sets how each rank is interrupted.
func onRanksWith(t *testing.T, size int, out string, each func(rank int, o *Options), interrupt []context.CancelFunc,
	settings ...string) ([]*Done, []error) {
	t.Helper()
	set := images(t, "builtin:train?n=22&size=10")
	done, errs := make([]*Done, size), make([]error, size)
	contexts, options := make([]context.Context, size), make([]Options, size)
	for rank, group := range ranks.Local(size) {
		contexts[rank], interrupt[rank] = context.WithCancel(context.Background())
		defer interrupt[rank]()
		e, err := cpu.New(cpu.Options{Workers: 1 + rank%2, Group: group})
		if err != nil {
			t.Fatal(err)
		}
		options[rank] = Options{Recipe: tiny(t, settings...), Data: set, DataPath: "builtin", Out: out, Engine: e, Workers: 2, Ranks: group}
		if each != nil {
			each(rank, &options[rank])
		}
	}
	var wg sync.WaitGroup
	for rank, o := range options {
		wg.Go(func() { done[rank], errs[rank] = Run(contexts[rank], o) })
	}
	wg.Wait()
	return done, errs
}

// blockCheckpoints puts a folder where the next checkpoint wants to be.
func blockCheckpoints(t *testing.T, out string, step int) {
	if err := os.MkdirAll(filepath.Join(out, "checkpoints", fmt.Sprintf("step-%d.safetensors", step), "x"), 0o777); err != nil {
		t.Error(err)
	}
}

var replicaMechanisms = map[string][]string{
	"queue":           {"replicas=4", "batch=8"},
	"queue unmasked":  {"replicas=4", "batch=8", "symmetric=false", "mask_same_image=false", "bn_splits=8"},
	"queue bfloat16":  {"replicas=2", "batch=8", "precision=bf16"},
	"queue in order":  {"replicas=2", "batch=8", "shuffle_bn=false"},
	"batch":           {"replicas=4", "batch=8", "dictionary=batch", "mask_same_image=false"},
	"batch, nt_xent":  {"replicas=2", "batch=8", "dictionary=batch", "loss=nt_xent", "symmetric=false", "optimizer=lars"},
	"batch, muon":     {"replicas=4", "batch=8", "dictionary=batch", "loss=dcl", "symmetric=false", "shuffle_bn=false", "optimizer=muon"},
	"bank":            {"replicas=4", "batch=8", "dictionary=bank", "symmetric=false", "mask_same_image=false"},
	"bank, nce":       {"replicas=4", "batch=8", "dictionary=bank", "loss=nce", "z=ema", "symmetric=false", "mask_same_image=false"},
	"bank, softmax":   {"replicas=2", "batch=8", "dictionary=bank", "loss=softmax", "symmetric=false", "mask_same_image=false"},
	"momentum batch":  {"replicas=4", "batch=8", "dictionary=momentum_batch", "shuffle_bn=false"},
	"transformer":     append([]string{"replicas=4", "batch=8"}, transformerSettings...),
	"supervised":      {"replicas=4", "batch=8", "objective=supervised"},
	"three times two": {"replicas=6", "batch=12", "bn_splits=3"},
}

// TestRanks: a run has the same bits on any number of processes.
func TestRanks(t *testing.T) {
	for name, settings := range replicaMechanisms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings = append([]string{"epochs=2", "checkpoint_every=100"}, settings...)
			want := ""
			for _, size := range []int{1, 2, 4} {
				if name == "three times two" {
					size = []int{1, 3, 6}[size/2]
				}
				if strings.Contains(strings.Join(settings, " "), "replicas=2") && size > 2 {
					continue
				}
				done, errs := onRanks(t, size, filepath.Join(t.TempDir(), "run"), func(_ int, o *Options) { o.Consistency = true }, settings...)
				if err := errors.Join(errs...); err != nil {
					t.Fatalf("%d ranks: %v", size, err)
				}
				if want == "" {
					want = done[0].SHA256
				}
				if done[0].SHA256 != want {
					t.Errorf("%d ranks: SHA-256 %s, want %s", size, done[0].SHA256, want)
				}
			}
		})
	}
}

// TestRanksInterrupted: an interrupt anywhere ends all ranks behind the same step, saved once; another
// number of ranks goes on with the same bits.
func TestRanksInterrupted(t *testing.T) {
	t.Parallel()
	settings := replicaMechanisms["queue"]
	whole, errs := onRanks(t, 1, filepath.Join(t.TempDir(), "run"), nil, settings...)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "run")
	var done []*Done
	for i, size := range []int{4, 2, 1, 4} {
		saved := 0
		interrupted := make([]context.CancelFunc, size)
		runs := func(rank int, o *Options) {
			o.Resume = i > 0
			if rank == 0 {
				o.Events = func(e event.Event) {
					switch e.(type) {
					case Saved:
						saved++
					case Step:
						if i < 3 {
							interrupted[size-1]() // of the last rank
						}
					}
				}
			}
		}
		done, errs = onRanksWith(t, size, out, runs, interrupted, settings...)
		for rank, err := range errs {
			if i < 3 && !errors.Is(err, ErrInterrupted) || i == 3 && err != nil {
				t.Fatalf("run %d, rank %d: %v", i, rank, err)
			}
			if done[rank].Step != done[0].Step {
				t.Errorf("run %d: rank %d ended behind step %d, rank 0 behind step %d", i, rank, done[rank].Step, done[0].Step)
			}
		}
		if i < 3 && saved != 1 {
			t.Errorf("run %d was saved %d times", i, saved)
		}
	}
	if done[0].SHA256 != whole[0].SHA256 {
		t.Errorf("SHA-256 %s, want %s", done[0].SHA256, whole[0].SHA256)
	}
}

// TestRanksDisagree: the odd rank is named before the first step, once.
func TestRanksDisagree(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(o *Options){
		"another recipe than the others: seed is 5 there, not 0": func(o *Options) { o.Recipe.Seed = 5 },
		"other images than the others: 30 with the fingerprint":  func(o *Options) { o.Data = images(t, "builtin:train?n=30&size=10") },
		"another number of steps than the others: 1":             func(o *Options) { o.Steps = 1 },
		"another engine than the others: cpu/portable": func(o *Options) {
			e, err := cpu.New(cpu.Options{Path: "portable", Group: o.Ranks})
			if err != nil {
				t.Fatal(err)
			}
			o.Engine = e
		},
		"batch: 40 is more than the 22 images": func(o *Options) { o.Recipe.Batch = 40 },
	} {
		out := filepath.Join(t.TempDir(), "run")
		_, errs := onRanks(t, 4, out, func(rank int, o *Options) {
			if rank == 2 {
				change(o)
			}
		}, replicaMechanisms["queue"]...)
		told := 0
		for rank, err := range errs {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("rank %d says %v, want %q", rank, err, want)
			}
			var other *ranks.OtherError
			if !errors.As(err, &other) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%q is told %d times", want, told)
		}
		if IsRun(out) {
			t.Errorf("%q: the run has begun", want)
		}
	}
}

// TestRanksFail: what fails on one rank ends all of them, and is told once.
func TestRanksFail(t *testing.T) {
	t.Parallel()
	_, errs := onRanks(t, 2, filepath.Join(t.TempDir(), "run"), func(rank int, o *Options) {
		o.Recipe.CheckpointEvery = 1
		if rank == 0 {
			o.Events = func(e event.Event) {
				if s, ok := e.(Step); ok && s.Step == 2 {
					blockCheckpoints(t, o.Out, s.Step)
				}
			}
		}
	}, replicaMechanisms["queue"]...)
	var save *SaveError
	if !errors.As(errs[0], &save) {
		t.Errorf("rank 0 says %v, want that it cannot save", errs[0])
	}
	var other *ranks.OtherError
	if !errors.As(errs[1], &other) || other.Rank != 0 {
		t.Errorf("rank 1 says %v, want that rank 0 failed", errs[1])
	}
	_, errs = onRanks(t, 2, filepath.Join(t.TempDir(), "run"), nil, "replicas=3", "batch=12", "bn_splits=1")
	if want := "take 1, 3"; fmt.Sprint(errs[0]) == "" || !strings.Contains(errs[0].Error(), want) {
		t.Errorf("three replicas on two ranks: %v, want %q", errs[0], want)
	}
}

// TestRanksUnreadable: all ranks know by an epoch's end what any of them could not read.
func TestRanksUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 16 {
		name, content := fmt.Sprintf("%02d.png", i), []byte("\x89PNG\r\n\x1a\nbroken")
		if i%4 != 0 {
			var b bytes.Buffer
			if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 9+i, 10))); err != nil {
				t.Fatal(err)
			}
			content = b.Bytes()
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set := images(t, dir)
	for limit, want := range map[string]string{"max_bad=0.5": "", "max_bad=0.2": "more than max_bad allows"} {
		done, errs := onRanks(t, 4, filepath.Join(t.TempDir(), "run"), func(_ int, o *Options) { o.Data = set },
			"replicas=4", "batch=8", "epochs=1", "shuffle_bn=false", limit)
		for rank, err := range errs {
			if want == "" && (err != nil || done[rank].BadImages != 4) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: rank %d: %+v, %v", limit, rank, done[rank], err)
			}
		}
	}
}
