package moco

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"moco/augment"
	"moco/data"
	"moco/engine"
	"moco/engine/cpu" // the one place of this package that names an engine, so that Open needs nothing but a path
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

// EncoderFile is the name of the trained encoder in a run's folder.
const EncoderFile = "encoder.safetensors"

// OpenOptions tune OpenWith; the zero value is what Open takes.
type OpenOptions struct {
	Layer     Layer         // what Embed gives; empty: Backbone
	Engine    engine.Engine // what computes; nil: the CPU, on all processors that Go may use
	Batch     int           // the most images encoded at once; 0: 64. Memory grows with it
	Precision string        // of activations, fp32 or bf16; empty: that of the encoder's training
}

// Encoder is a trained encoder, ready to make features. It is safe for concurrent use; calls take turns at the engine, which uses all its
// processors for each.
type Encoder struct {
	Recipe Recipe // its Encoder, Views and Precision are what counts
	SHA256 string // of the file that it was opened from; empty if there was none

	layer  Layer
	policy augment.Policy // of the plain view: the middle of the image
	engine engine.Engine
	state  engine.State
	batch  int

	mu       sync.Mutex             // held while a program is filled, run and read: programs of one state share their memory
	programs map[int]engine.Program // by size of batch; nil once closed
}

// Open opens a trained encoder: an encoder.safetensors, or the folder of a run, which holds one.
func Open(path string) (*Encoder, error) { return OpenWith(path, OpenOptions{}) }

// OpenWith is Open with another engine, batch, precision or layer.
func OpenWith(path string, o OpenOptions) (*Encoder, error) {
	f, sha, path, err := load(path)
	if err != nil {
		return nil, err
	}
	e, err := FromFile(f, o)
	if err != nil {
		return nil, fmt.Errorf("open the model %s: %w", path, err)
	}
	e.SHA256 = sha
	return e, nil
}

// load reads the file of an encoder, or that in the folder of a run, whose path it returns too.
func load(path string) (f *weights.File, sha, file string, err error) {
	if info, err := os.Stat(path); err != nil {
		return nil, "", "", fmt.Errorf("open the model: %w", err)
	} else if info.IsDir() {
		run := path
		path = filepath.Join(path, EncoderFile)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, "", "", fmt.Errorf("open the model: %s holds no %s; is it the folder of a run, and has the run written its first checkpoint?", run, EncoderFile)
		}
	}
	if f, sha, err = weights.Load(path); err != nil {
		return nil, "", "", fmt.Errorf("open the model: %w", err)
	}
	return f, sha, path, nil
}

// FromFile is OpenWith on weights that are in memory already, under torchvision's names and with the metadata that Export writes.
func FromFile(f *weights.File, o OpenOptions) (*Encoder, error) {
	r, shapes, err := described(f)
	if err != nil {
		return nil, err
	}
	if o.Precision != "" {
		r.Precision = o.Precision
		if err := r.Check(); err != nil {
			return nil, err
		}
	}
	if o.Engine == nil {
		if o.Engine, err = cpu.New(cpu.Options{}); err != nil {
			return nil, err
		}
	}
	s := o.Engine.NewState()
	e, err := NewEncoder(r, s, o)
	if err != nil {
		return nil, err
	}
	for name := range shapes {
		if err := s.Write("encoder_q."+name, f.Get(name)); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// described is the recipe that an encoder's metadata tell, and the shapes of its tensors, which are held to the file before anything of the size that the
// metadata claim is made.
func described(f *weights.File) (Recipe, map[string]tensor.Shape, error) {
	r, err := recipeOf(f)
	if err != nil {
		return r, nil, err
	}
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
			return r, nil, fmt.Errorf("it lacks the tensor %q of a %s", name, r.Encoder.Arch)
		}
		if t.Type != tensor.Float32 || !slices.Equal(t.Shape, shapes[name]) {
			return r, nil, fmt.Errorf("%q is %v %v, and a %s of width %v has float32 %v there", name, t.Type, t.Shape, r.Encoder.Arch, r.Encoder.Width, shapes[name])
		}
	}
	return r, shapes, nil
}

