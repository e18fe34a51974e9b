package cli

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// layersReport is what `moco bench --layers` measured.
type layersReport struct {
	benchSetup
	PeakGFLOPs float64 `json:"peak_gflops"` // a second, what multiply-adds in registers reach
	benchMemory
	Layers []*layer `json:"layers"` // in the order of their first occurrence
	// Of all convolutions of a step, each as fast as it is alone: seconds, and operations a second.
	Seconds map[string]float64 `json:"seconds"` // by pass
	GFLOPs  map[string]float64 `json:"gflops"`
}

// layer is one form of convolution.
type layer struct {
	form
	Forward        *pass `json:"forward,omitempty"`
	DataGradient   *pass `json:"data_gradient,omitempty"`
	WeightGradient *pass `json:"weight_gradient,omitempty"`
}

// form is what tells one convolution from another.
type form struct {
	In     int `json:"in"`  // channels
	Out    int `json:"out"` // channels
	Kernel int `json:"kernel"`
	Stride int `json:"stride"`
	Pad    int `json:"pad"`
	Height int `json:"height"` // of the input
	Width  int `json:"width"`
	images int
	leaf   bool // it reads images as the caller gives them, whose rows an engine may keep otherwise
}

// pass is one of a convolution's three computations.
type pass struct {
	Count     int     `json:"count"` // in a step
	Seconds   float64 `json:"seconds"`
	GFLOPs    float64 `json:"gflops"`
	PeakShare float64 `json:"peak_share"`
	Error     float64 `json:"error"` // largest difference to float64 over the root mean square
	flops     int64
}

// passes names the three computations as JSON and as people read it.
var passes = []struct {
	key, name string
	op        graph.Op
}{{"forward", "forward", graph.Conv}, {"data_gradient", "data grad", graph.ConvGradInput}, {"weight_gradient", "weight grad", graph.ConvGradWeight}}

func (l *layer) pass(op graph.Op) **pass {
	switch op {
	case graph.ConvGradInput:
		return &l.DataGradient
	case graph.ConvGradWeight:
		return &l.WeightGradient
	}
	return &l.Forward
}

// layers measures each form of convolution in the graph alone.
func (b *bencher) layers(ctx context.Context) error {
	g, err := b.graph()
	if err != nil {
		return err
	}
	report := &layersReport{benchSetup: b.setup("layers"), Layers: convolutions(g), Seconds: map[string]float64{}, GFLOPs: map[string]float64{}}
	bar := progressbar.DefaultSilent(int64(len(report.Layers)))
	if b.onTerminal() && !b.json {
		bar = progressbar.NewOptions(len(report.Layers), progressbar.OptionSetWriter(b.err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("convolutions"), progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish())
	}
	defer bar.Clear()
	b.measurePeak(peakTime)
	var planned engine.Cost
	for _, l := range report.Layers {
		for _, which := range passes {
			p := *l.pass(which.op)
			if p == nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			b.measurePeak(peakTime / 10) // this takes long, and the clock varies
			cost, err := b.alone(l.form, which.op, p)
			if err != nil {
				return fmt.Errorf("measure %v, %s: %w", l, which.name, err)
			}
			if cost.PeakBytes() > planned.PeakBytes() {
				planned = cost
			}
			runtime.GC() // or the next one's buffers would come on top of these
		}
		bar.Add(1)
	}
	b.measurePeak(peakTime)
	bar.Clear()
	report.PeakGFLOPs, report.benchMemory = b.peak, memoryOf(planned)
	for _, which := range passes {
		var flops float64
		for _, l := range report.Layers {
			if p := *l.pass(which.op); p != nil {
				p.PeakShare = p.GFLOPs / b.peak
				report.Seconds[which.key] += float64(p.Count) * p.Seconds
				flops += float64(p.Count) * float64(p.flops)
			}
		}
		if flops > 0 {
			report.GFLOPs[which.key] = flops / report.Seconds[which.key] / 1e9
		}
	}
	if b.json {
		return b.print(report)
	}
	return b.sayLayers(report)
}

func (b *bencher) sayLayers(report *layersReport) error {
	b.say("%v", &report.benchSetup)
	b.say("each convolution alone, the fastest of at least %d runs; peak %.4g GFLOP/s; %v\n", report.Steps, report.PeakGFLOPs, &report.benchMemory)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "kernel\tchannels\tinput\tpass\ta step\tms\tGFLOP/s\tof peak\terror\t")
	for _, l := range report.Layers {
		kernel, channels, input := l.columns()
		for _, which := range passes {
			if p := *l.pass(which.op); p != nil {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%.3f\t%.1f\t%.0f%%\t%.1e\t\n", kernel, channels, input, which.name, p.Count, 1e3*p.Seconds, p.GFLOPs, 100*p.PeakShare, p.Error)
				kernel, channels, input = "", "", ""
			}
		}
	}
	for _, which := range passes {
		if s := report.Seconds[which.key]; s > 0 {
			g := report.GFLOPs[which.key]
			fmt.Fprintf(w, "\t\tall\t%s\t\t%.3f\t%.1f\t%.0f%%\t\t\n", which.name, 1e3*s, g, 100*g/report.PeakGFLOPs)
		}
	}
	return w.Flush()
}

