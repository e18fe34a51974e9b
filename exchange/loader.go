package exchange

import (
	"fmt"
	"slices"
	"strings"

	"moco"
	"moco/nn"
)

// Loader returns the lines of Python that load a file into the project's module whose names it has:
// m, which gives what the head gives. It is nil for formats that PyTorch does not read.
func Loader(r moco.Recipe, o Options, path string) []string {
	t, transformer := r.Encoder.Transformer()
	project := Torchvision
	if transformer && o.Names != Torchvision {
		project = Timm
	}
	lines := state(o.Format, string(project), path)
	switch {
	case lines == nil:
		return nil
	case transformer && t.Epsilon != ownEpsilon:
		lines = append([]string{"import functools"}, lines...)
	case !transformer:
		return append(lines, torchvisionResNet(r.Encoder)...)
	}
	if project == Torchvision {
		lines = append(lines, torchvisionTransformer(r.Encoder, t)...)
	} else {
		lines = append(lines, timmTransformer(r, t)...)
	}
	return append(lines, "m.load_state_dict(state); m.eval()")
}

// state is the lines that import what is needed and read the file.
func state(f Format, project, path string) []string {
	switch f {
	case Torch:
		return []string{"import torch, " + project, fmt.Sprintf("state = torch.load(%q)", path)}
	// As safetensors.torch.load_file does it, for users who lack that package.
	case Safetensors:
		return []string{
			"import json, torch, " + project,
			fmt.Sprintf("raw = memoryview(bytearray(open(%q, 'rb').read())); start = 8 + int.from_bytes(raw[:8], 'little')", path),
			"types = {'F32': torch.float32, 'I64': torch.int64}",
			"state = {name: torch.frombuffer(raw[start:][slice(*t['data_offsets'])], dtype=types[t['dtype']]).reshape(t['shape'])",
			"         for name, t in json.loads(bytes(raw[8:start])).items() if name != '__metadata__'}",
		}
	}
	return nil
}

// torchvisionResNet is the lines that make torchvision's ResNet and load it.
func torchvisionResNet(c nn.Config) []string {
	call, arguments := "torchvision.models."+c.Arch, []string(nil)
	standard, bottleneck := nn.Blocks(c.Arch)
	blocks := standard
	if c.Layers != nil {
		blocks = c.Layers
	}
	if c.Arch == "resnet10" || !slices.Equal(blocks, standard) { // torchvision has no function for it
		kind := "BasicBlock"
		if bottleneck {
			kind = "Bottleneck"
		}
		call = "torchvision.models.ResNet"
		arguments = append(arguments, "torchvision.models.resnet."+kind, strings.ReplaceAll(fmt.Sprint(blocks), " ", ", "))
	}
	if c.Head == "linear" {
		arguments = append(arguments, fmt.Sprintf("num_classes=%d", c.Dim))
	}
	lines := []string{fmt.Sprintf("m = %s(%s)", call, strings.Join(arguments, ", "))}
	if c.Head != "linear" {
		lines = append(lines, "m.fc = "+head(c))
	}
	if stride, ok := map[string]int{"cifar": 1, "strided": 2}[c.Stem]; ok {
		lines = append(lines, fmt.Sprintf("m.conv1, m.maxpool = torch.nn.Conv2d(3, 64, 3, %d, 1, bias=False), torch.nn.Identity()", stride))
	}
	if c.Width == 1 {
		return append(lines, "m.load_state_dict(state); m.eval()")
	}
	// torchvision cannot build other widths, but its modules take as many channels as their tensors
	// have.
	return append(lines,
		"for name, t in [*m.named_parameters(), *m.named_buffers()]: t.data = state[name]",
		"m.eval()")
}

// torchvisionTransformer is the lines that make torchvision's transformer.
func torchvisionTransformer(c nn.Config, t nn.Transformer) []string {
	arguments := fmt.Sprintf("image_size=%d, patch_size=%d, num_layers=%d, num_heads=%d, hidden_dim=%d, mlp_dim=%d",
		c.Image, t.Patch, t.Blocks, t.Heads, t.Channels, 4*t.Channels)
	lines := []string{fmt.Sprintf("m = torchvision.models.VisionTransformer(%s%s)", arguments, normOf(t))}
	if c.Head == "none" {
		return append(lines, "m.heads = torch.nn.Identity()")
	}
	return append(lines, "m.heads.head = "+head(c))
}

// timmTransformer is the lines that make timm's transformer.
func timmTransformer(r moco.Recipe, t nn.Transformer) []string {
	c := r.Encoder
	arguments := fmt.Sprintf("img_size=%d, patch_size=%d, embed_dim=%d, depth=%d, num_heads=%d, num_classes=0",
		c.Image, t.Patch, t.Channels, t.Blocks, t.Heads)
	if c.LayerScale {
		arguments += ", init_values=1"
	}
	if c.Registers > 0 {
		arguments += fmt.Sprintf(", reg_tokens=%d, no_embed_class=True", c.Registers)
	}
	if r.Views.Size != c.Image {
		arguments += ", dynamic_img_size=True"
	}
	if c.Tokens == "mean" {
		arguments += ", global_pool='avg', fc_norm=False"
	}
	lines := []string{fmt.Sprintf("m = timm.models.vision_transformer.VisionTransformer(%s%s)", arguments, normOf(t))}
	if c.Head != "none" {
		lines = append(lines, "m.head = "+head(c))
	}
	if c.Tokens == "both" { // timm has no such pooling
		lines = append(lines,
			fmt.Sprintf("both = lambda x: torch.cat([x[:, 0], x[:, %d:].mean(1)], 1)", 1+c.Registers),
			"m.forward_head = lambda x, **_: m.head(both(x))")
	}
	return lines
}

// ownEpsilon is what both projects' transformers have in layer norm.
const ownEpsilon = 1e-6

// normOf is the argument for another epsilon.
func normOf(t nn.Transformer) string {
	if t.Epsilon == ownEpsilon {
		return ""
	}
	return fmt.Sprintf(", norm_layer=functools.partial(torch.nn.LayerNorm, eps=%v)", t.Epsilon)
}

// head is the head as a module of PyTorch.
func head(c nn.Config) string {
	in := c.FeatureDim()
	switch c.Head {
	case "linear":
		return fmt.Sprintf("torch.nn.Linear(%d, %d)", in, c.Dim)
	case "mlp":
		return fmt.Sprintf("torch.nn.Sequential(torch.nn.Linear(%d, %d), torch.nn.ReLU(), torch.nn.Linear(%d, %d))", in, in, in, c.Dim)
	case "mlp_bn":
		var parts []string
		for range c.HeadLayers - 1 {
			parts = append(parts, fmt.Sprintf("torch.nn.Linear(%d, %d, bias=False), torch.nn.BatchNorm1d(%d), torch.nn.ReLU()",
				in, c.Hidden, c.Hidden))
			in = c.Hidden
		}
		parts = append(parts, fmt.Sprintf("torch.nn.Linear(%d, %d, bias=False), torch.nn.BatchNorm1d(%d, affine=False)",
			in, c.Dim, c.Dim))
		return "torch.nn.Sequential(" + strings.Join(parts, ", ") + ")"
	}
	return "torch.nn.Identity()"
}
