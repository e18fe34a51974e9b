package moco

import (
	"fmt"
	"math"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/nn"
	"moco/optim"
	"moco/tensor"
)

const float = tensor.Float32

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
func (e *encoder) momentumUpdate(q *encoder, m float64) {
	for _, p := range e.Config.Parameters() {
		k := e.Values[p.Name]
		next := e.g.WeightedSum(graph.Term{Coefficient: m, X: k}, graph.Term{Coefficient: 1 - m, X: q.Values[p.Name]})
		e.g.Assign(k, next)
		e.Values[p.Name] = next
	}
}

// update trains the parameters down the gradient of the loss.
func (e *encoder) update(loss *graph.Node, sgd optim.SGD) {
	lr := e.g.Input("lr", float)
	parameters := e.Config.Parameters()
	var nodes []*graph.Node
	for _, p := range parameters {
		nodes = append(nodes, e.Values[p.Name])
	}
	for i, gradient := range e.g.Gradients(loss, e.g.Fill(1), nodes) {
		velocity := e.g.Variable("sgd."+parameters[i].Name, float, parameters[i].Shape...)
		sgd.Update(e.g, nodes[i], velocity, gradient, lr)
	}
	e.keepStatistics()
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
	order, place *graph.Node
}

func newShuffle(g *graph.Graph, n int) shuffle {
	return shuffle{g, g.Input("shuffle", tensor.Int32, n), g.Input("unshuffle", tensor.Int32, n)}
}

func (s shuffle) do(x *graph.Node) *graph.Node   { return s.g.GatherRows(x, s.order) }
func (s shuffle) undo(x *graph.Node) *graph.Node { return s.g.GatherRows(x, s.place) }

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

// Initialise writes the start of training to the variables of a Step that was compiled against s: the query encoder by torchvision's
// rule, the key encoder as its copy, the queue full of random keys that belong to no image. All of it follows from the recipe's seed.
func Initialise(r *Recipe, s engine.State) error {
	for _, p := range r.Encoder.Parameters() {
		t := tensor.New(float, p.Shape...)
		p.Initialise(t, r.Seed)
		for _, name := range []string{"encoder_q.", "encoder_k."} {
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
		for _, name := range []string{"encoder_q.", "encoder_k."} {
			if err := s.Write(name+b.Name, t); err != nil {
				return fmt.Errorf("initialise: %w", err)
			}
		}
	}
	if err := initialiseQueue(r, s); err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	return nil
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
