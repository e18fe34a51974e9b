package cpu

import (
	"fmt"
	"math"
	"testing"

	"moco/engine/cpu/internal/kernel"
	"moco/graph"
	"moco/tensor"
)

// TestGradsFor: tiles of 6 rows leave 2 of 32 or 128 channels over, which no tile of 4 covers. All
// channels must have theirs.
func TestGradsFor(t *testing.T) {
	for _, p := range kernel.Paths() {
		for _, grads := range [][]kernel.Grad{p.Grads, p.PairGrads} {
			for _, g := range grads {
				for channels := 4; channels <= gradRows; channels += 4 {
					next := 0
					for _, r := range gradsFor(grads, g.Block, channels) {
						if r.channel != next {
							t.Errorf("%s: blocks of %d, %d channels: a run begins at %d, want %d",
								p.Name, g.Block, channels, r.channel, next)
						}
						next += r.tiles * r.Rows
					}
					if next != channels {
						t.Errorf("%s: blocks of %d: %d of %d channels have a tile", p.Name, g.Block, next, channels)
					}
				}
			}
		}
	}
}

// TestEveryWeightHasAGradient runs weight gradients of as many channels as real networks have,
// wider than the suite's: none of a dense input and gradient may be zero.
func TestEveryWeightHasAGradient(t *testing.T) {
	for _, path := range Paths() {
		for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
			for _, shape := range []struct{ in, out, kernel, stride int }{
				{16, 64, 1, 2}, {32, 64, 3, 2}, {80, 64, 1, 1}, {128, 128, 3, 2}, {320, 32, 1, 1}, {128, 320, 1, 2},
			} {
				t.Run(fmt.Sprintf("%s/%v/%v", path, precision, shape), func(t *testing.T) {
					g := graph.New()
					g.Precision = precision
					x := g.Input("x", tensor.Float32, 3, 5, 5, shape.in)
					one := g.Variable("one", tensor.Float32, shape.in)
					first := g.Variable("first", tensor.Float32, shape.in, shape.in, 1, 1)
					w := g.Variable("w", tensor.Float32, shape.out, shape.in, shape.kernel, shape.kernel)
					h := g.Normalise(graph.BatchNorm{
						X: g.Conv(x, first, 1, 0), Mean: one, Variance: one, Gamma: one, Beta: one, Epsilon: 1e-5,
					})
					y := g.Conv(h, w, shape.stride, shape.kernel/2)
					dw := g.ConvGradWeight(y, h, y.Attr.(graph.ConvAttr))
					g.Output("dw", dw)
					e, err := newEngine(Options{Path: path, Workers: 1})
					if err != nil {
						t.Fatal(err)
					}
					s := e.NewState()
					p, err := e.Compile(g, s)
					if err != nil {
						t.Fatal(err)
					}
					defer p.Close()
					for i, name := range []string{"first", "w", "one"} {
						v, err := s.Read(name)
						if err != nil {
							t.Fatal(err)
						}
						for j := range v.Float32s() {
							v.Float32s()[j] = float32((j*(31+i))%97+1) / 97
						}
						if err := s.Write(name, v); err != nil {
							t.Fatal(err)
						}
					}
					for i := range p.Input("x").Float32s() {
						p.Input("x").Float32s()[i] = float32(i%89+1) / 89
					}
					if err := p.Run(); err != nil {
						t.Fatal(err)
					}
					for i, v := range p.Output("dw").Float32s() {
						if v == 0 {
							t.Fatalf("the gradient of weight %d of input channel %d is zero",
								i, i/(shape.kernel*shape.kernel)%shape.in)
						}
					}
				})
			}
		}
	}
}

