package enginetest

import (
	"fmt"

	"moco/graph"
	"moco/tensor"
)

const f32, i32 = tensor.Float32, tensor.Int32

// unary makes a case of one float input.
func unary(name string, shape []int, build func(g *graph.Graph, x *graph.Node) *graph.Node) Case {
	return Case{Name: fmt.Sprintf("%s of %v", name, tensor.Shape(shape)), Build: func(g *graph.Graph) {
		g.Output("y", build(g, g.Input("x", f32, shape...)))
	}}
}

// kindCases has cases for every node kind, over shapes that fit no vector.
func kindCases() []Case {
	var cases []Case
	add := func(c Case) { cases = append(cases, c) }

	for _, s := range []struct{ n, h, w, c, o, k, stride, pad int }{
		{1, 1, 1, 1, 1, 1, 1, 0}, {2, 5, 7, 3, 5, 3, 1, 1}, {3, 8, 8, 16, 16, 3, 1, 1}, {2, 9, 9, 17, 33, 3, 2, 1},
		{1, 7, 5, 33, 64, 1, 1, 0}, {2, 6, 7, 64, 128, 1, 2, 0}, {1, 13, 11, 3, 64, 7, 2, 3}, {5, 4, 4, 32, 96, 3, 1, 1},
		{2, 3, 3, 5, 3, 3, 1, 3}, {1, 3, 9, 16, 20, 3, 2, 0}, {7, 2, 2, 48, 32, 3, 2, 1}, {40, 4, 4, 64, 64, 3, 1, 1}, {3, 17, 3, 4, 16, 5, 3, 2},
		{2, 5, 6, 128, 128, 3, 1, 1},
	} {
		name := fmt.Sprintf(" %dx%dx%dx%d to %d, kernel %d, stride %d, pad %d", s.n, s.h, s.w, s.c, s.o, s.k, s.stride, s.pad)
		for _, source := range []string{"variable", "input"} {
			weights := func(g *graph.Graph) *graph.Node {
				if source == "input" {
					return g.Input("w", f32, s.o, s.c, s.k, s.k)
				}
				return g.Variable("w", f32, s.o, s.c, s.k, s.k)
			}
			if source == "input" && s.n != 2 {
				continue
			}
			add(Case{Name: "Conv" + name + ", weights from " + source, Build: func(g *graph.Graph) {
				g.Output("y", g.Conv(g.Input("x", f32, s.n, s.h, s.w, s.c), weights(g), s.stride, s.pad))
			}})
			add(Case{Name: "ConvGrad" + name + ", weights from " + source, Build: func(g *graph.Graph) {
				x, w := g.Input("x", f32, s.n, s.h, s.w, s.c), weights(g)
				y := g.Conv(x, w, s.stride, s.pad)
				dy := g.Input("dy", f32, y.Shape...)
				for i, d := range g.Gradients(y, dy, []*graph.Node{x, w}) {
					g.Output([]string{"dx", "dw"}[i], d)
				}
			}})
		}
	}
	for _, s := range []struct{ n, h, w, c, splits int }{{2, 3, 5, 1, 1}, {4, 2, 2, 17, 2}, {8, 9, 9, 16, 4}, {3, 40, 30, 33, 1}, {4, 8, 8, 192, 1}} {
		name := fmt.Sprintf("batch norm of %dx%dx%dx%d in %d", s.n, s.h, s.w, s.c, s.splits)
		build := func(g *graph.Graph) {
			x := g.Input("x", f32, s.n, s.h, s.w, s.c)
			gamma, beta := g.Variable("gamma", f32, s.c), g.Variable("beta", f32, s.c)
			mean, variance := g.BatchMean(x, s.splits), g.BatchVariance(x, s.splits)
			y := g.Normalise(x, mean, variance, gamma, beta, 1e-5)
			g.Output("mean", mean)
			g.Output("variance", variance)
			g.Output("y", y)
			for i, d := range g.Gradients(y, g.Input("dy", f32, y.Shape...), []*graph.Node{x, gamma, beta}) {
				g.Output([]string{"dx", "dgamma", "dbeta"}[i], d)
			}
		}
		add(Case{Name: name, Build: build})
		add(Case{Name: name + ", far from zero", Build: build, Set: map[string]func(int) float64{"x": func(i int) float64 { return 200 + float64(i*7919%101)/50 }}})
		add(Case{Name: "evaluation of " + name, Build: func(g *graph.Graph) {
			x := g.Input("x", f32, s.n, s.h, s.w, s.c)
			g.Output("y", g.ReLU(g.Normalise(x, g.Variable("mean", f32, s.c), g.Variable("variance", f32, s.c), g.Variable("gamma", f32, s.c), g.Variable("beta", f32, s.c), 1e-5)))
		}, Set: map[string]func(int) float64{"variance": func(i int) float64 { return 0.5 + float64(i%7) }}})
		add(unary("lone BatchVariance", []int{s.n, s.h, s.w, s.c}, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.BatchVariance(x, s.splits) }))
		add(unary("lone ChannelSum", []int{s.n, s.h, s.w, s.c}, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.SplitSum(g.ChannelSum(x, s.splits))
		}))
	}
	for _, shape := range [][]int{{1}, {3, 5}, {2, 3, 3, 17}, {5, 64}, {2, 2, 2, 3}, {700, 100}} {
		add(unary("ReLU", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.ReLU(x) }))
		add(unary("ReLUGrad", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
			return g.ReLUGrad(g.Input("dy", f32, shape...), g.ReLU(x))
		}))
		add(unary("WeightedSum", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
			s := g.Input("s", f32)
			y, z := g.Variable("y", f32, shape...), g.Input("z", f32, shape...)
			if len(shape) == 4 {
				y = z
			}
			return g.WeightedSum(graph.Term{Coefficient: 0.5, X: x}, graph.Term{Coefficient: -2, Scalar: s, X: y}, graph.Term{Coefficient: 3, X: z})
		}))
		add(unary("Detach", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Detach(x) }))
	}
	for _, s := range []struct{ n, h, w, c, k, stride, pad int }{{2, 9, 9, 3, 3, 2, 1}, {1, 8, 6, 17, 3, 2, 1}, {3, 4, 4, 16, 2, 2, 0}, {1, 1, 1, 5, 3, 1, 1}, {2, 7, 5, 64, 3, 1, 0}} {
		for _, ties := range []bool{false, true} {
			c := Case{Name: fmt.Sprintf("MaxPool of %dx%dx%dx%d by %d, stride %d, pad %d, ties %v", s.n, s.h, s.w, s.c, s.k, s.stride, s.pad, ties), Build: func(g *graph.Graph) {
				x := g.Input("x", f32, s.n, s.h, s.w, s.c)
				y := g.MaxPool(x, s.k, s.stride, s.pad)
				g.Output("y", y)
				g.Output("dx", g.Gradients(y, g.Input("dy", f32, y.Shape...), []*graph.Node{x})[0])
			}}
			if ties {
				c.Set = map[string]func(int) float64{"x": func(i int) float64 { return float64(i / 5 % 3) }}
			}
			add(c)
		}
		add(unary("AveragePool", []int{s.n, s.h, s.w, s.c}, func(g *graph.Graph, x *graph.Node) *graph.Node {
			y := g.AveragePool(x)
			g.Output("dx", g.Gradients(y, g.Input("dy", f32, y.Shape...), []*graph.Node{x})[0])
			return y
		}))
	}
	for _, s := range [][3]int{{1, 1, 1}, {3, 5, 7}, {17, 33, 64}, {8, 128, 20}, {65, 16, 48}, {5, 300, 128}} {
		for _, ta := range []bool{false, true} {
			for _, tb := range []bool{false, true} {
				add(Case{Name: fmt.Sprintf("MatMul %v, transposed %v %v", s, ta, tb), Build: func(g *graph.Graph) {
					a, b := g.Input("a", f32, s[0], s[1]), g.Variable("b", f32, s[1], s[2])
					if ta {
						a = g.Input("at", f32, s[1], s[0])
					}
					if tb {
						b = g.Variable("bt", f32, s[2], s[1])
					}
					y := g.MatMul(a, b, ta, tb)
					g.Output("y", y)
					for i, d := range g.Gradients(y, g.Input("dy", f32, y.Shape...), []*graph.Node{a, b}) {
						g.Output([]string{"da", "db"}[i], d)
					}
				}})
			}
		}
	}
	for _, shape := range [][]int{{1, 2}, {3, 5}, {17, 128}, {40, 33}} {
		n, c := shape[0], shape[1]
		add(unary("BiasAdd", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
			b := g.Variable("b", f32, c)
			y := g.BiasAdd(x, b)
			g.Output("db", g.Gradients(y, g.Input("dy", f32, shape...), []*graph.Node{b})[0])
			return y
		}))
		add(unary("L2Normalise", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
			y := g.L2Normalise(x)
			g.Output("dx", g.Gradients(y, g.Input("dy", f32, shape...), []*graph.Node{x})[0])
			return y
		}))
		add(unary("RowDot", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
			b := g.Input("b", f32, shape...)
			y := g.RowDot(x, b)
			for i, d := range g.Gradients(y, g.Input("dy", f32, n), []*graph.Node{x, b}) {
				g.Output([]string{"da", "db"}[i], d)
			}
			return y
		}))
		add(unary("RowSum", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.RowSum(x) }))
		add(unary("ScaleRows", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.ScaleRows(x, g.Input("s", f32, n)) }))
	}
	zero := unary("L2Normalise of zeros", []int{2, 5}, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.L2Normalise(x) })
	zero.Set = map[string]func(int) float64{"x": func(int) float64 { return 0 }}
	add(zero)
	for _, s := range []struct {
		n, k        int
		masked      bool
		temperature float64
	}{{1, 1, false, 1}, {3, 20, false, 0.07}, {8, 33, true, 0.2}, {5, 128, true, 0.01}, {16, 300, false, 0.1}} {
		c := Case{Name: fmt.Sprintf("InfoNCE %dx%d, masked %v, t %v", s.n, s.k, s.masked, s.temperature), Build: func(g *graph.Graph) {
			k := graph.Contrast{Positive: g.Input("p", f32, s.n), Negatives: g.Input("n", f32, s.n, s.k), Temperature: s.temperature}
			if s.masked {
				k.QueryIDs, k.KeyIDs = g.Input("own", i32, s.n), g.Input("ids", i32, s.k)
			}
			loss := g.InfoNCE(k)
			g.Output("loss", loss)
			g.Output("accuracy", g.ContrastAccuracy(k))
			for i, d := range g.Gradients(loss, g.Input("dy", f32), []*graph.Node{k.Positive, k.Negatives}) {
				g.Output([]string{"dp", "dn"}[i], d)
			}
		}, Set: map[string]func(int) float64{"ids": func(i int) float64 { return float64(i % 3) }}}
		add(c)
		if s.masked { // nothing is left to be told apart from
			c.Name += ", all negatives masked"
			c.Set = map[string]func(int) float64{"ids": func(int) float64 { return 1 }, "own": func(int) float64 { return 1 }}
			add(c)
		}
	}
	for _, shape := range [][]int{{5, 3}, {4, 2, 3, 17}, {6, 2, 2, 3}} {
		c := unary("GatherRows", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.GatherRows(x, g.Input("index", i32, 4)) })
		c.Set = map[string]func(int) float64{"index": func(i int) float64 { return float64((i*3 + 1) % 4) }}
		add(c)
	}
	for _, s := range []struct{ k, n, at int }{{8, 3, 0}, {8, 3, 6}, {5, 5, 2}, {3, 8, 1}, {20, 1, 19}} {
		add(Case{Name: fmt.Sprintf("WriteRows of %d into %d from %d", s.n, s.k, s.at), Runs: 3, Build: func(g *graph.Graph) {
			queue, ids, at := g.Variable("queue", f32, s.k, 5), g.Variable("ids", i32, s.k), g.Variable("at", i32, 1)
			g.Assign(queue, g.WriteRows(queue, g.Input("rows", f32, s.n, 5), at))
			g.Assign(ids, g.WriteRows(ids, g.Input("row_ids", i32, s.n), at))
			next := g.Advance(at, s.n, s.k)
			g.Assign(at, next)
			g.Output("next", next)
			g.Output("old", queue)
		}, Set: map[string]func(int) float64{"at": func(int) float64 { return float64(s.at) }}})
	}
	for _, shape := range [][]int{{7, 5}, {9, 20}, {6, 3, 2, 17}, {6, 2, 2, 3}} {
		add(unary("Rows", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Rows(x, 2, 4) }))
		if len(shape) == 2 {
			add(unary("RowsGrad", shape, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.RowsGrad(x, 3, shape[0]+5) }))
			add(unary("Concat", shape, func(g *graph.Graph, x *graph.Node) *graph.Node {
				return g.Concat(x, g.Input("below", f32, 3, shape[1]))
			}))
		}
	}
	add(Case{Name: "Concat of ids", Build: func(g *graph.Graph) {
		g.Output("y", g.Concat(g.Input("a", i32, 5), g.Input("b", i32, 18)))
	}})
	for _, s := range []struct {
		n, draws, bank, dim int
		half                bool
	}{{1, 1, 1, 1, false}, {3, 5, 7, 19, false}, {8, 40, 33, 128, false}, {5, 9, 11, 16, true}, {4, 30, 12, 70, true}} {
		eighths := func(i int) float64 { return float64(i*7%17-8) / 8 } // exact in bfloat16
		index := func(i int) float64 { return float64(i * 5 % s.bank) }
		add(Case{Name: fmt.Sprintf("bank of %dx%d, half %v, %d draws for %d", s.bank, s.dim, s.half, s.draws, s.n), Runs: 2, Build: func(g *graph.Graph) {
			variable := func(name string) *graph.Node {
				if s.half {
					return g.HalfVariable(name, s.bank, s.dim)
				}
				return g.Variable(name, f32, s.bank, s.dim)
			}
			bank, index, own := variable("bank"), g.Input("index", i32, s.n*s.draws), g.Input("own", i32, s.n)
			x := g.Input("x", f32, s.n, s.dim)
			g.Output("dot", g.GatherDot(x, bank, index))
			g.Output("dx", g.GatherDotGrad(g.Input("dy", f32, s.n, s.draws), bank, index))
			g.Output("rows", g.GatherRows(bank, own))
			g.Output("product", g.MatMul(x, bank, false, true))
			g.Assign(bank, g.ReplaceRows(bank, g.Input("new", f32, s.n, s.dim), own))
			g.Assign(variable("copy"), bank)
		}, Set: map[string]func(int) float64{"index": index, "own": index, "bank": eighths, "new": eighths, "copy": eighths}})
	}
	for _, s := range []struct{ n, c int }{{1, 2}, {5, 10}, {8, 33}, {3, 1000}} {
		add(Case{Name: fmt.Sprintf("CrossEntropy %dx%d", s.n, s.c), Build: func(g *graph.Graph) {
			logits, labels := g.Input("logits", f32, s.n, s.c), g.Input("labels", i32, s.n)
			loss := g.CrossEntropy(logits, labels)
			g.Output("loss", loss)
			g.Output("accuracy", g.LabelAccuracy(logits, labels))
			g.Output("dlogits", g.Gradients(loss, g.Input("dy", f32), []*graph.Node{logits})[0])
		}, Set: map[string]func(int) float64{"labels": func(i int) float64 { return float64(i * 3 % s.c) }}})
	}
	for _, s := range []struct {
		n, draws    int
		temperature float64
		z           float64
	}{{1, 1, 0.5, 0}, {3, 20, 0.07, 0}, {8, 33, 0.2, 7}, {4, 300, 0.1, 900}} {
		for _, keep := range []float64{1, 0.9} {
			add(Case{Name: fmt.Sprintf("NCE %dx%d, t %v, Z %v kept %v", s.n, s.draws, s.temperature, s.z, keep), Runs: 2, Build: func(g *graph.Graph) {
				z := g.Variable("z", f32, 1)
				e := graph.Estimate{Similarities: g.Input("s", f32, s.n, 1+s.draws), Z: z, Temperature: s.temperature, Population: 50}
				e.Z = g.Partition(e, keep)
				g.Assign(z, e.Z)
				loss := g.NCE(e)
				g.Output("loss", loss)
				g.Output("ds", g.Gradients(loss, g.Input("dy", f32), []*graph.Node{e.Similarities})[0])
			}, Set: map[string]func(int) float64{"z": func(int) float64 { return s.z }}})
		}
	}
	for _, shape := range [][]int{{1}, {40}, {7, 19}, {200, 130}, {5, 3, 3, 3}} {
		add(Case{Name: fmt.Sprintf("TrustRatio %v", shape), Build: func(g *graph.Graph) {
			w := g.Variable("w", f32, shape...)
			g.Output("ratio", g.TrustRatio(w, g.Input("g", f32, shape...), 0.001, 1e-4))
			g.Output("zero", g.TrustRatio(w, g.Input("none", f32, shape...), 0.001, 1e-4))
		}, Set: map[string]func(int) float64{"none": func(int) float64 { return 0 }}})
	}
	return cases
}

