package cpu

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"moco/engine"
	"moco/engine/enginetest"
	"moco/graph"
	"moco/tensor"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

// verified is an engine that checks what every pass leaves.
func verified(t *testing.T, o Options) *Engine {
	t.Helper()
	e, err := newEngine(o)
	if err != nil {
		t.Fatal(err)
	}
	e.verify = true
	return e
}

// TestByDefinition runs the suite's cases without any kernel, as a new node kind runs on its first
// day.
func TestByDefinition(t *testing.T) {
	enginetest.RunCases(t, func() engine.Engine {
		e := verified(t, Options{Path: "portable", Workers: 1})
		e.byDefinition = true
		return e
	})
}

// TestEveryKindRuns: every node kind has an operation, if only by its definition.
func TestEveryKindRuns(t *testing.T) {
	for _, op := range graph.Ops() {
		if op != graph.Variable && operationOf(op) == nil {
			t.Errorf("%v cannot be run", op)
		}
	}
}

// block is a residual block behind a 1x1 convolution, and the gradients of its weights.
func block(g *graph.Graph, images int, frozen bool) {
	const ch = 16
	var parameters []*graph.Node
	parameter := func(name string, shape ...int) *graph.Node {
		p := g.Variable(name, tensor.Float32, shape...)
		parameters = append(parameters, p)
		return p
	}
	norm := func(name string, x *graph.Node) *graph.Node {
		b := graph.BatchNorm{X: x, Gamma: parameter(name+".g", ch), Beta: parameter(name+".b", ch), Epsilon: 1e-5}
		if frozen {
			b.Mean, b.Variance = g.Variable(name+".m", tensor.Float32, ch), g.Variable(name+".v", tensor.Float32, ch)
		} else {
			b.Mean, b.Variance = g.BatchMean(x, 1), g.BatchVariance(x, 1)
		}
		return g.Normalise(b)
	}
	x := g.Input("x", tensor.Float32, images, 8, 8, 3)
	x = g.ReLU(norm("stem", g.Conv(x, parameter("stem", ch, 3, 3, 3), 1, 1)))
	y := g.ReLU(norm("1", g.Conv(x, parameter("1", ch, ch, 1, 1), 1, 0)))
	y = norm("2", g.Conv(y, parameter("2", ch, ch, 3, 3), 1, 1))
	features := g.AveragePool(g.ReLU(g.Add(y, x)))
	g.Output("features", features)
	if frozen {
		return
	}
	dy := g.Input("dy", tensor.Float32, images, ch)
	for i, d := range g.Gradients(features, dy, parameters) {
		p := parameters[i]
		g.Assign(p, g.WeightedSum(graph.Term{Coefficient: 1, X: p}, graph.Term{Coefficient: -0.1, X: d}))
	}
}

// TestExplain compares what the passes make of a block with files, which show what is fused with
// what. `go test -run TestExplain -update` writes them anew.
func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		build     func(g *graph.Graph, images int, frozen bool)
		images    int
		frozen    bool
		precision graph.Precision
	}{
		"block":         {build: block, images: 4},
		"block-large":   {build: block, images: 32},
		"block-bf16":    {build: block, images: 32, precision: graph.BFloat16},
		"block-frozen":  {build: block, images: 32, frozen: true},
		"tokens":        {build: tokenBlock, images: 4},
		"tokens-bf16":   {build: tokenBlock, images: 4, precision: graph.BFloat16},
		"tokens-frozen": {build: tokenBlock, images: 4, frozen: true},
	} {
		g := graph.New()
		g.Precision = c.precision
		c.build(g, c.images, c.frozen)
		stages, err := verified(t, Options{Path: "portable", Workers: 1}).Explain(g)
		if err != nil {
			t.Fatal(err)
		}
		if len(stages) != len(passes) {
			t.Errorf("%s: %d stages of %d passes", name, len(stages), len(passes))
		}
		for _, s := range stages {
			if s.Pass != "epilogue" {
				continue
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(s.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if s.Text != string(want) {
				t.Errorf("%s is no longer what the passes make; they make\n%s", file, s.Text)
			}
		}
	}
}

// TestPoolingKeepsBFloat16: a max pool reads and writes bfloat16 as it is stored; the one copy in
// float32 is for the caller.
func TestPoolingKeepsBFloat16(t *testing.T) {
	t.Parallel()
	g := graph.New()
	g.Precision = graph.BFloat16
	weights := func(name string, in int) *graph.Node { return g.Variable(name, tensor.Float32, 16, in, 1, 1) }
	x := g.Conv(g.Input("x", tensor.Float32, 2, 8, 8, 3), weights("w1", 3), 1, 0)
	g.Output("y", g.Conv(g.MaxPool(x, 3, 2, 1), weights("w2", 16), 1, 0))
	stages, err := verified(t, Options{Path: "portable", Workers: 1}).Explain(g)
	if err != nil {
		t.Fatal(err)
	}
	last := stages[len(stages)-1].Text
	if strings.Count(last, "Widen") != 1 || strings.Contains(last, "Narrow") {
		t.Errorf("there are other copies than the caller's:\n%s", last)
	}
}

// TestPassesHaveReasons: the table says why each pass is there, and no name is used twice.
func TestPassesHaveReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range passes {
		if p.why == "" || seen[p.name] {
			t.Errorf("pass %q: no reason, or its name is used twice", p.name)
		}
		seen[p.name] = true
	}
}

// TestPlannedMemory: the first run allocates nothing that the cost does not count.
func TestPlannedMemory(t *testing.T) {
	e := verified(t, Options{Workers: 3})
	g := graph.New()
	block(g, 32, false)
	logits := g.MatMul(g.Input("q", tensor.Float32, 40, 16), g.Variable("w", tensor.Float32, 30, 16), false, true)
	g.Output("loss", g.CrossEntropy(logits, g.Input("labels", tensor.Int32, 40)))
	p, err := e.Compile(g, e.NewState())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	const other = 64 << 10 // alignment, and whatever the runtime does meanwhile
	if got := int64(after.TotalAlloc - before.TotalAlloc); got > p.Cost().PeakBytes()+other {
		t.Errorf("the first run allocates %d bytes, the plan counts %d", got, p.Cost().PeakBytes())
	}
}

// TestKinds: the profile says what is a convolution without its label being read.
func TestKinds(t *testing.T) {
	e := verified(t, Options{})
	g := graph.New()
	block(g, 4, false)
	p, err := e.Compile(g, e.NewState())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Profile(true)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	times := p.Profile(false)
	if len(times) == 0 {
		t.Fatal("nothing was measured")
	}
	for _, n := range times {
		if strings.HasPrefix(n.Label, "Conv") != (n.Kind == engine.Convolution) {
			t.Errorf("%s is of kind %d", n.Label, n.Kind)
		}
	}
}

// TestTypedBuffers: writing a buffer as another type's fails.
func TestTypedBuffers(t *testing.T) {
	for _, e := range []element{float32s, bfloat16s, int32s, float64s} {
		b := newRows(e, 2, 16)
		b.bind(allocate(b.bytes()))
		views := map[element]int{float32s: len(b.f32), bfloat16s: len(b.bf16), int32s: len(b.i32), float64s: len(b.f64)}
		for view, n := range views {
			if want := map[bool]int{true: 32}[view == e]; n != want {
				t.Errorf("a buffer of %v has %d values of %v, want %d", e, n, view, want)
			}
		}
	}
}
