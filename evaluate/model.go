package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"

	"moco"
	"moco/data"
	"moco/engine"
	"moco/internal/loader"
)

// Layer names what an encoder gives as features.
type Layer = moco.Layer

// The layers: see package moco.
const (
	Head     = moco.Head
	Backbone = moco.Backbone
)

// Model is an encoder whose features of whole sets are kept in memory, for classifiers.
type Model struct{ *moco.Encoder }

// NewModel returns the encoder whose variables ("encoder_q.") live in s.
func NewModel(r moco.Recipe, e engine.Engine, s engine.State, batch int) (*Model, error) {
	encoder, err := moco.NewEncoder(r, s, moco.OpenOptions{Engine: e, Batch: batch})
	if err != nil {
		return nil, err
	}
	return &Model{encoder}, nil
}

// OpenModel loads an encoder as moco.OpenWith does. precision is fp32 or bf16, or empty for that of the encoder's training.
func OpenModel(path string, e engine.Engine, batch int, precision string) (*Model, error) {
	encoder, err := moco.OpenWith(path, moco.OpenOptions{Engine: e, Batch: batch, Precision: precision})
	if err != nil {
		return nil, err
	}
	return &Model{encoder}, nil
}

// Embed makes the features of all images of a set, in its order; those that cannot be read are left out and counted. progress, if not nil, is
// told how many are done.
func (m *Model) Embed(ctx context.Context, set *data.Set, layer Layer, progress func(done int)) (*Embedded, error) {
	all, err := m.EmbedLayers(ctx, set, []Layer{layer}, progress)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// EmbedLayers is Embed for several layers, from one pass over the images.
func (m *Model) EmbedLayers(ctx context.Context, set *data.Set, layers []Layer, progress func(done int)) ([]*Embedded, error) {
	if len(layers) == 0 {
		return nil, errors.New("features of no layer are asked for; there are head and backbone")
	}
	all := make([]*Embedded, len(layers))
	for l, layer := range layers {
		dim, err := m.DimOf(layer)
		if err != nil {
			return nil, err
		}
		// made at their full length: growing them would hold them twice for a moment
		all[l] = &Embedded{Dim: dim, Classes: set.Classes(), Features: make([]float32, 0, set.Len()*dim)}
	}
	var images, labels []int
	bad := 0
	skipped := func(int, error) error { bad++; return nil }
	err := m.EmbedSet(ctx, set, moco.Walk{Layer: layers[0], More: layers[1:], Skipped: skipped}, func(b moco.Embedding) error {
		images = append(images, b.Images...)
		for _, i := range b.Images {
			labels = append(labels, set.Label(i))
		}
		all[0].Features = append(all[0].Features, b.Rows...)
		for l, rows := range b.More {
			all[1+l].Features = append(all[1+l].Features, rows...)
		}
		if progress != nil {
			progress(len(images))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, unreadable(set)
	}
	for _, e := range all {
		e.Images, e.Labels, e.Bad = images, labels, bad
	}
	return all, nil
}

// unreadable is the error of a set without a readable image.
func unreadable(set *data.Set) error {
	return fmt.Errorf("none of the %d images can be read", set.Len())
}

// Pixels makes features of the plain views: their pixel values, less the image's mean of each channel, as a row of length one. It is
// what a classifier can do without an encoder; with the mean left in, it would do worse.
func Pixels(ctx context.Context, set *data.Set, v moco.Views) (*Embedded, error) {
	e := &Embedded{Dim: 3 * v.Size * v.Size, Features: make([]float32, 0, 3*v.Size*v.Size*set.Len())}
	err := eachBatch(ctx, set, v, 64, e, func(x []float32, n int) error {
		for _, row := range chunks(x[:n*e.Dim], e.Dim) {
			var mean [3]float64
			for i, p := range row {
				mean[i%3] += float64(p) / float64(e.Dim/3)
			}
			for i := range row {
				row[i] -= float32(mean[i%3])
			}
			e.Features = append(e.Features, normalised(row)...)
		}
		return nil
	})
	return e, err
}

// eachBatch makes plain views of a set in its order, collects labels, and calls f for each batch of n.
func eachBatch(ctx context.Context, set *data.Set, v moco.Views, batch int, e *Embedded, f func(x []float32, n int) error) error {
	policy, err := v.Drawn()
	if err != nil {
		return err
	}
	policy = policy.ForEvaluation()
	e.Classes = set.Classes()
	plain := loader.NewPlain(set, policy, 0, runtime.GOMAXPROCS(0))
	x := make([]float32, batch*3*v.Size*v.Size)
	images := make([]int, batch)
	for {
		n, err := plain.Next(ctx, x, images)
		if err != nil {
			return err
		}
		if n == 0 {
			e.Bad = plain.Bad
			if len(e.Labels) == 0 {
				return unreadable(set)
			}
			return nil
		}
		e.Images = append(e.Images, images[:n]...)
		for _, i := range images[:n] {
			e.Labels = append(e.Labels, set.Label(i))
		}
		if err := f(x, n); err != nil {
			return err
		}
	}
}

func chunks(x []float32, n int) [][]float32 {
	var rows [][]float32
	for lo := 0; lo < len(x); lo += n {
		rows = append(rows, x[lo:lo+n])
	}
	return rows
}

// normalised scales a row to length one, in place.
func normalised(row []float32) []float32 {
	var square float64
	for _, v := range row {
		square += float64(v) * float64(v)
	}
	if square > 0 {
		inverse := float32(1 / math.Sqrt(square))
		for i := range row {
			row[i] *= inverse
		}
	}
	return row
}