// residualStep is a small network's whole step: stem, a residual block with a projection, pooling, a head, InfoNCE against a queue, the
// gradient, SGD with momentum, running statistics, a momentum encoder's first layer, and the queue's update.
func residualStep(g *graph.Graph, batch, size, splits int) {
	const e = 1e-5
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
		return g.Normalise(x, mean, variance, parameter(name+".weight", c), parameter(name+".bias", c), e)
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
		hidden := g.ReLU(g.BiasAdd(g.MatMul(g.AveragePool(last), parameter("fc0", 20, 20), false, true), parameter("fc0.bias", 20)))
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
		next := g.WeightedSum(graph.Term{Coefficient: 0.9, X: v}, graph.Term{Coefficient: 1, X: d}, graph.Term{Coefficient: 5e-4, X: p})
		g.Assign(v, next)
		g.Assign(p, g.WeightedSum(graph.Term{Coefficient: 1, X: p}, graph.Term{Coefficient: -1, Scalar: lr, X: next}))
		if p.Name == "conv2" || p.Name == "bn3.weight" {
			g.Output("gradient of "+p.Name, d)
		}
	}
	g.Assign(queue, g.WriteRows(queue, k, at))
	g.Assign(at, g.Advance(at, batch, 13))
}

// bottlenecks is the gradient of two bottleneck blocks, in which 1x1 convolutions stand between a 3x3 convolution, batch norms and a shortcut; frozen, it is their value with
// running statistics.
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
		return g.Normalise(x, mean, variance, parameter(name+".weight", c), parameter(name+".bias", c), 1e-5)
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

