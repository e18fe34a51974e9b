package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/internal/event"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
	"moco/transfer"
)

const transferHelp = `The paper's question: pretrain on some images, and see on others what that was worth. With each
seed an encoder is trained on --pretrain by MoCo, which uses no labels, and another with labels
(class folders); a third keeps its random weights. On --train and --test, whose classes may be
others, each is measured twice: by a linear classifier on its frozen features (as moco eval
linear, with all labels), and by fine-tuning all its weights with each share of --labels (as moco
eval finetune).

--recipe and --set are MoCo's pretraining; the other arms have its encoder, views (crop and flip
only) and precision. Supervised pretraining takes as many epochs, in batches of 64, with the
optimizer, rate and decay of moco eval finetune; --supervised-set changes that, --finetune-set the
fine-tuning of all arms. With --model an encoder that is there already stands for MoCo's, and its
encoder, views and precision are those of all arms.

DIR gets ARM/WHAT/seed-N/ with each run or result, results.json, and table.md: mean and lowest to
highest over the seeds. They are written anew after each arm. Interrupt at any time; the same
command goes on and leaves out what is done.`

const transferExample = `  moco transfer --pretrain animals/ --train vehicles/train --test vehicles/test \
       --set encoder.width=0.25 --set bn_splits=1 --epochs 20 --seeds 3 --labels 1%,all \
       --out transfer
  moco transfer --model run --pretrain photos/ --arms moco,scratch --train train.tar \
       --test test.tar --out transfer`

// transferOptions are those of `moco transfer`.
type transferOptions struct {
	machine
	recipe, model, test  string
	set, labels          []string
	epochs, tuningEpochs float64

	comparison transfer.Comparison // as far as the command line says it
}

func init() { register("", (*app).transferCommand) }

func (a *app) transferCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "transfer --pretrain PATH --train PATH --test PATH --out DIR",
		Short:   "Compare MoCo, supervised pretraining and none on other images",
		Long:    transferHelp,
		Example: transferExample,
	}
	return subcommand(a, c, &transferOptions{comparison: transfer.Comparison{Linear: evaluate.DefaultLinear()}}, runTransfer)
}

func (o *transferOptions) bind(c *cobra.Command) {
	f, t := c.Flags(), &o.comparison
	pathsFlag(c, &t.PretrainingPath, "pretrain", "images to pretrain on; with class folders for the supervised arm (required)")
	pathsFlag(c, &t.TrainPath, "train", "labelled images that the classifiers learn from (required)")
	pathsFlag(c, &o.test, "test", "labelled images that they classify (required)")
	f.StringVar(&t.Out, "out", "", "folder of the comparison (required)")
	f.StringVar(&o.recipe, "recipe", "cifar", "of MoCo's pretraining: name of a recipe, or a YAML file")
	f.StringArrayVar(&o.set, "set", nil, "change a key of it: key=value (may be given several times)")
	f.Float64Var(&o.epochs, "epochs", 0, "length of pretraining, MoCo's and the supervised one; the recipe's if not given")
	modelFlag(c, &o.model, ", that stands for MoCo's pretraining")
	choicesFlag(c, &t.Arms, "arms", transfer.Arms(), transfer.Arms(), "what is compared")
	f.StringSliceVar(&o.labels, "labels", []string{"all"}, "shares of the labels to fine-tune with: all, 1%, or a number of each class")
	f.IntVar(&t.Seeds, "seeds", 1, "how often everything is done, with other random numbers")
	f.StringArrayVar(&t.SupervisedSettings, "supervised-set", nil, "change a key of supervised pretraining: key=value")
	f.StringArrayVar(&t.TuningSettings, "finetune-set", nil, "change a key of fine-tuning: key=value")
	f.Float64Var(&o.tuningEpochs, "finetune-epochs", 0, "length of fine-tuning; by the number of images if not given")
	f.IntVar(&t.Linear.Epochs, "linear-epochs", t.Linear.Epochs, "length of the linear classifiers' training")
	o.machine.bind(c)
	required(c, "pretrain", "train", "test", "out")
}

