package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco"
	"moco/engine/cpu"
	"moco/internal/bench"
	"moco/internal/event"
	"moco/recipe"
)

const benchHelp = `Measure how fast this machine trains a recipe, on random images, and where the time goes. No data
is needed. Only computing is timed: reading images and making views come on top (see
docs/benchmarks.md).

Without a flag, training steps are measured: both encoders forward, the loss, the gradients, the
update, the queue; where views grow in training, with the largest. With --forward, the trained
encoder alone, frozen, as the kNN monitor and moco eval run it. What the figures mean:

  images/s     of the fastest step, and of the median one. Where the two lie far apart, something
               else was using the machine
  GFLOP/s      operations by definition (a multiply and an add are two; a convolution counts as a
               direct one, also where the engine computes it in fewer), over the time of the
               fastest step
  peak         what multiply-adds alone reach with this instruction set: every worker runs
               independent ones on registers, without memory. It is measured for a fifth of a
               second before the steps and again after them (with --layers also before each
               computation), and the fastest loop of all counts, since the clock varies. On a
               machine that others use, it comes out too low, and shares too high: run this on an
               idle one
  the table    the kinds of operations in the fastest step, as the engine fused them. GB/s counts
               each operand and each result once, as if all came from memory; what stays in caches
               or is updated in place can show more than memory gives
  memory       what was planned before the first step, and the largest that this process has had

--layers measures each layer of the encoder alone, once for every distinct form: convolutions, and
in a transformer linear layers on tokens and attention. The input is pixels, or the number of
tokens. The table tells how often a form occurs in a step and how much of the step's operations
that is, and for the forward pass, the data gradient and the weight gradient the time (the fastest
of at least --steps runs), GFLOP/s, share of the peak (of float32's, in bf16 too), and the error:
the largest difference to the definition in float64 over the root mean square, on some hundred
outputs, for random activations (behind a ReLU half of them zero), weights and gradients. In bf16
most of the error is the rounding of results to 8 bits, 0.01 or less. With --forward, only what the
forward pass has. --paths repeats it for several of this processor's instruction sets, each beside
its own peak.`

const benchExample = `  moco bench --recipe cifar --set encoder.width=0.25 --set bn_splits=1 --batch 256
  moco bench --recipe cifar --batch 64 --layers --precision bf16
  moco bench --recipe cifar --batch 64 --layers --paths avx2,avx512
  moco bench --set encoder.arch=vit_s16 --set views.size=224 --batch 32 --forward --layers
  moco bench --recipe cifar --forward --batch 256 --steps 20
  moco bench --set encoder.arch=resnet50 --set encoder.stem=imagenet --set views.size=224 \
       --set queue=65536 --batch 32
  MOCO_CPU=avx2 moco bench --recipe cifar --batch 64 --threads 1 --json`

// benchOptions are those of `moco bench`.
type benchOptions struct {
	machine
	name, precision string
	set             []string
	batch, steps    int
	forward, layers bool
	paths           []string

	recipe moco.Recipe
}

func init() { register("", (*app).benchCommand) }

func (a *app) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "bench",
		Short:   "Measure a training step, the forward pass, or each layer alone",
		Long:    benchHelp,
		Example: benchExample,
	}
	return subcommand(a, c, &benchOptions{}, runBench)
}

func (o *benchOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.name, "recipe", "cifar", "name of a recipe, or a YAML file")
	f.StringArrayVar(&o.set, "set", nil, "change a key of the recipe: key=value (may be given several times)")
	choiceFlag(c, &o.precision, "precision", precisions, "", "the recipe's if not given")
	f.IntVar(&o.batch, "batch", 0, "images a step; the recipe's if not given")
	f.IntVar(&o.steps, "steps", 5, "steps to time, after one to warm up")
	f.BoolVar(&o.forward, "forward", false, "only the encoder's forward pass, frozen")
	f.BoolVar(&o.layers, "layers", false, "each layer of the encoder alone, with its error")
	choicesFlag(c, &o.paths, "paths", cpu.AllPaths(), nil, "with --layers: instruction sets to measure; if not given, the one that is used")
	o.machine.bind(c)
}

func (o *benchOptions) parse(c *cobra.Command, _ []string) (err error) {
	if o.steps < 1 {
		return usagef("--steps %d: must be at least 1", o.steps)
	}
	o.set = append(o.set, settings(c, []setting{{"batch", "batch", o.batch}, {"precision", "precision", o.precision}})...)
	if o.forward {
		o.set = append(o.set, "bn_splits=1") // frozen batch norm has no splits, so any batch will do
	}
	if o.recipe, err = recipe.Load(o.name, o.set); err != nil {
		return err
	}
	if len(o.paths) > 0 && !o.layers {
		return usagef("--paths compares single layers; add --layers, or choose one instruction set by MOCO_CPU=%s", o.paths[0])
	}
	return nil
}

