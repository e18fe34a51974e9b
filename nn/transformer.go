package nn

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"moco/graph"
	"moco/internal/rng"
)

// transformerShape is what differs between the sizes of vision transformers.
type transformerShape struct {
	channels, layers int
}

var transformers = map[string]transformerShape{
	"vit_ti": {192, 12},
	"vit_s":  {384, 12},
	"vit_b":  {768, 12},
	"vit_l":  {1024, 24},
}

const transformerNames = "vit_ti, vit_s, vit_b and vit_l with the patch behind it, such as vit_s16"

var patches = []int{2, 4, 8, 14, 16, 32}

// transformerOf reads a name such as vit_s16.
func transformerOf(arch string) (s transformerShape, patch int, ok bool) {
	size := strings.TrimRight(arch, "0123456789")
	s, ok = transformers[size]
	digits := arch[len(size):]
	patch, err := strconv.Atoi(digits)
	return s, patch, ok && err == nil && digits[0] != '0' && slices.Contains(patches, patch)
}

// TransformerArch is the name of the transformer of a number of channels with square patches, and the
// number of its blocks. It is empty for channels or patches that no architecture has at width 1.
func TransformerArch(channels, patch int) (arch string, layers int) {
	for name, s := range transformers {
		if s.channels == channels && slices.Contains(patches, patch) {
			return name + strconv.Itoa(patch), s.layers
		}
	}
	return "", 0
}

// Transformer is a transformer's config in the numbers that other projects build one by.
type Transformer struct {
	Channels, Patch, Blocks, Heads int
	Epsilon                        float64 // of layer norm
}

// Transformer gives those numbers, if c is a transformer.
func (c Config) Transformer() (t Transformer, ok bool) {
	f, ok := c.family().(transformer)
	if !ok {
		return t, false
	}
	return Transformer{
		Channels: f.channels(), Patch: f.patch, Blocks: f.depth(), Heads: f.heads(), Epsilon: f.epsilon(),
	}, true
}

// transformer is the family of vision transformers (Dosovitskiy et al. 2021), with layer norm before
// each branch of a block. Names, shapes and initialisation are timm's, whose code most others follow.
type transformer struct {
	Config
	shape transformerShape
	patch int
}

func (t transformer) check(wrong func(bool, string, ...any)) {
	channels, heads := t.channels(), t.heads()
	wrong(t.Layers != nil && (len(t.Layers) != 1 || t.Layers[0] < 1 || t.Layers[0] > 1000),
		"layers: must be the number of blocks in a list, such as [12], is %v", t.Layers)
	wrong(t.Heads < 0, "heads: must be at least 1, or 0 for one for each 64 channels, is %d", t.Heads)
	wrong(t.Heads >= 0 && channels%heads != 0,
		"width: %v makes %d channels, which %d heads cannot share equally", t.Width, channels, heads)
	wrong(t.Image < t.patch || t.Image%t.patch != 0 || t.Image > 4096,
		"image: must be a multiple of the patch of %d pixels and at most 4096, is %d", t.patch, t.Image)
	oneOf := func(key, value string, words ...string) {
		wrong(value != "" && !slices.Contains(words, value), "%s: %q is not known; there are %s",
			key, value, strings.Join(words, ", "))
	}
	oneOf("tokens", t.Tokens, "class", "mean", "both")
	oneOf("position", t.Position, "learned", "sincos")
	oneOf("interpolation", t.Interpolation, interpolations...)
	wrong(t.Position == "sincos" && channels%4 != 0,
		"position: sincos needs a multiple of four channels, and width %v makes %d", t.Width, channels)
	wrong(t.Registers < 0 || t.Registers > 1024, "registers: must be 0 to 1024 tokens, is %d", t.Registers)
	wrong(!(t.DropPath >= 0 && t.DropPath < 1), "drop_path: must be at least 0 and below 1, is %v", t.DropPath)
	wrong(!(t.NormEpsilon >= 0 && t.NormEpsilon <= 1), "norm_epsilon: must be at least 0 and at most 1, is %v", t.NormEpsilon)
}

func (transformer) lacks() []string { return []string{"stem"} }

func (t transformer) channels() int {
	return max(1, int(math.Round(float64(t.shape.channels)*t.Width)))
}

func (t transformer) heads() int {
	if t.Heads != 0 {
		return t.Heads
	}
	return max(1, t.channels()/64)
}

func (t transformer) features() int {
	if t.Tokens == "both" {
		return 2 * t.channels()
	}
	return t.channels()
}

func (t transformer) depth() int {
	if t.Layers != nil {
		return t.Layers[0]
	}
	return t.shape.layers
}

