package encoder

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"moco/tensor"
	"moco/weights"
)

// place is a ResNet's place in a file.
type place struct {
	// prefix is the part of a tensor's name before the network's own names.
	prefix string
	// first is 0 where the names are torchvision's. In an nn.Sequential, names are indices, and
	// first is the index of the first stage.
	first int
	// colours is the number of the stem's input channels.
	colours int
}

// ChoiceError is the error of a file that holds encoders, but not exactly one as asked for.
type ChoiceError struct {
	Asked    string   // what was asked for, such as "encoder of the key side"
	Prefixes []string // the prefix of each encoder's names
	Several  bool     // several fit; else none does
}

// Error names the prefixes.
func (e *ChoiceError) Error() string {
	var quoted []string
	for _, p := range e.Prefixes {
		quoted = append(quoted, strconv.Quote(p))
	}
	if e.Several {
		return fmt.Sprintf("there are several encoders, after %s", strings.Join(quoted, ", "))
	}
	return fmt.Sprintf("no %s is found, but there is one after %s", e.Asked, strings.Join(quoted, ", "))
}

// find finds the one encoder that the options mean.
func find(f *weights.File, o ImportOptions) (place, error) {
	var all []place
	gray := place{}
	for _, p := range places(f) {
		if p.colours == 3 {
			all = append(all, p)
		} else {
			gray = p
		}
	}
	switch {
	case len(all) > 0:
		return choose(all, o)
	case gray.colours > 0:
		return place{}, gray.colourError()
	case f.Module != nil:
		return place{}, f.Module
	}
	return place{}, fmt.Errorf("no ResNet is found among its %d tensors (such as %s): "+
		"none is named conv1.weight or 0.weight beside layer1 or 4, after any prefix", len(f.Tensors), sample(f))
}

// places finds all ResNets by their stem and first block.
func places(f *weights.File) []place {
	names := map[string]bool{}
	for _, n := range f.Tensors {
		names[n.Name] = true
	}
	var all []place
	for _, n := range f.Tensors {
		s := n.Tensor.Shape
		if len(s) != 4 {
			continue
		}
		if prefix, ok := cutName(n.Name, "conv1.weight"); ok && names[prefix+"layer1.0.conv1.weight"] {
			all = append(all, place{prefix, 0, s[1]})
		}
		if prefix, ok := cutName(n.Name, "0.weight"); ok && names[prefix+"1.running_mean"] {
			for _, first := range []int{2, 3, 4} {
				if names[fmt.Sprintf("%s%d.0.conv1.weight", prefix, first)] {
					all = append(all, place{prefix, first, s[1]})
					break
				}
			}
		}
	}
	return all
}

// choose picks the one place that the options ask for.
func choose(all []place, o ImportOptions) (place, error) {
	var fit []place
	e := &ChoiceError{Asked: fmt.Sprintf("encoder of the %s side", cmp.Or(o.Side, "query"))}
	for _, p := range all {
		e.Prefixes = append(e.Prefixes, p.prefix)
		if o.Strip == "" && p.side() == cmp.Or(o.Side, "query") {
			fit = append(fit, p)
		}
	}
	if o.Strip != "" {
		e.Asked = fmt.Sprintf("ResNet after %q", o.Strip)
		strip := strings.TrimSuffix(o.Strip, ".")
		if strip != "" {
			strip += "."
		}
		for _, p := range all {
			// An exact match wins over prefixes that only end in strip.
			if p.prefix == strip {
				return p, nil
			}
			if strip != "" && strings.HasSuffix(p.prefix, "."+strip) {
				fit = append(fit, p)
			}
		}
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	e.Several = len(fit) > 1
	return place{}, e
}

// colourError explains why a ResNet without three input colours is refused.
func (p place) colourError() error {
	if p.colours == 1 {
		return fmt.Errorf("the ResNet after %q has a stem of one channel, for gray pictures, "+
			"and an encoder here sees red, green and blue; in PyTorch, "+
			"weight.repeat(1, 3, 1, 1) / 3 makes a stem of it that sees gray pictures as before", p.prefix)
	}
	return fmt.Errorf("the ResNet after %q has a stem of %d channels, and an encoder here sees three: red, green and blue",
		p.prefix, p.colours)
}

// tensors are the ResNet's tensors by torchvision's names.
func (p place) tensors(f *weights.File) (*foreign, error) {
	t := &foreign{map[string]*tensor.Tensor{}, map[string]string{}}
	for _, n := range f.Tensors {
		if rest, ok := strings.CutPrefix(n.Name, p.prefix); ok {
			name := p.translate(rest)
			if t.tensor[name] != nil {
				return nil, fmt.Errorf("%s and %s are both %s", t.name[name], n.Name, name)
			}
			t.tensor[name], t.name[name] = n.Tensor, n.Name
		}
	}
	return t, nil
}

// cutName cuts a name off the end of a longer one. A dot must separate the two.
func cutName(name, end string) (prefix string, ok bool) {
	prefix, ok = strings.CutSuffix(name, end)
	return prefix, ok && (prefix == "" || strings.HasSuffix(prefix, "."))
}

// sample is a few of a file's names.
func sample(f *weights.File) string {
	var names []string
	for _, n := range f.Tensors[:min(3, len(f.Tensors))] {
		names = append(names, n.Name)
	}
	return strings.Join(names, ", ")
}

// keySide matches names of the momentum encoder: MoCo's encoder_k, lightly's backbone_momentum,
// solo-learn's momentum_backbone, and others' ema, teacher, target.
var keySide = regexp.MustCompile(`(^|[._])(k|key|momentum|ema|teacher|target)([._]|$)`)

func (p place) side() string {
	if keySide.MatchString(p.prefix) {
		return "key"
	}
	return "query"
}

// kind is the origin of the names.
func (p place) kind(f *weights.File) string {
	under := func(part string) bool { return strings.Contains("."+p.prefix, "."+part+".") }
	has := func(part string) bool {
		return slices.ContainsFunc(f.Tensors, func(n weights.Named) bool { return strings.Contains("."+n.Name, "."+part+".") })
	}
	switch {
	case under("encoder_q") || under("encoder_k"):
		return "MoCo"
	case p.first > 0:
		return "lightly"
	case under("backbone") && has("projection_head"), under("backbone_momentum"):
		return "lightly"
	case under("momentum_backbone") || under("momentum_encoder"):
		return "solo-learn"
	case (under("backbone") || under("encoder")) && (has("classifier") || has("projector")):
		return "solo-learn"
	}
	return "torchvision"
}

// translate gives the torchvision name of the part after the prefix.
func (p place) translate(rest string) string {
	if p.first > 0 {
		place, inner, ok := strings.Cut(rest, ".")
		n, err := strconv.Atoi(place)
		switch {
		case !ok || err != nil:
			return rest
		case n == 0:
			rest = "conv1." + inner
		case n == 1:
			rest = "bn1." + inner
		case n >= p.first && n < p.first+4:
			rest = fmt.Sprintf("layer%d.%s", n-p.first+1, inner)
		default:
			return rest
		}
	}
	// lightly's own ResNets have other names for two parts.
	if last, ok := strings.CutPrefix(rest, "linear."); ok {
		return "fc." + last
	}
	return strings.Replace(rest, ".shortcut.", ".downsample.", 1)
}
