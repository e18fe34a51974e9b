package pretrain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
)

// MonitorOptions say how a run is watched: by the accuracy of a nearest-neighbour classifier.
type MonitorOptions struct {
	Train, Test *data.Set // labelled; both or none
	Start       bool      // also before the first step
	Every       int       // epochs from one to the next; 0 is 1; the last epoch always is
}

func (o MonitorOptions) every() int { return max(1, o.Every) }

// monitorKNN is the classifier of the monitor.
var monitorKNN = evaluate.KNN{K: 200, T: 0.1}

// monitor measures the encoder of a run.
type monitor struct {
	run     *run
	encoder *encoder.Encoder // follows the training
	top1    float64          // the last
}

// newMonitor makes the monitor of a run with a batch, whose encoder is in a state.
func newMonitor(r *run, state engine.State, batch int) (*monitor, error) {
	e, err := r.following(state, min(batch, 256))
	if err != nil {
		return nil, err
	}
	return &monitor{run: r, encoder: e}, nil
}

// cost is that of encoding a batch; a run without a monitor has none.
func (m *monitor) cost() (engine.Cost, error) {
	if m == nil {
		return engine.Cost{}, nil
	}
	return m.encoder.Cost()
}

// following is the encoder as training makes it, in a state.
func (r *run) following(state engine.State, batch int) (*encoder.Encoder, error) {
	layer := encoder.Head
	if r.mechanism.Classifier() { // its head has the classes for features
		layer = encoder.Backbone
	}
	return encoder.Following(*r.recipe, state, encoder.Options{Engine: r.o.Engine, Batch: batch, Layer: layer})
}

// measure classifies the test set by its neighbours in the training set.
func (m *monitor) measure(ctx context.Context, epoch int) error {
	start, r := time.Now(), m.run
	result, err := m.classify(ctx)
	if errors.As(err, new(*encoder.FeaturesError)) {
		return r.diverged(fmt.Sprintf("%v after step %d", err, r.step))
	}
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	m.top1 = result.Top1
	r.events.tell(Monitor{Epoch: epoch, Step: r.step, KNNTop1: result.Top1, K: result.K, T: result.T, Seconds: time.Since(start).Seconds()})
	return nil
}

// classify classifies the test set with the encoder as it is now.
func (m *monitor) classify(ctx context.Context) (*evaluate.Result, error) {
	o := m.run.o
	bank, err := evaluate.Features(ctx, m.encoder, o.Monitor.Train, m.encoder.Layer(), nil)
	if err != nil {
		return nil, err
	}
	queries, err := evaluate.Features(ctx, m.encoder, o.Monitor.Test, m.encoder.Layer(), nil)
	if err != nil {
		return nil, err
	}
	return monitorKNN.Classify(ctx, o.Engine, bank, queries)
}
