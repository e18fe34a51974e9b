package encoder

// family is a way of naming the tensors of an encoder: how it is recognised, what moco calls the
// tensors, and how the configuration follows from them.
type family struct {
	// stem is the encoder's first convolution, and beside is another of its tensors. Where both
	// stand after one prefix, there is an encoder.
	stem, beside string
	// rename gives moco's name of a tensor. A name that it does not know stays.
	rename func(name string) string
	// join makes moco's tensors of renamed ones that the family divides otherwise. Nil: none are.
	join func(*foreign) error
	// inside are the beginnings of moco's names that belong to the backbone. No other tensors may
	// stand there.
	inside []string
	// deduce finds the configuration and the views, with notes on what was assumed.
	deduce func(*foreign, origin, ImportOptions) (deduced, error)
	// origins are those who publish files with such names. The first that fits counts.
	origins []origin
}

// origin is a project that publishes encoders, and what is known of them.
type origin struct {
	name  string
	fits  func(place) bool
	known known
}

// known is what a project's encoders have in common and their weights do not tell. docs/interop.md
// lists it. All but the first is of transformers.
type known struct {
	// momentum tells that the momentum encoder is the one that its authors evaluate.
	momentum      bool
	normalise     string      // of pixels; empty is ImageNet's
	size          int         // pixels a side of a view; 0: what the position embeddings are for
	heads         map[int]int // by channels, where they are not one for each 64 channels
	epsilon       float64     // of layer norm; 0 is 1e-6
	position      string      // kind of position embeddings; empty is learned
	interpolation string      // of position embeddings; empty is bicubic
	resize        string      // of pictures to views; empty is bilinear
	note          string
}

// families returns the known families in the order in which Import tries them.
func families() []*family {
	transformer := func(stem, beside string, names Names, origins []origin) *family {
		return &family{
			stem: stem, beside: beside, rename: names.Ours, join: joinTransformer,
			inside: transformerInside, deduce: deduceTransformer, origins: origins,
		}
	}
	return []*family{
		{
			stem: "conv1.weight", beside: "layer1.0.conv1.weight", rename: resnetName,
			inside: resnetInside, deduce: deduceResNet(0), origins: resnetOrigins,
		},
		sequential(2), sequential(3), sequential(4),
		transformer("patch_embed.proj.weight", "blocks.0.norm1.weight", Timm, timmOrigins),
		transformer("patch_embed.proj.weight", "blocks.0.0.norm1.weight", chunked, timmOrigins),
		transformer("conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight", Torchvision, torchvisionOrigins),
		transformer("embeddings.patch_embeddings.projection.weight", "encoder.layer.0.layernorm_before.weight",
			hugging, huggingOrigins),
		transformer("embeddings.patch_embeddings.projection.weight", "encoder.layer.0.norm1.weight",
			hugging, huggingDINOv2Origins),
	}
}

// Of ResNets nothing is known but their names: the views follow from the stem.
var resnetOrigins = []origin{
	{name: "MoCo", fits: under("encoder_q", "encoder_k")},
	{name: "MoCo v3", fits: mocoV3},
	{name: "DINO", fits: under("student", "teacher"), known: known{momentum: true}},
	{name: "lightly", fits: lightly},
	{name: "solo-learn", fits: soloLearn},
	{name: "torchvision", fits: anywhere},
}

// In an nn.Sequential only lightly has them.
var sequentialOrigins = []origin{{name: "lightly", fits: anywhere}}

