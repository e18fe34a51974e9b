package moco

import (
	"maps"

	"moco/engine"
	"moco/graph"
	"moco/nn"
	"moco/optim"
	"moco/tensor"
)

const (
	float  = tensor.Float32
	int32s = tensor.Int32
)

// side is one of the two networks, f_q or f_k. It is the first part of the names of the network's
// variables; the names of package nn follow. The names are part of the checkpoint format.
type side string

const (
	query side = "encoder_q"
	key   side = "encoder_k"
)

// variable is the name of a parameter or statistic: "encoder_q.conv1.weight".
func (s side) variable(name string) string { return string(s) + "." + name }

// ReadQuery reads a parameter or running statistic of the query encoder, by its name in package nn. s
// is the state that a Step or an Inference was compiled against.
func ReadQuery(s engine.State, name string) (*tensor.Tensor, error) {
	return s.Read(query.variable(name))
}

// WriteQuery writes what ReadQuery reads.
func WriteQuery(s engine.State, name string, t *tensor.Tensor) error {
	return s.Write(query.variable(name), t)
}

// encoder is one of the two networks on a step's graph, with what it learns and what batch norm keeps.
type encoder struct {
	nn.Encoder
	g          *builder
	side       side
	parameters []nn.Parameter
	buffers    []nn.Buffer
}

// newEncoder declares the variables of an encoder in training. Batch norm takes its statistics from
// each of the recipe's parts of the batch.
func newEncoder(g *builder, s side) *encoder {
	r := g.recipe
	network := nn.Encoder{Config: r.Encoder, Values: map[string]*graph.Node{}, Splits: r.parts() / max(1, g.Replicas)}
	e := &encoder{Encoder: network, g: g, side: s}
	e.declare(r.Encoder.Parameters(), r.Encoder.Buffers())
	return e
}

// declare adds variables to those of e.
func (e *encoder) declare(parameters []nn.Parameter, buffers []nn.Buffer) {
	for _, p := range parameters {
		e.Values[p.Name] = e.variable(p.Name, p.Shape)
	}
	for _, b := range buffers {
		e.Values[b.Name] = e.variable(b.Name, tensor.Shape{b.Channels})
	}
	e.parameters, e.buffers = append(e.parameters, parameters...), append(e.buffers, buffers...)
}

func (e *encoder) variable(name string, shape tensor.Shape) *graph.Node {
	return e.g.Variable(e.side.variable(name), float, shape...)
}

// forward makes the head's features of images.
func (e *encoder) forward(x *graph.Node) *graph.Node { return e.forwardBut(e.drops(x.Shape[0]), x) }

// forwardBut makes the head's features of images, but for what drop path leaves out.
func (e *encoder) forwardBut(drops, x *graph.Node) *graph.Node {
	e.Drop = drops
	features, _ := e.Encode(e.g.Graph, x)
	return features
}

// drops declares what drop path leaves out of the next n images. It is nil where nothing is left out:
// keys are made by the whole network, as targets are in DINO.
func (e *encoder) drops(n int) *graph.Node {
	if e.side == key {
		return nil
	}
	return e.g.drops(n, e.Config.DropPaths())
}

// momentumUpdate makes e's parameters the moving average of those of f_q (Eqn. 2): theta_k =
// m*theta_k + (1-m)*theta_q. It runs before the keys are encoded, as in the authors' code. The
// paper's listing has it at the end of the step; the two differ only after the last step. Batch
// norm's statistics are not averaged: e keeps its own.
func (e *encoder) momentumUpdate(q *encoder) {
	r := e.g.recipe
	for _, p := range e.parameters {
		if p.Frozen { // the same in both
			continue
		}
		k := e.Values[p.Name]
		old := graph.Term{Coefficient: r.Momentum, X: k}
		new := graph.Term{Coefficient: 1 - r.Momentum, X: q.Values[p.Name]}
		if r.MomentumEnd != 0 {
			old = graph.Term{Coefficient: 1, Scalar: e.g.scalar(inMomentum), X: k}
			new = graph.Term{Coefficient: 1, Scalar: e.g.scalar(inRest), X: new.X}
		}
		next := e.g.WeightedSum(old, new)
		e.g.Assign(k, next)
		e.Values[p.Name] = next
	}
}

// update moves the parameters down the gradient of the loss, which is the sum of what the replicas'
// shares of the batch contribute. batches are the encoded batches between the parameters and the
// loss, if they were encoded twice.
func (e *encoder) update(loss *graph.Node, batches ...*encoded) {
	e.g.Output(outLoss, e.g.mean(loss))
	var parameters []nn.Parameter
	var nodes []*graph.Node
	for _, p := range e.parameters {
		if !p.Frozen {
			parameters = append(parameters, p)
			nodes = append(nodes, e.Values[p.Name])
		}
	}
	var gradients []*graph.Node
	if len(batches) == 0 || !batches[0].twice {
		gradients = e.g.Gradients(loss, e.g.Fill(e.g.share()), nodes)
	} else {
		gradients = e.gradientsInParts(loss, nodes, batches)
	}
	optimizer, rates := e.g.recipe.optimizer(), e.rates()
	for i, p := range parameters {
		optimizer.Update(e.g.Graph, optim.Update{
			Name: p.Name, Parameter: nodes[i], Gradient: e.g.SumReplicas(gradients[i]), Decays: p.Decays,
			Rate: rates[p.Depth], Scalar: e.g.scalar,
		})
	}
	e.keepStatistics()
}