// NewEncoder returns the encoder whose variables ("encoder_q.") live in s, a state of o.Engine, such as a training step's: it follows the training.
func NewEncoder(r Recipe, s engine.State, o OpenOptions) (*Encoder, error) {
	o.Layer, o.Batch = cmp.Or(o.Layer, Backbone), cmp.Or(o.Batch, 64)
	if o.Batch < 1 {
		return nil, fmt.Errorf("a batch of %d images cannot be encoded; give 1 or more", o.Batch)
	}
	policy, err := r.Views.Drawn()
	if err != nil {
		return nil, err
	}
	e := &Encoder{Recipe: r, layer: o.Layer, policy: policy.ForEvaluation(), engine: o.Engine, state: s, batch: o.Batch, programs: map[int]engine.Program{}}
	if _, err := e.DimOf(o.Layer); err != nil {
		return nil, err
	}
	if _, err := e.program(o.Batch); err != nil { // all variables are known to s from here on
		return nil, err
	}
	return e, nil
}

// program returns the features graph for batches of n. The caller holds mu, or nobody else has e yet.
func (e *Encoder) program(n int) (engine.Program, error) {
	if e.programs == nil {
		return nil, errors.New("this encoder is closed")
	}
	if p := e.programs[n]; p != nil {
		return p, nil
	}
	g, err := Features(&e.Recipe, n)
	if err != nil {
		return nil, err
	}
	p, err := e.engine.Compile(g, e.state)
	if err != nil {
		return nil, err
	}
	e.programs[n] = p
	return p, nil
}

// Dim is the length of the rows that Embed gives.
func (e *Encoder) Dim() int {
	dim, _ := e.DimOf(e.layer)
	return dim
}

// DimOf is the length of a layer's features.
func (e *Encoder) DimOf(layer Layer) (int, error) {
	switch layer {
	case Head:
		return e.Recipe.Encoder.Dim, nil
	case Backbone:
		return e.Recipe.Encoder.FeatureDim(), nil
	}
	return 0, fmt.Errorf("features: %q is not known; there are head and backbone", layer)
}

// Engine is the name of what computes, such as "cpu/avx512": another one rounds in another way.
func (e *Encoder) Engine() string { return e.engine.Name() }

// Batch is the most images that are encoded at once.
func (e *Encoder) Batch() int { return e.batch }

// Cost is what the features of one whole batch take.
func (e *Encoder) Cost() engine.Cost {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.program(e.batch)
	if err != nil {
		return engine.Cost{}
	}
	return p.Cost()
}

// Close frees the encoder's programs; later calls fail.
func (e *Encoder) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, p := range e.programs {
		errs = append(errs, p.Close())
	}
	e.programs = nil
	return errors.Join(errs...)
}

// Embed returns the features of images, a row of Dim numbers and length one for each, so that the dot product of two rows is their cosine
// similarity. What the encoder sees of an image is its middle, as in evaluation. data.DecodeFile reads image files upright, which
// image.Decode does not.
//
// The same images in the same call give the same bits. Alone or among others, an image's row may differ by rounding: small batches are
// computed in another way than large ones.
func (e *Encoder) Embed(ctx context.Context, images []image.Image) ([][]float32, error) {
	each, dim := e.viewLen(), e.Dim()
	out := make([]float32, len(images)*dim)
	rows := make([][]float32, 0, len(images))
	x := make([]float32, min(e.batch, len(images))*each)
	scratch := make([]augment.Scratch, runtime.GOMAXPROCS(0))
	for lo := 0; lo < len(images); lo += e.batch {
		n := min(e.batch, len(images)-lo)
		err := loader.Parallel(ctx, n, len(scratch), func(w, i int) error {
			img, err := data.FromImage(images[lo+i])
			if err != nil {
				return fmt.Errorf("embed image %d of %d: %w", lo+i, len(images), err)
			}
			e.policy.View(x[i*each:(i+1)*each], img, nil, &scratch[w])
			return nil
		})
		if err != nil {
			return nil, err
		}
		size := 1
		for size < n {
			size *= 2
		}
		if err := e.run(x[:n*each], n, min(size, e.batch), e.layer, out[lo*dim:(lo+n)*dim]); err != nil {
			return nil, fmt.Errorf("embed: %w", err)
		}
	}
	for i := range images {
		rows = append(rows, out[i*dim:(i+1)*dim:(i+1)*dim])
	}
	return rows, nil
}

// viewLen is the number of values of a view.
func (e *Encoder) viewLen() int { return 3 * e.policy.Size * e.policy.Size }

