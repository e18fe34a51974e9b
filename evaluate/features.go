package evaluate

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/internal/loader"
)

// Features makes a layer's features of all images of a set, in the set's order. It leaves out
// unreadable images and counts them. progress, if not nil, is told how many images are done. The
// error of features that are not finite is an *encoder.FeaturesError.
func Features(ctx context.Context, e *encoder.Encoder, set *data.Set, layer encoder.Layer, progress func(done int)) (*Embedded, error) {
	all, err := FeaturesOf(ctx, e, set, []encoder.Layer{layer}, progress)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// FeaturesOf is Features of several layers, from one pass over the images.
func FeaturesOf(ctx context.Context, e *encoder.Encoder, set *data.Set, layers []encoder.Layer,
	progress func(done int)) ([]*Embedded, error) {
	if len(layers) == 0 {
		return nil, errors.New("features of no layer are asked for; there are head and backbone")
	}
	all := make([]*Embedded, len(layers))
	for l, layer := range layers {
		dim, err := e.DimOf(layer)
		if err != nil {
			return nil, err
		}
		// They get their full length at once: growing them would hold them twice for a moment.
		all[l] = &Embedded{Dim: dim, Classes: set.Classes(), Features: make([]float32, 0, set.Len()*dim)}
	}
	var images, labels []int
	bad := 0
	skipped := func(int, error) error { bad++; return nil }
	err := e.EmbedSet(ctx, set, encoder.Walk{Layer: layers[0], More: layers[1:], Skipped: skipped}, func(b encoder.Embedding) error {
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
	for _, f := range all {
		f.Images, f.Labels, f.Bad = images, labels, bad
		if err := f.check(set); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// unreadable is the error of a set without a readable image.
func unreadable(set *data.Set) error {
	return fmt.Errorf("none of the %d images can be read", set.Len())
}

// Pixels takes pixel values of the plain views as features: each channel has the image's mean
// subtracted, and each row has length one. A classifier on them shows what is possible without an
// encoder. With the mean left in, it would do worse.
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
			e.Features = append(e.Features, encoder.Normalise(row)...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, e.check(set)
}

// eachBatch makes plain views of a set in its order, collects the labels, and calls f for each
// batch of n.
func eachBatch(ctx context.Context, set *data.Set, v moco.Views, batch int, e *Embedded,
	f func(x []float32, n int) error) error {
	policy, err := v.Drawn()
	if err != nil {
		return err
	}
	reading, err := v.Reading()
	if err != nil {
		return err
	}
	policy = policy.ForEvaluation()
	e.Classes = set.Classes()
	plain := loader.NewPlain(set, reading, policy, 0, runtime.GOMAXPROCS(0))
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
