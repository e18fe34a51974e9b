package encoder

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"moco/nn"
	"moco/tensor"
)

// stage splits a block's name.
var stage = regexp.MustCompile(`^layer([1-4])\.(\d{1,3})\.conv1\.weight$`)

// deduce finds the configuration from the shapes of tensors under torchvision's names, with notes
// on what the shapes cannot tell. first is place.first.
func deduce(t map[string]*tensor.Tensor, first int) (nn.Config, []string, error) {
	stem := t["conv1.weight"].Shape
	c := nn.Config{Width: float64(stem[0]) / 64, Head: "none"}
	notes := []string{}
	switch {
	case first == 2:
		return c, nil, errors.New("an nn.Sequential with the first stage in place 2 has lost the ReLU after bn1 " +
			"(lightly's ResNetGenerator taken apart), which no encoder of moco's computes")
	case stem[2] == 7 && stem[3] == 7 && first != 3:
		c.Stem = "imagenet"
	case stem[2] == 3 && stem[3] == 3:
		c.Stem = "cifar"
		notes = append(notes, "a 3x3 stem is taken for stride 1, padding 1 and no pooling after it, "+
			"which the weights cannot tell (solo-learn's for CIFAR pads by 2 and will differ)")
	default:
		return c, nil, fmt.Errorf("its stem of shape %v, with the first stage in place %d, "+
			"is neither ImageNet's (7x7 and max pooling) nor CIFAR's (3x3)", stem, first)
	}
	var err error
	if c.Arch, err = archOf(t); err != nil {
		return c, nil, err
	}
	note, err := deduceHead(t, &c)
	if note != "" {
		notes = append(notes, note)
	}
	return c, notes, err
}

// archOf finds the architecture with the same blocks as t.
func archOf(t map[string]*tensor.Tensor) (string, error) {
	blocks := make([]int, 4)
	for name := range t {
		if m := stage.FindStringSubmatch(name); m != nil {
			blocks[m[1][0]-'1']++
		}
	}
	bottleneck := t["layer1.0.conv3.weight"] != nil
	arch := ""
	for _, a := range []string{"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"} {
		if l, b := nn.Blocks(a); b == bottleneck && slices.Equal(l, blocks) {
			arch = a
		}
	}
	if arch == "" {
		return "", fmt.Errorf("stages of %v blocks (bottlenecks: %v) are those of no ResNet that moco has: "+
			"resnet18, 34, 50, 101, 152", blocks, bottleneck)
	}
	stem, first, second := t["conv1.weight"].Shape, t["layer1.0.conv1.weight"].Shape, t["layer1.0.conv2.weight"]
	if bottleneck && second != nil && len(first) == 4 && len(second.Shape) == 4 {
		if first[0] != stem[0] || second.Shape[1] != first[0] {
			return "", fmt.Errorf("the first bottleneck has inner shapes %v and %v behind a stem of %d channels: "+
				"a wide ResNet or a ResNeXt, which moco does not have", first, second.Shape, stem[0])
		}
	}
	return arch, nil
}

// deduceHead sets the head and the dimension of its features. If it leaves the head out, it returns
// a note.
func deduceHead(t map[string]*tensor.Tensor, c *nn.Config) (note string, err error) {
	head, last := headOf(t), ""
	switch head {
	case "":
	case "bias weight":
		c.Head, last = "linear", "fc.weight"
	case "0.bias 0.weight 2.bias 2.weight":
		c.Head, last = "mlp", "fc.2.weight"
	default:
		note = fmt.Sprintf("its head (fc: %s) is neither one linear layer nor two, and is left out", head)
	}
	if last == "" {
		c.Dim = c.FeatureDim()
		return note, nil
	}
	if len(t[last].Shape) != 2 {
		return "", fmt.Errorf("%s has shape %v, where a head has two axes", last, t[last].Shape)
	}
	c.Dim = t[last].Shape[0]
	return "", nil
}

// headOf lists the tensors below fc.
func headOf(t map[string]*tensor.Tensor) string {
	var names []string
	for name := range t {
		if last, ok := strings.CutPrefix(name, "fc."); ok {
			names = append(names, last)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
