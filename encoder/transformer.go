package encoder

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"moco"
	"moco/nn"
	"moco/tensor"
)

// transformerInside are the beginnings of the names of a transformer below its head, and of parts
// that others have and moco has not.
var transformerInside = []string{"cls_token", "reg_token", "dist_token", "pos_embed", "patch_embed.", "blocks.",
	"norm.", "norm_pre.", "fc_norm.", "attn_pool.", "rope."}

// lacking are parts of transformers that moco has not, by a piece of their names.
var lacking = []struct{ piece, why string }{
	{".mlp.w12.", "a gated MLP (SwiGLU), as DINOv2's giant has it, is none of moco's"},
	{".mlp.weights_in.", "a gated MLP (SwiGLU), as DINOv2's giant has it, is none of moco's"},
	{".mlp.fc1_g.", "a gated MLP (SwiGLU) is none of moco's"},
	{"fc_norm.", "features that are the norm of a mean (fc_norm), not the mean of normalised tokens, are none of moco's"},
	{"norm_pre.", "a norm before the first block, as CLIP's encoders have it, is none of moco's"},
	{"attn_pool.", "pooling by attention, as SigLIP's encoders have it, is none of moco's"},
	{".attn.q_norm.", "norms of queries and keys are none of moco's"},
	{".attn.relative_position_bias", "relative positions, as BEiT's encoders have them, are none of moco's"},
}

// blockName is the first weight of a block, by moco's name.
var blockName = regexp.MustCompile(`^blocks\.(\d{1,4})\.norm1\.weight$`)

// joinTransformer lays queries, keys and values together, and brings the tokens into moco's form.
func joinTransformer(t *foreign) error {
	for _, name := range slices.Sorted(maps.Keys(t.tensor)) {
		for _, l := range lacking {
			if strings.Contains(name, l.piece) {
				return fmt.Errorf("%s: %s", t.from[name][0], l.why)
			}
		}
		for _, kind := range []string{"weight", "bias"} {
			if block, ok := strings.CutSuffix(name, ".attn.q."+kind); ok {
				if err := t.joinProjections(block+".attn.", kind); err != nil {
					return err
				}
			}
		}
	}
	return t.joinTokens()
}

// joinProjections lays the projections of queries, keys and values, which transformers keeps apart,
// one below the other.
func (t *foreign) joinProjections(attention, kind string) error {
	var names []string
	var rows int
	q := t.tensor[attention+"q."+kind]
	for _, part := range []string{"q.", "k.", "v."} {
		name := attention + part + kind
		x := t.tensor[name]
		switch {
		case x == nil:
			return fmt.Errorf("it has %s, but no tensor for the %s of %s", t.from[attention+"q."+kind][0],
				map[string]string{"k.": "keys", "v.": "values"}[part], attention)
		case x.Type != tensor.Float32 || len(x.Shape) == 0 || !x.Shape.Equal(q.Shape):
			return fmt.Errorf("%s is %v %v, and queries, keys and values must be float32 of one shape; the queries' is %v",
				t.from[name][0], x.Type, x.Shape, q.Shape)
		}
		names, rows = append(names, name), rows+x.Shape[0]
	}
	shape := slices.Clone(q.Shape)
	shape[0] = rows
	joined := tensor.New(tensor.Float32, shape...)
	out := joined.Float32s()
	for _, name := range names {
		out = out[copy(out, t.tensor[name].Float32s()):]
	}
	t.replace(attention+"qkv."+kind, joined, names...)
	return nil
}

// joinTokens brings tokens and positions into moco's form: registers without a position, and a
// position for the class token. A distilled DeiT's second token is a register.
func (t *foreign) joinTokens() error {
	if t.tensor["dist_token"] != nil {
		if t.tensor["reg_token"] != nil {
			return fmt.Errorf("it has both %s and %s, of which no order is known", t.from["dist_token"][0], t.from["reg_token"][0])
		}
		t.replace("reg_token", t.tensor["dist_token"], "dist_token")
	}
	position, registers := t.tensor["pos_embed"], t.tensor["reg_token"]
	if position == nil {
		return nil // take says so
	}
	channels := t.tensor["patch_embed.proj.weight"].Shape[0]
	for _, name := range []string{"pos_embed", "reg_token"} {
		x := t.tensor[name]
		if x == nil {
			continue
		}
		if s := x.Shape; x.Type != tensor.Float32 || len(s) != 3 || s[0] != 1 || s[2] != channels || s[1] < 1 || channels < 1 {
			return fmt.Errorf("%s is %v %v and should be float32 1xTx%d, for T tokens", t.from[name][0], x.Type, s, channels)
		}
	}
	tokens := 0
	if registers != nil {
		tokens = registers.Shape[1]
	}
	switch before, _ := t.grid(); before {
	case 0:
		t.withoutClass(position, channels)
	case 1 + tokens:
		if tokens > 0 {
			t.withoutRegisters(position, registers, channels)
		}
	}
	return nil
}

// grid finds how many rows of the positions stand before those of the patches, which are a square,
// and the side of the square: of the class token's, none, or that of the registers too. The side is
// 0 where nothing fits.
func (t *foreign) grid() (before, side int) {
	registers := 0
	if r := t.tensor["reg_token"]; r != nil {
		registers = r.Shape[1]
	}
	rows := t.tensor["pos_embed"].Shape[1]
	for _, before := range []int{1, 0, 1 + registers} {
		patches := rows - before
		if patches < 1 {
			continue
		}
		if side := int(math.Round(math.Sqrt(float64(patches)))); side*side == patches {
			return before, side
		}
	}
	return 1, 0
}

