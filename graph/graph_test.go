package graph

import (
	"strings"
	"testing"

	"moco/tensor"
)

const f32, i32 = tensor.Float32, tensor.Int32

// TestErrors: what does not fit is told once, with the kind's name, and building goes on.
func TestErrors(t *testing.T) {
	for want, build := range map[string]func(g *Graph) *Node{
		"Conv(": func(g *Graph) *Node {
			return g.Conv(g.Input("x", f32, 1, 4, 4, 3), g.Variable("w", f32, 8, 4, 3, 3), 1, 1)
		},
		"not square": func(g *Graph) *Node {
			return g.Conv(g.Input("x", f32, 1, 4, 4, 3), g.Variable("w", f32, 8, 3, 3, 1), 1, 1)
		},
		"smaller than": func(g *Graph) *Node {
			return g.Conv(g.Input("x", f32, 1, 2, 2, 3), g.Variable("w", f32, 8, 3, 7, 7), 1, 0)
		},
		"equal parts": func(g *Graph) *Node { return g.BatchMean(g.Input("x", f32, 5, 2, 2, 3), 2) },
		"statistics": func(g *Graph) *Node {
			return g.Normalise(g.Input("x", f32, 5, 2, 2, 3), g.Input("m", f32, 2, 3), g.Input("v", f32, 2, 3), g.Input("g", f32, 3), g.Input("b", f32, 3), 0)
		},
		"shapes differ":   func(g *Graph) *Node { return g.Add(g.Input("x", f32, 5), g.Input("y", f32, 6)) },
		"inner lengths":   func(g *Graph) *Node { return g.MatMul(g.Input("x", f32, 5, 2), g.Input("y", f32, 5, 2), false, false) },
		"must be float32": func(g *Graph) *Node { return g.RowDot(g.Input("x", f32, 5, 2), g.Input("y", i32, 5, 2)) },
		"temperature": func(g *Graph) *Node {
			return g.InfoNCE(Contrast{Positive: g.Input("p", f32, 5), Negatives: g.Input("n", f32, 5, 2)})
		},
		"operand 1 is miss": func(g *Graph) *Node {
			return g.InfoNCE(Contrast{Positive: g.Input("p", f32, 5), Negatives: nil, Temperature: 1})
		},
		"operand 3 is miss": func(g *Graph) *Node {
			return g.InfoNCE(Contrast{Positive: g.Input("p", f32, 5), Negatives: g.Input("n", f32, 5, 2), QueryIDs: g.Input("q", i32, 5), Temperature: 1})
		},
		"rows and an int32": func(g *Graph) *Node { return g.GatherRows(g.Input("x", f32, 5, 2), g.Input("i", f32, 5)) },
		"the rows differ": func(g *Graph) *Node {
			return g.WriteRows(g.Variable("x", f32, 5, 2), g.Input("r", f32, 5, 3), g.Variable("at", i32, 1))
		},
		"positive modulo": func(g *Graph) *Node { return g.Advance(g.Variable("at", i32, 1), 1, 0) },
		"window does not": func(g *Graph) *Node { return g.MaxPool(g.Input("x", f32, 1, 2, 2, 3), 5, 1, 0) },
		"declared twice":  func(g *Graph) *Node { g.Input("x", f32, 5); return g.Input("x", f32, 5) },
		"empty axis":      func(g *Graph) *Node { return g.Input("x", f32, 5, 0) },
		"not one that":    func(g *Graph) *Node { return g.Input("x", tensor.Uint8, 5) },
		"no variable":     func(g *Graph) *Node { x := g.Input("x", f32, 5); g.Assign(x, x); return x },
		"another type or": func(g *Graph) *Node { x := g.Input("x", f32, 5); g.Assign(g.Variable("v", f32, 6), x); return x },
		"assigned twice":  func(g *Graph) *Node { v := g.Variable("v", f32, 6); g.Assign(v, v); g.Assign(v, v); return v },
		"has no gradient": func(g *Graph) *Node {
			x := g.Input("x", f32, 5, 2)
			y := g.RowSum(x)
			return g.Gradients(y, y, []*Node{x})[0]
		},
		"does not depend": func(g *Graph) *Node {
			x, y := g.Input("x", f32, 5), g.Input("y", f32, 5)
			return g.Gradients(g.ReLU(x), y, []*Node{y})[0]
		},
		"own batch's": func(g *Graph) *Node {
			x := g.Input("x", f32, 2, 2, 2, 3)
			y := g.Normalise(x, g.Input("m", f32, 1, 3), g.Input("v", f32, 1, 3), g.Input("g", f32, 3), g.Input("b", f32, 3), 0)
			return g.Gradients(y, x, []*Node{x})[0]
		},
	} {
		t.Run(want, func(t *testing.T) {
			g := New()
			n := build(g)
			// whatever is built on top must neither panic nor add another complaint
			g.Output("y", g.ReLU(g.Conv(n, g.BatchMean(n, 3), 1, 1)))
			err := g.Check()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want one that says %q", err, want)
			}
		})
	}
}

