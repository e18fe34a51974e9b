// Package nn builds encoders as graphs: ResNets under torchvision's names and vision transformers
// under timm's, with their shapes and initialisation.
//
// The two are families behind one small interface, and Config answers what the rest of moco asks of
// an encoder. So nobody outside this package needs to know of which family one is.
package nn

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"

	"moco/graph"
	"moco/tensor"
)

// Config is an encoder: a backbone, which is a ResNet (He et al. 2016) or a vision transformer
// (Dosovitskiy et al. 2021), and the head that projects its features. Keys that a family does not
// have are left at their zero values.
type Config struct {
	// Arch is resnet10, 18, 34, 50, 101 or 152; or vit_ti, vit_s, vit_b or vit_l with the side of a
	// patch in pixels behind it (2, 4, 8, 14, 16 or 32), such as vit_s16.
	Arch string `yaml:"arch" json:"arch"`
	// Stem of a ResNet is imagenet (7x7 with stride 2, then max pooling), strided (3x3 with stride 2)
	// or cifar (3x3 with stride 1). A transformer has none.
	Stem string `yaml:"stem,omitempty" json:"stem,omitempty"`
	// Width multiplies every count of channels.
	Width float64 `yaml:"width" json:"width"`
	// Dim is the number of features (C in the paper).
	Dim int `yaml:"dim" json:"dim"`
	// Head is linear (MoCo v1), mlp (two layers, MoCo v2), mlp_bn (layers with batch norm, MoCo v3) or
	// none. Without a head the pooled features are the output, and Dim is FeatureDim.
	Head string `yaml:"head" json:"head"`
	// HeadLayers and Hidden are the number of linear layers of mlp_bn, 2 or 3, and the width of all
	// but the last. The paper has 2 for ResNets, 3 for transformers, and 4096.
	HeadLayers int `yaml:"head_layers,omitempty" json:"head_layers,omitempty"`
	Hidden     int `yaml:"hidden,omitempty" json:"hidden,omitempty"`
	// Layers is the number of blocks in each of a ResNet's four stages, or in a transformer. Nil takes
	// the architecture's own.
	Layers []int `yaml:"layers,omitempty" json:"layers,omitempty"`

	// The keys of transformers.

	// Image is the pixels a side that the position embeddings are made for. Images of another size get
	// interpolated ones.
	Image int `yaml:"image,omitempty" json:"image,omitempty"`
	// Heads is the number of attention heads; 0 is one for each 64 channels. MoCo v3's vit_s16 has 12.
	Heads int `yaml:"heads,omitempty" json:"heads,omitempty"`
	// Tokens says what the features are: the class token, the mean of the patch tokens, or both, one
	// behind the other. Empty is class.
	Tokens string `yaml:"tokens,omitempty" json:"tokens,omitempty"`
	// Position embeddings are learned, or sincos: fixed sines and cosines of row and column, as in
	// MoCo v3. Empty is learned.
	Position string `yaml:"position,omitempty" json:"position,omitempty"`
	// Interpolation is how the position embeddings of another grid are made of those of Image's: see
	// the kinds in position.go. Empty is bicubic.
	Interpolation string `yaml:"interpolation,omitempty" json:"interpolation,omitempty"`
	// LayerScale scales the channels of what each branch of a block adds (Touvron et al. 2021).
	LayerScale bool `yaml:"layer_scale,omitempty" json:"layer_scale,omitempty"`
	// Registers is the number of tokens that hold nothing of the image (Darcet et al. 2024).
	Registers int `yaml:"registers,omitempty" json:"registers,omitempty"`
	// DropPath is the share of the examples for which training leaves out a branch of the last block
	// (stochastic depth, Huang et al. 2016). It rises linearly from 0 at the first block.
	DropPath float64 `yaml:"drop_path,omitempty" json:"drop_path,omitempty"`
	// NormEpsilon is added to layer norm's variance; 0 is 1e-6.
	NormEpsilon float64 `yaml:"norm_epsilon,omitempty" json:"norm_epsilon,omitempty"`
	// FrozenPatches keeps the patch projection at its random start, as MoCo v3 does for stability.
	FrozenPatches bool `yaml:"frozen_patches,omitempty" json:"frozen_patches,omitempty"`
}

// family is a kind of backbone, with the config of one. What differs between kinds is a method.
type family interface {
	// check reports what is wrong with the keys that the family reads.
	check(wrong func(bad bool, format string, a ...any))
	// lacks names the keys that the family does not have.
	lacks() []string
	// backbone walks through the network, up to its pooled features.
	backbone(b *builder, x *graph.Node) *graph.Node
	// features is the number of pooled features.
	features() int
	// depth is the number of blocks or stages: Parameter.Depth of the head is one more.
	depth() int
	// checkImage refuses sizes that the backbone cannot take.
	checkImage(size int) error
	// describe names the backbone in messages.
	describe() string
	// optimizer is the one that such networks are usually trained by.
	optimizer() string
}

