package cpu

import (
	"fmt"
	"testing"

	"moco/graph"
	"moco/tensor"
)

// BenchmarkConvolution runs each direction of the convolutions that a CIFAR ResNet-18 is made of, of
// 1x1 convolutions and of those of small views, whose pixels are mostly border, at batch 64.
func BenchmarkConvolution(b *testing.B) {
	for _, c := range []struct{ in, out, size, kernel, stride int }{
		{64, 64, 32, 3, 1}, {128, 128, 16, 3, 1}, {256, 256, 8, 3, 1}, {512, 512, 4, 3, 1},
		{64, 128, 32, 3, 2}, {64, 128, 32, 1, 2}, {256, 64, 32, 1, 1}, {64, 256, 32, 1, 1}, {512, 128, 28, 1, 1},
		{1024, 256, 14, 1, 1}, {2048, 512, 7, 1, 1}, {512, 2048, 7, 1, 1}, {3, 64, 32, 3, 1}, {16, 16, 32, 3, 1},
		{192, 192, 6, 3, 1}, {384, 384, 3, 3, 1}, {192, 384, 6, 3, 2},
	} {
		for _, direction := range []graph.Op{graph.Conv, graph.ConvGradInput, graph.ConvGradWeight} {
			if c.in == 3 && direction == graph.ConvGradInput {
				continue
			}
			for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
				name := fmt.Sprintf("%dto%d@%d,k%d,s%d/%v/%s", c.in, c.out, c.size, c.kernel, c.stride, direction, precision)
				b.Run(name, func(b *testing.B) {
					benchmarkConvolution(b, c.in, c.out, c.size, c.kernel, c.stride, direction, precision)
				})
			}
		}
	}
}

func benchmarkConvolution(b *testing.B, in, out, size, kernel, stride int, direction graph.Op, precision graph.Precision) {
	const batch = 64
	g := graph.New()
	g.Precision = precision
	w := g.Variable("w", tensor.Float32, out, in, kernel, kernel)
	x := g.Input("x", tensor.Float32, batch, size, size, in)
	if in > 3 { // an activation, not an image
		one := g.Variable("one", tensor.Float32, in)
		x = g.Conv(x, g.Variable("first", tensor.Float32, in, in, 1, 1), 1, 0)
		x = g.ReLU(g.Normalise(graph.BatchNorm{X: x, Mean: one, Variance: one, Gamma: one, Beta: one, Epsilon: 1e-5}))
	}
	y := g.Conv(x, w, stride, kernel/2)
	dy := g.MaxPool(y, 1, 1, 0) // in bfloat16, like the gradients of a step
	switch direction {
	case graph.Conv:
		g.Output("out", g.AveragePool(y))
	case graph.ConvGradInput:
		g.Output("out", g.AveragePool(g.ConvGradInput(dy, w, y.Attr.(graph.ConvAttr))))
	default: // a variable is not unpacked, as an output is
		g.Assign(w, g.ConvGradWeight(dy, x, y.Attr.(graph.ConvAttr)))
	}
	e, err := newEngine(Options{})
	if err != nil {
		b.Fatal(err)
	}
	compiled, err := e.Compile(g, e.NewState())
	if err != nil {
		b.Fatal(err)
	}
	defer compiled.Close()
	values := compiled.Input("x").Float32s()
	for i := range values {
		values[i] = float32(i*2654435761>>7&1023)/512 - 1
	}
	if err := compiled.Run(); err != nil {
		b.Fatal(err)
	}
	p := compiled.(*program)
	var ops []*op
	for _, o := range p.ops {
		if o.node.Op == direction && (direction != graph.Conv || o.node == y) {
			ops = append(ops, o)
		}
	}
	flops := 2 * float64(y.Shape.Elements()) * float64(in*kernel*kernel)
	for b.Loop() {
		for _, o := range ops {
			for i := range o.phases {
				e.pool.run(o.phases[i].parts, o.phases[i].run)
			}
		}
	}
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

// BenchmarkOrthogonalise runs Muon's five steps on filters of ResNets of width 0.5, 0.75 and 1.
// GFLOP/s are of the arithmetic that steps on the matrix itself would take, so that what steps by its
// square save shows as speed.
func BenchmarkOrthogonalise(b *testing.B) {
	for _, shape := range [][]int{{32, 32, 3, 3}, {256, 256, 3, 3}, {384, 384, 3, 3}, {512, 512, 3, 3}, {512, 256, 1, 1}} {
		b.Run(fmt.Sprint(shape), func(b *testing.B) {
			g := graph.New()
			x := g.Variable("x", tensor.Float32, shape...)
			g.Assign(x, g.Orthogonalise(x, graph.NewtonSchulz{A: 3.4445, B: -4.7750, C: 2.0315, Steps: 5}))
			e, err := newEngine(Options{})
			if err != nil {
				b.Fatal(err)
			}
			state := e.NewState()
			p, err := e.Compile(g, state)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			values := make([]float32, x.Shape.Elements())
			for i := range values {
				values[i] = float32(i*2654435761>>7&1023)/512 - 1
			}
			if err := state.Write("x", tensor.FromFloat32s(values, shape...)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := p.Run(); err != nil {
					b.Fatal(err)
				}
			}
			elements, rows := float64(len(values)), float64(shape[0])
			short := min(rows, elements/rows)
			flops := 5 * (4*short*elements + 2*short*short*short)
			b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
