package pretrain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"moco"
	"moco/encoder"
	"moco/internal/atomicfile"
	"moco/internal/lock"
	"moco/recipe"
)

// folder is a run's folder. Only this file and checkpoint.go know what lies in it:
//
//	config.yaml          the recipe as resolved, and how to repeat the run
//	log.jsonl            every event, appended
//	events.out.tfevents* the numbers among them, for TensorBoard; a file for each process
//	checkpoints/         step-N.safetensors, and latest.json, which says which are whole
//	encoder.safetensors  the query encoder as of the last checkpoint
//	.lock                while a process works there
type folder string

func (f folder) config() string  { return filepath.Join(string(f), "config.yaml") }
func (f folder) log() string     { return LogPath(string(f)) }
func (f folder) encoder() string { return filepath.Join(string(f), encoder.File) }

func (f folder) checkpoints() string { return filepath.Join(string(f), "checkpoints") }

// LogPath is where the run in a folder has its events. ReadLog reads them.
func LogPath(folder string) string { return filepath.Join(folder, "log.jsonl") }

// IsRun tells whether a run has begun in a folder.
func IsRun(path string) bool {
	_, err := os.Stat(folder(path).config())
	return err == nil
}

// Begun tells whether a run has begun in a folder that can go on to an end after so many epochs.
// The error of one that began with another number of epochs is an *OtherError: Run would stretch
// its schedule, and the result would not be that of a run of this length. A damaged run is for Run
// to tell.
func Begun(path string, epochs moco.Epochs) (bool, error) {
	began, err := folder(path).recipe()
	switch {
	case err != nil:
		return IsRun(path), nil
	case began.Epochs != epochs:
		change := fmt.Sprintf("epochs is %v and was %v", epochs, began.Epochs)
		return true, &OtherError{Folder: path, Changes: []string{change}}
	}
	return true, nil
}

// CheckNew says whether a new run can begin in a folder, which need not exist: a *NotEmptyError if it
// holds something. Run asks again.
func CheckNew(path string) error {
	empty, err := folder(path).empty()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look into the run's folder: %w", err)
	}
	if err == nil && !empty {
		return &NotEmptyError{Folder: path}
	}
	return nil
}

func (f folder) recipe() (moco.Recipe, error) {
	raw, err := os.ReadFile(f.config())
	if err != nil {
		return moco.Recipe{}, err
	}
	return recipe.Parse(string(raw))
}

// start makes the folder of a new run.
func (r *run) start(ctx context.Context) error {
	if err := r.startGiven(); err != nil {
		return err
	}
	if err := r.makeFolder(r.o.Out); err != nil {
		return err
	}
	if err := r.lock(ctx); err != nil {
		return err
	}
	empty, err := r.folder.empty()
	if err != nil {
		return fmt.Errorf("look into the run's folder: %w", err)
	}
	if !empty {
		return &NotEmptyError{Folder: r.o.Out}
	}
	r.folder.tidy()
	if err := r.writeConfig(); err != nil {
		return err
	}
	return r.initialise()
}

// makeFolder makes a folder that lasts over a power cut.
func (r *run) makeFolder(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := r.files.MkdirAll(path); err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	return r.files.SyncDir(filepath.Dir(path))
}

// lock keeps other processes from the folder until the run is closed.
func (r *run) lock(ctx context.Context) error {
	_, release, err := r.hold(ctx, r.o.Out)
	var unsupported *lock.UnsupportedError
	if errors.As(err, &unsupported) {
		r.later("%v; start no other", unsupported)
		return nil
	}
	if err != nil {
		return err
	}
	r.release = release
	return nil
}

// empty tells whether nothing is in the folder but the lock, and what a run leaves that is stopped
// before its config.yaml is whole.
func (f folder) empty() (bool, error) {
	entries, err := os.ReadDir(string(f))
	for _, e := range entries {
		aside, _ := filepath.Match(asideOf(f.config()), e.Name())
		if e.Name() != lock.File && !aside {
			return false, err
		}
	}
	return true, err
}

// asideOf is the pattern of the names under which a file is written before it appears.
func asideOf(path string) string { return "." + filepath.Base(path) + ".*.tmp" }

// tidy removes what saves that were killed left behind. The folder must be locked: those of a
// process that lives look the same.
func (f folder) tidy() {
	for _, dir := range []string{string(f), f.checkpoints()} {
		leftovers, _ := filepath.Glob(filepath.Join(dir, ".*.tmp"))
		for _, l := range leftovers {
			os.Remove(l)
		}
	}
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
	_, err := atomicfile.SaveOn(r.files, r.folder.config(), func(w io.Writer) error {
		_, err := io.WriteString(w, config)
		return err
	})
	return err
}

// resume loads the newest checkpoint that is whole and holds it to the run that was asked for.
func (r *run) resume(ctx context.Context) error {
	if err := r.lock(ctx); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("resume %s: %w", r.o.Out, ErrNoCheckpoint)
	} else if err != nil {
		return err
	}
	r.folder.tidy()
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
		change := fmt.Sprintf("the images are %s, with the fingerprint %s, and were others, with %s",
			r.o.DataPath, r.fingerprint, at.fingerprint)
		return &OtherError{Folder: r.o.Out, Changes: []string{change}}
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

// restart begins a run again that was killed before its first checkpoint: it has a recipe, and
// nothing learned to lose.
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
		return &OtherError{Folder: r.o.Out, Changes: d}
	}
	if began.Epochs != r.recipe.Epochs {
		r.later("the run began with %v epochs and goes on with the schedule of %v: "+
			"its result is not that of a run of %v epochs from the start", began.Epochs, r.recipe.Epochs, r.recipe.Epochs)
	}
	return nil
}

// later keeps a warning until the log is open.
func (r *run) later(format string, a ...any) {
	r.events.later(Warning{Step: r.step, Message: fmt.Sprintf(format, a...)})
}
