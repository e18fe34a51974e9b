package study

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"moco/data"
	"moco/engine"
	"moco/pretrain"
	"moco/weights"
)

// Options say what a study is run on.
type Options struct {
	Study    *Study
	Settings []string // change every run's recipe
	Data     *data.Set
	DataPath string
	Out      string // holds runs/NAME/ with a folder for each run, and the tables and plots

	MonitorTrain, MonitorTest *data.Set // labelled: the kNN accuracy is what is compared
	MonitorEvery              int       // epochs; the last always is

	Engine  engine.Engine
	Workers int
	Started func(run Run, number, of int, left time.Duration) // may be nil; left is an estimate, 0 if there is none yet
	Events  func(Run, pretrain.Event)                         // of the runs; may be nil
	Log     *slog.Logger
}

// Result is what became of one run; it lies beside the run, and a run that has it is not done again.
type Result struct {
	Series          string    `json:"series"`
	X               float64   `json:"x"`
	Label           string    `json:"label"`
	Seed            uint64    `json:"seed"`
	Failed          string    `json:"failed,omitempty"` // why there is no accuracy
	KNNTop1         float64   `json:"knn_top1"`         // percent, after the last epoch
	Loss            float64   `json:"loss"`
	ImagesPerSecond float64   `json:"images_per_second"`
	Seconds         float64   `json:"seconds"`
	Steps           int       `json:"steps"`
	Epochs          []float64 `json:"epochs"`   // at which the accuracy was taken
	Accuracy        []float64 `json:"accuracy"` // percent
	// Consistency of the dictionary in the middle of training: cosine of stored keys with the same views encoded then, by age in steps.
	Age    []int     `json:"age,omitempty"`
	Cosine []float64 `json:"cosine,omitempty"`

	Recipe string `json:"recipe"` // and the data's fingerprint: what the result holds for
	Data   string `json:"data"`
}

// resultFile is the name of a run's result in its folder.
const resultFile = "result.json"

// Execute runs what of the study is not done yet and returns all results in the order of Study.Runs. A run that diverges is a result with a
// reason. When the context ends, the run in progress is saved, and the same call goes on with it.
func Execute(ctx context.Context, o Options) ([]Result, error) {
	runs, err := o.Study.Runs(o.Settings)
	if err != nil {
		return nil, err
	}
	fingerprint := o.Data.Fingerprint()
	results := make([]Result, len(runs))
	done := make([]bool, len(runs))
	var todo []int
	for i, run := range runs {
		want := Result{Recipe: pretrain.WriteRecipe(run.Recipe), Data: fingerprint}
		old, err := readResult(filepath.Join(o.folder(run), resultFile))
		switch {
		case err == nil && old.Recipe == want.Recipe && old.Data == want.Data:
			results[i], done[i] = old, true
		case err == nil:
			return nil, fmt.Errorf("%s holds a run of another recipe or other data; give another --out, or remove that folder to run it anew", o.folder(run))
		case errors.Is(err, os.ErrNotExist):
			todo = append(todo, i)
		default:
			return nil, fmt.Errorf("read the result of %s: %w; remove the file to run it anew", run.Name, err)
		}
	}
	began := time.Now()
	for number, i := range todo {
		if o.Started != nil {
			var left time.Duration
			if number > 0 {
				left = time.Since(began) / time.Duration(number) * time.Duration(len(todo)-number)
			}
			o.Started(runs[i], len(runs)-len(todo)+number+1, len(runs), left)
		}
		if results[i], err = o.one(ctx, runs[i], fingerprint); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (o Options) folder(run Run) string { return filepath.Join(o.Out, "runs", run.Name) }

// one runs a cell of the grid, or goes on with it.
func (o Options) one(ctx context.Context, run Run, fingerprint string) (Result, error) {
	folder := o.folder(run)
	_, err := os.Stat(filepath.Join(folder, "config.yaml"))
	p := pretrain.Options{Recipe: run.Recipe, Data: o.Data, DataPath: o.DataPath, Out: folder, Resume: err == nil,
		MonitorTrain: o.MonitorTrain, MonitorTest: o.MonitorTest, MonitorEvery: o.MonitorEvery, Consistency: true,
		Engine: o.Engine, Workers: o.Workers, Log: o.Log}
	p.Events = func(e pretrain.Event) {
		if o.Events != nil {
			o.Events(run, e)
		}
	}
	r := Result{Series: o.Study.Series[run.Series].Name, X: run.X, Label: run.Label, Seed: run.Seed, Recipe: pretrain.WriteRecipe(run.Recipe), Data: fingerprint}
	began := time.Now()
	done, err := pretrain.Run(ctx, p)
	var diverged *pretrain.DivergedError
	switch {
	case errors.As(err, &diverged):
		r.Failed = err.Error()
	case err != nil:
		return r, fmt.Errorf("run %s: %w", run.Name, err)
	default:
		r.KNNTop1, r.Loss, r.ImagesPerSecond, r.Steps = done.KNNTop1, done.Loss, done.ImagesPerSecond, done.Step
	}
	r.Seconds = time.Since(began).Seconds()
	if err := r.readLog(filepath.Join(folder, "log.jsonl"), run.Recipe.Epochs); err != nil {
		return r, err
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return r, err
	}
	_, err = weights.SaveFunc(filepath.Join(folder, resultFile), func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
	return r, err
}

// readLog takes the learning curve and the consistency in the middle of training from a run's log.
func (r *Result) readLog(path string, epochs int) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the run's log: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<22)
	accuracy := map[int]float64{}
	for lines.Scan() {
		var e struct {
			Event   string
			Epoch   int
			KNNTop1 float64 `json:"knn_top1"`
			Age     []int
			Cosine  []float64
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil { // a line that a kill cut short
			continue
		}
		switch {
		case e.Event == "monitor":
			accuracy[e.Epoch] = e.KNNTop1
		case e.Event == "consistency" && e.Epoch <= (epochs+1)/2:
			r.Age, r.Cosine = e.Age, e.Cosine
		}
	}
	for epoch := range epochs + 1 {
		if a, ok := accuracy[epoch]; ok {
			r.Epochs, r.Accuracy = append(r.Epochs, float64(epoch)), append(r.Accuracy, a)
		}
	}
	return lines.Err()
}

func readResult(path string) (Result, error) {
	var r Result
	raw, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(raw, &r)
}
