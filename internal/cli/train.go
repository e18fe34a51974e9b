package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/pretrain"
	"moco/ranks"
	"moco/recipe"
)

const trainExample = `  moco train --data photos/ --out run
  moco train --data photos/ --time 2h --out run
  moco train --data photos/ --recipe moco-v2 --set encoder.arch=resnet18 --set queue=8192 --out run
  moco train --data cifar10/train.tar --recipe cifar --set encoder.width=0.25 --set bn_splits=1 \
       --batch 256 --epochs 10 --monitor-train cifar10/train.tar --monitor-test cifar10/test.tar \
       --out run
  moco train --data videos/ --set positives=frames --set max_gap=30 --out run
  moco train --data photos/ --set positives=pairs --pairs pairs.csv --out run
  moco train --data photos/ --init other/encoder.safetensors --recipe other/config.yaml --out run
  moco train --data photos/ --recipe run/config.yaml --out run --resume`

// listed are names behind commas, in lines of a help page's width.
func listed(names []string) string {
	var b strings.Builder
	column := 0
	for i, name := range names {
		switch {
		case i == 0:
		case column+len(name)+3 > 100:
			b.WriteString(",\n")
			column = 0
		default:
			b.WriteString(", ")
			column += 2
		}
		b.WriteString(name)
		column += len(name)
	}
	return b.String()
}

func trainHelp() string {
	return paragraphs(`Train an encoder with Momentum Contrast. Labels are not needed, and not used if there are any.`,
		pathsHelp,
		"--set changes single keys of the recipe, which is a YAML file or one of\n"+listed(recipe.Names())+".",
		`Without --recipe one is chosen by the number, size and colour of the pictures, and told in three
lines. --time fits encoder and epochs to a time by measuring a few steps on the pictures, once, at
the start; the recipe in config.yaml repeats the run without a clock.`,
		`What counts as a positive pair is the recipe's choice. positives=views: two views of an image.
positives=frames: two frames of a video, at most max_gap apart; a video is a folder of frames, an
animated GIF, or with ffmpeg installed a video file. positives=pairs: two images of a group, as a
CSV file (path,group) given by --pairs says; images that it does not list are left out. Keys of
the query's own video or group are then no negatives.`,
		`DIR becomes the run's folder: config.yaml (enough to repeat the run), log.jsonl (all that
happened), checkpoints/, and encoder.safetensors, the encoder with torchvision's or timm's names,
which every other command takes.`,
		`Interrupt once (Ctrl-C) to finish the step, save and stop; --resume goes on with the same bits as
if nothing had happened. With a queue, the loss rises at first, while the queue fills with real
keys; then it falls. Its value at chance is printed at the start.`)
}

// trainOptions are those of `moco train`.
type trainOptions struct {
	machine
	data, recipe, out         string
	set                       []string
	epochs                    float64
	steps, batch              int
	precision                 string
	seed                      uint64
	monitorTrain, monitorTest string
	monitorEvery              int
	resume                    bool
	pairs, init               string
	fps                       float64

	choosing choosing // a recipe, if none is given

	learn moco.Recipe  // what is trained
	read  data.Options // how the images are read
	again string       // flags beside the recipe's that a resumed run needs
}

func init() { register("", (*app).trainCommand) }

func (a *app) trainCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "train --data PATH --out DIR",
		Short:   "Train an encoder on unlabelled images",
		Long:    trainHelp(),
		Example: trainExample,
	}
	return subcommand(a, c, &trainOptions{}, runTrain)
}

func (o *trainOptions) bind(c *cobra.Command) {
	f := c.Flags()
	pathsFlag(c, &o.data, "data", "images to learn from (required)")
	f.StringVar(
		&o.recipe,
		"recipe",
		"",
		"name of a recipe, or a YAML file. If not given, one is chosen; with --resume it is the run's own",
	)
	f.DurationVar(&o.choosing.budget, "time", 0, "how long the command may take, such as 30m or 2h; the monitor's time comes on top")
	f.StringArrayVar(&o.set, "set", nil, "change a key of the recipe: key=value (may be given several times)")
	f.StringVar(&o.out, "out", "", "folder of the run (required)")
	f.StringVar(
		&o.pairs,
		"pairs",
		"",
		"for positives=pairs: a CSV file of path,group; paths are those within --data or relative to the file",
	)
	f.StringVar(
		&o.init,
		"init",
		"",
		"start from the weights of this encoder ("+modelHelp+") instead of random ones; the key encoder starts as its copy",
	)
	f.Float64Var(&o.fps, "fps", data.DefaultFPS, "for positives=frames: frames a second to take from video files")
	f.Float64Var(&o.epochs, "epochs", 0, "length of training, such as 7.5; the schedule is stretched to it")
	f.IntVar(&o.steps, "steps", 0, "stop after so many steps; the schedule stays")
	f.IntVar(&o.batch, "batch", 0, "images a step")
	choiceFlag(c, &o.precision, "precision", precisions, "", "of activations; weights, statistics and losses stay float32")
	f.Uint64Var(&o.seed, "seed", 0, "of everything random")
	pathsFlag(c, &o.monitorTrain, "monitor-train", "labelled images: the bank of the kNN monitor, before training and after epochs")
	pathsFlag(c, &o.monitorTest, "monitor-test", "labelled images that the monitor classifies")
	f.IntVar(&o.monitorEvery, "monitor-every", 1, "epochs from one kNN accuracy to the next; the last epoch always has one")
	f.BoolVar(&o.resume, "resume", false, "go on with the run in --out")
	o.machine.bind(c)
	required(c, "data", "out")
	c.MarkFlagsRequiredTogether("monitor-train", "monitor-test")
}

