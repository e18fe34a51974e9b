package bench

import (
	"context"
	"fmt"
	"runtime"

	"moco/engine"
	"moco/graph"
)

// LayersReport is what was measured of each form of layer alone: convolutions, linear layers on
// tokens, and attention.
type LayersReport struct {
	Setup
	PeakGFLOPs float64 `json:"peak_gflops"` // a second, what multiply-adds in registers reach
	Memory
	Layers []*Layer `json:"layers"` // in the order of their first occurrence

	Seconds map[string]float64 `json:"seconds"` // of all layers of a step, each as fast as alone; by pass
	GFLOPs  map[string]float64 `json:"gflops"`  // a second, likewise
}

// Kind is the event's name under "event".
func (*LayersReport) Kind() string { return "done" }

// Layer is one form of layer with its passes; those that the graph does not have are nil.
type Layer struct {
	Form
	Forward        *Pass `json:"forward,omitempty"`
	DataGradient   *Pass `json:"data_gradient,omitempty"`
	WeightGradient *Pass `json:"weight_gradient,omitempty"`
}

// The kinds of layers.
const (
	Convolution = "convolution"
	// Linear is a linear layer on tokens: a convolution of one pixel over a row of them.
	Linear = "linear"
	// Attention is attention without its projections. It has no weights, and so no gradient of them.
	Attention = "attention"
)

// Form is what tells one layer from another.
type Form struct {
	Layer  string `json:"kind"` // convolution, linear or attention
	In     int    `json:"in"`   // channels
	Out    int    `json:"out"`  // channels
	Kernel int    `json:"kernel"`
	Stride int    `json:"stride"`
	Pad    int    `json:"pad"`
	Height int    `json:"height"`          // of the input; 1 for tokens
	Width  int    `json:"width"`           // of the input; the number of tokens
	Heads  int    `json:"heads,omitempty"` // of attention
	images int
	leaf   bool // it reads images as the caller gives them, whose rows an engine may keep otherwise
}

// Pass is what was measured of one of a layer's three computations.
type Pass struct {
	Count     int     `json:"count"`      // in a step
	Seconds   float64 `json:"seconds"`    // of the fastest run
	GFLOPs    float64 `json:"gflops"`     // a second
	PeakShare float64 `json:"peak_share"` // of what multiply-adds alone reach
	FLOPShare float64 `json:"flop_share"` // of all operations of a step, for all of the form
	Error     float64 `json:"error"`      // largest difference to float64 over the root mean square
	flops     int64
}

// Computation is one of the three computations of a layer.
type Computation struct {
	Key  string // in the report
	Name string // for people
	pass pass
}

type pass int

const (
	forward pass = iota
	dataGradient
	weightGradient
)

// Computations are the three.
func Computations() []Computation {
	return []Computation{
		{Key: "forward", Name: "forward", pass: forward},
		{Key: "data_gradient", Name: "data grad", pass: dataGradient},
		{Key: "weight_gradient", Name: "weight grad", pass: weightGradient},
	}
}

// Pass is what was measured of a computation, nil if the graph does not have it.
func (l *Layer) Pass(c Computation) *Pass { return *l.pass(c.pass) }

func (l *Layer) pass(p pass) **Pass {
	switch p {
	case dataGradient:
		return &l.DataGradient
	case weightGradient:
		return &l.WeightGradient
	}
	return &l.Forward
}

