package encoder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	for _, entry := range c.StateDict() {
		n := f.Get(entry.Name)
		switch {
		case entry.Fits(n):
		case entry.Counts(): // a foreign file may lack it
			n = tensor.New(tensor.Int64)
		case n == nil:
			return nil, fmt.Errorf("it lacks the tensor %q of a %s", entry.Name, c.Arch)
		default:
			return nil, fmt.Errorf("%q is %v %v, and a %s of width %v has float32 %v there",
				entry.Name, n.Type, n.Shape, c.Arch, c.Width, entry.Shape)
		}
		e.Weights.Tensors = append(e.Weights.Tensors, weights.Named{Name: entry.Name, Tensor: n})
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
func finite(f *weights.File, names map[string][]string) error {
	for _, n := range f.Tensors {
		if n.Tensor.Type != tensor.Float32 {
			continue
		}
		for i, v := range n.Tensor.Float32s() {
			if v-v != 0 {
				name := cmp.Or(strings.Join(names[n.Name], ", "), n.Name)
				return fmt.Errorf("%w: %s holds %v in place %d; its training has diverged, or the file is damaged",
					ErrNotFinite, name, v, i)
			}
		}
	}
	return nil
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
	m := r.Encoder.Metadata()
	maps.Copy(m, map[string]string{
		"format": "pt", "policy": r.Views.Policy, "size": strconv.Itoa(r.Views.Size), "precision": r.Precision,
	})
	if r.Views.From != 0 { // without it, as with older files, the rule says
		m["from"] = strconv.Itoa(r.Views.From)
	}
	if r.Views.Ground != "" {
		m["ground"] = r.Views.Ground
	}
	if r.Views.Normalise != "" {
		m["normalise"] = r.Views.Normalise
	}
	if r.Views.Resize != "" {
		m["resize"] = r.Views.Resize
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
	for _, entry := range r.Encoder.StateDict() {
		var t *tensor.Tensor
		if entry.Counts() {
			t = tensor.New(tensor.Int64)
			t.Int64s()[0] = int64(steps)
		} else {
			var err error
			if t, err = moco.ReadQuery(s, entry.Name); err != nil {
				return nil, err
			}
		}
		f.Tensors = append(f.Tensors, weights.Named{Name: entry.Name, Tensor: t})
	}
	return f, nil
}

// recipeOf reads Metadata back.
func recipeOf(f *weights.File) (moco.Recipe, error) {
	r := moco.Default()
	m := f.Metadata
	var errs []error
	number := func(key string) int {
		v, err := strconv.ParseFloat(m[key], 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("its metadata gives no %s that is a number: %w", key, err))
		}
		return int(v)
	}
	var err error
	r.Encoder, err = nn.FromMetadata(m)
	errs = append(errs, err)
	r.Views = moco.Views{
		Policy: m["policy"], Size: number("size"), Ground: m["ground"], Normalise: m["normalise"], Resize: m["resize"],
	}
	if m["from"] != "" {
		r.Views.From = number("from")
	}
	if p := m["precision"]; p != "" {
		r.Precision = p
	}
	if err := errors.Join(errs...); err != nil {
		return r, fmt.Errorf("is it an encoder that moco has written? %w", err)
	}
	if err := r.Check(); err != nil { // all other keys are the default's
		return r, fmt.Errorf("its metadata say what cannot be: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return r, nil
}
