package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/pretrain"
	"moco/recipe"
	"moco/transfer"
)

// scratch is the model of random weights.
const scratch = "scratch"

func (a *app) evalFinetune() *cobra.Command {
	var model, like, train, test, labels, out string
	var settings []string
	var seeds int
	var hyper tuningFlags
	c := &cobra.Command{
		Use:   "finetune --model DIR|FILE|scratch --train PATH --test PATH",
		Short: "Train all weights on from an encoder, with labels",
		Long: `Fine-tune an encoder: put a new classifier on it, train all weights with labels, and classify the test images. With --model scratch the weights start at
random: what the labels alone give, to compare with. The encoder is then that of --recipe: the config.yaml of a run makes it like that run's.

--labels says how many of the training images keep their labels: all, a percentage of each class (1%), or a number of each class (10). Each seed draws its own share, head,
order and views; the same seed draws the same share for every model. Labels are learned from crops and flips of the image.

Without more said: batches of 64; 10 epochs of 50,000 images, and more of fewer by the root of their number (32 of 5,000, 100 of 500), so that fewer labels take less
time in all; SGD with a cosine from a rate of 0.05, and a decay of 5e-4. --set changes other keys of the recipe.

With --out DIR each seed has a run's folder in it (DIR/seed-0, ...) whose encoder.safetensors is the classifier. Interrupt at any time; the same command goes on with
the same bits, and does not repeat what is done. Without --out nothing is kept.`,
		Example: `  moco eval finetune --model run --train cifar10/train.tar --test cifar10/test.tar --labels 1% --seeds 3
  moco eval finetune --model scratch --recipe run/config.yaml --train cifar10/train.tar --test cifar10/test.tar --labels 1% --seeds 3
  moco eval finetune --model encoder.safetensors --train train/ --test test/ --labels 10 --epochs 50 --lr 0.01 --out tuned`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			share, err := data.ParseShare(labels)
			if err != nil {
				return usageError{fmt.Errorf("--labels %w", err)}
			}
			if seeds < 1 {
				return usageError{fmt.Errorf("--seeds %d: must be at least 1", seeds)}
			}
			if model != scratch && c.Flags().Changed("recipe") {
				return usageError{errors.New("--recipe goes with --model scratch: an encoder says itself what it is")}
			}
			ctx := c.Context()
			e, err := a.engine()
			if err != nil {
				return err
			}
			t := transfer.Tuning{Settings: append(settings, hyper.settings(c)...), Labels: share, Seeds: seeds, TrainPath: train, Out: out, Engine: e, Workers: a.workers(), Log: a.logger()}
			if model == scratch {
				if t.Like, err = recipe.Load(like, nil); err != nil {
					return err
				}
			} else {
				if t.Start, err = a.openEncoder(model, encoder.Options{Engine: e, Batch: 1}); err != nil {
					return err
				}
				defer t.Start.Close()
			}
			sets, closeSets, err := a.openLabelled(ctx, train, test)
			if err != nil {
				return err
			}
			defer closeSets()
			t.Train, t.Test = sets[0], sets[1]
			if err := t.Check(); err != nil {
				return err
			}
			if t.Out == "" {
				if t.Out, err = os.MkdirTemp("", "moco-finetune-"); err != nil {
					return fmt.Errorf("make a folder for the runs: %w", err)
				}
				defer os.RemoveAll(t.Out)
			}
			runs, err := a.finetune(ctx, t)
			if errors.Is(err, pretrain.ErrInterrupted) {
				if out == "" {
					a.say("Stopped. Nothing is kept; with --out DIR it would be.")
				} else {
					a.say("Stopped; what is done is kept. The same command goes on.")
				}
			}
			if err != nil {
				return err
			}
			spread := transfer.Accuracy(runs)
			if a.json {
				return a.print(struct {
					Event  string           `json:"event"`
					Model  string           `json:"model"`
					Labels string           `json:"labels"`
					Top1   evaluate.Spread  `json:"finetune_top1"`
					Runs   []transfer.Tuned `json:"runs"`
				}{"done", model, share.String(), spread, runs})
			}
			if seeds > 1 {
				a.say("Fine-tuned accuracy over %d seeds, mean and lowest to highest: %v", seeds, spread)
			} else {
				a.sayConfusion(runs[0].Score)
			}
			if out != "" {
				a.say("\nThe classifiers are %s", filepath.Join(out, "seed-*", encoder.File))
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "folder of a run, an encoder.safetensors, a checkpoint of PyTorch, or scratch (required)")
	f.StringVar(&like, "recipe", "cifar", "for --model scratch: name of a recipe, or a YAML file, whose encoder, views and precision are taken")
	f.StringVar(&train, "train", "", "labelled images to learn from (required)")
	f.StringVar(&test, "test", "", "labelled images to classify (required)")
	f.StringVar(&labels, "labels", "all", "share of the training images to learn from: all, 1%, or a number of each class")
	f.IntVar(&seeds, "seeds", 1, "runs, each with another share of the labels and other random numbers")
	f.StringArrayVar(&settings, "set", nil, "change a key of the recipe: key=value (may be given several times)")
	f.StringVar(&out, "out", "", "folder that keeps the runs, to go on with and to use")
	hyper.add(c)
	a.threadsFlag(c)
	for _, name := range []string{"model", "train", "test"} {
		c.MarkFlagRequired(name)
	}
	return c
}
