package encoder_test

import (
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine/cpu"
	"moco/picture"
	"moco/recipe"
	"moco/weights"
)

// opened returns an untrained encoder that went through its file.
func opened(t *testing.T, settings ...string) *encoder.Encoder {
	t.Helper()
	all := []string{"encoder.width=0.0625", "views.size=8", "encoder.dim=8"}
	r, err := recipe.Load("cifar", append(all, settings...))
	if err != nil {
		t.Fatal(err)
	}
	e, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := e.NewState()
	if _, err := moco.CompileFeatures(&r, 1, e, s); err != nil {
		t.Fatal(err)
	}
	if err := moco.InitialiseQuery(&r, s, nil); err != nil {
		t.Fatal(err)
	}
	f, err := encoder.Export(&r, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), encoder.File)
	if _, err := weights.Save(path, f); err != nil {
		t.Fatal(err)
	}
	back, err := encoder.OpenWith(context.Background(), path, encoder.Options{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	return back
}

// TestReading: an encoder reads pictures as its training did, be they files of a set or images of a
// program.
func TestReading(t *testing.T) {
	t.Parallel()
	glass := image.NewNRGBA(image.Rect(0, 0, 60, 40))
	for i := range 60 * 40 {
		glass.Set(i%60, i/60, color.NRGBA{uint8(i), uint8(i >> 3), uint8(i * i), uint8(i * 7)})
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "glass.png"))
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, glass); err != nil {
		t.Fatal(err)
	}
	f.Close()
	set, err := data.Open(context.Background(), dir, data.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	seen := map[string][]float32{}
	for _, c := range []struct {
		name     string
		settings []string
		want     data.Reading
	}{
		{"rule", nil, data.Reading{Side: 18}},
		{"from", []string{"views.from=11"}, data.Reading{Side: 11}},
		{"black", []string{"views.ground=black"}, data.Reading{Side: 18, Ground: picture.Black}},
		{"drop", []string{"views.ground=drop"}, data.Reading{Side: 18, Ground: picture.Drop}},
	} {
		e := opened(t, c.settings...)
		if e.Reading() != c.want {
			t.Errorf("%s: pictures are read as %v, want %v", c.name, e.Reading(), c.want)
		}
		rows, err := e.Embed(context.Background(), []image.Image{glass})
		if err != nil {
			t.Fatal(err)
		}
		walk := encoder.Walk{}
		err = e.EmbedSet(context.Background(), set, walk, func(b encoder.Embedding) error {
			for i, v := range b.Rows {
				if d := v - rows[0][i]; d > 1e-5 || d < -1e-5 {
					t.Errorf("%s: the file's row is %v, the image's %v", c.name, b.Rows, rows[0])
					break
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for other, row := range seen {
			if slices.Equal(row, rows[0]) {
				t.Errorf("%s gives the features of %s", c.name, other)
			}
		}
		seen[c.name] = rows[0]
	}
}