// family returns the family of c's architecture, or nil if there is none of that name.
func (c Config) family() family {
	if a, ok := resnets[c.Arch]; ok {
		return resnet{c, a}
	}
	if a, patch, ok := transformerOf(c.Arch); ok {
		return transformer{Config: c, shape: a, patch: patch}
	}
	return nil
}

// Default is the encoder that a recipe with an architecture has where it sets nothing else.
func Default(arch string) Config {
	c := Config{Arch: arch, Width: 1, Dim: 128, Head: "linear"}
	if Has(arch, "stem") {
		c.Stem = "imagenet"
	}
	return c
}

// For returns c for images of a size, where c leaves open which: a transformer without Image gets
// it. All others stay as they are.
func (c Config) For(size int) Config {
	if c.family() != nil && Has(c.Arch, "image") && c.Image == 0 {
		c.Image = size
	}
	return c
}

// Check returns what is wrong with c. Each error names its key.
func (c Config) Check() error {
	var errs []error
	wrong := func(bad bool, format string, a ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("encoder."+format, a...))
		}
	}
	f := c.family()
	wrong(f == nil, "arch: %q is not known; there are %s, and %s", c.Arch, strings.Join(resnetNames, ", "), transformerNames)
	wrong(!(c.Width > 0 && c.Width <= 16), "width: must be above 0 and at most 16, is %v", c.Width)
	wrong(c.Dim < 1 || c.Dim > 1<<16, "dim: must be 1 to 65536, is %d", c.Dim)
	if f != nil && len(errs) == 0 {
		f.check(wrong)
		for key, field := range c.keys() {
			wrong(!Has(c.Arch, key) && !field.IsZero(), "%s: a %s has no such key", key, c.Arch)
		}
	}
	c.checkHead(f != nil && len(errs) == 0, wrong)
	return errors.Join(errs...)
}

// keys gives the fields of c by their names in YAML.
func (c Config) keys() iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		v := reflect.ValueOf(c)
		for i := range v.NumField() {
			key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			if !yield(key, v.Field(i)) {
				return
			}
		}
	}
}

// Has tells whether encoders of an architecture have a key of Config, by its name in YAML.
func Has(arch, key string) bool {
	f := Config{Arch: arch}.family()
	return f == nil || !slices.Contains(f.lacks(), key)
}

// FeatureDim is the number of pooled features, the input of the head.
func (c Config) FeatureDim() int {
	if f := c.family(); f != nil {
		return f.features()
	}
	return 0
}

// Depth is the number of a ResNet's stages or a transformer's blocks. The head has the depth behind
// the last of them.
func (c Config) Depth() int {
	if f := c.family(); f != nil {
		return f.depth()
	}
	return 0
}

// CheckImage returns an error if the encoder cannot take images of size x size pixels.
func (c Config) CheckImage(size int) error {
	if f := c.family(); f != nil {
		return f.checkImage(size)
	}
	return nil
}

// Describe names the backbone in messages, such as "resnet50 (imagenet stem, width 1)".
func (c Config) Describe() string {
	if f := c.family(); f != nil {
		return f.describe()
	}
	return c.Arch
}

// Optimizer is the kind of optimizer that such backbones are usually trained by: sgd or adamw.
func (c Config) Optimizer() string {
	if f := c.family(); f != nil {
		return f.optimizer()
	}
	return "sgd"
}

// Unfrozen is c with all its parameters trained that can be, for fine-tuning.
func (c Config) Unfrozen() Config {
	c.FrozenPatches = false
	return c
}

// SameBackbone returns an error that names the first difference between two encoders that keeps the
// weights of one from being those of the other. What projects the features may differ.
func (c Config) SameBackbone(other Config) error {
	if c.Describe() != other.Describe() {
		return fmt.Errorf("%s and not a %s", c.Describe(), other.Describe())
	}
	a, b := c.backboneShapes(), other.backboneShapes()
	for _, name := range slices.Sorted(maps.Keys(a)) {
		shape := a[name]
		if b[name] == nil {
			return fmt.Errorf("%s with %s and not without", c.Arch, name)
		}
		if !shape.Equal(b[name]) {
			return fmt.Errorf("%s with %s of %v and not of %v", c.Arch, name, shape, b[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if a[name] == nil {
			return fmt.Errorf("%s without %s", c.Arch, name)
		}
	}
	return nil
}

// backboneShapes are the shapes of the parameters below the head.
func (c Config) backboneShapes() map[string]tensor.Shape {
	shapes := map[string]tensor.Shape{}
	for _, p := range c.Parameters() {
		if !OfHead(p.Name) {
			shapes[p.Name] = p.Shape
		}
	}
	return shapes
}
