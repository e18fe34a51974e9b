package moco

import (
	"fmt"

	"moco/engine"
	"moco/graph"
	"moco/ranks"
	"moco/tensor"
)

// The names of a step's inputs and outputs on its graph. No other file writes them: a mechanism
// asks the builder, and whoever trains fills a Batch and reads Metrics.
const (
	inView    = "x%d" // x1, x2, ...: [N,S,S,3] the first views, the second ones, ...
	inKeyView = "k%d" // k1, k2: the same in the order of keys; see shuffle.go
	// All V views of an image, the first ones above the second [VN,S,S,3], or the only views [N,S,S,3].
	inViews     = "x"
	inIDs       = "ids"       // int32 [N], each image's number
	inLabels    = "labels"    // int32 [N], each image's class
	inShuffle   = "shuffle"   // int32 [N], the order in which keys are encoded
	inUnshuffle = "unshuffle" // int32 [N], its inverse
	inDraws     = "draws"     // int32, the bank's keys to compare with
	inDrops     = "drops"     // [N,branches] of one pass, with its number behind: see nn.Encoder.Drop
	inRate      = "lr"        // the learning rate
	inMomentum  = "m"         // a ramped momentum
	inRest      = "rest"      // 1-m: the graph has no subtraction of scalars
	inSharpen   = "sharpen"   // t over the ramped temperature

	outLoss     = "loss"
	outAccuracy = "accuracy"
	outQueries  = "q" // [N,C]
	outKeys     = "k" // [N,C]
)

// The views of an image that most mechanisms take.
const (
	firstViews = iota
	secondViews
)

// builder is the graph of one step while it is built, with the recipe and the size of the batch. The
// graph is that of one replica, which has a share of the batch; with replicas: 1, all of it.
type builder struct {
	*graph.Graph
	recipe *Recipe
	batch  int
	n      int                    // images of the share
	inputs map[string]*graph.Node // declared so far
	trains bool                   // it is a step that learns: drop path leaves out branches
	passes int                    // inputs for drop path so far
}

// newBuilder begins a graph of the recipe's precision and replicas for batches of n images.
func newBuilder(r *Recipe, n int) *builder {
	g := graph.New()
	if r.Precision == "bf16" {
		g.Precision = graph.BFloat16
	}
	g.Replicas = r.Replicas
	return &builder{Graph: g, recipe: r, batch: n, n: n / max(1, r.Replicas), inputs: map[string]*graph.Node{}}
}

// mean is the mean of a loss, or a share, over the replicas.
func (g *builder) mean(x *graph.Node) *graph.Node {
	if g.Replicas <= 1 {
		return x
	}
	return g.SumReplicas(g.WeightedSum(graph.Term{Coefficient: g.share(), X: x}))
}

// share is the weight of a replica's loss in that of the batch.
func (g *builder) share() float64 { return 1 / float64(max(1, g.Replicas)) }

// input declares an input that is the same on all replicas, or finds the one that has this name.
func (g *builder) input(name string, t tensor.Type, shape ...int) *graph.Node {
	if g.inputs[name] == nil {
		g.inputs[name] = g.Input(name, t, shape...)
	}
	return g.inputs[name]
}

// shared declares an input of which each replica has a share, or finds it.
func (g *builder) shared(name string, t tensor.Type, shape ...int) *graph.Node {
	if g.inputs[name] == nil {
		g.inputs[name] = g.ShareInput(name, t, shape...)
	}
	return g.inputs[name]
}

func (g *builder) images(name string, n int) *graph.Node {
	return g.shared(name, float, n, g.recipe.Views.Size, g.recipe.Views.Size, 3)
}

func (g *builder) view(i int) *graph.Node { return g.images(fmt.Sprintf(inView, i+1), g.n) }

func (g *builder) keyView(i int) *graph.Node {
	if g.Replicas > 1 && g.recipe.ShuffleBN {
		return g.images(fmt.Sprintf(inKeyView, i+1), g.n)
	}
	return g.view(i)
}

func (g *builder) onlyView() *graph.Node          { return g.images(inViews, g.n) }
func (g *builder) ids() *graph.Node               { return g.shared(inIDs, int32s, g.n) }
func (g *builder) labels() *graph.Node            { return g.shared(inLabels, int32s, g.n) }
func (g *builder) order(name string) *graph.Node  { return g.input(name, int32s, g.batch) }
func (g *builder) sample(n int) *graph.Node       { return g.input(inDraws, int32s, n) }
func (g *builder) draws(each int) *graph.Node     { return g.shared(inDraws, int32s, g.n*each) }
func (g *builder) scalar(name string) *graph.Node { return g.input(name, float) }

// allViews is the first views above the second, and so on. In a step of replicas they are inputs of
// their own, since an input lies replica by replica.
func (g *builder) allViews() *graph.Node {
	n := g.recipe.Views.Count()
	if g.Replicas <= 1 {
		return g.images(inViews, n*g.n)
	}
	all := make([]*graph.Node, n)
	for i := range all {
		all[i] = g.view(i)
	}
	return g.Concat(0, all...)
}

// Batch is what a step learns from: n images, or the share of them that this process has where there
// are replicas (Step.Share), in the step's own memory. A slice that the mechanism does not take is
// nil.
type Batch struct {
	Size  int         // S, pixels a side of the views
	Views [][]float32 // [N,S,S,3] each: the first views, the second ones, ...
	// KeyViews are the views of the images at the share's places in Shuffle. They are there with
	// replicas, so that no picture has to go from one to another.
	KeyViews [][]float32
	// IDs holds for each image its index in the set, or its group's index where a positive pair is
	// made of two images.
	IDs    []int32
	Labels []int32 // class of each image
	// A permutation of the whole batch, and its inverse. Shuffle is nil where KeyViews are there.
	Shuffle, Unshuffle []int32
}

