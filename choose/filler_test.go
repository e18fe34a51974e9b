package choose

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"moco"
	"moco/data"
	"moco/internal/loader"
)

// TestFiller: steps are measured with the views that training draws, of images that were read, and
// all that was drawn is counted.
func TestFiller(t *testing.T) {
	t.Parallel()
	set := open(t, "builtin:train?n=40&size=20")
	r := base(t)
	r.Views.Size = 8
	reading, err := r.Views.Reading()
	if err != nil {
		t.Fatal(err)
	}
	each := 3 * r.Views.Size * r.Views.Size
	for _, c := range []struct{ batch, read, size, known int }{
		{8, 32, 8, 4}, {12, 32, 12, 2}, {40, 32, 32, 1}, {40, 16, 16, 1}, {4, 100, 4, 10},
	} {
		m := newMeasured(set, nil, Options{Workers: 2})
		m.read[reading] = &firstReadings{images: c.read}
		r.Batch = c.batch
		b := moco.Batch{Views: [][]float32{make([]float32, c.batch*each), make([]float32, c.batch*each)}, IDs: make([]int32, c.batch)}
		for i := range b.Views[0] {
			b.Views[0][i], b.Views[1][i] = float32(math.NaN()), float32(math.NaN())
		}
		f, err := m.filler(&r, reading, b)
		if err != nil {
			t.Fatal(err)
		}
		if f.size != c.size || f.known != c.known {
			t.Fatalf("%+v: %d batches of %d", c, f.known, f.size)
		}
		if err := f.fill(context.Background()); err != nil {
			t.Fatal(err)
		}
		want := moco.Batch{Views: [][]float32{make([]float32, c.size*each), make([]float32, c.size*each)}, IDs: make([]int32, c.size)}
		if err := training(t, &r, set, c.size).Fill(context.Background(), 0, 0, want); err != nil {
			t.Fatal(err)
		}
		alone := c.size // images of the first part that no other part overwrites
		if c.batch > c.size {
			alone = min(c.size, c.batch-c.size)
		}
		if !slices.Equal(b.Views[0][:alone*each], want.Views[0][:alone*each]) || !slices.Equal(b.Views[1][:alone*each], want.Views[1][:alone*each]) ||
			!slices.Equal(b.IDs[:alone], want.IDs[:alone]) {
			t.Errorf("%+v: the views are not those that training draws", c)
		}
		if slices.ContainsFunc(slices.Concat(b.Views[0], b.Views[1]), func(v float32) bool { return v != v }) {
			t.Errorf("%+v: some images have no views", c)
		}
		if drawn := (c.batch + c.size - 1) / c.size * c.size; f.images != drawn || f.seconds <= 0 {
			t.Errorf("%+v: %d images in %v seconds, want %d", c, f.images, f.seconds, drawn)
		}
	}
}

// training is a loader as training makes it.
func training(t *testing.T, r *moco.Recipe, set *data.Set, batch int) *loader.Loader {
	t.Helper()
	policy, err := r.Views.Drawn()
	if err != nil {
		t.Fatal(err)
	}
	reading, err := r.Views.Reading()
	if err != nil {
		t.Fatal(err)
	}
	return loader.New(set, policy, loader.Options{Batch: batch, Reading: reading, Seed: r.Seed, Workers: 1})
}

// TestPaceCountsDrawing: an image of a later epoch costs what drawing it between steps took, and one
// of the first epoch the reading besides.
func TestPaceCountsDrawing(t *testing.T) {
	t.Parallel()
	set := open(t, "builtin:train?n=40&size=20")
	facts, err := Look(context.Background(), set, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := newMeasured(set, facts, Options{Engine: engineOf(t), Workers: 2, Budget: time.Minute})
	r := base(t)
	r.Encoder.Width, r.Encoder.Dim, r.Views.Size, r.Batch, r.Queue = 0.125, 8, 8, 8, 16
	reading, err := r.Views.Reading()
	if err != nil {
		t.Fatal(err)
	}
	m.read[reading] = &firstReadings{images: 20, seconds: 20000} // as if reading had been very slow
	p, err := m.pace(context.Background(), &r)
	if err != nil {
		t.Fatal(err)
	}
	if p.Again <= 0 || p.Again > 100 || p.First < 500 || p.First > 600 {
		t.Errorf("%+v, want 500 seconds for half of the images in the first epoch, and drawing alone later", p)
	}
}
