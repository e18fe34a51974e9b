package pretrain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"moco/internal/atomicfile"
	"moco/internal/atomicfile/volatile"
	"moco/internal/event"
)

// TestPowerCut lets the power go at every sync and rename of a run, whose file system then loses,
// cuts or garbles what was not synced, or keeps it after all. Resumed, the run must go on after the
// last step that it told to be saved and end with the bits of one that nobody touched, and its log
// must tell every step, monitor and measure of the keys.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	want := powerCutOptions(t)
	done := finish(t, want)
	encoder, err := atomicfile.Sum(done.Encoder)
	if err != nil {
		t.Fatal(err)
	}
	told := logged(t, want.Out)
	system := &volatile.FS{}
	if _, err := newRunOn(powerCutOptions(t), system).run(context.Background()); err != nil {
		t.Fatal(err)
	}
	places := system.Places()
	if places < 40 {
		t.Errorf("the power can go at %d places only: the seam is gone", places)
	}
	for _, c := range []struct {
		damage volatile.Damage
		names  bool // are kept
	}{{volatile.Lost, false}, {volatile.Cut, true}, {volatile.Garbled, false}, {volatile.Kept, true}} {
		t.Run(fmt.Sprintf("%v, names kept %v", c.damage, c.names), func(t *testing.T) {
			t.Parallel()
			o := powerCutOptions(t)
			var saved, first int // the last step told to be saved, and the one that the run went on after
			o.Events = func(e event.Event) {
				switch e := e.(type) {
				case Saved:
					saved = e.Step
				case Start:
					first = e.FirstStep
				}
			}
			for at := 1; at <= places; at++ {
				o.Out, o.Resume, saved = filepath.Join(t.TempDir(), "run"), false, 0
				system := &volatile.FS{At: at, Damage: c.damage, KeepRenames: c.names}
				if _, err := newRunOn(o, system).run(context.Background()); !errors.Is(err, volatile.ErrPowerCut) {
					t.Fatalf("place %d: the run without power ends with %v", at, err)
				}
				kept := saved
				o.Resume = IsRun(o.Out)
				got, err := newRunOn(o, &volatile.FS{}).run(context.Background()) // which waits for no disk
				if err != nil {
					t.Errorf("place %d: %v", at, err)
					continue
				}
				if first < kept {
					t.Errorf("place %d: step %d was saved, and the run goes on after step %d", at, kept, first)
				}
				if got.SHA256 != done.SHA256 || got.Loss != done.Loss || got.KNNTop1 != done.KNNTop1 {
					t.Errorf("place %d: the run ends as %+v, want %+v", at, got, done)
				}
				if sum, err := atomicfile.Sum(got.Encoder); err != nil || sum != encoder {
					t.Errorf("place %d: the encoder is %s (%v), want %s", at, sum, err, encoder)
				}
				for what := range told {
					if again := logged(t, o.Out); again[what] != told[what] {
						t.Errorf("place %d: the log has %s as %q, want %q", at, what, again[what], told[what])
					}
				}
			}
		})
	}
}

// powerCutOptions is a run with four checkpoints, of which one is pruned, and everything that is
// measured.
func powerCutOptions(t *testing.T) Options {
	o := options(t, 1, "batch=6", "queue=12", "epochs=2", "checkpoint_every=1", "symmetric=false", "mask_same_image=false",
		"encoder.width=0.0625")
	o.Monitor.Train, o.Monitor.Test = o.Data, o.Data
	o.Consistency = true
	return o
}

// logged is what a log tells that does not depend on the clock, the last of each step and kind.
func logged(t *testing.T, out string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for e, err := range ReadLog(LogPath(out)) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case *Step:
			all[fmt.Sprint("step ", e.Step)] = fmt.Sprint(e.Loss, e.Accuracy)
		case *Monitor:
			all[fmt.Sprint("monitor ", e.Step)] = fmt.Sprint(e.KNNTop1)
		case *Consistency:
			all[fmt.Sprint("consistency ", e.Step)] = fmt.Sprint(e.Cosine, e.Others)
		}
	}
	return all
}
