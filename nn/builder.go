package nn

import (
	"moco/graph"
	"moco/tensor"
)

// Encoder is an encoder on a graph: its values by their names in PyTorch, and how it trains.
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
	// Drop [N,len(Config.DropPaths())] multiplies what each branch adds for each image: 0 where it is
	// dropped, one over the share that is kept elsewhere. Nil drops nothing.
	Drop *graph.Node
}

// Encode appends the encoder's computation for images x [N,H,W,3]. backbone is the pooled output of
// the last stage or block, [N,FeatureDim]. features is the head's output, [N,Dim].
func (e *Encoder) Encode(g *graph.Graph, x *graph.Node) (features, backbone *graph.Node) {
	b := &builder{g: g, encoder: e}
	return b.network(e.Config, x)
}

// builder walks through a network. It lists parameters and buffers and, if it has a graph, builds
// the network on it.
type builder struct {
	g       *graph.Graph
	encoder *Encoder
	depth   int  // Depth of the parameters that follow
	frozen  bool // they are not trained

	parameters []Parameter
	buffers    []Buffer
	entries    []Entry
}

// walk lists the parameters and buffers of the network without building it.
func (c Config) walk() *builder {
	b := &builder{}
	if c.family() != nil {
		b.network(c, nil)
	}
	return b
}

func (b *builder) network(c Config, x *graph.Node) (features, backbone *graph.Node) {
	f := c.family()
	backbone = f.backbone(b, x)
	b.depth = f.depth() + 1
	return b.head(c, backbone), backbone
}

// parameter lists a parameter, and returns its node if there is a graph.
func (b *builder) parameter(name string, s start, shape ...int) *graph.Node {
	b.parameters = append(b.parameters, Parameter{Name: name, Shape: shape, start: s, Frozen: b.frozen, Depth: b.depth})
	b.entries = append(b.entries, Entry{name, tensor.Float32, shape})
	if b.g == nil {
		return nil
	}
	return b.encoder.Values[name]
}

// matrix lists a parameter that decays.
func (b *builder) matrix(name string, s start, shape ...int) *graph.Node {
	w := b.parameter(name, s, shape...)
	b.parameters[len(b.parameters)-1].Decays = true
	return w
}

// linear is a linear layer on the last axis of x, with a bias.
func (b *builder) linear(x *graph.Node, name string, weight, bias start, in, out int) *graph.Node {
	y := b.project(x, name, weight, in, out)
	beta := b.parameter(name+".bias", bias, out)
	if b.g == nil {
		return nil
	}
	return b.g.BiasAdd(y, beta)
}

// project is a linear layer without a bias.
func (b *builder) project(x *graph.Node, name string, weight start, in, out int) *graph.Node {
	w := b.matrix(name+".weight", weight, out, in)
	if b.g == nil {
		return nil
	}
	return b.g.MatMul(x, w, false, true)
}

func (b *builder) relu(x *graph.Node) *graph.Node {
	if b.g == nil {
		return nil
	}
	return b.g.ReLU(x)
}

// Batch norm's constants, as in PyTorch.
const (
	epsilon  = 1e-5
	momentum = 0.1 // the share that a batch gets in the running statistics
)

// norm is batch norm with a scale and a shift.
func (b *builder) norm(x *graph.Node, name string, channels int) *graph.Node {
	gamma, beta := b.parameter(name+".weight", ones, channels), b.parameter(name+".bias", zeros, channels)
	return b.normalise(graph.BatchNorm{X: x, Gamma: gamma, Beta: beta, Epsilon: epsilon}, name, channels)
}

// normalise is batch norm of x [N,..,C]. In training, the running statistics move a tenth of the way
// to the batch's statistics. Those are the means and the unbiased variances, averaged over the
// splits of all replicas.
func (b *builder) normalise(norm graph.BatchNorm, name string, channels int) *graph.Node {
	mean, variance := name+".running_mean", name+".running_var"
	b.buffers = append(b.buffers, Buffer{mean, channels, 0}, Buffer{variance, channels, 1})
	b.entries = append(b.entries,
		Entry{mean, tensor.Float32, tensor.Shape{channels}},
		Entry{variance, tensor.Float32, tensor.Shape{channels}},
		Entry{name + ".num_batches_tracked", tensor.Int64, nil})
	if b.g == nil {
		return nil
	}
	g, e, x := b.g, b.encoder, norm.X
	norm.Mean, norm.Variance = e.Values[mean], e.Values[variance]
	if e.Splits == 0 {
		return g.Normalise(norm)
	}
	running := []*graph.Node{norm.Mean, norm.Variance}
	norm.Mean, norm.Variance = g.BatchMean(x, e.Splits), g.BatchVariance(x, e.Splits)
	if running[0] == nil {
		return g.Normalise(norm)
	}
	parts := float64(e.Splits * max(1, g.Replicas))
	count := float64(x.Shape[:len(x.Shape)-1].Elements() / e.Splits)
	unbiased := count / max(count-1, 1)
	toward := func(running, batch *graph.Node, factor float64) *graph.Node {
		return g.WeightedSum(graph.Term{Coefficient: 1 - momentum, X: running},
			graph.Term{Coefficient: momentum * factor / parts, X: g.SumReplicas(g.SplitSum(batch))})
	}
	e.Values[mean] = toward(running[0], norm.Mean, 1)
	e.Values[variance] = toward(running[1], norm.Variance, unbiased)
	return g.Normalise(norm)
}

// plainNorm is batch norm without a scale and a shift of its own.
func (b *builder) plainNorm(x *graph.Node, name string, channels int) *graph.Node {
	norm := graph.BatchNorm{X: x, Epsilon: epsilon}
	if b.g != nil {
		norm.Gamma, norm.Beta = b.g.Fill(1, channels), b.g.Fill(0, channels)
	}
	return b.normalise(norm, name, channels)
}
