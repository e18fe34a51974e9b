package enginetest

import (
	"fmt"
	"slices"

	"moco/graph"
	"moco/tensor"
)

// residualStep is a small network's whole step: stem, pooling, residual blocks, one of them with a
// projection, a head, InfoNCE against a queue, the gradients, SGD with momentum, and the queue's
// update.
func residualStep(g *graph.Graph, batch, size, splits int) {
	lr := g.Input("lr", f32)
	var parameters []*graph.Node
	parameter := func(name string, shape ...int) *graph.Node {
		p := g.Variable(name, f32, shape...)
		for _, q := range parameters {
			if q == p {
				return p
			}
		}
		parameters = append(parameters, p)
		return p
	}
	norm := func(name string, x *graph.Node) *graph.Node {
		c := x.Shape[3]
		mean, variance := g.BatchMean(x, splits), g.BatchVariance(x, splits)
		gamma, beta := parameter(name+".weight", c), parameter(name+".bias", c)
		return g.Normalise(graph.BatchNorm{X: x, Mean: mean, Variance: variance, Gamma: gamma, Beta: beta, Epsilon: 1e-5})
	}
	encode := func(x *graph.Node) *graph.Node {
		stem := g.ReLU(norm("bn1", g.Conv(x, parameter("conv1", 16, 3, 3, 3), 1, 1)))
		pooled := g.MaxPool(stem, 3, 2, 1)
		a := g.ReLU(norm("bn2", g.Conv(pooled, parameter("conv2", 20, 16, 3, 3), 2, 1)))
		b := norm("bn3", g.Conv(a, parameter("conv3", 20, 20, 3, 3), 1, 1))
		shortcut := norm("bn4", g.Conv(pooled, parameter("conv4", 20, 16, 1, 1), 2, 0))
		block := g.ReLU(g.Add(b, shortcut))
		c := g.ReLU(norm("bn5", g.Conv(block, parameter("conv5", 20, 20, 3, 3), 1, 1)))
		last := g.ReLU(g.Add(norm("bn6", g.Conv(c, parameter("conv6", 20, 20, 3, 3), 1, 1)), block))
		hidden := g.MatMul(g.AveragePool(last), parameter("fc0", 20, 20), false, true)
		hidden = g.ReLU(g.BiasAdd(hidden, parameter("fc0.bias", 20)))
		return g.L2Normalise(g.BiasAdd(g.MatMul(hidden, parameter("fc2", 7, 20), false, true), parameter("fc2.bias", 7)))
	}
	queue, at := g.Variable("queue", f32, 13, 7), g.Variable("at", i32, 1)
	k := g.Detach(encode(g.GatherRows(g.Input("x2", f32, batch, size, size, 3), g.Input("shuffle", i32, batch))))
	q := encode(g.Input("x1", f32, batch, size, size, 3))
	contrast := graph.Contrast{Positive: g.RowDot(q, k), Negatives: g.MatMul(q, queue, false, true), Temperature: 0.2}
	loss := g.InfoNCE(contrast)
	g.Output("loss", loss)
	g.Output("accuracy", g.ContrastAccuracy(contrast))
	g.Output("q", q)
	for i, d := range g.Gradients(loss, g.Fill(1), parameters) {
		p := parameters[i]
		v := g.Variable("sgd."+p.Name, f32, p.Shape...)
		next := g.WeightedSum(
			graph.Term{Coefficient: 0.9, X: v}, graph.Term{Coefficient: 1, X: d}, graph.Term{Coefficient: 5e-4, X: p})
		g.Assign(v, next)
		g.Assign(p, g.WeightedSum(graph.Term{Coefficient: 1, X: p}, graph.Term{Coefficient: -1, Scalar: lr, X: next}))
		if p.Name == "conv2" || p.Name == "bn3.weight" {
			g.Output("gradient of "+p.Name, d)
		}
	}
	g.Assign(queue, g.WriteRows(queue, k, at))
	g.Assign(at, g.Advance(at, batch, 13))
}

