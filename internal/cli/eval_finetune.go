package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/internal/event"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
	"moco/transfer"
)

const finetuneHelp = `Fine-tune an encoder: put a new classifier on it, train all weights with labels, and classify the
test images. With --model scratch the weights start at random: what the labels alone give, to
compare with. The encoder is then that of --recipe: the config.yaml of a run makes it like that
run's.

--labels says how many of the training images keep their labels: all, a percentage of each class
(1%), or a number of each class (10). Each seed draws its own share, head, order and views; the
same seed draws the same share for every model. Labels are learned from crops and flips of the
image.

Without more said: batches of 64; 10 epochs of 50,000 images, and more of fewer by the root of
their number (32 of 5,000, 100 of 500), so that fewer labels take less time in all; SGD with a
cosine from a rate of 0.05, and a decay of 5e-4; for a transformer AdamW from 5e-4 with a decay of
0.05, a twentieth of the epochs as warm-up, and layer_decay 0.75 if it was trained before. --set
changes other keys of the recipe.

With --out DIR each seed has a run's folder in it (DIR/seed-0, ...) whose encoder.safetensors is the
classifier. Interrupt at any time; the same command goes on with the same bits, and does not repeat
what is done. Without --out nothing is kept.`

const finetuneExample = `  moco eval finetune --model run --train cifar10/train.tar --test cifar10/test.tar \
       --labels 1% --seeds 3
  moco eval finetune --model scratch --recipe run/config.yaml --train train.tar --test test.tar
  moco eval finetune --model encoder.safetensors --train train/ --test test/ --labels 10 \
       --epochs 50 --lr 0.01 --out tuned`

// scratch is the model of random weights.
const scratch = "scratch"

// finetuneOptions are those of `moco eval finetune`.
type finetuneOptions struct {
	machine
	model, recipe, train, test, labels, out string
	set                                     []string
	epochs                                  float64
	seeds, batch                            int
	rate, decay                             float64

	share data.Share
	like  moco.Recipe // from scratch
}

func init() { register("eval", (*app).finetuneCommand) }

func (a *app) finetuneCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "finetune --model DIR|FILE|scratch --train PATH --test PATH",
		Short:   "Train all weights on from an encoder, with labels",
		Long:    finetuneHelp,
		Example: finetuneExample,
	}
	return subcommand(a, c, &finetuneOptions{}, runFinetune)
}

func (o *finetuneOptions) bind(c *cobra.Command) {
	modelFlag(c, &o.model, "; or scratch (required)")
	f := c.Flags()
	f.StringVar(
		&o.recipe,
		"recipe",
		"cifar",
		"for --model scratch: name of a recipe, or a YAML file, whose encoder, views and precision are taken",
	)
	pathsFlag(c, &o.train, "train", "labelled images to learn from (required)")
	pathsFlag(c, &o.test, "test", "labelled images to classify (required)")
	f.StringVar(&o.labels, "labels", "all", "share of the training images to learn from: all, 1%, or a number of each class")
	f.IntVar(&o.seeds, "seeds", 1, "runs, each with another share of the labels and other random numbers")
	f.StringArrayVar(&o.set, "set", nil, "change a key of the recipe: key=value (may be given several times)")
	f.StringVar(&o.out, "out", "", "folder that keeps the runs, to go on with and to use")
	f.Float64Var(&o.epochs, "epochs", 0, "passes over the labelled images; by their number if not given")
	f.IntVar(&o.batch, "batch", 0, "images a step; 64 if not given")
	f.Float64Var(&o.rate, "lr", 0, "learning rate at the start of the cosine")
	f.Float64Var(&o.decay, "weight-decay", 0, "weight decay")
	o.machine.bind(c)
	required(c, "model", "train", "test")
}

func (o *finetuneOptions) parse(c *cobra.Command, _ []string) (err error) {
	if o.share, err = data.ParseShare(o.labels); err != nil {
		return usagef("--labels %w", err)
	}
	if o.seeds < 1 {
		return usagef("--seeds %d: must be at least 1", o.seeds)
	}
	if o.model != scratch && c.Flags().Changed("recipe") {
		return usagef("--recipe goes with --model scratch: an encoder says itself what it is")
	}
	o.set = append(o.set, settings(c, []setting{
		{"epochs", "epochs", o.epochs}, {"batch", "batch", o.batch}, {"lr", "lr", o.rate}, {"weight-decay", "weight_decay", o.decay},
	})...)
	if o.model == scratch {
		o.like, err = recipe.Load(o.recipe, nil)
	}
	return err
}