func (f form) columns() (kernel, channels, input string) {
	kernel = fmt.Sprintf("%dx%d", f.Kernel, f.Kernel)
	if f.Stride > 1 {
		kernel += fmt.Sprintf("/%d", f.Stride)
	}
	return kernel, fmt.Sprintf("%d>%d", f.In, f.Out), fmt.Sprintf("%dx%d", f.Height, f.Width)
}

func (f form) String() string {
	kernel, channels, input := f.columns()
	return fmt.Sprintf("the %s convolution %s at %s", kernel, channels, input)
}

// convolutions lists the distinct forms in a graph and counts what the graph computes of each.
func convolutions(g *graph.Graph) []*layer {
	var layers []*layer
	places := map[form]*layer{}
	for _, n := range g.Nodes {
		a, ok := n.Attr.(graph.ConvAttr)
		if !ok {
			continue
		}
		f := form{Stride: a.Stride, Pad: a.Pad}
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
			l = &layer{form: f}
			places[f] = l
			layers = append(layers, l)
		}
		p := l.pass(n.Op)
		if *p == nil {
			*p = &pass{flops: n.Cost().FLOPs}
		}
		(*p).Count++
	}
	return layers
}

// readsImages is true of an input, shuffled or not.
func readsImages(x *graph.Node) bool {
	return x.Op == graph.Input || x.Op == graph.GatherRows && x.In[0].Op == graph.Input
}

// shortest is the time for which a computation is repeated at least: the clock is too coarse for a few short runs.
const shortest = 20 * time.Millisecond

// alone measures one computation of a convolution: a graph of that node, on random values. It returns what the program takes.
func (b *bencher) alone(f form, op graph.Op, out *pass) (engine.Cost, error) {
	outH, outW := (f.Height+2*f.Pad-f.Kernel)/f.Stride+1, (f.Width+2*f.Pad-f.Kernel)/f.Stride+1
	c := convolution{form: f, outH: outH, outW: outW}
	g := graph.New()
	// Operands are copied once, so that they have the layout of what an engine computed and not that of an input.
	operand := func(name string, leaf bool, shape ...int) *graph.Node {
		x := g.Input(name, tensor.Float32, shape...)
		if leaf {
			return x
		}
		return g.WeightedSum(graph.Term{Coefficient: 1, X: x})
	}
	images := func() *graph.Node { return operand("x", f.leaf, f.images, f.Height, f.Width, f.In) }
	gradient := func() *graph.Node { return operand("dy", false, f.images, outH, outW, f.Out) }
	weights := func() *graph.Node { return g.Variable("w", tensor.Float32, f.Out, f.In, f.Kernel, f.Kernel) }
	a := graph.ConvAttr{Window: graph.Window{Kernel: f.Kernel, Stride: f.Stride, Pad: f.Pad}, Height: f.Height, Width: f.Width}
	var n *graph.Node
	switch op {
	case graph.Conv:
		n = g.Conv(images(), weights(), f.Stride, f.Pad)
	case graph.ConvGradInput:
		n = g.ConvGradInput(gradient(), weights(), a)
	default:
		n = g.ConvGradWeight(gradient(), images(), a)
	}
	g.Output("y", g.Detach(n)) // so that the copy to the caller is not the node's own time
	s := b.engine.NewState()
	if err := b.fits(inputBytes(g)); err != nil {
		return engine.Cost{}, err
	}
	p, err := b.engine.Compile(g, s)
	if err != nil {
		return engine.Cost{}, err
	}
	defer p.Close()
	if err := b.fits(inputBytes(g) + p.Cost().PeakBytes()); err != nil {
		return engine.Cost{}, err
	}
	random := rng.New(b.recipe.Seed)
	fill := func(t *tensor.Tensor, lowest float64) []float32 {
		x := t.Float32s()
		for i := range x {
			x[i] = float32(max(lowest, random.Uniform(-1, 1)))
		}
		return x
	}
	if t := p.Input("x"); t != nil {
		lowest := 0.0 // as a ReLU leaves them
		if f.leaf {
			lowest = -1
		}
		c.x = fill(t, lowest)
	}
	if t := p.Input("dy"); t != nil {
		c.dy = fill(t, -1)
	}
	if op != graph.ConvGradWeight {
		t := tensor.New(tensor.Float32, f.Out, f.In, f.Kernel, f.Kernel)
		c.w = fill(t, -1)
		if err := s.Write("w", t); err != nil {
			return engine.Cost{}, err
		}
	}
	if err := p.Run(); err != nil {
		return engine.Cost{}, err
	}
	p.Profile(true)
	fastest := time.Duration(math.MaxInt64)
	for run, begin := 0, time.Now(); run < b.steps || time.Since(begin) < shortest; run++ {
		if err := p.Run(); err != nil {
			return engine.Cost{}, err
		}
		var d time.Duration
		for _, t := range p.Profile(true) {
			if t.Kind == engine.Convolution {
				d += t.Time
			}
		}
		fastest = min(fastest, d)
	}
	out.Seconds = max(fastest.Seconds(), 1e-9)
	out.GFLOPs = float64(out.flops) / out.Seconds / 1e9
	out.Error = c.error(op, p.Output("y").Float32s(), &random)
	return p.Cost(), nil
}

