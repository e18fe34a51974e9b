package nn

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"moco/graph"
	"moco/tensor"
)

// vit is a transformer for images of 224 pixels with a linear head.
func vit(arch string) Config {
	return Config{Arch: arch, Width: 1, Dim: 1000, Head: "linear", Image: 224}
}

// TestTransformerNames compares names, order and shapes with timm's vit_small_patch16_224 (timm 0.9),
// and with its models that have registers and LayerScale.
func TestTransformerNames(t *testing.T) {
	t.Parallel()
	block := func(i int) []string {
		var all []string
		for _, p := range []string{
			"norm1.weight [384]", "norm1.bias [384]", "attn.qkv.weight [1152 384]", "attn.qkv.bias [1152]",
			"attn.proj.weight [384 384]", "attn.proj.bias [384]", "norm2.weight [384]", "norm2.bias [384]",
			"mlp.fc1.weight [1536 384]", "mlp.fc1.bias [1536]", "mlp.fc2.weight [384 1536]", "mlp.fc2.bias [384]",
		} {
			all = append(all, fmt.Sprintf("blocks.%d.%s", i, p))
		}
		return all
	}
	want := []string{
		"cls_token [1 1 384]", "pos_embed [1 197 384]",
		"patch_embed.proj.weight [384 3 16 16]", "patch_embed.proj.bias [384]",
	}
	for i := range 12 {
		want = append(want, block(i)...)
	}
	want = append(want, "norm.weight [384]", "norm.bias [384]", "fc.weight [1000 384]", "fc.bias [1000]")
	if got := listed(vit("vit_s16")); !slices.Equal(got, want) {
		t.Errorf("vit_s16 has\n%v, want\n%v", got, want)
	}

	c := vit("vit_s14")
	c.Image, c.Registers, c.LayerScale, c.Layers = 518, 4, true, []int{1}
	got := listed(c)
	if want := []string{"cls_token [1 1 384]", "reg_token [1 4 384]", "pos_embed [1 1370 384]"}; !slices.Equal(got[:3], want) {
		t.Errorf("a transformer with registers begins with %v, want %v", got[:3], want)
	}
	for name, before := range map[string]string{
		"blocks.0.ls1.gamma [384]": "blocks.0.norm2.weight [384]", "blocks.0.ls2.gamma [384]": "norm.weight [384]",
	} {
		if i := slices.Index(got, name); i < 0 || got[i+1] != before {
			t.Errorf("%s does not stand before %s in %v", name, before, got)
		}
	}
}

// listed is the state dict of a config: "NAME SHAPE" in order.
func listed(c Config) []string {
	var all []string
	for _, e := range c.StateDict() {
		all = append(all, fmt.Sprint(e.Name, " ", []int(e.Shape)))
	}
	return all
}

// TestTransformerParameters compares the number of parameters with those that timm and torchvision
// give for 1000 classes, and the multiply-adds of an image with those of torchvision's table.
func TestTransformerParameters(t *testing.T) {
	t.Parallel()
	for arch, want := range map[string]struct {
		parameters int
		gmacs      float64
	}{
		"vit_ti16": {5717416, 1.26}, "vit_s16": {22050664, 4.61}, "vit_b16": {86567656, 17.56}, "vit_b32": {88224232, 4.41},
		"vit_l16": {304326632, 61.55},
	} {
		c, n := vit(arch), 0
		for _, p := range c.Parameters() {
			n += p.Shape.Elements()
		}
		if n != want.parameters {
			t.Errorf("%s has %d parameters, want %d", arch, n, want.parameters)
		}
		c.Tokens = "mean" // all tokens go through the whole last block, as they do in torchvision
		g := graph.New()
		e := on(g, c)
		features, _ := e.Encode(g, g.Input("x", tensor.Float32, 1, 224, 224, 3))
		g.Output("features", features)
		if err := g.Check(); err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		// A graph also counts norms and other small operations: some percent.
		if got := float64(g.Cost().FLOPs) / 2e9; got < 0.995*want.gmacs || got > 1.05*want.gmacs {
			t.Errorf("%s takes %.3f billion multiply-adds for an image, want %.2f", arch, got, want.gmacs)
		}
	}
}

