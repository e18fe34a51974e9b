package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/internal/event"
	"moco/pretrain"
	"moco/recipe"
	"moco/transfer"
)

func (a *app) transfer() *cobra.Command {
	t := transfer.Comparison{Linear: evaluate.DefaultLinear()}
	var learned, model, test string
	var settings, labels []string
	var epochs, tuningEpochs int
	c := &cobra.Command{
		Use:   "transfer --pretrain PATH --train PATH --test PATH --out DIR",
		Short: "Compare MoCo, supervised pretraining and none on other images",
		Long: `The paper's question: pretrain on some images, and see on others what that was worth. With each seed an encoder is trained on --pretrain by MoCo, which uses no labels,
and another with labels (class folders); a third keeps its random weights. On --train and --test, whose classes may be others, each is measured twice: by a linear
classifier on its frozen features (as moco eval linear, with all labels), and by fine-tuning all its weights with each share of --labels (as moco eval finetune).

--recipe and --set are MoCo's pretraining; the other arms have its encoder, views (crop and flip only) and precision. Supervised pretraining takes as many epochs,
in batches of 64, with a rate of 0.05 and a decay of 5e-4; --supervised-set changes that, --finetune-set the fine-tuning of all arms. With --model an encoder that is there
already stands for MoCo's.

DIR gets ARM/WHAT/seed-N/ with each run or result, results.json, and table.md: mean and lowest to highest over the seeds. They are written anew after each arm. Interrupt
at any time; the same command goes on and leaves out what is done.`,
		Example: `  moco transfer --pretrain animals/ --train vehicles/train --test vehicles/test --set encoder.width=0.25 --set bn_splits=1 --epochs 20 --seeds 3 --labels 1%,all --out transfer
  moco transfer --model run --pretrain photos/ --arms moco,scratch --train train.tar --test test.tar --out transfer`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			for _, l := range labels {
				share, err := data.ParseShare(l)
				if err != nil {
					return usageError{fmt.Errorf("--labels %w", err)}
				}
				t.Labels = append(t.Labels, share)
			}
			if t.Seeds < 1 {
				return usageError{fmt.Errorf("--seeds %d: must be at least 1", t.Seeds)}
			}
			for _, s := range settings {
				if strings.HasPrefix(s, "seed=") {
					return usageError{fmt.Errorf("--set %s: the runs have the seeds 0, 1, ...; say how many with --seeds", s)}
				}
			}
			if c.Flags().Changed("epochs") {
				settings = append(settings, fmt.Sprint("epochs=", epochs))
			}
			if c.Flags().Changed("finetune-epochs") {
				t.TuningSettings = append(t.TuningSettings, fmt.Sprint("epochs=", tuningEpochs))
			}
			if t.Recipe, err = recipe.Load(learned, settings); err != nil {
				return err
			}
			if m, err := t.Recipe.Mechanism(); err != nil {
				return err
			} else if m.Classifier() {
				return usageError{fmt.Errorf("--recipe %s is for %s training, and MoCo's arm learns without labels", learned, m)}
			}
			ctx := c.Context()
			e, err := a.engine()
			if err != nil {
				return err
			}
			t.Engine, t.Workers, t.Log = e, a.workers(), a.logger()
			if model != "" {
				if t.Model, err = a.openEncoder(model, encoder.Options{Engine: e, Batch: 1}); err != nil {
					return err
				}
				defer t.Model.Close()
				r := t.Model.Recipe
				t.Recipe.Encoder, t.Recipe.Views, t.Recipe.Precision = r.Encoder, r.Views, r.Precision
			}
			if t.Pretraining, err = a.open(ctx, t.PretrainingPath, data.Train); err != nil {
				return err
			}
			defer t.Pretraining.Close()
			sets, closeSets, err := a.openLabelled(ctx, t.TrainPath, test)
			if err != nil {
				return err
			}
			defer closeSets()
			t.Train, t.Test = sets[0], sets[1]
			if err := t.Check(); err != nil {
				return err
			}
			t.Linear.Milestones = []int{t.Linear.Epochs * 60 / 100, t.Linear.Epochs * 80 / 100}
			a.showTransfer(&t)
			outcomes, err := transfer.Compare(ctx, t)
			if errors.Is(err, pretrain.ErrInterrupted) {
				a.say("Stopped; what is done is kept. The same command goes on.")
			}
			if err != nil {
				return err
			}
			var files []string
			for _, name := range transfer.Files {
				files = append(files, filepath.Join(t.Out, name))
			}
			if a.json {
				return a.print(struct {
					Event  string         `json:"event"`
					Labels []string       `json:"labels"`
					Table  []transfer.Row `json:"table"`
					Files  []string       `json:"files"`
				}{"done", labels, t.Table(outcomes), files})
			}
			a.say("")
			if err := t.Markdown(a.out, t.Table(outcomes)); err != nil {
				return err
			}
			a.say("\nWritten: %s", strings.Join(files, ", "))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&t.PretrainingPath, "pretrain", "", "images to pretrain on; with class folders for the supervised arm (required)")
	f.StringVar(&t.TrainPath, "train", "", "labelled images that the classifiers learn from (required)")
	f.StringVar(&test, "test", "", "labelled images that they classify (required)")
	f.StringVar(&t.Out, "out", "", "folder of the comparison (required)")
	f.StringVar(&learned, "recipe", "cifar", "of MoCo's pretraining: name of a recipe, or a YAML file")
	f.StringArrayVar(&settings, "set", nil, "change a key of it: key=value (may be given several times)")
	f.IntVar(&epochs, "epochs", 0, "length of pretraining, MoCo's and the supervised one; the recipe's if not given")
	f.StringVar(&model, "model", "", "folder of a run, encoder.safetensors or checkpoint of PyTorch that stands for MoCo's pretraining")
	f.StringSliceVar(&t.Arms, "arms", transfer.Arms(), "what is compared")
	f.StringSliceVar(&labels, "labels", []string{"all"}, "shares of the labels to fine-tune with: all, 1%, or a number of each class")
	f.IntVar(&t.Seeds, "seeds", 1, "how often everything is done, with other random numbers")
	f.StringArrayVar(&t.SupervisedSettings, "supervised-set", nil, "change a key of supervised pretraining: key=value")
	f.StringArrayVar(&t.TuningSettings, "finetune-set", nil, "change a key of fine-tuning: key=value")
	f.IntVar(&tuningEpochs, "finetune-epochs", 0, "length of fine-tuning; by the number of images if not given")
	f.IntVar(&t.Linear.Epochs, "linear-epochs", t.Linear.Epochs, "length of the linear classifiers' training")
	a.threadsFlag(c)
	for _, name := range []string{"pretrain", "train", "test", "out"} {
		c.MarkFlagRequired(name)
	}
	return c
}

