package classify

import (
	"context"
	"fmt"

	"moco/engine"
	"moco/graph"
	"moco/tensor"
)

// chunkRows is how many rows of features one program takes: few enough that they stay in the
// processor's cache between the product that makes logits and the one that makes the gradient.
const chunkRows = 4096

// objective is the sum of the losses of some rows, and what it takes to compute its gradient on the
// engine. The features are variables of the engine, a chunk each, less their mean: the intercepts
// then hardly depend on the weights, and the fit takes fewer steps. So features are held twice
// while a classifier is fitted.
type objective struct {
	state    engine.State
	programs []engine.Program
	sizes    []int // rows of each program
	n        int
	dim      int
	classes  int
	weight   *tensor.Tensor
	bias     *tensor.Tensor
}

// newObjective puts rows on the engine. close frees them.
func newObjective(e engine.Engine, r *rows, mean []float32) (_ *objective, err error) {
	o := &objective{state: e.NewState(), n: r.len(), dim: r.dim, classes: len(r.classes),
		weight: tensor.New(tensor.Float32, len(r.classes), r.dim), bias: tensor.New(tensor.Float32, len(r.classes))}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	for lo := 0; lo < r.len(); lo += chunkRows {
		if err := o.add(e, r, lo, min(lo+chunkRows, r.len()), mean); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// add makes the program of the rows from lo up to hi.
func (o *objective) add(e engine.Engine, r *rows, lo, hi int, mean []float32) error {
	n, number := hi-lo, len(o.programs)
	features, labels := fmt.Sprint("features", number), fmt.Sprint("labels", number)
	g := graph.New()
	x, y := g.Variable(features, tensor.Float32, n, o.dim), g.Variable(labels, tensor.Int32, n)
	weight, bias := g.Variable("weight", tensor.Float32, o.classes, o.dim), g.Variable("bias", tensor.Float32, o.classes)
	loss := g.CrossEntropy(g.BiasAdd(g.MatMul(x, weight, false, true), bias), y)
	// The loss itself is no output: the fit looks at gradients only.
	gradients := g.Gradients(loss, g.Fill(float64(n)), []*graph.Node{weight, bias})
	g.Output("weight gradient", gradients[0])
	g.Output("bias gradient", gradients[1])
	p, err := e.Compile(g, o.state)
	if err != nil {
		return err
	}
	o.programs, o.sizes = append(o.programs, p), append(o.sizes, n)
	chunk := &rows{x: r.x[lo*o.dim : hi*o.dim], labels: r.labels[lo:hi], dim: o.dim}
	if err := o.state.Write(features, chunk.centred(mean)); err != nil {
		return err
	}
	places := tensor.New(tensor.Int32, n)
	for i, l := range chunk.labels {
		places.Int32s()[i] = int32(l)
	}
	return o.state.Write(labels, places)
}

// close frees the programs.
func (o *objective) close() {
	for _, p := range o.programs {
		p.Close()
	}
}

// gradient adds to out, [classes,dim] weights and then [classes] intercepts, factor times the
// gradient of the sum of the losses at w, which has the same form. Chunks are added in their order,
// in float64.
func (o *objective) gradient(ctx context.Context, w []float64, factor float64, out []float64) error {
	weights := o.classes * o.dim
	if err := o.load(w); err != nil {
		return err
	}
	for _, p := range o.programs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.Run(); err != nil {
			return err
		}
		for i, v := range p.Output("weight gradient").Float32s() {
			out[i] += factor * float64(v)
		}
		for i, v := range p.Output("bias gradient").Float32s() {
			out[weights+i] += factor * float64(v)
		}
	}
	return nil
}

// load writes weights and intercepts to the engine.
func (o *objective) load(w []float64) error {
	weights := o.classes * o.dim
	for i, v := range w[:weights] {
		o.weight.Float32s()[i] = float32(v)
	}
	for i, v := range w[weights:] {
		o.bias.Float32s()[i] = float32(v)
	}
	if err := o.state.Write("weight", o.weight); err != nil {
		return err
	}
	return o.state.Write("bias", o.bias)
}

// logits makes a program of other rows' logits, with the weights of the fit.
func (o *objective) logits(e engine.Engine, r *rows, mean []float32) (engine.Program, error) {
	g := graph.New()
	x := g.Variable("held out", tensor.Float32, r.len(), o.dim)
	weight, bias := g.Variable("weight", tensor.Float32, o.classes, o.dim), g.Variable("bias", tensor.Float32, o.classes)
	g.Output("logits", g.BiasAdd(g.MatMul(x, weight, false, true), bias))
	p, err := e.Compile(g, o.state)
	if err != nil {
		return nil, err
	}
	return p, o.state.Write("held out", r.centred(mean))
}

// minimise fits the weights, from where they are.
func (o *objective) minimise(ctx context.Context, w []float64, c, tolerance float64) error {
	p := &penalised{objective: o, c: c}
	p.curvature = c * float64(o.n) / float64(o.classes) * (1 - 1/float64(o.classes))
	_, err := minimise(ctx, p, w, tolerance*c*float64(o.n), iterations)
	return err
}

// penalised is C times the losses, plus half the squared weights.
type penalised struct {
	*objective
	c         float64
	curvature float64 // of an intercept, roughly
}

func (p *penalised) gradient(ctx context.Context, w, out []float64) error {
	weights := p.classes * p.dim
	copy(out, w[:weights]) // of the penalty
	clear(out[weights:])
	return p.objective.gradient(ctx, w, p.c, out)
}

func (p *penalised) precondition(g, out []float64) {
	weights := p.classes * p.dim
	copy(out, g[:weights])
	for i, v := range g[weights:] {
		out[weights+i] = v / p.curvature
	}
}
