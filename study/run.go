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
	Watch   Watch
	Log     *slog.Logger
}

// Watch is told how the runs of a study go.
type Watch = job.Watch[Run, Result]

// Place is where among the runs of a study one stands.
type Place = job.Place

// SetError is the error of a setting that the study makes itself.
type SetError = job.SetError

// Result is what became of one run. It lies in the run's folder, and a run that has it is not done
// again.
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
	// Consistency of the dictionary in the middle of training: the cosine of stored keys with the
	// same views encoded then, by age in steps.
	Age    []int     `json:"age,omitempty"`
	Cosine []float64 `json:"cosine,omitempty"`
	Others float64   `json:"others,omitempty"` // the cosine of different images

	Recipe  string `json:"recipe"`            // what the result holds for, with the two below
	Data    string `json:"data"`              // fingerprint of the images
	Monitor string `json:"monitor,omitempty"` // fingerprints of those that the accuracy is about

	again bool // it failed in a way that may go better another time
}

// Identity is the recipe and the images that the result holds for.
func (r Result) Identity() job.Identity {
	return job.Identity{
		{Name: "recipe", Value: r.Recipe}, {Name: "images", Value: r.Data},
		{Name: "monitor images", Value: r.Monitor, Newer: true},
	}
}

// Execute runs what of the study is not done yet and returns all results in the order of
// Study.Runs; after each run it writes the tables and plots anew. A run that diverges or fails is a
// result with its reason; one that failed for another reason than its numbers is tried again the
// next time. When the context ends, the run in progress is saved, and the same call goes on with
// it; the results so far are returned with the error. A folder with another study's run in it is a
// *pretrain.OtherError, one in which another process works a *pretrain.LockedError.
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

// job is a cell of the grid as a job, whose result completes a blank one.
func (o Options) job(run Run, blank Result) job.Job[Result] {
	folder := filepath.Join(o.Out, "runs", run.Name)
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

// run runs a cell of the grid, or goes on with it, and completes its result.
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

// refused tells whether a run was not done because its folder is another's.
func refused(err error) bool {
	return errors.As(err, new(*pretrain.OtherError)) || errors.As(err, new(*pretrain.LockedError))
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
