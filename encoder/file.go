package encoder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"moco"
	"moco/engine"
	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// File is the name of the trained encoder in a run's folder.
const File = "encoder.safetensors"

// load reads the file of an encoder. path is the file, or the folder of a run.
func load(ctx context.Context, path string) (*Encoder, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the model: %w", err)
	} else if info.IsDir() {
		run := path
		path = filepath.Join(path, File)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open the model: %s holds no %s; is it the folder of a run, "+
				"and has the run written its first checkpoint?", run, File)
		}
	}
	f, err := weights.Load(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open the model: %w", err)
	}
	e, err := fromFile(f)
	if err != nil {
		return nil, fmt.Errorf("open the model %s: %w", path, err)
	}
	e.SHA256 = f.SHA256
	return e, nil
}

// fromFile is the encoder in a file. If the file is foreign, it is imported first. Shapes are
// compared with the metadata before anything of their size is allocated.
func fromFile(f *weights.File) (*Encoder, error) {
	e := &Encoder{}
	var err error
	if !own(f) {
		if f, e.Imported, err = Import(f, ImportOptions{}); err != nil {
			return nil, err
		}
	}
	if e.Recipe, err = recipeOf(f); err != nil {
		return nil, err
	}
	e.Weights = &weights.File{Metadata: f.Metadata}
	c := e.Recipe.Encoder
	for _, entry := range stateDict(c) {
		n := f.Get(entry.name)
		switch {
		case entry.fits(n):
		case entry.counts(): // a foreign file may lack it
			n = tensor.New(tensor.Int64)
		case n == nil:
			return nil, fmt.Errorf("it lacks the tensor %q of a %s", entry.name, c.Arch)
		default:
			return nil, fmt.Errorf("%q is %v %v, and a %s of width %v has float32 %v there",
				entry.name, n.Type, n.Shape, c.Arch, c.Width, entry.shape)
		}
		e.Weights.Tensors = append(e.Weights.Tensors, weights.Named{Name: entry.name, Tensor: n})
	}
	if err := finite(e.Weights, nil); err != nil {
		return nil, err
	}
	if raw := f.Metadata["classes"]; raw != "" {
		if err := json.Unmarshal([]byte(raw), &e.Classes); err != nil || len(e.Classes) != c.Dim {
			return nil, fmt.Errorf("its metadata give %q for the names of %d classes; want a JSON array", raw, c.Dim)
		}
	}
	return e, nil
}

// ErrNotFinite is the error of an encoder with NaN or infinite weights. Its features would be NaN
// for every image, and searching and scoring could not tell them from an answer, so the encoder is
// not opened.
var ErrNotFinite = errors.New("weights that are not finite")

// finite refuses weights that are not finite. names, if any, are the names for the error in place
// of f's own.
func finite(f *weights.File, names map[string]string) error {
	for _, n := range f.Tensors {
		if n.Tensor.Type != tensor.Float32 {
			continue
		}
		for i, v := range n.Tensor.Float32s() {
			if v-v != 0 {
				name := cmp.Or(names[n.Name], n.Name)
				return fmt.Errorf("%w: %s holds %v in place %d; its training has diverged, or the file is damaged",
					ErrNotFinite, name, v, i)
			}
		}
	}
	return nil
}

// entry is a tensor of an encoder's file.
type entry struct {
	name   string
	typeOf tensor.Type
	shape  tensor.Shape
}

// counts tells whether the tensor is batch norm's num_batches_tracked. Only PyTorch uses it.
func (e entry) counts() bool { return e.typeOf == tensor.Int64 }

// fits tells whether t, which may be nil, has the entry's type and shape.
func (e entry) fits(t *tensor.Tensor) bool {
	return t != nil && t.Type == e.typeOf && t.Shape.Equal(e.shape)
}

