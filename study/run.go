package study

import (
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
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/pretrain"
	"moco/recipe"
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
	Events  func(Run, event.Event)                            // of the runs; may be nil
	Ended   func(Run, Result)                                 // a run was done, or failed; may be nil
	Log     *slog.Logger
}

// Result is what became of one run; it lies in the run's folder, and a run that has it is not done again.
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
	Others float64   `json:"others,omitempty"` // the cosine of different images

	Recipe string `json:"recipe"` // and the data's fingerprint: what the result holds for
	Data   string `json:"data"`
	// Monitor is the fingerprints of the images that the accuracy is about; results from before it was kept have none.
	Monitor string `json:"monitor,omitempty"`
}

// resultFile is the name of a run's result in its folder.
const resultFile = "result.json"

// Execute runs what of the study is not done yet and returns all results in the order of Study.Runs; after each run it writes the tables and plots anew. A run
// that diverges or fails is a result with its reason; one that failed for another reason than its numbers is tried again the next time. When the context ends,
// the run in progress is saved, and the same call goes on with it; the results so far are returned with the error.
func Execute(ctx context.Context, o Options) ([]Result, error) {
	runs, err := o.Study.Runs(o.Settings)
	if err != nil {
		return nil, err
	}
	fingerprint, monitor := o.Data.Fingerprint(), o.MonitorTrain.Fingerprint()+" "+o.MonitorTest.Fingerprint()
	results := make([]Result, len(runs))
	done := make([]bool, len(runs))
	var todo []int
	for i, run := range runs {
		old, err := readResult(filepath.Join(o.folder(run), resultFile))
		switch {
		case errors.Is(err, os.ErrNotExist):
			if err := o.sameLength(run); err != nil {
				return nil, err
			}
			todo = append(todo, i)
		case err != nil:
			return nil, fmt.Errorf("read the result of %s: %w; remove the file to run it anew", run.Name, err)
		case old.Recipe == recipe.Write(run.Recipe) && old.Data == fingerprint && (old.Monitor == "" || old.Monitor == monitor):
			results[i], done[i] = old, true
		default:
			return nil, fmt.Errorf("%s holds a run of another recipe or other data; give another --out, or remove that folder to run it anew", o.folder(run))
		}
	}
	soFar := func() []Result {
		var have []Result
		for i := range results {
			if done[i] {
				have = append(have, results[i])
			}
		}
		return have
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
		r, err := o.one(ctx, runs[i], Result{Series: o.Study.Series[runs[i].Series].Name, X: runs[i].X, Label: runs[i].Label, Seed: runs[i].Seed,
			Recipe: recipe.Write(runs[i].Recipe), Data: fingerprint, Monitor: monitor})
		if err != nil {
			_, unwritten := o.Study.Write(o.Out, soFar())
			return soFar(), errors.Join(err, unwritten)
		}
		results[i], done[i] = r, true
		if o.Ended != nil {
			o.Ended(runs[i], r)
		}
		if _, err := o.Study.Write(o.Out, soFar()); err != nil {
			return soFar(), err
		}
	}
	return results, nil
}

// sameLength refuses to go on with a run that began with another number of epochs. Its trainer would stretch the schedule, and the result would not be
// that of a run of this length; any other change of the recipe it refuses itself.
func (o Options) sameLength(run Run) error {
	if began, ok := pretrain.Began(o.folder(run)); ok && began.Epochs != run.Recipe.Epochs {
		return fmt.Errorf("%s began as a run of %d epochs, not %d; give another --out, or remove that folder to run it anew", o.folder(run), began.Epochs, run.Recipe.Epochs)
	}
	return nil
}

func (o Options) folder(run Run) string { return filepath.Join(o.Out, "runs", run.Name) }

// one runs a cell of the grid, or goes on with it, and completes its result.
func (o Options) one(ctx context.Context, run Run, r Result) (Result, error) {
	folder := o.folder(run)
	p := pretrain.Options{Recipe: run.Recipe, Data: o.Data, DataPath: o.DataPath, Out: folder, Resume: pretrain.IsRun(folder),
		Monitor: pretrain.MonitorOptions{Train: o.MonitorTrain, Test: o.MonitorTest, Every: o.MonitorEvery}, Consistency: true,
		Engine: o.Engine, Workers: o.Workers, Log: o.Log}
	p.Events = func(e event.Event) {
		if o.Events != nil {
			o.Events(run, e)
		}
	}
	began := time.Now()
	done, err := pretrain.Run(ctx, p)
	if ctx.Err() != nil && err != nil {
		return r, err
	}
	var diverged *pretrain.DivergedError
	again := false // it may go better another time
	if err != nil {
		r.Failed, again = err.Error(), !errors.As(err, &diverged)
	} else {
		r.KNNTop1, r.Loss, r.ImagesPerSecond, r.Steps = done.KNNTop1, done.Loss, done.ImagesPerSecond, done.Step
	}
	r.Seconds = time.Since(began).Seconds()
	if err := r.readLog(folder, run.Recipe.Epochs); err != nil {
		return r, err
	}
	if again {
		return r, nil
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return r, err
	}
	_, err = atomicfile.Save(filepath.Join(folder, resultFile), func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
	return r, err
}

// readLog takes the learning curve and the consistency in the middle of training from a run's log.
func (r *Result) readLog(folder string, epochs int) error {
	accuracy, measured := map[int]float64{}, r.ImagesPerSecond
	for e, err := range pretrain.ReadLog(pretrain.LogPath(folder)) {
		if err != nil {
			return err
		}
		switch e := e.(type) {
		case *pretrain.Monitor:
			accuracy[e.Epoch] = e.KNNTop1
		case *pretrain.Consistency:
			if e.Epoch <= (epochs+1)/2 {
				r.Age, r.Cosine, r.Others = e.Age, e.Cosine, e.Others
			}
		case *pretrain.Epoch:
			if measured == 0 && e.ImagesPerSecond > 0 { // a run that only had its last monitor to do measured none
				r.ImagesPerSecond = e.ImagesPerSecond
			}
		}
	}
	for epoch := range epochs + 1 {
		if a, ok := accuracy[epoch]; ok {
			r.Epochs, r.Accuracy = append(r.Epochs, float64(epoch)), append(r.Accuracy, a)
		}
	}
	return nil
}

func readResult(path string) (Result, error) {
	var r Result
	raw, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(raw, &r)
}
