package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"moco/evaluate"
)

func (a *app) evalLinear() *cobra.Command {
	var f evalFlags
	l := evaluate.DefaultLinear()
	c := &cobra.Command{
		Use:   "linear --model DIR|FILE --train PATH --test PATH",
		Short: "Train a linear classifier on the features",
		Long: `Train a linear classifier on frozen features (He et al. 2020, Sec. 4.1): SGD with momentum, no weight decay, 100 epochs, the rate divided by ten after
60 and 80. The features are made once, from the middle of each image, without random views.

The right learning rate differs by orders of magnitude between encoders, so all --rates are trained side by side in one pass. A tenth of each class of the
training set is held out to choose among them; then all are trained again on everything. The accuracy that is reported is that of the chosen rate
on the test set; the table shows the others beside it.`,
		Example: `  moco eval linear --model run --train cifar10/train.tar --test cifar10/test.tar
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
			ctx := c.Context()
			e, err := a.engine()
			if err != nil {
				return err
			}
			pairs, err := f.embed(ctx, a, e)
			if err != nil {
				return err
			}
			var progress func(float64)
			if a.onTerminal() && !a.json {
				bar := progressbar.NewOptions(1000, progressbar.OptionSetWriter(a.err), progressbar.OptionSetWidth(24), progressbar.OptionSetDescription("linear classifiers"),
					progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
				progress = func(done float64) { bar.Set(int(1000 * done)) }
				defer bar.Clear()
			}
			r, err := l.Classify(ctx, e, pairs[0].train, pairs[0].test, progress)
			if err != nil {
				return err
			}
			bad := pairs[0].train.Bad + pairs[0].test.Bad
			if a.json {
				return a.print(struct {
					Event string `json:"event"`
					*evaluate.LinearResult
					LinearTop1 float64 `json:"linear_top1"`
					Features   string  `json:"features"`
					Bad        int     `json:"bad_images"`
				}{"done", r, r.Top1, pairs[0].features, bad})
			}
			a.say("Linear accuracy %.2f%% on %d images (%s features of %d images; rate %v, chosen on a held-out part)%s\n", r.Top1, r.Test, pairs[0].features, r.Train, r.Rate, badImages(bad))
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprint(w, "rate\theld out\ttest\t\n")
			for _, one := range r.Rates {
				fmt.Fprintf(w, "%v\t%.2f%%\t%.2f%%\t\n", one.Rate, one.HeldOut, one.Test)
			}
			return w.Flush()
		},
	}
	f.add(a, c, "backbone")
	c.Flags().Float64SliceVar(&l.Rates, "rates", l.Rates, "learning rates to train with, side by side")
	c.Flags().IntVar(&l.Epochs, "epochs", l.Epochs, "passes over the training features")
	c.Flags().IntSliceVar(&l.Milestones, "milestones", nil, "epochs at which the rate is divided by ten; 60% and 80% of --epochs if not given")
	c.Flags().IntVar(&l.Batch, "step-batch", l.Batch, "features a step")
	c.Flags().Float64Var(&l.HeldOut, "held-out", l.HeldOut, "share of each class of the training set that chooses the rate")
	c.Flags().Uint64Var(&l.Seed, "seed", 0, "of the held-out part and the order")
	return c
}
