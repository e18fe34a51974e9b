package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/optim"
	"moco/tensor"
)

// Linear is the linear classification protocol (He et al. 2020, Sec. 4.1) on features that are made once: SGD with momentum 0.9, no weight
// decay, the rate divided by ten at the milestones. The right rate differs by orders of magnitude between encoders (30 in the paper), so
// classifiers with all Rates are trained side by side, in one pass over the features, and a part of the training set that none of them has seen
// chooses among them.
//
// Features have length one here; they are multiplied by the root of their dimension, so that a value is about 1, as it is in the paper.
type Linear struct {
	Rates      []float64
	Epochs     int
	Milestones []int
	Batch      int
	HeldOut    float64 // share of each class of the training set that chooses the rate
	Seed       uint64  // of the held-out part and the order
}

// DefaultLinear is the paper's schedule with a sweep over five orders of magnitude.
func DefaultLinear() Linear {
	return Linear{Rates: []float64{0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100}, Epochs: 100, Milestones: []int{60, 80}, Batch: 256, HeldOut: 0.1}
}

// Check says what no classifier can be trained with.
func (l Linear) Check() error {
	switch {
	case len(l.Rates) == 0 || slices.Min(l.Rates) <= 0 || math.IsInf(slices.Max(l.Rates), 1) || slices.ContainsFunc(l.Rates, math.IsNaN):
		return fmt.Errorf("rates: give positive learning rates, not %v", l.Rates)
	case l.Epochs < 1:
		return fmt.Errorf("epochs: must be at least 1, is %d", l.Epochs)
	case l.Batch < 1:
		return fmt.Errorf("batch: must be at least 1, is %d", l.Batch)
	case !(l.HeldOut > 0 && l.HeldOut < 1):
		return fmt.Errorf("held-out share: must lie between 0 and 1, is %v", l.HeldOut)
	}
	return nil
}

// Rate is how one learning rate did, in percent. A classifier that diverged has 0.
type Rate struct {
	Rate    float64 `json:"rate"`
	HeldOut float64 `json:"held_out"` // trained without the held-out part, on it
	Test    float64 `json:"test"`     // trained on everything, on the test set
}

// LinearResult is how a linear classifier did.
type LinearResult struct {
	Rate    float64  `json:"rate"`           // chosen by the held-out part
	Top1    float64  `json:"top1"`           // percent of the test set, with that rate
	Top5    float64  `json:"top5,omitempty"` // percent; where there are more than five classes
	Rates   []Rate   `json:"rates"`
	Train   int      `json:"train"`
	Test    int      `json:"test"`
	Classes []string `json:"classes"`
}

// Classify trains on one set of features and classifies another. progress, if not nil, is told the share that is done.
func (l Linear) Classify(ctx context.Context, e engine.Engine, train, test *Embedded, progress func(done float64)) (*LinearResult, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if train.Dim != test.Dim {
		return nil, fmt.Errorf("the training features have %d dimensions, the test features %d; make both with the same encoder and layer", train.Dim, test.Dim)
	}
	if len(train.Classes) < 2 {
		return nil, errors.New("a linear classifier needs labelled images of at least 2 classes to train on: give class folders")
	}
	labels, err := sameClasses(train, test)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(float64) {}
	}
	rest, heldOut := l.split(train)
	if len(rest) == 0 || len(heldOut) == 0 {
		return nil, fmt.Errorf("%d training images are too few to hold some out of each class; give more", train.Len())
	}
	p, err := l.probe(e, train.Dim, len(train.Classes), len(rest))
	if err != nil {
		return nil, err
	}
	defer p.close()
	r := &LinearResult{Train: train.Len(), Test: test.Len(), Classes: train.Classes, Rates: make([]Rate, len(l.Rates))}

	if err := p.train(ctx, train, rest, func(done float64) { progress(done / 2) }); err != nil {
		return nil, err
	}
	chosen, err := p.accuracy(ctx, train, train.Labels, heldOut, nil)
	if err != nil {
		return nil, err
	}
	every := make([]int, train.Len())
	for i := range every {
		every[i] = i
	}
	if err := p.train(ctx, train, every, func(done float64) { progress((1 + done) / 2) }); err != nil {
		return nil, err
	}
	top5 := make([]float64, len(l.Rates))
	tested, err := p.accuracy(ctx, test, labels, nil, top5)
	if err != nil {
		return nil, err
	}
	best := 0
	for i, rate := range l.Rates {
		r.Rates[i] = Rate{rate, chosen[i], tested[i]}
		if chosen[i] > chosen[best] {
			best = i
		}
	}
	r.Rate, r.Top1 = l.Rates[best], tested[best]
	if len(train.Classes) > 5 {
		r.Top5 = top5[best]
	}
	return r, nil
}

// Purposes of random streams.
const (
	heldOutStream = 400 + iota
	linearStream
)

// split divides the training images into those to train on and those that choose the rate: the same share of each class.
func (l Linear) split(train *Embedded) (rest, heldOut []int) {
	order := make([]int, train.Len())
	random := rng.New(l.Seed, heldOutStream)
	random.Perm(order)
	byClass := make([][]int, len(train.Classes))
	for _, i := range order {
		byClass[train.Labels[i]] = append(byClass[train.Labels[i]], i)
	}
	for _, images := range byClass {
		n := int(math.Round(l.HeldOut * float64(len(images))))
		if n == 0 && len(images) > 1 {
			n = 1
		}
		heldOut, rest = append(heldOut, images[:n]...), append(rest, images[n:]...)
	}
	slices.Sort(heldOut)
	slices.Sort(rest)
	return rest, heldOut
}

// probe is classifiers of all rates, compiled.
type probe struct {
	l       Linear
	state   engine.State
	step    engine.Program
	predict engine.Program
	dim     int
	classes int
	batch   int
}

