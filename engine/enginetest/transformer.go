package enginetest

import (
	"fmt"
	"strings"

	"moco/graph"
)

// transformer is a small vision transformer: tokens of patches and of a class, blocks of attention
// and of two linear layers with GELU, both with a scale for each channel, and features.
type transformer struct {
	g          *graph.Graph
	parameters []*graph.Node
	drop       *graph.Node // [N], or nil: what the blocks' branches are multiplied by
}

const (
	channelsOfTransformer = 36
	headsOfTransformer    = 3
)

// parameter is a variable that is trained.
func (t *transformer) parameter(name string, shape ...int) *graph.Node {
	n := len(t.g.Nodes)
	p := t.g.Variable(name, f32, shape...)
	if len(t.g.Nodes) > n { // not asked for before
		t.parameters = append(t.parameters, p)
	}
	return p
}

// linear is a linear layer on rows or tokens.
func (t *transformer) linear(name string, x *graph.Node, out int) *graph.Node {
	w := t.parameter(name+".weight", out, x.Shape[len(x.Shape)-1])
	return t.g.BiasAdd(t.g.MatMul(x, w, false, true), t.parameter(name+".bias", out))
}

func (t *transformer) norm(name string, x *graph.Node) *graph.Node {
	c := x.Shape[len(x.Shape)-1]
	return t.g.LayerNorm(x, t.parameter(name+".weight", c), t.parameter(name+".bias", c), 1e-6)
}

// residual is x and a branch of it, scaled.
func (t *transformer) residual(name string, x, branch *graph.Node) *graph.Node {
	branch = t.g.ScaleChannels(branch, t.parameter(name+".gamma", channelsOfTransformer))
	if t.drop != nil {
		branch = t.g.ScaleRows(branch, t.drop)
	}
	return t.g.Add(x, branch)
}

// block is one layer of the transformer.
func (t *transformer) block(name string, x *graph.Node) *graph.Node {
	c := channelsOfTransformer
	y := t.g.Attention(t.linear(name+".qkv", t.norm(name+".norm1", x), 3*c), headsOfTransformer)
	x = t.residual(name+".ls1", x, t.linear(name+".proj", y, c))
	y = t.g.GELU(t.linear(name+".fc1", t.norm(name+".norm2", x), 4*c))
	return t.residual(name+".ls2", x, t.linear(name+".fc2", y, c))
}

// encode is the features [N,9] of images in patches of 4 pixels, from the class token and the mean of
// the patches.
func (t *transformer) encode(images *graph.Node) *graph.Node {
	const c, patch = channelsOfTransformer, 4
	g, n := t.g, images.Shape[0]
	x := g.Conv(images, t.parameter("patch.weight", c, 3, patch, patch), patch, 0)
	patches := x.Shape[1] * x.Shape[2]
	x = g.BiasAdd(g.Reshape(x, n, patches, c), t.parameter("patch.bias", c))
	x = g.Concat(1, g.Repeat(t.parameter("class", 1, c), n), x)
	x = g.BiasAdd(x, t.parameter("positions", patches+1, c))
	for _, name := range []string{"0", "1"} {
		x = t.block(name, x)
	}
	x = t.norm("norm", x)
	class := g.Reshape(g.Slice(x, 1, 0, 1), n, c)
	mean := g.AveragePool(g.Reshape(g.Slice(x, 1, 1, patches), n, patches, 1, c))
	return t.linear("head", g.Concat(1, class, mean), 9)
}

// transformerStep is a training step of a transformer with AdamW, which tells each image's two views
// from those of the others. With replicas, each has a share of the images.
func transformerStep(g *graph.Graph, images, size int) {
	t := &transformer{g: g}
	encode := func(name string) *graph.Node {
		t.drop = g.ShareInput("drop."+name, f32, images)
		return t.encode(g.ShareInput(name, f32, images, size, size, 3))
	}
	q, k := g.L2Normalise(encode("x1")), g.L2Normalise(encode("x2"))
	share := 1 / float64(max(1, g.Replicas))
	loss := g.InfoNCE(graph.Contrast{
		Positive: g.RowDot(q, k), Negatives: g.MatMul(q, g.GatherReplicas(k), false, true), Temperature: 0.5,
	})
	g.Output("q", q)
	g.Output("loss", loss)
	rate, scale := g.Input("rate", f32), g.Input("scale", f32)
	for i, d := range g.Gradients(loss, g.Fill(share), t.parameters) {
		adam(g, t.parameters[i], g.SumReplicas(d), rate, scale)
	}
}

// adam makes a step of AdamW. Its moments are the variables first.NAME and second.NAME.
func adam(g *graph.Graph, p, gradient, rate, scale *graph.Node) {
	m, v := g.Variable("first."+p.Name, f32, p.Shape...), g.Variable("second."+p.Name, f32, p.Shape...)
	first := g.WeightedSum(graph.Term{Coefficient: 0.9, X: m}, graph.Term{Coefficient: 0.1, X: gradient})
	second := g.SecondMoment(v, gradient, 0.99)
	step := graph.Adam{
		Parameter: p, First: first, Second: second, Rate: rate,
		FirstScale: scale, SecondScale: scale, Epsilon: 1e-3,
	}
	if len(p.Shape) > 1 {
		step.Decay = 0.1
	}
	g.Assign(m, first)
	g.Assign(v, second)
	g.Assign(p, g.AdamStep(step))
}

func transformerCases() (cases []Case) {
	for _, replicas := range []int{1, 2} {
		build := func(g *graph.Graph) {
			g.Replicas = replicas
			transformerStep(g, 3, 8)
		}
		cases = append(cases, Case{
			Name: fmt.Sprintf("a transformer's step of %d replicas", replicas),
			Runs: 2, Loose: 0.1, Set: adamSetting(build), Build: build,
		})
	}
	return append(cases, Case{Name: "a transformer", Loose: 0.05, Build: func(g *graph.Graph) {
		t := &transformer{g: g}
		g.Output("y", t.encode(g.Input("x", f32, 3, 16, 8, 3)))
	}})
}

// adamSetting starts from moments that no rounding can turn into long steps, and drops every third
// image.
func adamSetting(build func(g *graph.Graph)) setting {
	s := setting{"rate": func(int) float64 { return 0.05 }, "scale": func(int) float64 { return 1.25 }}
	g := graph.New()
	build(g)
	for _, n := range g.Nodes {
		switch {
		case strings.HasPrefix(n.Name, "first."):
			s[n.Name] = func(i int) float64 { return float64(i*31%17-8) / 100 }
		case strings.HasPrefix(n.Name, "second."):
			s[n.Name] = func(i int) float64 { return 0.01 + float64(i%5)/100 }
		case strings.HasPrefix(n.Name, "drop."):
			s[n.Name] = func(i int) float64 { return float64((i%3+1)/2) * 1.5 }
		}
	}
	return s
}
