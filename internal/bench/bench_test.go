package bench

import (
	"maps"
	"testing"

	"moco"
	"moco/engine/enginetest"
	"moco/internal/rng"
	"moco/nn"
)

// TestErrorSees holds the error's measure to the definitions, and to outputs that are wrong by a
// known amount.
func TestErrorSees(t *testing.T) {
	t.Parallel()
	all := []pass{forward, dataGradient, weightGradient}
	for _, c := range []struct {
		form   Form
		passes []pass
	}{
		{Form{Layer: Convolution, In: 3, Out: 4, Kernel: 7, Stride: 2, Pad: 3, Height: 9, Width: 8, images: 2, leaf: true}, all},
		{Form{Layer: Convolution, In: 5, Out: 3, Kernel: 3, Stride: 1, Pad: 1, Height: 4, Width: 7, images: 3}, all},
		{Form{Layer: Convolution, In: 2, Out: 6, Kernel: 1, Stride: 2, Pad: 0, Height: 5, Width: 6, images: 2}, all},
		{Form{Layer: Linear, In: 5, Out: 7, Kernel: 1, Stride: 1, Height: 1, Width: 6, images: 3}, all},
		{Form{Layer: Attention, In: 24, Out: 8, Height: 1, Width: 5, Heads: 1, images: 1}, all[:2]},
		{Form{Layer: Attention, In: 24, Out: 8, Height: 1, Width: 5, Heads: 2, images: 3}, all[:2]},
	} {
		for _, which := range c.passes {
			b := &bencher{}
			w, e, r := b.newWorkload(c.form), enginetest.New(), rng.New(1)
			s := e.NewState()
			p, err := e.Compile(w.graph(which), s)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.fill(which, p, s, &r); err != nil {
				t.Fatal(err)
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			y := p.Output("y").Float32s()
			if e := w.error(which, y, &r); !(e < 1e-6) {
				t.Errorf("pass %d of %v: right outputs are off by %v", which, c.form, e)
			}
			for i := range y[:min(len(y), c.form.Out)] {
				y[i]++ // the first output is always looked at
			}
			// Of several heads some are looked at.
			if e := w.error(which, y, &r); !(e > 0.1) && c.form.Heads < 2 {
				t.Errorf("pass %d of %v: outputs that are off by 1 are off by %v", which, c.form, e)
			}
		}
	}
}

// TestLayersOfTransformer lists what a step has of a ViT-S/16: its patches, its linear layers, and
// attention. Together they are nearly all of its operations.
func TestLayersOfTransformer(t *testing.T) {
	t.Parallel()
	r := moco.Default()
	r.Encoder = nn.Default("vit_s16").For(224)
	r.Batch = 8
	g, err := moco.Graph(&r, r.Batch)
	if err != nil {
		t.Fatal(err)
	}
	type counts struct{ forward, data, weights int }
	got := map[string]counts{}
	var flops int64
	for _, l := range layers(g) {
		var c counts
		for _, p := range []struct {
			pass *Pass
			to   *int
		}{{l.Forward, &c.forward}, {l.DataGradient, &c.data}, {l.WeightGradient, &c.weights}} {
			if p.pass != nil {
				*p.to = p.pass.Count
				flops += int64(p.pass.Count) * p.pass.flops
			}
		}
		kernel, channels, input := l.Columns()
		got[kernel+" "+channels+" "+input] = c
	}
	want := map[string]counts{
		"16x16/16 3>384 224x224": {2, 0, 1},
		"linear 384>1152 197":    {24, 12, 12}, "attention 6x64 197": {24, 12, 0},
		"linear 384>384 197": {22, 11, 11}, "linear 384>1536 197": {22, 11, 11}, "linear 1536>384 197": {22, 11, 11},
		// The last block works on the class token behind its attention.
		"linear 384>384 1": {2, 1, 1}, "linear 384>1536 1": {2, 1, 1}, "linear 1536>384 1": {2, 1, 1},
	}
	if !maps.Equal(got, want) {
		t.Errorf("the layers are %v, want %v", got, want)
	}
	if share := float64(flops) / float64(g.Cost().FLOPs); share < 0.95 || share > 1 {
		t.Errorf("they are %.3f of all operations", share)
	}
}

// TestConvolutionsOfResNet50 lists what a step has at ImageNet's size: 23 forms in 53 convolutions.
func TestConvolutionsOfResNet50(t *testing.T) {
	t.Parallel()
	r := moco.Default()
	r.Encoder = nn.Config{Arch: "resnet50", Stem: "imagenet", Width: 1, Dim: 128, Head: "linear"}
	r.Batch = 8
	g, err := moco.Graph(&r, r.Batch)
	if err != nil {
		t.Fatal(err)
	}
	layers := layers(g)
	var forward, data, weights int
	var flops int64
	for _, l := range layers {
		forward += l.Forward.Count
		flops += int64(l.Forward.Count) * l.Forward.flops
		if l.DataGradient != nil {
			data += l.DataGradient.Count
		}
		weights += l.WeightGradient.Count
	}
	if f := layers[0].Form; f.In != 3 || f.Out != 64 || f.Kernel != 7 || f.Stride != 2 || f.Height != 224 || !f.leaf {
		t.Errorf("the first convolution is %+v", f)
	}
	// 4.1 billion multiply-adds an image, as the literature has it.
	if each := float64(flops) / 2 / 16; len(layers) != 23 || forward != 106 || data != 52 || weights != 53 || each < 4.05e9 || each > 4.15e9 {
		t.Errorf("%d forms; %d forward, %d data gradients, %d weight gradients; %v multiply-adds an image", len(layers), forward, data, weights, each)
	}
}
