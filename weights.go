package moco

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"moco/engine"
	"moco/nn"
	"moco/tensor"
	"moco/weights"
)

// EncoderFile is the name of the trained encoder in a run's folder.
const EncoderFile = "encoder.safetensors"

// Trained is a trained encoder as it lies in its file, for those who pass it on instead of using it.
type Trained struct {
	Recipe   Recipe        // its Encoder, Views and Precision are what counts
	Classes  []string      // of a classifier: what each of its head's features stands for
	Imported *ImportReport // what was made of foreign weights; nil for an encoder of moco's own
	// File has the encoder's metadata and its tensors as torchvision's state_dict() has them: their names and order, with num_batches_tracked.
	File   *weights.File
	SHA256 string // of the file that was read; empty if there was none
}

// Load reads the encoder that Open would open, and holds it to its metadata, but makes nothing ready to compute.
func Load(path string) (*Trained, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the model: %w", err)
	} else if info.IsDir() {
		run := path
		path = filepath.Join(path, EncoderFile)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open the model: %s holds no %s; is it the folder of a run, and has the run written its first checkpoint?", run, EncoderFile)
		}
	}
	f, sha, err := weights.Load(path)
	if err != nil {
		return nil, fmt.Errorf("open the model: %w", err)
	}
	t, err := newTrained(f)
	if err != nil {
		return nil, fmt.Errorf("open the model %s: %w", path, err)
	}
	t.SHA256 = sha
	return t, nil
}

// newTrained is the encoder in a file, imported first if it is foreign. Shapes are held to what the metadata claim before anything of that size is made.
func newTrained(f *weights.File) (*Trained, error) {
	t := &Trained{}
	var err error
	if Foreign(f) || f.Metadata["recipe"] != "" {
		if f, t.Imported, err = Import(f, ImportOptions{}); err != nil {
			return nil, err
		}
	}
	if t.Recipe, err = recipeOf(f); err != nil {
		return nil, err
	}
	t.File = &weights.File{Metadata: f.Metadata}
	c := t.Recipe.Encoder
	for _, e := range stateDict(c) {
		n := f.Get(e.name)
		switch {
		case e.fits(n):
		case e.counts(): // a file of other origin may lack it
			n = tensor.New(tensor.Int64)
		case n == nil:
			return nil, fmt.Errorf("it lacks the tensor %q of a %s", e.name, c.Arch)
		default:
			return nil, fmt.Errorf("%q is %v %v, and a %s of width %v has float32 %v there", e.name, n.Type, n.Shape, c.Arch, c.Width, e.shape)
		}
		t.File.Tensors = append(t.File.Tensors, weights.Named{Name: e.name, Tensor: n})
	}
	if raw := f.Metadata["classes"]; raw != "" {
		if err := json.Unmarshal([]byte(raw), &t.Classes); err != nil || len(t.Classes) != c.Dim {
			return nil, fmt.Errorf("its metadata give %q for the names of %d classes; want a JSON array", raw, c.Dim)
		}
	}
	return t, nil
}

// entry is a tensor of an encoder's file.
type entry struct {
	name   string
	typeOf tensor.Type
	shape  tensor.Shape
}

// counts is true of batch norm's num_batches_tracked, which is for PyTorch alone.
func (e entry) counts() bool { return e.typeOf == tensor.Int64 }

// fits tells whether t, which may be nil, is such a tensor.
func (e entry) fits(t *tensor.Tensor) bool {
	return t != nil && t.Type == e.typeOf && t.Shape.Equal(e.shape)
}

// stateDict lists the tensors of an encoder as torchvision's state_dict() does: its names, in its order.
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
			all = append(all, entry{norm + ".running_mean", tensor.Float32, tensor.Shape{n}}, entry{norm + ".running_var", tensor.Float32, tensor.Shape{n}},
				entry{norm + ".num_batches_tracked", tensor.Int64, nil})
		}
	}
	return all
}

// EncoderMetadata describes an encoder well enough to build it again and to give it what it was trained on: "mean" and "std" are those that a
// pixel of 0 to 1 is normalised by, for red, green and blue.
func EncoderMetadata(r *Recipe) map[string]string {
	c := r.Encoder
	m := map[string]string{
		"format": "pt", "arch": c.Arch, "stem": c.Stem, "width": strconv.FormatFloat(c.Width, 'g', -1, 64), "dim": strconv.Itoa(c.Dim),
		"head": c.Head, "policy": r.Views.Policy, "size": strconv.Itoa(r.Views.Size), "precision": r.Precision,
	}
	if r.Start != "" {
		m["start"] = r.Start
	}
	if r.Objective == "supervised" {
		m["objective"] = r.Objective // the head is a classifier
	}
	if p, err := r.Views.Drawn(); err == nil { // for readers that know nothing of policies
		m["mean"], m["std"] = triple(p.Mean), triple(p.Std)
	}
	return m
}

// triple is three numbers as text: "0.485 0.456 0.406".
func triple(v [3]float32) string {
	return strings.Trim(fmt.Sprint(v), "[]")
}

// Export returns the query encoder in s under torchvision's names, with steps as batch norm's num_batches_tracked. OpenWith reads what
// weights.Save makes of it.
func Export(r *Recipe, s engine.State, steps int) (*weights.File, error) {
	f := &weights.File{Metadata: EncoderMetadata(r)}
	for _, e := range stateDict(r.Encoder) {
		var t *tensor.Tensor
		if e.counts() {
			t = tensor.New(tensor.Int64)
			t.Int64s()[0] = int64(steps)
		} else {
			var err error
			if t, err = s.Read("encoder_q." + e.name); err != nil {
				return nil, err
			}
		}
		f.Tensors = append(f.Tensors, weights.Named{Name: e.name, Tensor: t})
	}
	return f, nil
}

// recipeOf reads EncoderMetadata back.
func recipeOf(f *weights.File) (Recipe, error) {
	r := Default()
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
	r.Views = Views{Policy: m["policy"], Size: int(number("size"))}
	if p := m["precision"]; p != "" {
		r.Precision = p
	}
	if err != nil {
		return r, err
	}
	if err := r.Check(); err != nil { // the rest is the default's
		return r, fmt.Errorf("its metadata say what cannot be: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return r, nil
}
