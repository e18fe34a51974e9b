// Package nn builds encoders as graphs: ResNets with torchvision's parameter names, shapes and
// initialisation.
package nn

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// Config is an encoder: a ResNet (He et al. 2016) and the head that projects its features.
type Config struct {
	// Arch is resnet18, resnet34, resnet50, resnet101 or resnet152.
	Arch string `yaml:"arch" json:"arch"`
	// Stem is imagenet (7x7 with stride 2, then max pooling) or cifar (3x3 with stride 1, no
	// pooling).
	Stem string `yaml:"stem" json:"stem"`
	// Width multiplies every count of channels.
	Width float64 `yaml:"width" json:"width"`
	// Dim is the number of features (C in the paper).
	Dim int `yaml:"dim" json:"dim"`
	// Head is linear (MoCo v1), mlp (two layers, MoCo v2) or none. Without a head the pooled
	// features are the output, and Dim is FeatureDim.
	Head string `yaml:"head" json:"head"`
	// Layers is the number of blocks in each of the four stages. Nil takes the architecture's own.
	Layers []int `yaml:"layers,omitempty" json:"layers,omitempty"`
}

// architecture is what differs between the ResNets.
type architecture struct {
	bottleneck bool
	layers     []int
}

var architectures = map[string]architecture{
	"resnet18":  {false, []int{2, 2, 2, 2}},
	"resnet34":  {false, []int{3, 4, 6, 3}},
	"resnet50":  {true, []int{3, 4, 6, 3}},
	"resnet101": {true, []int{3, 4, 23, 3}},
	"resnet152": {true, []int{3, 8, 36, 3}},
}

// Blocks is the number of blocks in each of an architecture's four stages, and whether they are
// bottlenecks. It is nil for an unknown architecture.
func Blocks(arch string) (layers []int, bottleneck bool) {
	a := architectures[arch]
	return slices.Clone(a.layers), a.bottleneck
}

// Batch norm's constants, as in torchvision.
const (
	epsilon  = 1e-5
	momentum = 0.1 // the share that a batch gets in the running statistics
)

// Check returns what is wrong with c. Each error names its key.
func (c Config) Check() error {
	var errs []error
	a, ok := architectures[c.Arch]
	if !ok {
		names := make([]string, 0, len(architectures))
		for name := range architectures {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int { return len(a)*1000 + strings.Compare(a, b) - len(b)*1000 })
		errs = append(errs, fmt.Errorf("encoder.arch: %q is not known; there are %s", c.Arch, strings.Join(names, ", ")))
	}
	if ok && c.Layers != nil && (len(c.Layers) != len(a.layers) || slices.Min(c.Layers) < 1) {
		errs = append(errs, fmt.Errorf("encoder.layers: must be four numbers of at least 1, is %v", c.Layers))
	}
	if c.Stem != "imagenet" && c.Stem != "cifar" {
		errs = append(errs, fmt.Errorf("encoder.stem: %q is not known; there are imagenet and cifar", c.Stem))
	}
	switch c.Head {
	case "linear", "mlp":
	case "none":
		if ok && c.Dim != c.FeatureDim() {
			errs = append(errs, fmt.Errorf("encoder.dim: without a head the features are the %d pooled ones;"+
				" set encoder.dim to that, not %d", c.FeatureDim(), c.Dim))
		}
	default:
		errs = append(errs, fmt.Errorf("encoder.head: %q is not known; there are linear, mlp and none", c.Head))
	}
	if !(c.Width > 0 && c.Width <= 16) {
		errs = append(errs, fmt.Errorf("encoder.width: must be above 0 and at most 16, is %v", c.Width))
	}
	if c.Dim < 1 || c.Dim > 1<<16 {
		errs = append(errs, fmt.Errorf("encoder.dim: must be 1 to 65536, is %d", c.Dim))
	}
	return errors.Join(errs...)
}

// Parameter is a learned tensor: torchvision's name, the shape, and its initialisation.
type Parameter struct {
	Name  string
	Shape tensor.Shape
	start start
	// fan is the number of a unit's inputs or outputs. The spread of the initial values follows
	// from it.
	fan int
}

type start uint8

const (
	zeros start = iota
	ones
	kaimingNormal  // N(0, 2/fan_out): convolutions
	kaimingUniform // U(-1/sqrt(fan_in), 1/sqrt(fan_in)): linear layers, their biases too
)

