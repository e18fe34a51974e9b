package cpu

import (
	"fmt"
	"math"
	"testing"

	"moco/graph"
	"moco/tensor"
)

// wideImages is the batch of wide: small, so Winograd's way is opened to it.
const wideImages = 4

// wide is two 1x1 convolutions and a 3x3 one with batch norms, wide enough for several parts, and what
// a step computes of them.
func wide(precision graph.Precision) *graph.Graph {
	const size, narrow, wide = 9, 64, 1024
	g := graph.New()
	g.Precision = precision
	var parameters []*graph.Node
	norm := func(name string, x *graph.Node, ch int) *graph.Node {
		gamma, beta := g.Variable(name+".g", tensor.Float32, ch), g.Variable(name+".b", tensor.Float32, ch)
		parameters = append(parameters, gamma, beta)
		return g.ReLU(g.Normalise(graph.BatchNorm{
			X: x, Mean: g.BatchMean(x, 1), Variance: g.BatchVariance(x, 1), Gamma: gamma, Beta: beta, Epsilon: 1e-5,
		}))
	}
	conv := func(name string, x *graph.Node, in, out, kernel int) *graph.Node {
		w := g.Variable(name, tensor.Float32, out, in, kernel, kernel)
		parameters = append(parameters, w)
		return norm(name, g.Conv(x, w, 1, kernel/2), out)
	}
	x := conv("first", g.Input("x", tensor.Float32, wideImages, size, size, narrow), narrow, wide, 1)
	x = conv("second", x, wide, narrow, 1)
	y := g.AveragePool(conv("third", x, narrow, 2*narrow, 3))
	g.Output("features", y)
	for i, d := range g.Gradients(y, g.Input("dy", tensor.Float32, wideImages, 2*narrow), parameters) {
		g.Output(fmt.Sprint("d", i), d)
	}
	return g
}

// cached runs a graph for a cache of so many bytes. It returns all outputs, and how many parts its
// phases had.
func cached(t *testing.T, g *graph.Graph, path string, bytes int64) (outputs [][]float32, parts int) {
	t.Helper()
	e := verified(t, Options{Path: path, Workers: 1})
	e.cache = workerCache(bytes)
	e.winograd = winogradLimits{images: wideImages, waste: 2}
	return filled(t, e, g)
}

// filled runs a graph on some values. It returns all outputs, and how many parts its phases had.
func filled(t *testing.T, e *Engine, g *graph.Graph) (outputs [][]float32, parts int) {
	t.Helper()
	s := e.NewState()
	compiled, err := e.Compile(g, s)
	if err != nil {
		t.Fatal(err)
	}
	defer compiled.Close()
	fill := func(seed int, values []float32) {
		for i := range values {
			values[i] = float32((i*7919+seed)*2654435761>>7&255)/128 - 1 // bfloat16 has them all
		}
	}
	for i, n := range g.Nodes {
		switch n.Op {
		case graph.Variable:
			v := tensor.New(tensor.Float32, n.Shape...)
			fill(i, v.Float32s())
			if err := s.Write(n.Name, v); err != nil {
				t.Fatal(err)
			}
		case graph.Input:
			fill(i, compiled.Input(n.Name).Float32s())
		}
	}
	if err := compiled.Run(); err != nil {
		t.Fatal(err)
	}
	for _, o := range g.Outputs {
		outputs = append(outputs, append([]float32(nil), compiled.Output(o.Name).Float32s()...))
	}
	for _, o := range compiled.(*program).ops {
		for _, f := range o.phases {
			parts += f.parts
		}
	}
	return outputs, parts
}

// TestCacheDoesNotMatter: what is blocked around the sums follows the machine's cache, and no bit of a
// result does.
func TestCacheDoesNotMatter(t *testing.T) {
	t.Parallel()
	for _, path := range Paths() {
		for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
			g := wide(precision)
			want, usual := cached(t, g, path, usualCache)
			for _, bytes := range []int64{1 << 10, 512 << 10} {
				got, parts := cached(t, g, path, bytes)
				if small := bytes < 256<<10; small != (parts > usual) {
					t.Errorf("%s, %v, %d bytes: %d parts, and %d with the usual cache", path, precision, bytes, parts, usual)
				}
				for i := range want {
					for j := range want[i] {
						if math.Float32bits(got[i][j]) != math.Float32bits(want[i][j]) {
							t.Fatalf("%s, %v, %d bytes: value %d of output %s is %g, want %g", path, precision, bytes, j,
								g.Outputs[i].Name, got[i][j], want[i][j])
						}
					}
				}
			}
		}
	}
}

// TestGradCut: ranges of images, whose sums are added up, are the same for every cache. Output blocks
// are not.
func TestGradCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, out, kernel, size, images int
		blocks                        bool // differ
	}{
		{in: 64, out: 64, kernel: 1, size: 56, images: 32},
		{in: 64, out: 1024, kernel: 1, size: 32, images: 32, blocks: true},
		{in: 256, out: 1024, kernel: 1, size: 14, images: 32, blocks: true},
		{in: 128, out: 128, kernel: 3, size: 28, images: 32, blocks: true},
		{in: 512, out: 512, kernel: 3, size: 14, images: 64, blocks: true},
	} {
		const block = 16
		v := &convolution{
			geometry: geometry{
				images: c.images, height: c.size, width: c.size, outH: c.size, outW: c.size, kernel: c.kernel, stride: 1,
			},
			in: c.in, out: c.out, packing: packing{taps: c.kernel * c.kernel, block: block},
			x: newRows(float32s, 1, c.in), y: newRows(float32s, 1, c.out),
		}
		usual := v.cutGrad(usualCache)
		for _, bytes := range []int{128 << 10, 256 << 10, 512 << 10} {
			small := v.cutGrad(bytes)
			if small.splits != usual.splits {
				t.Errorf("%+v, %d bytes: %d ranges of images, and %d with the usual cache", c, bytes, small.splits, usual.splits)
			}
			if small.blocks*small.groups*block != c.out {
				t.Errorf("%+v, %d bytes: %d groups of %d blocks", c, bytes, small.groups, small.blocks)
			}
		}
		if small := v.cutGrad(128 << 10); (small.blocks < usual.blocks) != c.blocks {
			t.Errorf("%+v: %d blocks with a small cache, and %d with the usual one", c, small.blocks, usual.blocks)
		}
	}
}

// TestWorkerCache: what the machine tells is kept within what was measured.
func TestWorkerCache(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]int{
		0: usualCache, 1: 128 << 10, 256 << 10: 256 << 10, 512 << 10: 512 << 10, 1 << 20: usualCache, 4 << 20: usualCache,
	} {
		if got := workerCache(bytes); got != want {
			t.Errorf("%d bytes of cache: work for %d, want %d", bytes, got, want)
		}
	}
}
