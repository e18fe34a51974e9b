package bench

import (
	"slices"

	"moco"
	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/internal/sys"
)

// fits refuses what would not fit into memory.
func (b *bencher) fits(need int64) error {
	limit := sys.FreeMemory() / 4 * 3
	if limit <= 0 || need <= limit {
		return nil
	}
	return &MemoryError{Batch: b.Recipe.Batch, Need: need, Limit: limit}
}

// graph is the training step, or the encoder's forward pass.
func (b *bencher) graph() (*graph.Graph, error) {
	if b.Forward {
		return moco.Features(b.Recipe, b.Recipe.Batch)
	}
	return moco.Graph(b.Recipe, b.Recipe.Batch)
}

// program is what is measured, ready to run.
type program interface {
	Profile(on bool) []engine.NodeTime
	Cost() engine.Cost
	Close() error
}

// compile makes the step, or the encoder, with random weights and images. It refuses what would not
// fit into memory: inputs, of which compiling makes copies for the caller, before it compiles, and
// the rest before anything of that size is made.
func (b *bencher) compile() (p program, run func() error, err error) {
	g, err := b.graph()
	if err != nil {
		return nil, nil, err
	}
	inputs := inputBytes(g)
	if err := b.fits(inputs); err != nil {
		return nil, nil, err
	}
	if b.Forward {
		return b.compileForward(inputs)
	}
	return b.compileStep(inputs)
}

// inputBytes is the memory of a graph's inputs.
func inputBytes(g *graph.Graph) (n int64) {
	for _, node := range g.Nodes {
		if node.Op == graph.Input {
			n += int64(node.Shape.Elements()) * int64(node.Type.Size())
		}
	}
	return n
}

func (b *bencher) compileStep(inputs int64) (program, func() error, error) {
	s := b.Engine.NewState()
	step, err := moco.Compile(b.Recipe, b.Recipe.Batch, b.Engine, s)
	if err != nil {
		return nil, nil, err
	}
	if err = b.fits(inputs + step.Cost().PeakBytes()); err == nil {
		err = moco.Initialise(b.Recipe, s, nil)
	}
	if err != nil {
		step.Close()
		return nil, nil, err
	}
	b.randomBatch(step.Batch())
	return step, func() error {
		_, err := step.Run(moco.Progress{StepsPerEpoch: 1})
		return err
	}, nil
}

func (b *bencher) compileForward(inputs int64) (program, func() error, error) {
	s := b.Engine.NewState()
	p, err := moco.CompileFeatures(b.Recipe, b.Recipe.Batch, b.Engine, s)
	if err != nil {
		return nil, nil, err
	}
	if err = b.fits(inputs + p.Cost().PeakBytes()); err == nil {
		err = moco.InitialiseQuery(b.Recipe, s, nil)
	}
	if err != nil {
		p.Close()
		return nil, nil, err
	}
	b.randomBatch(moco.Batch{Views: [][]float32{p.Views}})
	return p, p.Run, nil
}

// randomBatch makes random pixels, images in order, and any class.
func (b *bencher) randomBatch(batch moco.Batch) {
	random := rng.New(b.Recipe.Seed)
	for _, x := range slices.Concat(batch.Views, batch.KeyViews) {
		for i := range x {
			x[i] = float32(random.Uniform(-2, 2))
		}
	}
	for _, order := range [][]int32{batch.IDs, batch.Shuffle, batch.Unshuffle} {
		for i := range order {
			order[i] = int32(i)
		}
	}
	for i := range batch.Labels {
		batch.Labels[i] = int32(i % b.Recipe.Encoder.Dim)
	}
}