// Buffer is a batch norm's running statistic, [Channels].
type Buffer struct {
	Name     string
	Channels int
	Start    float32
}

// Parameters lists the encoder's parameters in the order of torchvision's named_parameters.
func (c Config) Parameters() []Parameter {
	b := c.describe()
	return b.parameters
}

// Buffers lists the running statistics in the order of torchvision's named_buffers, without
// num_batches_tracked.
func (c Config) Buffers() []Buffer {
	b := c.describe()
	return b.buffers
}

// describe lists the parameters and buffers of the network without building it.
func (c Config) describe() *builder {
	b := &builder{config: c}
	b.network(nil)
	return b
}

// FeatureDim is the number of pooled features, the input of the head.
func (c Config) FeatureDim() int {
	if architectures[c.Arch].bottleneck {
		return 4 * c.planes(512)
	}
	return c.planes(512)
}

func (c Config) planes(n int) int { return max(1, int(math.Round(float64(n)*c.Width))) }

// Initialise fills t with the parameter's initial values, by torchvision's rule. They follow from
// the seed and the parameter's name alone.
func (p Parameter) Initialise(t *tensor.Tensor, seed uint64) {
	key := []uint64{seed}
	for _, b := range []byte(p.Name) {
		key = append(key, uint64(b))
	}
	r := rng.New(key...)
	x := t.Float32s()
	for i := range x {
		switch p.start {
		case zeros:
			x[i] = 0
		case ones:
			x[i] = 1
		case kaimingNormal:
			x[i] = float32(r.Normal() * math.Sqrt(2/float64(p.fan)))
		case kaimingUniform:
			bound := 1 / math.Sqrt(float64(p.fan))
			x[i] = float32(r.Uniform(-bound, bound))
		}
	}
}

// Encoder is an encoder on a graph: its values by torchvision's names, and how batch norm works.
type Encoder struct {
	Config Config
	// Values maps the name of each parameter and running statistic to a node. A pass in training
	// replaces the running statistics by ones that include its batch. A second pass continues from
	// them. One that finds none makes none.
	Values map[string]*graph.Node
	// Splits is the number of equal parts of a batch with their own batch-norm statistics, as if
	// each part were on its own device. In a graph of replicas it is that of a replica's share. 0 is
	// evaluation: batch norm uses the running statistics.
	Splits int
}

// Encode appends the encoder's computation for images x [N,H,W,3]. backbone is the pooled output of
// the last stage, [N,FeatureDim]. features is the head's output, [N,Dim].
func (e *Encoder) Encode(g *graph.Graph, x *graph.Node) (features, backbone *graph.Node) {
	b := &builder{config: e.Config, g: g, encoder: e}
	return b.network(x)
}

// builder walks through a network. It lists parameters and buffers and, if it has a graph, builds
// the network on it.
type builder struct {
	config     Config
	g          *graph.Graph
	encoder    *Encoder
	parameters []Parameter
	buffers    []Buffer
}

// network is torchvision's ResNet.forward.
func (b *builder) network(x *graph.Node) (features, backbone *graph.Node) {
	c := b.config
	arch := architectures[c.Arch]
	layers := arch.layers
	if c.Layers != nil {
		layers = c.Layers
	}
	channels := c.planes(64)
	if c.Stem == "cifar" {
		x = b.conv(x, "conv1", 3, channels, 3, 1, 1)
		x = b.relu(b.norm(x, "bn1", channels))
	} else {
		x = b.conv(x, "conv1", 3, channels, 7, 2, 3)
		x = b.relu(b.norm(x, "bn1", channels))
		if b.g != nil {
			x = b.g.MaxPool(x, 3, 2, 1)
		}
	}
	for stage, blocks := range layers {
		for block := range blocks {
			stride := 1
			if stage > 0 && block == 0 {
				stride = 2
			}
			name := fmt.Sprintf("layer%d.%d", stage+1, block)
			x, channels = b.block(x, name, channels, c.planes(64<<stage), stride, arch.bottleneck)
		}
	}
	if b.g != nil {
		x = b.g.AveragePool(x)
	}
	backbone = x
	switch c.Head {
	case "none":
		return x, backbone
	case "mlp":
		x = b.relu(b.linear(x, "fc.0", channels, channels))
		return b.linear(x, "fc.2", channels, c.Dim), backbone
	}
	return b.linear(x, "fc", channels, c.Dim), backbone
}

