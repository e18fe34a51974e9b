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
	if len(definitions) != len(graph.Ops()) {
		t.Errorf("%d definitions for %d kinds", len(definitions), len(graph.Ops()))
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
