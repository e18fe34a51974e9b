// Package encoder is the trained encoder, and all that most programs need: Open a file that
// training wrote, or weights that PyTorch has saved, and Embed images.
//
// Export and Metadata define the content of an encoder's file, Import makes such a file from
// foreign checkpoints, and a Probe is a linear classifier on an encoder's features.
package encoder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"moco"
	"runtime"
	"sync"

	"moco/augment"
	"moco/data"
	"moco/engine"
	"moco/engine/cpu" // so that Open needs nothing but a path
	"moco/internal/loader"
	"moco/picture"
	"moco/tensor"
	"moco/weights"
)

// Layer names a layer whose output is taken as features.
type Layer string

// The layers: the head's output, as the contrastive loss sees it, or the pooled features before the
// head. The latter transfer better.
const (
	Head     Layer = "head"
	Backbone Layer = "backbone"
)

// Options say how an encoder computes. Open uses the zero value.
type Options struct {
	Layer Layer // the layer of Embed; empty: Backbone
	// Engine computes. Nil takes the CPU, with all processors that Go may use.
	Engine engine.Engine
	// Batch is the largest number of images encoded at once. 0 is 64. Memory grows with it.
	Batch int
	// Precision of activations, fp32 or bf16. Empty takes that of the encoder's training.
	Precision string
}

// Encoder is a trained encoder: its weights, as they lie in its file, and its features. It is safe
// for concurrent use. Calls take turns, and each uses all of the engine's processors. Do not change
// the exported fields.
type Encoder struct {
	Recipe   moco.Recipe   // only its Encoder, Views and Precision count
	SHA256   string        // of the file it was opened from; empty if there was none
	Classes  []string      // a classifier's classes, one for each output of its head
	Imported *ImportReport // how foreign weights were understood; nil for moco's own

	// Weights has the metadata and the tensors, named and ordered as in torchvision's state_dict(),
	// with num_batches_tracked. It is nil for an encoder that follows a training.
	Weights *weights.File

	layer   Layer
	policy  augment.Policy // of the plain view: the middle of the image
	reading data.Reading   // of pictures before it
	engine  engine.Engine
	batch   int

	mu       sync.Mutex // held while a program is filled, run and read: programs of one state share their memory
	state    engine.State
	loaded   bool                    // the weights stand in the state
	programs map[int]*moco.Inference // by size of batch; nil once closed
}

// Open opens a trained encoder: an encoder.safetensors, the folder of a run with one in it, or the
// weights of a ResNet or a vision transformer that PyTorch has saved and Import understands.
func Open(ctx context.Context, path string) (*Encoder, error) { return OpenWith(ctx, path, Options{}) }