// Transformers with timm's names.
var timmOrigins = []origin{
	// Source: vits.py of the authors' code. vit_small has heads of 32 channels.
	{name: "MoCo v3", fits: mocoV3, known: known{
		heads: map[int]int{384: 12}, position: "sincos", interpolation: "bicubic_antialias",
	}},
	// Source: hubconf.py and dinov2/models/vision_transformer.py of the authors' code. They evaluate
	// at 224 pixels what has position embeddings for 518.
	{name: "DINOv2", fits: holds("register_tokens"),
		known: known{size: 224, interpolation: "bicubic_antialias", resize: "bicubic", momentum: true}},
	{name: "DINOv2", fits: holds("mask_token"),
		known: known{size: 224, interpolation: "bicubic_offset", resize: "bicubic", momentum: true}},
	// Source: vision_transformer.py of the authors' code.
	{name: "DINO", fits: under("student", "teacher"), known: known{
		interpolation: "bicubic_offset", resize: "bicubic", momentum: true,
	}},
	{name: "lightly", fits: lightly, known: known{interpolation: "bicubic_antialias"}},
	{name: "solo-learn", fits: soloLearn, known: known{interpolation: "bicubic_antialias"}},
	// Source: timm/models/vision_transformer.py, vit_small_patch14_dinov2 and its like.
	{name: "timm's DINOv2", fits: headless("blocks.0.ls1.gamma"),
		known: known{size: 224, interpolation: "bicubic_antialias", resize: "bicubic"}},
	{name: "DINO", fits: headless("norm.weight"), known: known{
		interpolation: "bicubic_offset", resize: "bicubic",
		note: "as it has neither a head nor a project's prefix, it is taken for a backbone of DINO's",
	}},
	// Source: models.py and main.py of DeiT's authors.
	{name: "DeiT", fits: under("model"), known: known{resize: "bicubic"}},
	{name: "DeiT", fits: holds("dist_token"), known: known{resize: "bicubic"}},
	// Source: timm/models/vision_transformer.py, _cfg.
	{name: "timm", fits: anywhere, known: known{
		normalise: "half", interpolation: "bicubic_antialias", resize: "bicubic",
		note: "it is taken for one of timm's vit_*, which see pixels from -1 to 1 (half); " +
			"in timm's files DeiT's encoders have the same names, and ImageNet's normalisation",
	}},
}

// Source: ViT_B_16_Weights and its like in torchvision/models/vision_transformer.py.
var torchvisionOrigins = []origin{{name: "torchvision", fits: anywhere}}

// Source: configuration_vit.py (layer_norm_eps), image_processing_vit.py (image_mean), and
// convert_dino_to_pytorch.py, which leaves the pooler out, in transformers.
var huggingOrigins = []origin{
	{name: "transformers' DINO", fits: func(p place) bool { return p.prefix == "" && !p.holds("pooler.dense.weight") },
		known: known{epsilon: 1e-12, resize: "bicubic"}},
	{name: "transformers' ViT", fits: anywhere, known: known{
		epsilon: 1e-12, normalise: "half",
		note: "it is taken for one of Google's, which see pixels from -1 to 1 (half); " +
			"in transformers' files DeiT's encoders have the same names, and ImageNet's normalisation",
	}},
}

// Source: modeling_dinov2.py and modeling_dinov2_with_registers.py in transformers.
var huggingDINOv2Origins = []origin{
	{name: "transformers' DINOv2", fits: holds("embeddings.register_tokens"),
		known: known{size: 224, interpolation: "bicubic_antialias", resize: "bicubic"}},
	{name: "transformers' DINOv2", fits: anywhere, known: known{size: 224, resize: "bicubic"}},
}

func anywhere(place) bool { return true }

// under fits encoders whose prefix has one of some parts.
func under(parts ...string) func(place) bool {
	return func(p place) bool { return p.under(parts...) }
}

// holds fits encoders with a tensor.
func holds(name string) func(place) bool {
	return func(p place) bool { return p.holds(name) }
}

// headless fits encoders with a tensor, and without timm's head.
func headless(name string) func(place) bool {
	return func(p place) bool { return p.holds(name) && !p.holds("head.weight") }
}

func mocoV3(p place) bool {
	return p.has("base_encoder") && p.under("base_encoder", "momentum_encoder")
}

func lightly(p place) bool {
	return p.under("backbone") && p.has("projection_head") || p.under("backbone_momentum")
}

func soloLearn(p place) bool {
	return p.under("momentum_backbone", "momentum_encoder") ||
		p.under("backbone", "encoder") && (p.has("classifier") || p.has("projector"))
}
