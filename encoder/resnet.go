package encoder

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"moco"
	"moco/nn"
	"moco/tensor"
)

// stage splits a block's name.
var stage = regexp.MustCompile(`^layer([1-4])\.(\d{1,3})\.conv1\.weight$`)

// resnetInside are the beginnings of the names of a ResNet below its head.
var resnetInside = []string{"conv1.", "bn1.", "layer"}

// resnetName gives torchvision's name of a tensor. lightly's own ResNets have other names for two
// parts.
func resnetName(name string) string {
	if last, ok := strings.CutPrefix(name, "linear."); ok {
		return "fc." + last
	}
	return strings.Replace(name, ".shortcut.", ".downsample.", 1)
}

// sequential is the family of ResNets in an nn.Sequential, as lightly makes them: names are indices,
// and first is the index of the first stage.
func sequential(first int) *family {
	return &family{
		stem: "0.weight", beside: fmt.Sprintf("%d.0.conv1.weight", first),
		rename: func(name string) string { return resnetName(placeName(name, first)) },
		inside: resnetInside, deduce: deduceResNet(first), origins: sequentialOrigins,
	}
}

// placeName gives the name of a tensor of an nn.Sequential.
func placeName(name string, first int) string {
	place, inner, ok := strings.Cut(name, ".")
	n, err := strconv.Atoi(place)
	switch {
	case !ok || err != nil:
		return name
	case n == 0:
		return "conv1." + inner
	case n == 1:
		return "bn1." + inner
	case n >= first && n < first+4:
		return fmt.Sprintf("layer%d.%s", n-first+1, inner)
	}
	return name
}

// deduceResNet finds the configuration from the shapes of tensors under torchvision's names, with
// notes on what the shapes cannot tell. first is the index of the first stage in an nn.Sequential, or
// 0.
func deduceResNet(first int) func(*foreign, origin, ImportOptions) (deduced, error) {
	return func(t *foreign, _ origin, o ImportOptions) (deduced, error) {
		c, notes, err := deduceStem(t.tensor, first)
		if err != nil {
			return deduced{}, err
		}
		if c.Arch, err = archOf(t.tensor); err != nil {
			return deduced{}, err
		}
		// A ResNet has none of these. The check of the configuration says so.
		c.Heads, c.NormEpsilon, c.Tokens = o.Heads, o.Epsilon, o.Tokens
		note, err := t.head(&c)
		v := moco.Views{Policy: cmp.Or(o.Policy, "v1"), Size: cmp.Or(o.Size, 224), Normalise: o.Normalise, Resize: o.Resize}
		if c.Stem == "cifar" {
			v.Policy, v.Size = cmp.Or(o.Policy, "cifar"), cmp.Or(o.Size, 32)
		}
		return deduced{encoder: c, views: v, notes: append(notes, note...)}, err
	}
}

// deduceStem finds the stem and the width.
func deduceStem(t map[string]*tensor.Tensor, first int) (nn.Config, []string, error) {
	stem := t["conv1.weight"].Shape
	c := nn.Config{Width: float64(stem[0]) / 64, Head: "none"}
	var notes []string
	switch {
	case first == 2:
		return c, nil, errors.New("an nn.Sequential with the first stage in place 2 has lost the ReLU after bn1 " +
			"(lightly's ResNetGenerator taken apart), which no encoder of moco's computes")
	case stem[2] == 7 && stem[3] == 7 && first != 3:
		c.Stem = "imagenet"
	case stem[2] == 3 && stem[3] == 3:
		c.Stem = "cifar"
		notes = append(notes, "a 3x3 stem is taken for stride 1, padding 1 and no pooling after it, "+
			"which the weights cannot tell (solo-learn's for CIFAR pads by 2 and will differ, and so will moco's strided stem)")
	default:
		return c, nil, fmt.Errorf("its stem of shape %v, with the first stage in place %d, "+
			"is neither ImageNet's (7x7 and max pooling) nor CIFAR's (3x3)", stem, first)
	}
	return c, notes, nil
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
	for _, a := range nn.ResNets() {
		if l, b := nn.Blocks(a); b == bottleneck && slices.Equal(l, blocks) {
			arch = a
		}
	}
	if arch == "" {
		return "", fmt.Errorf("stages of %v blocks (bottlenecks: %v) are those of no ResNet that moco has: %s",
			blocks, bottleneck, strings.Join(nn.ResNets(), ", "))
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
