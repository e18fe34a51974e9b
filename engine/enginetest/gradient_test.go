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

func TestInterpreter(t *testing.T) {
	Run(t, func() engine.Engine { return New() })
}

// differences are graphs y(x, ...) whose gradients are checked. Inputs named i... are integers, d... get no gradient.
var differences = map[graph.Op][]func(g *graph.Graph) *graph.Node{
	graph.WeightedSum: {func(g *graph.Graph) *graph.Node {
		s := g.Input("ds", f32)
		x, y := g.Input("x", f32, 3, 5), g.Input("y", f32, 3, 5)
		return g.WeightedSum(graph.Term{Coefficient: 2, X: x}, graph.Term{Coefficient: -1, Scalar: s, X: y}, graph.Term{Coefficient: 1, X: x})
	}},
	graph.Detach: {func(g *graph.Graph) *graph.Node {
		x := g.Input("x", f32, 3)
		return g.Add(x, g.Detach(g.Input("d", f32, 3)))
	}},
	graph.Conv: {
		func(g *graph.Graph) *graph.Node {
			return g.Conv(g.Input("x", f32, 2, 5, 4, 3), g.Input("w", f32, 2, 3, 3, 3), 1, 1)
		},
		func(g *graph.Graph) *graph.Node {
			return g.Conv(g.Input("x", f32, 1, 7, 6, 2), g.Input("w", f32, 3, 2, 3, 3), 2, 0)
		},
		func(g *graph.Graph) *graph.Node {
			return g.Conv(g.Input("x", f32, 1, 5, 5, 2), g.Input("w", f32, 3, 2, 1, 1), 2, 0)
		},
		func(g *graph.Graph) *graph.Node {
			return g.Conv(g.Input("x", f32, 1, 6, 5, 1), g.Input("w", f32, 2, 1, 7, 7), 2, 3)
		},
	},
	graph.Normalise: {
		func(g *graph.Graph) *graph.Node { return normOf(g, 4, 1) },
		func(g *graph.Graph) *graph.Node { return normOf(g, 6, 3) },
	},
	graph.ReLU:        {func(g *graph.Graph) *graph.Node { return g.ReLU(g.Input("x", f32, 3, 7)) }},
	graph.MaxPool:     {func(g *graph.Graph) *graph.Node { return g.MaxPool(g.Input("x", f32, 2, 5, 7, 3), 3, 2, 1) }},
	graph.AveragePool: {func(g *graph.Graph) *graph.Node { return g.AveragePool(g.Input("x", f32, 2, 3, 5, 2)) }},
	graph.MatMul: {
		func(g *graph.Graph) *graph.Node {
			return g.MatMul(g.Input("a", f32, 2, 3), g.Input("b", f32, 3, 5), false, false)
		},
		func(g *graph.Graph) *graph.Node {
			return g.MatMul(g.Input("a", f32, 3, 2), g.Input("b", f32, 3, 5), true, false)
		},
		func(g *graph.Graph) *graph.Node {
			return g.MatMul(g.Input("a", f32, 2, 3), g.Input("b", f32, 5, 3), false, true)
		},
		func(g *graph.Graph) *graph.Node {
			return g.MatMul(g.Input("a", f32, 3, 2), g.Input("b", f32, 5, 3), true, true)
		},
	},
	graph.BiasAdd:     {func(g *graph.Graph) *graph.Node { return g.BiasAdd(g.Input("x", f32, 3, 5), g.Input("b", f32, 5)) }},
	graph.L2Normalise: {func(g *graph.Graph) *graph.Node { return g.L2Normalise(g.Input("x", f32, 3, 5)) }},
	graph.RowDot:      {func(g *graph.Graph) *graph.Node { return g.RowDot(g.Input("a", f32, 3, 5), g.Input("b", f32, 3, 5)) }},
	graph.InfoNCE: {
		func(g *graph.Graph) *graph.Node {
			return g.InfoNCE(graph.Contrast{Positive: g.Input("p", f32, 3), Negatives: g.Input("n", f32, 3, 7), Temperature: 0.3})
		},
		func(g *graph.Graph) *graph.Node {
			return g.InfoNCE(graph.Contrast{Positive: g.Input("p", f32, 3), Negatives: g.Input("n", f32, 3, 7), QueryIDs: g.Input("iq", i32, 3), KeyIDs: g.Input("ik", i32, 7), Temperature: 0.3})
		},
	},
	graph.Rows: {func(g *graph.Graph) *graph.Node { return g.Rows(g.Input("x", f32, 5, 3), 1, 3) }},
	graph.Concat: {func(g *graph.Graph) *graph.Node {
		return g.Concat(g.Input("a", f32, 2, 3), g.Input("b", f32, 4, 3))
	}},
	graph.GatherDot: {func(g *graph.Graph) *graph.Node { // the bank takes no gradient
		return g.GatherDot(g.Input("x", f32, 2, 5), g.Input("dbank", f32, 6, 5), g.Input("i", i32, 6))
	}},
	graph.CrossEntropy: {func(g *graph.Graph) *graph.Node {
		return g.CrossEntropy(g.Input("logits", f32, 3, 5), g.Input("labels", i32, 3))
	}},
	graph.NCE: {func(g *graph.Graph) *graph.Node {
		return g.NCE(graph.Estimate{Similarities: g.Input("s", f32, 3, 5), Z: g.Fill(3), Temperature: 0.3, Population: 20})
	}},
}

func normOf(g *graph.Graph, n, splits int) *graph.Node {
	x := g.Input("x", f32, n, 2, 3, 3)
	return g.Normalise(x, g.BatchMean(x, splits), g.BatchVariance(x, splits), g.Input("gamma", f32, 3), g.Input("beta", f32, 3), 1e-3)
}

// TestGradients compares Graph.Gradients with central differences, in float64.
func TestGradients(t *testing.T) {
	for _, op := range graph.Differentiable() {
		if len(differences[op]) == 0 {
			t.Errorf("%v has a gradient but no case here", op)
		}
		for k, build := range differences[op] {
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
		x := make([]float64, n.Shape.Elements())
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
	seed := make([]float64, y.Shape.Elements())
	r := rng.New(99)
	for i := range seed {
		seed[i] = r.Uniform(-1, 1)
	}
	values["seed"] = seed
	for i, d := range g.Gradients(y, g.Input("seed", f32, y.Shape...), wrt) {
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
		return dot(p.Float64s("y"), seed)
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