// OpenWith is Open with options.
func OpenWith(ctx context.Context, path string, o Options) (*Encoder, error) {
	e, err := load(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := e.prepare(o); err != nil {
		return nil, fmt.Errorf("open the model %s: %w", path, err)
	}
	return e, nil
}

// FromFile is OpenWith for weights in memory. They are an encoder's, with torchvision's names and
// the metadata that Export writes, or foreign weights that Import understands.
func FromFile(f *weights.File, o Options) (*Encoder, error) {
	e, err := fromFile(f)
	if err != nil {
		return nil, err
	}
	return e, e.prepare(o)
}

// Following returns the query encoder of a training. Its variables live in s, a state of o.Engine.
// The encoder changes as the training goes on.
func Following(r moco.Recipe, s engine.State, o Options) (*Encoder, error) {
	e := &Encoder{Recipe: r, state: s, loaded: true}
	if err := e.prepare(o); err != nil {
		return nil, err
	}
	_, err := e.program(e.batch)
	return e, err
}

// Untrained returns an encoder with random weights, by torchvision's rule and the recipe's seed.
// Tensors in trained, which may be nil, replace those with their names.
func Untrained(r moco.Recipe, trained map[string]*tensor.Tensor, o Options) (*Encoder, error) {
	e := &Encoder{Recipe: r, loaded: true}
	if err := e.prepare(o); err != nil {
		return nil, err
	}
	if _, err := e.program(e.batch); err != nil { // declares the variables
		return nil, err
	}
	return e, moco.InitialiseQuery(&e.Recipe, e.state, trained)
}

// prepare settles how the encoder computes. It compiles nothing before the first features are
// needed, so opening an encoder only to pass it on is cheap.
func (e *Encoder) prepare(o Options) error {
	if o.Precision != "" {
		e.Recipe.Precision = o.Precision
		if err := e.Recipe.Check(); err != nil {
			return err
		}
	}
	if o.Batch < 0 {
		return fmt.Errorf("a batch of %d images cannot be encoded; give 1 or more", o.Batch)
	}
	policy, err := e.Recipe.Views.Drawn()
	if err != nil {
		return err
	}
	if e.reading, err = e.Recipe.Views.Reading(); err != nil {
		return err
	}
	e.layer, e.batch = cmp.Or(o.Layer, Backbone), cmp.Or(o.Batch, 64)
	e.policy, e.programs = policy.ForEvaluation(), map[int]*moco.Inference{}
	if _, err := e.DimOf(e.layer); err != nil {
		return err
	}
	if e.engine = o.Engine; e.engine == nil {
		if e.engine, err = cpu.New(cpu.Options{}); err != nil {
			return err
		}
	}
	if e.state == nil {
		e.state = e.engine.NewState()
	}
	return nil
}

// program returns the encoder compiled for batches of n. The caller must hold mu, or be the only
// one that has e.
func (e *Encoder) program(n int) (*moco.Inference, error) {
	if e.programs == nil {
		return nil, errors.New("this encoder is closed")
	}
	if p := e.programs[n]; p != nil {
		return p, nil
	}
	p, err := moco.CompileFeatures(&e.Recipe, n, e.engine, e.state)
	if err != nil {
		return nil, err
	}
	e.programs[n] = p
	return p, e.load()
}

// load writes the weights to the state, after a program has declared its variables.
func (e *Encoder) load() error {
	if e.loaded {
		return nil
	}
	for _, n := range e.Weights.Tensors {
		// Only PyTorch uses the number of batches seen.
		if n.Tensor.Type != tensor.Float32 {
			continue
		}
		if err := moco.WriteQuery(e.state, n.Name, n.Tensor); err != nil {
			return err
		}
	}
	e.loaded = true
	return nil
}

// Layer is the layer that Embed returns.
func (e *Encoder) Layer() Layer { return e.layer }

// Dim is the length of Embed's rows.
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

// Engine is the engine's name, such as "cpu/avx512". Engines differ in rounding.
func (e *Encoder) Engine() string { return e.engine.Name() }

// Batch is the largest number of images that are encoded at once.
func (e *Encoder) Batch() int { return e.batch }

// Cost is the cost of the features of one whole batch.
func (e *Encoder) Cost() (engine.Cost, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.program(e.batch)
	if err != nil {
		return engine.Cost{}, err
	}
	return p.Cost(), nil
}

// Close frees the encoder's programs. Later calls fail.
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

// Embed returns the features of images: for each a row of Dim numbers and length one, so that the
// dot product of two rows is their cosine similarity. The encoder sees the middle of an image, as
// in evaluation. data.DecodeFile reads image files upright; image.Decode does not.
//
// The same images in the same call give the same bits. An image's row may differ by rounding
// between calls, alone or among others: small batches are computed differently from large ones.
//
// With a damaged encoder the error is a *FeaturesError.
func (e *Encoder) Embed(ctx context.Context, images []image.Image) ([][]float32, error) {
	each, dim := e.viewLen(), e.Dim()
	out := make([]float32, len(images)*dim)
	rows := make([][]float32, 0, len(images))
	x := make([]float32, min(e.batch, len(images))*each)
	scratch := make([]embedScratch, runtime.GOMAXPROCS(0))
	for lo := 0; lo < len(images); lo += e.batch {
		n := min(e.batch, len(images)-lo)
		err := loader.Parallel(ctx, n, len(scratch), func(w, i int) error {
			img, err := picture.FromImage(images[lo+i], e.reading.Ground)
			if err != nil {
				return fmt.Errorf("embed image %d of %d: %w", lo+i, len(images), err)
			}
			s := &scratch[w]
			img = s.resize.Reduce(&s.reduced, img, picture.Options{Side: e.reading.Side})
			e.policy.View(x[i*each:(i+1)*each], img, nil, &s.view)
			return nil
		})
		if err != nil {
			return nil, err
		}
		size := 1
		for size < n {
			size *= 2
		}
		if err := e.run(x[:n*each], n, min(size, e.batch), []Layer{e.layer},
			[][]float32{out[lo*dim : (lo+n)*dim]}); err != nil {
			return nil, fmt.Errorf("embed: %w", err)
		}
	}
	for i := range images {
		rows = append(rows, out[i*dim:(i+1)*dim:(i+1)*dim])
	}
	return rows, CheckRows(out, dim, func(i int) string { return fmt.Sprintf("image %d", i) })
}

// embedScratch is what one goroutine needs.
type embedScratch struct {
	resize  picture.Resizer
	reduced picture.Image
	view    augment.Scratch
}

// Reading is how the encoder's pictures are read: reduced, and on the ground of its training.
func (e *Encoder) Reading() data.Reading { return e.reading }

// viewLen is the number of values of a view.
func (e *Encoder) viewLen() int { return 3 * e.policy.Size * e.policy.Size }

// EncodeViews makes the features of n views, at most Batch. x holds the views [n,S,S,3], drawn and
// normalised as by augment's View, where S is the recipe's Views.Size. out gets n rows of length
// one for each of the layers. The encoder does not change: batch norm uses its running statistics.
func (e *Encoder) EncodeViews(x []float32, n int, layers []Layer, out [][]float32) error {
	if n < 1 || n > e.batch || len(x) != n*e.viewLen() || len(out) != len(layers) {
		return fmt.Errorf("encode views: %d views in %d numbers for %d of %d layers; want 1 to %d views of %d numbers",
			n, len(x), len(out), len(layers), e.batch, e.viewLen())
	}
	for i, layer := range layers {
		if dim, err := e.DimOf(layer); err != nil {
			return err
		} else if len(out[i]) != n*dim {
			return fmt.Errorf("encode views: %d numbers for %d rows of %d", len(out[i]), n, dim)
		}
	}
	return e.run(x, n, e.batch, layers, out)
}

// run encodes n views with the program for batches of the given size. It writes the normalised
// features of each layer to the layer's out.
func (e *Encoder) run(x []float32, n, size int, layers []Layer, out [][]float32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.program(size)
	if err != nil {
		return err
	}
	// Denormal numbers from an earlier batch would slow this one down.
	clear(p.Views[copy(p.Views, x):])
	if err := p.Run(); err != nil {
		return err
	}
	for l, layer := range layers {
		rows := out[l]
		copy(rows, features(p, layer))
		dim := len(rows) / n
		for i := range n {
			Normalise(rows[i*dim : (i+1)*dim])
		}
	}
	return nil
}

// features is a layer's output of the last run of p.
func features(p *moco.Inference, layer Layer) []float32 {
	if layer == Head {
		return p.Head
	}
	return p.Backbone
}

// Normalise scales a row to length one, in place, and returns it. A row of zeros stays.
func Normalise(row []float32) []float32 {
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

// Walk says how EmbedSet goes through a set.
type Walk struct {
	Layer Layer   // empty: the encoder's own
	More  []Layer // further layers, at almost no cost
	// From is the first image. To continue a walk that was stopped, give the Next of its last
	// Embedding. The rows are then the same bits as without the stop.
	From int
	// To, if not 0, is the first image that the walk leaves out: it makes a part of the rows. They
	// are the same bits as in a walk through all images.
	To int
	// Skipped is told of each unreadable image, in the set's order. The walk leaves the image out.
	// An error ends the walk. Skipped may be nil.
	Skipped func(image int, err error) error
}

// Embedding is the features of some images of a set.
type Embedding struct {
	Images []int       // their places in the set
	Rows   []float32   // [len(Images), dim of the layer], each row of length one
	More   [][]float32 // the rows of each of the Walk's further layers
	Next   int         // the first image that was not read yet
}

// EmbedSet makes the features of all images of a set, in the set's order and a batch at a time, and
// calls f with each batch. The batch is valid until f returns. Memory does not grow with the set.
// If unreadable images end the walk, f is called once more, without images and with the walk's end
// as Next.
func (e *Encoder) EmbedSet(ctx context.Context, set *data.Set, w Walk, f func(Embedding) error) error {
	layers := append([]Layer{cmp.Or(w.Layer, e.layer)}, w.More...)
	dims, rows, have := make([]int, len(layers)), make([][]float32, len(layers)), make([][]float32, len(layers))
	for l, layer := range layers {
		var err error
		if dims[l], err = e.DimOf(layer); err != nil {
			return err
		}
		rows[l] = make([]float32, e.batch*dims[l])
	}
	plain := loader.NewPlain(set, e.reading, e.policy, w.From, runtime.GOMAXPROCS(0))
	plain.Skipped = w.Skipped
	if w.To != 0 {
		plain.EndBefore(w.To)
	}
	x := make([]float32, e.batch*e.viewLen())
	images := make([]int, e.batch)
	for told := w.From; ; {
		n, err := plain.Next(ctx, x, images)
		if err != nil {
			return err
		}
		for l := range layers {
			have[l] = rows[l][:n*dims[l]]
		}
		if n > 0 {
			if err := e.run(x[:n*e.viewLen()], n, e.batch, layers, have); err != nil {
				return err
			}
		}
		if n > 0 || plain.Position() > told {
			told = plain.Position()
			if err := f(Embedding{images[:n], have[0], have[1:], told}); err != nil {
				return err
			}
		}
		if n == 0 {
			return nil
		}
	}
}
