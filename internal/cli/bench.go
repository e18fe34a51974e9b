package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"moco"
	"moco/engine"
	"moco/engine/cpu"
	"moco/graph"
	"moco/internal/rng"
	"moco/internal/sys"
	"moco/recipe"
)

// benchSetup is what was measured, on what.
type benchSetup struct {
	Event     string  `json:"event"`
	Mode      string  `json:"mode"` // step, forward or layers
	Engine    string  `json:"engine"`
	Workers   int     `json:"workers"`
	Arch      string  `json:"arch"`
	Stem      string  `json:"stem"`
	Width     float64 `json:"width"`
	Size      int     `json:"size"` // pixels a side of an image
	Precision string  `json:"precision"`
	Batch     int     `json:"batch"`
	Steps     int     `json:"steps"`
}

// benchMemory is what a program takes, in bytes.
type benchMemory struct {
	PlannedBytes  int64 `json:"planned_bytes"`            // variables and work
	VariableBytes int64 `json:"variable_bytes"`           // parameters, optimizer, queue: kept between steps
	WorkBytes     int64 `json:"work_bytes"`               // the planned peak of everything else
	ResidentBytes int64 `json:"resident_bytes,omitempty"` // the process's peak, where the system tells
}

// benchReport is what `moco bench` measured of whole steps or forward passes.
type benchReport struct {
	benchSetup
	SecondsPerStep        float64 `json:"seconds_per_step"` // of the fastest step
	MedianSecondsPerStep  float64 `json:"median_seconds_per_step"`
	ImagesPerSecond       float64 `json:"images_per_second"` // of the fastest step
	MedianImagesPerSecond float64 `json:"median_images_per_second"`
	FLOPs                 int64   `json:"flops"`       // of one step
	GFLOPs                float64 `json:"gflops"`      // a second, convolutions counted as direct ones
	PeakGFLOPs            float64 `json:"peak_gflops"` // a second, what multiply-adds in registers reach
	PeakShare             float64 `json:"peak_share"`
	NotConvolutionSeconds float64 `json:"not_convolution_seconds"` // in the fastest step
	NotConvolutionShare   float64 `json:"not_convolution_share"`
	benchMemory
	Kinds []benchKind `json:"kinds"` // of the fastest step, slowest first
}

