package encoder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"moco/data"
	"moco/encoder"
)

// encoderOf opens an untrained encoder.
func encoderOf(t *testing.T, o encoder.Options) *encoder.Encoder {
	t.Helper()
	run, err := untrained()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	e, err := encoder.OpenWith(context.Background(), run, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// drawn is the set of a path, and its images.
func drawn(t *testing.T, path string) (*data.Set, []image.Image) {
	t.Helper()
	set, err := data.Open(context.Background(), path, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	var images []image.Image
	for i := range set.Len() {
		img := &data.Image{}
		if set.Read(i, img) == nil {
			images = append(images, img)
		}
	}
	return set, images
}

func TestEmbed(t *testing.T) {
	ctx := context.Background()
	e := encoderOf(t, encoder.Options{Batch: 8})
	_, images := drawn(t, "builtin:test?n=19&size=24")
	// Every kind of image.Image will do.
	images[4] = image.NewRGBA(image.Rect(-3, 5, 40, 90))
	all, err := e.Embed(ctx, images)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 19 || len(all[0]) != e.Dim() || e.Dim() != 32 {
		t.Fatalf("%d rows of %d, want 19 of 32", len(all), len(all[0]))
	}
	for i, row := range all {
		var square float64
		for _, v := range row {
			square += float64(v) * float64(v)
		}
		if math.Abs(square-1) > 1e-5 {
			t.Errorf("row %d has length %v, want 1", i, math.Sqrt(square))
		}
		alone, err := e.Embed(ctx, images[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		for c := range row {
			if d := math.Abs(float64(row[c] - alone[0][c])); d > 1e-5 {
				t.Fatalf("image %d alone differs by %v from among others", i, d)
			}
		}
	}
	if rows, err := e.Embed(ctx, nil); err != nil || len(rows) != 0 {
		t.Errorf("no images give %v, %v", rows, err)
	}
	for name, bad := range map[string]image.Image{"nil": nil, "a nil pointer": (*image.RGBA)(nil),
		"no pixels": image.NewRGBA(image.Rect(0, 0, 0, 4)), "endless": image.Black} {
		if _, err := e.Embed(ctx, []image.Image{images[0], bad}); err == nil || !strings.Contains(err.Error(), "image 1 of 2") {
			t.Errorf("%s: the error is %v, want one that names image 1", name, err)
		}
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := e.Embed(stopped, images); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	e.Close()
	if _, err := e.Embed(ctx, images); err == nil {
		t.Error("a closed encoder embeds")
	}
}

// TestEmbedAtOnce: concurrent calls, of several sizes, give what each gives alone.
func TestEmbedAtOnce(t *testing.T) {
	ctx := context.Background()
	e := encoderOf(t, encoder.Options{Batch: 4, Layer: encoder.Head})
	_, images := drawn(t, "builtin:test?n=12&size=16")
	want := make([][][]float32, len(images)+1)
	for n := 1; n <= len(images); n++ {
		var err error
		if want[n], err = e.Embed(ctx, images[:n]); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(images)+1)
	for n := 1; n <= len(images); n++ {
		wg.Go(func() {
			for range 3 {
				got, err := e.Embed(ctx, images[:n])
				if err == nil && !slices.EqualFunc(got, want[n], slices.Equal) {
					err = fmt.Errorf("%d images give other features beside other calls", n)
				}
				errs[n] = errors.Join(errs[n], err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// TestEmbedSet: a walk names the unreadable images, gives Embed's rows, and continues with the same
// bits after every batch.
func TestEmbedSet(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	_, images := drawn(t, "builtin:test?n=14&size=16")
	var ours []image.Image
	for i, img := range images {
		content := encodePNG(t, img)
		if i == 3 || i == 4 || i == 13 {
			content = content[:len(content)/2]
		} else {
			ours = append(ours, img)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.png", i)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set, _ := drawn(t, dir)
	e := encoderOf(t, encoder.Options{Batch: 4})
	walk := func(w encoder.Walk) (rows []float32, places, nexts, bad []int) {
		w.Skipped = func(i int, err error) error {
			if !strings.Contains(err.Error(), set.Name(i)) {
				t.Errorf("%v does not name %s", err, set.Name(i))
			}
			bad = append(bad, i)
			return nil
		}
		err := e.EmbedSet(ctx, set, w, func(b encoder.Embedding) error {
			rows, places, nexts = append(rows, b.Rows...), append(places, b.Images...), append(nexts, b.Next)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	rows, places, nexts, bad := walk(encoder.Walk{})
	if !slices.Equal(places, []int{0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12}) || !slices.Equal(bad, []int{3, 4, 13}) ||
		nexts[len(nexts)-1] != 14 {
		t.Fatalf("images %v, unreadable %v, positions %v", places, bad, nexts)
	}
	want, err := e.Embed(ctx, ours)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range slices.Concat(want...) {
		if math.Abs(float64(v-rows[i])) > 1e-5 {
			t.Fatalf("feature %d is %v in a walk and %v of the images", i, rows[i], v)
		}
	}
	for _, next := range nexts {
		rest, more, _, _ := walk(encoder.Walk{From: next})
		done := len(places) - len(more)
		if !slices.Equal(more, places[done:]) || !slices.Equal(rest, rows[done*e.Dim():]) {
			t.Errorf("from image %d on, the walk gives images %v or other features", next, more)
		}
	}
	enough := errors.New("enough")
	ending := encoder.Walk{Skipped: func(int, error) error { return enough }}
	if err := e.EmbedSet(ctx, set, ending, func(encoder.Embedding) error { return nil }); !errors.Is(err, enough) {
		t.Errorf("the walk ends with %v, want what Skipped said", err)
	}
	if err := e.EmbedSet(ctx, set, encoder.Walk{Layer: "neck"}, nil); err == nil {
		t.Error("an unknown layer is no error")
	}
}

func encodePNG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
