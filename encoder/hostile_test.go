package encoder_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"moco/encoder"
	"moco/tensor"
	"moco/weights"
)

// transformerFiles are the samples of each family of transformers' names.
var transformerFiles = []string{"moco_v3_vit.pth.tar", "dino.pth", "dinov2.pth", "torchvision_vit.pth",
	"timm_registers.safetensors", "deit_distilled.pth", "transformers_vit.safetensors", "transformers_dinov2.safetensors"}

// TestDamaged: in a file of any family, each tensor of the encoder that is missing, doubled, of
// another shape or not finite is an error of one line, which names a tensor.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, name := range transformerFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := loaded(t, name)
			_, report, err := encoder.Import(whole, encoder.ImportOptions{Heads: 2})
			if err != nil {
				t.Fatal(err)
			}
			o := encoder.ImportOptions{Heads: 2, Side: report.Side}
			for _, used := range report.Used {
				for damage, change := range damages {
					f := &weights.File{Tensors: slices.Clone(whole.Tensors)}
					i := slices.IndexFunc(f.Tensors, func(n weights.Named) bool { return n.Name == used })
					change(f, i)
					_, _, err := encoder.Import(f, o)
					switch {
					case err == nil && optional(used, damage):
					case err == nil:
						t.Errorf("%s of %s is no error", damage, used)
					case strings.Contains(err.Error(), "\n"):
						t.Errorf("%s of %s: more than a line: %v", damage, used, err)
					case damage == "NaN" && (!errors.Is(err, encoder.ErrNotFinite) || !strings.Contains(err.Error(), used)):
						t.Errorf("NaN in %s: %v", used, err)
					}
				}
			}
		})
	}
}

// optional tells whether the damage makes another good file: without a head; with another number of
// registers, which have no positions here, or one position more, which is then the class token's; or
// with other counts of batches.
func optional(name, damage string) bool {
	switch {
	case strings.HasSuffix(name, "num_batches_tracked"):
		return true
	case strings.HasSuffix(name, "reg_token"), strings.HasSuffix(name, "register_tokens"):
		return damage == "missing" || damage == "a row more"
	case name == "pos_embed":
		return damage == "a row more"
	}
	return damage == "missing" && strings.Contains(name, "head.")
}

// damages change a tensor of a file.
var damages = map[string]func(f *weights.File, i int){
	"missing": func(f *weights.File, i int) { f.Tensors = slices.Delete(f.Tensors, i, i+1) },
	"NaN": func(f *weights.File, i int) {
		if x := f.Tensors[i].Tensor; x.Type == tensor.Float32 {
			f.Tensors[i].Tensor = tensor.FromFloat32s(x.Float32s(), x.Shape...)
			f.Tensors[i].Tensor.Float32s()[0] = float32(math.NaN())
		}
	},
	"another axis": func(f *weights.File, i int) { reshaped(f, i, append([]int{1}, f.Tensors[i].Tensor.Shape...)...) },
	"a row more": func(f *weights.File, i int) {
		shape := slices.Clone(f.Tensors[i].Tensor.Shape)
		if len(shape) == 0 {
			return
		}
		shape[len(shape)/2]++
		reshaped(f, i, shape...)
	},
	"emptiness": func(f *weights.File, i int) { reshaped(f, i, 0) },
	"a scalar":  func(f *weights.File, i int) { reshaped(f, i) },
	"integers": func(f *weights.File, i int) {
		f.Tensors[i].Tensor = tensor.New(tensor.Int32, f.Tensors[i].Tensor.Shape...)
	},
	"doubling": func(f *weights.File, i int) {
		f.Tensors = append(f.Tensors, weights.Named{Name: alias(f.Tensors[i].Name), Tensor: f.Tensors[i].Tensor})
	},
}

// reshaped puts a tensor of zeros in place of another.
func reshaped(f *weights.File, i int, shape ...int) {
	f.Tensors[i].Tensor = tensor.New(tensor.Float32, shape...)
}

// alias is a second name for the same part of a transformer or, where its project has none, a part
// beside it that no encoder has.
func alias(name string) string {
	for _, pair := range [][2]string{
		{"mlp.0.", "mlp.linear_1."}, {"mlp.3.", "mlp.linear_2."}, {"register_tokens", "reg_token"}, {"dist_token", "reg_token"},
		{"norm1.", "layernorm_before."}, {"layernorm_before.", "norm1."}, {"norm2.", "layernorm_after."},
	} {
		if strings.Contains(name, pair[0]) {
			return strings.Replace(name, pair[0], pair[1], 1)
		}
	}
	return name
}