// benchKind is the time that one kind of operation takes in a step.
type benchKind struct {
	Kind    string  `json:"kind"`
	Count   int     `json:"count"` // operations in a step
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`
	GFLOPs  float64 `json:"gflops"`
	GBs     float64 `json:"gigabytes_per_second"`
}

func (a *app) bench() *cobra.Command {
	var name string
	var set []string
	var batch, steps int
	var precision string
	var forward, layers bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a training step, the forward pass, or each convolution alone",
		Long: `Measure how fast this machine trains a recipe, on random images, and where the time goes. No data is needed. Only computing is timed:
reading images and making views come on top (see docs/benchmarks.md).

Without a flag, training steps are measured: both encoders forward, the loss, the gradients, the update, the queue. With --forward,
the trained encoder alone, frozen, as the kNN monitor and ` + "`moco eval`" + ` run it. What the figures mean:

  images/s     of the fastest step, and of the median one. Where the two lie far apart, something else was using the machine
  GFLOP/s      operations by definition (a multiply and an add are two; a convolution counts as a direct one, also where the engine
               computes it in fewer), over the time of the fastest step
  peak         what multiply-adds alone reach with this instruction set: every worker runs independent ones on registers, without
               memory. It is measured for a fifth of a second before the steps and again after them (with --layers also before
               each computation), and the fastest loop of all counts, since the clock varies. On a machine that others use,
               it comes out too low, and shares too high: run this on an idle one
  the table    the kinds of operations in the fastest step, as the engine fused them. GB/s counts each operand and each result once, as if
               all came from memory; what stays in caches or is updated in place can show more than memory gives
  memory       what was planned before the first step, and the largest that this process has had

--layers measures each convolution of the encoder alone, in float32, once for every distinct form: how often it occurs in a step, and for the
forward pass, the data gradient and the weight gradient the time (the fastest of at least --steps runs), GFLOP/s, share of the peak, and
the error: the largest difference to the definition in float64 over the root mean square, on some hundred outputs, for random
activations (half of them zero), weights and gradients. With --forward, only what the forward pass has.`,
		Example: `  moco bench --recipe cifar --set encoder.width=0.25 --set bn_splits=1 --batch 256
  moco bench --recipe cifar --batch 64 --layers
  moco bench --recipe cifar --forward --batch 256 --steps 20
  moco bench --set encoder.arch=resnet50 --set encoder.stem=imagenet --set views.size=224 --set queue=65536 --batch 32
  MOCO_CPU=avx2 moco bench --recipe cifar --batch 64 --threads 1 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("batch") {
				set = append(set, fmt.Sprint("batch=", batch))
			}
			if precision != "" {
				set = append(set, "precision="+precision)
			}
			if forward {
				set = append(set, "bn_splits=1") // frozen batch norm has no splits, so any batch will do
			}
			r, err := recipe.Load(name, set)
			if err != nil {
				return err
			}
			if steps < 1 {
				return usageError{fmt.Errorf("--steps %d: must be at least 1", steps)}
			}
			e, err := a.engine()
			if err != nil {
				return err
			}
			b := &bencher{app: a, recipe: &r, engine: e, steps: steps, forward: forward}
			if layers {
				if r.Precision == "bf16" {
					return usageError{errors.New("--layers measures convolutions of float32 only, and would not show those of bf16; give --precision fp32, or leave --layers out: the step's table has them")}
				}
				return b.layers(c.Context())
			}
			return b.whole(c.Context())
		},
	}
	c.Flags().StringVar(&name, "recipe", "cifar", "name of a recipe, or a YAML file")
	c.Flags().StringArrayVar(&set, "set", nil, "change a key of the recipe: key=value")
	c.Flags().StringVar(&precision, "precision", "", "fp32 or bf16; the recipe's if not given")
	c.Flags().IntVar(&batch, "batch", 0, "images a step; the recipe's if not given")
	c.Flags().IntVar(&steps, "steps", 5, "steps to time, after one to warm up")
	c.Flags().BoolVar(&forward, "forward", false, "only the encoder's forward pass, frozen")
	c.Flags().BoolVar(&layers, "layers", false, "each convolution of the encoder alone, with its error")
	a.threadsFlag(c)
	return c
}

// bencher measures one recipe on one engine.
type bencher struct {
	*app
	recipe  *moco.Recipe
	engine  *cpu.Engine
	steps   int
	forward bool

	peak float64 // GFLOP/s, the fastest so far
}

func (b *bencher) setup(mode string) benchSetup {
	r := b.recipe
	return benchSetup{"done", mode, b.engine.Name(), b.engine.Workers(), r.Encoder.Arch, r.Encoder.Stem, r.Encoder.Width, r.Views.Size, r.Precision, r.Batch, b.steps}
}

func (s *benchSetup) String() string {
	return fmt.Sprintf("%s (%s stem, width %v) in %s, %d px, batches of %d, on %s with %d workers", s.Arch, s.Stem, s.Width, s.Precision, s.Size, s.Batch, s.Engine, s.Workers)
}

// graph is the training step, or the encoder's forward pass.
func (b *bencher) graph() (*graph.Graph, error) {
	if b.forward {
		return moco.Features(b.recipe, b.recipe.Batch)
	}
	return moco.Graph(b.recipe, b.recipe.Batch)
}

// benched is what is measured, ready to run.
type benched interface {
	Profile(on bool) []engine.NodeTime
	Cost() engine.Cost
	Close() error
}

