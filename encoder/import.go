package encoder

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"moco"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// ImportOptions say how foreign weights are understood; the zero value is what Open takes.
type ImportOptions struct {
	Side   string // of a pair with a momentum encoder: query or key; empty: query
	Strip  string // what stands before conv1.weight (or, in an nn.Sequential, 0.weight); empty: it is found. It decides over Side
	Policy string // of the views; empty: v1 with ImageNet's stem, cifar with CIFAR's
	Size   int    // of the views, pixels a side; 0: 224 with ImageNet's stem, 32 with CIFAR's
}

// ImportReport says what was made of foreign weights. Every tensor of the file is in Used or in LeftOut.
type ImportReport struct {
	Kind    string     `json:"kind"` // whose names these are: MoCo, lightly, solo-learn, or torchvision
	Prefix  string     `json:"prefix"`
	Side    string     `json:"side"` // query or key
	Encoder nn.Config  `json:"encoder"`
	Views   moco.Views `json:"views"`
	Used    []string   `json:"used"`     // under their foreign names, in the order of the file
	LeftOut []string   `json:"left_out"` // likewise
	Notes   []string   `json:"notes"`    // what the weights alone cannot tell, and what was taken instead
}

// String is the report in one sentence.
func (r *ImportReport) String() string {
	head := r.Encoder.Head + " head"
	if r.Encoder.Head == "none" {
		head = "no head"
	}
	return fmt.Sprintf("%s, %s side (%q): %s of width %v, %s stem, %s, %d features; %d tensors used, %d left out", r.Kind, r.Side, r.Prefix, r.Encoder.Arch,
		r.Encoder.Width, r.Encoder.Stem, head, r.Encoder.Dim, len(r.Used), len(r.LeftOut))
}

// Foreign is true of weights that moco has not written: they do not say how it builds their encoder.
func Foreign(f *weights.File) bool {
	for _, key := range []string{"stem", "width", "policy", "recipe"} {
		if _, ok := f.Metadata[key]; ok {
			return false
		}
	}
	return true
}