// composedCases has the patterns on which an engine's fusion, reuse of memory and order of assignments could go wrong.
func composedCases() []Case {
	small := func(i int) float64 { return float64(i*31%17-8) / 20 }
	step := map[string]func(int) float64{"lr": func(int) float64 { return 0.05 }, "at": func(int) float64 { return 11 },
		"shuffle": func(i int) float64 { return float64(i ^ 1) }, "bn3.weight": func(i int) float64 { return 1 + small(i) }}
	zeros := func(int) float64 { return 0 }
	for _, p := range []string{"conv1", "bn1.weight", "bn1.bias"} {
		step["sgd."+p] = zeros
	}
	variances := map[string]func(int) float64{}
	for _, name := range []string{"bn0", "a.bn1", "a.bn2", "a.bn3", "b.bn1", "b.bn2", "b.bn3"} {
		variances[name+".variance"] = func(i int) float64 { return 0.5 + small(i) }
	}
	return []Case{
		{Name: "a network's step", Loose: 0.4, Runs: 3, Set: step, Build: func(g *graph.Graph) { residualStep(g, 4, 8, 2) }},
		{Name: "a network's step at an odd size", Loose: 0.4, Runs: 2, Set: step, Build: func(g *graph.Graph) { residualStep(g, 6, 11, 1) }},
		{Name: "bottlenecks", Loose: 0.4, Build: func(g *graph.Graph) { bottlenecks(g, 6, 2, false) }},
		{Name: "bottlenecks with Winograd's convolution", Loose: 0.4, Build: func(g *graph.Graph) { bottlenecks(g, 32, 1, false) }},
		{Name: "frozen bottlenecks", Loose: 0.1, Set: variances, Build: func(g *graph.Graph) { bottlenecks(g, 3, 1, true) }},
		{Name: "a ReLU used twice", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 2, 3, 3, 5)
			y := g.ReLU(g.Normalise(x, g.BatchMean(x, 1), g.BatchVariance(x, 1), g.Variable("g", f32, 5), g.Variable("b", f32, 5), 1e-5))
			g.Output("sum", g.Add(y, y))
			g.Output("y", y)
			g.Output("dx", g.Gradients(g.Add(y, y), g.Input("dy", f32, 2, 3, 3, 5), []*graph.Node{x})[0])
		}},
		{Name: "a frozen network", Loose: 0.05, Set: map[string]func(int) float64{"1.v": func(i int) float64 { return 0.5 + small(i)/2 }, "2.v": func(i int) float64 { return 0.4 + small(i)/3 }, "3.v": func(int) float64 { return 0.3 }},
			Build: func(g *graph.Graph) {
				layer := func(name string, x *graph.Node) *graph.Node {
					y := g.Conv(x, g.Variable(name+".w", f32, 16, 16, 3, 3), 1, 1)
					return g.Normalise(y, g.Variable(name+".m", f32, 16), g.Variable(name+".v", f32, 16), g.Variable(name+".g", f32, 16), g.Variable(name+".b", f32, 16), 1e-5)
				}
				x := g.Input("x", f32, 3, 6, 7, 16)
				block := g.ReLU(g.Add(layer("1", x), x)) // the residual is an image
				last := g.ReLU(g.Add(layer("2", block), block))
				g.Output("block", g.AveragePool(block))
				g.Output("y", last)
				g.Output("plain", layer("3", last))
			}},
		{Name: "a masked gradient that somebody else wants too", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 2, 3, 3, 5)
			gamma := g.Variable("g", f32, 5)
			r := g.ReLU(g.Normalise(x, g.BatchMean(x, 1), g.BatchVariance(x, 1), gamma, g.Variable("b", f32, 5), 1e-5))
			dy := g.Input("dy", f32, 2, 3, 3, 5)
			d := g.Gradients(r, dy, []*graph.Node{x, gamma})
			g.Output("dx", d[0])
			g.Output("dgamma", d[1])
			g.Output("masked", g.ReLUGrad(dy, r))
		}},
		{Name: "both summands normalised", Build: func(g *graph.Graph) {
			x := g.Input("x", f32, 2, 3, 3, 16)
			norm := func(name string) *graph.Node {
				return g.Normalise(x, g.BatchMean(x, 1), g.BatchVariance(x, 1), g.Variable(name+"g", f32, 16), g.Variable(name+"b", f32, 16), 1e-5)
			}
			g.Output("y", g.ReLU(g.Add(norm("1"), norm("2"))))
			n := norm("3")
			g.Output("twice", g.ReLU(g.Add(n, n)))
		}},
		{Name: "a data gradient added in place to a value that lives on", Build: func(g *graph.Graph) {
			w := g.Variable("w", f32, 16, 16, 3, 3)
			dy, other := g.Input("dy", f32, 2, 4, 4, 16), g.Input("other", f32, 2, 4, 4, 16)
			sum := g.Add(other, g.ConvGradInput(dy, w, 1, 1, 4, 4))
			g.Output("sum", sum)
			g.Output("both", g.Add(sum, other))
		}},
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
		}, Set: map[string]func(int) float64{"i": func(i int) float64 { return float64(2 - i) }}},
	}
}
