package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/event"
)

const linearHelp = `Train a linear classifier on frozen features (He et al. 2020, Sec. 4.1): SGD with momentum, no
weight decay, 100 epochs, the rate divided by ten after 60 and 80.

The features are made once, from the middle of each image. With --views they are made anew in
every epoch, from a random crop and flip of each training image, as in the paper: the right thing
to report, and about as many times slower as there are --epochs. Afterwards the encoder is checked
to have stayed as it was.

The right learning rate differs by orders of magnitude between encoders (30 in the paper), so
classifiers with all --rates are trained side by side in one pass. A tenth of each class of the
training set is held out to choose among them; in the same pass, classifiers that are reported learn
from everything. The accuracy that is reported is that of the chosen rate on the test set; the table
shows the others beside it.

--save keeps the chosen classifier: weight and bias as safetensors, with what else makes logits of
features in the metadata.`

const linearExample = `  moco eval linear --model run --train cifar10/train.tar --test cifar10/test.tar
  moco eval linear --model run --train cifar10/train.tar --test cifar10/test.tar \
       --views --save probe.safetensors
  moco eval linear --model run --train train/ --test test/ --views --rates 30   # the paper's
  moco eval linear --model pixels --train train/ --test test/ --rates 0.1,1,10 --epochs 50 --json`

// linearOptions are those of `moco eval linear`.
type linearOptions struct {
	evalOptions
	views  bool
	save   string
	force  bool
	linear evaluate.Linear
}

func init() { register("eval", (*app).linearCommand) }

func (a *app) linearCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "linear --model DIR|FILE --train PATH --test PATH [--views] [--save FILE]",
		Short:   "Train a linear classifier on the features",
		Long:    linearHelp,
		Example: linearExample,
	}
	return subcommand(a, c, &linearOptions{linear: evaluate.DefaultLinear()}, runLinear)
}

func (o *linearOptions) bind(c *cobra.Command) {
	o.bindLayer(c)
	o.evalOptions.bind(c)
	l, f := &o.linear, c.Flags()
	f.BoolVar(&o.views, "views", false, "train on new random crops and flips in every epoch instead of features made once")
	f.StringVar(&o.save, "save", "", "write the chosen classifier to this safetensors file")
	forceFlag(c, &o.force)
	f.Float64SliceVar(&l.Rates, "rates", l.Rates, "learning rates to train with, side by side")
	f.Lookup("rates").DefValue = strings.Join(strings.Fields(strings.Trim(fmt.Sprint(l.Rates), "[]")), ",")
	f.IntVar(&l.Epochs, "epochs", l.Epochs, "passes over the training images")
	f.IntSliceVar(&l.Milestones, "milestones", nil,
		"epochs at which the rate is divided by ten; 60% and 80% of --epochs if not given")
	f.IntVar(&l.Batch, "step-batch", l.Batch, "features a step")
	f.Float64Var(&l.HeldOut, "held-out", l.HeldOut, "share of each class of the training set that chooses the rate")
	f.Uint64Var(&l.Seed, "seed", 0, "of the held-out part, the order and the views")
}

// milestones are where the paper divides the rate: after 60% and 80% of the epochs.
func milestones(epochs int) []int { return []int{epochs * 60 / 100, epochs * 80 / 100} }

func (o *linearOptions) parse(c *cobra.Command, _ []string) error {
	if !c.Flags().Changed("milestones") {
		o.linear.Milestones = milestones(o.linear.Epochs)
	}
	if err := o.linear.Check(); err != nil {
		return usageError{err}
	}
	if err := o.evalOptions.parse(c); err != nil {
		return err
	}
	if !o.isEncoder() && (o.views || o.save != "") {
		return usagef("--views and --save need an encoder: give --model a run or an encoder.safetensors")
	}
	return nil
}

func (o *linearOptions) outputs() []output {
	return []output{{flag: "--save", path: o.save, force: o.force, own: encoder.IsProbe}}
}