// showTransfer tells what a comparison does.
func (a *app) showTransfer(t *transfer.Comparison) {
	show := &trainView{app: a, part: true}
	var probes *linearView // of the part in progress
	tidy := func() {
		show.clear()
		if probes != nil {
			probes.clear()
			probes = nil
		}
	}
	t.Started = func(p transfer.Part, number, of int) {
		tidy()
		if a.json {
			a.print(struct {
				Event string `json:"event"`
				transfer.Part
				Number int `json:"number"`
				Of     int `json:"of"`
			}{"part", p, number, of})
			return
		}
		a.say("%d of %d: %v", number, of, p)
	}
	t.Events = func(_ transfer.Part, e event.Event) {
		switch e.(type) {
		case pretrain.Start, pretrain.Step, pretrain.Warning:
			show.event(e)
		}
	}
	t.Probing = func(_ transfer.Part, at evaluate.Progress) {
		if probes == nil {
			probes = &linearView{app: a, epochs: t.Linear.Epochs}
			probes.begin()
		}
		probes.progress(at)
	}
	t.Ended = func(p transfer.Part, top1 float64) {
		tidy()
		if a.json {
			a.print(struct {
				Event string `json:"event"`
				transfer.Part
				Top1 float64 `json:"top1"`
			}{"part_done", p, top1})
			return
		}
		a.say("  accuracy %.2f%%", top1)
	}
}
