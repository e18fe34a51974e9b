package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"moco/graph"
	"moco/tensor"
)

// fields is a message without its schema: the values of each field, in order. Numbers are uint64,
// everything else bytes.
type fields map[protowire.Number][]any

func parse(t *testing.T, raw []byte) fields {
	t.Helper()
	f := fields{}
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		raw = raw[n:]
		var value any
		switch kind {
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(raw)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(raw)
			value = uint64(v)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(raw)
		default:
			t.Fatalf("field %d has wire type %d", number, kind)
		}
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		raw = raw[n:]
		f[number] = append(f[number], value)
	}
	return f
}

func (f fields) text(n protowire.Number) string {
	var all []string
	for _, v := range f[n] {
		all = append(all, string(v.([]byte)))
	}
	return strings.Join(all, " ")
}

func (f fields) messages(t *testing.T, n protowire.Number) (all []fields) {
	for _, v := range f[n] {
		all = append(all, parse(t, v.([]byte)))
	}
	return all
}

// describe is a node as text: "conv1: Conv(images conv1.weight) kernel_shape=3,3 strides=1,1".
func describe(t *testing.T, node fields) string {
	out := fmt.Sprintf("%s: %s(%s)", node.text(nodeOutput), node.text(nodeOp), node.text(nodeInput))
	for _, a := range node.messages(t, nodeAttribute) {
		var values []string
		for _, v := range append(a[attributeInt], a[attributeInts]...) {
			values = append(values, fmt.Sprint(v))
		}
		for _, v := range a[attributeFloat] {
			values = append(values, fmt.Sprint(math.Float32frombits(uint32(v.(uint64)))))
		}
		want := uint64(typeFloat)
		if len(a[attributeInt]) > 0 {
			want = typeInt
		} else if len(a[attributeInts]) > 0 {
			want = typeInts
		}
		if a[attributeType][0] != want {
			t.Errorf("%s: attribute %s has type %v, want %d", out, a.text(attributeName), a[attributeType], want)
		}
		out += " " + a.text(attributeName) + "=" + strings.Join(values, ",")
	}
	return out
}

// info is an input or output as text, with the number of its type: "images: 2 [N 3 8 8]".
func info(t *testing.T, value fields) string {
	typed := parse(t, value.messages(t, valueType)[0][typeTensor][0].([]byte))
	var axes []string
	for _, a := range typed.messages(t, tensorShape)[0].messages(t, shapeAxis) {
		if len(a[axisValue]) > 0 {
			axes = append(axes, fmt.Sprint(a[axisValue][0]))
		} else {
			axes = append(axes, a.text(axisName))
		}
	}
	return fmt.Sprintf("%s: %v %v", value.text(valueName), typed[tensorElement][0], axes)
}

// network has every kind of node that inference uses.
func network() *graph.Graph {
	g := graph.New()
	v := func(name string, shape ...int) *graph.Node { return g.Variable(name, tensor.Float32, shape...) }
	x := g.Conv(g.Input("images", tensor.Float32, 2, 8, 8, 3), v("conv1.weight", 4, 3, 3, 3), 2, 1)
	x = g.ReLU(g.Normalise(graph.BatchNorm{
		X: x, Mean: v("bn1.running_mean", 4), Variance: v("bn1.running_var", 4),
		Gamma: v("bn1.weight", 4), Beta: v("bn1.bias", 4), Epsilon: 1e-5,
	}))
	x = g.MaxPool(x, 3, 2, 1)
	x = g.AveragePool(g.ReLU(g.Add(x, g.Conv(x, v("conv2.weight", 4, 4, 1, 1), 1, 0))))
	g.Output("unread", g.ReLU(x))
	// A value that no output needs is not written.
	g.Outputs = nil
	x = g.BiasAdd(g.MatMul(x, v("fc.weight", 5, 4), false, true), v("fc.bias", 5))
	x = g.WeightedSum(graph.Term{Coefficient: 2.5, X: g.L2Normalise(x)})
	g.Output("features", x)
	return g
}

func weightsOf(g *graph.Graph) func(string) *tensor.Tensor {
	all := map[string]*tensor.Tensor{}
	for _, n := range g.Nodes {
		if n.Op == graph.Variable {
			all[n.Name] = tensor.New(tensor.Float32, n.Shape...)
			for i := range all[n.Name].Float32s() {
				all[n.Name].Float32s()[i] = float32(i + n.ID)
			}
		}
	}
	return func(name string) *tensor.Tensor { return all[name] }
}

