package evaluate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"moco"
	"moco/augment"
	"moco/data"
	"moco/engine"
	"moco/internal/loader"
	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// Layer names what an encoder gives as features.
type Layer string

// The layers: what the head makes, as the contrastive loss saw it, or the pooled features before it, which transfer better.
const (
	Head     Layer = "head"
	Backbone Layer = "backbone"
)

// Model is an encoder ready to make features.
type Model struct {
	Recipe moco.Recipe // its Encoder and Views are what counts

	engine  engine.Engine
	program engine.Program
	batch   int
}

// NewModel returns the encoder whose variables ("encoder_q.") live in s.
func NewModel(r moco.Recipe, e engine.Engine, s engine.State, batch int) (*Model, error) {
	g, err := moco.Features(&r, batch)
	if err != nil {
		return nil, err
	}
	p, err := e.Compile(g, s)
	if err != nil {
		return nil, err
	}
	return &Model{r, e, p, batch}, nil
}

// Embed makes the features of all images of a set, in its order; those that cannot be read are left out and counted. progress, if not nil, is
// told how many are done.
func (m *Model) Embed(ctx context.Context, set *data.Set, layer Layer, progress func(done int)) (*Embedded, error) {
	out := map[Layer]string{Head: "features", Backbone: "backbone"}[layer]
	if out == "" {
		return nil, fmt.Errorf("features: %q is not known; there are head and backbone", layer)
	}
	v := m.Recipe.Views
	result := m.program.Output(out)
	e := &Embedded{Dim: result.Shape[1]}
	err := eachBatch(ctx, set, v, m.batch, e, func(x []float32, n int) error {
		copy(m.program.Input("x").Float32s(), x) // a short last batch ends with views of the one before
		if err := m.program.Run(); err != nil {
			return err
		}
		for _, row := range chunks(result.Float32s()[:n*e.Dim], e.Dim) {
			e.Features = append(e.Features, normalised(row)...)
		}
		if progress != nil {
			progress(len(e.Features) / e.Dim)
		}
		return nil
	})
	return e, err
}

// Cost is what features of one batch take.
func (m *Model) Cost() engine.Cost { return m.program.Cost() }

// Close frees the program.
func (m *Model) Close() error { return m.program.Close() }

// Pixels makes features of the plain views: their pixel values, less the image's mean of each channel, as a row of length one. It is
// what a classifier can do without an encoder; with the mean left in, it would do worse.
func Pixels(ctx context.Context, set *data.Set, v moco.Views) (*Embedded, error) {
	e := &Embedded{Dim: 3 * v.Size * v.Size}
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
	policy, err := augment.Named(v.Policy, v.Size)
	if err != nil {
		return err
	}
	policy = policy.ForEvaluation()
	e.Classes = set.Classes()
	plain := loader.NewPlain(set, policy, runtime.GOMAXPROCS(0))
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
				return fmt.Errorf("none of the %d images can be read", set.Len())
			}
			return nil
		}
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

// EncoderFile is the name of the trained encoder in a run's folder.
const EncoderFile = "encoder.safetensors"

// EncoderMetadata describes an encoder well enough to build it again and to give it what it was trained on: "mean" and "std" are those that a
// pixel of 0 to 1 is normalised by, for red, green and blue.
func EncoderMetadata(r *moco.Recipe) map[string]string {
	c := r.Encoder
	m := map[string]string{
		"format": "pt", "arch": c.Arch, "stem": c.Stem, "width": strconv.FormatFloat(c.Width, 'g', -1, 64), "dim": strconv.Itoa(c.Dim),
		"head": c.Head, "policy": r.Views.Policy, "size": strconv.Itoa(r.Views.Size), "precision": r.Precision,
	}
	if p, err := augment.Named(r.Views.Policy, r.Views.Size); err == nil { // for readers that know nothing of policies
		m["mean"], m["std"] = triple(p.Mean), triple(p.Std)
	}
	return m
}

// triple is three numbers as text: "0.485 0.456 0.406".
func triple(v [3]float32) string {
	return strings.Trim(fmt.Sprint(v), "[]")
}