// Import finds a ResNet in foreign weights and returns it as Export would write it: torchvision's names, and the metadata that OpenWith needs. It
// knows a ResNet by its stem and first block, so what stands before these names (module.encoder_q., backbone., nothing) need not be known; and it deduces
// architecture, width, stem and head from shapes. Tensors of the encoder that are missing, have another shape or should not be there are an error; what
// belongs to no encoder (queue, projectors, optimizer, the other side) is listed in the report.
func Import(f *weights.File, o ImportOptions) (*weights.File, *ImportReport, error) {
	if f.Metadata["recipe"] != "" {
		return nil, nil, fmt.Errorf("import: the file is a checkpoint of a moco run; give the run's folder, or its %s", File)
	}
	if !Foreign(f) {
		return nil, nil, errors.New("import: the file is an encoder of moco's own; it needs no import")
	}
	if o.Side != "" && o.Side != "query" && o.Side != "key" {
		return nil, nil, fmt.Errorf("import: the side %q is not known; there are query and key", o.Side)
	}
	found, err := candidate(f, o)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	report := &ImportReport{Kind: found.kind(f), Prefix: found.prefix, Side: found.side(), Used: []string{}, LeftOut: []string{}} // no null in JSON
	// by torchvision's names
	encoder := map[string]*tensor.Tensor{}
	foreignName := map[string]string{}
	for _, n := range f.Tensors {
		if rest, ok := strings.CutPrefix(n.Name, found.prefix); ok {
			name := found.translate(rest)
			if encoder[name] != nil {
				return nil, nil, fmt.Errorf("import: %s and %s are both %s", foreignName[name], n.Name, name)
			}
			encoder[name], foreignName[name] = n.Tensor, n.Name
		}
	}
	r := moco.Default()
	if r.Encoder, report.Notes, err = deduce(encoder, found.first); err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	r.Views = moco.Views{Policy: cmp.Or(o.Policy, "v1"), Size: cmp.Or(o.Size, 224)}
	if r.Encoder.Stem == "cifar" {
		r.Views = moco.Views{Policy: cmp.Or(o.Policy, "cifar"), Size: cmp.Or(o.Size, 32)}
	}
	if err := r.Check(); err != nil {
		return nil, nil, fmt.Errorf("import: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	report.Encoder, report.Views = r.Encoder, r.Views
	out, err := take(encoder, foreignName, r.Encoder)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	used := map[string]bool{}
	for _, n := range out.Tensors {
		used[foreignName[n.Name]] = true
	}
	for _, n := range f.Tensors {
		if used[n.Name] {
			report.Used = append(report.Used, n.Name)
		} else {
			report.LeftOut = append(report.LeftOut, n.Name)
		}
	}
	out.Metadata = Metadata(&r)
	out.Metadata["imported"] = fmt.Sprintf("%s, %s side, %q", report.Kind, report.Side, report.Prefix)
	return out, report, nil
}

// place is a ResNet's place in a file: what stands before its names, and whether these are torchvision's (first is 0) or the places of an nn.Sequential,
// in which the first stage is number first.
type place struct {
	prefix string
	first  int
}

// candidate finds the one encoder that is meant.
func candidate(f *weights.File, o ImportOptions) (place, error) {
	names := map[string]bool{}
	for _, n := range f.Tensors {
		names[n.Name] = true
	}
	var all, side []place
	for _, n := range f.Tensors {
		if s := n.Tensor.Shape; len(s) != 4 || s[1] != 3 {
			continue // a stem sees three colours
		}
		if prefix, ok := cutName(n.Name, "conv1.weight"); ok && names[prefix+"layer1.0.conv1.weight"] {
			all = append(all, place{prefix, 0})
		}
		if prefix, ok := cutName(n.Name, "0.weight"); ok {
			for _, first := range []int{2, 3, 4} {
				if names[fmt.Sprintf("%s%d.0.conv1.weight", prefix, first)] && names[prefix+"1.running_mean"] {
					all = append(all, place{prefix, first})
					break
				}
			}
		}
	}
	var prefixes []string
	for _, c := range all {
		prefixes = append(prefixes, strconv.Quote(c.prefix))
		if o.Strip != "" {
			strip := strings.TrimSuffix(o.Strip, ".") + "."
			if c.prefix == strip || strings.HasSuffix(c.prefix, "."+strip) {
				side = append(side, c)
			}
		} else if c.side() == cmp.Or(o.Side, "query") {
			side = append(side, c)
		}
	}
	list := strings.Join(prefixes, ", ")
	switch {
	case len(side) == 1:
		return side[0], nil
	case len(all) == 0:
		return place{}, fmt.Errorf("no ResNet is found among its %d tensors (such as %s): none is named conv1.weight or 0.weight beside layer1 or 4, after any prefix", len(f.Tensors), sample(f))
	case len(side) == 0 && o.Strip != "":
		return place{}, fmt.Errorf("no ResNet stands after %q, but after %s", o.Strip, list)
	case len(side) == 0:
		return place{}, fmt.Errorf("no encoder of the %s side is found; there is one after %s, which --strip or the other --side takes", cmp.Or(o.Side, "query"), list)
	}
	return place{}, fmt.Errorf("there are several encoders, after %s; --strip says which is meant", list)
}

// cutName takes a name from the end of a longer one, from which a dot parts it.
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

// keySide is what the momentum encoder is called: MoCo's encoder_k, lightly's backbone_momentum, solo-learn's momentum_backbone, and others' ema, teacher, target.
var keySide = regexp.MustCompile(`(^|[._])(k|key|momentum|ema|teacher|target)([._]|$)`)

func (c place) side() string {
	if keySide.MatchString(c.prefix) {
		return "key"
	}
	return "query"
}

// kind is whose names these are.
func (c place) kind(f *weights.File) string {
	under := func(part string) bool { return strings.Contains("."+c.prefix, "."+part+".") }
	has := func(part string) bool {
		return slices.ContainsFunc(f.Tensors, func(n weights.Named) bool { return strings.Contains("."+n.Name, "."+part+".") })
	}
	switch {
	case under("encoder_q") || under("encoder_k"):
		return "MoCo"
	case c.first > 0:
		return "lightly"
	case under("backbone") && has("projection_head"), under("backbone_momentum"):
		return "lightly"
	case under("momentum_backbone") || under("momentum_encoder") || (under("backbone") || under("encoder")) && (has("classifier") || has("projector")):
		return "solo-learn"
	}
	return "torchvision"
}

// translate gives the torchvision name of what follows the prefix.
func (c place) translate(rest string) string {
	if c.first > 0 {
		place, inner, ok := strings.Cut(rest, ".")
		n, err := strconv.Atoi(place)
		switch {
		case !ok || err != nil:
			return rest
		case n == 0:
			rest = "conv1." + inner
		case n == 1:
			rest = "bn1." + inner
		case n >= c.first && n < c.first+4:
			rest = fmt.Sprintf("layer%d.%s", n-c.first+1, inner)
		default:
			return rest
		}
	}
	if last, ok := strings.CutPrefix(rest, "linear."); ok { // lightly's own ResNets call two things by other names
		return "fc." + last
	}
	return strings.Replace(rest, ".shortcut.", ".downsample.", 1)
}

// stage takes a block's name apart.
var stage = regexp.MustCompile(`^layer([1-4])\.(\d{1,3})\.conv1\.weight$`)

// deduce reads the configuration from shapes. first is place.first.
func deduce(t map[string]*tensor.Tensor, first int) (nn.Config, []string, error) {
	stem := t["conv1.weight"].Shape
	c := nn.Config{Width: float64(stem[0]) / 64, Head: "none"}
	notes := []string{}
	switch {
	case first == 2:
		return c, nil, fmt.Errorf("an nn.Sequential with the first stage in place 2 has lost the ReLU after bn1 (lightly's ResNetGenerator taken apart), which no encoder of moco's computes")
	case stem[2] == 7 && stem[3] == 7 && first != 3:
		c.Stem = "imagenet"
	case stem[2] == 3 && stem[3] == 3:
		c.Stem = "cifar"
		notes = append(notes, "a 3x3 stem is taken for stride 1, padding 1 and no pooling after it, which the weights cannot tell (solo-learn's for CIFAR pads by 2 and will differ)")
	default:
		return c, nil, fmt.Errorf("its stem of shape %v, with the first stage in place %d, is neither ImageNet's (7x7 and max pooling) nor CIFAR's (3x3)", stem, first)
	}
	blocks := make([]int, 4)
	for name := range t {
		if m := stage.FindStringSubmatch(name); m != nil {
			blocks[m[1][0]-'1']++
		}
	}
	bottleneck := t["layer1.0.conv3.weight"] != nil
	for _, arch := range []string{"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"} {
		if l, b := nn.Blocks(arch); b == bottleneck && slices.Equal(l, blocks) {
			c.Arch = arch
		}
	}
	if c.Arch == "" {
		return c, nil, fmt.Errorf("stages of %v blocks (bottlenecks: %v) are those of no ResNet that moco has: resnet18, 34, 50, 101, 152", blocks, bottleneck)
	}
	if first, second := t["layer1.0.conv1.weight"].Shape, t["layer1.0.conv2.weight"]; bottleneck && second != nil && len(first) == 4 && len(second.Shape) == 4 {
		if first[0] != stem[0] || second.Shape[1] != first[0] {
			return c, nil, fmt.Errorf("the first bottleneck has inner shapes %v and %v behind a stem of %d channels: a wide ResNet or a ResNeXt, which moco does not have", first, second.Shape, stem[0])
		}
	}
	switch head := headOf(t); {
	case head == "":
	case slices.Contains([]string{"bias weight", "0.bias 0.weight 2.bias 2.weight"}, head):
		last := "fc.weight"
		if c.Head = "linear"; strings.HasPrefix(head, "0") {
			c.Head, last = "mlp", "fc.2.weight"
		}
		if len(t[last].Shape) != 2 {
			return c, nil, fmt.Errorf("%s has shape %v, where a head has two axes", last, t[last].Shape)
		}
		c.Dim = t[last].Shape[0]
	default:
		notes = append(notes, fmt.Sprintf("its head (fc: %s) is neither one linear layer nor two, and is left out", head))
	}
	if c.Head == "none" {
		c.Dim = c.FeatureDim()
	}
	return c, notes, nil
}

// headOf lists what stands below fc.
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

// take makes the encoder's file, but for its metadata, and holds every tensor to the shape that the configuration gives it.
func take(t map[string]*tensor.Tensor, foreignName map[string]string, c nn.Config) (*weights.File, error) {
	out := &weights.File{}
	known := map[string]bool{}
	var missing, wrong, extra []string
	for _, e := range stateDict(c) {
		known[e.name] = true
		got := t[e.name]
		switch {
		case e.fits(got):
		case got != nil:
			wrong = append(wrong, fmt.Sprintf("%s is %v %v and should be %v %v", foreignName[e.name], got.Type, got.Shape, e.typeOf, e.shape))
			continue
		case e.counts(): // PyTorch before 0.4.1 counted none
			got = tensor.New(tensor.Int64)
		default:
			missing = append(missing, e.name)
			continue
		}
		out.Tensors = append(out.Tensors, weights.Named{Name: e.name, Tensor: got})
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		part, _, _ := strings.Cut(name, ".")
		if inside := part == "conv1" || part == "bn1" || strings.HasPrefix(part, "layer"); inside && !known[name] {
			extra = append(extra, foreignName[name])
		}
	}
	for _, trouble := range []struct {
		what  string
		names []string
	}{{"it lacks", missing}, {"shapes differ:", wrong}, {"that encoder has no", extra}} {
		if len(trouble.names) > 0 {
			return nil, fmt.Errorf("the weights look like a %s of width %v, but %s %s", c.Arch, c.Width, trouble.what, few(trouble.names))
		}
	}
	return out, nil
}

// few lists names, the first ten of them.
func few(names []string) string {
	if more := len(names) - 10; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), more)
	}
	return strings.Join(names, ", ")
}
