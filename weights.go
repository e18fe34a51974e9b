package moco

import (
	"fmt"
	"strings"

	"moco/tensor"
	"moco/weights"
)

// Trained is a trained encoder as it lies in its file, for those who pass it on instead of using it.
type Trained struct {
	Recipe Recipe // as Encoder's
	// File has the encoder's metadata and its tensors as torchvision's state_dict() has them: their names and order, with num_batches_tracked.
	File   *weights.File
	SHA256 string // of the file that was read
}

// Load reads the encoder that Open would open, and holds it to its metadata, but makes nothing ready to compute.
func Load(path string) (*Trained, error) {
	f, sha, path, err := load(path)
	if err != nil {
		return nil, err
	}
	r, _, err := described(f)
	if err != nil {
		return nil, fmt.Errorf("open the model %s: %w", path, err)
	}
	t := &Trained{Recipe: r, File: &weights.File{Metadata: f.Metadata}, SHA256: sha}
	add := func(name string, value *tensor.Tensor) {
		t.File.Tensors = append(t.File.Tensors, weights.Named{Name: name, Tensor: value})
	}
	buffers := map[string]bool{}
	for _, b := range r.Encoder.Buffers() {
		buffers[b.Name] = true
	}
	for _, p := range r.Encoder.Parameters() {
		add(p.Name, f.Get(p.Name))
		norm, last := strings.CutSuffix(p.Name, ".bias")
		if !last || !buffers[norm+".running_mean"] {
			continue
		}
		add(norm+".running_mean", f.Get(norm+".running_mean"))
		add(norm+".running_var", f.Get(norm+".running_var"))
		count := f.Get(norm + ".num_batches_tracked")
		if count == nil || count.Type != tensor.Int64 || len(count.Shape) != 0 {
			count = tensor.New(tensor.Int64) // a file of other origin may lack it
		}
		add(norm+".num_batches_tracked", count)
	}
	return t, nil
}
