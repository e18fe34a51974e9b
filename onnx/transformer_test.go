package onnx

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"moco/graph"
	"moco/tensor"
)

// vision has every kind of node that inference of transformers uses, for a batch of 2.
func vision() *graph.Graph {
	g := graph.New()
	v := func(name string, shape ...int) *graph.Node { return g.Variable(name, tensor.Float32, shape...) }
	x := g.Conv(g.Input("images", tensor.Float32, 2, 8, 8, 3), v("patch.weight", 6, 3, 4, 4), 4, 0)
	x = g.Reshape(g.BiasAdd(x, v("patch.bias", 6)), 2, 4, 6)
	x = g.Concat(1, g.Repeat(v("class", 1, 6), 2), x)
	mixed := g.Constant(make([]float64, 20), 5, 4) // positions of another grid
	x = g.BiasAdd(x, g.MatMul(mixed, v("positions", 4, 6), false, false))
	y := g.LayerNorm(x, v("norm.weight", 6), v("norm.bias", 6), 1e-6)
	y = g.BiasAdd(g.MatMul(y, v("qkv.weight", 18, 6), false, true), v("qkv.bias", 18))
	y = g.Attention(y, 2)
	x = g.Add(x, g.ScaleChannels(g.GELU(y), g.Fill(0.1, 6)))
	class := g.Reshape(g.Slice(x, 1, 0, 1), 2, 6)
	mean := g.AveragePool(g.Reshape(g.Slice(x, 1, 1, 4), 2, 2, 2, 6))
	g.Output("features", g.Concat(1, class, mean))
	return g
}

// numbers are int64 as text.
func numbers(raw []byte) string {
	var all []int64
	for ; len(raw) > 0; raw = raw[8:] {
		all = append(all, int64(binary.LittleEndian.Uint64(raw)))
	}
	return fmt.Sprint(all)
}

// nodesOf is the nodes of the model of g, one a line, with vectors of integers by their values.
func nodesOf(t *testing.T, g *graph.Graph) (lines string, model fields) {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, g, Options{Weights: weightsOf(g)}); err != nil {
		t.Fatal(err)
	}
	model = parse(t, b.Bytes()).messages(t, modelGraph)[0]
	integers := map[string]string{}
	for _, i := range model.messages(t, graphInitialiser) {
		if i[tensorType][0] == uint64(int64s) {
			integers[i.text(tensorName)] = numbers(i[tensorRaw][0].([]byte))
		}
	}
	word := regexp.MustCompile(`\w+`)
	var nodes []string
	for _, n := range model.messages(t, graphNode) {
		nodes = append(nodes, word.ReplaceAllStringFunc(describe(t, n), func(name string) string {
			return cmp.Or(integers[name], name)
		}))
	}
	return strings.Join(nodes, "\n"), model
}

// TestTransformer: the shapes leave the batch free, and values with pixels have their channels first.
func TestTransformer(t *testing.T) {
	got, model := nodesOf(t, vision())
	if out := info(t, model.messages(t, graphOutput)[0]); out != "features: 1 [N 12]" {
		t.Errorf("the output is %s", out)
	}
	want := `Shape: Shape(images) start=0 end=1
Concat: Concat(Shape [1 6]) axis=0
Expand: Expand(class Concat)
patch: Conv(images patch.weight patch.bias) kernel_shape=4,4 strides=4,4 pads=0,0,0,0
Transpose: Transpose(patch) perm=0,2,3,1
Reshape: Reshape(Transpose [-1 4 6])
Concat_2: Concat(Expand Reshape) axis=1
Gemm: Gemm(constant positions)
Add: Add(Concat_2 Gemm)
norm: LayerNormalization(Add norm.weight norm.bias) axis=2 epsilon=1e-06
Transpose_2: Transpose(qkv.weight) perm=1,0
qkv: MatMul(norm Transpose_2)
qkv_2: Add(qkv qkv.bias)
Split Split_2 Split_3: Split(qkv_2 [6 6 6]) axis=2
Reshape_2: Reshape(Split [-1 5 2 3])
Transpose_3: Transpose(Reshape_2) perm=0,2,1,3
Reshape_3: Reshape(Split_2 [-1 5 2 3])
Transpose_4: Transpose(Reshape_3) perm=0,2,3,1
Reshape_4: Reshape(Split_3 [-1 5 2 3])
Transpose_5: Transpose(Reshape_4) perm=0,2,1,3
Mul: Mul(Transpose_3 constant_2)
MatMul: MatMul(Mul Transpose_4)
Softmax: Softmax(MatMul) axis=3
MatMul_2: MatMul(Softmax Transpose_5)
Transpose_6: Transpose(MatMul_2) perm=0,2,1,3
Reshape_5: Reshape(Transpose_6 [-1 5 6])
Div: Div(Reshape_5 constant_3)
Erf: Erf(Div)
Add_2: Add(Erf constant_4)
Mul_2: Mul(Reshape_5 Add_2)
Mul_3: Mul(Mul_2 constant_5)
Mul_4: Mul(Mul_3 constant_6)
Add_3: Add(Add Mul_4)
Slice: Slice(Add_3 [0] [1] [1])
Reshape_6: Reshape(Slice [-1 6])
Slice_2: Slice(Add_3 [1] [5] [1])
Reshape_7: Reshape(Slice_2 [-1 2 2 6])
Transpose_7: Transpose(Reshape_7) perm=0,3,1,2
GlobalAveragePool: GlobalAveragePool(Transpose_7)
Flatten: Flatten(GlobalAveragePool) axis=1
features: Concat(Reshape_6 Flatten) axis=1`
	if got != want {
		t.Errorf("the nodes are\n%s\nwant\n%s", got, want)
	}
}

