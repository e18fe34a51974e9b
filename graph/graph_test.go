package graph

import (
	"fmt"
	"slices"
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
			return g.Normalise(batchNorm(g, g.Input("x", f32, 5, 2, 2, 3), 2))
		},
		"shapes differ": func(g *Graph) *Node { return g.Add(g.Input("x", f32, 5), g.Input("y", f32, 6)) },
		"inner lengths": func(g *Graph) *Node {
			return g.MatMul(g.Input("x", f32, 5, 2), g.Input("y", f32, 5, 2), false, false)
		},
		"leading axes": func(g *Graph) *Node {
			return g.MatMul(g.Input("x", f32, 3, 5, 2), g.Input("y", f32, 4, 2, 5), false, false)
		},
		"takes matrices": func(g *Graph) *Node {
			return g.MatMul(g.Input("x", f32, 3, 5, 2), g.Input("y", f32, 2), false, false)
		},
		"two batches": func(g *Graph) *Node {
			return g.MatMulSum(g.Input("x", f32, 3, 5, 2), g.Input("y", f32, 2, 5), false, false)
		},
		"must be float32": func(g *Graph) *Node { return g.RowDot(g.Input("x", f32, 5, 2), g.Input("y", i32, 5, 2)) },
		"temperature": func(g *Graph) *Node {
			return g.InfoNCE(Contrast{Positive: g.Input("p", f32, 5), Negatives: g.Input("n", f32, 5, 2)})
		},
		"operand 1 is miss": func(g *Graph) *Node {
			return g.InfoNCE(Contrast{Positive: g.Input("p", f32, 5), Negatives: nil, Temperature: 1})
		},
		"operand 3 is miss": func(g *Graph) *Node {
			c := Contrast{Positive: g.Input("p", f32, 5), Negatives: g.Input("n", f32, 5, 2), Temperature: 1}
			c.QueryIDs = g.Input("q", i32, 5)
			return g.InfoNCE(c)
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
		"elements do not": func(g *Graph) *Node { return g.Reshape(g.Input("x", f32, 5, 2), 3, 3) },
		"do not make":     func(g *Graph) *Node { return g.Reshape(g.Input("x", f32, 5, 2), 0, 10) },
		"make 1099511627776x1099511627776": func(g *Graph) *Node { // the product of the extents is 0 in 64 bits
			return g.Reshape(g.Input("x", f32, 5, 2), 1<<40, 1<<40)
		},
		"has no places":     func(g *Graph) *Node { return g.Slice(g.Input("x", f32, 5, 2), 1, 1, 2) },
		"Slice(float32 5x2": func(g *Graph) *Node { return g.Slice(g.Input("x", f32, 5, 2), 2, 0, 1) },
		"do not fit in 6":   func(g *Graph) *Node { return g.SliceGrad(g.Input("x", f32, 5, 2), 0, 2, 6) },
		"another axis than": func(g *Graph) *Node { return g.Concat(1, g.Input("x", f32, 5, 2), g.Input("y", f32, 4, 2)) },
		"differs in type":   func(g *Graph) *Node { return g.Concat(0, g.Input("x", f32, 5), g.Input("y", i32, 5)) },
		"at least 1":        func(g *Graph) *Node { return g.Concat(0) },
		"3 values for 2x2":  func(g *Graph) *Node { return g.Constant([]float64{1, 2, 3}, 2, 2) },
		"shape 0x2 has an":  func(g *Graph) *Node { return g.Fill(1, 0, 2) },
		"0 copies":          func(g *Graph) *Node { return g.Repeat(g.Input("x", f32, 5), 0) },
		"takes a batch":     func(g *Graph) *Node { return g.SumBatch(g.Input("x", f32)) },
		"the last axes":     func(g *Graph) *Node { return g.BiasAdd(g.Input("x", f32, 2, 5, 3), g.Input("b", f32, 2, 3)) },
		"BiasAdd(float32 5": func(g *Graph) *Node { return g.BiasAdd(g.Input("x", f32, 5, 3), g.Input("b", f32, 5, 3)) },
		"3 factors for 2x5": func(g *Graph) *Node { return g.ScaleRows(g.Input("x", f32, 2, 5, 3), g.Input("s", f32, 3)) },
		"each of 3 channels": func(g *Graph) *Node {
			return g.ScaleChannels(g.Input("x", f32, 2, 5, 3), g.Input("s", f32, 5))
		},
		"each of 4 channels": func(g *Graph) *Node {
			return g.LayerNorm(g.Input("x", f32, 5, 4), g.Input("gamma", f32, 4), g.Input("beta", f32, 5), 1e-6)
		},
		"values of 2 heads": func(g *Graph) *Node { return g.Attention(g.Input("x", f32, 2, 5, 9), 2) },
		"does not fit the queries": func(g *Graph) *Node {
			qkv := g.Input("x", f32, 2, 5, 12)
			return g.AttentionGrad(qkv, qkv, g.Attention(qkv, 2), 2)
		},
		"the rate or a": func(g *Graph) *Node {
			p := g.Variable("p", f32, 5)
			return g.AdamStep(Adam{Parameter: p, First: p, Second: p, Rate: p, FirstScale: p, SecondScale: p})
		},
		"AdamStep: operand 2": func(g *Graph) *Node {
			p := g.Variable("p", f32, 5)
			return g.AdamStep(Adam{Parameter: p, First: p})
		},
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
			y := g.Normalise(batchNorm(g, x, 1))
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

// batchNorm has statistics of two splits of x [N,..,3].
func batchNorm(g *Graph, x *Node, splits int) BatchNorm {
	return BatchNorm{
		X: x, Mean: g.Input("m", f32, splits, 3), Variance: g.Input("v", f32, splits, 3),
		Gamma: g.Input("g", f32, 3), Beta: g.Input("b", f32, 3),
	}
}

// TestAttributes: what a kind's attribute says is checked like a shape, and so is its type.
func TestAttributes(t *testing.T) {
	for want, change := range map[string]func(n *Node){
		"the attribute is a graph.NoAttr, not a graph.ConvAttr": func(n *Node) { n.Attr = NoAttr{} },
		"the attribute is a <nil>":                              func(n *Node) { n.Attr = nil },
		"another convolution":                                   func(n *Node) { n.Attr = ConvAttr{Window{3, 1, 1}, 9, 8} },
		"should have shape":                                     func(n *Node) { n.Attr = ConvAttr{Window{3, 1, 0}, 8, 8} },
		"taken for an activation":                               func(n *Node) { n.Activation = false },
		"Variable w (4x3x3x3): the attribute":                   func(n *Node) { n.In[1].Attr = NoAttr{} },
		"has no rule":                                           func(n *Node) { n.Op = "Softmax" },
	} {
		g := New()
		n := g.Conv(g.Input("x", f32, 2, 8, 8, 3), g.Variable("w", f32, 4, 3, 3, 3), 1, 1)
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		change(n)
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one that says %q", err, want)
		}
	}
}

