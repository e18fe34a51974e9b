package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/internal/event"
	"moco/pretrain"
	"moco/study"
)

func (a *app) compare() *cobra.Command {
	var name, path, out, monitorTrain, monitorTest string
	var settings []string
	var seeds, epochs, limit, every int
	c := &cobra.Command{
		Use:   "compare --study NAME|FILE --data PATH --out DIR",
		Short: "Run a grid of recipes and set the results side by side",
		Long: `Run a study: a grid of recipes on the same images, each with several seeds, compared by kNN accuracy after the last epoch.

Studies that come with moco: ` + strings.Join(study.Names(), ", ") + `. A file of your own has the same form:

  title: Momentum
  recipe: cifar
  set: [encoder.width=0.25, epochs=10]
  seeds: 2
  x: {label: momentum m, axis: categories}      # linear, log or categories
  series:
    - {name: queue, vary: m, values: [0, 0.9, 0.99]}
    - {name: batch, set: [dictionary=batch], points: [{x: 127, set: [batch=128]}, {x: 255, set: [batch=256]}]}

DIR gets runs/NAME/ with each run, results.csv (a row a run), table.md (mean and spread over seeds), and the plots accuracy, curves and consistency
as PNG and SVG. Consistency is the mean cosine between a dictionary's stored keys and the same views encoded now, by the keys' age, in the middle of training.

Tables and plots are written anew after each run. Interrupt at any time; the same command goes on where it stopped and leaves out what is done. A run that
diverges or fails is a row with its reason.`,
		Example: `  moco compare --study momentum --data cifar10/train.tar --limit 10000 --monitor-train cifar10/train.tar --monitor-test cifar10/test.tar --out momentum
  moco compare --study mechanisms --data builtin:train --monitor-train builtin:train --monitor-test builtin:test --epochs 4 --seeds 1 --out try`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := study.Load(name)
			if err != nil {
				return err
			}
			if c.Flags().Changed("seeds") {
				if s.Seeds = seeds; seeds < 1 {
					return usageError{fmt.Errorf("--seeds %d: must be at least 1", seeds)}
				}
			}
			if c.Flags().Changed("epochs") {
				settings = append(settings, fmt.Sprint("epochs=", epochs))
			}
			if _, err := s.Runs(settings); err != nil { // before anything is opened
				return err
			}
			ctx := c.Context()
			e, err := a.engine()
			if err != nil {
				return err
			}
			o := study.Options{Study: s, Settings: settings, DataPath: path, Out: out, MonitorEvery: every, Engine: e, Workers: a.workers(), Log: a.logger()}
			sets := map[string]*data.Set{}
			open := func(path string, part data.Part) (*data.Set, error) {
				key := fmt.Sprint(part, path) // one path may hold both parts
				if sets[key] == nil {
					set, err := a.open(ctx, path, part)
					if err != nil {
						return nil, err
					}
					sets[key] = set
				}
				if part == data.Train && limit > 0 && limit < sets[key].Len() { // all of the test images are classified
					return sets[key].Sample(limit, 0)
				}
				return sets[key], nil
			}
			defer func() {
				for _, set := range sets {
					set.Close()
				}
			}()
			if o.Data, err = open(path, data.Train); err != nil {
				return err
			}
			if o.MonitorTrain, err = open(monitorTrain, data.Train); err != nil {
				return err
			}
			if o.MonitorTest, err = open(monitorTest, data.Test); err != nil {
				return err
			}
			for path, set := range map[string]*data.Set{monitorTrain: o.MonitorTrain, monitorTest: o.MonitorTest} {
				if set.Classes() == nil {
					return fmt.Errorf("runs are compared by kNN accuracy, which needs labelled images, and %s holds none: give class folders", path)
				}
			}
			show := &trainView{app: a, part: true}
			o.Started = func(r study.Run, number, of int, left time.Duration) {
				if a.json {
					a.print(struct {
						Event       string  `json:"event"`
						Run         string  `json:"run"`
						Number      int     `json:"number"`
						Of          int     `json:"of"`
						SecondsLeft float64 `json:"seconds_left"`
					}{"run", r.Name, number, of, left.Seconds()})
					return
				}
				about := ""
				if left > 0 {
					about = fmt.Sprintf(", about %v left", left.Round(time.Minute))
				}
				a.say("Run %d of %d: %s%s", number, of, r.Name, about)
			}
			o.Events = func(r study.Run, e event.Event) {
				switch e := e.(type) {
				case pretrain.Start, pretrain.Saved, pretrain.Consistency, pretrain.Epoch, pretrain.Done:
				default:
					show.event(e)
				}
			}
			o.Ended = func(run study.Run, r study.Result) {
				show.clear()
				switch {
				case a.json:
					a.print(struct {
						Event           string  `json:"event"`
						Run             string  `json:"run"`
						Seed            uint64  `json:"seed"`
						KNNTop1         float64 `json:"knn_top1"`
						Loss            float64 `json:"loss"`
						ImagesPerSecond float64 `json:"images_per_second"`
						Failed          string  `json:"failed,omitempty"`
					}{"run_done", run.Name, r.Seed, r.KNNTop1, r.Loss, r.ImagesPerSecond, r.Failed})
				case r.Failed != "":
					a.say("  failed: %s", r.Failed)
				default:
					a.say("  kNN accuracy %.2f%%, loss %.3f, %.0f images/s", r.KNNTop1, r.Loss, r.ImagesPerSecond)
				}
			}
			results, err := study.Execute(ctx, o)
			if errors.Is(err, pretrain.ErrInterrupted) {
				a.say("Stopped; what is done is kept. The same command goes on.")
			}
			if err != nil {
				return err
			}
			files, err := s.Write(out, results)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(struct {
					Event   string         `json:"event"`
					Results []study.Result `json:"results"`
					Files   []string       `json:"files"`
				}{"done", results, files})
			}
			if err := s.Markdown(a.out, s.Summarise(results)); err != nil {
				return err
			}
			for i := range files {
				files[i] = filepath.Join(out, files[i])
			}
			a.say("\nWritten: %s", strings.Join(files, ", "))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&name, "study", "", "name of a study, or a YAML file (required)")
	f.StringVar(&path, "data", "", "images to learn from (required)")
	f.StringVar(&monitorTrain, "monitor-train", "", "labelled images: the bank of the kNN accuracy (required)")
	f.StringVar(&monitorTest, "monitor-test", "", "labelled images that are classified (required)")
	f.StringVar(&out, "out", "", "folder of the study (required)")
	f.StringArrayVar(&settings, "set", nil, "change a key of every recipe: key=value (may be given several times)")
	f.IntVar(&seeds, "seeds", 0, "runs of each point; the study's own number if not given")
	f.IntVar(&epochs, "epochs", 0, "length of every run; the study's own if not given")
	f.IntVar(&limit, "limit", 0, "use only so many of the images that are learned from and of the bank, every class equally; 0 is all")
	f.IntVar(&every, "monitor-every", 1, "epochs from one kNN accuracy to the next; the last epoch always has one")
	a.threadsFlag(c)
	for _, name := range []string{"study", "data", "monitor-train", "monitor-test", "out"} {
		c.MarkFlagRequired(name)
	}
	return c
}
