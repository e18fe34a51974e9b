package study

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"moco/data"
	"moco/engine/cpu"
	"moco/internal/event"
	"moco/internal/job"
	"moco/internal/lock"
	"moco/pretrain"
	"moco/recipe"
)

// write writes a study's file.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "study.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tiny is a study of four runs that take a moment each.
const tiny = `
title: Tiny
recipe: cifar
set: [encoder.width=0.0625, encoder.dim=8, views.size=8, bn_splits=1, batch=4, epochs=2]
seeds: 1
x: {label: K, axis: log}
series:
  - {name: queue, set: [dictionary=queue], vary: queue, values: [8, 16]}
  - {name: end to end, set: [dictionary=batch], points: [{x: 3}, {x: 7, set: [batch=8]}]}
`

func TestEmbeddedStudies(t *testing.T) {
	want := map[string]int{"losses": 9, "mechanisms": 12, "momentum": 5, "shuffle_bn": 5, "temperature": 5}
	for _, name := range Names() {
		s, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Seeds = 2
		runs, err := s.Runs([]string{"precision=bf16"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		points, known := want[name]
		if !known || len(runs) != 2*points {
			t.Errorf("%s has %d runs, want twice %d points", name, len(runs), points)
		}
		names := map[string]bool{}
		for _, r := range runs {
			if names[r.Name] || r.Recipe.Seed != r.Seed || r.Recipe.Precision != "bf16" {
				t.Errorf("%s: run %s is there twice, or its recipe has seed %d and precision %s", name, r.Name,
					r.Recipe.Seed, r.Recipe.Precision)
			}
			names[r.Name] = true
		}
	}
	if len(Names()) != len(want) {
		t.Errorf("the studies are %v", Names())
	}
}

func TestRuns(t *testing.T) {
	s, err := Load(write(t, tiny))
	if err != nil {
		t.Fatal(err)
	}
	s.Seeds = 2
	runs, err := s.Runs([]string{"lr=0.5"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range runs {
		got = append(got, fmt.Sprintf("%s %s K=%d batch=%d lr=%v x=%v", r.Name, r.Recipe.Dictionary, r.Recipe.Queue,
			r.Recipe.Batch, r.Recipe.LR, r.X))
	}
	want := []string{
		"queue-8-seed0 queue K=8 batch=4 lr=0.5 x=8", "queue-16-seed0 queue K=16 batch=4 lr=0.5 x=16",
		"end-to-end-3-seed0 batch K=4096 batch=4 lr=0.5 x=3", "end-to-end-7-seed0 batch K=4096 batch=8 lr=0.5 x=7",
		"queue-8-seed1 queue K=8 batch=4 lr=0.5 x=8", "queue-16-seed1 queue K=16 batch=4 lr=0.5 x=16",
		"end-to-end-3-seed1 batch K=4096 batch=4 lr=0.5 x=3", "end-to-end-7-seed1 batch K=4096 batch=8 lr=0.5 x=7",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the grid is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ text, set, want string }{
		"an unknown key of the study":  {text: tiny + "sereis: []\n", want: "sereis"},
		"an unknown key of the recipe": {text: strings.Replace(tiny, "batch=4", "bacth=4", 1), want: "bacth"},
		"an empty grid":                {text: "title: Nothing\n", want: "no series"},
		"a series without points":      {text: "title: Nothing\nseries: [{name: a}]\n", want: "no points"},
		"values without a key":         {text: "title: Nothing\nseries: [{name: a, values: [1]}]\n", want: "no key to vary"},
		"two series of one name":       {text: tiny + "  - {name: queue, vary: m, values: [0]}\n", want: "stands twice"},
		"no seeds":                     {text: strings.Replace(tiny, "seeds: 1", "seeds: 0", 1), want: "at least 1"},
		"an unknown axis":              {text: strings.Replace(tiny, "axis: log", "axis: lgo", 1), want: "lgo"},
		"zero on a log axis": {text: strings.Replace(tiny, "values: [8, 16]", "values: [0, 16]", 1),
			want: "logarithmic"},
		"a point that makes no sense": {text: strings.Replace(tiny, "batch=8", "batch=0", 1), want: `"end to end", point 7`},
		"a setting that is varied":    {text: tiny, set: "queue=9", want: `itself sets queue to what series "queue" compares`},
		"a seed":                      {text: tiny, set: "seed=9", want: "to 0, 1, ..."},
		"an unknown setting":          {text: tiny, set: "tt=9", want: "tt"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load(write(t, c.text))
			if err == nil {
				var settings []string
				if c.set != "" {
					settings = []string{c.set}
				}
				_, err = s.Runs(settings)
			}
			var recipe *recipe.Error
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") ||
				!errors.As(err, &recipe) {
				t.Errorf("the error is %v, which should say %q in one line", err, c.want)
			}
		})
	}
	if _, err := Load("mechanism"); err == nil || !strings.Contains(err.Error(), strings.Join(Names(), ", ")) {
		t.Errorf("an unknown study gives %v, which should list the names", err)
	}
}

func options(t *testing.T, text string) Options {
	t.Helper()
	s, err := Load(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	e, err := cpu.New(cpu.Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	open := func(path string) *data.Set {
		set, err := data.Open(context.Background(), path, data.Options{CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		return set
	}
	train := open("builtin:train?n=20&size=8")
	return Options{Study: s, Data: train, DataPath: "builtin", MonitorTrain: train,
		MonitorTest: open("builtin:test?n=10&size=8"), Out: t.TempDir(), Engine: e, Workers: 2}
}

// other tells whether an error is about a folder with another run, and names the change.
func other(err error, change string) bool {
	var e *pretrain.OtherError
	return errors.As(err, &e) && strings.Contains(err.Error(), change)
}

// count counts the runs that a study begins.
func count(o *Options) *int {
	n := new(int)
	o.Watch.Started = func(_ Run, at job.Place) {
		if !at.Before {
			*n++
		}
	}
	return n
}

func TestExecute(t *testing.T) {
	ctx := context.Background()
	o := options(t, tiny)
	began := count(&o)
	want, err := Execute(ctx, o)
	if err != nil || len(want) != 4 || *began != 4 {
		t.Fatalf("%d runs began, %d results, %v", *began, len(want), err)
	}
	for _, r := range want {
		if r.Failed != "" || r.Steps == 0 || r.ImagesPerSecond == 0 || len(r.Epochs) != 2 ||
			r.KNNTop1 != r.Accuracy[1] || len(r.Age) == 0 {
			t.Errorf("a result is %+v", r)
		}
	}
	for _, name := range []string{"accuracy", "curves"} {
		f, err := os.Open(filepath.Join(o.Out, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := png.DecodeConfig(f)
		f.Close()
		if err != nil || c.Width != 1200 || c.Height != 750 {
			t.Errorf("%s.png is %d x %d, %v", name, c.Width, c.Height, err)
		}
		if svg, err := os.ReadFile(filepath.Join(o.Out, name+".svg")); err != nil || !bytes.Contains(svg, []byte(">Tiny")) {
			t.Errorf("%s.svg does not hold its title: %v", name, err)
		}
	}

	*began = 0
	again, err := Execute(ctx, o)
	if err != nil || *began != 0 || fmt.Sprint(again) != fmt.Sprint(want) {
		t.Errorf("the second time %d runs begin, %v", *began, err)
	}
	o.Settings = []string{"lr=0.01"}
	if _, err := Execute(ctx, o); !other(err, "lr is 0.01 and was 0.06") {
		t.Errorf("another recipe in the same folder gives %v", err)
	}
	o.Settings, o.MonitorTest = nil, o.MonitorTrain
	if _, err := Execute(ctx, o); !other(err, "monitor images is ") {
		t.Errorf("other images to compare by, in the same folder, give %v", err)
	}
	o.Out, *began = t.TempDir(), 0
	if err := os.WriteFile(filepath.Join(o.Out, "table.md"), []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Execute(ctx, o); !errors.As(err, new(*job.OccupiedError)) || *began > 0 {
		t.Errorf("a foreign table gives %v, and %d runs begin", err, *began)
	}
}

// TestLocked: a folder in which another process works is an error, for the study and for a run in
// it. It is not a row of the table.
func TestLocked(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := options(t, tiny)
	began := count(&o)
	for _, folder := range []string{o.Out, filepath.Join(o.Out, "runs", "queue-8-seed0")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		_, release, err := lock.Folder(ctx, folder)
		if err != nil {
			t.Fatal(err)
		}
		var locked *pretrain.LockedError
		if results, err := Execute(ctx, o); !errors.As(err, &locked) || locked.Path != folder || len(results) > 0 {
			t.Errorf("while %s is locked: %d results, %v", folder, len(results), err)
		}
		release()
	}
	if *began != 1 {
		t.Errorf("%d runs began, want the one that was refused", *began)
	}
}

// TestOldResult: a result.json from before the images of the monitor were stored still holds. Its
// fields keep their names.
func TestOldResult(t *testing.T) {
	t.Parallel()
	o := options(t, tiny)
	runs, err := o.Study.Runs(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"series": "queue", "x": 8, "label": "8", "seed": 0, "knn_top1": 40.5, "loss": 1.5, "images_per_second": 100,
		"seconds": 2,
		"steps":   10, "epochs": []int{1, 2}, "accuracy": []float64{30, 40.5}, "age": []int{0, 7},
		"cosine": []float64{1, 0.9}, "others": 0.3,
		"recipe": recipe.Write(runs[0].Recipe), "data": o.Data.Fingerprint(),
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(o.Out, "runs", runs[0].Name)
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, job.File), raw, 0o644)); err != nil {
		t.Fatal(err)
	}
	state, got, err := o.job(runs[0], Result{Recipe: recipe.Write(runs[0].Recipe), Data: o.Data.Fingerprint(),
		Monitor: "m"}).State()
	want := Result{Series: "queue", X: 8, Label: "8", KNNTop1: 40.5, Loss: 1.5, ImagesPerSecond: 100, Seconds: 2, Steps: 10,
		Epochs: []float64{1, 2}, Accuracy: []float64{30, 40.5}, Age: []int{0, 7}, Cosine: []float64{1, 0.9}, Others: 0.3,
		Recipe: recipe.Write(runs[0].Recipe), Data: o.Data.Fingerprint()}
	if err != nil || state != job.Done || !reflect.DeepEqual(got, want) {
		t.Errorf("state %v (%v) with\n%+v\nwant\n%+v", state, err, got, want)
	}
}

// TestInterrupted: a study that is stopped in its second run keeps the first and has tables.
// Continued, it ends as if nothing had happened.
func TestInterrupted(t *testing.T) {
	whole := options(t, tiny)
	want, err := Execute(context.Background(), whole)
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, tiny)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.Watch.Events = func(r Run, e event.Event) {
		if _, step := e.(pretrain.Step); step && r.Name == "queue-16-seed0" {
			cancel()
		}
	}
	if have, err := Execute(ctx, o); !errors.Is(err, pretrain.ErrInterrupted) || len(have) != 1 {
		t.Fatalf("the interruption gives %v and %d results", err, len(have))
	}
	if raw, err := os.ReadFile(filepath.Join(o.Out, "table.md")); err != nil ||
		!strings.Contains(string(raw), "| queue | 16 | not run |") {
		t.Errorf("the table of the study so far is %s, %v", raw, err)
	}
	o.Settings = []string{"epochs=3"}
	if err := os.Rename(filepath.Join(o.Out, "runs", "queue-8-seed0"), filepath.Join(t.TempDir(), "done")); err != nil {
		t.Fatal(err)
	}
	if _, err := Execute(context.Background(), o); !other(err, "epochs is 3 and was 2") {
		t.Errorf("another length for a run that has begun gives %v", err)
	}
	o.Settings = nil
	o.Watch.Events = nil
	began := count(&o)
	got, err := Execute(context.Background(), o)
	// One run was removed, one was stopped in the middle.
	if err != nil || *began != 4 {
		t.Fatalf("going on begins %d runs, want 4: %v", *began, err)
	}
	for i := range want {
		if got[i].KNNTop1 != want[i].KNNTop1 || got[i].Loss != want[i].Loss ||
			fmt.Sprint(got[i].Accuracy) != fmt.Sprint(want[i].Accuracy) {
			t.Errorf("run %d ends as %+v, uninterrupted as %+v", i, got[i], want[i])
		}
	}
}

// TestFailures: a run that diverges has a final result. One that fails otherwise is a row, and is
// tried again.
func TestFailures(t *testing.T) {
	o := options(t, `
title: Failures
recipe: cifar
set: [encoder.width=0.0625, encoder.dim=8, views.size=8, bn_splits=1, batch=4, epochs=2, queue=8, precision=fp32]
x: {label: what, axis: categories}
series:
  - name: queue
    points: [{label: diverges, set: [lr=1e30]}, {label: does not fit, set: [batch=21]}, {label: works}]
`)
	began := count(&o)
	for want := range 2 {
		results, err := Execute(context.Background(), o)
		if err != nil || *began != 3-want*2 {
			t.Fatalf("time %d: %d runs began, %v", want, *began, err)
		}
		if results[0].Failed == "" || !strings.Contains(results[1].Failed, "20 images") || results[2].Failed != "" {
			t.Errorf("the runs end as %q, %q, %q", results[0].Failed, results[1].Failed, results[2].Failed)
		}
		*began = 0
	}
}

func TestTables(t *testing.T) {
	s, err := Load(write(t, strings.Replace(tiny, "[8, 16]", "[8, 16, 32]", 1)))
	if err != nil {
		t.Fatal(err)
	}
	result := func(series, label string, x float64, seed uint64, accuracy float64) Result {
		return Result{Series: series, Label: label, X: x, Seed: seed, KNNTop1: accuracy, Loss: 1.5,
			ImagesPerSecond: 100, Seconds: 2, Steps: 10}
	}
	failed := result("queue", "16", 16, 1, 0)
	failed.Failed = "the loss is NaN | at step 3"
	lost := result("end to end", "3", 3, 0, 0)
	lost.Failed = "the disk is full"
	results := []Result{result("queue", "8", 8, 0, 40), result("queue", "16", 16, 0, 45.5), lost,
		result("end to end", "7", 7, 0, 41), result("queue", "8", 8, 1, 41), failed}
	for i, cosine := range map[int]float64{0: 0.9, 4: 0.8} {
		results[i].Age, results[i].Cosine, results[i].Others = []int{0, 7}, []float64{1, cosine}, cosine-0.6
	}
	var table, rows bytes.Buffer
	if err := s.Markdown(&table, s.Summarise(results)); err != nil {
		t.Fatal(err)
	}
	want := `| series | K | kNN accuracy, % | lowest to highest | runs | loss | oldest keys | different images | images/s |
|---|---|---|---|---|---|---|---|---|
| queue | 8 | 40.50 | 40.00 to 41.00 | 2 | 1.500 | 0.850 (7 steps) | 0.250 | 100 |
| queue | 16 | 45.50 | 45.50 to 45.50 | 1, 1 failed | 1.500 |  |  | 100 |
| queue | 32 | not run | | 0 | | | | |
| end to end | 3 | failed | | 1 | | | | |
| end to end | 7 | 41.00 | 41.00 to 41.00 | 1 | 1.500 |  |  | 100 |

Best first: queue at 16 (45.50), end to end at 7 (41.00), queue at 8 (40.50).

queue at 16 failed, seed 1: the loss is NaN | at step 3.

end to end at 3 failed, seed 0: the disk is full.
`
	if table.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", table.String(), want)
	}
	if err := CSV(&rows, results[1:3]); err != nil {
		t.Fatal(err)
	}
	if want := "series,label,x,seed,knn_top1,loss,steps,images_per_second,seconds,failed\n" +
		"queue,16,16,0,45.5,1.5,10,100,2,\nend to end,3,3,0,,,10,100,2,the disk is full\n"; rows.String() != want {
		t.Errorf("the rows are\n%s\nwant\n%s", rows.String(), want)
	}
}

// TestManyPoints: if there are many points, each series shows only its best one, or the one with
// the oldest keys.
func TestManyPoints(t *testing.T) {
	s, err := Load(write(t, `
title: Many points
recipe: cifar
x: {label: K, axis: log}
series:
  - {name: queue, vary: queue, values: [256, 1024, 4096]}
  - {name: bank, set: [dictionary=bank], vary: queue, values: [256, 1024, 4096]}
  - {name: batch, set: [dictionary=batch], points: [{x: 63}, {x: 127}, {x: 255}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	for i, one := range s.Series {
		for j, p := range one.Points {
			r := Result{Series: one.Name, Label: p.label(), X: p.X, Epochs: []float64{1, 2},
				Accuracy: []float64{10, float64(10 + (j+i)%3)}}
			for age := range j + 2 {
				r.Age, r.Cosine = append(r.Age, age), append(r.Cosine, 1-0.1*float64(age))
			}
			second := r
			second.Seed, second.Accuracy = 1, []float64{12, r.Accuracy[1] + 2}
			results = append(results, r, second)
		}
	}
	learning, consistency := s.curves(results).Curves, s.consistency(results).Curves
	if len(learning) != 3 || len(consistency) != 3 {
		t.Fatalf("%d and %d curves, want one a series", len(learning), len(consistency))
	}
	for i, c := range learning {
		if best := s.Series[i].Points[2-i].label(); !strings.HasSuffix(c.Name, ", "+best) || c.Y[1] != 13 ||
			c.Low[1] != 12 || c.High[1] != 14 {
			t.Errorf("the curve of series %d is %+v, want that of %s", i, c, best)
		}
		if len(consistency[i].X) != 4 {
			t.Errorf("consistency of series %d has %d ages, want the longest, 4", i, len(consistency[i].X))
		}
	}
}
