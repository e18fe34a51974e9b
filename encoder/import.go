package encoder

import (
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
	// Side is query or key, for a pair with a momentum encoder. Empty is the one that the project
	// evaluates, which is the key's for DINO and the query's for all others, or the only one.
	Side string
	// Strip is what stands before the names of the encoder (before conv1.weight, 0.weight,
	// patch_embed.proj.weight), or the end of that. "." is the empty prefix. Empty finds the prefix.
	// Strip overrides Side.
	Strip  string
	Policy string // of the views; empty: cifar with a ResNet's stem for CIFAR, else v1
	// Size is of the views, pixels a side. 0: 224 with ImageNet's stem, 32 with CIFAR's; for a
	// transformer what its project evaluates it at.
	Size int
	// Normalise is how pixels are normalised: imagenet, cifar or half. Empty: as the project does it.
	Normalise string
	// Resize is the filter by which pictures are resized to views: bilinear or bicubic. Empty: as the
	// project does it.
	Resize string

	// Of transformers. Empty: as the project has it.

	Heads   int     // of attention
	Epsilon float64 // of layer norm
	Tokens  string  // whose features are taken: class, mean or both
}

// ImportReport is an account of how foreign weights were read. Every tensor of the file is in Used
// or in LeftOut.
type ImportReport struct {
	Kind    string     `json:"kind"` // origin of the names: MoCo, MoCo v3, lightly, DINO, timm, ...
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
	return fmt.Sprintf("%s, %s side (%q): %s, %s, %d features; %d tensors used, %d left out",
		r.Kind, r.Side, r.Prefix, r.Encoder.Describe(), head, r.Encoder.Dim, len(r.Used), len(r.LeftOut))
}

// Foreign tells whether the weights are neither an encoder nor a checkpoint that moco wrote.
func Foreign(f *weights.File) bool { return !own(f) && !checkpoint(f) }

// own tells whether f is an encoder that moco wrote, whole or damaged. Any file may have one of the
// keys of such a file, such as arch or width. Only moco's have all of these keys.
func own(f *weights.File) bool { return described(f) && f.Metadata[NamesKey] == "" }

// described tells whether the metadata are those of an encoder that moco wrote, under whatever names.
func described(f *weights.File) bool { return hasAll(f, "format", "stem", "head", "policy") }

// NamesKey is the metadata of moco's encoders whose tensors have another project's names: which
// project's.
const NamesKey = "names"

// checkpoint tells whether f is a checkpoint of a run.
func checkpoint(f *weights.File) bool { return hasAll(f, "format", "recipe", "step", "data") }

// hasAll tells whether the metadata have all keys.
func hasAll(f *weights.File, keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool {
		_, ok := f.Metadata[key]
		return !ok
	})
}

// Import finds an encoder in foreign weights, a ResNet or a vision transformer, and returns it as
// Export would write it: with moco's names, and the metadata that OpenWith needs.
//
// It recognises an encoder by its first tensors in one of the families of names, whatever their
// prefix is (module.encoder_q., backbone., nothing), and deduces the configuration from shapes. What
// shapes do not tell is as the family's project has it, unless the options say otherwise. It is an
// error if the encoder lacks a tensor, or has one of another shape or one too many. The report lists the
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
	d, err := named.deduce(f, found, o)
	if err != nil {
		return nil, nil, err
	}
	r, err := d.recipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := named.take(r.Encoder, found.family.inside)
	if err != nil {
		return nil, nil, err
	}
	report := &ImportReport{
		Kind: d.kind, Prefix: found.prefix, Side: found.side(), Encoder: r.Encoder, Views: r.Views,
		// Empty lists, so that JSON has no null.
		Used: []string{}, LeftOut: []string{}, Notes: append(append([]string{}, d.notes...), warnings(f)...),
	}
	report.sort(f, out, named)
	out.Metadata = Metadata(r)
	maps.Copy(out.Metadata, d.metadata)
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
		for _, name := range named.from[n.Name] {
			used[name] = true
		}
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

// deduced is what follows from an encoder's names and shapes, its origin and what was asked for.
type deduced struct {
	kind     string
	encoder  nn.Config
	views    moco.Views
	notes    []string
	metadata map[string]string // further ones than follow from these
}

// deduce finds out what the encoder is: from the metadata if moco has written them and nothing else is
// asked for, or else as the family does.
func (t *foreign) deduce(f *weights.File, found place, o ImportOptions) (deduced, error) {
	if o == (ImportOptions{}) && described(f) {
		r, err := recipeOf(f)
		rest := map[string]string{"classes": f.Metadata["classes"], objectiveKey: f.Metadata[objectiveKey]}
		maps.DeleteFunc(rest, func(_, value string) bool { return value == "" })
		return deduced{kind: "moco", encoder: r.Encoder, views: r.Views, metadata: rest}, err
	}
	origin := found.origin()
	d, err := found.family.deduce(t, origin, o)
	d.kind = origin.name
	return d, err
}

// recipe makes a recipe of what was deduced, which checks it.
func (d deduced) recipe() (*moco.Recipe, error) {
	r := moco.Default()
	r.Encoder, r.Views = d.encoder, d.views
	if err := r.Check(); err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return &r, nil
}

// take makes the encoder's file without its metadata. Every tensor must have the shape that the
// configuration gives it, and none else may have a name that begins as those inside of the backbone.
func (t *foreign) take(c nn.Config, inside []string) (*weights.File, error) {
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
				strings.Join(t.from[e.Name], ", "), got.Type, got.Shape, e.Type, e.Shape))
			continue
		default:
			missing = append(missing, e.Name)
			continue
		}
		out.Tensors = append(out.Tensors, weights.Named{Name: e.Name, Tensor: got})
	}
	for _, name := range slices.Sorted(maps.Keys(t.tensor)) {
		begins := func(part string) bool { return strings.HasPrefix(name, part) }
		if !known[name] && slices.ContainsFunc(inside, begins) {
			extra = append(extra, strings.Join(t.from[name], ", "))
		}
	}
	for _, trouble := range []struct {
		what  string
		names []string
	}{{"it lacks", missing}, {"shapes differ:", wrong}, {"that encoder has no", extra}} {
		if len(trouble.names) > 0 {
			return nil, fmt.Errorf("the weights look like a %s, but %s %s", c.Describe(), trouble.what, few(trouble.names))
		}
	}
	return out, finite(out, t.from)
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