// bottlenecks is the gradient of two bottleneck blocks, in which 1x1 convolutions stand between a
// 3x3 convolution, batch norms and a shortcut. Frozen, it is their value with running statistics.
func bottlenecks(g *graph.Graph, batch, splits int, frozen bool) {
	const wide, narrow = 48, 16
	var parameters []*graph.Node
	parameter := func(name string, shape ...int) *graph.Node {
		p := g.Variable(name, f32, shape...)
		parameters = append(parameters, p)
		return p
	}
	norm := func(name string, x *graph.Node) *graph.Node {
		c := x.Shape[3]
		mean, variance := g.BatchMean(x, splits), g.BatchVariance(x, splits)
		if frozen {
			mean, variance = g.Variable(name+".mean", f32, c), g.Variable(name+".variance", f32, c)
		}
		gamma, beta := parameter(name+".weight", c), parameter(name+".bias", c)
		return g.Normalise(graph.BatchNorm{X: x, Mean: mean, Variance: variance, Gamma: gamma, Beta: beta, Epsilon: 1e-5})
	}
	x := g.Input("x", f32, batch, 5, 4, wide)
	block := g.ReLU(norm("bn0", g.Conv(x, parameter("conv0", wide, wide, 1, 1), 1, 0)))
	for _, b := range []string{"a", "b"} {
		y := g.ReLU(norm(b+".bn1", g.Conv(block, parameter(b+".conv1", narrow, wide, 1, 1), 1, 0)))
		y = g.ReLU(norm(b+".bn2", g.Conv(y, parameter(b+".conv2", narrow, narrow, 3, 3), 1, 1)))
		block = g.ReLU(g.Add(norm(b+".bn3", g.Conv(y, parameter(b+".conv3", wide, narrow, 1, 1), 1, 0)), block))
	}
	y := g.AveragePool(block)
	g.Output("y", y)
	if frozen {
		return
	}
	for i, d := range g.Gradients(y, g.Input("dy", f32, batch, wide), parameters) {
		g.Output("gradient of "+parameters[i].Name, d)
	}
}

// composedCases has the patterns on which an engine's fusion, reuse of memory and order of
// assignments could go wrong.
func composedCases() []Case {
	return slices.Concat(networkCases(), fusionCases(), assignmentCases(), transformerCases())
}

func networkCases() []Case {
	small := func(i int) float64 { return float64(i*31%17-8) / 20 }
	step := setting{
		"lr":         func(int) float64 { return 0.05 },
		"at":         func(int) float64 { return 11 },
		"shuffle":    func(i int) float64 { return float64(i ^ 1) },
		"bn3.weight": func(i int) float64 { return 1 + small(i) },
	}
	zeros := func(int) float64 { return 0 }
	for _, p := range []string{"conv1", "bn1.weight", "bn1.bias"} {
		step["sgd."+p] = zeros
	}
	variances := setting{}
	for _, name := range []string{"bn0", "a.bn1", "a.bn2", "a.bn3", "b.bn1", "b.bn2", "b.bn3"} {
		variances[name+".variance"] = func(i int) float64 { return 0.5 + small(i) }
	}
	frozen := setting{
		"1.v": func(i int) float64 { return 0.5 + small(i)/2 },
		"2.v": func(i int) float64 { return 0.4 + small(i)/3 },
		"3.v": func(int) float64 { return 0.3 },
	}
	return []Case{
		{Name: "a network's step", Loose: 0.4, Runs: 3, Set: step, Build: func(g *graph.Graph) { residualStep(g, 4, 8, 2) }},
		{Name: "a network's step at an odd size", Loose: 0.4, Runs: 2, Set: step, Build: func(g *graph.Graph) {
			residualStep(g, 6, 11, 1)
		}},
		{Name: "bottlenecks", Loose: 0.4, Build: func(g *graph.Graph) { bottlenecks(g, 6, 2, false) }},
		{Name: "bottlenecks with Winograd's convolution", Loose: 0.4, Build: func(g *graph.Graph) {
			bottlenecks(g, 32, 1, false)
		}},
		{Name: "frozen bottlenecks", Loose: 0.1, Set: variances, Build: func(g *graph.Graph) { bottlenecks(g, 3, 1, true) }},
		{Name: "a frozen network", Loose: 0.05, Set: frozen,
			Build: func(g *graph.Graph) {
				layer := func(name string, x *graph.Node) *graph.Node {
					y := g.Conv(x, g.Variable(name+".w", f32, 16, 16, 3, 3), 1, 1)
					return frozenNormOf(g, y, name+".")
				}
				x := g.Input("x", f32, 3, 6, 7, 16)
				block := g.ReLU(g.Add(layer("1", x), x)) // the residual is an image
				last := g.ReLU(g.Add(layer("2", block), block))
				g.Output("block", g.AveragePool(block))
				g.Output("y", last)
				g.Output("plain", layer("3", last))
			}},
	}
}

