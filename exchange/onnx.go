package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strconv"
	"strings"

	"moco"
	"moco/graph"
	"moco/nn"
	"moco/onnx"
	"moco/tensor"
	"moco/weights"
)

// Output names what an ONNX model gives for an image.
type Output string

// The outputs: rows of length one, as moco embed writes them; or the numbers that a classifier takes the largest of.
const (
	Head     Output = "head"
	Backbone Output = "backbone"
	Logits   Output = "logits"
)

// ONNXOptions choose what an ONNX model takes and gives.
type ONNXOptions struct {
	// Floats makes the input float32 [N,3,S,S] that is normalised already, as torchvision's ToTensor and Normalize do it. Without it, the input is
	// uint8 [N,3,S,S], red, green and blue from 0 to 255, and the model normalises.
	Floats bool
	Output Output
	Probe  *Probe // for Logits: a linear classifier on features; nil: the encoder's own head is the classifier
}

// Probe is a linear classifier on frozen features x of length one: logits = Weight*(Scale*x) + Bias.
type Probe struct {
	Weight, Bias *tensor.Tensor // [classes, dim], [classes]
	Scale        float64
	Features     moco.Layer // that it was trained on
	Classes      []string
	Encoder      string // SHA-256 of the encoder's file
}

// LoadProbe reads the file that `moco eval linear --save` writes.
func LoadProbe(path string) (*Probe, error) {
	f, _, err := weights.Load(path)
	if err != nil {
		return nil, fmt.Errorf("open the probe: %w", err)
	}
	p, err := probeOf(f)
	if err != nil {
		return nil, fmt.Errorf("open the probe %s: %w", path, err)
	}
	return p, nil
}

func probeOf(f *weights.File) (*Probe, error) {
	m := f.Metadata
	if m["kind"] != "linear probe" {
		return nil, errors.New("it is no linear probe; `moco eval linear --save` writes one")
	}
	p := &Probe{Weight: f.Get("weight"), Bias: f.Get("bias"), Features: moco.Layer(m["features"]), Encoder: m["encoder"]}
	var err error
	if p.Scale, err = strconv.ParseFloat(m["scale"], 64); err != nil || !(math.Abs(p.Scale) <= math.MaxFloat32) {
		return nil, fmt.Errorf("its scale %q is no number", m["scale"])
	}
	if err := json.Unmarshal([]byte(m["classes"]), &p.Classes); err != nil {
		return nil, fmt.Errorf("its list of classes: %w", err)
	}
	if p.Features != moco.Head && p.Features != moco.Backbone {
		return nil, fmt.Errorf("its features are %q; there are head and backbone", p.Features)
	}
	for _, t := range []*tensor.Tensor{p.Weight, p.Bias} {
		if t == nil || t.Type != tensor.Float32 {
			return nil, errors.New("it lacks the float32 tensors weight and bias")
		}
	}
	if n := len(p.Classes); n == 0 || len(p.Weight.Shape) != 2 || p.Weight.Shape[0] != n || !p.Bias.Shape.Equal(tensor.Shape{n}) {
		return nil, fmt.Errorf("weight is %v and bias %v, which do not fit %d classes", p.Weight.Shape, p.Bias.Shape, n)
	}
	return p, nil
}

// check says what cannot be written of an encoder.
func (o ONNXOptions) check(t *moco.Trained) error {
	c := t.Recipe.Encoder
	switch {
	case o.Output != Head && o.Output != Backbone && o.Output != Logits:
		return fmt.Errorf("output %q is not known; there are head, backbone and logits", o.Output)
	case o.Probe != nil && o.Output != Logits:
		return fmt.Errorf("a probe makes logits, not %s", o.Output)
	case o.Output == Logits && o.Probe == nil && c.Head != "linear":
		return fmt.Errorf("this encoder's head (%s) is no classifier; give the linear probe that `moco eval linear --save` writes", c.Head)
	case o.Probe == nil:
		return nil
	case o.Probe.Encoder != t.SHA256:
		return fmt.Errorf("the probe belongs to another encoder: that has the SHA-256 %s, this one %s; train one with `moco eval linear --save` on this encoder", o.Probe.Encoder, t.SHA256)
	}
	want := c.FeatureDim()
	if o.Probe.Features == moco.Head {
		want = c.Dim
	}
	if dim := o.Probe.Weight.Shape[1]; dim != want {
		return fmt.Errorf("the probe takes features of %d numbers, and this encoder's %s gives %d", dim, o.Probe.Features, want)
	}
	return nil
}

