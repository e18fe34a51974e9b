package encoder

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"moco"
	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// ImportOptions say how foreign weights are read. Open uses the zero value.
type ImportOptions struct {
	// Side is query or key, for a pair with a momentum encoder. Empty is query.
	Side string
	// Strip is the prefix of conv1.weight (or, in an nn.Sequential, of 0.weight), or the end of
	// that prefix. "." is the empty prefix. Empty finds the prefix. Strip overrides Side.
	Strip  string
	Policy string // of the views; empty: v1 with ImageNet's stem, cifar with CIFAR's
	Size   int    // of the views, pixels a side; 0: 224 with ImageNet's stem, 32 with CIFAR's
}

// ImportReport is an account of how foreign weights were read. Every tensor of the file is in Used
// or in LeftOut.
type ImportReport struct {
	Kind    string     `json:"kind"` // origin of the names: MoCo, lightly, solo-learn, or torchvision
	Prefix  string     `json:"prefix"`
	Side    string     `json:"side"` // query or key
	Encoder nn.Config  `json:"encoder"`
	Views   moco.Views `json:"views"`
	Used    []string   `json:"used"`     // by their foreign names, in the order of the file
	LeftOut []string   `json:"left_out"` // by the same names
	Notes   []string   `json:"notes"`    // what the weights alone do not tell, and what was assumed
}

// String is the report in one sentence.
func (r *ImportReport) String() string {
	head := r.Encoder.Head + " head"
	if r.Encoder.Head == "none" {
		head = "no head"
	}
	return fmt.Sprintf("%s, %s side (%q): %s of width %v, %s stem, %s, %d features; %d tensors used, %d left out",
		r.Kind, r.Side, r.Prefix, r.Encoder.Arch, r.Encoder.Width, r.Encoder.Stem, head, r.Encoder.Dim,
		len(r.Used), len(r.LeftOut))
}

// Foreign tells whether the weights are neither an encoder nor a checkpoint that moco wrote.
func Foreign(f *weights.File) bool { return !own(f) && !checkpoint(f) }

// own tells whether f is an encoder that moco wrote, whole or damaged. Any file may have one of the
// keys of such a file, such as arch or width. Only moco's have all of these keys.
func own(f *weights.File) bool { return hasAll(f, "format", "stem", "head", "policy") }

// checkpoint tells whether f is a checkpoint of a run.
func checkpoint(f *weights.File) bool { return hasAll(f, "format", "recipe", "step", "data") }

// hasAll tells whether the metadata have all keys.
func hasAll(f *weights.File, keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool {
		_, ok := f.Metadata[key]
		return !ok
	})
}

// Import finds a ResNet in foreign weights and returns it as Export would write it: with
// torchvision's names, and the metadata that OpenWith needs.
//
// It recognises a ResNet by its stem and first block, whatever their prefix is (module.encoder_q.,
// backbone., nothing), and deduces architecture, width, stem and head from shapes. It is an error
// if the encoder lacks a tensor, or has one of another shape or one too many. The report lists the
// tensors that belong to no encoder: queue, projectors, optimizer, the other side. The error is a
// *ChoiceError if there are encoders but not exactly one as asked for, a *weights.KindError if the
// file is only a whole module, and ErrNotFinite for weights that are not finite.
func Import(f *weights.File, o ImportOptions) (*weights.File, *ImportReport, error) {
	out, report, err := importFile(f, o)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	return out, report, nil
}

func importFile(f *weights.File, o ImportOptions) (*weights.File, *ImportReport, error) {
	switch {
	case checkpoint(f):
		return nil, nil, fmt.Errorf("the file is a checkpoint of a moco run; give the run's folder, or its %s", File)
	case own(f):
		return nil, nil, errors.New("the file is an encoder of moco's own; it needs no import")
	case o.Side != "" && o.Side != "query" && o.Side != "key":
		return nil, nil, fmt.Errorf("the side %q is not known; there are query and key", o.Side)
	}
	found, err := find(f, o)
	if err != nil {
		return nil, nil, err
	}
	named, err := found.tensors(f)
	if err != nil {
		return nil, nil, err
	}
	r, notes, err := named.recipe(found, o)
	if err != nil {
		return nil, nil, err
	}
	out, err := named.take(r.Encoder)
	if err != nil {
		return nil, nil, err
	}
	report := &ImportReport{
		Kind: found.kind(f), Prefix: found.prefix, Side: found.side(), Encoder: r.Encoder, Views: r.Views,
		// Empty lists, so that JSON has no null.
		Used: []string{}, LeftOut: []string{}, Notes: append(notes, warnings(f)...),
	}
	report.sort(f, out, named)
	out.Metadata = Metadata(r)
	out.Metadata["imported"] = fmt.Sprintf("%s, %s side, %q", report.Kind, report.Side, report.Prefix)
	return out, report, nil
}

