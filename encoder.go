package moco

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/nn"
	"moco/tensor"
)

const (
	float  = tensor.Float32
	int32s = tensor.Int32
)

// encoder is one of the two networks, f_q or f_k, on a step's graph. Its variables are named "encoder_q.conv1.weight" and so on.
type encoder struct {
	nn.Encoder
	g    *graph.Graph
	name string
}

// newEncoder declares the variables of an encoder in training: batch norm takes its statistics from each of the recipe's splits.
func newEncoder(g *graph.Graph, r *Recipe, name string) *encoder {
	e := &encoder{nn.Encoder{Config: r.Encoder, Values: map[string]*graph.Node{}, Splits: r.BNSplits}, g, name}
	for _, p := range r.Encoder.Parameters() {
		e.Values[p.Name] = e.variable(p.Name, p.Shape)
	}
	for _, b := range r.Encoder.Buffers() {
		e.Values[b.Name] = e.variable(b.Name, tensor.Shape{b.Channels})
	}
	return e
}

func (e *encoder) variable(name string, shape tensor.Shape) *graph.Node {
	return e.g.Variable(e.name+"."+name, float, shape...)
}

func (e *encoder) forward(x *graph.Node) *graph.Node {
	features, _ := e.Encode(e.g, x)
	return features
}

// momentumUpdate makes e's parameters the moving average of those of f_q (Eqn. 2): theta_k = m*theta_k + (1-m)*theta_q. It stands before the
// keys are encoded, as in the authors' code; the paper's listing has it at the end of the step, which is the same
// but for the last step. Batch norm's statistics are not averaged: they are e's own.
func (e *encoder) momentumUpdate(q *encoder, r *Recipe) {
	for _, p := range e.Config.Parameters() {
		k := e.Values[p.Name]
		old, new := graph.Term{Coefficient: r.Momentum, X: k}, graph.Term{Coefficient: 1 - r.Momentum, X: q.Values[p.Name]}
		if r.MomentumEnd != 0 {
			old, new = graph.Term{Coefficient: 1, Scalar: scalar(e.g, "m"), X: k}, graph.Term{Coefficient: 1, Scalar: scalar(e.g, "rest"), X: new.X}
		}
		next := e.g.WeightedSum(old, new)
		e.g.Assign(k, next)
		e.Values[p.Name] = next
	}
}

// scalar is the input of a name, declared once.
func scalar(g *graph.Graph, name string) *graph.Node {
	for _, n := range g.Nodes {
		if n.Op == graph.Input && n.Name == name {
			return n
		}
	}
	return g.Input(name, float)
}

// encoded is a batch of images as normalised features, and what it takes to send a gradient back through them.
type encoded struct {
	images, features *graph.Node
	parts            int
	start            map[string]*graph.Node // the encoder's values before
}

