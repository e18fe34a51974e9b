package exchange

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"

	"moco/encoder"
	"moco/graph"
	"moco/nn"
	"moco/onnx"
	"moco/tensor"
)

// Output names what an ONNX model gives for an image.
type Output string

// The outputs: rows of length one, as moco embed writes them, or a classifier's logits.
const (
	Head     Output = "head"
	Backbone Output = "backbone"
	Logits   Output = "logits"
)

// ONNXOptions choose the input and output of an ONNX model.
type ONNXOptions struct {
	// Floats makes the input float32 [N,3,S,S], normalised already by torchvision's ToTensor and
	// Normalize. Without it, the input is uint8 [N,3,S,S], red, green and blue from 0 to 255, and
	// the model normalises.
	Floats bool
	Output Output
	// Probe, for Logits, is a linear classifier on features. Nil: the encoder's own head is the
	// classifier.
	Probe *encoder.Probe
}

// check returns an error if the options do not fit the encoder.
func (o ONNXOptions) check(t *encoder.Encoder) error {
	c := t.Recipe.Encoder
	switch {
	case o.Output != Head && o.Output != Backbone && o.Output != Logits:
		return fmt.Errorf("output %q is not known; there are head, backbone and logits", o.Output)
	case o.Probe != nil && o.Output != Logits:
		return fmt.Errorf("a probe makes logits, not %s", o.Output)
	case o.Output == Logits && o.Probe == nil && c.Head != "linear":
		return &HeadError{Head: c.Head}
	case o.Probe == nil:
		return nil
	}
	return o.Probe.Check(t)
}

// writeONNX builds the graph of inference from pixels to the output and writes it.
func writeONNX(w io.Writer, t *encoder.Encoder, o ONNXOptions) (tensors int, err error) {
	r := t.Recipe
	tensorOf := map[string]*tensor.Tensor{}
	for _, n := range t.Weights.Tensors {
		tensorOf[n.Name] = n.Tensor
	}
	g := graph.New()
	// No splits: batch norm uses its running statistics.
	e := nn.Encoder{Config: r.Encoder, Values: map[string]*graph.Node{}}
	for _, p := range r.Encoder.Parameters() {
		e.Values[p.Name] = g.Variable(p.Name, tensor.Float32, p.Shape...)
	}
	for _, b := range r.Encoder.Buffers() {
		e.Values[b.Name] = g.Variable(b.Name, tensor.Float32, b.Channels)
	}
	head, backbone := e.Encode(g, g.Input("images", tensor.Float32, 1, r.Views.Size, r.Views.Size, 3))

	meta := maps.Clone(t.Weights.Metadata)
	delete(meta, "format") // the format of the weights' file
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
		x := g.WeightedSum(graph.Term{Coefficient: float64(p.Scale), X: g.L2Normalise(features[Output(p.Features)])})
		product := g.MatMul(x, g.Variable("probe.weight", tensor.Float32, p.Weight.Shape...), false, true)
		g.Output("logits", g.BiasAdd(product, g.Variable("probe.bias", tensor.Float32, p.Bias.Shape...)))
		names, _ := json.Marshal(p.Classes) // text never fails
		meta["classes"], meta["features"] = string(names), string(p.Features)
		gives = fmt.Sprintf("logits: those of a linear classifier on the %s's features, "+
			"a number for each class in the order of the metadata's classes", p.Features)
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
	options.Doc = fmt.Sprintf("%s that moco has trained. images: "+takes+". %s.",
		r.Encoder.Describe(), r.Views.Size, r.Views.Size, gives)
	read := map[string]bool{}
	count := options.Weights
	options.Weights = func(name string) *tensor.Tensor { read[name] = true; return count(name) }
	err = onnx.Write(w, g, options)
	return len(read), err
}