// fusionCases stand close to what an engine runs as one pass over memory.
func fusionCases() []Case {
	return []Case{
		{Name: "a ReLU used twice", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 2, 3, 3, 5)
			y := g.ReLU(normOf(g, x, 1, ""))
			g.Output("sum", g.Add(y, y))
			g.Output("y", y)
			g.Output("dx", g.Gradients(g.Add(y, y), g.Input("dy", f32, 2, 3, 3, 5), []*graph.Node{x})[0])
		}},
		{Name: "a masked gradient that somebody else wants too", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 2, 3, 3, 5)
			gamma := g.Variable("g", f32, 5)
			r := g.ReLU(normOf(g, x, 1, ""))
			dy := g.Input("dy", f32, 2, 3, 3, 5)
			d := g.Gradients(r, dy, []*graph.Node{x, gamma})
			g.Output("dx", d[0])
			g.Output("dgamma", d[1])
			g.Output("masked", g.ReLUGrad(dy, r))
		}},
		{Name: "both summands normalised", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 2, 3, 3, 16)
			norm := func(name string) *graph.Node { return normOf(g, x, 1, name) }
			g.Output("y", g.ReLU(g.Add(norm("1"), norm("2"))))
			n := norm("3")
			g.Output("twice", g.ReLU(g.Add(n, n)))
		}},
		{Name: "a data gradient added in place to a value that lives on", Build: func(g *graph.Graph) {
			w := g.Variable("w", f32, 16, 16, 3, 3)
			dy, other := g.Input("dy", f32, 2, 4, 4, 16), g.Input("other", f32, 2, 4, 4, 16)
			a := graph.ConvAttr{Window: graph.Window{Kernel: 3, Stride: 1, Pad: 1}, Height: 4, Width: 4}
			sum := g.Add(other, g.ConvGradInput(dy, w, a))
			g.Output("sum", sum)
			g.Output("both", g.Add(sum, other))
		}},
		{Name: "a weight gradient behind a frozen batch norm", Build: func(g *graph.Graph) {
			x := g.Conv(g.Input("x", f32, 3, 4, 5, 16), g.Variable("first", f32, 32, 16, 1, 1), 1, 0)
			norm := graph.BatchNorm{X: x, Gamma: g.Variable("g", f32, 32), Beta: g.Variable("b", f32, 32), Epsilon: 1e-5}
			norm.Mean, norm.Variance = g.Variable("m", f32, 32), g.Variable("v", f32, 32)
			h := g.ReLU(g.Normalise(norm))
			w := g.Variable("w", f32, 20, 32, 3, 3)
			y := g.Conv(h, w, 2, 1)
			g.Output("pooled", g.AveragePool(h))
			g.Output("dw", g.Gradients(y, g.Input("dy", f32, y.Shape...), []*graph.Node{w})[0])
		}, Set: setting{"v": func(i int) float64 { return 0.5 + float64(i%5)/4 }}},
		{Name: "frozen statistics of two splits", Build: func(g *graph.Graph) {
			x := g.Conv(g.Input("x", f32, 4, 3, 3, 16), g.Variable("w", f32, 16, 16, 1, 1), 1, 0)
			norm := graph.BatchNorm{X: x, Gamma: g.Variable("g", f32, 16), Beta: g.Variable("b", f32, 16), Epsilon: 1e-5}
			norm.Mean, norm.Variance = g.Variable("m", f32, 2, 16), g.Variable("v", f32, 2, 16)
			g.Output("y", g.ReLU(g.Normalise(norm)))
		}, Set: setting{"v": func(i int) float64 { return 0.5 + float64(i%5)/4 }}},
		{Name: "a masked gradient with other statistics", Build: func(g *graph.Graph) {
			x, dy := g.Input("x", f32, 2, 3, 3, 16), g.Input("dy", f32, 2, 3, 3, 16)
			norm := graph.BatchNorm{X: x, Mean: g.BatchMean(x, 1), Variance: g.BatchVariance(x, 1), Epsilon: 1e-5}
			norm.Gamma, norm.Beta = g.Variable("g", f32, 16), g.Variable("b", f32, 16)
			d := g.ReLUGrad(dy, g.ReLU(g.Normalise(norm)))
			norm.Mean, norm.Variance = g.Input("m", f32, 1, 16), g.Input("v", f32, 1, 16)
			g.Output("sum", g.ChannelSum(d, 1))
			g.Output("dot", g.ChannelDot(d, norm))
		}, Set: setting{"v": func(i int) float64 { return 0.5 + float64(i%5)/4 }}},
		{Name: "running statistics", Runs: 3, Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 4, 3, 3, 5)
			mean := g.BatchMean(x, 2)
			r := g.Variable("mean", f32, 5)
			g.Assign(r, g.WeightedSum(graph.Term{Coefficient: 0.9, X: r}, graph.Term{Coefficient: 0.05, X: g.SplitSum(mean)}))
		}},
		{Name: "images summed, gathered and convolved", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 3, 4, 4, 3)
			y := g.GatherRows(x, g.Input("i", i32, 3))
			g.Output("sum", g.Add(x, y))
			g.Output("mean", g.BatchMean(y, 3))
			g.Output("conv", g.Conv(y, g.Variable("w", f32, 5, 3, 3, 3), 1, 1))
		}, Set: setting{"i": func(i int) float64 { return float64(2 - i) }}},
	}
}

