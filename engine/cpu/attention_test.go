package cpu

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// attentionShape is so many images of so many tokens, and heads of so many channels.
type attentionShape struct{ batch, tokens, heads, size int }

// compileAttention compiles attention and its gradient, and returns the operations of both kinds
// that read activations: results of others, since an input is float32 in any case.
func compileAttention(tb testing.TB, e *Engine, precision graph.Precision, s attentionShape) (*program, map[graph.Op]*op) {
	tb.Helper()
	g := graph.New()
	g.Precision = precision
	c := s.heads * s.size
	x := g.Input("x", tensor.Float32, s.batch, s.tokens, 3*c)
	first := g.Attention(x, s.heads)
	qkv := g.AttentionGrad(first, x, first, s.heads)
	y := g.Attention(qkv, s.heads)
	dx := g.AttentionGrad(first, qkv, y, s.heads)
	g.Output("y", y)
	g.Output("dx", dx)
	compiled, err := e.Compile(g, e.NewState())
	if err != nil {
		tb.Fatal(err)
	}
	p, ops := compiled.(*program), map[graph.Op]*op{}
	for _, o := range p.ops {
		if (o.node == y || o.node == dx) && o.kind == engine.Product {
			ops[o.node.Op] = o
		}
	}
	return p, ops
}

// TestAttentionMemory: planned memory grows with the number of tokens, not with its square.
func TestAttentionMemory(t *testing.T) {
	eachAttention(t, func(t *testing.T, path string, precision graph.Precision) {
		work := func(tokens int) int64 {
			e, err := newEngine(Options{Path: path, Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			p, _ := compileAttention(t, e, precision, attentionShape{1, tokens, 2, 32})
			defer p.Close()
			return p.Cost().WorkBytes
		}
		if few, many := work(700), work(2800); many > 4*few {
			t.Errorf("2800 tokens take %d bytes, and 700 take %d", many, few)
		}
	})
}

// TestAttentionBits: results do not depend on the number of workers.
func TestAttentionBits(t *testing.T) {
	eachAttention(t, func(t *testing.T, path string, precision graph.Precision) {
		for _, s := range []attentionShape{{1, 130, 2, 16}, {3, 33, 3, 8}, {1, 301, 1, 16}, {2, 5, 2, 16}} {
			var want [2][]byte
			for workers := 1; workers <= 3; workers++ {
				e, err := newEngine(Options{Path: path, Workers: workers})
				if err != nil {
					t.Fatal(err)
				}
				p, _ := compileAttention(t, e, precision, s)
				fillPlainly(p.Input("x"))
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				for i, name := range []string{"y", "dx"} {
					got := slices.Clone(p.Output(name).Bytes())
					if workers > 1 && !bytes.Equal(got, want[i]) {
						t.Errorf("%+v: %d workers give other bits of %s", s, workers, name)
					}
					want[i] = got
				}
				p.Close()
			}
		}
	})
}

// eachAttention runs f for every path of this machine, in both precisions.
func eachAttention(t *testing.T, f func(t *testing.T, path string, precision graph.Precision)) {
	t.Parallel()
	for _, path := range Paths() {
		t.Run(path, func(t *testing.T) {
			for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
				t.Run(precision.String(), func(t *testing.T) { f(t, path, precision) })
			}
		})
	}
}

// fillPlainly gives a tensor values between -1 and 1.
func fillPlainly(x *tensor.Tensor) {
	for i := range x.Float32s() {
		x.Float32s()[i] = float32(i*2654435761>>7&1023)/512 - 1
	}
}

// BenchmarkAttention runs attention and its gradient on one worker, and compares with the peak of
// multiply-adds of float32. Of each part of the work the fastest run counts, which other work on
// the machine disturbs least.
func BenchmarkAttention(b *testing.B) {
	for _, path := range []string{"", "avx512", "avx2"} {
		for _, kind := range []graph.Op{graph.Attention, graph.AttentionGrad} {
			for _, precision := range []graph.Precision{graph.Float32, graph.BFloat16} {
				for _, s := range []attentionShape{
					{8, 65, 6, 64}, {4, 197, 6, 64}, {4, 197, 12, 32}, {4, 257, 6, 64}, {32, 197, 6, 64}, {1, 1370, 6, 64},
				} {
					name := fmt.Sprintf("%s/%s/%s/%dx%dx%dx%d", path, kind, precision, s.batch, s.tokens, s.heads, s.size)
					b.Run(name, func(b *testing.B) {
						e, err := newEngine(Options{Path: path, Workers: 1})
						if err != nil {
							b.Skip(err)
						}
						p, ops := compileAttention(b, e, precision, s)
						defer p.Close()
						fillPlainly(p.Input("x"))
						if err := p.Run(); err != nil {
							b.Fatal(err)
						}
						work, peak := ops[kind].phases[0], 0.0
						fastest := make([]time.Duration, work.parts)
						for b.Loop() {
							for i := range fastest {
								start := time.Now()
								work.run(e.pool.workers[0], i)
								if spent := time.Since(start); fastest[i] == 0 || spent < fastest[i] {
									fastest[i] = spent
								}
								start = time.Now()
								flops := e.PeakFLOPs(2000)
								peak = max(peak, flops/time.Since(start).Seconds())
							}
						}
						var all time.Duration
						for _, spent := range fastest {
							all += spent
						}
						rate := float64(ops[kind].cost.FLOPs) / all.Seconds()
						b.ReportMetric(rate/1e9, "GFLOP/s")
						b.ReportMetric(100*rate/peak, "%peak")
						b.ReportMetric(0, "ns/op")
					})
				}
			}
		}
	}
}