// convolution computes single outputs in float64, straight from the definitions in package graph.
type convolution struct {
	form
	outH, outW int
	x, w, dy   []float32 // [N,H,W,C], [O,C,k,k], [N,outH,outW,O]; those that are operands
}

// samples is how many outputs an error is taken over.
const samples = 256

// error is the largest difference between y and the definition over the root mean square of the definition, on a sample.
func (c *convolution) error(op graph.Op, y []float32, random *rng.Source) float64 {
	places := make([]int, samples)
	for i := range places {
		places[i] = random.IntN(len(y))
	}
	places[0], places[1] = 0, len(y)-1
	want := make([]float64, samples)
	var wait sync.WaitGroup
	each := (samples + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
	for lo := 0; lo < samples; lo += each {
		hi := min(lo+each, samples)
		wait.Go(func() {
			switch op {
			case graph.Conv:
				for i := lo; i < hi; i++ {
					want[i] = c.forward(places[i])
				}
			case graph.ConvGradInput:
				for i := lo; i < hi; i++ {
					want[i] = c.dataGradient(places[i])
				}
			default:
				for n := range c.images { // an image stays in the cache for all samples
					for i := lo; i < hi; i++ {
						want[i] += c.weightGradient(places[i], n)
					}
				}
			}
		})
	}
	wait.Wait()
	var largest, square float64
	for i, v := range want {
		d := math.Abs(float64(y[places[i]]) - v)
		if math.IsNaN(d) {
			d = math.MaxFloat64 // JSON has no NaN
		}
		largest = max(largest, d)
		square += v * v / samples
	}
	return min(largest/max(math.Sqrt(square), 1e-30), math.MaxFloat64)
}

// forward is y at a place: the sum over c,u,v of x[n, i*stride-pad+u, j*stride-pad+v, c] * w[o,c,u,v].
func (c *convolution) forward(place int) float64 {
	o, j, i, n := place%c.Out, place/c.Out%c.outW, place/c.Out/c.outW%c.outH, place/c.Out/c.outW/c.outH
	var sum float64
	for u := range c.Kernel {
		for v := range c.Kernel {
			h, w := i*c.Stride-c.Pad+u, j*c.Stride-c.Pad+v
			if h < 0 || h >= c.Height || w < 0 || w >= c.Width {
				continue
			}
			for ch := range c.In {
				sum += float64(c.x[((n*c.Height+h)*c.Width+w)*c.In+ch]) * float64(c.w[((o*c.In+ch)*c.Kernel+u)*c.Kernel+v])
			}
		}
	}
	return sum
}

// dataGradient is dx at a place: the sum over all y that it went into.
func (c *convolution) dataGradient(place int) float64 {
	ch, w, h, n := place%c.In, place/c.In%c.Width, place/c.In/c.Width%c.Height, place/c.In/c.Width/c.Height
	var sum float64
	for u := range c.Kernel {
		for v := range c.Kernel {
			i, j := h+c.Pad-u, w+c.Pad-v
			if i < 0 || j < 0 || i%c.Stride != 0 || j%c.Stride != 0 || i/c.Stride >= c.outH || j/c.Stride >= c.outW {
				continue
			}
			for o := range c.Out {
				sum += float64(c.dy[((n*c.outH+i/c.Stride)*c.outW+j/c.Stride)*c.Out+o]) * float64(c.w[((o*c.In+ch)*c.Kernel+u)*c.Kernel+v])
			}
		}
	}
	return sum
}

// weightGradient is the share of image n in dw at a place.
func (c *convolution) weightGradient(place, n int) float64 {
	v, u, ch, o := place%c.Kernel, place/c.Kernel%c.Kernel, place/c.Kernel/c.Kernel%c.In, place/c.Kernel/c.Kernel/c.In
	var sum float64
	for i := range c.outH {
		h := i*c.Stride - c.Pad + u
		if h < 0 || h >= c.Height {
			continue
		}
		for j := range c.outW {
			if w := j*c.Stride - c.Pad + v; w >= 0 && w < c.Width {
				sum += float64(c.dy[((n*c.outH+i)*c.outW+j)*c.Out+o]) * float64(c.x[((n*c.Height+h)*c.Width+w)*c.In+ch])
			}
		}
	}
	return sum
}
