package enginetest

import (
	"fmt"

	"moco/graph"
)

// transformer has a small vision transformer's forward pass: patches, a class token, positions, and
// blocks with whatever may stand in them.
type transformer struct {
	images, size, patch   int
	channels, heads, deep int
	layerScale, dropPath  bool

	g          *graph.Graph
	parameters []*graph.Node
}

func (t *transformer) parameter(name string, shape ...int) *graph.Node {
	p := t.g.Variable(name, f32, shape...)
	t.parameters = append(t.parameters, p)
	return p
}

func (t *transformer) linear(x *graph.Node, name string, out int) *graph.Node {
	in := x.Shape[len(x.Shape)-1]
	return t.g.BiasAdd(t.g.MatMul(x, t.parameter(name+".w", out, in), false, true), t.parameter(name+".b", out))
}

func (t *transformer) norm(x *graph.Node, name string) *graph.Node {
	return t.g.LayerNorm(x, t.parameter(name+".g", t.channels), t.parameter(name+".b", t.channels), 1e-6)
}

// join adds a branch to the tokens.
func (t *transformer) join(x, y *graph.Node, name string, drop *graph.Node) *graph.Node {
	if t.layerScale {
		y = t.g.ScaleChannels(y, t.parameter(name+".scale", t.channels))
	}
	if drop != nil {
		y = t.g.ScaleRows(y, drop)
	}
	return t.g.Add(x, y)
}

// features are those of the class token, [N,C].
func (t *transformer) features() *graph.Node {
	g, n, c := t.g, t.images, t.channels
	x := g.Input("x", f32, n, t.size, t.size, 3)
	var drop *graph.Node
	if t.dropPath {
		drop = g.Input("drop", f32, n)
	}
	x = g.Conv(x, t.parameter("patch", c, 3, t.patch, t.patch), t.patch, 0)
	patches := x.Shape[1] * x.Shape[2]
	x = g.BiasAdd(g.Reshape(x, n, patches, c), t.parameter("position", patches, c))
	x = g.Concat(1, g.Repeat(t.parameter("class", 1, c), n), x)
	for i := range t.deep {
		name := fmt.Sprint(i)
		y := g.Attention(t.linear(t.norm(x, name+".1"), name+".qkv", 3*c), t.heads)
		x = t.join(x, t.linear(y, name+".proj", c), name+".1", drop)
		y = g.GELU(t.linear(t.norm(x, name+".2"), name+".fc1", 4*c))
		x = t.join(x, t.linear(y, name+".fc2", c), name+".2", drop)
	}
	return t.norm(g.Reshape(g.Slice(x, 1, 0, 1), n, c), "norm")
}

// train assigns the parameters what a step of AdamW makes of them.
func (t *transformer) train(features *graph.Node) {
	g := t.g
	dy := g.Input("dy", f32, features.Shape...)
	for i, d := range g.Gradients(features, dy, t.parameters) {
		p := t.parameters[i]
		first, second := g.Variable("m."+p.Name, f32, p.Shape...), g.Variable("v."+p.Name, f32, p.Shape...)
		m := g.WeightedSum(graph.Term{Coefficient: 0.9, X: first}, graph.Term{Coefficient: 0.1, X: d})
		v := g.SecondMoment(second, d, 0.99)
		g.Assign(first, m)
		g.Assign(second, v)
		g.Assign(p, g.AdamStep(graph.Adam{
			Parameter: p, First: m, Second: v, Rate: g.Fill(0.01), FirstScale: g.Fill(2), SecondScale: g.Fill(1.5),
			Epsilon: 0.1, Decay: 0.1,
		}))
		g.Output("d"+p.Name, d)
	}
}

// transformerCases hold what an engine fuses to the nodes that it is made of.
func transformerCases() (cases []Case) {
	for _, t := range []transformer{
		{images: 2, size: 8, patch: 4, channels: 16, heads: 2, deep: 1},
		{images: 3, size: 12, patch: 4, channels: 64, heads: 1, deep: 2, layerScale: true, dropPath: true},
		{images: 5, size: 6, patch: 2, channels: 24, heads: 3, deep: 1, dropPath: true},
	} {
		of := func(g *graph.Graph) *transformer {
			t.g, t.parameters = g, nil
			return &t
		}
		name := fmt.Sprintf("transformer of %d channels", t.channels)
		cases = append(cases,
			Case{Name: name, Loose: 0.1, Build: func(g *graph.Graph) { g.Output("y", of(g).features()) }},
			Case{Name: "step of a " + name, Loose: 0.4, Runs: 2, Set: variances(t), Build: func(g *graph.Graph) {
				t := of(g)
				y := t.features()
				g.Output("y", y)
				t.train(y)
			}})
	}
	return cases
}

// variances sets second moments, which are positive.
func variances(t transformer) setting {
	t.g = graph.New()
	t.features()
	set := setting{}
	for k, p := range t.parameters {
		set["v."+p.Name] = func(i int) float64 { return float64((i+k)%7) / 8 }
	}
	return set
}