// on is an encoder whose values are variables of g.
func on(g *graph.Graph, c Config) *Encoder {
	e := &Encoder{Config: c, Values: map[string]*graph.Node{}}
	for _, p := range c.Parameters() {
		e.Values[p.Name] = g.Variable(p.Name, tensor.Float32, p.Shape...)
	}
	for _, b := range c.Buffers() {
		e.Values[b.Name] = g.Variable(b.Name, tensor.Float32, b.Channels)
	}
	return e
}

// TestTransformerShapes builds what the keys ask for, at the size that positions are made for and at
// another, and takes the gradient.
func TestTransformerShapes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(c *Config)
		dim    int
	}{
		"class":     {func(c *Config) {}, 64},
		"mean":      {func(c *Config) { c.Tokens = "mean" }, 64},
		"both":      {func(c *Config) { c.Tokens = "both" }, 128},
		"registers": {func(c *Config) { c.Registers, c.LayerScale, c.Tokens = 3, true, "mean" }, 64},
		"sincos":    {func(c *Config) { c.Position, c.FrozenPatches = "sincos", true }, 64},
		"mlp_bn":    {func(c *Config) { c.Head, c.HeadLayers, c.Hidden = "mlp_bn", 3, 32 }, 64},
		"drop":      {func(c *Config) { c.DropPath = 0.1 }, 64},
		"offset":    {func(c *Config) { c.Interpolation = "bicubic_offset" }, 64},
	} {
		config := Config{Arch: "vit_ti4", Width: 1.0 / 3, Layers: []int{2}, Dim: 8, Head: "linear", Image: 16}
		c.change(&config)
		if err := config.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := config.FeatureDim(); got != c.dim {
			t.Errorf("%s: %d features, want %d", name, got, c.dim)
		}
		for _, size := range []int{16, 24} {
			g := graph.New()
			e := on(g, config)
			e.Splits = 1
			if rates := config.DropPaths(); rates != nil {
				e.Drop = g.Input("drop", tensor.Float32, 6, len(rates))
			}
			features, backbone := e.Encode(g, g.Input("x", tensor.Float32, 6, size, size, 3))
			var learned []*graph.Node
			for _, p := range config.Parameters() {
				if !p.Frozen {
					learned = append(learned, g.Variable(p.Name, tensor.Float32, p.Shape...))
				}
			}
			loss := g.CrossEntropy(features, g.Input("labels", tensor.Int32, 6))
			for i, d := range g.Gradients(loss, g.Fill(1), learned) {
				if !d.Shape.Equal(learned[i].Shape) {
					t.Errorf("%s at %d pixels: the gradient of %v is %v", name, size, learned[i], d)
				}
			}
			if err := g.Check(); err != nil {
				t.Fatalf("%s at %d pixels: %v", name, size, err)
			}
			if want := (tensor.Shape{6, c.dim}); !backbone.Shape.Equal(want) || !features.Shape.Equal(tensor.Shape{6, 8}) {
				t.Errorf("%s at %d pixels: %v pooled features and %v behind the head", name, size, backbone.Shape, features.Shape)
			}
		}
	}
}

// TestDepthAndDecay: layers are counted from the image, and only matrices decay.
func TestDepthAndDecay(t *testing.T) {
	t.Parallel()
	resnet := Config{Arch: "resnet18", Stem: "cifar", Width: 1, Dim: 8, Head: "mlp"}
	frozen := vit("vit_s16")
	frozen.Position, frozen.FrozenPatches = "sincos", true
	for _, c := range []struct {
		config         Config
		name           string
		depth          int
		decays, frozen bool
	}{
		{vit("vit_s16"), "cls_token", 0, false, false},
		{vit("vit_s16"), "pos_embed", 0, false, false},
		{vit("vit_s16"), "patch_embed.proj.weight", 0, true, false},
		{vit("vit_s16"), "blocks.0.norm1.weight", 1, false, false},
		{vit("vit_s16"), "blocks.11.mlp.fc2.weight", 12, true, false},
		{vit("vit_s16"), "blocks.11.mlp.fc2.bias", 12, false, false},
		{vit("vit_s16"), "norm.weight", 13, false, false},
		{vit("vit_s16"), "fc.weight", 13, true, false},
		{frozen, "pos_embed", 0, false, true},
		{frozen, "patch_embed.proj.bias", 0, false, true},
		{frozen, "blocks.0.norm1.weight", 1, false, false},
		{resnet, "conv1.weight", 0, true, false},
		{resnet, "bn1.weight", 0, false, false},
		{resnet, "layer4.1.conv2.weight", 4, true, false},
		{resnet, "fc.0.weight", 5, true, false},
	} {
		p := c.config.Parameters()
		i := slices.IndexFunc(p, func(p Parameter) bool { return p.Name == c.name })
		if i < 0 {
			t.Fatalf("%s has no %s", c.config.Arch, c.name)
		}
		if p[i].Depth != c.depth || p[i].Decays != c.decays || p[i].Frozen != c.frozen {
			t.Errorf("%s: depth %d, decays %v, frozen %v; want %d, %v, %v",
				c.name, p[i].Depth, p[i].Decays, p[i].Frozen, c.depth, c.decays, c.frozen)
		}
	}
}