// withoutClass puts a row of zeros before positions that are of the patches only, as timm has them
// with no_embed_class.
func (t *foreign) withoutClass(position *tensor.Tensor, channels int) {
	made := tensor.New(tensor.Float32, 1, 1+position.Shape[1], channels)
	copy(made.Float32s()[channels:], position.Float32s())
	t.replace("pos_embed", made, "pos_embed")
}

// withoutRegisters adds the registers' positions to them, which moco's have not.
func (t *foreign) withoutRegisters(position, registers *tensor.Tensor, channels int) {
	rows := registers.Shape[1]
	from := position.Float32s()
	made := tensor.New(tensor.Float32, 1, position.Shape[1]-rows, channels)
	copy(made.Float32s(), from[:channels])
	copy(made.Float32s()[channels:], from[(1+rows)*channels:])
	t.replace("pos_embed", made, "pos_embed")
	moved := tensor.FromFloat32s(registers.Float32s(), registers.Shape...)
	for i, v := range from[channels : (1+rows)*channels] {
		moved.Float32s()[i] += v
	}
	t.replace("reg_token", moved, "reg_token")
}

// hugeHeads are the heads of attention by channels where all projects have others than one for each 64
// channels: those of ViT-H.
var hugeHeads = map[int]int{1280: 16}

// deduceTransformer finds the configuration from the shapes of tensors under timm's names. What they
// do not tell is as the origin has it, or as asked for; a note says what was taken.
func deduceTransformer(t *foreign, from origin, o ImportOptions) (deduced, error) {
	c, err := t.transformer()
	if err != nil {
		return deduced{}, err
	}
	k := from.known
	channels := t.tensor["patch_embed.proj.weight"].Shape[0]
	c.Heads = cmp.Or(o.Heads, k.heads[channels], hugeHeads[channels])
	c.NormEpsilon, c.Tokens = cmp.Or(o.Epsilon, k.epsilon), o.Tokens
	if c.Heads == 0 && channels%64 != 0 {
		return deduced{}, fmt.Errorf("its %d channels cannot be divided into heads of 64, as other transformers' are; "+
			"say how many heads it has", channels)
	}
	c.Position, c.Interpolation = k.position, k.interpolation
	v := moco.Views{
		Policy: cmp.Or(o.Policy, "v1"), Size: cmp.Or(o.Size, k.size, c.Image),
		Normalise: cmp.Or(o.Normalise, k.normalise), Resize: cmp.Or(o.Resize, k.resize),
	}
	var notes []string
	if cmp.Or(c.Tokens, "class") == "class" {
		notes, err = t.head(&c)
	} else if c.Head, c.Dim = "none", c.FeatureDim(); t.headNames() != "" {
		notes = append(notes, "its head takes the class token, and is left out")
	}
	if k.note != "" {
		notes = append(notes, k.note)
	}
	return deduced{encoder: c, views: v, notes: append(notes, assumed(c, v, from.name))}, err
}

// transformer finds the configuration as far as shapes tell it, without the head.
func (t *foreign) transformer() (nn.Config, error) {
	stem := t.tensor["patch_embed.proj.weight"].Shape
	channels, patch := stem[0], stem[2]
	if patch != stem[3] {
		return nn.Config{}, fmt.Errorf("its patches are of %dx%d pixels, and moco's are squares", stem[2], stem[3])
	}
	arch, layers := nn.TransformerArch(channels, patch)
	c := nn.Config{Arch: arch, Width: 1, LayerScale: t.tensor["blocks.0.ls1.gamma"] != nil}
	if arch == "" {
		c.Arch, c.Width = fmt.Sprintf("vit_ti%d", patch), float64(channels)/192
	}
	if n := t.blocks(); n != layers {
		c.Layers = []int{n}
	}
	for _, name := range []string{"cls_token", "pos_embed"} {
		if t.tensor[name] == nil {
			return c, fmt.Errorf("it lacks %s: a transformer of moco's has a class token, and position embeddings "+
				"that are added to the tokens", name)
		}
	}
	_, side := t.grid()
	if side == 0 {
		return c, fmt.Errorf("%s is %v, and no number of tokens before those of the patches leaves a square of patches",
			t.from["pos_embed"][0], t.tensor["pos_embed"].Shape)
	}
	c.Image = side * patch
	if r := t.tensor["reg_token"]; r != nil {
		c.Registers = r.Shape[1]
	}
	return c, nil
}

// assumed says what a transformer's weights do not tell. c is what was taken instead.
func assumed(c nn.Config, v moco.Views, origin string) string {
	heads := fmt.Sprintf("%d attention heads", c.Heads)
	if c.Heads == 0 {
		heads = "a head of attention for each 64 channels"
	}
	positions := fmt.Sprintf("position embeddings for %d pixels", c.Image)
	if v.Size != c.Image {
		positions += fmt.Sprintf(", made into ones for %d by %s interpolation", v.Size, cmp.Or(c.Interpolation, "bicubic"))
	}
	return fmt.Sprintf("not told by the weights, but known of %s's encoders or asked for: %s, features of %s tokens, "+
		"an epsilon of %v in layer norm, GELU by erf, pixels normalised as %s, pictures resized by a %s filter, %s",
		origin, heads, cmp.Or(c.Tokens, "class"), cmp.Or(c.NormEpsilon, 1e-6),
		cmp.Or(v.Normalise, "views of "+v.Policy+" are"), cmp.Or(v.Resize, "bilinear"), positions)
}

// blocks counts the blocks.
func (t *foreign) blocks() int {
	n := 0
	for name := range t.tensor {
		if blockName.MatchString(name) {
			n++
		}
	}
	return n
}