func runLinear(ctx context.Context, a *app, o *linearOptions) (result, error) {
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	f, err := o.source.open(ctx, a, e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &linearDone{Features: o.names()[0], Saved: o.save}
	train := linearTraining{app: a, engine: e, features: f, o: o}
	if o.views {
		r.LinearResult, r.Bad, err = train.onViews(ctx)
	} else {
		r.LinearResult, r.Bad, err = train.onFeatures(ctx)
	}
	if errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("stopped, and nothing is kept: %w", err)
	}
	if err != nil {
		return nil, err
	}
	r.LinearTop1 = r.Top1
	if o.save != "" {
		r.Probe.Features, r.Probe.Encoder = r.Features, f.encoder.SHA256
		if err := r.Probe.Save(o.save); err != nil {
			return nil, fmt.Errorf("--save: %w", err)
		}
	}
	return r, nil
}

// linearTraining is `moco eval linear` at work.
type linearTraining struct {
	app      *app
	engine   engine.Engine
	features *features
	o        *linearOptions
}

// onFeatures trains on features that are made once. bad is the number of unreadable images.
func (l *linearTraining) onFeatures(ctx context.Context) (r *evaluate.LinearResult, bad int, err error) {
	pairs, err := l.o.embedWith(ctx, l.app, l.features)
	if err != nil {
		return nil, 0, err
	}
	p := pairs[0]
	show := l.app.linearView(l.o.linear.Epochs)
	defer show.bar.clear()
	r, err = l.o.linear.Classify(ctx, l.engine, p.train, p.test, show.progress)
	return r, p.bad(), err
}

// onViews trains on new views in every epoch.
func (l *linearTraining) onViews(ctx context.Context) (r *evaluate.LinearResult, bad int, err error) {
	train, test, err := l.app.openLabelled(ctx, l.o.train, l.o.test)
	if err != nil {
		return nil, 0, err
	}
	defer train.Close()
	defer test.Close()
	queries, err := l.features.encode(ctx, test)
	if err != nil {
		return nil, 0, err
	}
	show := l.app.linearView(l.o.linear.Epochs)
	defer show.bar.clear()
	r, err = l.o.linear.ClassifyViews(ctx, l.engine, l.features.encoder, l.o.layers[0], train, queries, show.progress)
	if err != nil {
		return nil, 0, err
	}
	return r, queries.Bad + r.Bad, nil
}

func (r *linearDone) event() event.Event { return r }

func (r *linearDone) text(s *screen) error {
	how := "plain"
	if r.Views {
		how = "random"
	}
	s.say("Linear accuracy %.2f%% on %d images "+
		"(%s features of %s views of %d images; rate %v, chosen on a held-out part)%s\n",
		r.Top1, r.Test, r.Features, how, r.Train, r.Rate, badImages(r.Bad))
	w := s.table(true)
	fmt.Fprint(w, "rate\theld out\ttest\t\n")
	for _, one := range r.Rates {
		fmt.Fprintf(w, "%v\t%.2f%%\t%.2f%%\t\n", one.Rate, one.HeldOut, one.Test)
	}
	w.Flush()
	if r.Saved != "" {
		s.say("\nThe classifier is in %s.", r.Saved)
	}
	return nil
}

// linearView shows how far the training of classifiers is.
type linearView struct {
	screen *screen
	epochs int
	epoch  int // that was told last
	began  time.Time
	bar    *progress
}

// linearSteps is how finely the bar moves.
const linearSteps = 1000

func (s *screen) linearView(epochs int) *linearView {
	return &linearView{screen: s, epochs: epochs, began: time.Now(), bar: s.progress(linearSteps, "")}
}

func (v *linearView) progress(p evaluate.Progress) {
	seconds := 0.0
	if p.Share > 0 {
		seconds = time.Since(v.began).Seconds() * (1 - p.Share) / p.Share
	}
	if p.Epoch > v.epoch {
		v.epoch = p.Epoch
		v.screen.tell(linearEpoch{Epoch: p.Epoch, Of: v.epochs, SecondsLeft: math.Round(10*seconds) / 10}, nil)
	}
	v.bar.at(int(linearSteps*p.Share), fmt.Sprintf("linear classifiers, epoch %d of %d, %s left",
		min(p.Epoch+1, v.epochs), v.epochs, left(seconds)))
}