// assignmentCases read values that lie where others are written.
func assignmentCases() []Case {
	cases := []Case{
		{Name: "two variables change places", Runs: 3, Build: func(g *graph.Graph) {
			a, b := g.Variable("a", f32, 7), g.Variable("b", f32, 7)
			g.Assign(a, b)
			g.Assign(b, a)
		}},
		{Name: "an old value read after its variable's new one is made", Runs: 2, Build: func(g *graph.Graph) {
			a := g.Variable("a", f32, 33)
			next := g.WeightedSum(graph.Term{Coefficient: 2, X: a})
			g.Assign(a, next)
			g.Output("both", g.Add(next, a))
			g.Output("next", next)
			g.Output("old", a)
		}},
		{Name: "one value assigned to two variables", Runs: 2, Build: func(g *graph.Graph) {
			a, b := g.Variable("a", f32, 2, 5), g.Variable("b", f32, 2, 5)
			next := g.Add(a, b)
			g.Assign(a, next)
			g.Assign(b, next)
		}},
		{Name: "an input that is an output and is assigned", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 3, 3)
			g.Output("x", x)
			g.Assign(g.Variable("v", f32, 3, 3), x)
			g.Output("again", g.Detach(x))
		}},
		{Name: "weights averaged before they are used", Runs: 2, Build: func(g *graph.Graph) {
			q, k := g.Variable("q", f32, 20, 3, 3, 3), g.Variable("k", f32, 20, 3, 3, 3)
			next := g.WeightedSum(graph.Term{Coefficient: 0.9, X: k}, graph.Term{Coefficient: 0.1, X: q})
			g.Assign(k, next)
			g.Output("y", g.Conv(g.Input("x", f32, 2, 5, 5, 3), next, 1, 1))
			g.Assign(q, g.WeightedSum(graph.Term{Coefficient: 0.5, X: q}))
		}},
	}
	for _, shape := range [][]int{{5}, {3, 17}, {2, 3, 5}} {
		eighths := func(i int) float64 { return float64(i*7%17-8) / 8 } // exact in bfloat16
		cases = append(cases, Case{
			Name: fmt.Sprintf("a variable of %v kept as bfloat16", tensor.Shape(shape)),
			Runs: 2,
			Set:  setting{"v": eighths, "x": eighths},
			Build: func(g *graph.Graph) {
				v, x := g.BFloat16Variable("v", shape...), g.Input("x", f32, shape...)
				g.Output("sum", g.WeightedSum(graph.Term{Coefficient: 0.5, X: v}, graph.Term{Coefficient: 2, X: x}))
				g.Output("v", v)
				g.Assign(v, x)
			},
		})
	}
	return cases
}