// rates are the learning rates of the parameters by their depth: with layer decay, the less the nearer
// to the image.
func (e *encoder) rates() []*graph.Node {
	lr, decay, layers := e.g.scalar(inRate), e.g.recipe.LayerDecay, e.Config.Depth()
	rates := make([]*graph.Node, layers+2)
	for depth := range rates {
		rates[depth] = lr
		if decay != 0 && depth <= layers {
			share := optim.LayerRate(decay, depth, layers)
			rates[depth] = e.g.WeightedSum(graph.Term{Coefficient: share, X: lr})
		}
	}
	return rates
}

// keepStatistics assigns the running statistics that the forward passes have made.
func (e *encoder) keepStatistics() {
	for _, b := range e.buffers {
		e.g.Assign(e.variable(b.Name, tensor.Shape{b.Channels}), e.Values[b.Name])
	}
}

// encoded is a batch of images as normalised features, with all that sending a gradient back
// through them takes.
type encoded struct {
	images, features *graph.Node
	drops            *graph.Node // what drop path leaves out, both times
	parts            int
	twice            bool                   // without what a gradient takes; another pass makes that
	start            map[string]*graph.Node // the encoder's values before the batch
}

// encode makes normalised features of images, in the recipe's number of parts. The loss of a part or
// replica then waits for the features of all others. So that no activations have to wait with them,
// each is encoded twice: for its features, and once more for the gradient.
func (e *encoder) encode(images *graph.Node) *encoded {
	b := &encoded{images: images, parts: max(1, e.g.recipe.Accumulate), start: maps.Clone(e.Values)}
	b.drops = e.drops(images.Shape[0])
	b.twice = b.parts > 1 || e.g.Replicas > 1
	if !b.twice {
		b.features = e.g.L2Normalise(e.forwardBut(b.drops, images))
		return b
	}
	if b.parts == 1 {
		b.features = e.g.Detach(e.g.L2Normalise(e.forwardBut(b.drops, images)))
		return b
	}
	ends := map[string]*graph.Node{}
	for part := range b.parts {
		z := e.g.Detach(e.encodePart(b, part))
		if b.features == nil {
			b.features = z
		} else {
			b.features = e.g.Concat(0, b.features, z)
		}
		// Every part starts from the same running statistics. The new ones are the mean of what the
		// parts make.
		for _, s := range e.buffers {
			share := graph.Term{Coefficient: 1 / float64(b.parts), X: e.Values[s.Name]}
			if ends[s.Name] == nil {
				ends[s.Name] = e.g.WeightedSum(share)
			} else {
				ends[s.Name] = e.g.WeightedSum(graph.Term{Coefficient: 1, X: ends[s.Name]}, share)
			}
		}
	}
	maps.Copy(e.Values, ends)
	return b
}

// encodePart encodes one part of a batch. The encoder's statistics start from where they stood
// before the batch.
func (e *encoder) encodePart(b *encoded, part int) *graph.Node {
	maps.Copy(e.Values, b.start)
	splits := e.Splits
	e.Splits = max(1, splits/b.parts)
	defer func() { e.Splits = splits }()
	return e.g.L2Normalise(e.forwardBut(b.part(e.g, b.drops, part), b.part(e.g, b.images, part)))
}

// part is the rows of one part of the batch. x may be nil.
func (b *encoded) part(g *builder, x *graph.Node, part int) *graph.Node {
	if x == nil || b.parts == 1 {
		return x
	}
	n := x.Shape[0] / b.parts
	return g.Slice(x, 0, part*n, n)
}

// gradientsInParts encodes each part again and takes the gradient of its features to the
// parameters. The running statistics know of the batch already.
func (e *encoder) gradientsInParts(loss *graph.Node, parameters []*graph.Node, batches []*encoded) []*graph.Node {
	g := e.g
	var features []*graph.Node
	for _, b := range batches {
		features = append(features, b.features)
	}
	dFeatures := g.Gradients(loss, g.Fill(g.share()), features)
	ends := maps.Clone(e.Values)
	total := make([]*graph.Node, len(parameters))
	for i, b := range batches {
		for _, s := range e.buffers {
			delete(b.start, s.Name)
			delete(e.Values, s.Name)
		}
		for part := range b.parts {
			z := e.encodePart(b, part)
			for j, d := range g.Gradients(z, b.part(g, dFeatures[i], part), parameters) {
				total[j] = g.sum(total[j], d)
			}
		}
	}
	maps.Copy(e.Values, ends)
	return total
}