// fits refuses what would not fit into memory.
func (b *bencher) fits(need int64) error {
	limit := sys.FreeMemory() / 4 * 3
	if limit <= 0 || need <= limit {
		return nil
	}
	return fmt.Errorf("a batch of %d needs at least %d MB, and three quarters of the free memory are %d MB; use a smaller --batch",
		b.recipe.Batch, need>>20, limit>>20)
}

// compile makes the step, or the encoder, with random weights and images. It refuses what would not
// fit into memory: inputs, of which compiling makes copies for the caller, before it compiles, and the
// rest before anything of that size is made.
func (b *bencher) compile() (p benched, run func() error, err error) {
	g, err := b.graph()
	if err != nil {
		return nil, nil, err
	}
	inputs := inputBytes(g)
	if err := b.fits(inputs); err != nil {
		return nil, nil, err
	}
	compile := b.compileStep
	if b.forward {
		compile = b.compileForward
	}
	return compile(inputs)
}

// inputBytes is the memory of a graph's inputs.
func inputBytes(g *graph.Graph) (n int64) {
	for _, node := range g.Nodes {
		if node.Op == graph.Input {
			n += int64(node.Shape.Elements()) * int64(node.Type.Size())
		}
	}
	return n
}

func (b *bencher) compileStep(inputs int64) (benched, func() error, error) {
	s := b.engine.NewState()
	step, err := moco.Compile(b.recipe, b.recipe.Batch, b.engine, s)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(b.fits(inputs+step.Cost().PeakBytes()), moco.Initialise(b.recipe, s, nil)); err != nil {
		step.Close()
		return nil, nil, err
	}
	b.randomBatch(step.Batch())
	return step, func() error {
		_, err := step.Run(moco.Progress{StepsPerEpoch: 1})
		return err
	}, nil
}

func (b *bencher) compileForward(inputs int64) (benched, func() error, error) {
	s := b.engine.NewState()
	p, err := moco.CompileFeatures(b.recipe, b.recipe.Batch, b.engine, s)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(b.fits(inputs+p.Cost().PeakBytes()), moco.InitialiseQuery(b.recipe, s, nil)); err != nil {
		p.Close()
		return nil, nil, err
	}
	b.randomBatch(moco.Batch{X1: p.Views})
	return p, p.Run, nil
}

// randomBatch makes random pixels, images in order, and any class.
func (b *bencher) randomBatch(batch moco.Batch) {
	random := rng.New(b.recipe.Seed)
	for _, x := range [][]float32{batch.X1, batch.X2} {
		for i := range x {
			x[i] = float32(random.Uniform(-2, 2))
		}
	}
	for _, order := range [][]int32{batch.IDs, batch.Shuffle, batch.Unshuffle} {
		for i := range order {
			order[i] = int32(i)
		}
	}
	for i := range batch.Labels {
		batch.Labels[i] = int32(i % b.recipe.Encoder.Dim)
	}
}