// TestTransformersRefused: what moco has not is refused with the reason, or with what helps.
func TestTransformersRefused(t *testing.T) {
	t.Parallel()
	const plain = "timm_registers.safetensors"
	two := encoder.ImportOptions{Heads: 2}
	added := func(name string, shape ...int) func(*weights.File) {
		return func(f *weights.File) {
			f.Tensors = append(f.Tensors, weights.Named{Name: name, Tensor: tensor.New(tensor.Float32, shape...)})
		}
	}
	put := func(name string, shape ...int) func(*weights.File) {
		return func(f *weights.File) {
			i := slices.IndexFunc(f.Tensors, func(n weights.Named) bool { return n.Name == name })
			reshaped(f, i, shape...)
		}
	}
	without := func(end string) func(*weights.File) {
		return func(f *weights.File) {
			f.Tensors = slices.DeleteFunc(f.Tensors, func(n weights.Named) bool { return strings.HasSuffix(n.Name, end) })
		}
	}
	for what, c := range map[string]struct {
		file    string
		change  func(*weights.File)
		options encoder.ImportOptions
		want    string
	}{
		"a norm of the mean": {plain, added("fc_norm.weight", 16), two, "fc_norm.weight: features"},
		"CLIP":               {plain, added("norm_pre.weight", 16), two, "a norm before the first block"},
		"BEiT": {plain, added("blocks.1.attn.relative_position_bias_table", 9, 2),
			two, "relative positions"},
		"another part": {plain, added("blocks.1.attn.gate", 16), two, "has no blocks.1.attn.gate"},
		"a third block": {plain, added("blocks.2.norm1.weight", 16), two,
			"it lacks blocks.2.norm1.bias"},
		"a gap":          {plain, added("blocks.7.norm1.weight", 16), two, "it lacks blocks.2.norm1.weight"},
		"unknown heads":  {plain, added("x", 1), encoder.ImportOptions{}, "say how many heads"},
		"odd heads":      {plain, added("x", 1), encoder.ImportOptions{Heads: 3}, "3 heads cannot share"},
		"negative heads": {plain, added("x", 1), encoder.ImportOptions{Heads: -1}, "encoder.heads"},
		"a size":         {plain, added("x", 1), encoder.ImportOptions{Heads: 2, Size: 30}, "a multiple of 8 pixels"},
		"tokens":         {plain, added("x", 1), encoder.ImportOptions{Heads: 2, Tokens: "first"}, "encoder.tokens"},
		"an epsilon":     {plain, added("x", 1), encoder.ImportOptions{Heads: 2, Epsilon: math.NaN()}, "encoder.norm_epsilon"},
		"a normalisation": {plain, added("x", 1), encoder.ImportOptions{Heads: 2, Normalise: "mine"},
			"views.normalise"},
		"a filter":         {plain, added("x", 1), encoder.ImportOptions{Heads: 2, Resize: "mine"}, "views.resize"},
		"a ResNet's heads": {"old.tar", added("x", 1), two, "encoder.heads: a resnet18 has no such key"},
		"gray":             {plain, put("patch_embed.proj.weight", 16, 1, 8, 8), encoder.ImportOptions{}, "a stem of one channel"},
		"oblong patches":   {plain, put("patch_embed.proj.weight", 16, 3, 8, 4), encoder.ImportOptions{}, "squares"},
		"patches of none":  {plain, put("patch_embed.proj.weight", 16, 3, 0, 0), two, "vit_ti0"},
		"no channels":      {plain, put("patch_embed.proj.weight", 0, 3, 8, 8), encoder.ImportOptions{}, "pos_embed is float32"},
		"an oblong grid":   {plain, put("pos_embed", 1, 14, 16), two, "square of patches"},
		"a large image":    {plain, put("pos_embed", 1, 1<<20, 16), two, "at most 4096"},
		"many registers":   {plain, put("reg_token", 1, 5000, 16), two, "0 to 1024"},
		"two kinds of tokens": {"deit_distilled.pth", added("model.reg_token", 1, 1, 16), two,
			"has both model.dist_token and model.reg_token"},
		"two blocks of one number": {"dinov2.pth", added("teacher.backbone.blocks.0.1.norm1.weight", 16), two,
			"are both blocks.1.norm1.weight"},
		"no keys":       {"transformers_vit.safetensors", without("0.attention.attention.key.weight"), two, "no tensor for the keys"},
		"a class token": {"dino.pth", without("cls_token"), two, "it lacks cls_token"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := loaded(t, c.file)
			c.change(f)
			if _, _, err := encoder.Import(f, c.options); err == nil || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

// TestTransformerChoices: what is asked for wins over what the family is known for.
func TestTransformerChoices(t *testing.T) {
	t.Parallel()
	o := encoder.ImportOptions{Heads: 4, Epsilon: 1e-5, Tokens: "both", Normalise: "imagenet", Resize: "bilinear",
		Size: 64, Policy: "v2"}
	_, r, err := encoder.Import(loaded(t, "timm_registers.safetensors"), o)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(r.Encoder.Heads, r.Encoder.NormEpsilon, r.Encoder.Tokens, r.Encoder.Head, r.Encoder.Dim,
		r.Views.Policy, r.Views.Size, r.Views.Normalise, r.Views.Resize)
	if want := "4 1e-05 both none 32 v2 64 imagenet bilinear\n"; got != want {
		t.Errorf("taken for %s, want %s", got, want)
	}
	if told := strings.Join(r.Notes, " "); !strings.Contains(told, "its head takes the class token") ||
		!strings.Contains(told, "position embeddings for 32 pixels, made into ones for 64 by bicubic_antialias") {
		t.Errorf("the notes are %q", r.Notes)
	}
}

// TestSides: without a word about the side the encoder is the one that its authors evaluate, or the
// only one.
func TestSides(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"moco_v3_vit.pth.tar": "query", "dino.pth": "key", "dinov2.pth": "key"} {
		if _, r, err := encoder.Import(loaded(t, file), encoder.ImportOptions{Heads: 2}); err != nil || r.Side != want {
			t.Errorf("%s: the %v, %v; want the %s side", file, r, err, want)
		}
	}
	var choice *encoder.ChoiceError
	if _, _, err := encoder.Import(loaded(t, "dinov2.pth"), encoder.ImportOptions{Heads: 2, Side: "query"}); !errors.As(err, &choice) {
		t.Errorf("a side that is not there: %v", err)
	}
}

// FuzzImport changes names and shapes of files of each family. Whatever comes of it is an error, or an
// encoder of which every tensor has its place.
func FuzzImport(f *testing.F) {
	f.Add(uint8(0), []byte{}, "")
	f.Add(uint8(2), []byte{1, 5, 2, 9}, "blocks.0.1.norm1.weight")
	f.Add(uint8(5), []byte{3, 1, 0, 2}, "head.7.weight")
	f.Add(uint8(6), []byte{0, 8, 3, 3}, "encoder.layer.99.norm1.bias")
	f.Add(uint8(3), []byte{2, 0, 1, 200}, "encoder.layers.encoder_layer_00.mlp.linear_1.bias")
	f.Add(uint8(8), []byte{1, 3}, "layer1.00.conv1.weight")
	files := append(slices.Clone(transformerFiles), "old.tar", "lightly_half.ckpt", "moco_v3_resnet.pth.tar")
	content := make([]*weights.File, len(files))
	for i, name := range files {
		var err error
		if content[i], err = weights.Load(f.Context(), "testdata/import/"+name); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte, name string) {
		file := &weights.File{Tensors: slices.Clone(content[int(which)%len(content)].Tensors)}
		for ; len(changes) > 1 && len(file.Tensors) > 0; changes = changes[2:] {
			i := int(changes[1]) % len(file.Tensors)
			n := &file.Tensors[i]
			switch shape := n.Tensor.Shape; changes[0] % 5 {
			case 0:
				file.Tensors = slices.Delete(file.Tensors, i, i+1)
			case 1:
				n.Name = name
			case 2:
				file.Tensors = append(file.Tensors, weights.Named{Name: name, Tensor: n.Tensor})
			case 3:
				shape = slices.Clone(shape)
				for axis := range shape {
					shape[axis] = int(changes[1]>>(2*axis)) % 20
				}
				n.Tensor = tensor.New(n.Tensor.Type, shape...)
			case 4:
				n.Tensor = tensor.New(tensor.Float32, make([]int, changes[1]%5)...)
			}
		}
		out, report, err := encoder.Import(file, encoder.ImportOptions{Heads: 1})
		if err != nil {
			return
		}
		if len(report.Used)+len(report.LeftOut) != len(file.Tensors) {
			t.Errorf("%d used and %d left out of %d", len(report.Used), len(report.LeftOut), len(file.Tensors))
		}
		for i, e := range report.Encoder.StateDict() {
			if n := out.Tensors[i]; n.Name != e.Name || !n.Tensor.Shape.Equal(e.Shape) {
				t.Errorf("tensor %d is %s %v, want %s %v", i, n.Name, n.Tensor.Shape, e.Name, e.Shape)
			}
		}
	})
}
