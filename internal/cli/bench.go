package cli

import (
	"cmp"
	"fmt"
	"os"
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
	"moco/pretrain"
)

// benchReport is what `moco bench` measured.
type benchReport struct {
	Event           string      `json:"event"`
	Engine          string      `json:"engine"`
	Workers         int         `json:"workers"`
	Batch           int         `json:"batch"`
	Steps           int         `json:"steps"`
	SecondsPerStep  float64     `json:"seconds_per_step"` // of the fastest step
	ImagesPerSecond float64     `json:"images_per_second"`
	GFLOPs          float64     `json:"gflops"`      // a second, convolutions counted as direct ones
	PeakGFLOPs      float64     `json:"peak_gflops"` // a second, what multiply-adds in registers reach
	PlannedBytes    int64       `json:"planned_bytes"`
	ResidentBytes   int64       `json:"resident_bytes,omitempty"` // the process's peak, where the system tells
	Kinds           []benchKind `json:"kinds"`
}

// benchKind is the time that one kind of operation takes in a step.
type benchKind struct {
	Kind    string  `json:"kind"`
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`
	GFLOPs  float64 `json:"gflops"`
	GBs     float64 `json:"gigabytes_per_second"`
}

func (a *app) bench() *cobra.Command {
	var name string
	var set []string
	var batch, steps int
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a training step",
		Long: `Run some training steps of a recipe on random images and tell where the time goes: images a second, floating-point operations a
second and the share of this machine's peak that they are, memory, and a table of the kinds of operations.
Only the step itself is timed: views and decoding come on top (see docs/benchmarks.md).`,
		Example: `  moco bench --recipe cifar --set encoder.width=0.25 --set bn_splits=1 --batch 256
  MOCO_CPU=avx2 moco bench --recipe cifar --batch 64 --steps 3 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("batch") {
				set = append(set, fmt.Sprint("batch=", batch))
			}
			r, err := pretrain.LoadRecipe(name, set)
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
			report, err := measure(c, &r, e, steps)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(report)
			}
			a.say("%s with %d workers, batches of %d: %.0f images/s (%.3f s a step, the fastest of %d)", report.Engine, report.Workers, report.Batch, report.ImagesPerSecond, report.SecondsPerStep, steps)
			a.say("%.0f GFLOP/s, %.0f%% of the peak of %.0f; memory planned %d MB, resident at most %d MB\n", report.GFLOPs, 100*report.GFLOPs/report.PeakGFLOPs, report.PeakGFLOPs, report.PlannedBytes>>20, report.ResidentBytes>>20)
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "operation\tms\tshare\tGFLOP/s\tGB/s\t")
			for _, k := range report.Kinds {
				fmt.Fprintf(w, "%s\t%.2f\t%.1f%%\t%.1f\t%.1f\t\n", k.Kind, 1e3*k.Seconds, 100*k.Share, k.GFLOPs, k.GBs)
			}
			return w.Flush()
		},
	}
	c.Flags().StringVar(&name, "recipe", "cifar", "name of a recipe, or a YAML file")
	c.Flags().StringArrayVar(&set, "set", nil, "change a key of the recipe: key=value")
	c.Flags().IntVar(&batch, "batch", 0, "images a step")
	c.Flags().IntVar(&steps, "steps", 5, "steps to time, after one to warm up")
	a.threadsFlag(c)
	return c
}

func measure(c *cobra.Command, r *moco.Recipe, e *cpu.Engine, steps int) (*benchReport, error) {
	g, err := moco.Step(r, r.Batch)
	if err != nil {
		return nil, err
	}
	s := e.NewState()
	p, err := e.Compile(g, s)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := moco.Initialise(r, s); err != nil {
		return nil, err
	}
	random := rng.New(r.Seed)
	for _, name := range []string{"x1", "x2"} {
		x := p.Input(name).Float32s()
		for i := range x {
			x[i] = float32(random.Uniform(-2, 2))
		}
	}
	for i := range r.Batch {
		p.Input("shuffle").Int32s()[i], p.Input("unshuffle").Int32s()[i] = int32(i), int32(i)
	}
	p.Input("lr").Float32s()[0] = float32(r.LR)
	if err := p.Run(); err != nil {
		return nil, err
	}
	p.Profile(true)
	var fastest time.Duration
	for i := range steps {
		if err := c.Context().Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := p.Run(); err != nil {
			return nil, err
		}
		if d := time.Since(start); i == 0 || d < fastest {
			fastest = d
		}
	}
	report := &benchReport{Event: "done", Engine: e.Name(), Workers: e.Workers(), Batch: r.Batch, Steps: steps, SecondsPerStep: fastest.Seconds(),
		ImagesPerSecond: float64(r.Batch) / fastest.Seconds(), GFLOPs: float64(p.Cost().FLOPs) / fastest.Seconds() / 1e9, PeakGFLOPs: peak(e),
		PlannedBytes: p.Cost().PeakBytes(), ResidentBytes: residentPeak(), Kinds: byKind(p.Profile(false))}
	return report, nil
}

// peak is the fastest of some loops of multiply-adds, in GFLOP/s.
func peak(e *cpu.Engine) float64 {
	best := 0.0
	for range 10 {
		start := time.Now()
		flops := e.PeakFLOPs(1 << 17)
		best = max(best, flops/time.Since(start).Seconds()/1e9)
	}
	return best
}

func byKind(times []engine.NodeTime) []benchKind {
	type sum struct {
		time time.Duration
		cost graph.Cost
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
		s.time += each
		s.cost.FLOPs += t.Cost.FLOPs
		s.cost.Bytes += t.Cost.Bytes
		total += each
	}
	var kinds []benchKind
	for label, s := range sums {
		seconds := max(s.time.Seconds(), 1e-9)
		kinds = append(kinds, benchKind{label, seconds, float64(s.time) / float64(total), float64(s.cost.FLOPs) / seconds / 1e9, float64(s.cost.Bytes) / seconds / 1e9})
	}
	slices.SortFunc(kinds, func(a, b benchKind) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Kind, b.Kind))
	})
	return kinds
}

// residentPeak is the largest memory that this process has had, in bytes; 0 where the system does not tell.
func residentPeak() int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	return 0
}