// TestModel reads a model as a runtime does. scripts/interop/onnx.js runs the same kind of model.
func TestModel(t *testing.T) {
	g := network()
	o := Options{
		Weights:  weightsOf(g),
		Doc:      "what it is",
		Metadata: map[string]string{"b": "2", "a": "1"},
		Pixels:   &Pixels{Mean: [3]float32{0.5, 0.25, 0}, Std: [3]float32{1, 2, 4}},
	}
	var b, again bytes.Buffer
	if err := Write(&b, g, o); err != nil {
		t.Fatal(err)
	}
	if err := Write(&again, g, o); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("the same model is written as other bytes, %v", err)
	}
	m := parse(t, b.Bytes())
	if m[modelIRVersion][0] != uint64(8) || m.messages(t, modelOpset)[0][opsetVersion][0] != uint64(17) {
		t.Errorf("the model's versions are %v and %v", m[modelIRVersion], m.messages(t, modelOpset))
	}
	if m.text(modelProducer) != "moco" || m.text(modelDoc) != "what it is" {
		t.Errorf("the model is of %s, and is %s", m.text(modelProducer), m.text(modelDoc))
	}
	var pairs []string
	for _, p := range m.messages(t, modelMetadata) {
		pairs = append(pairs, p.text(pairKey)+"="+p.text(pairValue))
	}
	if fmt.Sprint(pairs) != "[a=1 b=2]" {
		t.Errorf("metadata %v", pairs)
	}
	in := m.messages(t, modelGraph)[0]
	if got := info(t, in.messages(t, graphInput)[0]); got != "images: 2 [N 3 8 8]" {
		t.Errorf("the input is %s", got)
	}
	if got := info(t, in.messages(t, graphOutput)[0]); got != "features: 1 [N 5]" {
		t.Errorf("the output is %s", got)
	}
	var nodes []string
	known := map[string]bool{"images": true}
	for _, i := range in.messages(t, graphInitialiser) {
		known[i.text(tensorName)] = true
		elements := uint64(1)
		for _, d := range i[tensorDims] {
			elements *= d.(uint64)
		}
		if raw := i[tensorRaw][0].([]byte); i[tensorType][0] != uint64(float) || uint64(len(raw)) != 4*elements {
			t.Errorf("%s: type %v, %v elements in %d bytes", i.text(tensorName), i[tensorType], i[tensorDims], len(raw))
		} else if w := o.Weights(i.text(tensorName)); w != nil && !bytes.Equal(raw, w.Bytes()) {
			t.Errorf("%s has other values", i.text(tensorName))
		}
	}
	for _, n := range in.messages(t, graphNode) {
		nodes = append(nodes, describe(t, n))
		for _, name := range strings.Fields(n.text(nodeInput)) {
			if !known[name] {
				t.Errorf("%s reads %s, which does not stand before it", nodes[len(nodes)-1], name)
			}
		}
		if name := n.text(nodeOutput); known[name] || name != n.text(nodeName) {
			t.Errorf("%s: its name is taken, or not that of its value, %s", nodes[len(nodes)-1], n.text(nodeName))
		} else {
			known[name] = true
		}
	}
	want := []string{
		"Cast: Cast(images) to=1",
		"Div: Div(Cast constant)",
		"Sub: Sub(Div mean)",
		"Div_2: Div(Sub std)",
		"conv1: Conv(Div_2 conv1.weight) kernel_shape=3,3 strides=2,2 pads=1,1,1,1",
		"bn1: BatchNormalization(conv1 bn1.weight bn1.bias bn1.running_mean bn1.running_var) epsilon=1e-05",
		"Relu: Relu(bn1)",
		"MaxPool: MaxPool(Relu) kernel_shape=3,3 strides=2,2 pads=1,1,1,1",
		"conv2: Conv(MaxPool conv2.weight) kernel_shape=1,1 strides=1,1 pads=0,0,0,0",
		"Add: Add(MaxPool conv2)",
		"Relu_2: Relu(Add)",
		"GlobalAveragePool: GlobalAveragePool(Relu_2)",
		"Flatten: Flatten(GlobalAveragePool) axis=1",
		"fc: Gemm(Flatten fc.weight fc.bias) transB=1",
		"ReduceL2: ReduceL2(fc) axes=1 keepdims=1",
		"Max: Max(ReduceL2 constant_2)",
		"Div_3: Div(fc Max)",
		"features: Mul(Div_3 constant_3)",
	}
	if strings.Join(nodes, "\n") != strings.Join(want, "\n") {
		t.Errorf("the nodes are\n%s\nwant\n%s", strings.Join(nodes, "\n"), strings.Join(want, "\n"))
	}

	b.Reset()
	o.Pixels = nil
	if err := Write(&b, g, o); err != nil {
		t.Fatal(err)
	}
	in = parse(t, b.Bytes()).messages(t, modelGraph)[0]
	if got := info(t, in.messages(t, graphInput)[0]); got != "images: 1 [N 3 8 8]" {
		t.Errorf("without pixels the input is %s", got)
	}
	if first := describe(t, in.messages(t, graphNode)[0]); !strings.HasPrefix(first, "conv1: Conv(images ") {
		t.Errorf("without pixels the first node is %s", first)
	}
}

