package pretrain

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"moco/internal/event"
	"moco/internal/tfevents"
)

// shownBy is what TensorBoard shows of a run: the values of each tag by step. It reads the files of
// the folder in the order of their names, and at a restart forgets the steps from there on.
func shownBy(t *testing.T, out string) map[string]map[int][]float64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(out, "*tfevents*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no event files (%v)", err)
	}
	slices.Sort(files)
	shown := map[string]map[int][]float64{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		events, err := tfevents.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, e := range events {
			if e.Restart {
				for _, values := range shown {
					for step := range values {
						if step >= e.Step {
							delete(values, step)
						}
					}
				}
			}
			for _, s := range e.Scalars {
				if shown[s.Tag] == nil {
					shown[s.Tag] = map[int][]float64{}
				}
				shown[s.Tag][e.Step] = append(shown[s.Tag][e.Step], s.Value)
			}
		}
	}
	return shown
}

// once checks that TensorBoard shows each step up to the last exactly once.
func once(t *testing.T, out string, last int) {
	t.Helper()
	losses := shownBy(t, out)["loss/train"]
	for step := 1; step <= last; step++ {
		if len(losses[step]) != 1 {
			t.Errorf("of step %d TensorBoard shows %d losses", step, len(losses[step]))
		}
	}
	if len(losses) != last {
		t.Errorf("TensorBoard shows %d steps, want %d", len(losses), last)
	}
}

// TestTensorBoard: the numbers of the log are in the event files, also of a run that was stopped
// behind its last checkpoint and has repeated some steps.
func TestTensorBoard(t *testing.T) {
	t.Parallel()
	o := options(t, 1, "checkpoint_every=100")
	o.Monitor.Train, o.Monitor.Test, o.Monitor.Start = o.Data, o.Data, true
	o.SaveEvery = 4
	func() {
		defer func() { recover() }()
		first := o
		first.Events = func(e event.Event) {
			if s, ok := e.(Step); ok && s.Step == 5 {
				panic("as a kill would end it")
			}
		}
		Run(context.Background(), first)
	}()
	o.Resume = true
	done := finish(t, o)
	once(t, o.Out, done.Step)
	shown := shownBy(t, o.Out)
	same := func(tag string, step int, want float64) {
		t.Helper()
		if got := shown[tag][step]; len(got) == 0 || float32(got[len(got)-1]) != float32(want) {
			t.Errorf("%s of step %d: TensorBoard shows %v, and the log says %v", tag, step, got, want)
		}
	}
	var chance float64
	for e, err := range ReadLog(LogPath(o.Out)) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case *Start:
			chance = e.ChanceLoss
		case *Step:
			same("loss/train", e.Step, e.Loss)
			same("loss/chance", e.Step, chance)
			same("accuracy/contrast", e.Step, 100*e.Accuracy)
			same("learning rate", e.Step, e.LR)
			if e.Spread != nil {
				same("spread of features", e.Step, *e.Spread)
			}
		case *Monitor:
			same("accuracy/kNN", e.Step, e.KNNTop1)
		}
	}
	if len(shown["images a second"]) != done.Step || len(shown["spread of features"]) == 0 || len(shown["accuracy/kNN"]) != 5 {
		t.Errorf("TensorBoard shows %v", fmt.Sprint(shown))
	}
}
