package choose

import (
	"context"

	"moco"
	"moco/data"
	"moco/internal/loader"
)

// filler fills a step's batch with views of images that have been read before.
type filler struct {
	loader *loader.Loader
	batch  moco.Batch
	n      int // images in the batch
	size   int // of the loader's batches: fewer where not as many have been read
	known  int // batches of the loader whose images have been read
	next   int

	images  int     // drawn so far
	seconds float64 // that it took
}

func (m *measured) filler(r *moco.Recipe, reading data.Reading, b moco.Batch) (*filler, error) {
	read := min(m.read[reading].images, m.set.Len())
	f := &filler{batch: b, n: r.Batch, size: min(r.Batch, read)}
	f.known = read / f.size
	for _, order := range [][]int32{b.Shuffle, b.Unshuffle} {
		for i := range order {
			order[i] = int32(i)
		}
	}
	var err error
	f.loader, err = m.loader(r, reading, f.size)
	return f, err
}

// fill draws a batch. The next ones have other images, as far as there are.
func (f *filler) fill(ctx context.Context) error {
	took, err := timed(func() error {
		for from := 0; from < f.n; from += f.size {
			from := min(from, f.n-f.size)
			part := moco.Batch{
				Size:     f.batch.Size,
				Views:    f.part(f.batch.Views, from),
				KeyViews: f.part(f.batch.KeyViews, from),
			}
			if f.batch.IDs != nil {
				part.IDs = f.batch.IDs[from : from+f.size]
			}
			if f.batch.Labels != nil {
				part.Labels = f.batch.Labels[from : from+f.size]
			}
			if err := f.loader.Fill(ctx, 0, f.next%f.known, part); err != nil {
				return err
			}
			f.next++
			f.images += f.size
		}
		return nil
	})
	f.seconds += took
	return err
}

// part is the views of the loader's batch that begins with an image; nil of views that a step does
// not take.
func (f *filler) part(views [][]float32, from int) [][]float32 {
	of := make([][]float32, len(views))
	for i, x := range views {
		if x != nil {
			each := len(x) / f.n
			of[i] = x[from*each : (from+f.size)*each]
		}
	}
	return of
}