// TestSums: terms with coefficients, three terms, and a matrix product without a bias or with one
// after it.
func TestSums(t *testing.T) {
	g := graph.New()
	x := g.Input("x", tensor.Float32, 2, 3)
	a := g.MatMul(x, g.Variable("a", tensor.Float32, 3, 3), false, false)
	sum := g.WeightedSum(
		graph.Term{Coefficient: 1, X: x}, graph.Term{Coefficient: -2, X: a}, graph.Term{Coefficient: 3, X: x})
	g.Output("y", g.BiasAdd(sum, g.Variable("b", tensor.Float32, 3)))
	var b bytes.Buffer
	if err := Write(&b, g, Options{Weights: weightsOf(g)}); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, n := range parse(t, b.Bytes()).messages(t, modelGraph)[0].messages(t, graphNode) {
		nodes = append(nodes, describe(t, n))
	}
	want := "[Gemm: Gemm(x a) Mul: Mul(Gemm constant) Mul_2: Mul(x constant_2)" +
		" Add: Add(x Mul) Add_2: Add(Add Mul_2) y: Add(Add_2 b)]"
	if fmt.Sprint(nodes) != want {
		t.Errorf("the nodes are %v, want %s", nodes, want)
	}
}

// TestRefused: a node that has no place in a model for inference is an error with its name, and
// nothing is written.
func TestRefused(t *testing.T) {
	image := func(g *graph.Graph) *graph.Node { return g.Input("x", tensor.Float32, 2, 4, 4, 3) }
	for want, build := range map[string]func(g *graph.Graph) *graph.Node{
		"RowSum": func(g *graph.Graph) *graph.Node { return g.RowSum(g.Input("x", tensor.Float32, 2, 3)) },
		"there is no float32 tensor": func(g *graph.Graph) *graph.Node {
			return g.Conv(image(g), g.Variable("absent", tensor.Float32, 4, 3, 3, 3), 1, 1)
		},
		"cannot be an input": func(g *graph.Graph) *graph.Node { return g.ReLU(g.Input("x", tensor.Float32, 2, 3)) },
		"only running statistics": func(g *graph.Graph) *graph.Node {
			x := image(g)
			v := g.Variable("v", tensor.Float32, 3)
			mean, variance := g.BatchMean(x, 1), g.BatchVariance(x, 1)
			return g.Normalise(graph.BatchNorm{X: x, Mean: mean, Variance: variance, Gamma: v, Beta: v, Epsilon: 1e-5})
		},
		"a factor that is computed": func(g *graph.Graph) *graph.Node {
			x := image(g)
			return g.WeightedSum(graph.Term{Coefficient: 1, Scalar: g.Fill(2), X: x})
		},
		// graph.Check finds this one.
		"takes 5 operands": func(g *graph.Graph) *graph.Node {
			x := image(g)
			v := g.Variable("v", tensor.Float32, 3)
			y := *g.Normalise(graph.BatchNorm{X: x, Mean: v, Variance: v, Gamma: v, Beta: v, Epsilon: 1})
			y.In, y.ID = y.In[:4], y.ID+1
			g.Nodes = append(g.Nodes, &y)
			return &y
		},
	} {
		g := graph.New()
		g.Output("y", build(g))
		var b bytes.Buffer
		absent := func(name string) *tensor.Tensor {
			if name == "absent" {
				return nil
			}
			return tensor.New(tensor.Float32, 3)
		}
		err := Write(&b, g, Options{Weights: absent, Pixels: &Pixels{Std: [3]float32{1, 1, 1}}})
		if err == nil || !strings.Contains(err.Error(), want) || b.Len() > 0 {
			t.Errorf("want %q and nothing written: %v, %d bytes", want, err, b.Len())
		}
	}
	g := graph.New()
	sum := g.RowSum(g.Input("x", tensor.Float32, 2, 3))
	g.Output("y", sum)
	var unsupported *UnsupportedError
	if err := Write(&bytes.Buffer{}, g, Options{}); !errors.As(err, &unsupported) || unsupported.Node != sum {
		t.Errorf("a kind without a rule gives %v", err)
	}
	g = network()
	g.Output("again", g.Outputs[0].Node)
	err := Write(&bytes.Buffer{}, g, Options{Weights: weightsOf(g)})
	if err == nil || !strings.Contains(err.Error(), "one value") {
		t.Errorf("two names of one output give %v", err)
	}
	g = network()
	if err := Write(full{}, g, Options{Weights: weightsOf(g)}); !errors.Is(err, errFull) {
		t.Errorf("a full disk gives %v", err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