func (o *transferOptions) parse(c *cobra.Command, _ []string) (err error) {
	t := &o.comparison
	for _, l := range o.labels {
		share, err := data.ParseShare(l)
		if err != nil {
			return usagef("--labels %w", err)
		}
		t.Labels = append(t.Labels, share)
	}
	if t.Seeds < 1 {
		return usagef("--seeds %d: must be at least 1", t.Seeds)
	}
	for _, s := range o.set {
		if strings.HasPrefix(s, "seed=") {
			return usagef("--set %s: the runs have the seeds 0, 1, ...; say how many with --seeds", s)
		}
	}
	if o.model != "" && (c.Flags().Changed("recipe") || len(o.set) > 0) {
		return usagef("--model stands for MoCo's pretraining, which --recipe and --set are: leave them out; " +
			"--supervised-set and --finetune-set change the rest")
	}
	arms := strings.Join(t.Arms, ",")
	if len(t.SupervisedSettings) > 0 && !slices.Contains(t.Arms, transfer.Supervised) {
		return usagef("--supervised-set changes supervised pretraining, which --arms %s leaves out", arms)
	}
	pretrains := func(arm string) bool { return transfer.Pretrains(arm, o.model != "") }
	if o.epochs != 0 && !slices.ContainsFunc(t.Arms, pretrains) {
		return usagef("--epochs is the length of pretraining, and nothing is pretrained with --arms %s here: leave it out", arms)
	}
	o.set = append(o.set, settings(c, []setting{{"epochs", "epochs", o.epochs}})...)
	t.TuningSettings = append(t.TuningSettings, settings(c, []setting{{"finetune-epochs", "epochs", o.tuningEpochs}})...)
	t.Linear.Milestones = milestones(t.Linear.Epochs)
	if t.Recipe, err = recipe.Load(o.recipe, o.set); err != nil {
		return err
	}
	m, err := t.Recipe.Mechanism()
	if err == nil && m.Classifier() {
		err = usagef("--recipe %s is for %s training, and MoCo's arm learns without labels", o.recipe, m)
	}
	return err
}

func runTransfer(ctx context.Context, a *app, o *transferOptions) (result, error) {
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	t := o.comparison
	t.Engine, t.Workers, t.Log = e, o.workers(), a.logger()
	if o.model != "" {
		if t.Model, err = a.openEncoder(ctx, o.model, encoder.Options{Engine: e, Batch: 1}); err != nil {
			return nil, err
		}
		defer t.Model.Close()
		r := t.Model.Recipe
		t.Recipe.Encoder, t.Recipe.Views, t.Recipe.Precision = r.Encoder, r.Views, r.Precision
	}
	if t.Pretraining, err = a.open(ctx, t.PretrainingPath, data.Train); err != nil {
		return nil, err
	}
	defer t.Pretraining.Close()
	if t.Train, t.Test, err = a.openLabelled(ctx, t.TrainPath, o.test); err != nil {
		return nil, err
	}
	defer t.Train.Close()
	defer t.Test.Close()
	if err := t.Check(); err != nil {
		return nil, err
	}
	a.showTransfer(&t)
	outcomes, err := transfer.Compare(ctx, t)
	if errors.Is(err, pretrain.ErrInterrupted) {
		a.say(stoppedHalfway)
	}
	if err != nil {
		return nil, err
	}
	done := transferDone{Labels: o.labels, Table: t.Table(outcomes), Files: within(t.Out, transfer.Files)}
	return &transferred{done, &t}, nil
}

// transferred is the result of a comparison.
type transferred struct {
	transferDone
	comparison *transfer.Comparison
}

func (r *transferred) event() event.Event { return r.transferDone }

func (r *transferred) text(s *screen) error {
	s.say("")
	if err := r.comparison.Markdown(s.people(), r.Table); err != nil {
		return err
	}
	s.say("\nWritten: %s", strings.Join(r.Files, ", "))
	return nil
}

// showTransfer shows the parts of a comparison.
func (a *app) showTransfer(t *transfer.Comparison) {
	show := &trainView{screen: &a.screen, part: true}
	var probes *linearView // of the part in progress
	tidy := func() {
		show.bar.clear()
		if probes != nil {
			probes.bar.clear()
			probes = nil
		}
	}
	t.Watch.Started = func(p transfer.Part, at job.Place) {
		tidy()
		a.tell(transferPart{Part: p, Number: at.Number, Of: at.Of}, func() { a.say("%d of %d: %v", at.Number, at.Of, p) })
	}
	t.Watch.Events = func(_ transfer.Part, e event.Event) {
		switch e.(type) {
		case pretrain.Start, pretrain.Step, pretrain.Warning:
			show.event(e)
		}
	}
	t.Probing = func(_ transfer.Part, at evaluate.Progress) {
		if probes == nil {
			probes = a.linearView(t.Linear.Epochs)
		}
		probes.progress(at)
	}
	t.Watch.Ended = func(p transfer.Part, _ job.Place, top1 float64) {
		tidy()
		a.tell(transferPartDone{Part: p, Top1: top1}, func() { a.say("  accuracy %.2f%%", top1) })
	}
}
