package encoder

import "strings"

// Names are the names of a transformer's tensors in another project. moco's own are timm's, but for
// the head, which is fc in every encoder.
type Names []rename

// rename is a pair of names. # stands for a block's number, and a name that ends with a dot is all
// that begins so.
type rename struct{ ours, theirs string }

// Timm are the names of timm, which DINO, DINOv2 and MoCo v3 use too. Source: VisionTransformer in
// timm/models/vision_transformer.py.
var Timm = Names{
	{"fc.", "head."},
	{"fc.dist.", "head_dist."},
	{"fc.pre_logits.", "pre_logits."},
	{"reg_token", "reg_token"},
	{"reg_token", "register_tokens"}, // DINOv2's
}

// Torchvision are the names of torchvision's VisionTransformer, and those that the two layers of an
// MLP had before 0.13. Source: torchvision/models/vision_transformer.py.
var Torchvision = Names{
	{"cls_token", "class_token"},
	{"pos_embed", "encoder.pos_embedding"},
	{"patch_embed.proj.", "conv_proj."},
	{"blocks.#.norm1.", "encoder.layers.encoder_layer_#.ln_1."},
	{"blocks.#.attn.qkv.weight", "encoder.layers.encoder_layer_#.self_attention.in_proj_weight"},
	{"blocks.#.attn.qkv.bias", "encoder.layers.encoder_layer_#.self_attention.in_proj_bias"},
	{"blocks.#.attn.proj.", "encoder.layers.encoder_layer_#.self_attention.out_proj."},
	{"blocks.#.norm2.", "encoder.layers.encoder_layer_#.ln_2."},
	{"blocks.#.mlp.fc1.", "encoder.layers.encoder_layer_#.mlp.0."},
	{"blocks.#.mlp.fc2.", "encoder.layers.encoder_layer_#.mlp.3."},
	{"blocks.#.mlp.fc1.", "encoder.layers.encoder_layer_#.mlp.linear_1."},
	{"blocks.#.mlp.fc2.", "encoder.layers.encoder_layer_#.mlp.linear_2."},
	{"blocks.#.", "encoder.layers.encoder_layer_#."},
	{"norm.", "encoder.ln."},
	{"fc.", "heads.head."},
	{"fc.pre_logits.", "heads.pre_logits."},
}

// chunked are DINOv2's names while it trains: its blocks stand in chunks, each at its own number.
// The pattern has two numbers, of which the second is the block's.
var chunked = append(Names{{"blocks.#.", "blocks.*.#."}}, Timm...)

// hugging are the names of transformers' ViTModel and Dinov2Model. Queries, keys and values have a
// projection each: attn.q, attn.k and attn.v. Source: modeling_vit.py, modeling_dinov2.py and
// modeling_dinov2_with_registers.py in transformers.
var hugging = Names{
	{"cls_token", "embeddings.cls_token"},
	{"reg_token", "embeddings.register_tokens"},
	{"dist_token", "embeddings.distillation_token"},
	{"pos_embed", "embeddings.position_embeddings"},
	{"patch_embed.proj.", "embeddings.patch_embeddings.projection."},
	{"blocks.#.norm1.", "encoder.layer.#.layernorm_before."},
	{"blocks.#.norm1.", "encoder.layer.#.norm1."},
	{"blocks.#.attn.q.", "encoder.layer.#.attention.attention.query."},
	{"blocks.#.attn.k.", "encoder.layer.#.attention.attention.key."},
	{"blocks.#.attn.v.", "encoder.layer.#.attention.attention.value."},
	{"blocks.#.attn.proj.", "encoder.layer.#.attention.output.dense."},
	{"blocks.#.ls1.gamma", "encoder.layer.#.layer_scale1.lambda1"},
	{"blocks.#.norm2.", "encoder.layer.#.layernorm_after."},
	{"blocks.#.norm2.", "encoder.layer.#.norm2."},
	{"blocks.#.mlp.fc1.", "encoder.layer.#.intermediate.dense."},
	{"blocks.#.mlp.fc2.", "encoder.layer.#.output.dense."},
	{"blocks.#.mlp.fc1.", "encoder.layer.#.mlp.fc1."},
	{"blocks.#.mlp.fc2.", "encoder.layer.#.mlp.fc2."},
	{"blocks.#.ls2.gamma", "encoder.layer.#.layer_scale2.lambda1"},
	{"blocks.#.", "encoder.layer.#."},
	{"norm.", "layernorm."},
}

// Ours gives moco's name for theirs. A name that the table lacks stays as it is.
func (n Names) Ours(theirs string) string {
	for _, r := range n {
		if name, ok := replace(theirs, r.theirs, r.ours); ok {
			return name
		}
	}
	return theirs
}

// Theirs gives the other project's name for moco's own. A name that the table lacks stays as it is.
func (n Names) Theirs(ours string) string {
	for _, r := range n {
		if name, ok := replace(ours, r.ours, r.theirs); ok {
			return name
		}
	}
	return ours
}

// replace rewrites a name that fits the pattern `from` by the pattern `to`. In `from`, # and * are
// numbers. That of # stands in `to` as well.
func replace(name, from, to string) (string, bool) {
	number := ""
	for {
		i := strings.IndexAny(from, "#*")
		if i < 0 {
			rest, ok := strings.CutPrefix(name, from)
			ok = ok && (rest == "" || strings.HasSuffix(from, "."))
			return strings.Replace(to, "#", number, 1) + rest, ok
		}
		rest, ok := strings.CutPrefix(name, from[:i])
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if !ok || digits == 0 {
			return "", false
		}
		if from[i] == '#' {
			number = rest[:digits]
		}
		name, from = rest[digits:], from[i+1:]
	}
}
