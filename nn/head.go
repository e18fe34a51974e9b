package nn

import (
	"fmt"
	"strings"

	"moco/graph"
)

// OfHead tells whether a tensor's name belongs to the head, not to the backbone.
func OfHead(name string) bool { return strings.HasPrefix(name, "fc.") }

// WithLinearHead is c with one linear layer for a head.
func (c Config) WithLinearHead() Config {
	c.Head, c.HeadLayers, c.Hidden = "linear", 0, 0
	return c
}

// WithHeadOf is c with the head of other, behind c's own features.
func (c Config) WithHeadOf(other Config) Config {
	c.Head, c.HeadLayers, c.Hidden, c.Dim = other.Head, other.HeadLayers, other.Hidden, other.Dim
	return c
}

// SameHead tells whether the weights of other's head can be c's, if those of its backbone can.
func (c Config) SameHead(other Config) bool {
	return c.Head == other.Head && c.Dim == other.Dim && c.HeadLayers == other.HeadLayers && c.Hidden == other.Hidden &&
		c.FeatureDim() == other.FeatureDim()
}

// checkHead reports what is wrong with the head's keys. Without a good backbone the number of its
// features is not known.
func (c Config) checkHead(backbone bool, wrong func(bool, string, ...any)) {
	layered := c.Head == "mlp_bn"
	switch c.Head {
	case "linear", "mlp":
	case "mlp_bn":
		wrong(c.HeadLayers != 2 && c.HeadLayers != 3,
			"head_layers: must be 2 (MoCo v3's ResNets) or 3 (its transformers), is %d", c.HeadLayers)
		wrong(c.Hidden < 1 || c.Hidden > 1<<16, "hidden: must be 1 to 65536 features, is %d", c.Hidden)
	case "none":
		wrong(backbone && c.Dim != c.FeatureDim(), "dim: without a head the features are the %d pooled ones;"+
			" set encoder.dim to that, not %d", c.FeatureDim(), c.Dim)
	default:
		wrong(true, "head: %q is not known; there are linear, mlp, mlp_bn and none", c.Head)
	}
	wrong(!layered && c.HeadLayers != 0, "head_layers: belongs to the head mlp_bn, and this is %s", c.Head)
	wrong(!layered && c.Hidden != 0, "hidden: belongs to the head mlp_bn, and this is %s", c.Head)
}

// head projects the pooled features.
func (b *builder) head(c Config, x *graph.Node) *graph.Node {
	in := c.FeatureDim()
	start := kaimingUniform(in)
	switch c.Head {
	case "none":
		return x
	case "mlp":
		x = b.relu(b.linear(x, "fc.0", start, start, in, in))
		return b.linear(x, "fc.2", start, start, in, c.Dim)
	case "mlp_bn":
		return b.mlp(c.MLP(), x)
	}
	return b.linear(x, "fc", start, start, in, c.Dim)
}

// MLP is MoCo v3's projector or predictor (Chen, Xie and He 2021): linear layers without biases, each
// but the last followed by batch norm and ReLU. Its values are named as those of an nn.Sequential:
// "fc.0.weight", "fc.1.weight", "fc.1.running_mean", "fc.3.weight" and so on.
type MLP struct {
	Name            string // the first part of the names
	Layers          int
	In, Hidden, Out int
	// LastNorm puts batch norm behind the last layer, without scale and shift.
	LastNorm bool
}

// MLP is the head mlp_bn of c.
func (c Config) MLP() MLP {
	return MLP{Name: "fc", Layers: c.HeadLayers, In: c.FeatureDim(), Hidden: c.Hidden, Out: c.Dim, LastNorm: true}
}

// Parameters lists the parameters in the order of PyTorch's named_parameters. Their Depth is 0.
func (m MLP) Parameters() []Parameter { return m.walk().parameters }

// Buffers lists the running statistics, without num_batches_tracked.
func (m MLP) Buffers() []Buffer { return m.walk().buffers }

func (m MLP) walk() *builder {
	b := &builder{}
	b.mlp(m, nil)
	return b
}

// Apply appends the MLP's computation for x [N,In], with e's values and way of batch norm. The result
// is [N,Out].
func (m MLP) Apply(e *Encoder, g *graph.Graph, x *graph.Node) *graph.Node {
	b := &builder{g: g, encoder: e}
	return b.mlp(m, x)
}

func (b *builder) mlp(m MLP, x *graph.Node) *graph.Node {
	in := m.In
	for layer := range m.Layers {
		out, last := m.Hidden, layer == m.Layers-1
		if last {
			out = m.Out
		}
		x = b.project(x, fmt.Sprintf("%s.%d", m.Name, 3*layer), kaimingUniform(in), in, out)
		norm := fmt.Sprintf("%s.%d", m.Name, 3*layer+1)
		switch {
		case !last:
			x = b.relu(b.norm(x, norm, out))
		case m.LastNorm:
			x = b.plainNorm(x, norm, out)
		}
		in = out
	}
	return x
}
