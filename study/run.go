package study

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"moco/data"
	"moco/engine"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
)

// Options say what a study works on.
type Options struct {
	Study    *Study
	Settings []string // applied to every run's recipe
	Data     *data.Set
	DataPath string
	Out      string // gets runs/NAME/ for each run, and the tables and plots

	MonitorTrain, MonitorTest *data.Set // labelled: the study compares the kNN accuracy on them
	MonitorEvery              int       // epochs; the last epoch always counts

	Engine  engine.Engine
	Workers int
	Watch   Watch
	Log     *slog.Logger
}

// Watch is told about the runs of a study.
type Watch = job.Watch[Run, Result]

// Place is a run's place among the runs of a study.
type Place = job.Place

// SetError is the error of a setting of a key that the study itself sets.
type SetError = job.SetError

// Result is the outcome of one run. It lies in the run's folder. A run that has one is not
// repeated.
type Result struct {
	Series          string    `json:"series"`
	X               float64   `json:"x"`
	Label           string    `json:"label"`
	Seed            uint64    `json:"seed"`
	Failed          string    `json:"failed,omitempty"` // the reason if there is no accuracy
	KNNTop1         float64   `json:"knn_top1"`         // percent, after the last epoch
	Loss            float64   `json:"loss"`
	ImagesPerSecond float64   `json:"images_per_second"`
	Seconds         float64   `json:"seconds"`
	Steps           int       `json:"steps"`
	Epochs          []float64 `json:"epochs"`   // epochs at which the accuracy was measured
	Accuracy        []float64 `json:"accuracy"` // percent
	// Consistency of the dictionary in the middle of training: the cosine of stored keys with keys
	// of the same views made at that time, by age in steps.
	Age    []int     `json:"age,omitempty"`
	Cosine []float64 `json:"cosine,omitempty"`
	Others float64   `json:"others,omitempty"` // the cosine of different images

	// The result holds for this recipe, these data and this monitor.
	Recipe  string `json:"recipe"`
	Data    string `json:"data"`              // fingerprint of the images
	Monitor string `json:"monitor,omitempty"` // fingerprints of the images that the accuracy is about

	again bool // it failed in a way that may succeed another time
}

// Identity is the recipe and the images that the result holds for.
func (r Result) Identity() job.Identity {
	return job.Identity{
		{Name: "recipe", Value: r.Recipe}, {Name: "images", Value: r.Data},
		{Name: "monitor images", Value: r.Monitor, Newer: true},
	}
}

// Execute does the runs of the study that are not done yet and returns all results in the order of
// Study.Runs. After each run it writes the tables and plots anew.
//
// A run that diverges or fails gives a result with its reason. If the reason was not in its
// numbers, the run is tried again the next time. When the context ends, Execute saves the run in
// progress and returns the results so far with the error. The same call then continues. A folder
// with another study's run is a *pretrain.OtherError, one in which another process works a
// *pretrain.LockedError, and one that holds a file of a result's name and no run a
// *job.OccupiedError.
func Execute(ctx context.Context, o Options) ([]Result, error) {
	runs, err := o.Study.Runs(o.Settings)
	if err != nil {
		return nil, err
	}
	ctx, release, err := job.Hold(ctx, o.Out)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := job.Free(o.Out, []string{runsFolder}, files()); err != nil {
		return nil, err
	}
	list := job.List[Run, Result]{Watch: o.Watch, After: func(done []Result) error {
		_, err := o.Study.Write(o.Out, done)
		return err
	}}
	images, monitor := o.Data.Fingerprint(), o.MonitorTrain.Fingerprint()+" "+o.MonitorTest.Fingerprint()
	for _, run := range runs {
		blank := Result{Series: o.Study.Series[run.Series].Name, X: run.X, Label: run.Label, Seed: run.Seed,
			Recipe: recipe.Write(run.Recipe), Data: images, Monitor: monitor}
		list.Tasks = append(list.Tasks, job.Task[Run, Result]{Part: run, Job: o.job(run, blank)})
	}
	return list.Do(ctx)
}

// job makes a job of a cell of the grid. It completes a blank result.
func (o Options) job(run Run, blank Result) job.Job[Result] {
	folder := filepath.Join(o.Out, runsFolder, run.Name)
	return job.Job[Result]{
		Folder: folder, Identity: blank.Identity(),
		Begun: func() (bool, error) { return pretrain.Begun(folder, run.Recipe.Epochs) },
		Work: func(ctx context.Context, resume bool) (Result, error) {
			r := blank
			err := o.run(ctx, run, folder, resume, &r)
			return r, err
		},
		Again: func(r Result) bool { return r.again },
	}
}

// run runs a cell of the grid, or continues it, and completes its result.
func (o Options) run(ctx context.Context, run Run, folder string, resume bool, r *Result) error {
	began := time.Now()
	done, err := pretrain.Run(ctx, pretrain.Options{
		Recipe: run.Recipe, Data: o.Data, DataPath: o.DataPath, Out: folder, Resume: resume,
		Monitor:     pretrain.MonitorOptions{Train: o.MonitorTrain, Test: o.MonitorTest, Every: o.MonitorEvery},
		Consistency: true, Engine: o.Engine, Workers: o.Workers, Log: o.Log, Events: o.Watch.Tell(run),
	})
	if err != nil && (ctx.Err() != nil || refused(err)) {
		return err
	}
	if err != nil {
		r.Failed, r.again = err.Error(), !errors.As(err, new(*pretrain.DivergedError))
	} else {
		r.KNNTop1, r.Loss, r.ImagesPerSecond, r.Steps = done.KNNTop1, done.Loss, done.ImagesPerSecond, done.Step
	}
	r.Seconds = time.Since(began).Seconds()
	return r.readLog(folder, int(math.Ceil(float64(run.Recipe.Epochs))))
}

// refused tells whether a run was not done because its folder holds something else.
func refused(err error) bool {
	return errors.As(err, new(*pretrain.OtherError)) || errors.As(err, new(*pretrain.LockedError))
}

// readLog reads the learning curve, and the consistency in the middle of training, from a run's
// log.
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
			// A run that had only its last monitor left to do measured no rate.
			if measured == 0 && e.ImagesPerSecond > 0 {
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
