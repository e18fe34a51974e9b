package classify

import (
	"context"
	"errors"
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
// then hardly depend on the weights, and the fit takes fewer steps. They are there as rows, of
// which logits are made, and transposed, of which gradients are made, so that no product has to
// turn them first. So features are held three times while a classifier is fitted.
//
// Weights are [classes,dim] and then the intercepts [classes], in one vector.
type objective struct {
	engine   engine.Engine
	state    engine.State
	programs []engine.Program // of the chunks
	n        int              // rows
	dim      int
	classes  int
	padded   int // classes on the engine
	weight   *tensor.Tensor
	bias     *tensor.Tensor
}

// Classes are filled up to whole blocks with some that never occur, because the engine takes
// exponentials of whole blocks much faster than single ones. Their intercepts are never.
const (
	classBlock = 32
	never      = -1e4
)

// newObjective puts rows on the engine. close frees them.
func newObjective(e engine.Engine, r *rows, mean []float32) (_ *objective, err error) {
	padded := (len(r.classes) + classBlock - 1) / classBlock * classBlock
	o := &objective{engine: e, state: e.NewState(), n: r.len(), dim: r.dim, classes: len(r.classes), padded: padded,
		weight: tensor.New(tensor.Float32, padded, r.dim), bias: tensor.New(tensor.Float32, padded)}
	for k := o.classes; k < padded; k++ {
		o.bias.Float32s()[k] = never
	}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	for lo := 0; lo < r.len(); lo += chunkRows {
		if err := o.add(r, lo, min(lo+chunkRows, r.len()), mean); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// logitsOf declares the classifier and applies it to features.
func (o *objective) logitsOf(g *graph.Graph, x *graph.Node) *graph.Node {
	weight := g.Variable("weight", tensor.Float32, o.padded, o.dim)
	return g.BiasAdd(g.MatMul(x, weight, false, true), g.Variable("bias", tensor.Float32, o.padded))
}

// add makes the program of the rows from lo up to hi.
func (o *objective) add(r *rows, lo, hi int, mean []float32) error {
	n, number := hi-lo, len(o.programs)
	features, turned, labels := fmt.Sprint("features", number), fmt.Sprint("turned", number), fmt.Sprint("labels", number)
	g := graph.New()
	logits := o.logitsOf(g, g.Variable(features, tensor.Float32, n, o.dim))
	// The loss itself is not computed: the fit looks at gradients only.
	rest := g.CrossEntropyGrad(g.Fill(float64(n)), logits, g.Variable(labels, tensor.Int32, n))
	g.Output("weight gradient", g.MatMul(g.Variable(turned, tensor.Float32, o.dim, n), rest, false, false))
	g.Output("bias gradient", g.SplitSum(g.ChannelSum(rest, 1)))
	p, err := o.engine.Compile(g, o.state)
	if err != nil {
		return err
	}
	o.programs = append(o.programs, p)
	x := r.centred(lo, hi, mean)
	places := tensor.New(tensor.Int32, n)
	for i, l := range r.labels[lo:hi] {
		places.Int32s()[i] = int32(l)
	}
	return errors.Join(o.state.Write(features, x), o.state.Write(turned, transposed(x)), o.state.Write(labels, places))
}

// close frees the programs.
func (o *objective) close() {
	for _, p := range o.programs {
		p.Close()
	}
}

// load writes weights to the engine.
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

// gradient adds to out factor times the gradient of the sum of the losses. Chunks are added in
// their order, in float64.
func (o *objective) gradient(ctx context.Context, w []float64, factor float64, out []float64) error {
	if err := o.load(w); err != nil {
		return err
	}
	weights := o.classes * o.dim
	for _, p := range o.programs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.Run(); err != nil {
			return err
		}
		byFeature := p.Output("weight gradient").Float32s() // [dim,padded]
		for k := range o.classes {
			of := out[k*o.dim : (k+1)*o.dim]
			for j := range of {
				of[j] += factor * float64(byFeature[j*o.padded+k])
			}
		}
		for k, v := range p.Output("bias gradient").Float32s()[:o.classes] {
			out[weights+k] += factor * float64(v)
		}
	}
	return nil
}

// logits makes a program of other rows' logits [n,padded], with the weights that were loaded last.
func (o *objective) logits(r *rows, mean []float32) (engine.Program, error) {
	g := graph.New()
	g.Output("logits", o.logitsOf(g, g.Variable("held out", tensor.Float32, r.len(), o.dim)))
	p, err := o.engine.Compile(g, o.state)
	if err != nil {
		return nil, err
	}
	return p, o.state.Write("held out", r.centred(0, r.len(), mean))
}

// minimise fits the weights, from where they are: to C times the losses plus half the squared
// weights, until less than tolerance of the mean loss is left to gain.
func (o *objective) minimise(ctx context.Context, w []float64, c, tolerance float64, shape *curvature) error {
	// How much the loss of a logit bends: p(1-p), taken for probabilities that are all the same.
	bend := c * float64(o.n) / float64(o.classes) * (1 - 1/float64(o.classes))
	p := &penalised{objective: o, c: c, bend: bend, inverse: shape.invert(bend)}
	return minimise(ctx, p, w, tolerance*c*float64(o.n), iterations)
}

// penalised is C times the losses, plus half the squared weights.
type penalised struct {
	*objective
	c       float64
	bend    float64  // the second derivative by an intercept, roughly
	inverse *inverse // that of the second derivatives by the weights of a class, roughly
}

func (p *penalised) gradient(ctx context.Context, w, out []float64) error {

	weights := p.classes * p.dim
	copy(out, w[:weights]) // of the penalty
	clear(out[weights:])
	return p.objective.gradient(ctx, w, p.c, out)
}

func (p *penalised) precondition(g, out []float64) {
	weights := p.classes * p.dim
	for lo := 0; lo < weights; lo += p.dim {
		p.inverse.apply(g[lo:lo+p.dim], out[lo:lo+p.dim])
	}
	for i, v := range g[weights:] {
		out[weights+i] = v / p.bend
	}
}