func TestGradientsStopWhereNobodyAsks(t *testing.T) {
	g := New()
	x, w, v := g.Input("x", f32, 2, 8, 8, 3), g.Variable("w", f32, 4, 3, 3, 3), g.Variable("v", f32, 4, 4, 3, 3)
	y := g.Conv(g.Conv(x, w, 1, 1), v, 1, 1)
	before := len(g.Nodes)
	g.Gradients(y, g.Input("dy", f32, 2, 8, 8, 4), []*Node{v})
	for _, n := range g.Nodes[before:] {
		if n.Op == ConvGradInput {
			t.Errorf("%v is computed, but nobody asked for what lies before it", n)
		}
	}
	if err := g.Check(); err != nil {
		t.Error(err)
	}
}

func TestCost(t *testing.T) {
	g := New()
	x, w := g.Input("x", f32, 2, 8, 8, 3), g.Variable("w", f32, 4, 3, 3, 3)
	y := g.Conv(x, w, 2, 1) // 2x4x4x4 outputs of 27 products
	const products = 2 * 4 * 4 * 4 * 27
	if got := y.Cost().FLOPs; got != 2*products {
		t.Errorf("a convolution of %d products costs %d operations", products, got)
	}
	if got, want := y.Cost().Bytes, int64(4*(2*8*8*3+4*27+2*4*4*4)); got != want {
		t.Errorf("a convolution moves %d bytes, want %d", got, want)
	}
	for _, d := range []*Node{g.ConvGradInput(y, w, 2, 1, 8, 8), g.ConvGradWeight(y, x, 3, 2, 1)} {
		if got := d.Cost().FLOPs; got != 2*products {
			t.Errorf("%v costs %d operations, want %d", d, got, 2*products)
		}
	}
	m := g.MatMul(g.Input("a", f32, 3, 5), g.Input("b", f32, 7, 5), false, true)
	if got := m.Cost().FLOPs; got != 2*3*5*7 {
		t.Errorf("a 3x5x7 matrix product costs %d operations", got)
	}
}

// FuzzBuilder builds nodes of every kind on whatever there is: nothing may panic, and a graph without complaints passes Check again.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte{5, 0, 1, 6, 1, 0, 7, 2, 1})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Fuzz(func(t *testing.T, program []byte) {
		g := New()
		pool := []*Node{g.Input("x", f32, 2, 4, 4, 3), g.Variable("w", f32, 3, 3, 3, 3), g.Input("a", f32, 2, 3), g.Input("v", f32, 3), g.Input("i", i32, 2), g.Variable("at", i32, 1)}
		for len(program) >= 3 && len(pool) < 60 {
			op := Op(int(program[0])%int(Advance) + 1)
			a, b := pool[int(program[1])%len(pool)], pool[int(program[2])%len(pool)]
			small := int(program[2]) % 5
			attr := Attr{Kernel: small, Stride: small, Pad: small / 2, Splits: small, Height: 4, Width: small, By: small, Modulo: small, Temperature: float64(small), Coefficients: []float64{1, 2}[:1+small%2], Scalars: []int{-1, -1}[:1+small%2]}
			var n *Node
			switch {
			case op == Input || op == Variable:
				n = g.Variable("w", f32, 3, 3, 3, 3)
			case program[1]%3 == 0:
				n = g.add(op, attr, a)
			case program[1]%3 == 1:
				n = g.add(op, attr, a, b)
			default:
				n = g.Gradients(a, b, []*Node{pool[0]})[0]
			}
			pool = append(pool, n)
			program = program[3:]
		}
		first := g.Check()
		if second := g.Check(); (first == nil) != (second == nil) {
			t.Errorf("Check says %v, then %v", first, second)
		}
	})
}