func (o *trainOptions) parse(c *cobra.Command, _ []string) (err error) {
	if c.Flags().Changed("steps") && o.steps < 1 {
		return usagef("--steps %d: must be at least 1", o.steps)
	}
	if o.monitorEvery < 1 {
		return usagef("--monitor-every %d: must be at least 1", o.monitorEvery)
	}
	name := o.recipe
	if o.resume && !c.Flags().Changed("recipe") {
		name = filepath.Join(o.out, "config.yaml")
	}
	o.set = append(o.set, settings(c, []setting{
		{"epochs", "epochs", o.epochs}, {"batch", "batch", o.batch}, {"seed", "seed", o.seed}, {"precision", "precision", o.precision},
	})...)
	if err := o.choosing.parse(c, o.set, o.resume); err != nil {
		return err
	}
	if o.learn, err = o.choosing.recipe(name); err != nil {
		return err
	}
	if o.init != "" {
		o.again = fmt.Sprintf(" --init %q", o.init)
		if !o.resume {
			o.learn.Start = "" // that of another run, whose recipe this is
		}
	}
	return o.parsePositives(c)
}

// parsePositives holds the flags of pairs and videos to the recipe.
func (o *trainOptions) parsePositives(c *cobra.Command) error {
	pairs, frames, fps := o.learn.Positives == "pairs", o.learn.Positives == "frames", c.Flags().Changed("fps")
	switch {
	case pairs && o.pairs == "":
		return usagef("positives: pairs takes a list of them; give a CSV file of path,group with --pairs")
	case !pairs && o.pairs != "":
		return usagef("--pairs goes with positives: pairs, and the recipe has %s; add --set positives=pairs", o.learn.Positives)
	case !frames && fps:
		return usagef("--fps goes with positives: frames, and the recipe has %s; add --set positives=frames", o.learn.Positives)
	case !(o.fps > 0 && o.fps <= 1000):
		return usagef("--fps %v: must be above 0 and at most 1000", o.fps)
	case pairs:
		o.again = fmt.Sprintf(" --pairs %q", o.pairs) + o.again
	case fps:
		o.again = fmt.Sprintf(" --fps %v", o.fps) + o.again
	}
	o.read = data.Options{Part: data.Train, Frames: frames, FPS: o.fps, Pairs: o.pairs}
	return nil
}

func runTrain(ctx context.Context, a *app, o *trainOptions) (result, error) {
	log := a.logger()
	group, leave, err := a.join()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := o.refuseTime(group); err != nil {
		return nil, err
	}
	e, err := o.engineOf(a, group)
	if err != nil {
		return nil, err
	}
	p := pretrain.Options{Recipe: o.learn, DataPath: o.data, DataArgs: o.again, Out: o.out, Resume: o.resume, Steps: o.steps,
		Engine: e, Ranks: group, Workers: o.workers(), Log: log}
	closeAll, err := o.openAll(ctx, a, &p)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	_, err = a.pretrain(ctx, p, nil)
	return nil, err // the run's last event is the result
}

// openAll opens what a run reads and chooses a recipe, on all processes or on none.
func (o *trainOptions) openAll(ctx context.Context, a *app, p *pretrain.Options) (closeAll func(), err error) {
	var opened []func()
	closeAll = func() {
		for _, close := range slices.Backward(opened) {
			close()
		}
	}
	err = ranks.Together(p.Ranks, func() (err error) {
		if o.init != "" {
			if p.Start, err = a.openEncoder(ctx, o.init, encoder.Options{Engine: p.Engine, Batch: 1}); err != nil {
				return err
			}
			opened = append(opened, func() { p.Start.Close() })
		}
		if p.Data, err = a.openWith(ctx, o.data, o.read); err != nil {
			return err
		}
		opened = append(opened, func() { p.Data.Close() })
		if err := a.choose(ctx, p, &o.choosing); err != nil || o.monitorTrain == "" {
			return err
		}
		closeMonitor, err := o.openMonitor(ctx, a, p)
		if err == nil {
			opened = append(opened, closeMonitor)
		}
		return err
	})
	if err != nil {
		closeAll()
		return nil, err
	}
	return closeAll, nil
}

// openMonitor opens the labelled images that tell how far training is.
func (o *trainOptions) openMonitor(ctx context.Context, a *app, p *pretrain.Options) (closer func(), err error) {
	bank := p.Data // the same images need not be kept twice
	if o.monitorTrain != o.data {
		if bank, err = a.open(ctx, o.monitorTrain, data.Train); err != nil {
			return nil, err
		}
	}
	test, err := a.open(ctx, o.monitorTest, data.Test)
	closer = func() {
		if bank != p.Data {
			bank.Close()
		}
		if test != nil {
			test.Close()
		}
	}
	if err == nil {
		err = labelled("the monitor needs labelled images", map[string]*data.Set{o.monitorTrain: bank, o.monitorTest: test})
	}
	if err != nil {
		closer()
		return nil, err
	}
	p.Monitor = pretrain.MonitorOptions{Train: bank, Test: test, Start: !o.resume, Every: o.monitorEvery}
	return closer, nil
}

// labelled refuses sets without labels; why says what needs them.
func labelled(why string, sets map[string]*data.Set) error {
	for path, set := range sets {
		if set.Classes() == nil {
			return fmt.Errorf("%s, and %s holds none: give class folders", why, path)
		}
	}
	return nil
}