// Progress is where training stands before a step.
type Progress struct {
	Step          int // steps done
	StepsPerEpoch int
}

// epochs is the time that schedules count in.
func (p Progress) epochs() float64 { return float64(p.Step) / float64(p.StepsPerEpoch) }

// Of is the share of a training of so many epochs that is done, 0 to 1.
func (p Progress) Of(whole Epochs) float64 { return p.epochs() / float64(whole) }

// Metrics is what a step reports.
type Metrics struct {
	Loss float64
	// Accuracy is the share of queries whose nearest key is the positive one, or of images that get
	// their label.
	Accuracy float64
	LR       float64 // the learning rate that was used
}

// Step is a training step, compiled. It is not safe for concurrent use. Neither are several steps
// of one state, because they share its memory.
type Step struct {
	recipe    *Recipe
	mechanism Mechanism
	program   engine.Program
	share     ranks.Share
	batch     Batch
	drops     [][]float32 // of each pass with drop path
}

// Compile makes the step of a recipe on batches of n images. Its variables live in s, a state of e.
// Initialise or a checkpoint gives them their values.
func Compile(r *Recipe, n int, e engine.Engine, s engine.State) (*Step, error) {
	g, err := Graph(r, n)
	if err != nil {
		return nil, err
	}
	m, err := r.Mechanism()
	if err != nil {
		return nil, err
	}
	share, err := e.Share(max(1, g.Replicas))
	if err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	p, err := e.Compile(g, s)
	if err != nil {
		return nil, err
	}
	return &Step{recipe: r, mechanism: m, program: p, share: share, batch: batchOf(p, r.Views), drops: dropsOf(p)}, nil
}

// batchOf collects the inputs of a program that a Batch has.
func batchOf(p engine.Program, v Views) Batch {
	b := Batch{Size: v.Size, IDs: ints(p, inIDs), Labels: ints(p, inLabels), Shuffle: ints(p, inShuffle), Unshuffle: ints(p, inUnshuffle)}
	if x := floats(p, inViews); x != nil {
		n := v.Count()
		if b.Labels != nil { // a classifier's only views
			n = 1
		}
		for i, each := 0, len(x)/n; i < n; i++ {
			b.Views = append(b.Views, x[i*each:(i+1)*each])
		}
		return b
	}
	b.Views, b.KeyViews = views(p, inView, v.Count()), views(p, inKeyView, v.Count())
	return b
}

// views are the inputs of that name, nil of views that the program does not take. It is nil where it
// takes none.
func views(p engine.Program, name string, n int) (all [][]float32) {
	for i := range n {
		if x := floats(p, fmt.Sprintf(name, i+1)); x != nil {
			all = append(all, make([][]float32, i+1-len(all))...)
			all[i] = x
		}
	}
	return all
}

func floats(p engine.Program, input string) []float32 {
	if in := p.Input(input); in != nil {
		return in.Float32s()
	}
	return nil
}

func ints(p engine.Program, input string) []int32 {
	if in := p.Input(input); in != nil {
		return in.Int32s()
	}
	return nil
}

// Batch is where the images of the next Run go. It is the same memory for every Run.
func (s *Step) Batch() Batch { return s.batch }

// Share is what this process computes of the recipe's replicas. Its Batch holds that share of the
// images. All ranks run the step together.
func (s *Step) Share() ranks.Share { return s.share }

// Run learns from the images in the Batch. The rate, a ramped momentum or temperature, and the keys
// that are drawn from a bank follow from at and the recipe.
func (s *Step) Run(at Progress) (Metrics, error) {
	if draws := ints(s.program, inDraws); draws != nil {
		s.mechanism.draw(draws, s.batch.IDs, drawing{step: at.Step, first: s.share.First * len(draws) / s.share.Count})
	}
	s.drawDrops(at.Step)
	epochs, r := at.epochs(), s.recipe
	share := at.Of(r.Epochs)
	lr, m := r.Rate(epochs), r.MomentumAt(share)
	s.set(inRate, lr)
	s.set(inMomentum, m)
	s.set(inRest, 1-m)
	s.set(inSharpen, r.Temperature/r.TemperatureAt(share))
	for name, v := range r.optimizer().Scalars(at.Step + 1) {
		s.set(name, v)
	}
	if err := s.program.Run(); err != nil {
		return Metrics{}, err
	}
	return Metrics{Loss: s.output(outLoss), Accuracy: s.output(outAccuracy), LR: lr}, nil
}

// set fills an input that is one number, if the step has it.
func (s *Step) set(input string, v float64) {
	if x := floats(s.program, input); x != nil {
		x[0] = float32(v)
	}
}

func (s *Step) output(name string) float64 { return float64(s.program.Output(name).Float32s()[0]) }

// Queries are the features [N,C] that the last Run made of the first views: rows of length one, or
// a classifier's logits. They are valid until the next Run.
func (s *Step) Queries() []float32 { return s.program.Output(outQueries).Float32s() }

// Cost is what one Run takes.
func (s *Step) Cost() engine.Cost { return s.program.Cost() }

// Profile(true) makes later Runs measure each operation, until Profile(false). It returns what was
// measured so far.
func (s *Step) Profile(on bool) []engine.NodeTime { return s.program.Profile(on) }

// Close frees what only this step uses.
func (s *Step) Close() error { return s.program.Close() }
