package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/internal/event"
	"moco/internal/job"
	"moco/pretrain"
	"moco/study"
)

func compareHelp() string {
	return paragraphs(`Run a study: a grid of recipes on the same images, each with several seeds, compared by kNN accuracy
after the last epoch.`,
		`Studies that come with moco:
`+strings.Join(study.Names(), ", ")+`.
A file of your own has the same form:`,
		`  title: Momentum
  recipe: cifar
  set: [encoder.width=0.25, epochs=10]
  seeds: 2
  x: {label: momentum m, axis: categories}      # linear, log or categories
  series:
    - {name: queue, vary: m, values: [0, 0.9, 0.99]}
    - name: batch
      set: [dictionary=batch]
      points: [{x: 127, set: [batch=128]}, {x: 255, set: [batch=256]}]`,
		`DIR gets runs/NAME/ with each run, results.csv (a row a run), table.md (mean and spread over
seeds), and the plots accuracy, curves and consistency as PNG and SVG. Consistency is the mean
cosine between a dictionary's stored keys and the same views encoded now, by the keys' age, in the
middle of training.`,
		`Tables and plots are written anew after each run. Interrupt at any time; the same command goes on
where it stopped and leaves out what is done. A run that diverges or fails is a row with its
reason.`)
}

const compareExample = `  moco compare --study momentum --data cifar10/train.tar --limit 10000 \
       --monitor-train cifar10/train.tar --monitor-test cifar10/test.tar --out momentum
  moco compare --study mechanisms --data builtin:train --monitor-train builtin:train \
       --monitor-test builtin:test --epochs 4 --seeds 1 --out try`

// compareOptions are those of `moco compare`.
type compareOptions struct {
	machine
	name, data, out           string
	monitorTrain, monitorTest string
	set                       []string
	epochs                    float64
	seeds                     int
	limit, every              int

	study *study.Study
}

func init() { register("", (*app).compareCommand) }

func (a *app) compareCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "compare --study NAME|FILE --data PATH --out DIR",
		Short:   "Run a grid of recipes and set the results side by side",
		Long:    compareHelp(),
		Example: compareExample,
	}
	return subcommand(a, c, &compareOptions{}, runCompare)
}

func (o *compareOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.name, "study", "", "name of a study, or a YAML file (required)")
	pathsFlag(c, &o.data, "data", "images to learn from (required)")
	pathsFlag(c, &o.monitorTrain, "monitor-train", "labelled images: the bank of the kNN accuracy (required)")
	pathsFlag(c, &o.monitorTest, "monitor-test", "labelled images that are classified (required)")
	f.StringVar(&o.out, "out", "", "folder of the study (required)")
	f.StringArrayVar(&o.set, "set", nil, "change a key of every recipe: key=value (may be given several times)")
	f.IntVar(&o.seeds, "seeds", 0, "runs of each point; the study's own number if not given")
	f.Float64Var(&o.epochs, "epochs", 0, "length of every run; the study's own if not given")
	f.IntVar(&o.limit, "limit", 0, "use only so many of the images that are learned from and of the bank, every class equally; 0 is all")
	f.IntVar(&o.every, "monitor-every", 1, "epochs from one kNN accuracy to the next; the last epoch always has one")
	o.machine.bind(c)
	required(c, "study", "data", "monitor-train", "monitor-test", "out")
}

func (o *compareOptions) parse(c *cobra.Command, _ []string) (err error) {
	if o.study, err = study.Load(o.name); err != nil {
		return err
	}
	if c.Flags().Changed("seeds") {
		if o.seeds < 1 {
			return usagef("--seeds %d: must be at least 1", o.seeds)
		}
		o.study.Seeds = o.seeds
	}
	o.set = append(o.set, settings(c, []setting{{"epochs", "epochs", o.epochs}})...)
	_, err = o.study.Runs(o.set)
	return err
}