// whole measures the graph as it is.
func (b *bencher) whole(ctx context.Context) error {
	report, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if b.json {
		return b.print(report)
	}
	what := map[string]string{"step": "training step", "forward": "forward pass"}[report.Mode]
	b.say("%v", &report.benchSetup)
	b.say("%s: %.4g images/s, the fastest of %d (%.4g s); median %.4g images/s (%.4g s)", what, report.ImagesPerSecond, report.Steps, report.SecondsPerStep, report.MedianImagesPerSecond, report.MedianSecondsPerStep)
	b.say("%.4g GFLOP/s, %.0f%% of the peak of %.4g", report.GFLOPs, 100*report.PeakShare, report.PeakGFLOPs)
	b.say("%v\n", &report.benchMemory)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "operation\ttimes\tms\tshare\tGFLOP/s\tGB/s\t")
	var small benchKind
	for i, k := range report.Kinds {
		if k.Share < 0.001 && len(report.Kinds) > i+1 || small.Count > 0 {
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
	b.say("\nNo convolution: %.2f ms, %.1f%% of the %s.", 1e3*report.NotConvolutionSeconds, 100*report.NotConvolutionShare, what)
	return nil
}

func (m *benchMemory) String() string {
	s := fmt.Sprintf("memory: %d MB planned (variables %d, work %d)", m.PlannedBytes>>20, m.VariableBytes>>20, m.WorkBytes>>20)
	if m.ResidentBytes > 0 {
		s += fmt.Sprintf(", %d MB resident at most", m.ResidentBytes>>20)
	}
	return s
}

func (b *bencher) measure(ctx context.Context) (*benchReport, error) {
	p, run, err := b.compile()
	if err != nil {
		return nil, err
	}
	defer p.Close()
	b.measurePeak(peakTime)
	if err := run(); err != nil {
		return nil, err
	}
	p.Profile(true)
	var times []time.Duration
	var kinds []engine.NodeTime // of the fastest step
	for range b.steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := run(); err != nil {
			return nil, err
		}
		d := time.Since(start)
		if each := p.Profile(true); len(times) == 0 || d < slices.Min(times) {
			kinds = each
		}
		times = append(times, d)
	}
	b.measurePeak(peakTime)
	slices.Sort(times)
	fastest, median := times[0].Seconds(), (times[(len(times)-1)/2]+times[len(times)/2]).Seconds()/2
	images, cost := float64(b.recipe.Batch), p.Cost()
	report := &benchReport{benchSetup: b.setup("step"), SecondsPerStep: fastest, MedianSecondsPerStep: median, ImagesPerSecond: images / fastest, MedianImagesPerSecond: images / median,
		FLOPs: cost.FLOPs, GFLOPs: float64(cost.FLOPs) / fastest / 1e9, PeakGFLOPs: b.peak, benchMemory: memoryOf(cost), Kinds: byKind(kinds)}
	if b.forward {
		report.Mode = "forward"
	}
	report.PeakShare = report.GFLOPs / b.peak
	var all time.Duration
	for _, t := range kinds {
		all += t.Time
		if t.Kind != engine.Convolution {
			report.NotConvolutionSeconds += t.Time.Seconds()
		}
	}
	report.NotConvolutionShare = report.NotConvolutionSeconds / all.Seconds()
	return report, nil
}

// peakTime is how long the peak is looked for before the steps and after them.
const peakTime = time.Second / 5

// measurePeak runs short loops of multiply-adds for a time and keeps the fastest of all so far. They are short so that on a busy machine some
// fall into a moment in which every worker has a processor.
func (b *bencher) measurePeak(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
		start := time.Now()
		flops := b.engine.PeakFLOPs(1 << 15)
		b.peak = max(b.peak, flops/time.Since(start).Seconds()/1e9)
	}
}

func byKind(times []engine.NodeTime) []benchKind {
	type sum struct {
		count int
		time  time.Duration
		cost  graph.Cost
	}
	sums := map[string]*sum{}
	var total time.Duration
	for _, t := range times {
		s := sums[t.Label]
		if s == nil {
			s = &sum{}
			sums[t.Label] = s
		}
		each := t.Time / time.Duration(t.Runs)
		s.count++
		s.time += each
		s.cost.FLOPs += t.Cost.FLOPs
		s.cost.Bytes += t.Cost.Bytes
		total += each
	}
	var kinds []benchKind
	for label, s := range sums {
		seconds := max(s.time.Seconds(), 1e-9)
		kinds = append(kinds, benchKind{label, s.count, seconds, float64(s.time) / float64(total), float64(s.cost.FLOPs) / seconds / 1e9, float64(s.cost.Bytes) / seconds / 1e9})
	}
	slices.SortFunc(kinds, func(a, b benchKind) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Kind, b.Kind))
	})
	return kinds
}

func memoryOf(c engine.Cost) benchMemory {
	return benchMemory{c.PeakBytes(), c.VariableBytes, c.WorkBytes, sys.ResidentPeak()}
}
