// Package bench measures how fast an engine computes what a recipe takes: training steps, the
// encoder's forward pass, or each of its layers alone. Inputs are random; no data is needed.
package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"moco"
	"moco/engine"
	"moco/graph"
	"moco/internal/sys"
)

// Engine is an engine that tells what it can reach.
type Engine interface {
	engine.Engine
	Workers() int
	// PeakFLOPs runs independent multiply-adds on every worker and returns the number of
	// operations.
	PeakFLOPs(loops int) float64
}

// Options say what is measured.
type Options struct {
	Recipe  *moco.Recipe
	Engine  Engine
	Steps   int  // to time, after one to warm up; at least 1
	Forward bool // the encoder's forward pass, frozen, instead of training steps
}

// Setup is what was measured, on what.
type Setup struct {
	Mode      string  `json:"mode"` // step, forward or layers
	Engine    string  `json:"engine"`
	Workers   int     `json:"workers"`
	Encoder   string  `json:"encoder"` // its backbone in words
	Arch      string  `json:"arch"`
	Stem      string  `json:"stem,omitempty"` // of a ResNet
	Width     float64 `json:"width"`
	Size      int     `json:"size"` // pixels a side of an image
	Precision string  `json:"precision"`
	Batch     int     `json:"batch"`
	Steps     int     `json:"steps"` // that were timed
}

// String is the setup for people.
func (s *Setup) String() string {
	return fmt.Sprintf("%s in %s, %d px, batches of %d, on %s with %d workers",
		s.Encoder, s.Precision, s.Size, s.Batch, s.Engine, s.Workers)
}

// Memory is what a program takes, in bytes.
type Memory struct {
	PlannedBytes  int64 `json:"planned_bytes"`            // variables and work
	VariableBytes int64 `json:"variable_bytes"`           // parameters, optimizer, queue: kept between steps
	WorkBytes     int64 `json:"work_bytes"`               // the planned peak of everything else
	ResidentBytes int64 `json:"resident_bytes,omitempty"` // the process's peak, where the system tells
}

// String is the memory for people.
func (m *Memory) String() string {
	s := fmt.Sprintf("memory: %d MB planned (variables %d, work %d)",
		m.PlannedBytes>>20, m.VariableBytes>>20, m.WorkBytes>>20)
	if m.ResidentBytes > 0 {
		s += fmt.Sprintf(", %d MB resident at most", m.ResidentBytes>>20)
	}
	return s
}

// Report is what was measured of whole steps or forward passes.
type Report struct {
	Setup
	SecondsPerStep        float64 `json:"seconds_per_step"` // of the fastest step
	MedianSecondsPerStep  float64 `json:"median_seconds_per_step"`
	ImagesPerSecond       float64 `json:"images_per_second"` // of the fastest step
	MedianImagesPerSecond float64 `json:"median_images_per_second"`
	FLOPs                 int64   `json:"flops"`       // of one step
	GFLOPs                float64 `json:"gflops"`      // a second, convolutions counted as direct ones
	PeakGFLOPs            float64 `json:"peak_gflops"` // a second, what multiply-adds in registers reach
	PeakShare             float64 `json:"peak_share"`
	// What is neither a convolution nor a product of matrices, attention among them.
	RestSeconds float64 `json:"rest_seconds"` // in the fastest step
	RestShare   float64 `json:"rest_share"`   // of the fastest step
	Memory
	Kinds []Kind `json:"kinds"` // of the fastest step, slowest first
}

// Kind is the event's name under "event".
func (*Report) Kind() string { return "done" }