// TestWeightGradientByDefinition: operands that are laid side by side, with and without pixels outside
// of the image, and images, which get a border.
func TestWeightGradientByDefinition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, out, kernel, stride int }{
		{1024, 16, 1, 1}, {16, 1024, 1, 1}, {512, 16, 3, 2}, {1024, 16, 3, 1}, {16, 1024, 3, 2},
		{3, 64, 7, 2}, {1, 16, 3, 1}, {4, 32, 5, 3},
	} {
		g := graph.New()
		x := g.Input("x", tensor.Float32, 3, 9, 7, c.in)
		if c.in > 4 { // an activation, not an image
			x = g.WeightedSum(graph.Term{Coefficient: 1, X: x})
		}
		a := graph.ConvAttr{
			Window: graph.Window{Kernel: c.kernel, Stride: c.stride, Pad: c.kernel / 2}, Height: 9, Width: 7,
		}
		dy := g.Input("dy", tensor.Float32, 3, 8/c.stride+1, 6/c.stride+1, c.out)
		g.Output("dw", g.ConvGradWeight(dy, x, a))
		likeDefinition(t, g, c)
	}
}

// likeDefinition holds the weight gradient that g gives on every path to its definition.
func likeDefinition(t *testing.T, g *graph.Graph, shape any) {
	t.Helper()
	definition := verified(t, Options{Path: "portable", Workers: 1})
	definition.byDefinition = true
	want, _ := filled(t, definition, g)
	for _, path := range Paths() {
		got, _ := filled(t, verified(t, Options{Path: path, Workers: 1}), g)
		for i := range want[0] {
			if d := math.Abs(float64(got[0][i] - want[0][i])); !(d <= 1e-4) {
				t.Fatalf("%s, %+v: weight %d is %g, want %g", path, shape, i, got[0][i], want[0][i])
			}
		}
	}
}

// TestWeightGradientInPairs: bfloat16, whose pixels are multiplied in pairs or fours, of images that
// are mostly border, of numbers that leave one, two or three of four over.
func TestWeightGradientInPairs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ images, size, in, out, kernel, stride int }{
		{1, 2, 16, 64, 3, 1}, {4, 2, 16, 64, 3, 1}, {5, 2, 16, 16, 3, 1}, {6, 3, 16, 32, 3, 1}, {7, 3, 64, 64, 3, 1},
		{16, 1, 16, 16, 3, 1}, {31, 4, 16, 64, 3, 2}, {12, 5, 48, 32, 3, 2}, {20, 9, 16, 16, 5, 3}, {130, 3, 16, 16, 3, 1},
		{6, 7, 16, 64, 1, 2}, {9, 3, 96, 48, 3, 1},
	} {
		g := graph.New()
		g.Precision = graph.BFloat16
		// A pooling of single pixels makes bfloat16 of its input, which loses nothing by it.
		rounded := func(name string, size, channels int) *graph.Node {
			return g.MaxPool(g.Input(name, tensor.Float32, c.images, size, size, channels), 1, 1, 0)
		}
		a := graph.ConvAttr{
			Window: graph.Window{Kernel: c.kernel, Stride: c.stride, Pad: c.kernel / 2}, Height: c.size, Width: c.size,
		}
		x, dy := rounded("x", c.size, c.in), rounded("dy", (c.size-1)/c.stride+1, c.out)
		g.Output("dw", g.ConvGradWeight(dy, x, a))
		likeDefinition(t, g, c)
	}
}

// TestBorderIsLeftOut counts what a weight gradient multiplies: of 2x2 pixels each tap of a 3x3 kernel
// sees four, two or one, 16 together, and of 3x3 pixels 49.
func TestBorderIsLeftOut(t *testing.T) {
	for _, c := range []struct{ size, seen int }{{2, 16}, {3, 49}, {6, 256}} {
		for _, depth := range []struct{ each, beside int }{{1, 1}, {2, 1}, {2, 2}} {
			const images = 8
			g := &pixelGrad{
				convolution: &convolution{
					geometry: geometry{
						images: images, height: c.size, width: c.size, outH: c.size, outW: c.size, kernel: 3, stride: 1, pad: 1,
					},
					packing: packing{taps: 9},
					x:       &buffer{stride: 16},
					y:       &buffer{stride: 16},
				},
				beside: depth.beside, together: 1, atOnce: depth.each * gradPixels,
			}
			below, _ := g.gradOffsets(images, depth.each*depth.beside)
			lists := g.newPixelLists(below, depth.each)
			if got, want := len(lists.pairs)/2*depth.each, images*c.seen; got != want {
				t.Errorf("%d images of %dx%d, %d pixels at once, %d beside each other: %d products, want %d",
					images, c.size, c.size, depth.each, depth.beside, got, want)
			}
		}
	}
}