// block is torchvision's BasicBlock or Bottleneck. Its Bottleneck has the stride on the 3x3
// convolution.
func (b *builder) block(x *graph.Node, name string, in, planes, stride int, bottleneck bool) (*graph.Node, int) {
	out := planes
	y := x
	if bottleneck {
		out = 4 * planes
		y = b.relu(b.norm(b.conv(y, name+".conv1", in, planes, 1, 1, 0), name+".bn1", planes))
		y = b.relu(b.norm(b.conv(y, name+".conv2", planes, planes, 3, stride, 1), name+".bn2", planes))
		y = b.norm(b.conv(y, name+".conv3", planes, out, 1, 1, 0), name+".bn3", out)
	} else {
		y = b.relu(b.norm(b.conv(y, name+".conv1", in, planes, 3, stride, 1), name+".bn1", planes))
		y = b.norm(b.conv(y, name+".conv2", planes, planes, 3, 1, 1), name+".bn2", planes)
	}
	shortcut := x
	if stride != 1 || in != out {
		shortcut = b.norm(b.conv(x, name+".downsample.0", in, out, 1, stride, 0), name+".downsample.1", out)
	}
	if b.g == nil {
		return nil, out
	}
	return b.g.ReLU(b.g.Add(y, shortcut)), out
}

func (b *builder) conv(x *graph.Node, name string, in, out, kernel, stride, pad int) *graph.Node {
	w := b.parameter(name+".weight", kaimingNormal, out*kernel*kernel, out, in, kernel, kernel)
	if b.g == nil {
		return nil
	}
	return b.g.Conv(x, w, stride, pad)
}

func (b *builder) linear(x *graph.Node, name string, in, out int) *graph.Node {
	w := b.parameter(name+".weight", kaimingUniform, in, out, in)
	bias := b.parameter(name+".bias", kaimingUniform, in, out)
	if b.g == nil {
		return nil
	}
	return b.g.BiasAdd(b.g.MatMul(x, w, false, true), bias)
}

func (b *builder) relu(x *graph.Node) *graph.Node {
	if b.g == nil {
		return nil
	}
	return b.g.ReLU(x)
}

// norm is batch norm. In training, the running statistics move a tenth of the way to the batch's
// statistics. Those are the means and the unbiased variances, averaged over the splits of all
// replicas.
func (b *builder) norm(x *graph.Node, name string, channels int) *graph.Node {
	gamma, beta := b.parameter(name+".weight", ones, 0, channels), b.parameter(name+".bias", zeros, 0, channels)
	b.buffers = append(b.buffers, Buffer{name + ".running_mean", channels, 0}, Buffer{name + ".running_var", channels, 1})
	if b.g == nil {
		return nil
	}
	g, e := b.g, b.encoder
	runningMean, runningVar := e.Values[name+".running_mean"], e.Values[name+".running_var"]
	norm := graph.BatchNorm{
		X: x, Mean: runningMean, Variance: runningVar, Gamma: gamma, Beta: beta, Epsilon: epsilon,
	}
	if e.Splits == 0 {
		return g.Normalise(norm)
	}
	mean, variance := g.BatchMean(x, e.Splits), g.BatchVariance(x, e.Splits)
	norm.Mean, norm.Variance = mean, variance
	if runningMean == nil {
		return g.Normalise(norm)
	}
	parts := float64(e.Splits * max(1, g.Replicas))
	count := float64(x.Shape[:3].Elements() / e.Splits)
	unbiased := count / max(count-1, 1)
	toward := func(running, batch *graph.Node, factor float64) *graph.Node {
		return g.WeightedSum(graph.Term{Coefficient: 1 - momentum, X: running},
			graph.Term{Coefficient: momentum * factor / parts, X: g.SumReplicas(g.SplitSum(batch))})
	}
	e.Values[name+".running_mean"] = toward(runningMean, mean, 1)
	e.Values[name+".running_var"] = toward(runningVar, variance, unbiased)
	return g.Normalise(norm)
}

// parameter lists a parameter, and returns its node if there is a graph.
func (b *builder) parameter(name string, s start, fan int, shape ...int) *graph.Node {
	b.parameters = append(b.parameters, Parameter{name, shape, s, fan})
	if b.g == nil {
		return nil
	}
	return b.encoder.Values[name]
}

// OfHead tells whether a tensor's name belongs to the head, not to the backbone.
func OfHead(name string) bool { return strings.HasPrefix(name, "fc.") }
