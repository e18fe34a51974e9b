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

// place is an encoder's place in a file.
type place struct {
	family *family
	// prefix is the part of a tensor's name before the network's own names.
	prefix string
	// colours is the number of the stem's input channels.
	colours int
	names   map[string]bool // of all tensors in the file
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
	case gray.family != nil:
		return place{}, gray.colourError()
	case f.Module != nil:
		return place{}, f.Module
	}
	return place{}, fmt.Errorf("no encoder is found among its %d tensors (such as %s): after no prefix do the first "+
		"tensors of a ResNet stand (conv1.weight, or 0.weight, beside layer1 or 4) or those of a vision transformer "+
		"(patch_embed.proj.weight, conv_proj.weight or embeddings.patch_embeddings.projection.weight beside blocks)",
		len(f.Tensors), sample(f))
}

// places finds all encoders by their first tensors.
func places(f *weights.File) []place {
	names := map[string]bool{}
	for _, n := range f.Tensors {
		names[n.Name] = true
	}
	var all []place
	known := families()
	for _, n := range f.Tensors {
		s := n.Tensor.Shape
		if len(s) != 4 {
			continue
		}
		for _, family := range known {
			prefix, ok := cutName(n.Name, family.stem)
			if ok && names[prefix+family.beside] {
				all = append(all, place{family: family, prefix: prefix, colours: s[1], names: names})
				break
			}
		}
	}
	return all
}

// choose picks the one place that the options ask for.
func choose(all []place, o ImportOptions) (place, error) {
	side := cmp.Or(o.Side, evaluated(all))
	var fit []place
	e := &ChoiceError{Asked: fmt.Sprintf("encoder of the %s side", side)}
	for _, p := range all {
		e.Prefixes = append(e.Prefixes, p.prefix)
		if o.Strip == "" && p.side() == side {
			fit = append(fit, p)
		}
	}
	if o.Strip != "" {
		e.Asked = fmt.Sprintf("encoder after %q", o.Strip)
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

// evaluated is the side that is taken where none is asked for: the query's, or the key's where there
// is no other or where all encoders are of a project that evaluates that one.
func evaluated(all []place) string {
	queries, keys, momentum := 0, 0, 0
	for _, p := range all {
		if p.side() == "key" {
			keys++
		} else {
			queries++
		}
		if p.origin().known.momentum {
			momentum++
		}
	}
	if keys > 0 && (queries == 0 || momentum == len(all)) {
		return "key"
	}
	return "query"
}

// colourError explains why an encoder without three input colours is refused.
func (p place) colourError() error {
	if p.colours == 1 {
		return fmt.Errorf("the encoder after %q has a stem of one channel, for gray pictures, "+
			"and an encoder here sees red, green and blue; in PyTorch, "+
			"weight.repeat(1, 3, 1, 1) / 3 makes a stem of it that sees gray pictures as before", p.prefix)
	}
	return fmt.Errorf("the encoder after %q has a stem of %d channels, and an encoder here sees three: red, green and blue",
		p.prefix, p.colours)
}

// foreign is the tensors of an encoder in a foreign file, by moco's names.
type foreign struct {
	tensor map[string]*tensor.Tensor
	from   map[string][]string // foreign names of what each was made of
}

// tensors are the encoder's tensors by moco's names.
func (p place) tensors(f *weights.File) (*foreign, error) {
	t := &foreign{tensor: map[string]*tensor.Tensor{}, from: map[string][]string{}}
	for _, n := range f.Tensors {
		if rest, ok := strings.CutPrefix(n.Name, p.prefix); ok {
			name := p.family.rename(rest)
			if t.tensor[name] != nil {
				return nil, fmt.Errorf("%s and %s are both %s", t.from[name][0], n.Name, name)
			}
			t.tensor[name], t.from[name] = n.Tensor, []string{n.Name}
		}
	}
	if p.family.join == nil {
		return t, nil
	}
	return t, p.family.join(t)
}

// replace puts a tensor in place of others that it was made of.
func (t *foreign) replace(name string, made *tensor.Tensor, of ...string) {
	var from []string
	for _, old := range of {
		from = append(from, t.from[old]...)
		delete(t.tensor, old)
		delete(t.from, old)
	}
	t.tensor[name], t.from[name] = made, from
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

// keySide matches names of the momentum encoder: MoCo's encoder_k, MoCo v3's momentum_encoder,
// lightly's backbone_momentum, solo-learn's momentum_backbone, and others' ema, teacher, target.
var keySide = regexp.MustCompile(`(^|[._])(k|key|momentum|ema|teacher|target)([._]|$)`)

func (p place) side() string {
	if keySide.MatchString(p.prefix) {
		return "key"
	}
	return "query"
}

// origin is the first of the family's origins that fits.
func (p place) origin() origin {
	i := slices.IndexFunc(p.family.origins, func(o origin) bool { return o.fits(p) })
	return p.family.origins[i] // the last one fits anywhere
}

// under tells whether the prefix has one of some parts.
func (p place) under(parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains("."+p.prefix, "."+part+".") })
}

// has tells whether any name in the file has a part.
func (p place) has(part string) bool {
	for name := range p.names {
		if strings.Contains("."+name, "."+part+".") {
			return true
		}
	}
	return false
}

// holds tells whether the encoder has a tensor, by its foreign name.
func (p place) holds(name string) bool { return p.names[p.prefix+name] }