// TestTransformerInitialise: the spread of first values by timm's rules, and by MoCo v3's where
// positions are fixed.
func TestTransformerInitialise(t *testing.T) {
	t.Parallel()
	fixed := vit("vit_s16")
	fixed.Position = "sincos"
	for _, c := range []struct {
		config    Config
		name      string
		deviation float64
		largest   float64 // of a uniform distribution; 0: normal
	}{
		{vit("vit_s16"), "pos_embed", 0.02, 0},
		{vit("vit_s16"), "cls_token", 1e-6, 0},
		{vit("vit_s16"), "blocks.0.attn.qkv.weight", 0.02, 0},
		{vit("vit_s16"), "blocks.0.attn.qkv.bias", 0, 0},
		{vit("vit_s16"), "patch_embed.proj.weight", 0, 1 / math.Sqrt(3*16*16)},
		{vit("vit_s16"), "fc.weight", 0, 1 / math.Sqrt(384)},
		{fixed, "blocks.0.attn.qkv.weight", 0, math.Sqrt(6.0 / (384 + 384))},
		{fixed, "blocks.0.mlp.fc1.weight", 0, math.Sqrt(6.0 / (384 + 1536))},
		{fixed, "patch_embed.proj.weight", 0, math.Sqrt(6.0 / (3*16*16 + 384))},
		{fixed, "patch_embed.proj.bias", 0, 0},
		{fixed, "cls_token", 1e-6, 0},
	} {
		x := initialised(t, c.config, c.name)
		var square, largest float64
		for _, v := range x {
			square += float64(v) * float64(v) / float64(len(x))
			largest = max(largest, math.Abs(float64(v)))
		}
		deviation := math.Sqrt(square)
		if c.largest > 0 && (largest > c.largest || largest < 0.99*c.largest) {
			t.Errorf("%s of %q reaches %v, want just under %v", c.name, c.config.Position, largest, c.largest)
		}
		if c.largest == 0 && math.Abs(deviation-c.deviation) > 0.1*c.deviation {
			t.Errorf("%s of %q has the deviation %v, want %v", c.name, c.config.Position, deviation, c.deviation)
		}
	}
}

// initialised is the first value of a parameter.
func initialised(t *testing.T, c Config, name string) []float32 {
	t.Helper()
	for _, p := range c.Parameters() {
		if p.Name == name {
			x := tensor.New(tensor.Float32, p.Shape...)
			p.Initialise(x, 1)
			return x.Float32s()
		}
	}
	t.Fatalf("%s has no %s", c.Arch, name)
	return nil
}