// TestRefusedTokens: what would need to know the batch's length, or another order of axes.
func TestRefusedTokens(t *testing.T) {
	const f32 = tensor.Float32
	for want, build := range map[string]func(g *graph.Graph, image, tokens, v *graph.Node) *graph.Node{
		"sums over a batch": func(g *graph.Graph, _, tokens, _ *graph.Node) *graph.Node {
			return g.MatMulSum(tokens, tokens, true, false)
		},
		"values with four axes": func(g *graph.Graph, image, _, _ *graph.Node) *graph.Node {
			return g.MatMul(image, image, false, true)
		},
		"are neither cut": func(g *graph.Graph, image, _, _ *graph.Node) *graph.Node { return g.Slice(image, 0, 0, 1) },
		"cut nor joined":  func(g *graph.Graph, image, _, _ *graph.Node) *graph.Node { return g.Concat(0, image, image) },
		"a batch and without one": func(g *graph.Graph, _, tokens, _ *graph.Node) *graph.Node {
			return g.Concat(1, tokens, g.Variable("w", f32, 2, 1, 3))
		},
		"the axis for the batch": func(g *graph.Graph, image, _, _ *graph.Node) *graph.Node {
			return g.Reshape(image, 96)
		},
		"only copies for each image": func(g *graph.Graph, _, _, v *graph.Node) *graph.Node { return g.Repeat(v, 5) },
		"do not stand last": func(g *graph.Graph, image, _, v *graph.Node) *graph.Node {
			return g.LayerNorm(image, v, v, 1e-6)
		},
		"one value for each channel": func(g *graph.Graph, image, _, _ *graph.Node) *graph.Node {
			return g.BiasAdd(image, g.Variable("w", f32, 4, 3))
		},
		"the second axis for the channels": func(g *graph.Graph, _, tokens, v *graph.Node) *graph.Node {
			return g.Normalise(graph.BatchNorm{X: tokens, Mean: v, Variance: v, Gamma: v, Beta: v, Epsilon: 1e-5})
		},
	} {
		g := graph.New()
		image := g.Input("x", f32, 2, 4, 4, 3)
		g.Output("y", build(g, image, g.Reshape(image, 2, 16, 3), g.Variable("v", f32, 3)))
		var b bytes.Buffer
		err := Write(&b, g, Options{Weights: weightsOf(g)})
		if err == nil || !strings.Contains(err.Error(), want) || b.Len() > 0 {
			t.Errorf("want %q and nothing written: %v, %d bytes", want, err, b.Len())
		}
	}
}

// TestPixelsAndTokens: bias and scale of a value with pixels stand by its channels, and slices and
// joins are along the axes of the model.
func TestPixelsAndTokens(t *testing.T) {
	g := graph.New()
	x := g.Input("x", tensor.Float32, 2, 4, 5, 3)
	v := g.Variable("v", tensor.Float32, 3)
	y := g.ScaleChannels(g.BiasAdd(x, v), v)
	y = g.Concat(3, g.Slice(y, 1, 1, 2), g.Slice(y, 1, 2, 2))
	g.Output("y", g.Concat(2, y, y))
	want := `Reshape: Reshape(v [3 1 1])
Add: Add(x Reshape)
Reshape_2: Reshape(v [3 1 1])
Mul: Mul(Add Reshape_2)
Slice: Slice(Mul [1] [3] [2])
Slice_2: Slice(Mul [2] [4] [2])
Concat: Concat(Slice Slice_2) axis=1
y: Concat(Concat Concat) axis=3`
	if got, _ := nodesOf(t, g); got != want {
		t.Errorf("the nodes are\n%s\nwant\n%s", got, want)
	}
}
