package pretrain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"moco"
	"moco/engine"
	"moco/internal/atomicfile"
	"moco/recipe"
	"moco/tensor"
	"moco/weights"
)

// keepCheckpoints is how many checkpoints stay: the newest, and those to fall back to if it turns
// out damaged.
const keepCheckpoints = 3

// saved is a checkpoint as latest.json lists it.
type saved struct {
	File   string `json:"file"`
	Step   int    `json:"step"`
	SHA256 string `json:"sha256"`
}

// latest is the content of checkpoints/latest.json.
type latest struct {
	saved
	Previous []saved `json:"previous,omitempty"` // newest first
}

// checkpoints is the folder of that name in a run.
type checkpoints struct {
	dir   string
	list  []saved // newest first
	files atomicfile.FS
}

// save writes a file of tensors whole or not at all, and returns its SHA-256.
func (c *checkpoints) save(path string, f *weights.File) (sha string, err error) {
	return atomicfile.SaveOn(c.files, path, func(w io.Writer) error { return weights.Write(w, f) })
}

// errDiverged says that a variable is infinite or not a number.
var errDiverged = errors.New("the weights have diverged")

// notFinite finds an infinity or NaN among the elements of a float tensor.
func notFinite(t *tensor.Tensor) (float32, bool) {
	if t.Type != tensor.Float32 {
		return 0, false
	}
	for _, v := range t.Float32s() {
		if v-v != 0 {
			return v, true
		}
	}
	return 0, false
}

// write saves every variable of s: both encoders, the optimizer, the dictionary; and in the metadata
// what else a run goes on from. The bytes follow from these alone. A variable that holds NaN or Inf is
// refused: such a checkpoint would push out the good ones.
func (c *checkpoints) write(s engine.State, step int, metadata map[string]string) error {
	f := &weights.File{Metadata: metadata}
	for _, name := range s.Names() {
		t, err := s.Read(name)
		if err != nil {
			return err
		}
		if v, ok := notFinite(t); ok {
			return fmt.Errorf("%w: %s holds %v", errDiverged, name, v)
		}
		f.Tensors = append(f.Tensors, weights.Named{Name: name, Tensor: t})
	}
	name := fmt.Sprintf("step-%d.safetensors", step)
	sha, err := c.save(filepath.Join(c.dir, name), f)
	if err != nil {
		return err
	}
	list := []saved{{name, step, sha}}
	for _, old := range c.list {
		if old.File != name {
			list = append(list, old)
		}
	}
	list = list[:min(keepCheckpoints, len(list))]
	if _, err := atomicfile.SaveOn(c.files, filepath.Join(c.dir, "latest.json"), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(latest{list[0], list[1:]})
	}); err != nil {
		return err
	}
	c.list = list
	return c.prune()
}

// prune removes the checkpoints that latest.json names no more, and what a run that was killed had
// not come to remove.
func (c *checkpoints) prune() error {
	files, err := filepath.Glob(filepath.Join(c.dir, "step-*.safetensors"))
	if err != nil {
		return fmt.Errorf("list the old checkpoints: %w", err)
	}
	for _, f := range files {
		if slices.ContainsFunc(c.list, func(s saved) bool { return s.File == filepath.Base(f) }) {
			continue
		}
		if err := c.files.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old checkpoint: %w", err)
		}
	}
	return nil
}

// load returns the newest checkpoint that is whole, and tells of those that are not.
func (c *checkpoints) load(damaged func(file string, err error)) (*weights.File, error) {
	raw, err := os.ReadFile(filepath.Join(c.dir, "latest.json"))
	if errors.Is(err, os.ErrNotExist) {
		// A kill during the first save can leave one file that is not listed; more were listed
		// once.
		if files, _ := filepath.Glob(filepath.Join(c.dir, "step-*.safetensors")); len(files) > 1 {
			return nil, fmt.Errorf("resume: %s holds %d checkpoints but no latest.json, which says which are whole; "+
				"put it back, or start anew in another folder", c.dir, len(files))
		}
		return nil, fmt.Errorf("resume %s: %w", filepath.Dir(c.dir), ErrNoCheckpoint)
	}
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	var l latest
	if err := json.Unmarshal(raw, &l); err != nil {
		return nil, fmt.Errorf("resume: %s is damaged: %w", filepath.Join(c.dir, "latest.json"), err)
	}
	c.list = append([]saved{l.saved}, l.Previous...)
	for len(c.list) > 0 {
		newest := c.list[0]
		path := filepath.Join(c.dir, filepath.Base(newest.File))
		f, err := weights.Load(context.Background(), path) // a cancelled load would look like a damaged file
		if err == nil && f.SHA256 != newest.SHA256 {
			err = fmt.Errorf("%s has changed since it was written: its SHA-256 is not the one in latest.json", path)
		}
		if err == nil {
			return f, nil
		}
		damaged(newest.File, err)
		c.list = c.list[1:]
	}
	return nil, fmt.Errorf("resume: every checkpoint in %s is damaged; start anew in another folder", c.dir)
}

// restore writes a checkpoint's tensors to the variables.
func restore(f *weights.File, s engine.State) error {
	for _, name := range s.Names() {
		t := f.Get(name)
		if t == nil {
			return fmt.Errorf("resume: the checkpoint lacks %q", name)
		}
		if err := s.Write(name, t); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
	}
	return nil
}

const checkpointFormat = "moco-checkpoint-1"

// position is where in the run a checkpoint was written.
type position struct {
	step        int
	recipe      moco.Recipe
	fingerprint string // of the data
}

func (p position) metadata() map[string]string {
	return map[string]string{
		"format": checkpointFormat, "step": strconv.Itoa(p.step), "recipe": recipe.Write(p.recipe), "data": p.fingerprint,
	}
}

func readPosition(f *weights.File) (p position, err error) {
	m := f.Metadata
	if m["format"] != checkpointFormat {
		return p, fmt.Errorf("resume: the checkpoint is of format %q, not one that this version reads", m["format"])
	}
	if p.step, err = strconv.Atoi(m["step"]); err != nil {
		return p, fmt.Errorf("resume: the checkpoint's step is %q", m["step"])
	}
	p.fingerprint = m["data"]
	p.recipe, err = recipe.Parse(m["recipe"])
	return p, err
}

// differences names the keys in which two recipes differ, but for those that change nothing in what
// a step learns.
func differences(began, now moco.Recipe) []string {
	began.CheckpointEvery, began.MaxBad, began.Epochs = now.CheckpointEvery, now.MaxBad, now.Epochs
	return recipe.Differences(began, now)
}
