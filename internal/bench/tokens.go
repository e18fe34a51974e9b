package bench

import (
	"math"

	"moco/engine"
	"moco/engine/reference"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// linear is a linear layer on tokens. Its numbers are those of a convolution of one pixel over a row
// of tokens; its graph is not.
type linear struct{ *convolution }

func (linear) measures(t engine.NodeTime, _ pass) bool {
	return t.Kind == engine.Product || t.Node.Op == graph.MatMul
}

func (l linear) graph(which pass) *graph.Graph {
	g := graph.New()
	g.Precision = l.precision
	x := func() *graph.Node { return tokens(g, "x", l.images, l.Width, l.In) }
	dy := func() *graph.Node { return tokens(g, "dy", l.images, l.Width, l.Out) }
	w := func() *graph.Node { return g.Variable("w", tensor.Float32, l.Out, l.In) }
	var n *graph.Node
	switch which {
	case forward:
		n = g.MatMul(x(), w(), false, true)
	case dataGradient:
		n = g.MatMul(dy(), w(), false, false)
	default:
		n = g.MatMulSum(dy(), x(), true, false)
	}
	g.Output("y", g.Detach(n)) // so that the copy to the caller is not the node's own time
	return g
}

// tokens are an input, copied once, so that they have the layout and the precision of what an engine
// computed. The largest of one place is that place, and an activation.
func tokens(g *graph.Graph, name string, images, tokens, channels int) *graph.Node {
	x := g.MaxPool(g.Input(name, tensor.Float32, images, 1, tokens, channels), 1, 1, 0)
	return g.Reshape(x, images, tokens, channels)
}

// attention is attention of tokens, without its projections.
type attention struct {
	Form
	precision graph.Precision
	qkv, dy   []float32
}

// measures leaves out the forward pass that the gradient reads.
func (*attention) measures(t engine.NodeTime, which pass) bool {
	if which == forward {
		return t.Node.Op == graph.Attention
	}
	return t.Node.Op == graph.AttentionGrad
}

func (a *attention) graph(which pass) *graph.Graph {
	g := graph.New()
	g.Precision = a.precision
	qkv := tokens(g, "x", a.images, a.Width, a.In)
	y := g.Attention(qkv, a.Heads)
	if which == dataGradient {
		y = g.AttentionGrad(tokens(g, "dy", a.images, a.Width, a.Out), qkv, y, a.Heads)
	}
	g.Output("y", g.Detach(y))
	return g
}

func (a *attention) fill(_ pass, p engine.Program, _ engine.State, random *rng.Source) error {
	a.qkv = a.random(p.Input("x"), random)
	if dy := p.Input("dy"); dy != nil {
		a.dy = a.random(dy, random)
	}
	return nil
}

// random fills an operand with activations.
func (a *attention) random(t *tensor.Tensor, random *rng.Source) []float32 {
	x := t.Float32s()
	for i := range x {
		x[i] = float32(random.Uniform(-1, 1))
		if a.precision == graph.BFloat16 {
			x[i] = math.Float32frombits(math.Float32bits(x[i]) &^ 0xffff) // as bfloat16 holds it
		}
	}
	return x
}

// sampledHeads is how many heads of images an error is taken over.
const sampledHeads = 2

// error computes whole heads by the definition: each is attention of one image and one head.
func (a *attention) error(which pass, y []float32, random *rng.Source) float64 {
	var got, want []float64
	for range sampledHeads {
		image, head := random.IntN(a.images), random.IntN(a.Heads)
		if which == forward {
			got = append(got, a.head(y, image, head, 1)...)
		} else {
			got = append(got, a.head(y, image, head, 3)...)
		}
		want = append(want, a.defined(which, image, head)...)
	}
	return relative(got, want)
}

// head gathers what belongs to a head of an image from tokens whose channels are `parts` times all
// heads: [tokens][parts][channels of a head].
func (a *attention) head(x []float32, image, head, parts int) []float64 {
	d := a.Out / a.Heads
	var out []float64
	for token := range a.Width {
		for part := range parts {
			from := ((image*a.Width+token)*parts+part)*a.Out + head*d
			for _, v := range x[from : from+d] {
				out = append(out, float64(v))
			}
		}
	}
	return out
}

// defined is a head's outputs by the definition.
func (a *attention) defined(which pass, image, head int) []float64 {
	d := a.Out / a.Heads
	g := graph.New()
	qkv := g.Input("qkv", tensor.Float32, 1, a.Width, 3*d)
	y := g.Attention(qkv, 1)
	values := map[*graph.Node]*reference.Value{
		qkv: reference.View(qkv.Type, qkv.Shape, a.head(a.qkv, image, head, 3)),
	}
	last := y
	if which == dataGradient {
		dy := g.Input("dy", tensor.Float32, 1, a.Width, d)
		values[dy] = reference.View(dy.Type, dy.Shape, a.head(a.dy, image, head, 1))
		last = g.AttentionGrad(dy, qkv, y, 1)
	}
	var result []float64
	for _, n := range []*graph.Node{y, last} {
		result = make([]float64, n.Shape.Elements())
		var in []*reference.Value
		for _, operand := range n.In {
			in = append(in, values[operand])
		}
		values[n] = reference.View(n.Type, n.Shape, result)
		// The only error is a kind without a definition, and these have one.
		_ = reference.Compute(n, in, values[n])
	}
	return result
}
