package encoder

import (
	"fmt"
	"slices"
	"strings"

	"moco/nn"
)

// foreignHead is a kind of head as files have it: its tensors below fc without counters, and the
// weights of its first and last layers.
type foreignHead struct {
	tensors     string
	kind        string
	layers      int // of mlp_bn
	first, last string
}

var foreignHeads = []foreignHead{
	{tensors: "bias weight", kind: "linear", first: "fc.weight", last: "fc.weight"},
	{tensors: "0.bias 0.weight 2.bias 2.weight", kind: "mlp", first: "fc.0.weight", last: "fc.2.weight"},
	{
		tensors: "0.weight 1.bias 1.running_mean 1.running_var 1.weight 3.weight 4.running_mean 4.running_var",
		kind:    "mlp_bn", layers: 2, first: "fc.0.weight", last: "fc.3.weight",
	},
	{
		tensors: "0.weight 1.bias 1.running_mean 1.running_var 1.weight 3.weight " +
			"4.bias 4.running_mean 4.running_var 4.weight 6.weight 7.running_mean 7.running_var",
		kind: "mlp_bn", layers: 3, first: "fc.0.weight", last: "fc.6.weight",
	},
}

// head sets the head and the dimension of its features. If it leaves a head out, it returns a note.
func (t *foreign) head(c *nn.Config) (notes []string, err error) {
	names := t.headNames()
	i := slices.IndexFunc(foreignHeads, func(h foreignHead) bool { return h.tensors == names })
	if i < 0 {
		c.Head, c.Dim = "none", c.FeatureDim()
		if names != "" {
			notes = append(notes, fmt.Sprintf("its head (fc: %s) is none that moco has, and is left out", names))
		}
		return notes, nil
	}
	h := foreignHeads[i]
	c.Head, c.HeadLayers = h.kind, h.layers
	for _, name := range []string{h.first, h.last} {
		shape := t.tensor[name].Shape
		if len(shape) != 2 {
			return nil, fmt.Errorf("%s has shape %v, where a head has two axes", t.from[name][0], shape)
		}
		if c.Dim = shape[0]; h.layers > 0 && name == h.first {
			c.Hidden = shape[0]
		}
	}
	return nil, nil
}

// headNames lists the tensors below fc.
func (t *foreign) headNames() string {
	var names []string
	for name := range t.tensor {
		if last, ok := strings.CutPrefix(name, "fc."); ok && !strings.HasSuffix(last, "num_batches_tracked") {
			names = append(names, last)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
