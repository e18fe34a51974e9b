package evaluate

import (
	"context"
	"errors"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/internal/loader"
	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// small is a recipe with an encoder that takes milliseconds.
func small() moco.Recipe {
	r := moco.Default()
	r.Encoder = nn.Config{Arch: "resnet18", Stem: "cifar", Width: 0.0625, Dim: 8, Head: "mlp"}
	r.Views = moco.Views{Policy: "cifar", Size: 8}
	return r
}

// saved writes an encoder with its initial weights, changed by a function, and returns the file's
// path.
func saved(t *testing.T, change func(f *weights.File)) string {
	t.Helper()
	e := engines(t)[1]
	r, s := small(), e.NewState()
	step, err := moco.Compile(&r, 8, e, s)
	if err != nil {
		t.Fatal(err)
	}
	defer step.Close()
	if err := moco.Initialise(&r, s, nil); err != nil {
		t.Fatal(err)
	}
	f, err := encoder.Export(&r, s, 3)
	if err != nil {
		t.Fatal(err)
	}
	change(f)
	path := filepath.Join(t.TempDir(), encoder.File)
	if _, err := weights.Save(path, f); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenModelAndEmbed(t *testing.T) {
	path := saved(t, func(f *weights.File) {
		if f.Metadata["mean"] != "0.4914 0.4822 0.4465" || f.Metadata["std"] != "0.2023 0.1994 0.201" {
			t.Errorf("the metadata give mean %q and std %q", f.Metadata["mean"], f.Metadata["std"])
		}
		if n := f.Get("bn1.num_batches_tracked"); n == nil || n.Int64s()[0] != 3 || n.Type != tensor.Int64 {
			t.Errorf("num_batches_tracked is %v, want 3", n)
		}
	})
	set, err := data.Open(context.Background(), "builtin:test?n=11&size=9", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var got [2]*Embedded
	for i, c := range []struct {
		path  string
		batch int
		// By file, with a short last batch, and by folder, with one batch.
	}{{path, 4}, {filepath.Dir(path), 11}} {
		m, err := encoder.OpenWith(context.Background(), c.path, encoder.Options{Engine: engines(t)[1], Batch: c.batch})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for layer, dim := range map[encoder.Layer]int{encoder.Head: 8, encoder.Backbone: 32} {
			told := 0
			e, err := Features(context.Background(), m, set, layer, func(done int) { told = done })
			if err != nil {
				t.Fatal(err)
			}
			if e.Dim != dim || e.Len() != 11 || len(e.Features) != 11*dim || told != 11 || e.Labels[3] != set.Label(3) {
				t.Fatalf("%s: %d features of %d, %d labels, told of %d images; want 11 of %d", layer,
					len(e.Features)/e.Dim, e.Dim, e.Len(), told, dim)
			}
			for row, x := range chunks(e.Features, dim) {
				square := 0.0
				for _, v := range x {
					square += float64(v) * float64(v)
				}
				if math.Abs(square-1) > 1e-5 {
					t.Errorf("%s: row %d has length %v, want 1", layer, row, math.Sqrt(square))
				}
			}
			if len(e.Images) != e.Len() || e.Images[10] != 10 {
				t.Errorf("%s: the rows are of the images %v, want 0 to 10", layer, e.Images)
			}
			if layer == encoder.Head {
				got[i] = e
			}
		}
		both, err := FeaturesOf(context.Background(), m, set, []encoder.Layer{encoder.Backbone, encoder.Head}, nil)
		if err != nil || !slices.Equal(both[1].Features, got[i].Features) || both[0].Dim != 32 ||
			len(both[0].Features) != 11*32 {
			t.Errorf("both layers at once, %v: the head's features are others than alone", err)
		}
		if m.EncodeViews(make([]float32, 5), 1, []encoder.Layer{encoder.Head}, [][]float32{make([]float32, 8)}) == nil {
			t.Error("a view of five numbers is no error")
		}
		if _, err := Features(context.Background(), m, set, "neck", nil); err == nil {
			t.Error("an unknown layer is no error")
		}
	}
	for i := range got[0].Features {
		if d := math.Abs(float64(got[0].Features[i] - got[1].Features[i])); d > 1e-5 {
			t.Fatalf("feature %d differs by %v between batches of 4 and 11", i, d)
		}
	}
}

func TestOpenModelRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *weights.File)
		want   string
	}{
		// Weights without any metadata are foreign weights, and those open.
		"half the metadata":   {func(f *weights.File) { delete(f.Metadata, "width") }, "gives no width"},
		"an unknown arch":     {func(f *weights.File) { f.Metadata["arch"] = "vit" }, "resnet18"},
		"another width":       {func(f *weights.File) { f.Metadata["width"] = "16" }, "has float32"},
		"a width beyond all":  {func(f *weights.File) { f.Metadata["width"] = "1e9" }, "encoder.width"},
		"a huge view":         {func(f *weights.File) { f.Metadata["size"] = "1e15" }, "views.size"},
		"an unknown policy":   {func(f *weights.File) { f.Metadata["policy"] = "v9" }, "views.policy"},
		"a lost tensor":       {func(f *weights.File) { f.Tensors = f.Tensors[1:] }, `lacks the tensor "conv1.weight"`},
		"a tensor of another": {func(f *weights.File) { f.Tensors[0].Tensor = tensor.New(tensor.Float32, 7) }, "conv1.weight"},
		"a tensor of int": {func(f *weights.File) {
			f.Tensors[1].Tensor = tensor.New(tensor.Int32, f.Tensors[1].Tensor.Shape...)
		}, "bn1.weight"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := encoder.OpenWith(context.Background(), saved(t, c.change), encoder.Options{Engine: engines(t)[1], Batch: 4})
			if err == nil {
				m.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q, want one line that says %q", err, c.want)
			}
		})
	}
	empty := t.TempDir()
	if _, err := encoder.OpenWith(context.Background(), empty, encoder.Options{Engine: engines(t)[1], Batch: 4}); err == nil ||
		!strings.Contains(err.Error(), "first checkpoint") {
		t.Errorf("an empty folder gives %v", err)
	}
	if err := os.WriteFile(filepath.Join(empty, encoder.File), []byte("not weights"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := encoder.OpenWith(context.Background(), empty, encoder.Options{Engine: engines(t)[1], Batch: 4}); err == nil {
		t.Error("a file of text opens")
	}
}

// TestVotesStayFinite: at a small temperature exp overflows. The nearest neighbour must still win.
func TestVotesStayFinite(t *testing.T) {
	list := []Neighbour{{1, 0.99}, {0, 0.98}, {2, 0.97}}
	votes := KNN{3, 1e-4}.Votes(list, []int{0, 1, 0}, 2)
	if !(votes[1] > votes[0]) || math.IsInf(votes[1], 0) {
		t.Errorf("votes at t of 1e-4 are %v, want a finite majority for class 1", votes)
	}
}

// damaged is an encoder whose weights are finite, and whose features are not.
func damaged(f *weights.File) {
	for _, n := range f.Tensors {
		if strings.HasSuffix(n.Name, ".running_var") {
			for i := range n.Tensor.Float32s() {
				n.Tensor.Float32s()[i] = -1
			}
		}
	}
}

// TestDamagedEncoder: features that are not finite are an error wherever they are made.
func TestDamagedEncoder(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, err := data.Open(ctx, "builtin:test?n=20&size=8", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	sound, err := encoder.Open(ctx, saved(t, func(*weights.File) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer sound.Close()
	if err := sound.Check(ctx); err != nil {
		t.Errorf("a sound encoder: %v", err)
	}
	e, err := encoder.Open(ctx, saved(t, damaged))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	test, err := Features(ctx, sound, set, encoder.Head, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func() error{
		"Check":    func() error { return e.Check(ctx) },
		"Embed":    func() error { _, err := e.Embed(ctx, []image.Image{image.NewGray(image.Rect(0, 0, 9, 9))}); return err },
		"Features": func() error { _, err := Features(ctx, e, set, encoder.Head, nil); return err },
		"FeaturesOf": func() error {
			_, err := FeaturesOf(ctx, e, set, []encoder.Layer{encoder.Backbone, encoder.Head}, nil)
			return err
		},
		"ClassifyViews": func() error {
			l := DefaultLinear()
			l.Epochs, l.Rates = 1, []float64{1}
			_, err := l.ClassifyViews(ctx, engines(t)[0], e, encoder.Head, set, test, nil)
			return err
		},
	} {
		err := make()
		var wrong *encoder.FeaturesError
		if !errors.As(err, &wrong) || wrong.Images != wrong.Of || wrong.Of == 0 || wrong.First == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	v, err := newViewed(e, encoder.Head, set, test)
	if err != nil {
		t.Fatal(err)
	}
	views := loader.New(set, v.policy.CropAndFlip(), loader.Options{Batch: e.Batch(), Reading: e.Reading(), Workers: 1, MaxBad: 1})
	if err := v.epoch(ctx, 0, views, nil); !errors.As(err, new(*encoder.FeaturesError)) {
		t.Errorf("new views: %v", err)
	}
}

// TestCheckRows: the first row and the number of rows are told.
func TestCheckRows(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	name := func(row int) string { return string(rune('a' + row)) }
	for _, c := range []struct {
		rows  []float32
		want  int
		first string
	}{
		{nil, 0, ""}, {[]float32{1, 2, 3, 4}, 0, ""},
		{[]float32{1, 2, 3, nan, nan, nan, 0, 0}, 2, "b"},
		{[]float32{1, -inf, 0, 0}, 1, "a"},
	} {
		err := encoder.CheckRows(c.rows, 2, name)
		var wrong *encoder.FeaturesError
		if errors.As(err, &wrong) != (c.want > 0) || c.want > 0 && (wrong.Images != c.want || wrong.First != c.first || wrong.Of != len(c.rows)/2) {
			t.Errorf("%v: %v, want %d of them", c.rows, err, c.want)
		}
	}
}