// run encodes n views with the program of a size and writes their normalised features to out.
func (e *Encoder) run(x []float32, n, size int, layer Layer, out []float32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.program(size)
	if err != nil {
		return err
	}
	in := p.Input("x").Float32s()
	clear(in[copy(in, x):]) // what stands there from an earlier batch must not slow this one down, were it denormal
	if err := p.Run(); err != nil {
		return err
	}
	copy(out, p.Output(outputs[layer]).Float32s())
	dim := len(out) / n
	for i := range n {
		normalise(out[i*dim : (i+1)*dim])
	}
	return nil
}

// outputs are the layers' names in the graph that Features makes.
var outputs = map[Layer]string{Head: "features", Backbone: "backbone"}

// normalise scales a row to length one, in place.
func normalise(row []float32) {
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
}

// Walk says how EmbedSet goes through a set.
type Walk struct {
	Layer Layer // empty: the one that the encoder was opened with
	// From is the first image. To go on with a walk that was stopped, give the Next of its last Embedding: the rows are then the same, bit for
	// bit, as if it had not been stopped.
	From int
	// Skipped is told of each image that cannot be read, in the set's order; those are left out. An error ends the walk. May be nil.
	Skipped func(image int, err error) error
}

// Embedding is the features of some images of a set.
type Embedding struct {
	Images []int     // their places in the set
	Rows   []float32 // [len(Images), dim of the layer], each row of length one
	Next   int       // the first image that was not looked at yet
}

// EmbedSet makes the features of all images of a set, in its order and a batch at a time, and calls f with each batch. What f gets is valid until
// it returns; memory does not grow with the set. After the last image f is called once more, without images, if any stood at the end that could not be
// read: Next is then the set's length.
func (e *Encoder) EmbedSet(ctx context.Context, set *data.Set, w Walk, f func(Embedding) error) error {
	layer := cmp.Or(w.Layer, e.layer)
	dim, err := e.DimOf(layer)
	if err != nil {
		return err
	}
	plain := loader.NewPlain(set, e.policy, w.From, runtime.GOMAXPROCS(0))
	plain.Skipped = w.Skipped
	x := make([]float32, e.batch*e.viewLen())
	rows := make([]float32, e.batch*dim)
	images := make([]int, e.batch)
	for told := w.From; ; {
		n, err := plain.Next(ctx, x, images)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := e.run(x[:n*e.viewLen()], n, e.batch, layer, rows[:n*dim]); err != nil {
				return err
			}
		}
		if n > 0 || plain.Position() > told {
			told = plain.Position()
			if err := f(Embedding{images[:n], rows[:n*dim], told}); err != nil {
				return err
			}
		}
		if n == 0 {
			return nil
		}
	}
}

// EncoderMetadata describes an encoder well enough to build it again and to give it what it was trained on: "mean" and "std" are those that a
// pixel of 0 to 1 is normalised by, for red, green and blue.
func EncoderMetadata(r *Recipe) map[string]string {
	c := r.Encoder
	m := map[string]string{
		"format": "pt", "arch": c.Arch, "stem": c.Stem, "width": strconv.FormatFloat(c.Width, 'g', -1, 64), "dim": strconv.Itoa(c.Dim),
		"head": c.Head, "policy": r.Views.Policy, "size": strconv.Itoa(r.Views.Size), "precision": r.Precision,
	}
	if r.Objective == "supervised" {
		m["objective"] = r.Objective // the head is a classifier
	}
	if p, err := r.Views.Drawn(); err == nil { // for readers that know nothing of policies
		m["mean"], m["std"] = triple(p.Mean), triple(p.Std)
	}
	return m
}

// triple is three numbers as text: "0.485 0.456 0.406".
func triple(v [3]float32) string {
	return strings.Trim(fmt.Sprint(v), "[]")
}

// Export returns the query encoder in s under torchvision's names, with steps as batch norm's num_batches_tracked. OpenWith reads what
// weights.Save makes of it.
func Export(r *Recipe, s engine.State, steps int) (*weights.File, error) {
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

// recipeOf reads EncoderMetadata back.
func recipeOf(f *weights.File) (Recipe, error) {
	r := Default()
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
	r.Views = Views{Policy: m["policy"], Size: int(number("size"))}
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