// TestActivations: what an engine may keep as bfloat16 follows from what a value is, not from its
// rank.
func TestActivations(t *testing.T) {
	g := New()
	images, labels := g.Input("x", f32, 2, 8, 8, 3), g.Input("labels", i32, 2)
	w, v := g.Variable("w", f32, 4, 3, 3, 3), g.Variable("v", f32, 4, 5)
	y := g.ReLU(g.Conv(images, w, 1, 1))
	mean, variance := g.BatchMean(y, 2), g.BatchVariance(y, 2)
	gamma, beta := g.Variable("gamma", f32, 4), g.Variable("beta", f32, 4)
	normal := g.Normalise(BatchNorm{X: y, Mean: mean, Variance: variance, Gamma: gamma, Beta: beta, Epsilon: 1e-5})
	pooled := g.AveragePool(g.Add(normal, y))
	logits := g.MatMul(pooled, v, false, false)
	loss := g.CrossEntropy(logits, labels)
	d := g.Gradients(loss, g.Fill(1), []*Node{w, v, gamma, normal, pooled})
	gamma5 := g.Variable("gamma5", f32, 5)
	tokens := g.MatMul(g.Input("tokens", f32, 2, 7, 3), g.Variable("u", f32, 3, 5), false, false)
	scores := g.MatMul(tokens, tokens, false, true)
	du := g.Gradients(scores, g.Input("ds", f32, 2, 7, 7), []*Node{g.Variable("u", f32, 3, 5)})[0]
	next := g.WeightedSum(Term{Coefficient: 1, X: w}, Term{Coefficient: -1, X: d[0]})
	class := g.Repeat(g.Variable("class", f32, 1, 5), 2)
	joined := g.Concat(1, class, tokens)
	first := g.Slice(joined, 1, 0, 1)
	positions := g.Variable("positions", f32, 8, 5)
	dp := g.Gradients(g.BiasAdd(joined, positions), g.Input("dj", f32, 2, 8, 5), []*Node{positions})[0]
	for _, n := range []*Node{
		y, normal, d[3], tokens, scores, g.Slice(y, 0, 0, 1), g.Detach(y), g.MaxPool(y, 3, 2, 1), joined, first,
		g.Reshape(y, 2, 64, 4), g.GELU(joined), g.LayerNorm(joined, gamma5, gamma5, 1e-6), g.ScaleChannels(joined, gamma5),
		g.Attention(g.Input("qkv", f32, 2, 7, 6), 2),
	} {
		if !n.Activation {
			t.Errorf("%v is no activation", n)
		}
	}
	for _, n := range []*Node{
		images, g.Slice(images, 0, 0, 1), w, mean, variance, pooled, logits, loss, d[0], d[1], d[2], d[4], du, next,
		class, g.Reshape(first, 2, 5), dp,
		g.ScaleChannelsGradScale(joined, joined), g.LayerNormGradGamma(joined, joined, 1e-6),
	} {
		if n.Activation {
			t.Errorf("%v is an activation", n)
		}
	}
	if err := g.Check(); err != nil {
		t.Error(err)
	}
}

