package bench

import (
	"context"
	"fmt"
	"runtime"

	"moco/engine"
	"moco/graph"
)

// LayersReport is what was measured of each form of convolution alone.
type LayersReport struct {
	Setup
	PeakGFLOPs float64 `json:"peak_gflops"` // a second, what multiply-adds in registers reach
	Memory
	Layers []*Layer `json:"layers"` // in the order of their first occurrence

	Seconds map[string]float64 `json:"seconds"` // of all convolutions of a step, each as fast as alone; by pass
	GFLOPs  map[string]float64 `json:"gflops"`  // a second, likewise
}

// Kind is the event's name under "event".
func (*LayersReport) Kind() string { return "done" }

// Layer is one form of convolution with its passes; those that the graph does not have are nil.
type Layer struct {
	Form
	Forward        *Pass `json:"forward,omitempty"`
	DataGradient   *Pass `json:"data_gradient,omitempty"`
	WeightGradient *Pass `json:"weight_gradient,omitempty"`
}

// Form is what tells one convolution from another.
type Form struct {
	In     int `json:"in"`  // channels
	Out    int `json:"out"` // channels
	Kernel int `json:"kernel"`
	Stride int `json:"stride"`
	Pad    int `json:"pad"`
	Height int `json:"height"` // of the input
	Width  int `json:"width"`  // of the input
	images int
	leaf   bool // it reads images as the caller gives them, whose rows an engine may keep otherwise
}

// Pass is what was measured of one of a convolution's three computations.
type Pass struct {
	Count     int     `json:"count"`      // in a step
	Seconds   float64 `json:"seconds"`    // of the fastest run
	GFLOPs    float64 `json:"gflops"`     // a second
	PeakShare float64 `json:"peak_share"` // of what multiply-adds alone reach
	Error     float64 `json:"error"`      // largest difference to float64 over the root mean square
	flops     int64
}

// Computation is one of the three computations of a convolution.
type Computation struct {
	Key  string // in the report
	Name string // for people
	op   graph.Op
}

// Computations are the three.
func Computations() []Computation {
	return []Computation{
		{Key: "forward", Name: "forward", op: graph.Conv},
		{Key: "data_gradient", Name: "data grad", op: graph.ConvGradInput},
		{Key: "weight_gradient", Name: "weight grad", op: graph.ConvGradWeight},
	}
}

// Pass is what was measured of a computation, nil if the graph does not have it.
func (l *Layer) Pass(c Computation) *Pass { return *l.pass(c.op) }

func (l *Layer) pass(op graph.Op) **Pass {
	switch op {
	case graph.ConvGradInput:
		return &l.DataGradient
	case graph.ConvGradWeight:
		return &l.WeightGradient
	}
	return &l.Forward
}

// MeasureLayers measures each form of convolution of the encoder alone, in the recipe's precision.
// progress, if not nil, is told how many forms of how many are done. The error of a batch that is
// too large is a *MemoryError.
func MeasureLayers(ctx context.Context, o Options, progress func(done, total int)) (*LayersReport, error) {
	b := &bencher{Options: o}
	g, err := b.graph()
	if err != nil {
		return nil, err
	}
	b.precision = g.Precision
	r := &LayersReport{Setup: b.setup("layers"), Layers: convolutions(g),
		Seconds: map[string]float64{}, GFLOPs: map[string]float64{}}
	b.measurePeak(peakTime)
	var planned engine.Cost // the largest
	for i, l := range r.Layers {
		cost, err := b.layer(ctx, l)
		if err != nil {
			return nil, err
		}
		if cost.PeakBytes() > planned.PeakBytes() {
			planned = cost
		}
		if progress != nil {
			progress(i+1, len(r.Layers))
		}
	}
	b.measurePeak(peakTime)
	r.PeakGFLOPs, r.Memory = b.peak, memoryOf(planned)
	r.sum()
	return r, nil
}

// layer measures the passes of one form and returns what the largest of their programs takes.
func (b *bencher) layer(ctx context.Context, l *Layer) (largest engine.Cost, err error) {
	for _, c := range Computations() {
		p := l.Pass(c)
		if p == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return largest, err
		}
		b.measurePeak(peakTime / 10) // this takes long, and the clock varies
		cost, err := b.alone(l.Form, c.op, p)
		if err != nil {
			return largest, fmt.Errorf("measure %v, %s: %w", l, c.Name, err)
		}
		if cost.PeakBytes() > largest.PeakBytes() {
			largest = cost
		}
		runtime.GC() // or the next one's buffers would come on top of these
	}
	return largest, nil
}

// sum adds up what all convolutions of a step take.
func (r *LayersReport) sum() {
	for _, c := range Computations() {
		var flops float64
		for _, l := range r.Layers {
			if p := l.Pass(c); p != nil {
				p.PeakShare = p.GFLOPs / r.PeakGFLOPs
				r.Seconds[c.Key] += float64(p.Count) * p.Seconds
				flops += float64(p.Count) * float64(p.flops)
			}
		}
		if flops > 0 {
			r.GFLOPs[c.Key] = flops / r.Seconds[c.Key] / 1e9
		}
	}
}

// Columns is the form for people, in three words: "3x3/2", "64>128", "32x32".
func (f Form) Columns() (kernel, channels, input string) {
	kernel = fmt.Sprintf("%dx%d", f.Kernel, f.Kernel)
	if f.Stride > 1 {
		kernel += fmt.Sprintf("/%d", f.Stride)
	}
	return kernel, fmt.Sprintf("%d>%d", f.In, f.Out), fmt.Sprintf("%dx%d", f.Height, f.Width)
}

// String is the form for an error.
func (f Form) String() string {
	kernel, channels, input := f.Columns()
	return fmt.Sprintf("the %s convolution %s at %s", kernel, channels, input)
}

// convolutions lists the distinct forms in a graph and counts what the graph computes of each.
func convolutions(g *graph.Graph) []*Layer {
	var layers []*Layer
	places := map[Form]*Layer{}
	for _, n := range g.Nodes {
		a, ok := n.Attr.(graph.ConvAttr)
		if !ok {
			continue
		}
		f := Form{Stride: a.Stride, Pad: a.Pad}
		var x, w *graph.Node // something with the input's shape, and with the weights'
		switch n.Op {
		case graph.Conv:
			x, w = n.In[0], n.In[1]
			f.leaf = readsImages(x)
		case graph.ConvGradInput:
			x, w = n, n.In[1]
		case graph.ConvGradWeight:
			x, w = n.In[1], n
			f.leaf = readsImages(x)
		}
		f.images, f.Height, f.Width = x.Shape[0], x.Shape[1], x.Shape[2]
		f.Out, f.In, f.Kernel = w.Shape[0], w.Shape[1], w.Shape[2]
		l := places[f]
		if l == nil {
			l = &Layer{Form: f}
			places[f] = l
			layers = append(layers, l)
		}
		p := l.pass(n.Op)
		if *p == nil {
			*p = &Pass{flops: n.Cost().FLOPs}
		}
		(*p).Count++
	}
	return layers
}

// readsImages is true of an input, shuffled or not.
func readsImages(x *graph.Node) bool {
	return x.Op == graph.Input || x.Op == graph.GatherRows && x.In[0].Op == graph.Input
}
