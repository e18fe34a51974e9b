package bench

import (
	"testing"

	"moco"
	"moco/engine/enginetest"
	"moco/graph"
	"moco/internal/rng"
	"moco/nn"
)

// TestErrorSees holds the error's measure to the definitions, and to outputs that are wrong by a
// known amount.
func TestErrorSees(t *testing.T) {
	t.Parallel()
	for _, f := range []Form{
		{In: 3, Out: 4, Kernel: 7, Stride: 2, Pad: 3, Height: 9, Width: 8, images: 2, leaf: true},
		{In: 5, Out: 3, Kernel: 3, Stride: 1, Pad: 1, Height: 4, Width: 7, images: 3},
		{In: 2, Out: 6, Kernel: 1, Stride: 2, Pad: 0, Height: 5, Width: 6, images: 2},
	} {
		for _, op := range []graph.Op{graph.Conv, graph.ConvGradInput, graph.ConvGradWeight} {
			c, e, r := newConvolution(f), enginetest.New(), rng.New(1)
			s := e.NewState()
			p, err := e.Compile(c.graph(op), s)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.fill(op, p, s, &r); err != nil {
				t.Fatal(err)
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			y := p.Output("y").Float32s()
			if e := c.error(op, y, &r); !(e < 1e-6) {
				t.Errorf("%v of %v: right outputs are off by %v", op, f, e)
			}
			y[0]++ // the first output is always looked at
			if e := c.error(op, y, &r); !(e > 0.1) {
				t.Errorf("%v of %v: an output that is off by 1 is off by %v", op, f, e)
			}
		}
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
	layers := convolutions(g)
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
