package cpu

import (
	"fmt"
	"strings"
	"testing"

	"moco/graph"
	"moco/tensor"
)

// tokenBlock is a transformer's block behind a patch projection, with LayerScale, and, if it is
// not frozen, a step of AdamW.
func tokenBlock(g *graph.Graph, images int, frozen bool) {
	const ch, patches = 64, 4
	var parameters []*graph.Node
	parameter := func(name string, shape ...int) *graph.Node {
		p := g.Variable(name, tensor.Float32, shape...)
		parameters = append(parameters, p)
		return p
	}
	norm := func(name string, x *graph.Node) *graph.Node {
		return g.LayerNorm(x, parameter(name+".g", ch), parameter(name+".b", ch), 1e-6)
	}
	linear := func(name string, x *graph.Node, out int) *graph.Node {
		w := parameter(name+".w", out, x.Shape[2])
		return g.BiasAdd(g.MatMul(x, w, false, true), parameter(name+".b", out))
	}
	scaled := func(name string, x *graph.Node) *graph.Node { return g.ScaleChannels(x, parameter(name, ch)) }
	x := g.Input("x", tensor.Float32, images, 8, 8, 3)
	x = g.Reshape(g.Conv(x, parameter("patch", ch, 3, 4, 4), 4, 0), images, patches, ch)
	x = g.BiasAdd(x, parameter("position", patches, ch))
	x = g.Concat(1, g.Repeat(parameter("class", 1, ch), images), x)
	y := g.Attention(linear("qkv", norm("1", x), 3*ch), 1)
	x = g.Add(x, scaled("1.scale", linear("proj", y, ch)))
	y = g.GELU(linear("fc1", norm("2", x), 4*ch))
	x = g.Add(x, scaled("2.scale", linear("fc2", y, ch)))
	features := norm("last", g.Reshape(g.Slice(x, 1, 0, 1), images, ch))
	g.Output("features", features)
	if frozen {
		return
	}
	dy, rate := g.Input("dy", tensor.Float32, images, ch), g.Input("rate", tensor.Float32)
	for i, d := range g.Gradients(features, dy, parameters) {
		p := parameters[i]
		first := g.Variable("m."+p.Name, tensor.Float32, p.Shape...)
		second := g.Variable("v."+p.Name, tensor.Float32, p.Shape...)
		m := g.WeightedSum(graph.Term{Coefficient: 0.9, X: first}, graph.Term{Coefficient: 0.1, X: d})
		v := g.SecondMoment(second, d, 0.99)
		g.Assign(first, m)
		g.Assign(second, v)
		g.Assign(p, g.AdamStep(graph.Adam{
			Parameter: p, First: m, Second: v, Rate: rate, FirstScale: rate, SecondScale: rate, Epsilon: 1e-8, Decay: 0.1,
		}))
	}
}

// TestNoFallback: a transformer's step has a kernel for everything, and every update is in place.
func TestNoFallback(t *testing.T) {
	for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
		g := graph.New()
		g.Precision = precision
		tokenBlock(g, 4, false)
		stages, err := verified(t, Options{Workers: 1}).Explain(g)
		if err != nil {
			t.Fatal(err)
		}
		last := stages[len(stages)-1].Text
		for _, what := range []string{"by definition", "Assign", "Keep", "Pack", "Unpack"} {
			if strings.Contains(last, what) {
				t.Errorf("%v: there is a step %q in\n%s", precision, what, last)
			}
		}
	}
}

// TestManyTokens: products of any number of rows take every row once, where the last part, chunk and
// pair of rows are not whole.
func TestManyTokens(t *testing.T) {
	for _, tokens := range []int{1, 7, 131, 1031, 2501} {
		testLinear(t, tokens, 48, 80)
	}
}

// TestOddWidths: products take every channel once, where no range of channels is a power of two:
// 272 is 17 times 16, and 1136 (71 times 16) is laid side by side in float32 too.
func TestOddWidths(t *testing.T) {
	for _, width := range []int{176, 272, 304, 1136} {
		testLinear(t, 3, width, width)
	}
}

// testLinear runs the products of a linear layer, forward and backward, on every path. All factors
// are one, so each sum is the number of its terms.
func testLinear(t *testing.T, tokens, in, out int) {
	t.Helper()
	for _, path := range Paths() {
		for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
			g := graph.New()
			g.Precision = precision
			ones := g.Input("ones", tensor.Float32, 1, tokens, 1)
			x := g.MatMul(ones, g.Input("x", tensor.Float32, in, 1), false, true)
			dy := g.MatMul(ones, g.Input("dy", tensor.Float32, out, 1), false, true)
			w := g.Input("w", tensor.Float32, out, in)
			g.Output("x w'", g.SumBatch(g.Reshape(g.MatMul(x, w, false, true), tokens, out)))
			g.Output("dy w", g.SumBatch(g.Reshape(g.MatMul(dy, w, false, false), tokens, in)))
			g.Output("dy' x", g.MatMulSum(dy, x, true, false))
			e := verified(t, Options{Path: path, Workers: 1})
			p, err := e.Compile(g, e.NewState())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"ones", "x", "dy", "w"} {
				for i := range p.Input(name).Float32s() {
					p.Input(name).Float32s()[i] = 1
				}
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]int{"x w'": tokens * in, "dy w": tokens * out, "dy' x": tokens} {
				for i, got := range p.Output(name).Float32s() {
					if got != float32(want) {
						t.Fatalf("%s, %v, %d tokens, %d to %d: %s has %v at %d, want %v", path, precision, tokens, in, out, name,
							got, i, want)
					}
				}
			}
		}
	}
}

// BenchmarkLinear runs the products of ViT-S/16 and ViT-B/16 on 16 images, forward and backward.
func BenchmarkLinear(b *testing.B) {
	const images, tokens = 16, 197
	for _, s := range []struct{ in, out int }{{384, 1152}, {384, 1536}, {1536, 384}, {768, 3072}, {3072, 768}} {
		for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
			g := graph.New()
			g.Precision = precision
			narrow := g.Input("x", tensor.Float32, images, tokens, 1)
			x := g.MatMul(narrow, g.Variable("first", tensor.Float32, s.in, 1), false, true)
			w := g.Variable("w", tensor.Float32, s.out, s.in)
			y := g.MatMul(x, w, false, true)
			dx, dw := g.MatMul(y, w, false, false), g.MatMulSum(y, x, true, false)
			g.Output("dx", g.SumBatch(dx))
			g.Output("dw", dw)
			e, err := newEngine(Options{})
			if err != nil {
				b.Fatal(err)
			}
			p, err := e.Compile(g, e.NewState())
			if err != nil {
				b.Fatal(err)
			}
			if err := p.Run(); err != nil {
				b.Fatal(err)
			}
			for _, n := range []struct {
				name string
				node *graph.Node
			}{{"forward", y}, {"input", dx}, {"weight", dw}} {
				b.Run(fmt.Sprintf("%dto%d/%s/%v", s.in, s.out, n.name, precision), func(b *testing.B) {
					for b.Loop() {
						for _, o := range p.(*program).ops {
							if o.node == n.node {
								e.pool.runPhases(o.phases)
							}
						}
					}
					flops := float64(n.node.Cost().FLOPs)
					b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
			p.Close()
		}
	}
}