// writeONNX builds the graph of inference from pixels to the output and writes it.
func writeONNX(w io.Writer, t *moco.Trained, o ONNXOptions) (tensors int, err error) {
	r := t.Recipe
	tensorOf := map[string]*tensor.Tensor{}
	for _, n := range t.File.Tensors {
		tensorOf[n.Name] = n.Tensor
	}
	g := graph.New()
	e := nn.Encoder{Config: r.Encoder, Values: map[string]*graph.Node{}} // no splits: running statistics
	for _, p := range r.Encoder.Parameters() {
		e.Values[p.Name] = g.Variable(p.Name, tensor.Float32, p.Shape...)
	}
	for _, b := range r.Encoder.Buffers() {
		e.Values[b.Name] = g.Variable(b.Name, tensor.Float32, b.Channels)
	}
	head, backbone := e.Encode(g, g.Input("images", tensor.Float32, 1, r.Views.Size, r.Views.Size, 3))

	meta := maps.Clone(t.File.Metadata)
	delete(meta, "format") // of the weights
	meta["encoder"], meta["output"], meta["input"] = t.SHA256, string(o.Output), "uint8"
	gives := fmt.Sprintf("features: the %s's, a row of length one for each image", o.Output)
	features := map[Output]*graph.Node{Head: head, Backbone: backbone}
	switch {
	case o.Output != Logits:
		g.Output("features", g.L2Normalise(features[o.Output]))
	case o.Probe == nil:
		g.Output("logits", head)
		gives = "logits: what the encoder's linear head gives, a number for each class"
	default:
		p := o.Probe
		tensorOf["probe.weight"], tensorOf["probe.bias"] = p.Weight, p.Bias
		x := g.WeightedSum(graph.Term{Coefficient: p.Scale, X: g.L2Normalise(features[Output(p.Features)])})
		product := g.MatMul(x, g.Variable("probe.weight", tensor.Float32, p.Weight.Shape...), false, true)
		g.Output("logits", g.BiasAdd(product, g.Variable("probe.bias", tensor.Float32, p.Bias.Shape...)))
		names, _ := json.Marshal(p.Classes) // text always can be
		meta["classes"], meta["features"] = string(names), string(p.Features)
		gives = fmt.Sprintf("logits: those of a linear classifier on the %s's features, a number for each class in the order of the metadata's classes", p.Features)
	}
	options := onnx.Options{Metadata: meta, Weights: func(name string) *tensor.Tensor { return tensorOf[name] }}
	takes := "uint8 [N,3,%d,%d], red, green and blue from 0 to 255"
	if o.Floats {
		meta["input"] = "float"
		takes = "float32 [N,3,%d,%d], red, green and blue from 0 to 1, less the metadata's mean, divided by its std"
	} else {
		p, err := r.Views.Drawn()
		if err != nil {
			return 0, err
		}
		options.Pixels = &onnx.Pixels{Mean: p.Mean, Std: p.Std}
	}
	options.Doc = fmt.Sprintf("%s that moco has trained. images: "+takes+". %s.", strings.Replace(r.Encoder.Arch, "resnet", "ResNet-", 1), r.Views.Size, r.Views.Size, gives)
	read := map[string]bool{}
	count := options.Weights
	options.Weights = func(name string) *tensor.Tensor { read[name] = true; return count(name) }
	err = onnx.Write(w, g, options)
	return len(read), err
}
