package moco

import (
	"fmt"
	"math"

	"moco/engine"
	"moco/graph"
)

// The input and outputs of the graph that Features builds.
const (
	FeaturesInput    = "x"        // [N,S,S,3], views
	FeaturesHead     = "features" // [N,C], what the head makes, L2-normalised
	FeaturesBackbone = "backbone" // [N,FeatureDim], the pooled features before the head
)

// Features builds the query encoder for inference on batches of n images, with running statistics.
func Features(r *Recipe, n int) (*graph.Graph, error) {
	if err := r.Encoder.Check(); err != nil {
		return nil, err
	}
	alone := *r
	alone.Replicas = 1
	g := newBuilder(&alone, n)
	e := newEncoder(g, query)
	e.Splits = 0
	features, backbone := e.Encode(g.Graph, g.images(FeaturesInput, n))
	g.Output(FeaturesHead, g.L2Normalise(features))
	g.Output(FeaturesBackbone, backbone)
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("build the encoder for batches of %d: %w", n, err)
	}
	return g.Graph, nil
}

// Inference is the query encoder, compiled to make features of batches of n images.
type Inference struct {
	engine.Program
	Views          []float32 // [N,S,S,3], to fill before Run
	Head, Backbone []float32 // [N,C] of length one and [N,FeatureDim], after Run
}

// CompileFeatures makes the query encoder whose variables live in s, a state of e: a step's, or one
// of its own.
func CompileFeatures(r *Recipe, n int, e engine.Engine, s engine.State) (*Inference, error) {
	g, err := Features(r, n)
	if err != nil {
		return nil, err
	}
	p, err := e.Compile(g, s)
	if err != nil {
		return nil, err
	}
	return &Inference{Program: p, Views: floats(p, FeaturesInput),
		Head: p.Output(FeaturesHead).Float32s(), Backbone: p.Output(FeaturesBackbone).Float32s()}, nil
}

// Keys makes keys as a training step does, without training: with batch statistics and, for a
// queue, by the momentum encoder in shuffled order.
type Keys struct {
	program engine.Program
	batch   Batch
}

// CompileKeys makes Keys for batches of n images. Its variables live in s, a training step's state.
// It returns nil for a classifier, which has no keys.
func CompileKeys(r *Recipe, n int, e engine.Engine, s engine.State) (*Keys, error) {
	m, err := r.Mechanism()
	if err != nil {
		return nil, err
	}
	g := newBuilder(r, n)
	k := m.keys(g)
	if k == nil {
		return nil, nil
	}
	g.Output(outKeys, g.GatherReplicas(g.L2Normalise(k)))
	g.Output(inIDs, g.GatherReplicas(g.ids()))
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("build the keys for batches of %d: %w", n, err)
	}
	p, err := e.Compile(g.Graph, s)
	if err != nil {
		return nil, err
	}
	return &Keys{program: p, batch: batchOf(p, r.Views)}, nil
}

// Batch is where the images of the next Run go.
func (k *Keys) Batch() Batch { return k.batch }

// Run returns the keys [N,C] of the images in the Batch, or of those in the batches of all replicas,
// and the ids of the images. They are valid until the next Run.
func (k *Keys) Run() (keys []float32, ids []int32, err error) {
	if err := k.program.Run(); err != nil {
		return nil, nil, err
	}
	return k.program.Output(outKeys).Float32s(), k.program.Output(inIDs).Int32s(), nil
}

// Close frees what only these keys use.
func (k *Keys) Close() error { return k.program.Close() }

// Spread is the standard deviation of normalised features [N,dim] over the batch, averaged over the
// dimensions. It is about 1/sqrt(dim) when the features use the whole sphere, and 0 when they have
// collapsed to one point.
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
