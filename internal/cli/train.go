package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/internal/event"
	"moco/pretrain"
	"moco/recipe"
)

// trainFlags are the flags of `moco train`.
type trainFlags struct {
	data, recipe, out         string
	set                       []string
	epochs, steps, batch      int
	precision                 string
	seed                      uint64
	monitorTrain, monitorTest string
	monitorEvery              int
	resume                    bool
	pairs, init               string
	fps                       float64
}

func (a *app) train() *cobra.Command {
	var f trainFlags
	c := &cobra.Command{
		Use:   "train --data PATH --out DIR",
		Short: "Train an encoder on unlabelled images",
		Long: `Train an encoder with Momentum Contrast. Labels are not needed, and not used if there are any.

PATH is a folder (of images, of class folders, nested), a .tar, .tar.gz or .zip of one, CIFAR-10/100 binary files, IDX files, or
builtin:train. The recipe is one of ` + strings.Join(recipe.Names(), ", ") + `, or a YAML file; --set changes single keys of it.

What counts as a positive pair is the recipe's choice. positives=views: two views of an image. positives=frames: two frames of a video, at most max_gap
apart; a video is a folder of frames, an animated GIF, or with ffmpeg installed a video file. positives=pairs: two images of a group, as a CSV file
(path,group) given by --pairs says; images that it does not list are left out. In either case keys of the query's own video or group are no negatives.

DIR becomes the run's folder: config.yaml (enough to repeat the run), log.jsonl (all that happened), checkpoints/, and
encoder.safetensors, the encoder with torchvision's names, which every other command takes.

Interrupt once (Ctrl-C) to finish the step, save and stop; --resume goes on with the same bits as if nothing had happened.
The loss rises at first, while the queue fills with real keys; then it falls. Its value at chance is printed at the start.`,
		Example: `  moco train --data photos/ --recipe moco-v2 --set encoder.arch=resnet18 --set queue=8192 --out run
  moco train --data cifar10/train.tar --recipe cifar --set encoder.width=0.25 --set bn_splits=1 --batch 256 --epochs 10 \
       --monitor-train cifar10/train.tar --monitor-test cifar10/test.tar --out run
  moco train --data videos/ --set positives=frames --set max_gap=30 --out run
  moco train --data photos/ --set positives=pairs --pairs pairs.csv --out run
  moco train --data photos/ --init other/encoder.safetensors --recipe other/config.yaml --out run
  moco train --data photos/ --recipe run/config.yaml --out run --resume`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.runTrain(c, f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.data, "data", "", "images to learn from (required)")
	flags.StringVar(&f.recipe, "recipe", "cifar", "name of a recipe, or a YAML file; with --resume the run's own if not given")
	flags.StringArrayVar(&f.set, "set", nil, "change a key of the recipe: key=value (may be given several times)")
	flags.StringVar(&f.out, "out", "", "folder of the run (required)")
	flags.StringVar(&f.pairs, "pairs", "", "for positives=pairs: a CSV file of path,group; paths are those within --data or relative to the file")
	flags.StringVar(&f.init, "init", "", "start from the weights of this encoder (folder of a run, encoder.safetensors, or a checkpoint of PyTorch) instead of random ones; the key encoder starts as its copy")
	flags.Float64Var(&f.fps, "fps", data.DefaultFPS, "for positives=frames: frames a second to take from video files")
	flags.IntVar(&f.epochs, "epochs", 0, "length of training; the schedule is stretched to it")
	flags.IntVar(&f.steps, "steps", 0, "stop after so many steps; the schedule stays")
	flags.IntVar(&f.batch, "batch", 0, "images a step")
	flags.StringVar(&f.precision, "precision", "", "fp32 or bf16 (activations; weights, statistics and losses stay float32)")
	flags.Uint64Var(&f.seed, "seed", 0, "of everything random")
	flags.StringVar(&f.monitorTrain, "monitor-train", "", "labelled images: the bank of the kNN monitor, before training and after epochs")
	flags.StringVar(&f.monitorTest, "monitor-test", "", "labelled images that the monitor classifies")
	flags.IntVar(&f.monitorEvery, "monitor-every", 1, "epochs from one kNN accuracy to the next; the last epoch always has one")
	flags.BoolVar(&f.resume, "resume", false, "go on with the run in --out")
	a.threadsFlag(c)
	c.MarkFlagRequired("data")
	c.MarkFlagRequired("out")
	c.MarkFlagsRequiredTogether("monitor-train", "monitor-test")
	return c
}

func (a *app) runTrain(c *cobra.Command, f trainFlags) error {
	name := f.recipe
	if f.resume && !c.Flags().Changed("recipe") {
		name = f.out + "/config.yaml"
	}
	for flag, set := range map[string]string{"epochs": fmt.Sprint("epochs=", f.epochs), "batch": fmt.Sprint("batch=", f.batch), "seed": fmt.Sprint("seed=", f.seed), "precision": "precision=" + f.precision} {
		if c.Flags().Changed(flag) {
			f.set = append(f.set, set)
		}
	}
	if c.Flags().Changed("steps") && f.steps < 1 {
		return usageError{fmt.Errorf("--steps %d: must be at least 1", f.steps)}
	}
	if f.monitorEvery < 1 {
		return usageError{fmt.Errorf("--monitor-every %d: must be at least 1", f.monitorEvery)}
	}
	recipe, err := recipe.Load(name, f.set)
	if err != nil {
		return err
	}
	ctx := c.Context()
	e, err := a.engine()
	if err != nil {
		return err
	}
	if f.init != "" && !f.resume {
		recipe.Start = "" // that of another run, whose recipe this is
	}
	o := pretrain.Options{Recipe: recipe, DataPath: f.data, Out: f.out, Resume: f.resume, Steps: f.steps, Engine: e, Workers: a.workers(), Log: a.logger()}
	opts := data.Options{Part: data.Train, Frames: recipe.Positives == "frames", FPS: f.fps, Pairs: f.pairs}
	switch pairs := recipe.Positives == "pairs"; {
	case pairs && f.pairs == "":
		return usageError{errors.New("positives: pairs takes a list of them; give a CSV file of path,group with --pairs")}
	case !pairs && f.pairs != "":
		return usageError{fmt.Errorf("--pairs goes with positives: pairs, and the recipe has %s; add --set positives=pairs", recipe.Positives)}
	case !opts.Frames && c.Flags().Changed("fps"):
		return usageError{fmt.Errorf("--fps goes with positives: frames, and the recipe has %s; add --set positives=frames", recipe.Positives)}
	case !(f.fps > 0 && f.fps <= 1000):
		return usageError{fmt.Errorf("--fps %v: must be above 0 and at most 1000", f.fps)}
	case pairs:
		o.DataArgs = fmt.Sprintf(" --pairs %q", f.pairs)
	case c.Flags().Changed("fps"):
		o.DataArgs = fmt.Sprintf(" --fps %v", f.fps)
	}
	if f.init != "" {
		if o.Start, err = a.openEncoder(f.init, encoder.Options{Engine: e, Batch: 1}); err != nil {
			return err
		}
		defer o.Start.Close()
		o.DataArgs += fmt.Sprintf(" --init %q", f.init)
	}
	if o.Data, err = a.openWith(ctx, f.data, opts); err != nil {
		return err
	}
	defer o.Data.Close()
	if f.monitorTrain != "" {
		o.Monitor.Train = o.Data // the same images need not be kept twice
		if f.monitorTrain != f.data {
			if o.Monitor.Train, err = a.open(ctx, f.monitorTrain, data.Train); err != nil {
				return err
			}
			defer o.Monitor.Train.Close()
		}
		if o.Monitor.Test, err = a.open(ctx, f.monitorTest, data.Test); err != nil {
			return err
		}
		defer o.Monitor.Test.Close()
		o.Monitor.Start, o.Monitor.Every = !f.resume, f.monitorEvery
		for path, set := range map[string]*data.Set{f.monitorTrain: o.Monitor.Train, f.monitorTest: o.Monitor.Test} {
			if set.Classes() == nil {
				return fmt.Errorf("the monitor needs labelled images, and %s holds none: give class folders", path)
			}
		}
	}
	_, err = a.pretrain(ctx, o, nil)
	return err
}

// pretrain runs a recipe and shows it. also, if not nil, is told the events too.
func (a *app) pretrain(ctx context.Context, o pretrain.Options, also func(event.Event)) (*pretrain.Done, error) {
	show := &trainView{app: a, part: also != nil}
	o.Events = func(e event.Event) {
		show.event(e)
		if also != nil {
			also(e)
		}
	}
	done, err := pretrain.Run(ctx, o)
	show.clear()
	if errors.Is(err, pretrain.ErrInterrupted) {
		a.say("Stopped after step %d; the run is saved. Go on with: moco train --data %s%s --out %s --resume", done.Step, o.DataPath, o.DataArgs, o.Out)
	}
	return done, err
}

// demoEpochs is how often a part of a longer command tells of an epoch: the demo's are short.
const demoEpochs = 10

// trainView shows the events of a run: as JSON lines, with a progress bar, or a line now and then.
type trainView struct {
	app  *app
	part bool // of a longer command, whose own "done" comes last
	bar  *progressbar.ProgressBar
	line time.Time
}

func (v *trainView) event(e event.Event) {
	a := v.app
	if a.json {
		if _, done := e.(pretrain.Done); !done || !v.part {
			a.print(e)
		}
		return
	}
	switch e := e.(type) {
	case pretrain.Start:
		a.say("%d images; %s with %.2f million parameters on %s; %d steps of %d images (%d an epoch); %.1f GFLOP and %d MB a step",
			e.Images, e.Arch, float64(e.Parameters)/1e6, e.Engine, e.Steps, e.Batch, e.StepsPerEpoch, float64(e.FLOPs)/1e9, e.PeakBytes>>20)
		if e.FirstStep > 0 {
			a.say("Going on after step %d.", e.FirstStep)
		}
		a.say("Loss at chance: %.3f (%s, %d %s).%s", e.ChanceLoss, e.Mechanism, e.Keys, keysOf(e), rises(e))
		if a.onTerminal() {
			v.bar = progressbar.NewOptions(e.Steps, progressbar.OptionSetWriter(a.err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(),
				progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
			v.bar.Set(e.FirstStep)
		}
	case pretrain.Step:
		status := fmt.Sprintf("epoch %d  loss %.3f  accuracy %.0f%%  %.0f images/s  %s left", e.Epoch, e.Loss, 100*e.Accuracy, e.ImagesPerSecond, left(e.SecondsLeft))
		switch {
		case v.bar != nil:
			v.bar.Describe(status)
			v.bar.Set(e.Step)
		case time.Since(v.line) > 10*time.Second:
			v.line = time.Now()
			a.warn("step %d  %s", e.Step, status)
		}
	case pretrain.Epoch:
		if v.part && e.Epoch%demoEpochs != 0 {
			return
		}
		v.clear()
		a.say("epoch %d: loss %.4f, contrast accuracy %.1f%%, %.0f images/s%s", e.Epoch, e.Loss, 100*e.Accuracy, e.ImagesPerSecond, badImages(e.BadImages))
	case pretrain.Monitor:
		if v.part && e.Epoch%demoEpochs != 0 {
			return
		}
		v.clear()
		when := fmt.Sprintf("after epoch %d", e.Epoch)
		if e.Epoch == 0 {
			when = "before training"
		}
		a.say("  kNN accuracy %s: %.2f%% (k %d, t %v; %.0f s)", when, e.KNNTop1, e.K, e.T, e.Seconds)
	case pretrain.Warning:
		v.clear()
		a.warn("warning: %s", e.Message)
	case pretrain.Done:
		v.clear()
		if !e.Interrupted {
			a.say("Done: %d steps in %s, %.0f images/s%s. The encoder is %s", e.Step, left(e.Seconds), e.ImagesPerSecond, badImages(e.BadImages), e.Encoder)
		}
	}
}

// clear takes the bar away for a line; the next step draws it again.
func (v *trainView) clear() {
	if v.bar != nil {
		v.bar.Clear()
	}
}

func badImages(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d unreadable images skipped", n)
}

// left is a duration for people.
func left(seconds float64) string {
	return (time.Duration(seconds) * time.Second).String()
}

// keysOf names what a loss tells apart.
func keysOf(e pretrain.Start) string {
	if e.Labels {
		return "classes"
	}
	return "negatives a query"
}

// rises warns of a loss that goes up before it goes down.
func rises(e pretrain.Start) string {
	if e.Filling == 0 {
		return ""
	}
	return " At first the loss rises, while the queue fills with real keys; then it should fall."
}