// stateDict lists the tensors of an encoder as torchvision's state_dict() does, with the same names
// in the same order.
func stateDict(c nn.Config) []entry {
	channels := map[string]int{}
	for _, b := range c.Buffers() {
		channels[b.Name] = b.Channels
	}
	var all []entry
	for _, p := range c.Parameters() {
		all = append(all, entry{p.Name, tensor.Float32, p.Shape})
		norm, last := strings.CutSuffix(p.Name, ".bias")
		if n := channels[norm+".running_mean"]; last && n > 0 {
			all = append(all,
				entry{norm + ".running_mean", tensor.Float32, tensor.Shape{n}},
				entry{norm + ".running_var", tensor.Float32, tensor.Shape{n}},
				entry{norm + ".num_batches_tracked", tensor.Int64, nil})
		}
	}
	return all
}

// Classifier tells whether the head was trained with labels: its outputs are classes.
func (e *Encoder) Classifier() bool {
	return e.Weights != nil && e.Weights.Metadata[objectiveKey] != ""
}

// objectiveKey is the metadata of an encoder whose head is a classifier.
const objectiveKey = "objective"

// Metadata describes an encoder well enough to build it again and to give it images like those it
// was trained on. "mean" and "std" normalise a pixel of 0 to 1, for red, green and blue.
func Metadata(r *moco.Recipe) map[string]string {
	c := r.Encoder
	m := map[string]string{
		"format": "pt", "arch": c.Arch, "stem": c.Stem, "width": strconv.FormatFloat(c.Width, 'g', -1, 64),
		"dim":  strconv.Itoa(c.Dim),
		"head": c.Head, "policy": r.Views.Policy, "size": strconv.Itoa(r.Views.Size), "precision": r.Precision,
	}
	if r.Views.From != 0 { // without it, as with older files, the rule says
		m["from"] = strconv.Itoa(r.Views.From)
	}
	if r.Views.Ground != "" {
		m["ground"] = r.Views.Ground
	}
	if r.Views.Normalise != "" {
		m["normalise"] = r.Views.Normalise
	}
	if r.Start != "" {
		m["start"] = r.Start
	}
	if mechanism, err := r.Mechanism(); err == nil && mechanism.Classifier() {
		m[objectiveKey] = mechanism.String() // tells that the head is a classifier
	}
	// For readers that know nothing of policies.
	if p, err := r.Views.Drawn(); err == nil {
		m["mean"], m["std"] = triple(p.Mean), triple(p.Std)
	}
	return m
}

// triple is three numbers as text: "0.485 0.456 0.406".
func triple(v [3]float32) string {
	return strings.Trim(fmt.Sprint(v), "[]")
}

// Export returns the query encoder of a training's state under torchvision's names, with steps as
// batch norm's num_batches_tracked. weights.Save makes a file of it that Open reads.
func Export(r *moco.Recipe, s engine.State, steps int) (*weights.File, error) {
	f := &weights.File{Metadata: Metadata(r)}
	for _, entry := range stateDict(r.Encoder) {
		var t *tensor.Tensor
		if entry.counts() {
			t = tensor.New(tensor.Int64)
			t.Int64s()[0] = int64(steps)
		} else {
			var err error
			if t, err = moco.ReadQuery(s, entry.name); err != nil {
				return nil, err
			}
		}
		f.Tensors = append(f.Tensors, weights.Named{Name: entry.name, Tensor: t})
	}
	return f, nil
}

// recipeOf reads Metadata back.
func recipeOf(f *weights.File) (moco.Recipe, error) {
	r := moco.Default()
	m := f.Metadata
	var err error
	number := func(key string) float64 {
		v, e := strconv.ParseFloat(m[key], 64)
		if e != nil && err == nil {
			err = fmt.Errorf("its metadata gives no %s; is it an encoder that moco has written?", key)
		}
		return v
	}
	r.Encoder = nn.Config{Arch: m["arch"], Stem: m["stem"], Head: m["head"], Width: number("width"), Dim: int(number("dim"))}
	r.Views = moco.Views{Policy: m["policy"], Size: int(number("size")), Ground: m["ground"], Normalise: m["normalise"]}
	if m["from"] != "" {
		r.Views.From = int(number("from"))
	}
	if p := m["precision"]; p != "" {
		r.Precision = p
	}
	if err != nil {
		return r, err
	}
	if err := r.Check(); err != nil { // all other keys are the default's
		return r, fmt.Errorf("its metadata say what cannot be: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return r, nil
}
