package classify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"moco/encoder"
	"moco/engine"
	"moco/engine/cpu"
	"moco/evaluate"
	"moco/graph"
	"moco/internal/loader"
	"moco/tensor"
)

// Prediction is what a classifier takes a row for. Label and Second are places in Classes.
type Prediction struct {
	Label      int     // the most likely class
	Confidence float32 // its probability, calibrated
	Second     int     // the next one
	Doubt      float32 // the probability of that
}

// predictRows is how many rows are predicted at once. All are predicted in parts of this size,
// the last one filled up, so that a row's bits do not depend on the rows beside it.
const predictRows = 1024

// predictor is a compiled classifier.
type predictor struct {
	mu      sync.Mutex // held while the program is made and run
	engine  engine.Engine
	program engine.Program
}

// Use makes a classifier compute on an engine. One that was opened takes the CPU, with all processors
// that Go may use, unless this is called first.
func (c *Classifier) Use(e engine.Engine) {
	c.predictor.mu.Lock()
	defer c.predictor.mu.Unlock()
	c.predictor.engine, c.predictor.program = e, nil
}

// Predict gives each row of a set the most likely class; the set's labels play no part. It is one
// matrix product, on all of the engine's processors. Errors are a *DimError and an
// *encoder.FeaturesError.
func (c *Classifier) Predict(ctx context.Context, set *evaluate.Embedded) ([]Prediction, error) {
	list := make([]Prediction, set.Len())
	err := c.each(ctx, set, func(i int, logits []float32) {
		list[i] = predictionOf(logits)
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Probabilities are the calibrated probabilities of all classes for each row of a set, [N,classes].
// Errors are those of Predict.
func (c *Classifier) Probabilities(ctx context.Context, set *evaluate.Embedded) ([]float32, error) {
	n := len(c.Classes)
	p := make([]float32, set.Len()*n)
	err := c.each(ctx, set, func(i int, logits []float32) { softmax(p[i*n:(i+1)*n], logits) })
	if err != nil {
		return nil, err
	}
	return p, nil
}

// predictionOf is what logits say. Ties go to the lower class.
func predictionOf(logits []float32) Prediction {
	p := Prediction{Label: 0, Second: 1}
	if logits[1] > logits[0] {
		p.Label, p.Second = 1, 0
	}
	for c := 2; c < len(logits); c++ {
		switch v := logits[c]; {
		case v > logits[p.Label]:
			p.Label, p.Second = c, p.Label
		case v > logits[p.Second]:
			p.Second = c
		}
	}
	var sum float64
	largest := logits[p.Label]
	for _, v := range logits {
		sum += math.Exp(float64(v - largest))
	}
	p.Confidence = float32(1 / sum)
	p.Doubt = float32(math.Exp(float64(logits[p.Second]-largest)) / sum)
	return p
}

// softmax writes the probabilities that logits stand for.
func softmax(p, logits []float32) {
	largest := logits[0]
	for _, v := range logits {
		largest = max(largest, v)
	}
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v - largest))
	}
	for c, v := range logits {
		p[c] = float32(math.Exp(float64(v-largest)) / sum)
	}
}

// each calls visit with the logits of each row. Several goroutines call it at the same time.
func (c *Classifier) each(ctx context.Context, set *evaluate.Embedded, visit func(i int, logits []float32)) error {
	if set.Dim != c.Dim {
		return &DimError{Classifier: c.Dim, Features: set.Dim}
	}
	if len(set.Features) != set.Dim*set.Len() {
		return ErrNoFeatures
	}
	c.predictor.mu.Lock()
	defer c.predictor.mu.Unlock()
	p, err := c.compiled()
	if err != nil {
		return fmt.Errorf("predict: %w", err)
	}
	x, classes := p.Input("features").Float32s(), len(c.Classes)
	const lot = 64
	for lo := 0; lo < set.Len(); lo += predictRows {
		n := min(predictRows, set.Len()-lo)
		clear(x[copy(x, set.Features[lo*c.Dim:(lo+n)*c.Dim]):])
		if err := p.Run(); err != nil {
			return fmt.Errorf("predict: %w", err)
		}
		logits := p.Output("logits").Float32s()
		err := loader.Parallel(ctx, (n+lot-1)/lot, runtime.GOMAXPROCS(0), func(_, part int) error {
			for i := part * lot; i < min((part+1)*lot, n); i++ {
				row := logits[i*classes : (i+1)*classes]
				for _, v := range row {
					if v-v != 0 {
						return errNotFinite
					}
				}
				visit(lo+i, row)
			}
			return nil
		})
		if err == errNotFinite {
			return notFinite(set)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errNotFinite ends the work on rows of which one has logits that are not finite.
var errNotFinite = errors.New("features are not finite")

// notFinite is the error of features that are not finite, or so large that their logits are not.
func notFinite(set *evaluate.Embedded) error {
	if err := encoder.CheckRows(set.Features, set.Dim, rowName); err != nil {
		return err
	}
	return errors.New("predict: the features are too large for the classifier")
}

// compiled is the program that makes logits. The caller holds the predictor's lock.
func (c *Classifier) compiled() (engine.Program, error) {
	p := &c.predictor
	if p.program != nil {
		return p.program, nil
	}
	var err error
	if p.engine == nil {
		if p.engine, err = cpu.New(cpu.Options{}); err != nil {
			return nil, err
		}
	}
	g := graph.New()
	x := g.Input("features", tensor.Float32, predictRows, c.Dim)
	weight := g.Variable("weight", tensor.Float32, len(c.Classes), c.Dim)
	bias := g.Variable("bias", tensor.Float32, len(c.Classes))
	g.Output("logits", g.BiasAdd(g.MatMul(x, weight, false, true), bias))
	state := p.engine.NewState()
	program, err := p.engine.Compile(g, state)
	if err != nil {
		return nil, err
	}
	probe := c.Probe()
	if err := state.Write("weight", probe.Weight); err != nil {
		return nil, err
	}
	if err := state.Write("bias", probe.Bias); err != nil {
		return nil, err
	}
	p.program = program
	return program, nil
}
