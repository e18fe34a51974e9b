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
	if len(places) < 40 {
		t.Errorf("the power can go at %d places only: the seam is gone", len(places))
	}
	for half := range 2 { // each on one processor
		t.Run(fmt.Sprint("half ", half), func(t *testing.T) {
			t.Parallel()
			r := resumed{Options: powerCutOptions(t), want: done, encoder: encoder, told: told}
			for at := half; at < len(places); at += 2 {
				for _, system := range cuts(places[at]) {
					system.At = at + 1
					r.cut(t, system)
				}
			}
		})
	}
}

// cuts are the ways in which a power cut at a place can end.
func cuts(at volatile.Place) (all []*volatile.FS) {
	damages, names := []volatile.Damage{volatile.Kept}, []bool{true}
	if at.Content {
		damages = append(damages, volatile.Lost, volatile.Cut, volatile.Garbled)
	}
	if at.Names {
		names = append(names, false)
	}
	for _, d := range damages {
		for _, n := range names {
			all = append(all, &volatile.FS{Damage: d, KeepRenames: n})
		}
	}
	return all
}

// resumed is a run that is begun on a file system whose power goes, and what it must come to.
type resumed struct {
	Options
	want    *Done
	encoder string            // SHA-256
	told    map[string]string // see logged
}

func (r *resumed) cut(t *testing.T, system *volatile.FS) {
	t.Helper()
	where := fmt.Sprintf("place %d, %v, names kept %v", system.At, system.Damage, system.KeepRenames)
	var saved, first int // the last step told to be saved, and the one that the run goes on after
	o := r.Options
	o.Out = filepath.Join(t.TempDir(), "run")
	o.Events = func(e event.Event) {
		switch e := e.(type) {
		case Saved:
			saved = e.Step
		case Start:
			first = e.FirstStep
		}
	}
	if _, err := newRunOn(o, system).run(context.Background()); !errors.Is(err, volatile.ErrPowerCut) {
		t.Fatalf("%s: the run without power ends with %v", where, err)
	}
	kept := saved
	o.Resume = IsRun(o.Out)
	got, err := newRunOn(o, &volatile.FS{}).run(context.Background()) // which waits for no disk
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	if first < kept {
		t.Errorf("%s: step %d was saved, and the run goes on after step %d", where, kept, first)
	}
	if got.SHA256 != r.want.SHA256 || got.Loss != r.want.Loss || got.KNNTop1 != r.want.KNNTop1 {
		t.Errorf("%s: the run ends as %+v, want %+v", where, got, r.want)
	}
	if sum, err := atomicfile.Sum(got.Encoder); err != nil || sum != r.encoder {
		t.Errorf("%s: the encoder is %s (%v), want %s", where, sum, err, r.encoder)
	}
	again := logged(t, o.Out)
	for what := range r.told {
		if again[what] != r.told[what] {
			t.Errorf("%s: the log has %s as %q, want %q", where, what, again[what], r.told[what])
		}
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
