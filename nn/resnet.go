package nn

import (
	"fmt"
	"math"
	"slices"

	"moco/graph"
)

// resnetShape is what differs between the ResNets.
type resnetShape struct {
	bottleneck bool
	layers     []int
}

var resnets = map[string]resnetShape{
	"resnet10":  {false, []int{1, 1, 1, 1}}, // not in the paper: half of resnet18's blocks, for small pictures and budgets
	"resnet18":  {false, []int{2, 2, 2, 2}},
	"resnet34":  {false, []int{3, 4, 6, 3}},
	"resnet50":  {true, []int{3, 4, 6, 3}},
	"resnet101": {true, []int{3, 4, 23, 3}},
	"resnet152": {true, []int{3, 8, 36, 3}},
}

var resnetNames = []string{"resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}

// stem is the first convolution, and whether max pooling of 3x3 with stride 2 stands behind it.
type stem struct {
	kernel, stride int
	pools          bool
}

// stems begin with one pixel of 16, of 4, and with all: for large, small and tiny pictures.
var stems = map[string]stem{
	"imagenet": {kernel: 7, stride: 2, pools: true},
	"strided":  {kernel: 3, stride: 2},
	"cifar":    {kernel: 3, stride: 1},
}

// ResNets are the architectures that are ResNets, the smallest first.
func ResNets() []string { return slices.Clone(resnetNames) }

// Blocks is the number of blocks in each of a ResNet's four stages, and whether they are
// bottlenecks. It is nil for an architecture that is none.
func Blocks(arch string) (layers []int, bottleneck bool) {
	a := resnets[arch]
	return slices.Clone(a.layers), a.bottleneck
}

// resnet is the family of ResNets (He et al. 2016).
type resnet struct {
	Config
	shape resnetShape
}

func (r resnet) check(wrong func(bool, string, ...any)) {
	wrong(r.Layers != nil && (len(r.Layers) != len(r.shape.layers) || slices.Min(r.Layers) < 1 || slices.Max(r.Layers) > 1000),
		"layers: must be four numbers of 1 to 1000, is %v", r.Layers)
	_, known := stems[r.Stem]
	wrong(!known, "stem: %q is not known; there are imagenet, strided and cifar", r.Stem)
}

func (resnet) lacks() []string {
	return []string{"image", "heads", "tokens", "position", "interpolation", "layer_scale", "registers", "drop_path",
		"norm_epsilon", "frozen_patches"}
}

func (r resnet) features() int {
	if r.shape.bottleneck {
		return 4 * r.planes(512)
	}
	return r.planes(512)
}

func (r resnet) depth() int { return len(r.shape.layers) }

func (r resnet) checkImage(int) error { return nil }

func (r resnet) describe() string {
	return fmt.Sprintf("%s (%s stem, width %v)", r.Arch, r.Stem, r.Width)
}

func (r resnet) optimizer() string { return "sgd" }

func (r resnet) planes(n int) int { return max(1, int(math.Round(float64(n)*r.Width))) }

// backbone is torchvision's ResNet.forward, up to the pooled features.
func (r resnet) backbone(b *builder, x *graph.Node) *graph.Node {
	layers := r.shape.layers
	if r.Layers != nil {
		layers = r.Layers
	}
	channels := r.planes(64)
	stem := stems[r.Stem]
	x = b.conv(x, "conv1", convolution{in: 3, out: channels, kernel: stem.kernel, stride: stem.stride, pad: stem.kernel / 2})
	x = b.relu(b.norm(x, "bn1", channels))
	if stem.pools && b.g != nil {
		x = b.g.MaxPool(x, 3, 2, 1)
	}
	for stage, blocks := range layers {
		b.depth = stage + 1
		for block := range blocks {
			stride := 1
			if stage > 0 && block == 0 {
				stride = 2
			}
			name := fmt.Sprintf("layer%d.%d", stage+1, block)
			x, channels = r.block(b, x, name, convolution{in: channels, out: r.planes(64 << stage), stride: stride})
		}
	}
	if b.g != nil {
		x = b.g.AveragePool(x)
	}
	return x
}

// convolution is the shape of a square convolution without a bias.
type convolution struct{ in, out, kernel, stride, pad int }

// block is torchvision's BasicBlock or Bottleneck, of which c has the input channels, the planes and
// the stride. Its Bottleneck has the stride on the 3x3 convolution.
func (r resnet) block(b *builder, x *graph.Node, name string, c convolution) (*graph.Node, int) {
	in, planes, stride := c.in, c.out, c.stride
	unit := func(y *graph.Node, n int, c convolution) *graph.Node {
		return b.norm(b.conv(y, fmt.Sprintf("%s.conv%d", name, n), c), fmt.Sprintf("%s.bn%d", name, n), c.out)
	}
	out := planes
	y := x
	if r.shape.bottleneck {
		out = 4 * planes
		y = b.relu(unit(y, 1, convolution{in: in, out: planes, kernel: 1, stride: 1}))
		y = b.relu(unit(y, 2, convolution{in: planes, out: planes, kernel: 3, stride: stride, pad: 1}))
		y = unit(y, 3, convolution{in: planes, out: out, kernel: 1, stride: 1})
	} else {
		y = b.relu(unit(y, 1, convolution{in: in, out: planes, kernel: 3, stride: stride, pad: 1}))
		y = unit(y, 2, convolution{in: planes, out: planes, kernel: 3, stride: 1, pad: 1})
	}
	shortcut := x
	if stride != 1 || in != out {
		shortcut = b.conv(x, name+".downsample.0", convolution{in: in, out: out, kernel: 1, stride: stride})
		shortcut = b.norm(shortcut, name+".downsample.1", out)
	}
	if b.g == nil {
		return nil, out
	}
	return b.g.ReLU(b.g.Add(y, shortcut)), out
}

func (b *builder) conv(x *graph.Node, name string, c convolution) *graph.Node {
	w := b.matrix(name+".weight", kaimingNormal(c.out*c.kernel*c.kernel), c.out, c.in, c.kernel, c.kernel)
	if b.g == nil {
		return nil
	}
	return b.g.Conv(x, w, c.stride, c.pad)
}
