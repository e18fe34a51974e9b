package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
)

// What --model takes, in every command that has it.
const modelHelp = "folder of a run, an encoder.safetensors, or a checkpoint of PyTorch"

// modelFlag declares --model for commands that take an encoder and nothing else.
func modelFlag(c *cobra.Command, path *string, more string) {
	c.Flags().StringVar(path, "model", "", modelHelp+more)
}

// pixels is the model that is none: the images' own pixels are compared.
const pixels encoder.Layer = "pixels"

// fromVectors names features that came from a file.
const fromVectors encoder.Layer = "vectors"

// layers are what of an encoder can be used.
var layers = []encoder.Layer{encoder.Head, encoder.Backbone}

// The two ways to store activations. A recipe checks its own; these are for --precision.
var precisions = []string{"fp32", "bf16"}

// source says where the features of images come from: an encoder, the pixels themselves, or, for
// commands that have flags for files of vectors, such a file.
type source struct {
	model     string
	layers    []encoder.Layer
	precision string // empty: the encoder's own
	batch     int
	size      int // pixels a side, for pixels
	// memory is what vectors from a file may take, 0: any. They stay in the file if they take more.
	memory int64
}

// bindEncoder declares the flags of a command that needs an encoder, and one layer of it.
func (s *source) bindEncoder(c *cobra.Command, batch int) {
	modelFlag(c, &s.model, " (required)")
	required(c, "model")
	s.bindLayer(c)
	s.bindEncoding(c, batch)
}

// bindAny declares the flags of a command that takes pixels too, or vectors by a flag of its own,
// which is named.
func (s *source) bindAny(c *cobra.Command, vectors string) {
	c.Flags().StringVar(&s.model, "model", "", modelHelp+"; or pixels (required without --"+vectors+")")
	c.Flags().IntVar(&s.size, "size", 32, "pixels a side, for --model pixels")
	s.bindEncoding(c, 128)
	c.MarkFlagsOneRequired("model", vectors)
}

// bindLayer declares --features for one layer.
func (s *source) bindLayer(c *cobra.Command) {
	s.layers = make([]encoder.Layer, 1)
	choiceFlag(c, &s.layers[0], "features", layers, encoder.Backbone,
		"backbone: features before the head; head: those that the loss saw")
}

// bindLayers declares --features for a list of layers.
func (s *source) bindLayers(c *cobra.Command) {
	choicesFlag(c, &s.layers, "features", layers, []encoder.Layer{encoder.Head},
		"head: features that the loss saw; backbone: those before the head")
}

func (s *source) bindEncoding(c *cobra.Command, batch int) {
	choiceFlag(c, &s.precision, "precision", precisions, "", "precision of the encoder's activations; its own if not given")
	c.Flags().IntVar(&s.batch, "batch", batch, "images encoded at once; memory grows with it")
}

// parse checks the flags.
func (s *source) parse() error {
	if s.batch < 1 {
		return usagef("--batch %d: must be at least 1", s.batch)
	}
	if s.model == string(pixels) && s.size < 1 {
		return usagef("--size %d: must be at least 1", s.size)
	}
	return nil
}

// names are those of the features that come of it.
func (s *source) names() []encoder.Layer {
	switch s.model {
	case string(pixels):
		return []encoder.Layer{pixels}
	case "":
		return []encoder.Layer{fromVectors}
	}
	return s.layers
}

// needsEncoder is true of a source that is one.
func (s *source) isEncoder() bool { return s.model != "" && s.model != string(pixels) }

// features is an opened source.
type features struct {
	app     *app
	source  *source
	encoder *encoder.Encoder // nil of pixels and vectors
}

// open opens the source, to be closed.
func (s *source) open(ctx context.Context, a *app, e engine.Engine) (*features, error) {
	f := &features{app: a, source: s}
	if !s.isEncoder() {
		return f, nil
	}
	var err error
	f.encoder, err = a.openEncoder(ctx, s.model, encoder.Options{Engine: e, Batch: s.batch, Precision: s.precision, Layer: s.layers[0]})
	return f, err
}

// Close closes the encoder.
func (f *features) Close() error {
	if f.encoder == nil {
		return nil
	}
	return f.encoder.Close()
}

// errNoEncoder is the error of images whose features are neither in a file nor can be made.
var errNoEncoder = usageError{errors.New("an image that is not among the vectors needs --model beside --vectors: " +
	"the encoder that made them")}

// of gives the features of a set's images, for each name of the source: from a file of vectors, or
// else made.
func (f *features) of(ctx context.Context, set *data.Set, vectors string) ([]*evaluate.Embedded, error) {
	var one *evaluate.Embedded
	var err error
	switch {
	case vectors != "":
		one, err = f.read(ctx, vectors, set)
	case f.encoder != nil:
		done, clear := f.app.images(set.Len(), "features")
		defer clear()
		return evaluate.FeaturesOf(ctx, f.encoder, set, f.source.layers, done)
	case f.source.model == string(pixels):
		one, err = evaluate.Pixels(ctx, set, moco.Views{Policy: "cifar", Size: f.source.size})
	default:
		err = errNoEncoder
	}
	return []*evaluate.Embedded{one}, err
}

// encode makes the features of a set's images, of the first layer.
func (f *features) encode(ctx context.Context, set *data.Set) (*evaluate.Embedded, error) {
	all, err := f.of(ctx, set, "")
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// read reads the features of a set's images from a file, and tells what does not match.
func (f *features) read(ctx context.Context, path string, set *data.Set) (*evaluate.Embedded, error) {
	read := evaluate.FromVectors
	if f.source.memory > 0 {
		read = func(ctx context.Context, path string, set *data.Set) (*evaluate.Embedded, evaluate.Match, error) {
			return evaluate.OpenVectors(ctx, path, set, f.source.memory)
		}
	}
	e, match, err := read(ctx, path, set)
	if err != nil {
		return nil, err
	}
	if match.Missing > 0 {
		f.app.warn("%d of %d images have no row in %s and are left out.", match.Missing, set.Len(), path)
	}
	if match.Foreign > 0 {
		f.app.warn("%d rows of %s are of no image here and are left out.", match.Foreign, path)
	}
	if match.Replaced > 0 {
		f.app.warn(
			"%d images are not those that %s was made of and are left out: their bytes have changed, the first of them %s; embed them again.",
			match.Replaced,
			path,
			match.Replacing,
		)
	}
	if match.Unchecked > 0 {
		f.app.warn("%d rows of %s do not say which bytes they were made of, so that images which were replaced would not be noticed.",
			match.Unchecked, path)
	}
	return e, nil
}

// openEncoder opens the encoder of a --model; a foreign one is taken too.
func (a *app) openEncoder(ctx context.Context, path string, o encoder.Options) (*encoder.Encoder, error) {
	e, err := encoder.OpenWith(ctx, path, o)
	if err == nil {
		a.warnImported(path, e.Imported)
	}
	return e, err
}

// warnImported says that a model is foreign, if it is, and what was made of it: whoever gives a
// checkpoint should see what is not used of it.
func (a *app) warnImported(path string, r *encoder.ImportReport) {
	if r != nil {
		a.warn("%s: %s; views %s. `moco import` lists all and takes other choices.", path, r, viewsOf(r))
	}
}