func TestTransformerCheck(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(c *Config){
		"arch":           func(c *Config) { c.Arch = "vit_s12" },
		"stem":           func(c *Config) { c.Stem = "cifar" },
		"layers":         func(c *Config) { c.Layers = []int{2, 2, 2, 2} },
		"layers: must":   func(c *Config) { *c = Default("resnet18"); c.Layers = []int{1, 1, 1, 1 << 30} },
		"width":          func(c *Config) { c.Width = 0.7 },
		"heads":          func(c *Config) { c.Heads = -1 },
		"image":          func(c *Config) { c.Image = 200 },
		"tokens":         func(c *Config) { c.Tokens = "all" },
		"position":       func(c *Config) { c.Position = "rotary" },
		"interpolation":  func(c *Config) { c.Interpolation = "linear" },
		"registers":      func(c *Config) { c.Registers = -1 },
		"drop_path":      func(c *Config) { c.DropPath = 1 },
		"norm_epsilon":   func(c *Config) { c.NormEpsilon = math.NaN() },
		"head_layers":    func(c *Config) { c.Head, c.Hidden = "mlp_bn", 8 },
		"hidden":         func(c *Config) { c.Hidden = 8 },
		"head_layers: b": func(c *Config) { c.HeadLayers = 3 },
		"registers: a":   func(c *Config) { *c = Default("resnet18"); c.Registers = 4 },
		"frozen_patches": func(c *Config) { *c = Default("resnet18"); c.FrozenPatches = true },
	} {
		c := vit("vit_s16")
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "encoder."+want) {
			t.Errorf("a wrong %s gives %v", want, err)
		}
	}
	for _, arch := range []string{"vit", "vit_", "vit_s", "vit_s016", "vit_h14", "16", "vit_s16x"} {
		c := vit(arch)
		if err := c.Check(); err == nil {
			t.Errorf("%q is taken for an architecture", arch)
		}
	}
}

// TestCheckImage: images have whole patches, and not so many that their positions would take gigabytes.
func TestCheckImage(t *testing.T) {
	t.Parallel()
	tiny := vit("vit_ti2")
	tiny.Image = 32
	for _, c := range []struct {
		config Config
		size   int
		want   string
	}{
		{vit("vit_s14"), 518, ""},
		{vit("vit_s14"), 1400, ""},
		{vit("vit_s14"), 500, "near lie 490 and 504"},
		{vit("vit_s14"), 6, "near lie 14"},
		{tiny, 4096, "256 patches cannot be made into those of 4194304"},
		{Default("resnet18"), 333, ""},
	} {
		err := c.config.CheckImage(c.size)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s at %d pixels: %v, want %q", c.config.Arch, c.size, err, c.want)
		}
	}
}

// TestMetadata: every key of an encoder survives its file's metadata.
func TestMetadata(t *testing.T) {
	t.Parallel()
	full := Config{
		Arch: "vit_s14", Width: 1.0 / 3, Dim: 8, Head: "mlp_bn", HeadLayers: 3, Hidden: 32, Layers: []int{2}, Image: 28, Heads: 2,
		Tokens: "both", Position: "sincos", Interpolation: "bicubic_offset", LayerScale: true, Registers: 4, DropPath: 0.1,
		NormEpsilon: 1e-5, FrozenPatches: true,
	}
	stages := Config{Arch: "resnet18", Stem: "cifar", Width: 0.25, Dim: 8, Head: "linear", Layers: []int{1, 1, 1, 2}}
	for _, c := range []Config{full, stages, vit("vit_b16"), Default("resnet50")} {
		got, err := FromMetadata(c.Metadata())
		if err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", c) {
			t.Errorf("%+v comes back as %+v (%v)", c, got, err)
		}
	}
	for key, text := range map[string]string{"width": "wide", "dim": "", "layers": "1 two", "layer_scale": "2"} {
		m := full.Metadata()
		m[key] = text
		if _, err := FromMetadata(m); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%q for %s gives %v", text, key, err)
		}
	}
}

// TestSameBackbone: weights fit where shapes and attention heads do, whatever the head is.
func TestSameBackbone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(c *Config)
		want   string // "": they fit
	}{
		"another head":   {func(c *Config) { c.Head, c.Dim = "mlp", 64 }, ""},
		"drop path":      {func(c *Config) { c.DropPath = 0.1 }, ""},
		"attention":      {func(c *Config) { c.Heads = 12 }, "heads: 6, width 1, for 224 px) and not a vit_s16 (blocks: 12, heads: 12"},
		"image":          {func(c *Config) { c.Image = 384 }, "for 224 px) and not a vit_s16"},
		"LayerScale":     {func(c *Config) { c.LayerScale = true }, "vit_s16 without blocks.0.ls1.gamma"},
		"registers":      {func(c *Config) { c.Registers = 2 }, "vit_s16 without reg_token"},
		"another family": {func(c *Config) { *c = Default("resnet18") }, "and not a resnet18 (imagenet stem, width 1)"},
	} {
		other := vit("vit_s16")
		c.change(&other)
		err := vit("vit_s16").SameBackbone(other)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
