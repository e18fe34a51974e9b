package pretrain

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"moco"
	"moco/encoder"
	"moco/internal/atomicfile"
	"moco/recipe"
)

// folder is a run's folder. Only this file and checkpoint.go know what lies in it:
//
//	config.yaml          the recipe as resolved, and how to repeat the run
//	log.jsonl            every event, appended
//	checkpoints/         step-N.safetensors, and latest.json, which says which are whole
//	encoder.safetensors  the query encoder as of the last checkpoint
type folder string

func (f folder) config() string  { return filepath.Join(string(f), "config.yaml") }
func (f folder) log() string     { return LogPath(string(f)) }
func (f folder) encoder() string { return filepath.Join(string(f), encoder.File) }

// LogPath is where the run in a folder has its events. ReadLog reads them.
func LogPath(folder string) string { return filepath.Join(folder, "log.jsonl") }

// IsRun tells whether a run has begun in a folder.
func IsRun(path string) bool {
	_, err := os.Stat(folder(path).config())
	return err == nil
}

// Began is the recipe of the run that has begun in a folder, and whether one has. A damaged one is
// for Run to tell.
func Began(path string) (moco.Recipe, bool) {
	r, err := folder(path).recipe()
	return r, err == nil
}

func (f folder) recipe() (moco.Recipe, error) {
	raw, err := os.ReadFile(f.config())
	if err != nil {
		return moco.Recipe{}, err
	}
	return recipe.Parse(string(raw))
}

// start makes the folder of a new run.
func (r *run) start() error {
	if entries, err := os.ReadDir(r.o.Out); err == nil && len(entries) > 0 {
		return &NotEmptyError{Folder: r.o.Out}
	}
	if err := r.startGiven(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.o.Out, 0o755); err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	if err := r.writeConfig(); err != nil {
		return err
	}
	return r.initialise()
}

// startGiven refuses a recipe that names an encoder to start from, which is not there.
func (r *run) startGiven() error {
	if r.recipe.Start != "" && r.o.Start == nil {
		return &recipe.Error{Err: &StartError{SHA256: r.recipe.Start}}
	}
	return nil
}

// initialise gives the variables their values before the first step.
func (r *run) initialise() error {
	if r.o.Start == nil {
		return moco.Initialise(r.recipe, r.state, nil)
	}
	trained, err := r.o.Start.Start(r.recipe)
	if err != nil {
		return err
	}
	return moco.Initialise(r.recipe, r.state, trained)
}

// writeConfig writes the recipe with what else the run depends on.
func (r *run) writeConfig() error {
	config := fmt.Sprintf("# Repeat with: moco train --recipe config.yaml --data %q%s\n# data: %d images, fingerprint %s\n%s",
		r.o.DataPath, r.o.DataArgs, r.o.Data.Len(), r.fingerprint, recipe.Write(*r.recipe))
	_, err := atomicfile.Save(r.folder.config(), func(w io.Writer) error {
		_, err := io.WriteString(w, config)
		return err
	})
	return err
}

// resume loads the newest checkpoint that is whole and holds it to the run that was asked for.
func (r *run) resume() error {
	f, err := r.checkpoints.load(func(file string, err error) {
		r.later("checkpoint %s is damaged (%v); going back to the one before it", file, err)
	})
	if errors.Is(err, ErrNoCheckpoint) {
		return r.restart(err)
	}
	if err != nil {
		return err
	}
	at, err := readPosition(f)
	if err != nil {
		return err
	}
	if at.fingerprint != r.fingerprint {
		return &OtherRunError{Data: r.o.DataPath}
	}
	if err := r.sameRun(at.recipe); err != nil {
		return err
	}
	r.step = at.step
	if err := restore(f, r.state); err != nil {
		return err
	}
	if recipe.Write(at.recipe) != recipe.Write(*r.recipe) {
		if err := r.writeConfig(); err != nil {
			return err
		}
	}
	return r.saveEncoder() // a kill may have left that of another step
}

// restart begins a run again that was killed before its first checkpoint: it has a recipe, and nothing
// learned to lose.
func (r *run) restart(none error) error {
	began, err := r.folder.recipe()
	if errors.Is(err, os.ErrNotExist) {
		return none
	}
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	if err := r.sameRun(began); err != nil {
		return err
	}
	if err := r.startGiven(); err != nil {
		return err
	}
	r.later("the run was stopped before its first checkpoint; it begins again")
	if err := r.writeConfig(); err != nil {
		return err
	}
	return r.initialise()
}

// sameRun holds the recipe to the one that the run began with.
func (r *run) sameRun(began moco.Recipe) error {
	if d := differences(began, *r.recipe); len(d) > 0 {
		return &OtherRunError{Recipe: d}
	}
	if began.Epochs != r.recipe.Epochs {
		r.later("the run began with %d epochs and goes on with the schedule of %d: its result is not that of a run of %d epochs from the start",
			began.Epochs, r.recipe.Epochs, r.recipe.Epochs)
	}
	return nil
}

// later keeps a warning until the log is open.
func (r *run) later(format string, a ...any) {
	r.events.later(Warning{Step: r.step, Message: fmt.Sprintf(format, a...)})
}
