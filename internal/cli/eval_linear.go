package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
)

func (a *app) evalLinear() *cobra.Command {
	var f evalFlags
	var views bool
	var save string
	l := evaluate.DefaultLinear()
	c := &cobra.Command{
		Use:   "linear --model DIR|FILE --train PATH --test PATH [--views] [--save FILE]",
		Short: "Train a linear classifier on the features",
		Long: `Train a linear classifier on frozen features (He et al. 2020, Sec. 4.1): SGD with momentum, no weight decay, 100 epochs, the rate divided by ten after
60 and 80.

The features are made once, from the middle of each image. With --views they are made anew in every epoch, from a random crop and flip of each training
image, as in the paper: the right thing to report, and about as many times slower as there are --epochs. Afterwards the encoder is held to have
stayed as it was.

The right learning rate differs by orders of magnitude between encoders (30 in the paper), so classifiers with all --rates are trained side by side in one pass. A tenth of
each class of the training set is held out to choose among them; in the same pass, classifiers that are reported learn from everything. The accuracy that is
reported is that of the chosen rate on the test set; the table shows the others beside it.

--save keeps the chosen classifier: weight and bias as safetensors, with what else makes logits of features in the metadata.`,
		Example: `  moco eval linear --model run --train cifar10/train.tar --test cifar10/test.tar
  moco eval linear --model run --train cifar10/train.tar --test cifar10/test.tar --views --save probe.safetensors
  moco eval linear --model run --train train/ --test test/ --views --rates 30                  # the paper's
  moco eval linear --model pixels --train train/ --test test/ --rates 0.1,1,10 --epochs 50 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("milestones") {
				l.Milestones = []int{l.Epochs * 60 / 100, l.Epochs * 80 / 100}
			}
			if err := l.Check(); err != nil {
				return usageError{err}
			}
			if err := f.check(c); err != nil {
				return err
			}
			if len(f.features) != 1 {
				return usageError{errors.New("--features: a linear classifier takes one of head and backbone")}
			}
			if encoder := f.trainVectors == "" && f.model != "pixels"; !encoder && (views || save != "") {
				return usageError{errors.New("--views and --save need an encoder: give --model a run or an encoder.safetensors")}
			}
			if save != "" { // found out now, not after the work
				if info, err := os.Stat(filepath.Dir(save)); err != nil || !info.IsDir() {
					return fmt.Errorf("--save %s: there is no folder %s to write it in", save, filepath.Dir(save))
				}
			}
			ctx := c.Context()
			e, err := a.engine()
			if err != nil {
				return err
			}
			classify := f.linear
			if views {
				classify = f.linearViews
			}
			show := &linearView{app: a, epochs: l.Epochs}
			r, bad, err := classify(ctx, a, e, l, show)
			show.clear()
			if errors.Is(err, context.Canceled) {
				return fmt.Errorf("stopped, and nothing is kept: %w", err)
			}
			if err != nil {
				return err
			}
			if save != "" {
				r.Probe.Features, r.Probe.Encoder = encoder.Layer(f.features[0]), f.encoder
				if err := r.Probe.Save(save); err != nil {
					return fmt.Errorf("--save: %w", err)
				}
			}
			if a.json {
				return a.print(struct {
					Event string `json:"event"`
					*evaluate.LinearResult
					LinearTop1 float64 `json:"linear_top1"`
					Features   string  `json:"features"`
					Bad        int     `json:"bad_images"`
					Saved      string  `json:"saved,omitempty"`
				}{"done", r, r.Top1, f.features[0], bad, save})
			}
			how := "plain"
			if r.Views {
				how = "random"
			}
			a.say("Linear accuracy %.2f%% on %d images (%s features of %s views of %d images; rate %v, chosen on a held-out part)%s\n", r.Top1, r.Test, f.features[0], how, r.Train, r.Rate, badImages(bad))
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprint(w, "rate\theld out\ttest\t\n")
			for _, one := range r.Rates {
				fmt.Fprintf(w, "%v\t%.2f%%\t%.2f%%\t\n", one.Rate, one.HeldOut, one.Test)
			}
			w.Flush()
			if save != "" {
				a.say("\nThe classifier is in %s.", save)
			}
			return nil
		},
	}
	f.add(a, c, "backbone")
	c.Flags().BoolVar(&views, "views", false, "train on new random crops and flips in every epoch instead of features made once")
	c.Flags().StringVar(&save, "save", "", "write the chosen classifier to this safetensors file")
	c.Flags().Float64SliceVar(&l.Rates, "rates", l.Rates, "learning rates to train with, side by side")
	c.Flags().IntVar(&l.Epochs, "epochs", l.Epochs, "passes over the training images")
	c.Flags().IntSliceVar(&l.Milestones, "milestones", nil, "epochs at which the rate is divided by ten; 60% and 80% of --epochs if not given")
	c.Flags().IntVar(&l.Batch, "step-batch", l.Batch, "features a step")
	c.Flags().Float64Var(&l.HeldOut, "held-out", l.HeldOut, "share of each class of the training set that chooses the rate")
	c.Flags().Uint64Var(&l.Seed, "seed", 0, "of the held-out part, the order and the views")
	return c
}

// linear trains on features that are made once.
func (f *evalFlags) linear(ctx context.Context, a *app, e engine.Engine, l evaluate.Linear, show *linearView) (r *evaluate.LinearResult, bad int, err error) {
	pairs, err := f.embed(ctx, a, e)
	if err != nil {
		return nil, 0, err
	}
	p := pairs[0]
	show.begin()
	r, err = l.Classify(ctx, e, p.train, p.test, show.progress)
	return r, p.train.Bad + p.test.Bad, err
}

// linearViews trains on new views in every epoch.
func (f *evalFlags) linearViews(ctx context.Context, a *app, e engine.Engine, l evaluate.Linear, show *linearView) (r *evaluate.LinearResult, bad int, err error) {
	m, err := a.openModel(f.model, e, f.batch, f.precision)
	if err != nil {
		return nil, 0, err
	}
	defer m.Close()
	f.encoder = m.SHA256
	sets, closer, err := a.openLabelled(ctx, f.train, f.test)
	if err != nil {
		return nil, 0, err
	}
	defer closer()
	layer := encoder.Layer(f.features[0])
	test, err := a.embed(ctx, m, sets[1], layer)
	if err != nil {
		return nil, 0, err
	}
	show.begin()
	r, err = l.ClassifyViews(ctx, e, m, layer, sets[0], test[0], show.progress)
	if err != nil {
		return nil, 0, err
	}
	return r, test[0].Bad + r.Bad, nil
}

// linearView shows how far the training of classifiers is: an event for each epoch, a progress bar, or a line now and then.
type linearView struct {
	app    *app
	epochs int
	began  time.Time
	line   time.Time
	epoch  int
	bar    *progressbar.ProgressBar
}

// epochEvent is an epoch of linear classifiers that is done.
type epochEvent struct {
	Event       string  `json:"event"` // epoch
	Epoch       int     `json:"epoch"`
	Of          int     `json:"of"`
	SecondsLeft float64 `json:"seconds_left"`
}

func (v *linearView) begin() {
	v.began, v.line = time.Now(), time.Now()
	if a := v.app; a.onTerminal() && !a.json {
		v.bar = progressbar.NewOptions(1000, progressbar.OptionSetWriter(a.err), progressbar.OptionSetWidth(24), progressbar.OptionSetPredictTime(false),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
}

func (v *linearView) progress(p evaluate.Progress) {
	seconds := 0.0
	if p.Share > 0 {
		seconds = time.Since(v.began).Seconds() * (1 - p.Share) / p.Share
	}
	a, status := v.app, fmt.Sprintf("linear classifiers, epoch %d of %d, %s left", min(p.Epoch+1, v.epochs), v.epochs, left(seconds))
	switch {
	case a.json:
		if p.Epoch > v.epoch {
			v.epoch = p.Epoch
			a.print(epochEvent{"epoch", p.Epoch, v.epochs, math.Round(10*seconds) / 10})
		}
	case v.bar != nil:
		v.bar.Describe(status)
		v.bar.Set(int(1000 * p.Share))
	case time.Since(v.line) > 10*time.Second:
		v.line = time.Now()
		a.warn("%s", status)
	}
}

// clear takes the bar away.
func (v *linearView) clear() {
	if v.bar != nil {
		v.bar.Clear()
	}
}
