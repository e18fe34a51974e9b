package enginetest

import (
	"fmt"
	"maps"
	"math"
	"testing"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

func TestInterpreter(t *testing.T) {
	Run(t, func() engine.Engine { return New() })
}

// TestEveryKindHasACase: an operation cannot be added to graphs without a case that holds engines
// to its definition.
func TestEveryKindHasACase(t *testing.T) {
	covered := map[graph.Op]bool{}
	for _, c := range kindCases() {
		g := graph.New()
		c.Build(g)
		if err := g.Check(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		for _, n := range g.Nodes {
			covered[n.Op] = true
		}
	}
	for _, op := range graph.Ops() {
		if !covered[op] {
			t.Errorf("no family has a case for %v", op)
		}
	}
}

// TestGradients compares Graph.Gradients with central differences, in float64.
func TestGradients(t *testing.T) {
	differentiable := map[graph.Op]builds{}
	for _, f := range families {
		maps.Copy(differentiable, f.differentiable)
	}
	for _, op := range graph.Differentiable() {
		if len(differentiable[op]) == 0 {
			t.Errorf("%v has a gradient, but its family has no graph to check it with", op)
		}
		for k, build := range differentiable[op] {
			t.Run(fmt.Sprintf("%v %d", op, k), func(t *testing.T) { checkGradient(t, build) })
		}
	}
}

func checkGradient(t *testing.T, build func(g *graph.Graph) *graph.Node) {
	g := graph.New()
	y := build(g)
	g.Output("y", y)
	var wrt []*graph.Node
	values := map[string][]float64{}
	for _, n := range g.Nodes {
		if n.Op != graph.Input {
			continue
		}
		r := rng.New(uint64(n.ID), 1)
		x := make([]float64, engine.HostShape(n, g.Replicas).Elements())
		for i := range x {
			x[i] = r.Uniform(-1, 1)
			if n.Type == tensor.Int32 {
				x[i] = float64(i)
			}
		}
		values[n.Name] = x
		if n.Type == tensor.Float32 && n.Name[0] != 'd' {
			wrt = append(wrt, n)
		}
	}
	from := g.ShareInput("seed", f32, y.Shape...) // y varies where there are replicas
	seed := make([]float64, engine.HostShape(from, g.Replicas).Elements())
	r := rng.New(99)
	for i := range seed {
		seed[i] = r.Uniform(-1, 1)
	}
	values["seed"] = seed
	for i, d := range g.Gradients(y, from, wrt) {
		g.Output("d"+wrt[i].Name, d)
	}
	compiled, err := New().Compile(g, New().NewState())
	if err != nil {
		t.Fatal(err)
	}
	p := compiled.(*Program)
	evaluate := func() float64 { // the seed's dot product with y
		for name, x := range values {
			p.SetFloat64s(name, x)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		var sum float64
		for i, y := range p.Float64s("y") {
			sum += y * seed[i]
		}
		return sum
	}
	evaluate()
	gradients := map[string][]float64{}
	for _, n := range wrt {
		gradients[n.Name] = append([]float64(nil), p.Float64s("d"+n.Name)...)
	}
	const h = 1e-5
	for _, n := range wrt {
		x := values[n.Name]
		for i := range x {
			old := x[i]
			x[i] = old + h
			up := evaluate()
			x[i] = old - h
			down := evaluate()
			x[i] = old
			want := (up - down) / (2 * h)
			if got := gradients[n.Name][i]; math.Abs(got-want) > 1e-6*max(1, math.Abs(want)) {
				t.Fatalf("gradient of %s, value %d: %v, differences say %v", n.Name, i, got, want)
			}
		}
	}
}