// Export returns the query encoder in s under torchvision's names, with steps as batch norm's num_batches_tracked.
func Export(r *moco.Recipe, s engine.State, steps int) (*weights.File, error) {
	f := &weights.File{Metadata: EncoderMetadata(r)}
	add := func(name string) error {
		t, err := s.Read("encoder_q." + name)
		f.Tensors = append(f.Tensors, weights.Named{Name: name, Tensor: t})
		return err
	}
	for _, p := range r.Encoder.Parameters() {
		if err := add(p.Name); err != nil {
			return nil, err
		}
	}
	for _, b := range r.Encoder.Buffers() {
		if err := add(b.Name); err != nil {
			return nil, err
		}
		if base, ok := strings.CutSuffix(b.Name, "running_var"); ok {
			n := tensor.New(tensor.Int64)
			n.Int64s()[0] = int64(steps)
			f.Tensors = append(f.Tensors, weights.Named{Name: base + "num_batches_tracked", Tensor: n})
		}
	}
	return f, nil
}

// OpenModel loads an encoder: a file as Export writes it, or the folder of a run, which holds one. precision is fp32 or bf16, or empty for that of
// the encoder's training.
func OpenModel(path string, e engine.Engine, batch int, precision string) (*Model, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the model: %w", err)
	} else if info.IsDir() {
		run := path
		path = filepath.Join(path, EncoderFile)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open the model: %s holds no %s; is it the folder of a run, and has the run written its first checkpoint?", run, EncoderFile)
		}
	}
	f, _, err := weights.Load(path)
	if err != nil {
		return nil, fmt.Errorf("open the model: %w", err)
	}
	r, err := recipeOf(f)
	if err != nil {
		return nil, fmt.Errorf("open the model %s: %w", path, err)
	}
	if precision != "" {
		r.Precision = precision
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("open the model: %w", err)
		}
	}
	// Shapes are held to the file before anything of the size that its metadata claim is made.
	shapes := map[string]tensor.Shape{}
	for _, p := range r.Encoder.Parameters() {
		shapes[p.Name] = p.Shape
	}
	for _, b := range r.Encoder.Buffers() {
		shapes[b.Name] = tensor.Shape{b.Channels}
	}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		t := f.Get(name)
		if t == nil {
			return nil, fmt.Errorf("open the model %s: it lacks the tensor %q of a %s", path, name, r.Encoder.Arch)
		}
		if t.Type != tensor.Float32 || !slices.Equal(t.Shape, shapes[name]) {
			return nil, fmt.Errorf("open the model %s: %q is %v %v, and a %s of width %v has float32 %v there", path, name, t.Type, t.Shape, r.Encoder.Arch, r.Encoder.Width, shapes[name])
		}
	}
	s := e.NewState()
	m, err := NewModel(r, e, s, batch)
	if err != nil {
		return nil, fmt.Errorf("open the model %s: %w", path, err)
	}
	for name := range shapes {
		if err := s.Write("encoder_q."+name, f.Get(name)); err != nil {
			m.Close()
			return nil, fmt.Errorf("open the model %s: %w", path, err)
		}
	}
	return m, nil
}

// recipeOf reads EncoderMetadata back.
func recipeOf(f *weights.File) (moco.Recipe, error) {
	r := moco.Default()
	m := f.Metadata
	var err error
	number := func(key string) float64 {
		v, e := strconv.ParseFloat(m[key], 64)
		if e != nil && err == nil {
			err = fmt.Errorf("its metadata gives no %s; is it an encoder that moco has written?", key)
		}
		return v
	}
	r.Encoder = nn.Config{Arch: m["arch"], Stem: m["stem"], Head: m["head"], Width: number("width"), Dim: int(number("dim"))}
	r.Views = moco.Views{Policy: m["policy"], Size: int(number("size"))}
	if p := m["precision"]; p != "" {
		r.Precision = p
	}
	if err != nil {
		return r, err
	}
	if err := r.Check(); err != nil { // the rest is the default's
		return r, fmt.Errorf("its metadata say what cannot be: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return r, nil
}
