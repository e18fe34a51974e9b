package explore

import (
	"context"
	"errors"
	"slices"
	"testing"

	"moco/data"
	"moco/evaluate"
)

// collection is the first images of the built-in set, with features of two numbers.
func collection(t *testing.T) *Collection {
	t.Helper()
	set, err := data.Open(context.Background(), "builtin:test?n=4&size=8", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &Collection{Embedded: embedded([]float64{1, 0}, []float64{1, 0.1}, []float64{0, 1}), Set: set}
	// Image 1 could not be read.
	c.Images, c.Labels, c.Classes = []int{0, 2, 3}, []int{0, -1, 1}, []string{"cat", "dog"}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestCollection: a row has the name and label of its image.
func TestCollection(t *testing.T) {
	t.Parallel()
	c := collection(t)
	if row, ok := c.Find(c.Set.Name(2)); !ok || row != 1 || c.Name(1) != c.Set.Name(2) {
		t.Errorf("image 2 is in row %d, %v", row, ok)
	}
	if _, ok := c.Find(c.Set.Name(1)); ok {
		t.Error("an image without features is found")
	}
	if c.Label(0) != "cat" || c.Label(1) != "" || c.Label(2) != "dog" {
		t.Errorf("the labels are %q, %q, %q", c.Label(0), c.Label(1), c.Label(2))
	}
	var img data.Image
	if err := c.Read(2, &img); err != nil || img.Width != 8 {
		t.Errorf("the picture of row 2: %d pixels wide, %v", img.Width, err)
	}
	refs := c.Refs([]evaluate.Neighbour{{Row: 2, Similarity: 0.5}, {Row: 0, Similarity: 0.25}})
	if len(refs) != 2 || refs[0].Image != c.Name(2) || *refs[0].Similarity != 0.5 || *refs[1].Similarity != 0.25 ||
		refs[1].Label != "cat" {
		t.Errorf("the neighbours are %+v", refs)
	}
	if r := c.Ref(0); r.Similarity != nil || r.Image != c.Name(0) {
		t.Errorf("an image by itself is %+v", r)
	}
}

// TestNear: an image is not its own neighbour.
func TestNear(t *testing.T) {
	t.Parallel()
	c := collection(t)
	for k, want := range map[int][]int{1: {1}, 2: {1, 2}, 99: {1, 2}} {
		list, err := explorer(t, 1).Near(context.Background(), c.Embedded, 0, k)
		var rows []int
		for _, n := range list {
			rows = append(rows, n.Row)
		}
		if err != nil || !slices.Equal(rows, want) {
			t.Errorf("the %d nearest of row 0 are %v, want %v; %v", k, rows, want, err)
		}
	}
}

// TestCheckEncoder: another encoder is found by its features of the first image.
func TestCheckEncoder(t *testing.T) {
	t.Parallel()
	ctx, c := context.Background(), collection(t)
	makes := func(features ...float64) Encode {
		return func(_ context.Context, set *data.Set) (*evaluate.Embedded, error) {
			if set.Len() != 1 || set.Name(0) != c.Name(0) {
				t.Errorf("%d images are encoded", set.Len())
			}
			return embedded(features), nil
		}
	}
	if err := c.CheckEncoder(ctx, makes(1, 0.05)); err != nil {
		t.Errorf("nearly the same features: %v", err)
	}
	var other *OtherEncoderError
	if err := c.CheckEncoder(ctx, makes(1, 1)); !errors.As(err, &other) || other.Image != c.Name(0) || other.Cosine > 0.8 {
		t.Errorf("other features: %v", err)
	}
	if err := c.CheckEncoder(ctx, makes(1, 0, 0)); !errors.As(err, &other) || other.Dim != 2 || other.Makes != 3 {
		t.Errorf("longer features: %v", err)
	}
	broken := errors.New("broken")
	err := c.CheckEncoder(ctx, func(context.Context, *data.Set) (*evaluate.Embedded, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("an encoder that fails: %v", err)
	}
}