// warnings lists what a file holds beside its weights and its owner should know.
func warnings(f *weights.File) []string {
	commands := f.Commands()
	if len(commands) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the file asks Python to call %s, which no checkpoint needs: "+
		"nothing of it was run here, but do not load the file in Python", few(commands))}
}

// sort divides the tensors into used ones and others.
func (r *ImportReport) sort(f, out *weights.File, named *foreign) {
	used := map[string]bool{}
	for _, n := range out.Tensors {
		used[named.name[n.Name]] = true
	}
	for _, n := range f.Tensors {
		if used[n.Name] {
			r.Used = append(r.Used, n.Name)
		} else {
			r.LeftOut = append(r.LeftOut, n.Name)
		}
	}
	for _, s := range f.Skipped {
		r.LeftOut = append(r.LeftOut, s.Name)
	}
}

// foreign is the tensors of an encoder in a foreign file, by torchvision's names.
type foreign struct {
	tensor map[string]*tensor.Tensor
	name   map[string]string // their foreign names
}

// recipe deduces the encoder's configuration, and chooses its views.
func (t *foreign) recipe(found place, o ImportOptions) (*moco.Recipe, []string, error) {
	r := moco.Default()
	var notes []string
	var err error
	if r.Encoder, notes, err = deduce(t.tensor, found.first); err != nil {
		return nil, nil, err
	}
	r.Views = moco.Views{Policy: cmp.Or(o.Policy, "v1"), Size: cmp.Or(o.Size, 224)}
	if r.Encoder.Stem == "cifar" {
		r.Views = moco.Views{Policy: cmp.Or(o.Policy, "cifar"), Size: cmp.Or(o.Size, 32)}
	}
	if err := r.Check(); err != nil {
		return nil, nil, errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return &r, notes, nil
}

// take makes the encoder's file without its metadata. Every tensor must have the shape that the
// configuration gives it.
func (t *foreign) take(c nn.Config) (*weights.File, error) {
	out := &weights.File{}
	known := map[string]bool{}
	var missing, wrong, extra []string
	for _, e := range c.StateDict() {
		known[e.Name] = true
		got := t.tensor[e.Name]
		switch {
		case e.Counts():
			got = counter(got)
		case e.Fits(got):
		case got != nil:
			wrong = append(wrong, fmt.Sprintf("%s is %v %v and should be %v %v",
				t.name[e.Name], got.Type, got.Shape, e.Type, e.Shape))
			continue
		default:
			missing = append(missing, e.Name)
			continue
		}
		out.Tensors = append(out.Tensors, weights.Named{Name: e.Name, Tensor: got})
	}
	for _, name := range slices.Sorted(maps.Keys(t.tensor)) {
		part, _, _ := strings.Cut(name, ".")
		if inside := part == "conv1" || part == "bn1" || strings.HasPrefix(part, "layer"); inside && !known[name] {
			extra = append(extra, t.name[name])
		}
	}
	for _, trouble := range []struct {
		what  string
		names []string
	}{{"it lacks", missing}, {"shapes differ:", wrong}, {"that encoder has no", extra}} {
		if len(trouble.names) > 0 {
			return nil, fmt.Errorf("the weights look like a %s of width %v, but %s %s",
				c.Arch, c.Width, trouble.what, few(trouble.names))
		}
	}
	return out, finite(out, t.name)
}

// counter is a num_batches_tracked in moco's form. Nothing computes with it, so any type and shape
// will do: PyTorch before 0.4.1 had none, model.half() makes it float16, averaging makes it
// float32.
func counter(t *tensor.Tensor) *tensor.Tensor {
	out := tensor.New(tensor.Int64)
	if t == nil || t.Shape.Elements() != 1 {
		return out
	}
	n := &out.Int64s()[0]
	switch t.Type {
	case tensor.Int64:
		*n = t.Int64s()[0]
	case tensor.Int32:
		*n = int64(t.Int32s()[0])
	case tensor.Uint8:
		*n = int64(t.Bytes()[0])
	case tensor.Float32:
		if v := float64(t.Float32s()[0]); math.Abs(v) < 1<<62 { // false for NaN
			*n = int64(v)
		}
	}
	return out
}

// few lists the first ten names.
func few(names []string) string {
	if more := len(names) - 10; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), more)
	}
	return strings.Join(names, ", ")
}