// setting is a flag that stands for a key of the recipe.
type setting struct {
	flag, key string
	value     any
}

// settings are the flags that were given, as settings of the recipe.
func settings(c *cobra.Command, flags []setting) (set []string) {
	for _, s := range flags {
		if c.Flags().Changed(s.flag) {
			set = append(set, fmt.Sprint(s.key, "=", s.value))
		}
	}
	return set
}

func runFinetune(ctx context.Context, a *app, o *finetuneOptions) (result, error) {
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	t := transfer.Tuning{Like: o.like, Settings: o.set, Labels: o.share, Seeds: o.seeds, TrainPath: o.train, Out: o.out,
		Engine: e, Workers: o.workers(), Log: a.logger()}
	if o.model != scratch {
		if t.Start, err = a.openEncoder(ctx, o.model, encoder.Options{Engine: e, Batch: 1}); err != nil {
			return nil, err
		}
		defer t.Start.Close()
	}
	if t.Train, t.Test, err = a.openLabelled(ctx, o.train, o.test); err != nil {
		return nil, err
	}
	defer t.Train.Close()
	defer t.Test.Close()
	if err := t.Check(); err != nil {
		return nil, err
	}
	if t.Out == "" {
		if t.Out, err = os.MkdirTemp("", "moco-finetune-"); err != nil {
			return nil, fmt.Errorf("make a folder for the runs: %w", err)
		}
		defer os.RemoveAll(t.Out)
	}
	runs, err := a.finetune(ctx, t)
	if errors.Is(err, pretrain.ErrInterrupted) {
		a.say("%s", map[bool]string{true: "Stopped. Nothing is kept; with --out DIR it would be.", false: stoppedHalfway}[o.out == ""])
	}
	if err != nil {
		return nil, err
	}
	return &tuned{finetuneDone{Model: o.model, Labels: o.share.String(), Top1: transfer.Accuracy(runs), Runs: runs}, o.out}, nil
}

// stoppedHalfway is what commands of several runs say when they are interrupted.
const stoppedHalfway = "Stopped; what is done is kept. The same command goes on."

// finetune runs the seeds and tells of each.
func (a *app) finetune(ctx context.Context, t transfer.Tuning) ([]transfer.Tuned, error) {
	show := &trainView{screen: &a.screen, part: true}
	t.Watch.Started = func(p transfer.Part, at job.Place) {
		if !at.Before {
			a.tell(finetuneRun{Seed: p.Seed}, nil)
		}
	}
	t.Watch.Events = func(p transfer.Part, e event.Event) {
		switch e := e.(type) {
		case pretrain.Start:
			if p.Seed == 0 || e.FirstStep > 0 {
				show.event(e)
			}
		case pretrain.Step, pretrain.Warning:
			show.event(e)
		}
	}
	t.Watch.Ended = func(_ transfer.Part, _ job.Place, r transfer.Tuned) {
		show.bar.clear()
		a.tell(finetuneSeed{r}, func() {
			top5 := ""
			if r.Top5 > 0 {
				top5 = fmt.Sprintf(" (top 5: %.2f%%)", r.Top5)
			}
			a.say("seed %d: fine-tuned accuracy %.2f%%%s on %d images, from %d labelled ones (%s), %v epochs, %d steps, %.0f s%s",
				r.Seed, r.Top1, top5, r.TestImages, r.Images, r.Labels, r.Epochs, r.Steps, r.Seconds, badImages(r.Bad))
		})
	}
	return transfer.Finetune(ctx, t)
}

// tuned is the result of fine-tuning, with the folder that keeps it, if there is one.
type tuned struct {
	finetuneDone
	out string
}

func (r *tuned) event() event.Event { return r.finetuneDone }

func (r *tuned) text(s *screen) error {
	if len(r.Runs) > 1 {
		s.say("Fine-tuned accuracy over %d seeds, mean and lowest to highest: %v", len(r.Runs), r.Top1)
	} else {
		confusion(s, r.Runs[0].Score)
	}
	if r.out != "" {
		s.say("\nThe classifiers are %s", filepath.Join(r.out, "seed-*", encoder.File))
	}
	return nil
}