func (t transformer) checkImage(size int) error {
	if size%t.patch != 0 {
		near := fmt.Sprint((size/t.patch + 1) * t.patch)
		if size > t.patch {
			near = fmt.Sprintf("%d and %s", size/t.patch*t.patch, near)
		}
		return fmt.Errorf("%s takes images of a multiple of %d pixels, its patch, and not of %d; near lie %s",
			t.Arch, t.patch, size, near)
	}
	if from, to := t.grid(), size/t.patch; from != to && from*from*to*to > mostWeights {
		return fmt.Errorf("the positions of %d patches cannot be made into those of %d: more than moco interpolates",
			from*from, to*to)
	}
	return nil
}

func (t transformer) describe() string {
	return fmt.Sprintf("%s (blocks: %d, heads: %d, width %v, for %d px)", t.Arch, t.depth(), t.heads(), t.Width, t.Image)
}

func (t transformer) optimizer() string { return "adamw" }

// class tells whether the features are the class token alone.
func (t transformer) class() bool { return t.Tokens == "class" || t.Tokens == "" }

func (t transformer) epsilon() float64 {
	if t.NormEpsilon != 0 {
		return t.NormEpsilon
	}
	return 1e-6
}

// grid is the number of patches a side for which position embeddings are made.
func (t transformer) grid() int { return t.Image / t.patch }

// rules is how a transformer's weights start.
type rules struct {
	qkv, linear func(in, out int) start
	patch       start
	patchBias   start
	position    start
}

// rules are timm's: N(0, 0.02^2), which timm cuts at 2, so at 100 deviations, and PyTorch's rule for
// the patch projection (timm.models.vision_transformer, init_weights_vit_timm). With fixed positions
// they are MoCo v3's (vits.py of the authors' code): uniform by Xavier's rule, with queries, keys and
// values as three matrices of their own.
func (t transformer) rules() rules {
	c, inputs := t.channels(), 3*t.patch*t.patch
	if t.Position == "sincos" {
		return rules{
			qkv:    func(in, out int) start { return xavierUniform(in, out/3) },
			linear: xavierUniform,
			patch:  xavierUniform(inputs, c), patchBias: zeros,
			position: sincos(t.grid(), c),
		}
	}
	small := func(int, int) start { return normal(0.02) }
	return rules{
		qkv: small, linear: small,
		patch: kaimingUniform(inputs), patchBias: kaimingUniform(inputs),
		position: normal(0.02),
	}
}

// tokenDeviation is that of the class token's and the registers' first values, in timm as in MoCo v3.
const tokenDeviation = 1e-6

// backbone is the forward pass of timm's VisionTransformer, up to the pooled features. x is
// [N,H,W,3].
func (t transformer) backbone(b *builder, x *graph.Node) *graph.Node {
	rules := t.rules()
	x = t.embed(b, x, rules)
	for block := range t.depth() {
		b.depth = block + 1
		x = t.block(b, x, block, rules)
	}
	b.depth = t.depth() + 1
	return t.pool(b, x)
}

// embed makes the tokens [N,1+Registers+patches,C]: the class token, the registers, and a token of
// each patch, row by row. The class token and the patches have a position, registers have none.
func (t transformer) embed(b *builder, x *graph.Node, rules rules) *graph.Node {
	c, grid := t.channels(), t.grid()
	class := b.parameter("cls_token", normal(tokenDeviation), 1, 1, c)
	var registers *graph.Node
	if t.Registers > 0 {
		registers = b.parameter("reg_token", normal(tokenDeviation), 1, t.Registers, c)
	}
	b.frozen = t.Position == "sincos"
	position := b.parameter("pos_embed", rules.position, 1, 1+grid*grid, c)
	b.frozen = t.FrozenPatches
	w := b.matrix("patch_embed.proj.weight", rules.patch, c, 3, t.patch, t.patch)
	bias := b.parameter("patch_embed.proj.bias", rules.patchBias, c)
	b.frozen = false
	if b.g == nil {
		return nil
	}
	g := b.g
	x = g.Conv(x, w, t.patch, 0) // [N,rows,columns,C]
	n, rows, columns := x.Shape[0], x.Shape[1], x.Shape[2]
	position = g.Reshape(position, 1+grid*grid, c)
	first := g.Add(g.Reshape(class, 1, c), g.Slice(position, 0, 0, 1))
	position = t.interpolate(g, g.Slice(position, 0, 1, grid*grid), rows, columns)
	// The bias joins the positions, which are few, rather than the tokens of all images.
	patches := g.BiasAdd(g.Reshape(x, n, rows*columns, c), g.BiasAdd(position, bias))
	tokens := []*graph.Node{g.Repeat(first, n)}
	if registers != nil {
		tokens = append(tokens, g.Repeat(g.Reshape(registers, t.Registers, c), n))
	}
	return g.Concat(1, append(tokens, patches)...)
}

