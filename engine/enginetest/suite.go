package enginetest

import (
	"fmt"
	"math"
	"testing"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// Case is one graph that an engine must compute as the interpreter does. Build declares inputs and
// variables, and makes everything worth comparing an output. The suite fills float inputs and
// variables with numbers between -1 and 1, and int32 ones with 0..n-1, unless Set says otherwise.
type Case struct {
	Name  string
	Build func(g *graph.Graph)
	// Runs is how often the graph runs, 0 for once. Variables change between runs.
	Runs int
	// Set gives inputs and variables their values, by the index of the element.
	Set map[string]func(i int) float64
	// Loose is how far a result may be off in bfloat16, as a share of its size; 0 is 0.02.
	Loose float64
}

// Run is the suite that every engine must pass. newEngine is called often.
func Run(t *testing.T, newEngine func() engine.Engine) {
	RunCases(t, newEngine)
	t.Run("variables", func(t *testing.T) { testVariables(t, newEngine()) })
	t.Run("shared state", func(t *testing.T) { testSharedState(t, newEngine()) })
	t.Run("errors", func(t *testing.T) { testErrors(t, newEngine()) })
	t.Run("no allocation", func(t *testing.T) { testNoAllocation(t, newEngine()) })
}

// RunCases is the part of the suite that compares results.
func RunCases(t *testing.T, newEngine func() engine.Engine) {
	for _, c := range append(kindCases(), composedCases()...) {
		t.Run(c.Name, func(t *testing.T) { compare(t, c, newEngine, graph.Float32) })
		t.Run("bfloat16/"+c.Name, func(t *testing.T) { compare(t, c, newEngine, graph.BFloat16) })
	}
}

// fill gives every input of a graph, or variable of a state, its values for run number `run`.
func fill(c Case, n *graph.Node, run int, t *tensor.Tensor) {
	r := rng.New(uint64(n.ID), uint64(run))
	set := c.Set[n.Name]
	for i := range t.Shape.Elements() {
		switch {
		case n.Type == tensor.Int32 && set != nil:
			t.Int32s()[i] = int32(set(i))
		case n.Type == tensor.Int32:
			t.Int32s()[i] = int32(i)
		case set != nil:
			t.Float32s()[i] = float32(set(i))
		default:
			t.Float32s()[i] = float32(r.Uniform(-1, 1))
		}
	}
}

// outcome is all that a case leaves behind: the outputs of each run, and the variables after the
// last.
type outcome struct {
	names  []string
	values []*tensor.Tensor
}

func execute(t *testing.T, c Case, e engine.Engine, precision graph.Precision) outcome {
	t.Helper()
	g := graph.New()
	g.Precision = precision
	c.Build(g)
	s := e.NewState()
	p, err := e.Compile(g, s)
	if err != nil {
		t.Fatalf("%s: %v", e.Name(), err)
	}
	defer p.Close()
	for _, n := range g.Nodes {
		if n.Op == graph.Variable {
			v := tensor.New(n.Type, n.Shape...)
			fill(c, n, 0, v)
			if err := s.Write(n.Name, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out outcome
	keep := func(name string, v *tensor.Tensor) {
		w := tensor.New(v.Type, v.Shape...)
		copy(w.Bytes(), v.Bytes())
		out.names, out.values = append(out.names, name), append(out.values, w)
	}
	for run := range max(c.Runs, 1) {
		for _, n := range g.Nodes {
			if n.Op == graph.Input {
				fill(c, n, run, p.Input(n.Name))
			}
		}
		if err := p.Run(); err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		for _, o := range g.Outputs {
			keep(fmt.Sprintf("output %s of run %d", o.Name, run), p.Output(o.Name))
		}
	}
	for _, name := range s.Names() {
		v, err := s.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		keep("variable "+name, v)
	}
	return out
}

// compare holds an engine to the interpreter, and to the bits of a second engine.
func compare(t *testing.T, c Case, newEngine func() engine.Engine, precision graph.Precision) {
	want := execute(t, c, New(), precision)
	got, again := execute(t, c, newEngine(), precision), execute(t, c, newEngine(), precision)
	for k, w := range want.values {
		g := got.values[k]
		if string(g.Bytes()) != string(again.values[k].Bytes()) {
			t.Errorf("%s: a second engine gives other bits", want.names[k])
		}
		name := fmt.Sprintf("%s (%v)", want.names[k], w.Shape)
		switch {
		case w.Type == tensor.Int32:
			compareInts(t, name, g.Int32s(), w.Int32s())
		case precision == graph.BFloat16:
			compareLoosely(t, name, g.Float32s(), w.Float32s(), c.Loose)
		default:
			compareFloats(t, name, g.Float32s(), w.Float32s())
		}
	}
}

func compareInts(t *testing.T, name string, got, want []int32) {
	t.Helper()
	for i, v := range want {
		if got[i] != v {
			t.Fatalf("%s: value %d is %d, want %d", name, i, got[i], v)
		}
	}
}

// compareFloats holds each float32 to a share of the largest one.
func compareFloats(t *testing.T, name string, got, want []float32) {
	t.Helper()
	var scale float64
	for _, v := range want {
		scale = max(scale, math.Abs(float64(v)))
	}
	for i, v := range want {
		if d := math.Abs(float64(got[i]) - float64(v)); !(d <= 1e-4*max(scale, 1e-3)) {
			t.Fatalf("%s: value %d is %v, want %v (the largest is %v)", name, i, got[i], v, scale)
		}
	}
}

// compareLoosely holds bfloat16 to a share of the values' size, both as root mean squares. A single
// activation may differ by more, where rounding flipped a ReLU or the order of two values in a
// pooling.
func compareLoosely(t *testing.T, name string, got, want []float32, loose float64) {
	t.Helper()
	var difference, size float64
	for i, v := range want {
		d := float64(got[i]) - float64(v)
		difference += d * d
		size += float64(v) * float64(v)
	}
	if limit := max(loose, 0.02); !(math.Sqrt(difference) <= limit*math.Sqrt(size)+1e-4) {
		t.Errorf("%s: off by %.4f of its size, more than %.2f", name, math.Sqrt(difference/size), limit)
	}
}

func testVariables(t *testing.T, e engine.Engine) {
	g := graph.New()
	shapes := map[string]tensor.Shape{
		"scalar": {}, "vector": {5}, "matrix": {3, 17}, "cube": {2, 3, 5}, "weights": {17, 3, 3, 3}, "wide": {64, 33, 1, 1},
	}
	for name, s := range shapes {
		g.Variable(name, tensor.Float32, s...)
	}
	g.Variable("ids", tensor.Int32, 7)
	s := e.NewState()
	if _, err := e.Compile(g, s); err != nil {
		t.Fatal(err)
	}
	for name, shape := range shapes {
		v := tensor.New(tensor.Float32, shape...)
		r := rng.New(uint64(len(name)))
		for i := range v.Float32s() {
			v.Float32s()[i] = float32(r.Normal())
		}
		if err := s.Write(name, v); err != nil {
			t.Fatal(err)
		}
		back, err := s.Read(name)
		if err != nil || string(back.Bytes()) != string(v.Bytes()) || !back.Shape.Equal(shape) {
			t.Errorf("%s (%v) does not come back as it was written (%v)", name, shape, err)
		}
	}
	ids := tensor.New(tensor.Int32, 7)
	ids.Int32s()[6] = -5
	if err := s.Write("ids", ids); err != nil {
		t.Fatal(err)
	}
	if back, err := s.Read("ids"); err != nil || back.Int32s()[6] != -5 {
		t.Errorf("int32 variable does not come back (%v)", err)
	}
}

// testSharedState trains a little in programs of two batch sizes over one state.
func testSharedState(t *testing.T, e engine.Engine) {
	s := e.NewState()
	var programs []engine.Program
	for _, batch := range []int{4, 1, 9} {
		g := graph.New()
		w := g.Variable("w", tensor.Float32, 3, 5)
		x := g.Input("x", tensor.Float32, batch, 5)
		y := g.MatMul(x, w, false, true)
		g.Output("y", y)
		g.Assign(w, g.WeightedSum(graph.Term{Coefficient: 0.5, X: w}))
		p, err := e.Compile(g, s)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Input("x").Float32s() {
			p.Input("x").Float32s()[i] = 1
		}
		programs = append(programs, p)
	}
	w := tensor.New(tensor.Float32, 3, 5)
	for i := range w.Float32s() {
		w.Float32s()[i] = 8
	}
	if err := s.Write("w", w); err != nil {
		t.Fatal(err)
	}
	want := float32(40)
	for round := range 2 {
		for i, p := range programs {
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			for _, got := range p.Output("y").Float32s() {
				if got != want {
					t.Fatalf("round %d, program %d: %v, want %v", round, i, got, want)
				}
			}
			want /= 2
		}
	}
}

func testErrors(t *testing.T, e engine.Engine) {
	s := e.NewState()
	g := graph.New()
	g.Variable("w", tensor.Float32, 2, 3)
	if _, err := e.Compile(g, s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("v"); err == nil {
		t.Error("reading an unknown variable is no error")
	}
	if err := s.Write("w", tensor.New(tensor.Float32, 3, 2)); err == nil {
		t.Error("writing a variable of another shape is no error")
	}
	if err := s.Write("w", tensor.New(tensor.Int32, 2, 3)); err == nil {
		t.Error("writing a variable of another type is no error")
	}
	other := graph.New()
	other.Variable("unknown", tensor.Float32, 5)
	other.Variable("w", tensor.Float32, 2, 4)
	if _, err := e.Compile(other, s); err == nil {
		t.Error("a variable with two shapes in one state is no error")
	}
	if names := s.Names(); len(names) != 1 {
		t.Errorf("a failed Compile leaves variables: %v", names)
	}
	broken := graph.New()
	x, k := broken.Input("x", tensor.Float32, 1, 2, 2, 3), broken.Variable("k", tensor.Float32, 4, 5, 3, 3)
	broken.ReLU(broken.Conv(x, k, 1, 1))
	if _, err := e.Compile(broken, e.NewState()); err == nil {
		t.Error("compiling a graph that is not legal is no error")
	}
}

func testNoAllocation(t *testing.T, e engine.Engine) {
	if _, ok := e.(Interpreter); ok {
		t.Skip("the interpreter allocates as it likes")
	}
	g := graph.New()
	residualStep(g, 4, 8, 2)
	p, err := e.Compile(g, e.NewState())
	if err != nil {
		t.Fatal(err)
	}
	x, y := p.Input("x1"), p.Output("loss")
	run := func() {
		if err := p.Run(); err != nil {
			t.Error(err)
		}
	}
	run()
	// The counter is that of the whole process: when the collector ends the workers of engines of
	// earlier tests, that is counted too. A run that allocates does so every time.
	least := math.Inf(1)
	for range 5 {
		least = min(least, testing.AllocsPerRun(3, run))
	}
	if least > 0 {
		t.Errorf("a run allocates %v times", least)
	}
	if p.Input("x1") != x || p.Output("loss") != y {
		t.Error("inputs and outputs are other tensors after a run")
	}
}
