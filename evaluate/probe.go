package evaluate

import (
	"context"
	"fmt"
	"math"
	"slices"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/optim"
	"moco/tensor"
)

// probe is compiled classifiers, one for each rate.
type probe struct {
	l       Linear
	state   engine.State
	step    engine.Program
	predict engine.Program
	dim     int
	classes int
	batch   int
	scale   float32 // factor for features of length one
	filled  int     // rows of the next step's batch that are filled
}

// The variables and the output of one rate's classifier.
func weightName(rate int) string { return fmt.Sprint("weight", rate) }
func biasName(rate int) string   { return fmt.Sprint("bias", rate) }
func logitsName(rate int) string { return fmt.Sprint("logits", rate) }

// logits declares the classifier of one rate and applies it.
func (p *probe) logits(g *graph.Graph, x *graph.Node, rate int) (logits, weights, bias *graph.Node) {
	weights = g.Variable(weightName(rate), tensor.Float32, p.classes, p.dim)
	bias = g.Variable(biasName(rate), tensor.Float32, p.classes)
	return g.BiasAdd(g.MatMul(x, weights, false, true), bias), weights, bias
}

func (l Linear) probe(e engine.Engine, dim, classes, images int) (_ *probe, err error) {
	p := &probe{l: l, state: e.NewState(), dim: dim, classes: classes, batch: min(l.Batch, images),
		scale: float32(math.Sqrt(float64(dim)))}
	defer func() {
		if err != nil {
			p.close()
			err = fmt.Errorf("linear classifier: %w", err)
		}
	}()
	if p.step, err = e.Compile(p.training(), p.state); err != nil {
		return nil, err
	}
	if p.predict, err = e.Compile(p.prediction(), p.state); err != nil {
		return nil, err
	}
	return p, p.start()
}

// training is a step of all rates side by side, each with its own gradient.
func (p *probe) training() *graph.Graph {
	g := graph.New()
	x, labels := g.Input("x", tensor.Float32, p.batch, p.dim), g.Input("labels", tensor.Int32, p.batch)
	lr := g.Input("lr", tensor.Float32)
	sgd := optim.SGD{Momentum: 0.9}
	for i, rate := range p.l.Rates {
		logits, weights, bias := p.logits(g, x, i)
		own := g.WeightedSum(graph.Term{Coefficient: rate, X: lr})
		for j, d := range g.Gradients(g.CrossEntropy(logits, labels), g.Fill(1), []*graph.Node{weights, bias}) {
			v := []*graph.Node{weights, bias}[j]
			sgd.Update(g, optim.Update{Name: v.Name, Parameter: v, Gradient: d, Rate: own})
		}
	}
	return g
}

// prediction is the logits of all rates.
func (p *probe) prediction() *graph.Graph {
	g := graph.New()
	x := g.Input("x", tensor.Float32, p.batch, p.dim)
	for i := range p.l.Rates {
		logits, _, _ := p.logits(g, x, i)
		g.Output(logitsName(i), logits)
	}
	return g
}

func (p *probe) close() {
	for _, program := range []engine.Program{p.step, p.predict} {
		if program != nil {
			program.Close()
		}
	}
}

// start writes the initial values: zero, momenta too, except for small random weights, as in the
// authors' code. All rates start from the same weights.
func (p *probe) start() error {
	for _, variable := range p.state.Names() {
		t, err := p.state.Read(variable)
		if err != nil {
			return err
		}
		clear(t.Float32s())
		if err := p.state.Write(variable, t); err != nil {
			return err
		}
	}
	random, w := rng.New(p.l.Seed, linearStream), tensor.New(tensor.Float32, p.classes, p.dim)
	for j := range w.Float32s() {
		w.Float32s()[j] = float32(0.01 * random.Normal())
	}
	for i := range p.l.Rates {
		if err := p.state.Write(weightName(i), w); err != nil {
			return err
		}
	}
	return nil
}

// fill puts features into a row of an input.
func (p *probe) fill(x []float32, row int, features []float32) {
	for c, v := range features {
		x[row*p.dim+c] = v * p.scale
	}
}

// begin begins an epoch and drops rows of the last one that did not fill a batch. All rates are
// multiplied by rate.
func (p *probe) begin(rate float32) {
	p.filled = 0
	p.step.Input("lr").Float32s()[0] = rate
}

// learn adds an image to the batch, and takes a step when the batch is full.
func (p *probe) learn(features []float32, label int) error {
	p.fill(p.step.Input("x").Float32s(), p.filled, features)
	p.step.Input("labels").Int32s()[p.filled] = int32(label)
	if p.filled++; p.filled < p.batch {
		return nil
	}
	p.filled = 0
	return p.step.Run()
}

// accuracy is, for each rate's classifier, the share of images (all if nil) that it gets right, in
// percent. top5, if not nil, gets the share of images whose label is among the five largest logits.
func (p *probe) accuracy(ctx context.Context, set *Embedded, labels, images []int, top5 []float64) ([]float64, error) {
	if images == nil {
		images = make([]int, set.Len())
		for i := range images {
			images[i] = i
		}
	}
	right := make([]float64, len(p.l.Rates))
	x := p.predict.Input("x").Float32s()
	for batch := range slices.Chunk(images, p.batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for row, i := range batch {
			p.fill(x, row, set.Features[i*p.dim:(i+1)*p.dim])
		}
		if err := p.predict.Run(); err != nil {
			return nil, err
		}
		for rate := range p.l.Rates {
			logits := p.predict.Output(logitsName(rate)).Float32s()
			for row, i := range batch {
				switch above := rank(logits[row*p.classes:(row+1)*p.classes], labels[i]); {
				case above == 0:
					right[rate]++
					fallthrough
				case above < 5:
					if top5 != nil {
						top5[rate]++
					}
				}
			}
		}
	}
	for rate := range right {
		right[rate] = percent(right[rate], len(images))
		if top5 != nil {
			top5[rate] = percent(top5[rate], len(images))
		}
	}
	return right, nil
}
