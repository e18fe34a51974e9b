package exchange

import (
	"fmt"
	"maps"

	"moco"
	"moco/encoder"
	"moco/tensor"
	"moco/weights"
)

// Names names the project whose names the weights get.
type Names string

// The projects.
const (
	Timm        Names = "timm"
	Torchvision Names = "torchvision"
)

// AllNames are all names.
var AllNames = []Names{Timm, Torchvision}

// check returns an error if the project has no such encoder.
func (n Names) check(r moco.Recipe) error {
	c := r.Encoder
	if n != "" && n != Timm && n != Torchvision {
		return fmt.Errorf("names %q are not known; there are timm and torchvision", n)
	}
	if _, transformer := c.Transformer(); !transformer || n != Torchvision {
		return nil
	}
	const hint = "write timm's names instead"
	switch {
	case c.LayerScale:
		return fmt.Errorf("torchvision: its transformers have no LayerScale, and this one has; %s", hint)
	case c.Registers > 0:
		return fmt.Errorf("torchvision: its transformers have no registers, and this one has %d; %s", c.Registers, hint)
	case c.Tokens == "mean" || c.Tokens == "both":
		return fmt.Errorf("torchvision: its features are the class token, and those here are of %s tokens; %s", c.Tokens, hint)
	case c.Image != r.Views.Size:
		return fmt.Errorf("torchvision: its transformers take images of one size, that of the position embeddings: "+
			"here these are for %d pixels, and the images have %d; %s", c.Image, r.Views.Size, hint)
	}
	return nil
}

// named is the encoder's weights under the project's names. Their metadata say which names those are,
// so that Import need not guess what the encoder is.
func (n Names) named(t *encoder.Encoder) *weights.File {
	if _, transformer := t.Recipe.Encoder.Transformer(); !transformer {
		return t.Weights // moco's names are the project's
	}
	project, table := Timm, encoder.Timm
	if n == Torchvision {
		project, table = Torchvision, encoder.Torchvision
	}
	out := &weights.File{Metadata: maps.Clone(t.Weights.Metadata)}
	out.Metadata[encoder.NamesKey] = string(project)
	for _, w := range t.Weights.Tensors {
		x := w.Tensor
		if t.Recipe.Encoder.Registers > 0 {
			x = unembedded(t.Weights, w)
		}
		out.Tensors = append(out.Tensors, weights.Named{Name: table.Theirs(w.Name), Tensor: x})
	}
	return out
}

// unembedded is a tensor of a transformer with registers as timm wants it, with no_embed_class: only
// patches have positions, and the class token's is added to it.
func unembedded(f *weights.File, w weights.Named) *tensor.Tensor {
	position := f.Get("pos_embed")
	rows, channels := position.Shape[1], position.Shape[2]
	switch w.Name {
	case "pos_embed":
		return tensor.FromFloat32s(position.Float32s()[channels:], 1, rows-1, channels)
	case "cls_token":
		class := tensor.FromFloat32s(w.Tensor.Float32s(), w.Tensor.Shape...)
		for i, v := range position.Float32s()[:channels] {
			class.Float32s()[i] += v
		}
		return class
	}
	return w.Tensor
}