// MeasureLayers measures each form of layer of the encoder alone, in the recipe's precision.
// progress, if not nil, is told how many forms of how many are done. The error of a batch that is
// too large is a *MemoryError.
func MeasureLayers(ctx context.Context, o Options, progress func(done, total int)) (*LayersReport, error) {
	b := newBencher(o)
	g, err := b.graph()
	if err != nil {
		return nil, err
	}
	b.precision = g.Precision
	r := &LayersReport{Setup: b.setup("layers"), Layers: layers(g),
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
	r.sum(float64(g.Cost().FLOPs))
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
		cost, err := b.alone(l.Form, c.pass, p)
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

// sum adds up what all layers of a step take, of so many operations in all.
func (r *LayersReport) sum(all float64) {
	for _, c := range Computations() {
		var flops float64
		for _, l := range r.Layers {
			if p := l.Pass(c); p != nil {
				p.PeakShare = p.GFLOPs / r.PeakGFLOPs
				p.FLOPShare = float64(p.Count) * float64(p.flops) / all
				r.Seconds[c.Key] += float64(p.Count) * p.Seconds
				flops += float64(p.Count) * float64(p.flops)
			}
		}
		if flops > 0 {
			r.GFLOPs[c.Key] = flops / r.Seconds[c.Key] / 1e9
		}
	}
}

// Columns is the form for people, in three words: "3x3/2", "64>128", "32x32", or "linear",
// "384>1536", "197".
func (f Form) Columns() (kernel, channels, input string) {
	switch f.Layer {
	case Linear:
		return Linear, fmt.Sprintf("%d>%d", f.In, f.Out), fmt.Sprint(f.Width)
	case Attention:
		return Attention, fmt.Sprintf("%dx%d", f.Heads, f.Out/f.Heads), fmt.Sprint(f.Width)
	}
	kernel = fmt.Sprintf("%dx%d", f.Kernel, f.Kernel)
	if f.Stride > 1 {
		kernel += fmt.Sprintf("/%d", f.Stride)
	}
	return kernel, fmt.Sprintf("%d>%d", f.In, f.Out), fmt.Sprintf("%dx%d", f.Height, f.Width)
}

// String is the form for an error.
func (f Form) String() string {
	kernel, channels, input := f.Columns()
	if f.Layer != Convolution {
		return fmt.Sprintf("the %s layer %s on %s tokens", kernel, channels, input)
	}
	return fmt.Sprintf("the %s convolution %s at %s", kernel, channels, input)
}

// layers lists the distinct forms in a graph and counts what the graph computes of each.
func layers(g *graph.Graph) []*Layer {
	var all []*Layer
	places := map[Form]*Layer{}
	for _, n := range g.Nodes {
		f, which, ok := formOf(n)
		if !ok {
			continue
		}
		l := places[f]
		if l == nil {
			l = &Layer{Form: f}
			places[f] = l
			all = append(all, l)
		}
		p := l.pass(which)
		if *p == nil {
			*p = &Pass{flops: n.Cost().FLOPs}
		}
		(*p).Count++
	}
	return all
}

// formOf is the layer that a node computes, or of which it computes a gradient.
func formOf(n *graph.Node) (Form, pass, bool) {
	switch a := n.Attr.(type) {
	case graph.ConvAttr:
		f, which := convolutionOf(n, a)
		return f, which, true
	case graph.MatMulAttr:
		return linearOf(n, a)
	case graph.AttentionAttr:
		y, which := n, forward
		if n.Op == graph.AttentionGrad {
			y, which = n.In[0], dataGradient // the gradient has the result's shape
		}
		s := y.Shape
		return Form{Layer: Attention, In: 3 * s[2], Out: s[2], Height: 1, Width: s[1], Heads: a.Heads, images: s[0]}, which, true
	}
	return Form{}, 0, false
}

func convolutionOf(n *graph.Node, a graph.ConvAttr) (Form, pass) {
	f := Form{Layer: Convolution, Stride: a.Stride, Pad: a.Pad}
	which := forward
	var x, w *graph.Node // something with the input's shape, and with the weights'
	switch n.Op {
	case graph.Conv:
		x, w = n.In[0], n.In[1]
		f.leaf = readsImages(x)
	case graph.ConvGradInput:
		x, w, which = n, n.In[1], dataGradient
	case graph.ConvGradWeight:
		x, w, which = n.In[1], n, weightGradient
		f.leaf = readsImages(x)
	}
	f.images, f.Height, f.Width = x.Shape[0], x.Shape[1], x.Shape[2]
	f.Out, f.In, f.Kernel = w.Shape[0], w.Shape[1], w.Shape[2]
	return f, which
}

// linearOf is the linear layer of a product with weights [out,in]: the product of tokens [N,T,in] with
// their transpose, that of a gradient [N,T,out] with the weights, or the sum of those of a gradient's
// transpose with the tokens.
func linearOf(n *graph.Node, a graph.MatMulAttr) (Form, pass, bool) {
	left, right := n.In[0], n.In[1]
	f := Form{Layer: Linear, Kernel: 1, Stride: 1, Height: 1}
	if len(left.Shape) != 3 {
		return f, 0, false
	}
	f.images, f.Width = left.Shape[0], left.Shape[1]
	switch {
	case a.SumBatch && a.TransposeA && !a.TransposeB:
		f.Out, f.In = n.Shape[0], n.Shape[1]
		return f, weightGradient, true
	case len(right.Shape) != 2 || a.TransposeA:
		return f, 0, false
	case a.TransposeB:
		f.Out, f.In = right.Shape[0], right.Shape[1]
		return f, forward, true
	}
	f.Out, f.In = right.Shape[0], right.Shape[1]
	return f, dataGradient, true
}

// readsImages is true of an input, shuffled or not.
func readsImages(x *graph.Node) bool {
	return x.Op == graph.Input || x.Op == graph.GatherRows && x.In[0].Op == graph.Input
}
