package encoder_test

import (
	"fmt"
	"strings"
	"testing"

	"moco/encoder"
	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// published is what the tensors of a published transformer are named and shaped by.
type published struct {
	channels, patch, blocks int
	positions               int // rows of the position embeddings
	registers               int // rows of reg_token, register_tokens or dist_token
	classes                 int // outputs of the head; 0: none
	scale                   bool
}

// list is the names and shapes of a file. No memory is taken for large tensors: nothing looks at
// their values here.
type list struct{ tensors []weights.Named }

func (l *list) add(name string, shape ...int) {
	t := &tensor.Tensor{Type: tensor.Float32, Shape: shape}
	if t.Shape.Elements() < 1<<18 {
		t = tensor.New(tensor.Float32, shape...)
	}
	l.tensors = append(l.tensors, weights.Named{Name: name, Tensor: t})
}

// layer adds a weight [out,in] and a bias.
func (l *list) layer(name string, out, in int) {
	l.add(name+".weight", out, in)
	l.add(name+".bias", out)
}

// norm adds the weight and the bias of a layer norm.
func (l *list) norm(name string, channels int) {
	l.add(name+".weight", channels)
	l.add(name+".bias", channels)
}

// timm lists names as in VisionTransformer of timm/models/vision_transformer.py, which are those of
// facebookresearch/dino and moco-v3 (vits.py) and, with register_tokens, dinov2 too. registers is the
// name of further tokens, block the pattern of a block's names.
func (l *list) timm(prefix string, p published, registers, block string) {
	c := p.channels
	l.add(prefix+"cls_token", 1, 1, c)
	if p.registers > 0 {
		l.add(prefix+registers, 1, p.registers, c)
	}
	l.add(prefix+"pos_embed", 1, p.positions, c)
	l.add(prefix+"patch_embed.proj.weight", c, 3, p.patch, p.patch)
	l.add(prefix+"patch_embed.proj.bias", c)
	for i := range p.blocks {
		name := prefix + strings.ReplaceAll(block, "I", fmt.Sprint(i))
		l.norm(name+"norm1", c)
		l.layer(name+"attn.qkv", 3*c, c)
		l.layer(name+"attn.proj", c, c)
		l.norm(name+"norm2", c)
		l.layer(name+"mlp.fc1", 4*c, c)
		l.layer(name+"mlp.fc2", c, 4*c)
		if p.scale {
			l.add(name+"ls1.gamma", c)
			l.add(name+"ls2.gamma", c)
		}
	}
	l.norm(prefix+"norm", c)
	if p.classes > 0 {
		l.layer(prefix+"head", p.classes, c)
	}
}

// projector lists MoCo v3's heads and predictor: _build_mlp of moco/builder.py.
func (l *list) projector(prefix string, sizes ...int) {
	for i, in := range sizes[:len(sizes)-1] {
		out, norm := sizes[i+1], fmt.Sprintf("%s.%d", prefix, 3*i+1)
		l.add(fmt.Sprintf("%s.%d.weight", prefix, 3*i), out, in)
		if i < len(sizes)-2 {
			l.norm(norm, out)
		}
		l.add(norm+".running_mean", out)
		l.add(norm+".running_var", out)
		l.add(norm + ".num_batches_tracked")
	}
}

// torchvision lists names as in VisionTransformer of torchvision/models/vision_transformer.py, and
// before 0.13 with mlp.linear_1 and linear_2.
func (l *list) torchvision(p published, first, second string) {
	c := p.channels
	l.add("class_token", 1, 1, c)
	l.add("conv_proj.weight", c, 3, p.patch, p.patch)
	l.add("conv_proj.bias", c)
	l.add("encoder.pos_embedding", 1, p.positions, c)
	for i := range p.blocks {
		name := fmt.Sprintf("encoder.layers.encoder_layer_%d.", i)
		l.norm(name+"ln_1", c)
		l.add(name+"self_attention.in_proj_weight", 3*c, c)
		l.add(name+"self_attention.in_proj_bias", 3*c)
		l.layer(name+"self_attention.out_proj", c, c)
		l.norm(name+"ln_2", c)
		l.layer(name+first, 4*c, c)
		l.layer(name+second, c, 4*c)
	}
	l.norm("encoder.ln", c)
	l.layer("heads.head", p.classes, c)
}

// transformers lists names as in ViTModel (modeling_vit.py) and Dinov2Model (modeling_dinov2.py) of
// transformers.
func (l *list) transformers(prefix string, p published, dinov2 bool) {
	c := p.channels
	l.add(prefix+"embeddings.cls_token", 1, 1, c)
	if p.registers > 0 {
		l.add(prefix+"embeddings.register_tokens", 1, p.registers, c)
	}
	l.add(prefix+"embeddings.position_embeddings", 1, p.positions, c)
	l.add(prefix+"embeddings.patch_embeddings.projection.weight", c, 3, p.patch, p.patch)
	l.add(prefix+"embeddings.patch_embeddings.projection.bias", c)
	names := []string{"layernorm_before", "layernorm_after", "intermediate.dense", "output.dense"}
	if dinov2 {
		l.add(prefix+"embeddings.mask_token", 1, c)
		names = []string{"norm1", "norm2", "mlp.fc1", "mlp.fc2"}
	}
	for i := range p.blocks {
		name := fmt.Sprintf("%sencoder.layer.%d.", prefix, i)
		for _, part := range []string{"attention.attention.query", "attention.attention.key", "attention.attention.value",
			"attention.output.dense"} {
			l.layer(name+part, c, c)
		}
		l.norm(name+names[0], c)
		l.norm(name+names[1], c)
		l.layer(name+names[2], 4*c, c)
		l.layer(name+names[3], c, 4*c)
		if p.scale {
			l.add(name+"layer_scale1.lambda1", c)
			l.add(name+"layer_scale2.lambda1", c)
		}
	}
	l.norm(prefix+"layernorm", c)
}

// Sizes of published transformers, for 224 pixels in patches of 16.
var (
	tiny  = published{channels: 192, patch: 16, blocks: 12, positions: 197}
	small = published{channels: 384, patch: 16, blocks: 12, positions: 197}
	base  = published{channels: 768, patch: 16, blocks: 12, positions: 197}
	large = published{channels: 1024, patch: 16, blocks: 24, positions: 197}
	huge  = published{channels: 1280, patch: 14, blocks: 32, positions: 257}
)

// of returns p with patches of another side, other positions, and classes.
func (p published) of(patch, positions, classes int) published {
	p.patch, p.positions, p.classes = patch, positions, classes
	return p
}

// dinov2 returns p as DINOv2 has it: LayerScale, and positions for 518 pixels.
func (p published) dinov2(positions, registers int) published {
	p.patch, p.positions, p.registers, p.scale = 14, positions, registers, true
	return p
}

// publishedFile is a file that a project publishes, and what is to be made of it.
type publishedFile struct {
	name string
	list func(*list)

	kind, prefix string
	values       int // of all tensors together, where the project says how many there are
	encoder      nn.Config
	size         int
	normalise    string
	left         []string // all names that are left out, or the beginnings of more than five
}

// vit is a transformer of width 1 without a head.
func vit(arch string, image, dim int) nn.Config {
	return nn.Config{Arch: arch, Width: 1, Image: image, Dim: dim, Head: "none"}
}

// with returns c with changes.
func with(c nn.Config, change func(*nn.Config)) nn.Config {
	change(&c)
	return c
}

// classifier puts a linear head on c.
func classifier(c nn.Config, classes int, interpolation string) nn.Config {
	c.Head, c.Dim, c.Interpolation = "linear", classes, interpolation
	return c
}

// publishedFiles are named as their projects name them.
var publishedFiles = []publishedFile{
	{
		// facebookresearch/moco-v3, CONFIG.md. vit_small of vits.py has 12 heads.
		name: "vit-s-300ep.pth.tar", list: func(l *list) {
			for _, side := range []string{"base", "momentum"} {
				prefix := "state_dict.module." + side + "_encoder."
				l.timm(prefix, small, "", "blocks.I.")
				l.projector(prefix+"head", 384, 4096, 4096, 256)
			}
			l.projector("state_dict.module.predictor", 256, 4096, 256)
		},
		kind: "MoCo v3", prefix: "state_dict.module.base_encoder.", size: 224,
		encoder: nn.Config{Arch: "vit_s16", Width: 1, Image: 224, Dim: 256, Head: "mlp_bn", HeadLayers: 3, Hidden: 4096,
			Heads: 12, Position: "sincos", Interpolation: "bicubic_antialias"},
		left: []string{"state_dict.module.momentum_encoder.", "state_dict.module.predictor."},
	},
	{
		// facebookresearch/dino, README.md.
		name: "dino_deitsmall8_pretrain.pth",
		list: func(l *list) { l.timm("", small.of(8, 785, 0), "", "blocks.I.") },
		kind: "DINO", size: 224,
		encoder: with(vit("vit_s8", 224, 384), func(c *nn.Config) { c.Interpolation = "bicubic_offset" }),
	},
	{
		name: "dino_vitbase16_pretrain_full_checkpoint.pth", list: func(l *list) {
			l.timm("student.module.backbone.", base, "", "blocks.I.")
			l.add("student.module.head.last_layer.weight_g", 65536, 1)
			l.timm("teacher.backbone.", base, "", "blocks.I.")
			l.layer("teacher.head.mlp.0", 2048, 768)
			l.add("dino_loss.center", 1, 65536)
		},
		kind: "DINO", prefix: "teacher.backbone.", size: 224,
		encoder: with(vit("vit_b16", 224, 768), func(c *nn.Config) { c.Interpolation = "bicubic_offset" }),
		left:    []string{"student.", "teacher.head.", "dino_loss."},
	},
	{
		// facebookresearch/dinov2, hubconf.py and dinov2/hub/backbones.py.
		name: "dinov2_vits14_pretrain.pth", list: func(l *list) {
			l.timm("", small.dinov2(1370, 0), "", "blocks.I.")
			l.add("mask_token", 1, 384)
		},
		kind: "DINOv2", size: 224, left: []string{"mask_token"},
		encoder: with(vit("vit_s14", 518, 384), func(c *nn.Config) { c.LayerScale, c.Interpolation = true, "bicubic_offset" }),
	},
	{
		name: "dinov2_vitl14_reg4_pretrain.pth", list: func(l *list) {
			l.timm("", large.dinov2(1370, 4), "register_tokens", "blocks.I.")
			l.add("mask_token", 1, 1024)
		},
		kind: "DINOv2", size: 224, left: []string{"mask_token"},
		encoder: with(vit("vit_l14", 518, 1024), func(c *nn.Config) {
			c.LayerScale, c.Registers, c.Interpolation = true, 4, "bicubic_antialias"
		}),
	},
	{
		// What its training saves: blocks in chunks (BlockChunk of dinov2/models/vision_transformer.py).
		name: "teacher_checkpoint.pth", list: func(l *list) {
			l.timm("teacher.backbone.", base.dinov2(257, 0), "", "blocks.0.I.")
			l.add("teacher.backbone.mask_token", 1, 768)
			l.layer("teacher.dino_head.mlp.0", 2048, 768)
		},
		kind: "DINOv2", prefix: "teacher.backbone.", size: 224, left: []string{"teacher.backbone.mask_token", "teacher.dino_head."},
		encoder: with(vit("vit_b14", 224, 768), func(c *nn.Config) { c.LayerScale, c.Interpolation = true, "bicubic_offset" }),
	},
	{
		// pytorch/vision, ViT_B_16_Weights and its like, which say the number of values.
		name: "vit_b_16-c867db91.pth",
		list: func(l *list) { l.torchvision(base.of(16, 197, 1000), "mlp.linear_1", "mlp.linear_2") },
		kind: "torchvision", size: 224, values: 86567656, encoder: classifier(vit("vit_b16", 224, 0), 1000, ""),
	},
	{
		name: "vit_b_16_swag-9ac1b537.pth",
		list: func(l *list) { l.torchvision(base.of(16, 577, 1000), "mlp.0", "mlp.3") },
		kind: "torchvision", size: 384, values: 86859496, encoder: classifier(vit("vit_b16", 384, 0), 1000, ""),
	},
	{
		name: "vit_b_32-d86f8d99.pth",
		list: func(l *list) { l.torchvision(base.of(32, 50, 1000), "mlp.0", "mlp.3") },
		kind: "torchvision", size: 224, values: 88224232, encoder: classifier(vit("vit_b32", 224, 0), 1000, ""),
	},
	{
		name: "vit_l_16-852ce7e3.pth",
		list: func(l *list) { l.torchvision(large.of(16, 197, 1000), "mlp.0", "mlp.3") },
		kind: "torchvision", size: 224, values: 304326632, encoder: classifier(vit("vit_l16", 224, 0), 1000, ""),
	},
	{
		name: "vit_h_14_lc_swag-c1eb923e.pth",
		list: func(l *list) { l.torchvision(huge.of(14, 257, 1000), "mlp.0", "mlp.3") },
		kind: "torchvision", size: 224, values: 632045800,
		encoder: nn.Config{Arch: "vit_ti14", Width: 1280.0 / 192, Layers: []int{32}, Heads: 16, Image: 224, Dim: 1000, Head: "linear"},
	},
	{
		// facebookresearch/deit, README.md and models.py.
		name: "deit_tiny_patch16_224-a1311bcf.pth",
		list: func(l *list) { l.timm("model.", tiny.of(16, 197, 1000), "", "blocks.I.") },
		kind: "DeiT", prefix: "model.", size: 224, encoder: classifier(vit("vit_ti16", 224, 0), 1000, ""),
	},
	{
		name: "deit_tiny_distilled_patch16_224-b40b3cf7.pth", list: func(l *list) {
			p := tiny.of(16, 198, 1000)
			p.registers = 1
			l.timm("model.", p, "dist_token", "blocks.I.")
			l.layer("model.head_dist", 1000, 192)
		},
		kind: "DeiT", prefix: "model.", size: 224, left: []string{"model.head.", "model.head_dist."},
		encoder: with(vit("vit_ti16", 224, 192), func(c *nn.Config) { c.Registers = 1 }),
	},
	{
		// timm/vit_small_patch16_224.augreg_in21k, model.safetensors.
		name: "vit_small_patch16_224.augreg_in21k",
		list: func(l *list) { l.timm("", small.of(16, 197, 21843), "", "blocks.I.") },
		kind: "timm", size: 224, normalise: "half", encoder: classifier(vit("vit_s16", 224, 0), 21843, "bicubic_antialias"),
	},
	{
		// timm/vit_small_patch14_reg4_dinov2.lvd142m: _convert_dinov2 of timm/models/vision_transformer.py.
		name: "vit_small_patch14_reg4_dinov2.lvd142m",
		list: func(l *list) { l.timm("", small.dinov2(1369, 4), "reg_token", "blocks.I.") },
		kind: "timm's DINOv2", size: 224, encoder: with(vit("vit_s14", 518, 384), func(c *nn.Config) {
			c.LayerScale, c.Registers, c.Interpolation = true, 4, "bicubic_antialias"
		}),
	},
	{
		// google/vit-base-patch16-224, model.safetensors.
		name: "vit-base-patch16-224", list: func(l *list) {
			l.transformers("vit.", base, false)
			l.layer("classifier", 1000, 768)
		},
		kind: "transformers' ViT", prefix: "vit.", size: 224, normalise: "half", left: []string{"classifier.weight", "classifier.bias"},
		encoder: with(vit("vit_b16", 224, 768), func(c *nn.Config) { c.NormEpsilon = 1e-12 }),
	},
	{
		name: "vit-base-patch16-224-in21k", list: func(l *list) {
			l.transformers("", base, false)
			l.layer("pooler.dense", 768, 768)
		},
		kind: "transformers' ViT", size: 224, normalise: "half", left: []string{"pooler.dense.weight", "pooler.dense.bias"},
		encoder: with(vit("vit_b16", 224, 768), func(c *nn.Config) { c.NormEpsilon = 1e-12 }),
	},
	{
		// facebook/dino-vits16, model.safetensors.
		name: "dino-vits16", list: func(l *list) { l.transformers("", small, false) },
		kind: "transformers' DINO", size: 224,
		encoder: with(vit("vit_s16", 224, 384), func(c *nn.Config) { c.NormEpsilon = 1e-12 }),
	},
	{
		// facebook/dinov2-small, model.safetensors.
		name: "dinov2-small", list: func(l *list) { l.transformers("", small.dinov2(1370, 0), true) },
		kind: "transformers' DINOv2", size: 224, left: []string{"embeddings.mask_token"},
		encoder: with(vit("vit_s14", 518, 384), func(c *nn.Config) { c.LayerScale = true }),
	},
	{
		// facebook/dinov2-with-registers-small, model.safetensors.
		name: "dinov2-with-registers-small", list: func(l *list) { l.transformers("", small.dinov2(1370, 4), true) },
		kind: "transformers' DINOv2", size: 224, left: []string{"embeddings.mask_token"},
		encoder: with(vit("vit_s14", 518, 384), func(c *nn.Config) {
			c.LayerScale, c.Registers, c.Interpolation = true, 4, "bicubic_antialias"
		}),
	},
}

// resizes are the projects whose code for evaluation resizes pictures by the bicubic filter: DINO's
// eval_knn.py, DINOv2's dinov2/data/transforms.py, DeiT's datasets.py, timm's _cfg, and
// preprocessor_config.json of transformers' files. MoCo v3's main_lincls.py, torchvision's
// ViT_B_16_Weights.IMAGENET1K_V1 and Google's files in transformers have the bilinear one.
var resizes = map[string]string{
	"DINO": "bicubic", "DINOv2": "bicubic", "DeiT": "bicubic", "timm": "bicubic", "timm's DINOv2": "bicubic",
	"transformers' DINO": "bicubic", "transformers' DINOv2": "bicubic",
}

// TestPublished: the names and shapes of published files give the encoders that their projects have.
func TestPublished(t *testing.T) {
	t.Parallel()
	for _, c := range publishedFiles {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var l list
			c.list(&l)
			values := 0
			for _, n := range l.tensors {
				values += n.Tensor.Shape.Elements()
			}
			if c.values != 0 && values != c.values {
				t.Errorf("the list has %d values, and its project says %d", values, c.values)
			}
			_, r, err := encoder.Import(&weights.File{Tensors: l.tensors}, encoder.ImportOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind != c.kind || r.Prefix != c.prefix || r.Views.Size != c.size || r.Views.Normalise != c.normalise {
				t.Errorf("taken for %v; views %+v", r, r.Views)
			}
			if want := resizes[c.kind]; r.Views.Resize != want {
				t.Errorf("pictures are resized by %q, and %s's by %q", r.Views.Resize, c.kind, want)
			}
			if got, want := fmt.Sprintf("%+v", r.Encoder), fmt.Sprintf("%+v", c.encoder); got != want {
				t.Errorf("the encoder is %s, want %s", got, want)
			}
			for _, name := range r.LeftOut {
				known := false
				for _, left := range c.left {
					known = known || strings.HasPrefix(name, left)
				}
				if !known {
					t.Errorf("%s is left out", name)
				}
			}
			if len(r.Used)+len(r.LeftOut) != len(l.tensors) || c.left == nil && len(r.LeftOut) > 0 {
				t.Errorf("%d used and %d left out of %d", len(r.Used), len(r.LeftOut), len(l.tensors))
			}
			if told := r.Notes[len(r.Notes)-1]; !strings.Contains(told, "layer norm, GELU by erf") {
				t.Errorf("the notes do not say what was assumed: %q", r.Notes)
			}
		})
	}
}

// TestGiant: DINOv2's giant, whose MLP is another, is refused with the reason under both its names.
func TestGiant(t *testing.T) {
	t.Parallel()
	giant := published{channels: 1536, patch: 14, blocks: 2, positions: 1370, scale: true}
	var own, other list
	own.timm("", giant, "", "blocks.I.")
	own.layer("blocks.0.mlp.w12", 8192, 1536)
	other.transformers("", giant, true)
	other.layer("encoder.layer.1.mlp.weights_in", 8192, 1536)
	for _, l := range []list{own, other} {
		_, _, err := encoder.Import(&weights.File{Tensors: l.tensors}, encoder.ImportOptions{})
		if err == nil || !strings.Contains(err.Error(), "SwiGLU") || !strings.Contains(err.Error(), ".mlp.w") {
			t.Errorf("the error is %v", err)
		}
	}
}