// TestStoredVariables: a variable has one storage, and only float32 is rounded to bfloat16.
func TestStoredVariables(t *testing.T) {
	g := New()
	for _, shape := range [][]int{{5}, {3, 5}, {2, 3, 5}} {
		n := g.BFloat16Variable(fmt.Sprint(shape), shape...)
		if n.Attr.(VariableAttr).Stored != BFloat16 || g.BFloat16Variable(fmt.Sprint(shape), shape...) != n {
			t.Errorf("%v is not the variable that is kept as bfloat16", n)
		}
	}
	if err := g.Check(); err != nil {
		t.Error(err)
	}
	g.Variable("[5]", f32, 5)
	if err := g.Check(); err == nil || !strings.Contains(err.Error(), "declared twice") {
		t.Errorf("a variable with two storages: %v", err)
	}
}

// TestTable: each kind has a check, and Ops and Differentiable list the table.
func TestTable(t *testing.T) {
	for _, op := range Ops() {
		if kinds[op].check == nil {
			t.Errorf("%v has no check", op)
		}
	}
	if d := Differentiable(); !slices.Contains(d, Conv) || slices.Contains(d, ConvGradInput) || !slices.IsSorted(d) {
		t.Errorf("the differentiable kinds are %v", d)
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
	a := y.Attr.(ConvAttr)
	for _, d := range []*Node{g.ConvGradInput(y, w, a), g.ConvGradWeight(y, x, a)} {
		if got := d.Cost().FLOPs; got != 2*products {
			t.Errorf("%v costs %d operations, want %d", d, got, 2*products)
		}
	}
	m := g.MatMul(g.Input("a", f32, 3, 5), g.Input("b", f32, 7, 5), false, true)
	if got := m.Cost().FLOPs; got != 2*3*5*7 {
		t.Errorf("a 3x5x7 matrix product costs %d operations", got)
	}
	qkv := g.Input("qkv", f32, 2, 7, 36)
	attention := g.Attention(qkv, 3) // three heads of 4 channels
	const scores = 2 * 3 * 7 * 7 * 4
	if got := attention.Cost().FLOPs; got != 2*2*scores {
		t.Errorf("attention of 2 products of %d costs %d operations", scores, got)
	}
	if got := g.AttentionGrad(attention, qkv, attention, 3).Cost().FLOPs; got != 5*2*scores {
		t.Errorf("attention's gradient of 5 products of %d costs %d operations", scores, got)
	}
	if got := g.Reshape(qkv, 14, 36).Cost(); got != (Cost{}) {
		t.Errorf("another shape of the same values costs %v", got)
	}
	batch, other := g.Input("batch", f32, 6, 4, 3, 5), g.Input("other", f32, 6, 4, 3, 7)
	for n, products := range map[*Node]int64{
		g.MatMul(batch, g.Input("c", f32, 5, 7), false, false): 6 * 4 * 3 * 5 * 7,
		g.MatMul(batch, other, true, false):                    6 * 4 * 3 * 5 * 7,
		g.MatMulSum(batch, other, true, false):                 6 * 4 * 3 * 5 * 7,
	} {
		if got := n.Cost().FLOPs; got != 2*products {
			t.Errorf("%v costs %d operations, want %d", n, got, 2*products)
		}
	}
}

// fuzzed are attributes of small numbers, for each kind that has some.
func fuzzed(op Op, small int) any {
	window := Window{Kernel: small, Stride: small, Pad: small / 2}
	estimate := EstimateAttr{Temperature: float64(small), Population: small}
	switch op {
	case Constant:
		return ConstantAttr{Shape: tensor.Shape{small, 3}[:small%3], Values: []float64{1, 2, 3, 4}[:small]}
	case WeightedSum:
		return WeightedSumAttr{Coefficients: []float64{1, 2}[:1+small%2], Scalars: []int{-1, -1}[:1+small%2]}
	case Conv, ConvGradInput, ConvGradWeight:
		return ConvAttr{Window: window, Height: 4, Width: 4}
	case MaxPool, MaxPoolGrad:
		return PoolAttr{window}
	case AveragePoolGrad:
		return AveragePoolGradAttr{Height: 4, Width: small}
	case BatchMean, BatchVariance, ChannelSum:
		return SplitAttr{Splits: small}
	case Normalise, ChannelDot, BatchNormGradInput, LayerNorm, LayerNormGradInput, LayerNormGradGamma:
		return NormAttr{Epsilon: float64(small)}
	case MatMul:
		return MatMulAttr{TransposeA: small%2 == 1, TransposeB: small > 1, SumBatch: small > 2}
	case InfoNCE, InfoNCEGrad, ContrastAccuracy:
		return ContrastAttr{Temperature: float64(small)}
	case NCE, NCEGrad:
		return estimate
	case Partition:
		return PartitionAttr{estimate, 0.5}
	case Advance:
		return AdvanceAttr{By: small, Modulo: small}
	case Reshape:
		return ReshapeAttr{Shape: tensor.Shape{small, 3, small}[small%3:]}
	case Slice:
		return SliceAttr{Axis: small - 1, From: small / 2, Count: small}
	case SliceGrad:
		return SliceGradAttr{Axis: small - 1, From: small / 2, Total: 2 * small}
	case Concat:
		return ConcatAttr{Axis: small - 1}
	case Repeat:
		return RepeatAttr{Count: small}
	case Orthogonalise:
		return NewtonSchulz{A: 1, Steps: small}
	case Attention, AttentionGrad:
		return AttentionAttr{Heads: small}
	case SecondMoment:
		return SecondMomentAttr{Keep: 0.5}
	case AdamStep:
		return AdamAttr{Epsilon: 1e-8, Decay: float64(small)}
	case TrustRatio:
		return TrustAttr{Trust: 1, Decay: float64(small)}
	}
	return NoAttr{}
}

// FuzzBuilder builds nodes of every kind on whatever there is: nothing may panic, and Check gives
// the same answer twice.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte{5, 0, 1, 6, 1, 0, 7, 2, 1})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	ops := append(Ops(), Variable)
	f.Fuzz(func(t *testing.T, program []byte) {
		g := New()
		pool := []*Node{
			g.Input("x", f32, 2, 4, 4, 3), g.Variable("w", f32, 3, 3, 3, 3), g.Input("a", f32, 2, 3),
			g.Input("v", f32, 3), g.Input("i", i32, 2), g.Variable("at", i32, 1), g.Fill(1), g.Input("b", f32, 2, 3, 3),
		}
		pick := func(b byte) *Node { return pool[int(b)%len(pool)] }
		for len(program) >= 3 && len(pool) < 60 {
			op := ops[int(program[0])%len(ops)]
			a, b := pick(program[1]), pick(program[2])
			attr := fuzzed(op, int(program[2])%5)
			var n *Node
			switch {
			case op == Variable:
				n = g.Variable("w", f32, 3, 3, 3, 3)
			case program[1]%5 == 0:
				n = g.add(op, attr, a)
			case program[1]%5 == 1:
				n = g.add(op, attr, a, b)
			case program[1]%5 == 2:
				n = g.add(op, attr, a, b, pick(program[0]))
			case program[1]%5 == 3:
				n = g.add(op, attr, a, b, b, pick(program[0]), pick(program[0]/5))
			default:
				n = g.Gradients(a, b, []*Node{pool[0]})[0]
			}
			n.Cost()
			pool = append(pool, n)
			program = program[3:]
		}
		first := g.Check()
		if second := g.Check(); (first == nil) != (second == nil) {
			t.Errorf("Check says %v, then %v", first, second)
		}
	})
}
