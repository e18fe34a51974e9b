package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/internal/event"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
)

// small is a comparison of runs that take a moment each. A and B are the classes of the built-in
// set, with different images.
func small(t *testing.T) Comparison {
	t.Helper()
	r, err := recipe.Load("cifar", append([]string{"encoder.dim=8", "queue=8", "bn_splits=1", "batch=4", "epochs=1"}, quick...))
	if err != nil {
		t.Fatal(err)
	}
	l := evaluate.DefaultLinear()
	l.Epochs, l.Milestones, l.Batch, l.HeldOut, l.Rates = 2, []int{1}, 8, 0.3, []float64{0.1, 1}
	return Comparison{Arms: Arms(), Seeds: 2, Recipe: r, SupervisedSettings: []string{"batch=5"}, Linear: l,
		Labels: []data.Share{{PerClass: 1}, data.All}, TuningSettings: []string{"epochs=1", "batch=4"},
		Pretraining: images(t, "builtin:train?n=20&size=8"), PretrainingPath: "A",
		Train: images(t, "builtin:train?n=40&size=8&seed=2"),
		Test:  images(t, "builtin:test?n=20&size=8&seed=2"), TrainPath: "B",
		Out: t.TempDir(), Engine: newEngine(t), Workers: 2}
}

// table is the part of the outcomes that does not depend on the clock.
func table(t *testing.T, c *Comparison, outcomes []Outcome) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Markdown(&b, c.Table(outcomes)); err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		b.WriteString(fmt.Sprintln(o.Arm, o.Seed, o.Linear.Rates) + facts(o.Tuned))
	}
	return b.String()
}

func TestCompare(t *testing.T) {
	ctx := context.Background()
	c := small(t)
	parts := 0
	c.Watch.Started = func(p Part, at job.Place) {
		if parts++; at != (job.Place{Number: parts, Of: 2 * (3*3 + 2)}) {
			t.Errorf("%v is at %+v", p, at)
		}
	}
	outcomes, err := Compare(ctx, c)
	if err != nil || len(outcomes) != 6 || parts != 22 {
		t.Fatalf("%d outcomes of %d parts, %v", len(outcomes), parts, err)
	}
	want := table(t, &c, outcomes)
	if raw, err := os.ReadFile(filepath.Join(c.Out, "table.md")); err != nil ||
		!strings.HasPrefix(want, string(raw)) || strings.Count(string(raw), " 2 |\n") != 3 ||
		!strings.Contains(string(raw), "| fine-tuned, labels: 1 | fine-tuned, labels: all |") {
		t.Errorf("table.md is %s, %v", raw, err)
	}
	for _, o := range outcomes {
		if o.Tuned[0].Data != outcomes[3*o.Seed].Tuned[0].Data {
			t.Errorf("%s, seed %d learns from other labels than MoCo's", o.Arm, o.Seed)
		}
	}

	t.Run("interrupted", func(t *testing.T) {
		stopped := c
		stopped.Out, stopped.Watch.Started = t.TempDir(), nil
		for stops := 0; ; stops++ {
			ctx, cancel := context.WithCancel(ctx)
			steps := 0
			stopped.Watch.Events = func(_ Part, e event.Event) {
				if _, step := e.(pretrain.Step); step {
					if steps++; steps == 8 {
						cancel()
					}
				}
			}
			got, err := Compare(ctx, stopped)
			cancel()
			if err == nil {
				if again := table(t, &stopped, got); stops < 3 || again != want {
					t.Errorf("after %d stops the comparison is\n%swant\n%s", stops, again, want)
				}
				break
			}
			if !errors.Is(err, pretrain.ErrInterrupted) {
				t.Fatal(err)
			}
		}
		stopped.Linear.Epochs = 3
		if _, err := Compare(ctx, stopped); !other(err, "Epochs") {
			t.Errorf("other settings in the same folder give %v", err)
		}
		stopped.Linear.Epochs, stopped.Recipe.Epochs = 2, 2
		if _, err := Compare(ctx, stopped); !other(err, "epochs is 2 and was 1") {
			t.Errorf("another length in the same folder gives %v", err)
		}
	})
	t.Run("an encoder that is there", func(t *testing.T) {
		given := c
		var err error
		if given.Model, err = encoder.OpenWith(context.Background(), filepath.Join(c.Out, MoCo, "pretrain", "seed-0"),
			encoder.Options{Engine: c.Engine, Batch: 1}); err != nil {
			t.Fatal(err)
		}
		defer given.Model.Close()
		given.Arms, given.Seeds, given.Out, given.Watch = []string{MoCo, Scratch}, 1, t.TempDir(), Watch{}
		got, err := Compare(ctx, given)
		if err != nil || len(got) != 2 {
			t.Fatalf("%d outcomes, %v", len(got), err)
		}
		for i, o := range []Outcome{outcomes[0], outcomes[2]} {
			if fmt.Sprint(got[i].Linear.Rates) != fmt.Sprint(o.Linear.Rates) || facts(got[i].Tuned) != facts(o.Tuned) {
				t.Errorf("%s comes to\n%v\n%swith the same encoder trained anew\n%v\n%s", o.Arm,
					got[i].Linear.Rates, facts(got[i].Tuned), o.Linear.Rates, facts(o.Tuned))
			}
		}
	})
}

func TestComparisonRefusals(t *testing.T) {
	flat := t.TempDir()
	gif := []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")
	if err := os.WriteFile(filepath.Join(flat, "a.gif"), gif, 0o644); err != nil {
		t.Fatal(err)
	}
	c := small(t)
	for name, one := range map[string]struct {
		change func(*Comparison)
		want   string
	}{
		"an unknown arm":           {func(c *Comparison) { c.Arms = []string{"mocov3"} }, "moco, supervised, scratch"},
		"no seeds":                 {func(c *Comparison) { c.Seeds = 0 }, "seeds"},
		"unlabelled pretraining":   {func(c *Comparison) { c.Pretraining = images(t, flat) }, "leave that arm out"},
		"unlabelled training":      {func(c *Comparison) { c.Train = images(t, flat) }, "class folders"},
		"a key that is not known":  {func(c *Comparison) { c.SupervisedSettings = []string{"bacth=3"} }, "bacth"},
		"a key of fine-tuning":     {func(c *Comparison) { c.TuningSettings = []string{"bacth=3"} }, "bacth"},
		"a rate of the classifier": {func(c *Comparison) { c.Linear.Rates = nil }, "rates"},
	} {
		c := c
		one.change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

// TestForeignTable: a table that is there before anything has begun is not written over.
func TestForeignTable(t *testing.T) {
	t.Parallel()
	c := small(t)
	table := filepath.Join(c.Out, "table.md")
	if err := os.WriteFile(table, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Compare(context.Background(), c); !errors.As(err, new(*job.OccupiedError)) {
		t.Errorf("the error is %v", err)
	}
	if raw, err := os.ReadFile(table); err != nil || string(raw) != "theirs" {
		t.Errorf("the file holds %q (%v)", raw, err)
	}
}