// block is x + attention(norm(x)), and then x + mlp(norm(x)), for tokens x [N,T,C]. If the class token
// is all that is read of the last block, it is all that the block gives: [N,1,C].
func (t transformer) block(b *builder, x *graph.Node, index int, rules rules) *graph.Node {
	c, name := t.channels(), fmt.Sprintf("blocks.%d", index)
	y := t.norm(b, x, name+".norm1")
	y = b.linear(y, name+".attn.qkv", rules.qkv(c, 3*c), rules.bias(), c, 3*c)
	if b.g != nil {
		y = b.g.Attention(y, t.heads())
		if t.class() && index == t.depth()-1 {
			// Nobody reads the other tokens behind the last attention.
			x, y = b.g.Slice(x, 1, 0, 1), b.g.Slice(y, 1, 0, 1)
		}
	}
	y = b.linear(y, name+".attn.proj", rules.linear(c, c), rules.bias(), c, c)
	x = t.join(b, x, y, name+".ls1", 2*index)

	y = t.norm(b, x, name+".norm2")
	y = b.linear(y, name+".mlp.fc1", rules.linear(c, 4*c), rules.bias(), c, 4*c)
	if b.g != nil {
		y = b.g.GELU(y)
	}
	y = b.linear(y, name+".mlp.fc2", rules.linear(4*c, c), rules.bias(), 4*c, c)
	return t.join(b, x, y, name+".ls2", 2*index+1)
}

// bias is how the biases of linear layers start.
func (rules) bias() start { return zeros }

// join adds what a branch has made to the tokens: scaled by channel if there is LayerScale, and left
// out for some of the images if there is drop path.
func (t transformer) join(b *builder, x, y *graph.Node, scale string, branch int) *graph.Node {
	var gamma *graph.Node
	if t.LayerScale {
		gamma = b.parameter(scale+".gamma", constant(1e-5), t.channels())
	}
	if b.g == nil {
		return nil
	}
	if gamma != nil {
		y = b.g.ScaleChannels(y, gamma)
	}
	if drop := b.encoder.Drop; drop != nil {
		n := drop.Shape[0]
		y = b.g.ScaleRows(y, b.g.Reshape(b.g.Slice(drop, 1, branch, 1), n))
	}
	return b.g.Add(x, y)
}

// norm is layer norm over the channels of each token.
func (t transformer) norm(b *builder, x *graph.Node, name string) *graph.Node {
	gamma := b.parameter(name+".weight", ones, t.channels())
	beta := b.parameter(name+".bias", zeros, t.channels())
	if b.g == nil {
		return nil
	}
	return b.g.LayerNorm(x, gamma, beta, t.epsilon())
}

// pool makes features of the tokens behind the final norm.
func (t transformer) pool(b *builder, x *graph.Node) *graph.Node {
	if b.g == nil {
		return t.norm(b, nil, "norm")
	}
	g, n, c := b.g, x.Shape[0], t.channels()
	if t.class() {
		return t.norm(b, g.Reshape(x, n, c), "norm")
	}
	prefix := 1 + t.Registers
	patches := x.Shape[1] - prefix
	if t.Tokens == "mean" {
		x = t.norm(b, g.Slice(x, 1, prefix, patches), "norm")
		return g.AveragePool(g.Reshape(x, n, patches, 1, c))
	}
	x = t.norm(b, x, "norm")
	class := g.Reshape(g.Slice(x, 1, 0, 1), n, c)
	mean := g.AveragePool(g.Reshape(g.Slice(x, 1, prefix, patches), n, patches, 1, c))
	return g.Concat(1, class, mean)
}

// DropPaths is the share of the images for which training leaves out each branch: two branches a
// block, with shares that rise from block to block (timm's rule). It is nil without drop path.
func (c Config) DropPaths() []float64 {
	if c.DropPath == 0 {
		return nil
	}
	depth := c.Depth()
	var rates []float64
	for block := range depth {
		rate := c.DropPath * float64(block) / float64(max(1, depth-1))
		rates = append(rates, rate, rate)
	}
	return rates
}

// sincos is MoCo v3's fixed position embedding, [1,1+grid*grid,channels]. The class token has zeros.
// Of a patch's channels the first quarter are sines of its row, then cosines of its row, sines and
// cosines of its column, at frequencies 10000^(-i/quarter). The authors' code calls the row w, but
// counts it as here.
func sincos(grid, channels int) start {
	return func(_ *rng.Source, x []float32) {
		clear(x[:channels])
		quarter := channels / 4
		for place := range grid * grid {
			token := x[(1+place)*channels:]
			for i := range quarter {
				frequency := math.Pow(10000, -float64(i)/float64(quarter))
				row, column := float64(place/grid)*frequency, float64(place%grid)*frequency
				token[i], token[quarter+i] = float32(math.Sin(row)), float32(math.Cos(row))
				token[2*quarter+i], token[3*quarter+i] = float32(math.Sin(column)), float32(math.Cos(column))
			}
		}
	}
}
