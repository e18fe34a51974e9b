package evaluate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"moco"
	"moco/augment"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/internal/loader"
)

// ClassifyViews is Classify on new random views in every epoch: crops and flips (augment's
// CropAndFlip). The frozen encoder encodes them as they are drawn. This is the paper's protocol,
// and costs a forward pass over the training images in each epoch. The held-out part and the test
// set are plain views. Training must leave the encoder as it was; the end checks that. progress, if
// not nil, is told after each batch.
func (l Linear) ClassifyViews(ctx context.Context, e engine.Engine, m *encoder.Encoder, layer encoder.Layer,
	train *data.Set, test *Embedded, progress func(Progress)) (*LinearResult, error) {
	v, err := newViewed(m, layer, train, test)
	if err != nil {
		return nil, err
	}
	rest, heldOut, err := l.split(v.labels, train.Classes())
	if err != nil {
		return nil, err
	}
	plain, err := v.plain(ctx, heldOut)
	if err != nil {
		return nil, err
	}
	sample := heldOut[:min(len(heldOut), m.Batch())]
	before, err := v.plain(ctx, sample)
	if err != nil {
		return nil, err
	}
	t := &linearRun{Linear: l, labels: v.labels, classes: train.Classes(), dim: v.dim, rest: rest, heldOut: plain,
		test: test, progress: progress}
	views := loader.New(train, v.policy.CropAndFlip(), loader.Options{
		Batch: m.Batch(), Reading: m.Reading(), Seed: l.Seed, Workers: runtime.GOMAXPROCS(0), MaxBad: 1})
	r, err := t.run(ctx, e, func(epoch int) error { return v.epoch(ctx, epoch, views, t) })
	if err != nil {
		return nil, err
	}
	after, err := v.plain(ctx, sample)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(before.Features, after.Features) {
		return nil, errors.New("the encoder did not stay as it was while classifiers were trained on its features; this is a bug")
	}
	r.Views, r.Bad = true, views.Bad()
	return r, nil
}

// viewed is a training set with new features in every epoch.
type viewed struct {
	encoder *encoder.Encoder
	layer   encoder.Layer
	dim     int
	policy  augment.Policy
	set     *data.Set
	labels  []int

	x, rows []float32 // a batch of views, and its features
	ids     []int32
}

func newViewed(m *encoder.Encoder, layer encoder.Layer, set *data.Set, test *Embedded) (*viewed, error) {
	dim, err := m.DimOf(layer)
	if err != nil {
		return nil, err
	}
	if dim != test.Dim {
		return nil, fmt.Errorf("the encoder's features have %d dimensions, the test features %d; "+
			"make both with the same encoder and layer",
			dim, test.Dim)
	}
	policy, err := m.Recipe.Views.Drawn()
	if err != nil {
		return nil, err
	}
	v := &viewed{encoder: m, layer: layer, dim: dim, policy: policy, set: set, labels: make([]int, set.Len())}
	for i := range v.labels {
		v.labels[i] = set.Label(i)
	}
	v.x, v.rows = make([]float32, m.Batch()*3*policy.Size*policy.Size), make([]float32, m.Batch()*dim)
	v.ids = make([]int32, m.Batch())
	return v, nil
}

// plain makes the features of some images' plain views.
func (v *viewed) plain(ctx context.Context, images []int) (*Embedded, error) {
	some, err := v.set.Subset(images)
	if err != nil {
		return nil, err
	}
	return Features(ctx, v.encoder, some, v.layer, nil)
}

// epoch gives t the features of a new view of every image.
func (v *viewed) epoch(ctx context.Context, epoch int, views *loader.Loader, t *linearRun) error {
	steps, size := views.StepsPerEpoch(), v.policy.Size
	for step := range steps {
		n := views.BatchSize(step)
		x, rows, ids := v.x[:n*3*size*size], v.rows[:n*v.dim], v.ids[:n]
		if err := views.Fill(ctx, epoch, step, moco.Batch{Views: [][]float32{x}, IDs: ids}); err != nil {
			return err
		}
		if err := v.encoder.EncodeViews(x, n, []encoder.Layer{v.layer}, [][]float32{rows}); err != nil {
			return err
		}
		if err := encoder.CheckRows(rows, v.dim, func(row int) string { return v.set.Name(int(ids[row])) }); err != nil {
			return err
		}
		for row, id := range ids {
			if err := t.learn(rows[row*v.dim:(row+1)*v.dim], int(id)); err != nil {
				return err
			}
		}
		t.tell(epoch, float64(step+1)/float64(steps))
	}
	return nil
}
