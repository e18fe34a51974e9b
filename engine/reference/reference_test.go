package reference

import (
	"errors"
	"testing"

	"moco/graph"
	"moco/tensor"
)

// TestEveryKindIsDefined: an operation cannot be added to graphs without saying what it computes.
func TestEveryKindIsDefined(t *testing.T) {
	for _, op := range graph.Ops() {
		if !Defined(op) {
			t.Errorf("%v has no definition", op)
		}
	}
	if n := len(definitions) + len(collectives); n != len(graph.Ops()) {
		t.Errorf("%d definitions for %d kinds", n, len(graph.Ops()))
	}
}

// TestCompute: a value is computed anew into what an earlier one left, and batches of matrices are
// products side by side, or their sum.
func TestCompute(t *testing.T) {
	g := graph.New()
	a, b := g.Input("a", tensor.Float32, 2, 1, 2), g.Input("b", tensor.Float32, 2, 2, 1)
	single := g.Input("single", tensor.Float32, 2, 1)
	value := func(n *graph.Node, x ...float64) *Value {
		v := NewValue(n.Type, n.Shape)
		copy(v.x, x)
		return v
	}
	va, vb := value(a, 1, 2, 3, 4), value(b, 5, 6, 7, 8)
	for _, c := range []struct {
		n    *graph.Node
		in   []*Value
		want []float64
	}{
		{g.MatMul(a, b, false, false), []*Value{va, vb}, []float64{17, 53}},
		{g.MatMul(a, b, true, true), []*Value{va, vb}, []float64{5, 6, 10, 12, 21, 24, 28, 32}},
		{g.MatMul(a, single, false, false), []*Value{va, value(single, 5, 6)}, []float64{17, 39}},
		{g.MatMulSum(a, b, false, false), []*Value{va, vb}, []float64{70}},
	} {
		y := NewValue(c.n.Type, c.n.Shape)
		for range 2 {
			if err := Compute(c.n, c.in, y); err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				if y.x[i] != want {
					t.Errorf("%v is %v, want %v", c.n, y.x, c.want)
					break
				}
			}
		}
	}
	if err := g.Check(); err != nil {
		t.Error(err)
	}
	var undefined *UndefinedError
	if err := Compute(a, nil, va); !errors.As(err, &undefined) || undefined.Node != a {
		t.Errorf("computing an input gives %v", err)
	}
}

// TestTensors: values are rounded to tensors and read back.
func TestTensors(t *testing.T) {
	for _, typ := range []tensor.Type{tensor.Float32, tensor.Int32} {
		v, back := NewValue(typ, tensor.Shape{3}), NewValue(typ, tensor.Shape{3})
		copy(v.x, []float64{1, -2, 1 << 20})
		stored := tensor.New(typ, 3)
		v.Write(stored)
		back.Read(stored)
		for i, x := range v.x {
			if back.x[i] != x {
				t.Errorf("%v: %v comes back as %v", typ, v.x, back.x)
			}
		}
	}
}

// TestReplicas: the sum over replicas has one order, in which numbers that cancel show another.
func TestReplicas(t *testing.T) {
	const big = 1 << 60
	for _, c := range []struct {
		x    []float64
		want float64
	}{
		{[]float64{1, 2}, 3},
		{[]float64{1, big, -big}, 0},             // (1 + big) - big
		{[]float64{1, big, -big, 1}, 0},          // (1 + big) + (-big + 1)
		{[]float64{1, big, 1, 1, -big}, 0},       // ((1 + big) + (1 + 1)) - big
		{[]float64{0, 0, 0, 0, big, 1, -big}, 0}, // (0 + 0) + ((big + 1) - big)
		{[]float64{0, 0, 0, 0, big, -big, 1}, 1},
	} {
		g := graph.New()
		g.Replicas = len(c.x)
		x := g.ShareInput("x", tensor.Float32, 1, 1)
		in, y := make([][]*Value, len(c.x)), make([]*Value, len(c.x))
		for r, v := range c.x {
			in[r] = []*Value{View(x.Type, x.Shape, []float64{v})}
			y[r] = NewValue(x.Type, x.Shape)
		}
		if err := ComputeReplicas(g.SumReplicas(x), in, y); err != nil || y[len(y)-1].x[0] != c.want {
			t.Errorf("the sum of %v is %v (%v), want %v", c.x, y[len(y)-1].x, err, c.want)
		}
	}
}