func runBench(ctx context.Context, a *app, o *benchOptions) (result, error) {
	if o.layers {
		return o.measureLayers(ctx, a)
	}
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	r, err := bench.Measure(ctx, o.measured(e))
	return benched{r}, err
}

func (o *benchOptions) measured(e *cpu.Engine) bench.Options {
	return bench.Options{Recipe: &o.recipe, Engine: e, Steps: o.steps, Forward: o.forward}
}

// measureLayers measures layers on one instruction set after another. It shows each result
// but the last, which it returns.
func (o *benchOptions) measureLayers(ctx context.Context, a *app) (last result, err error) {
	paths := o.paths
	if len(paths) == 0 {
		paths = []string{a.getenv("MOCO_CPU")}
	}
	for _, path := range paths {
		if last != nil {
			if err := a.show(last); err != nil {
				return nil, err
			}
			a.say("")
		}
		e, err := o.engineOn(path)
		if err != nil {
			return nil, err
		}
		if last, err = a.benchLayers(ctx, o.measured(e)); err != nil {
			return nil, err
		}
	}
	return last, nil
}

func (a *app) benchLayers(ctx context.Context, b bench.Options) (result, error) {
	var p *progress
	r, err := bench.MeasureLayers(ctx, b, func(done, total int) {
		if p == nil {
			p = a.progress(total, "layer")
		}
		p.at(done, "layers")
	})
	p.clear()
	return benchedLayers{r}, err
}

// benched is what was measured of steps.
type benched struct{ *bench.Report }

func (r benched) event() event.Event { return r.Report }

func (r benched) text(s *screen) error {
	what := map[string]string{"step": "training step", "forward": "forward pass"}[r.Mode]
	s.say("%v", &r.Setup)
	s.say("%s: %.4g images/s, the fastest of %d (%.4g s); median %.4g images/s (%.4g s)",
		what, r.ImagesPerSecond, r.Steps, r.SecondsPerStep, r.MedianImagesPerSecond, r.MedianSecondsPerStep)
	s.say("%.4g GFLOP/s, %.0f%% of the peak of %.4g", r.GFLOPs, 100*r.PeakShare, r.PeakGFLOPs)
	s.say("%v\n", &r.Memory)
	w := s.table(true)
	fmt.Fprintln(w, "operation\ttimes\tms\tshare\tGFLOP/s\tGB/s\t")
	var small bench.Kind
	for i, k := range r.Kinds {
		if k.Share < 0.001 && len(r.Kinds) > i+1 || small.Count > 0 {
			small.Count, small.Seconds, small.Share = small.Count+k.Count, small.Seconds+k.Seconds, small.Share+k.Share
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.1f%%\t%.1f\t%.1f\t\n", k.Kind, k.Count, 1e3*k.Seconds, 100*k.Share, k.GFLOPs, k.GBs)
	}
	if small.Count > 0 {
		fmt.Fprintf(w, "kinds below 0.1%%\t%d\t%.2f\t%.1f%%\t\t\t\n", small.Count, 1e3*small.Seconds, 100*small.Share)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.say("\nNeither convolution nor product: %.2f ms, %.1f%% of the %s.", 1e3*r.RestSeconds, 100*r.RestShare, what)
	return nil
}

// benchedLayers is what was measured of single layers.
type benchedLayers struct{ *bench.LayersReport }

func (r benchedLayers) event() event.Event { return r.LayersReport }

func (r benchedLayers) text(s *screen) error {
	s.say("%v", &r.Setup)
	s.say("each layer alone, the fastest of at least %d runs; float32's peak %.4g GFLOP/s; %v\n",
		r.Steps, r.PeakGFLOPs, &r.Memory)
	w := s.table(true)
	fmt.Fprintln(w, "kernel\tchannels\tinput\tpass\ta step\tof FLOPs\tms\tGFLOP/s\tof peak\terror\t")
	for _, l := range r.Layers {
		kernel, channels, input := l.Columns()
		for _, c := range bench.Computations() {
			if p := l.Pass(c); p != nil {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%.1f%%\t%.3f\t%.1f\t%.0f%%\t%.1e\t\n",
					kernel, channels, input, c.Name, p.Count, 100*p.FLOPShare, 1e3*p.Seconds, p.GFLOPs, 100*p.PeakShare, p.Error)
				kernel, channels, input = "", "", ""
			}
		}
	}
	for _, c := range bench.Computations() {
		if seconds := r.Seconds[c.Key]; seconds > 0 {
			g := r.GFLOPs[c.Key]
			fmt.Fprintf(w, "\t\tall\t%s\t\t\t%.3f\t%.1f\t%.0f%%\t\t\n", c.Name, 1e3*seconds, g, 100*g/r.PeakGFLOPs)
		}
	}
	return w.Flush()
}
