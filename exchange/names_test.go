package exchange

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"moco"
	"moco/encoder"
	"moco/nn"
	"moco/weights"
)

// vit is a small transformer whose features are the class token.
var vit = nn.Config{Arch: "vit_ti4", Width: 16.0 / 192, Layers: []int{2}, Heads: 2, Image: 16, Dim: 8, Head: "mlp_bn", HeadLayers: 2, Hidden: 12}

// registered is one that torchvision has not.
var registered = nn.Config{Arch: "vit_ti4", Width: 16.0 / 192, Layers: []int{2}, Heads: 2, Image: 32, Dim: 16, Head: "none",
	Registers: 3, LayerScale: true, Tokens: "mean", NormEpsilon: 1e-12}

// TestNames: a transformer under another project's names has these, and comes back as what it was
// with what the names cannot tell.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config nn.Config
		names  Names
		want   []string
	}{
		{vit, "", []string{"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.1.attn.qkv.bias", "head.3.weight"}},
		{vit, Torchvision, []string{"class_token", "encoder.pos_embedding", "conv_proj.bias", "heads.head.4.running_mean",
			"encoder.layers.encoder_layer_1.self_attention.in_proj_weight", "encoder.layers.encoder_layer_0.mlp.3.bias", "encoder.ln.bias"}},
		{registered, Timm, []string{"reg_token", "pos_embed", "blocks.0.ls2.gamma"}},
	} {
		e := trained(t, c.config)
		var b bytes.Buffer
		n, err := Write(&b, e, Options{Format: Safetensors, Names: c.names})
		if err != nil || n != len(e.Weights.Tensors) {
			t.Fatalf("%q: %d tensors, %v", c.names, n, err)
		}
		f, err := weights.Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.want {
			if f.Get(name) == nil {
				t.Errorf("%q: there is no %s", c.names, name)
			}
		}
		back, report, err := encoder.Import(f, encoder.ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if report.Kind != "moco" || len(report.LeftOut) > 0 || !sameConfig(report.Encoder, c.config) || !reflect.DeepEqual(report.Views, e.Recipe.Views) {
			t.Errorf("%q: it comes back as %v, %+v", c.names, report, report.Encoder)
		}
		for _, n := range e.Weights.Tensors {
			same := slices.Equal(back.Get(n.Name).Bytes(), n.Tensor.Bytes())
			if moved := c.config.Registers > 0 && (n.Name == "cls_token" || n.Name == "pos_embed"); same == moved {
				t.Errorf("%q: %s comes back equal: %v", c.names, n.Name, same)
			}
		}
		if c.config.Registers > 0 {
			classPosition(t, e.Weights, back)
		}
	}
}

func sameConfig(a, b nn.Config) bool {
	return slices.Equal(a.Layers, b.Layers) && a.SameBackbone(b) == nil && a.SameHead(b) && a.NormEpsilon == b.NormEpsilon && a.Heads == b.Heads
}

// classPosition holds that the class token and its position have the sum that they had.
func classPosition(t *testing.T, before, after *weights.File) {
	t.Helper()
	for i, v := range before.Get("cls_token").Float32s() {
		want := v + before.Get("pos_embed").Float32s()[i]
		if got := after.Get("cls_token").Float32s()[i] + after.Get("pos_embed").Float32s()[i]; got != want {
			t.Fatalf("the class token with its position has %v in place %d, and had %v", got, i, want)
		}
	}
}

// TestNamesRefused: torchvision's transformers are plain ones.
func TestNamesRefused(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(r *moco.Recipe){
		"no LayerScale":        func(r *moco.Recipe) { r.Encoder.LayerScale = true },
		"no registers":         func(r *moco.Recipe) { r.Encoder.Registers = 4 },
		"of both tokens":       func(r *moco.Recipe) { r.Encoder.Tokens = "both" },
		"the images have 32; ": func(r *moco.Recipe) { r.Views.Size = 32 },
	} {
		r := moco.Recipe{Encoder: vit, Views: moco.Views{Size: 16}}
		if err := Torchvision.check(r); err != nil {
			t.Fatal(err)
		}
		change(&r)
		if err := Torchvision.check(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
		if err := Timm.check(r); err != nil {
			t.Error(err)
		}
	}
	if err := Names("keras").check(moco.Recipe{}); err == nil {
		t.Error("unknown names are taken")
	}
	if err := checkDetectron2(vit); err == nil || !strings.Contains(err.Error(), "this is a vit_ti4") {
		t.Errorf("detectron2: %v", err)
	}
}

// TestTransformerLoader compares the lines for each kind of transformer. They were run with timm and
// torchvision: docs/interop.md.
func TestTransformerLoader(t *testing.T) {
	t.Parallel()
	r := func(c nn.Config, size int) moco.Recipe { return moco.Recipe{Encoder: c, Views: moco.Views{Size: size}} }
	both := registered
	both.Tokens = "both"
	for _, c := range []struct {
		recipe moco.Recipe
		names  Names
		want   []string
	}{
		{r(vit, 16), "", []string{"import torch, timm\n", "VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=0)",
			"m.head = torch.nn.Sequential(torch.nn.Linear(16, 12, bias=False), torch.nn.BatchNorm1d(12), torch.nn.ReLU(), " +
				"torch.nn.Linear(12, 8, bias=False), torch.nn.BatchNorm1d(8, affine=False))\nm.load_state_dict(state); m.eval()"}},
		{r(vit, 16), Torchvision, []string{"import torch, torchvision\n", "torchvision.models.VisionTransformer(image_size=16, " +
			"patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64)\nm.heads.head = torch.nn.Sequential("}},
		{r(registered, 16), Timm, []string{", init_values=1, reg_tokens=3, no_embed_class=True, dynamic_img_size=True, " +
			"global_pool='avg', fc_norm=False, norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-12))\nm.load_state_dict"}},
		{r(both, 32), Timm, []string{"import functools\nimport torch, timm\n", "both = lambda x: torch.cat([x[:, 0], x[:, 4:].mean(1)], 1)\nm.forward_head"}},
	} {
		lines := strings.Join(Loader(c.recipe, Options{Format: Torch, Names: c.names}, "a.pth"), "\n")
		for _, want := range c.want {
			if !strings.Contains(lines, want) {
				t.Errorf("%q: want %q in\n%s", c.names, want, lines)
			}
		}
	}
}
