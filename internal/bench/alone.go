package bench

import (
	"math"
	"time"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// shortest is the time for which a computation is repeated at least: the clock is too coarse for a
// few short runs.
const shortest = 20 * time.Millisecond

// workload is a form's computations, alone: on a graph of their own and on random values.
type workload interface {
	// graph is one computation, with its output as "y".
	graph(which pass) *graph.Graph
	// fill gives the operands of a computation random values, and keeps them.
	fill(which pass, p engine.Program, s engine.State, random *rng.Source) error
	// error is the largest difference between y and the definition over the root mean square of the
	// definition, on a sample.
	error(which pass, y []float32, random *rng.Source) float64
	// measures tells whether the time of a part of the program is the computation's.
	measures(t engine.NodeTime, which pass) bool
}

func (b *bencher) newWorkload(f Form) workload {
	if f.Layer == Attention {
		return &attention{Form: f, precision: b.precision}
	}
	c := newConvolution(f)
	c.precision = b.precision
	if f.Layer == Linear {
		return linear{c}
	}
	return c
}

// alone measures one computation of a layer: a graph of that node, on random values. It returns what
// the program takes.
func (b *bencher) alone(f Form, which pass, out *Pass) (engine.Cost, error) {
	c := b.newWorkload(f)
	g := c.graph(which)
	if err := b.fits(inputBytes(g)); err != nil {
		return engine.Cost{}, err
	}
	s := b.Engine.NewState()
	p, err := b.Engine.Compile(g, s)
	if err != nil {
		return engine.Cost{}, err
	}
	defer p.Close()
	if err := b.fits(inputBytes(g) + p.Cost().PeakBytes()); err != nil {
		return engine.Cost{}, err
	}
	random := rng.New(b.Recipe.Seed)
	if err := c.fill(which, p, s, &random); err != nil {
		return engine.Cost{}, err
	}
	fastest, err := b.fastest(p, func(t engine.NodeTime) bool { return c.measures(t, which) })
	if err != nil {
		return engine.Cost{}, err
	}
	out.Seconds = max(fastest.Seconds(), 1e-9)
	out.GFLOPs = float64(out.flops) / out.Seconds / 1e9
	out.Error = c.error(which, p.Output("y").Float32s(), &random)
	return p.Cost(), nil
}

// measures counts what the engine calls convolutions, of which it may make several of one.
func (*convolution) measures(t engine.NodeTime, _ pass) bool { return t.Kind == engine.Convolution }

func (c *convolution) graph(which pass) *graph.Graph {
	g := graph.New()
	g.Precision = c.precision
	// Operands are copied once, so that they have the layout, and the precision, of what an engine
	// computed and not those of an input. The largest of one place is that place, and an activation.
	operand := func(name string, leaf bool, shape ...int) *graph.Node {
		x := g.Input(name, tensor.Float32, shape...)
		switch {
		case leaf:
			return x
		case c.precision == graph.BFloat16:
			return g.MaxPool(x, 1, 1, 0)
		}
		return g.WeightedSum(graph.Term{Coefficient: 1, X: x})
	}
	images := func() *graph.Node { return operand("x", c.leaf, c.images, c.Height, c.Width, c.In) }
	gradient := func() *graph.Node { return operand("dy", false, c.images, c.outH, c.outW, c.Out) }
	weights := func() *graph.Node { return g.Variable("w", tensor.Float32, c.weights()...) }
	window := graph.Window{Kernel: c.Kernel, Stride: c.Stride, Pad: c.Pad}
	a := graph.ConvAttr{Window: window, Height: c.Height, Width: c.Width}
	var n *graph.Node
	switch which {
	case forward:
		n = g.Conv(images(), weights(), c.Stride, c.Pad)
	case dataGradient:
		n = g.ConvGradInput(gradient(), weights(), a)
	default:
		n = g.ConvGradWeight(gradient(), images(), a)
	}
	g.Output("y", g.Detach(n)) // so that the copy to the caller is not the node's own time
	return g
}

func (c *convolution) fill(which pass, p engine.Program, s engine.State, random *rng.Source) error {
	fill := func(t *tensor.Tensor, lowest float64, activation bool) []float32 {
		x := t.Float32s()
		for i := range x {
			x[i] = float32(max(lowest, random.Uniform(-1, 1)))
			if activation && c.precision == graph.BFloat16 {
				x[i] = math.Float32frombits(math.Float32bits(x[i]) &^ 0xffff) // as bfloat16 holds it
			}
		}
		return x
	}
	if t := p.Input("x"); t != nil {
		lowest := 0.0 // as a ReLU leaves them
		if c.leaf || c.Layer == Linear {
			lowest = -1
		}
		c.x = fill(t, lowest, !c.leaf)
	}
	if t := p.Input("dy"); t != nil {
		c.dy = fill(t, -1, true)
	}
	if which == weightGradient {
		return nil
	}
	t := tensor.New(tensor.Float32, c.weights()...)
	c.w = fill(t, -1, false)
	return s.Write("w", t)
}

// weights is the shape of the weights, which for a linear layer are a matrix.
func (c *convolution) weights() tensor.Shape {
	if c.Layer == Linear {
		return tensor.Shape{c.Out, c.In}
	}
	return tensor.Shape{c.Out, c.In, c.Kernel, c.Kernel}
}

// fastest is the least time that what counts takes in a run of a program.
func (b *bencher) fastest(p engine.Program, counts func(engine.NodeTime) bool) (time.Duration, error) {
	if err := p.Run(); err != nil {
		return 0, err
	}
	p.Profile(true)
	fastest := time.Duration(math.MaxInt64)
	for run, begin := 0, time.Now(); run < b.Steps || time.Since(begin) < shortest; run++ {
		if err := p.Run(); err != nil {
			return 0, err
		}
		var d time.Duration
		for _, t := range p.Profile(true) {
			if counts(t) {
				d += t.Time
			}
		}
		fastest = min(fastest, d)
	}
	return fastest, nil
}