// Kind is the time that one kind of operation takes in a step.
type Kind struct {
	Kind    string  `json:"kind"`  // as the engine fused it
	Count   int     `json:"count"` // operations in a step
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`                // of the step's time
	GFLOPs  float64 `json:"gflops"`               // a second
	GBs     float64 `json:"gigabytes_per_second"` // each operand and each result counted once
}

// MemoryError is the error of a batch that would not fit into memory.
type MemoryError struct {
	Batch       int
	Need, Limit int64 // bytes
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("a batch of %d needs at least %d MB, and three quarters of the free memory are %d MB",
		e.Batch, e.Need>>20, e.Limit>>20)
}

// bencher measures one recipe on one engine.
type bencher struct {
	Options
	peak      float64 // GFLOP/s, the fastest so far
	precision graph.Precision
}

// newBencher measures training steps at the size of their largest views, which may be smaller than
// pictures are encoded at. The trained encoder's forward pass is measured at the latter.
func newBencher(o Options) *bencher {
	if !o.Forward {
		o.Recipe = o.Recipe.ForSize(o.Recipe.Views.Largest())
	}
	return &bencher{Options: o}
}

func (b *bencher) setup(mode string) Setup {
	r := b.Recipe
	return Setup{
		Mode: mode, Engine: b.Engine.Name(), Workers: b.Engine.Workers(),
		Encoder: r.Encoder.Describe(), Arch: r.Encoder.Arch, Stem: r.Encoder.Stem, Width: r.Encoder.Width, Size: r.Views.Size,
		Precision: r.Precision, Batch: r.Batch, Steps: b.Steps,
	}
}

// Measure measures whole steps, or forward passes. It needs the memory of one; the error of a batch
// that is too large is a *MemoryError.
func Measure(ctx context.Context, o Options) (*Report, error) {
	b := newBencher(o)
	p, run, err := b.compile()
	if err != nil {
		return nil, err
	}
	defer p.Close()
	b.measurePeak(peakTime)
	t, err := b.time(ctx, p, run)
	if err != nil {
		return nil, err
	}
	b.measurePeak(peakTime)
	return b.report(t, p.Cost()), nil
}

// timed is how long steps took.
type timed struct {
	steps   []time.Duration   // the shortest first
	fastest []engine.NodeTime // what the fastest was made of
}

// time runs the steps.
func (b *bencher) time(ctx context.Context, p program, run func() error) (t timed, err error) {
	if err := run(); err != nil {
		return t, err
	}
	p.Profile(true)
	for range b.Steps {
		if err := ctx.Err(); err != nil {
			return t, err
		}
		start := time.Now()
		if err := run(); err != nil {
			return t, err
		}
		d := time.Since(start)
		if each := p.Profile(true); len(t.steps) == 0 || d < slices.Min(t.steps) {
			t.fastest = each
		}
		t.steps = append(t.steps, d)
	}
	slices.Sort(t.steps)
	return t, nil
}

func (b *bencher) report(t timed, cost engine.Cost) *Report {
	times := t.steps
	fastest, median := times[0].Seconds(), (times[(len(times)-1)/2]+times[len(times)/2]).Seconds()/2
	images := float64(b.Recipe.Batch)
	r := &Report{
		Setup: b.setup("step"), SecondsPerStep: fastest, MedianSecondsPerStep: median,
		ImagesPerSecond: images / fastest, MedianImagesPerSecond: images / median,
		FLOPs: cost.FLOPs, GFLOPs: float64(cost.FLOPs) / fastest / 1e9, PeakGFLOPs: b.peak,
		Memory: memoryOf(cost), Kinds: byKind(t.fastest),
	}
	if b.Forward {
		r.Mode = "forward"
	}
	r.PeakShare = r.GFLOPs / b.peak
	var all time.Duration
	for _, t := range t.fastest {
		all += t.Time
		if t.Kind != engine.Convolution && t.Kind != engine.Product {
			r.RestSeconds += t.Time.Seconds()
		}
	}
	r.RestShare = r.RestSeconds / all.Seconds()
	return r
}

// peakTime is how long the peak is looked for before the steps and after them.
const peakTime = time.Second / 5

// measurePeak runs short loops of multiply-adds for a time and keeps the fastest of all so far.
// They are short so that on a busy machine some fall into a moment in which every worker has a
// processor.
func (b *bencher) measurePeak(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
		start := time.Now()
		flops := b.Engine.PeakFLOPs(1 << 15)
		b.peak = max(b.peak, flops/time.Since(start).Seconds()/1e9)
	}
}

func byKind(times []engine.NodeTime) []Kind {
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
	var kinds []Kind
	for label, s := range sums {
		seconds := max(s.time.Seconds(), 1e-9)
		kinds = append(kinds, Kind{Kind: label, Count: s.count, Seconds: seconds, Share: float64(s.time) / float64(total),
			GFLOPs: float64(s.cost.FLOPs) / seconds / 1e9, GBs: float64(s.cost.Bytes) / seconds / 1e9})
	}
	slices.SortFunc(kinds, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Kind, b.Kind))
	})
	return kinds
}

func memoryOf(c engine.Cost) Memory {
	return Memory{
		PlannedBytes: c.PeakBytes(), VariableBytes: c.VariableBytes, WorkBytes: c.WorkBytes,
		ResidentBytes: sys.ResidentPeak(),
	}
}
