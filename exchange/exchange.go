// Package exchange writes trained encoders in the formats of other tools: safetensors, PyTorch's
// state dicts, detectron2's pickles, ONNX. docs/interop.md shows how each tool uses its file, and
// what was checked.
package exchange

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"moco/encoder"
	"moco/nn"
	"moco/weights"
)

// Format names a kind of file.
type Format string

// The formats.
const (
	Safetensors Format = "safetensors"
	Torch       Format = "torch"
	Detectron2  Format = "detectron2"
	ONNX        Format = "onnx"
)

// Formats are all formats.
var Formats = []Format{Safetensors, Torch, Detectron2, ONNX}

// extensions gives the format for the end of a file's name.
var extensions = map[string]Format{".safetensors": Safetensors, ".pth": Torch, ".pt": Torch, ".pkl": Detectron2, ".onnx": ONNX}

// ByName finds the format by the end of a file's name.
func ByName(path string) (Format, error) {
	if f, ok := extensions[strings.ToLower(filepath.Ext(path))]; ok {
		return f, nil
	}
	return "", fmt.Errorf("%q does not say by its ending what it should become: .safetensors, .pth, .pkl (detectron2) or .onnx",
		filepath.Base(path))
}

// Options say what is written of an encoder.
type Options struct {
	Format Format
	// Names are those of the weights in a safetensors file or a state dict. Empty is timm for
	// transformers. ResNets have the same names in both projects.
	Names Names
	ONNX  ONNXOptions // an ONNX file is a program and not just weights
}

// Check returns, before anything is written, an error if the format cannot hold the encoder, and an
// *encoder.FeaturesError if the encoder's features are not finite.
func Check(ctx context.Context, t *encoder.Encoder, o Options) error {
	if err := checkFormat(t, o); err != nil {
		return err
	}
	return t.Check(ctx)
}

func checkFormat(t *encoder.Encoder, o Options) error {
	switch o.Format {
	case Detectron2:
		return checkDetectron2(t.Recipe.Encoder)
	case ONNX:
		return o.ONNX.check(t)
	}
	if !slices.Contains(Formats, o.Format) {
		return fmt.Errorf("format %q is not known; there are safetensors, torch, detectron2 and onnx", o.Format)
	}
	return o.Names.check(t.Recipe)
}

// Write writes an encoder and returns the number of tensors in the file. The same encoder and
// options give the same bytes.
func Write(w io.Writer, t *encoder.Encoder, o Options) (tensors int, err error) {
	if err := checkFormat(t, o); err != nil {
		return 0, err
	}
	switch o.Format {
	case Safetensors:
		named := o.Names.named(t)
		return len(named.Tensors), weights.Write(w, named)
	case Torch:
		named := o.Names.named(t).Tensors
		return len(named), weights.WriteTorch(w, named)
	case Detectron2:
		named := detectron2(t.Weights.Tensors)
		return len(named), weights.WriteDetectron2(w, named)
	}
	return writeONNX(w, t, o.ONNX)
}

// checkDetectron2 refuses encoders that detectron2's ResNets cannot take.
func checkDetectron2(c nn.Config) error {
	const hint = "write safetensors, torch or onnx instead"
	_, transformer := c.Transformer()
	blocks, bottleneck := nn.Blocks(c.Arch)
	switch {
	case transformer:
		return fmt.Errorf("detectron2: its C4 and FPN detectors start from ResNets, and this is a %s; %s", c.Arch, hint)
	case !bottleneck:
		return fmt.Errorf("detectron2: its C4 and FPN detectors start from ResNets of bottlenecks "+
			"(resnet50, resnet101, resnet152), and this is a %s; %s", c.Arch, hint)
	case c.Stem != "imagenet":
		return fmt.Errorf("detectron2: its stem is a 7x7 convolution of stride 2 with pooling behind it, "+
			"and this encoder has the %s stem; %s", c.Stem, hint)
	case c.Layers != nil && !slices.Equal(c.Layers, blocks):
		return fmt.Errorf("detectron2: its %s has stages of %v blocks, and this encoder has %v blocks; %s", c.Arch, blocks, c.Layers, hint)
	case c.Width != 1:
		return fmt.Errorf("detectron2: its ResNets have 64 channels behind the stem, "+
			"and this encoder has width %v; %s", c.Width, hint)
	}
	return nil
}

// detectron2 gives tensors the names that detectron2's ResNet has for them, as the converter of the
// MoCo authors does (detection/convert-pretrain-to-detectron2.py). It leaves out the head, because
// detectron2 has no place for it.
func detectron2(tensors []weights.Named) []weights.Named {
	layers := strings.NewReplacer("layer1.", "res2.", "layer2.", "res3.", "layer3.", "res4.", "layer4.", "res5.",
		"bn1.", "conv1.norm.", "bn2.", "conv2.norm.", "bn3.", "conv3.norm.", "downsample.0.", "shortcut.",
		"downsample.1.", "shortcut.norm.")
	var out []weights.Named
	for _, n := range tensors {
		if nn.OfHead(n.Name) {
			continue
		}
		name := layers.Replace(n.Name)
		if !strings.HasPrefix(name, "res") {
			name = "stem." + name
		}
		out = append(out, weights.Named{Name: name, Tensor: n.Tensor})
	}
	return out
}