func runCompare(ctx context.Context, a *app, o *compareOptions) (result, error) {
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	s := study.Options{Study: o.study, Settings: o.set, DataPath: o.data, Out: o.out, MonitorEvery: o.every,
		Engine: e, Workers: o.workers(), Log: a.logger()}
	sets := studySets{app: a, limit: o.limit, open: map[string]*data.Set{}}
	defer sets.close()
	if s.Data, err = sets.get(ctx, o.data, data.Train); err != nil {
		return nil, err
	}
	if s.MonitorTrain, err = sets.get(ctx, o.monitorTrain, data.Train); err != nil {
		return nil, err
	}
	if s.MonitorTest, err = sets.get(ctx, o.monitorTest, data.Test); err != nil {
		return nil, err
	}
	err = labelled("runs are compared by kNN accuracy, which needs labelled images",
		map[string]*data.Set{o.monitorTrain: s.MonitorTrain, o.monitorTest: s.MonitorTest})
	if err != nil {
		return nil, err
	}
	a.showStudy(&s)
	results, err := study.Execute(ctx, s)
	if errors.Is(err, pretrain.ErrInterrupted) {
		a.say(stoppedHalfway)
	}
	if err != nil {
		return nil, err
	}
	files, err := o.study.Write(o.out, results)
	if err != nil {
		return nil, err
	}
	return &compared{studyDone{Results: results, Files: files}, o}, nil
}

// studySets opens each set of a study once.
type studySets struct {
	app   *app
	limit int // of images to learn from; 0: all
	open  map[string]*data.Set
}

// get opens a part of what a path holds, or gives the one that is open.
func (s *studySets) get(ctx context.Context, path string, part data.Part) (*data.Set, error) {
	key := fmt.Sprint(part, path) // one path may hold both parts
	if s.open[key] == nil {
		set, err := s.app.open(ctx, path, part)
		if err != nil {
			return nil, err
		}
		s.open[key] = set
	}
	if part == data.Train && s.limit > 0 && s.limit < s.open[key].Len() { // all of the test images are classified
		return s.open[key].Sample(s.limit, 0)
	}
	return s.open[key], nil
}

func (s *studySets) close() {
	for _, set := range s.open {
		set.Close()
	}
}

// showStudy shows the runs of a study.
func (a *app) showStudy(o *study.Options) {
	show := &trainView{screen: &a.screen, part: true}
	o.Watch.Started = func(r study.Run, at job.Place) {
		if at.Before {
			return
		}
		a.tell(studyRun{Run: r.Name, Number: at.Number, Of: at.Of, SecondsLeft: at.Left.Seconds()}, func() {
			about := ""
			if at.Left > 0 {
				about = fmt.Sprintf(", about %v left", at.Left.Round(time.Minute))
			}
			a.say("Run %d of %d: %s%s", at.Number, at.Of, r.Name, about)
		})
	}
	o.Watch.Events = func(_ study.Run, e event.Event) {
		switch e := e.(type) {
		case pretrain.Start:
			show.bar = a.progress(e.Steps, "step")
		case pretrain.Step, pretrain.Monitor, pretrain.Warning:
			show.event(e)
		}
	}
	o.Watch.Ended = func(run study.Run, at job.Place, r study.Result) {
		if at.Before {
			return
		}
		show.bar.clear()
		e := studyRunDone{Run: run.Name, Seed: r.Seed, KNNTop1: r.KNNTop1, Loss: r.Loss, ImagesPerSecond: r.ImagesPerSecond, Failed: r.Failed}
		a.tell(e, func() {
			if r.Failed != "" {
				a.say("  failed: %s", r.Failed)
				return
			}
			a.say("  kNN accuracy %.2f%%, loss %.3f, %.0f images/s", r.KNNTop1, r.Loss, r.ImagesPerSecond)
		})
	}
}

// compared is the result of a study.
type compared struct {
	studyDone
	o *compareOptions
}

func (r *compared) event() event.Event { return r.studyDone }

func (r *compared) text(s *screen) error {
	if err := r.o.study.Markdown(s.people(), r.o.study.Summarise(r.Results)); err != nil {
		return err
	}
	s.say("\nWritten: %s", strings.Join(within(r.o.out, r.Files), ", "))
	return nil
}

// within are files of a folder.
func within(folder string, names []string) []string {
	files := make([]string, len(names))
	for i, name := range names {
		files[i] = filepath.Join(folder, name)
	}
	return files
}