func name(kind string, rate int) string { return fmt.Sprintf("%s%d", kind, rate) }

// logits declares the classifier of one rate and applies it.
func (p *probe) logits(g *graph.Graph, x *graph.Node, rate int) (logits, weights, bias *graph.Node) {
	weights = g.Variable(name("weight", rate), tensor.Float32, p.classes, p.dim)
	bias = g.Variable(name("bias", rate), tensor.Float32, p.classes)
	return g.BiasAdd(g.MatMul(x, weights, false, true), bias), weights, bias
}

func (l Linear) probe(e engine.Engine, dim, classes, images int) (*probe, error) {
	p := &probe{l: l, state: e.NewState(), dim: dim, classes: classes, batch: min(l.Batch, images)}
	g := graph.New()
	x, labels, lr := g.Input("x", tensor.Float32, p.batch, dim), g.Input("labels", tensor.Int32, p.batch), g.Input("lr", tensor.Float32)
	sgd := optim.SGD{Momentum: 0.9}
	for i, rate := range l.Rates {
		logits, weights, bias := p.logits(g, x, i)
		own := g.WeightedSum(graph.Term{Coefficient: rate, X: lr})
		for j, d := range g.Gradients(g.CrossEntropy(logits, labels), g.Fill(1), []*graph.Node{weights, bias}) {
			v := []*graph.Node{weights, bias}[j]
			sgd.Update(g, v, g.Variable("sgd."+v.Name, tensor.Float32, v.Shape...), d, own)
		}
	}
	var err error
	if p.step, err = e.Compile(g, p.state); err != nil {
		return nil, fmt.Errorf("linear classifier: %w", err)
	}
	g = graph.New()
	x = g.Input("x", tensor.Float32, p.batch, dim)
	for i := range l.Rates {
		logits, _, _ := p.logits(g, x, i)
		g.Output(name("logits", i), logits)
	}
	if p.predict, err = e.Compile(g, p.state); err != nil {
		return nil, fmt.Errorf("linear classifier: %w", err)
	}
	return p, nil
}

func (p *probe) close() {
	p.step.Close()
	p.predict.Close()
}

// fill puts one row of features into an input.
func (p *probe) fill(x []float32, row int, from *Embedded, i int) {
	scale := float32(math.Sqrt(float64(p.dim)))
	for c, v := range from.Features[i*p.dim : (i+1)*p.dim] {
		x[row*p.dim+c] = v * scale
	}
}

// train starts anew and trains all classifiers on some of the images.
func (p *probe) train(ctx context.Context, set *Embedded, images []int, progress func(done float64)) error {
	for _, variable := range p.state.Names() { // zero, momenta too; weights start as in the authors' code, small and random
		t, err := p.state.Read(variable)
		if err != nil {
			return err
		}
		clear(t.Float32s())
		var i int
		if n, _ := fmt.Sscanf(variable, "weight%d", &i); n == 1 {
			random := rng.New(p.l.Seed, linearStream) // all rates from the same place
			for j := range t.Float32s() {
				t.Float32s()[j] = float32(0.01 * random.Normal())
			}
		}
		if err := p.state.Write(variable, t); err != nil {
			return err
		}
	}
	schedule := optim.Schedule{Kind: "step", Epochs: float64(p.l.Epochs), Milestones: p.l.Milestones}
	x, labels := p.step.Input("x").Float32s(), p.step.Input("labels").Int32s()
	order := make([]int, len(images))
	for epoch := range p.l.Epochs {
		random := rng.New(p.l.Seed, linearStream, uint64(epoch)+1)
		random.Perm(order)
		p.step.Input("lr").Float32s()[0] = float32(schedule.Rate(1, float64(epoch)))
		for at := 0; at+p.batch <= len(order); at += p.batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			for row, o := range order[at : at+p.batch] {
				p.fill(x, row, set, images[o])
				labels[row] = int32(set.Labels[images[o]])
			}
			if err := p.step.Run(); err != nil {
				return err
			}
		}
		progress(float64(epoch+1) / float64(p.l.Epochs))
	}
	return nil
}

// accuracy is the share of images (all of them if nil) that each rate's classifier gets right, in percent; top5, if not nil, takes the share of those
// whose label is among the five largest logits.
func (p *probe) accuracy(ctx context.Context, set *Embedded, labels, images []int, top5 []float64) ([]float64, error) {
	if images == nil {
		images = make([]int, set.Len())
		for i := range images {
			images[i] = i
		}
	}
	right := make([]float64, len(p.l.Rates))
	x := p.predict.Input("x").Float32s()
	each := 100 / float64(len(images))
	for batch := range slices.Chunk(images, p.batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for row, i := range batch {
			p.fill(x, row, set, i)
		}
		if err := p.predict.Run(); err != nil {
			return nil, err
		}
		for rate := range p.l.Rates {
			logits := p.predict.Output(name("logits", rate)).Float32s()
			for row, i := range batch {
				switch above := rank(logits[row*p.classes:(row+1)*p.classes], labels[i]); {
				case above == 0:
					right[rate] += each
					fallthrough
				case above < 5:
					if top5 != nil {
						top5[rate] += each
					}
				}
			}
		}
	}
	return right, nil
}

// rank is the number of logits that stand above that of the label; none, or one that is no number, stands below everything.
func rank(logits []float32, label int) int {
	if label < 0 || label >= len(logits) || math.IsNaN(float64(logits[label])) {
		return len(logits)
	}
	above := 0
	for i, v := range logits {
		if v > logits[label] || v == logits[label] && i < label || math.IsNaN(float64(v)) {
			above++
		}
	}
	return above
}