// encode makes normalised features of images, in the recipe's number of parts.
func (e *encoder) encode(r *Recipe, images *graph.Node) *encoded {
	b := &encoded{images: images, parts: max(1, r.Accumulate), start: maps.Clone(e.Values)}
	if b.parts == 1 {
		b.features = e.g.L2Normalise(e.forward(images))
		return b
	}
	ends := map[string]*graph.Node{}
	for part := range b.parts {
		z := e.g.Detach(e.encodePart(b, part))
		if b.features == nil {
			b.features = z
		} else {
			b.features = e.g.Concat(b.features, z)
		}
		for _, s := range e.Config.Buffers() { // running statistics: the mean of what each part makes of the same start
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

// encodePart encodes one part of a batch, from where the encoder's statistics stood before it.
func (e *encoder) encodePart(b *encoded, part int) *graph.Node {
	maps.Copy(e.Values, b.start)
	splits := e.Splits
	e.Splits = max(1, splits/b.parts)
	defer func() { e.Splits = splits }()
	n := b.images.Shape[0] / b.parts
	return e.g.L2Normalise(e.forward(e.g.Rows(b.images, part*n, n)))
}

// update trains the parameters down the gradient of the loss, which goes through the given batches if they were encoded in parts.
func (e *encoder) update(r *Recipe, loss *graph.Node, batches ...*encoded) {
	e.g.Output("loss", loss)
	lr := e.g.Input("lr", float)
	parameters := e.Config.Parameters()
	var nodes []*graph.Node
	for _, p := range parameters {
		nodes = append(nodes, e.Values[p.Name])
	}
	var gradients []*graph.Node
	if len(batches) == 0 || batches[0].parts == 1 {
		gradients = e.g.Gradients(loss, e.g.Fill(1), nodes)
	} else {
		gradients = e.gradientsInParts(loss, nodes, batches)
	}
	optimizer := r.optimizer()
	for i, gradient := range gradients {
		velocity := e.g.Variable("sgd."+parameters[i].Name, float, parameters[i].Shape...)
		optimizer.Update(e.g, nodes[i], velocity, gradient, lr)
	}
	e.keepStatistics()
}

// gradientsInParts encodes each part again and takes the gradient of its features to the parameters.
func (e *encoder) gradientsInParts(loss *graph.Node, parameters []*graph.Node, batches []*encoded) []*graph.Node {
	g := e.g
	var features []*graph.Node
	for _, b := range batches {
		features = append(features, b.features)
	}
	dFeatures := g.Gradients(loss, g.Fill(1), features)
	ends := maps.Clone(e.Values)
	total := make([]*graph.Node, len(parameters))
	for i, b := range batches {
		n := b.images.Shape[0] / b.parts
		for part := range b.parts {
			z := e.encodePart(b, part)
			for j, d := range g.Gradients(z, g.Rows(dFeatures[i], part*n, n), parameters) {
				total[j] = sum(g, total[j], d)
			}
		}
	}
	maps.Copy(e.Values, ends)
	return total
}

// keepStatistics assigns the running statistics that the forward passes made.
func (e *encoder) keepStatistics() {
	for _, b := range e.Config.Buffers() {
		e.g.Assign(e.variable(b.Name, tensor.Shape{b.Channels}), e.Values[b.Name])
	}
}

// shuffle is shuffled BN (Sec. 3.3): keys are encoded in another order than queries, so that the statistics of a split cannot tell
// which key belongs to which query.
type shuffle struct {
	g            *graph.Graph
	order, place *graph.Node // nil: keys are encoded in the order of queries
}

func newShuffle(g *graph.Graph, r *Recipe, n int) shuffle {
	if !r.ShuffleBN {
		return shuffle{g: g}
	}
	return shuffle{g, g.Input("shuffle", int32s, n), g.Input("unshuffle", int32s, n)}
}

func (s shuffle) do(x *graph.Node) *graph.Node   { return s.gather(x, s.order) }
func (s shuffle) undo(x *graph.Node) *graph.Node { return s.gather(x, s.place) }

func (s shuffle) gather(x, index *graph.Node) *graph.Node {
	if index == nil {
		return x
	}
	return s.g.GatherRows(x, index)
}

// Features builds the trained query encoder for inference on batches of n images, with running statistics. Input: "x" [N,S,S,3];
// outputs: "features" [N,C], what the head makes, L2-normalised; "backbone" [N,FeatureDim], the pooled features before the head.
func Features(r *Recipe, n int) (*graph.Graph, error) {
	g := newGraph(r)
	e := newEncoder(g, r, "encoder_q")
	e.Splits = 0
	features, backbone := e.Encode(g, g.Input("x", float, n, r.Views.Size, r.Views.Size, 3))
	g.Output("features", g.L2Normalise(features))
	g.Output("backbone", backbone)
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("build the encoder for batches of %d: %w", n, err)
	}
	return g, nil
}

// Keys builds what a step does to make keys of n images, and no more: with batch statistics and, for a queue, by the momentum encoder in shuffled
// order. Inputs: those of the Step that the keys' view has ("x2", "shuffle" and "unshuffle" of a queue; "x1" of a bank); output: "k" [N,C].
func Keys(r *Recipe, n int) (*graph.Graph, error) {
	g := newGraph(r)
	var k *graph.Node
	if r.Dictionary == "queue" {
		f, shuffle := newEncoder(g, r, "encoder_k"), newShuffle(g, r, n)
		k = shuffle.undo(f.forward(shuffle.do(view(g, r, "x2", n))))
	} else {
		k = newEncoder(g, r, "encoder_q").forward(view(g, r, "x1", n))
	}
	g.Output("k", g.L2Normalise(k))
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("build the keys for batches of %d: %w", n, err)
	}
	return g, nil
}

// Initialise writes the start of training to the variables of a Step that was compiled against s: the query encoder by torchvision's
// rule, the key encoder, if there is one, as its copy, the dictionary full of random keys. All of it follows from the recipe's seed.
func Initialise(r *Recipe, s engine.State) error {
	encoders := []string{"encoder_q."}
	if r.Objective == "contrastive" && r.Dictionary == "queue" {
		encoders = append(encoders, "encoder_k.")
	}
	for _, p := range r.Encoder.Parameters() {
		t := tensor.New(float, p.Shape...)
		p.Initialise(t, r.Seed)
		for _, name := range encoders {
			if err := s.Write(name+p.Name, t); err != nil {
				return fmt.Errorf("initialise: %w", err)
			}
		}
	}
	for _, b := range r.Encoder.Buffers() {
		t := tensor.New(float, b.Channels)
		for i := range t.Float32s() {
			t.Float32s()[i] = b.Start
		}
		for _, name := range encoders {
			if err := s.Write(name+b.Name, t); err != nil {
				return fmt.Errorf("initialise: %w", err)
			}
		}
	}
	if r.Objective == "supervised" {
		return nil
	}
	if err := dictionaries[r.Dictionary].initialise(r, s); err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	return nil
}

// randomRows fills a matrix with directions drawn evenly from the sphere.
func randomRows(t *tensor.Tensor, random rng.Source) {
	dim := t.Shape[1]
	for row := range slices.Chunk(t.Float32s(), dim) {
		var square float64
		for i := range row {
			v := random.Normal()
			row[i] = float32(v)
			square += v * v
		}
		for i := range row {
			row[i] /= float32(math.Sqrt(square))
		}
	}
}

// Spread is the mean over the dimensions of the standard deviation, over the batch, of normalised features [N,dim]. It is about
// 1/sqrt(dim) when the features use the whole sphere, and 0 when they have collapsed to one point.
func Spread(features []float32, dim int) float64 {
	rows := len(features) / dim
	var spread float64
	for c := range dim {
		var mean, square float64
		for r := range rows {
			mean += float64(features[r*dim+c])
		}
		mean /= float64(rows)
		for r := range rows {
			d := float64(features[r*dim+c]) - mean
			square += d * d
		}
		spread += math.Sqrt(square / float64(rows))
	}
	return spread / float64(dim)
}

// seeded is the stream of random numbers for one purpose of a recipe.
func (r *Recipe) seeded(purpose uint64) rng.Source { return rng.New(r.Seed, purpose) }
