// Package job does things in folders of their own, so that what was stopped goes on and what is
// done is not done again. A job's result lies in its folder and says what it holds for; only one
// process at a time works there (package lock).
package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"moco/internal/atomicfile"
	"moco/internal/lock"
)

// File is the name of a job's result in its folder.
const File = "result.json"

// State is how far a job has come.
type State int

// The states: nothing is there; it was begun; its result is there; what is there is of another job.
const (
	New State = iota
	Partial
	Done
	Other
)

func (s State) String() string { return [...]string{"new", "partial", "done", "other"}[s] }

// Result is what a job leaves behind, as JSON.
type Result interface {
	// Identity is what the result holds for.
	Identity() Identity
}

// Job is something done in a folder of its own.
type Job[T Result] struct {
	Folder   string
	Identity Identity // what the result will hold for
	// Begun tells whether there is work in the folder to go on with. It returns an *OtherError
	// where that is of another job. nil: the work has no parts, and begins again.
	Begun func() (bool, error)
	// Work does the job, or goes on with it. ctx holds the folder's lock.
	Work func(ctx context.Context, resume bool) (T, error)
	// Again tells of results that are not kept, so that the job is done anew the next time. May be
	// nil.
	Again func(T) bool
}

// State looks at the folder. With Done it returns the result that lies there. The error of Other is
// an *OtherError.
func (j Job[T]) State() (State, T, error) {
	var old T
	raw, err := os.ReadFile(j.path())
	if errors.Is(err, os.ErrNotExist) {
		return j.begun()
	}
	if err == nil {
		err = json.Unmarshal(raw, &old)
	}
	if err != nil {
		return Other, old, fmt.Errorf("read the result %s: %w; remove the file to have it made again", j.path(), err)
	}
	if changes := j.Identity.changes(old.Identity()); len(changes) > 0 {
		return Other, old, &OtherError{Folder: j.Folder, Changes: changes}
	}
	return Done, old, nil
}

func (j Job[T]) begun() (state State, none T, err error) {
	if j.Begun == nil {
		return New, none, nil
	}
	begun, err := j.Begun()
	switch {
	case err != nil:
		return Other, none, err
	case begun:
		return Partial, none, nil
	}
	return New, none, nil
}

func (j Job[T]) path() string { return filepath.Join(j.Folder, File) }

// Do does the job, or goes on with it, and puts the result into the folder, unless it is there:
// then it is returned. The error of a folder in which another process works is a *lock.LockedError.
func (j Job[T]) Do(ctx context.Context) (T, error) {
	state, result, err := j.State()
	if err != nil || state == Done {
		return result, err
	}
	ctx, release, err := Hold(ctx, j.Folder)
	if err != nil {
		return result, err
	}
	defer release()
	if state, result, err = j.State(); err != nil || state == Done { // by now
		return result, err
	}
	result, err = j.Work(ctx, state == Partial)
	if err != nil || j.Again != nil && j.Again(result) {
		return result, err
	}
	return result, write(j.path(), result)
}

// Hold makes a folder and locks it. A file system without locks is no error here: training, which
// all longer jobs are, warns of it.
func Hold(ctx context.Context, folder string) (held context.Context, release func(), err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return ctx, nil, fmt.Errorf("make a folder: %w", err)
	}
	held, release, err = lock.Folder(ctx, folder)
	if errors.As(err, new(*lock.UnsupportedError)) {
		return ctx, func() {}, nil
	}
	return held, release, err
}

// OccupiedError is the error of jobs beside which a file is to be written that somebody else's stands
// in the place of.
type OccupiedError struct{ Path string }

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("%s is there already, and is of nothing that was begun there", e.Path)
}

// Free tells whether files may be written into a folder of jobs, by name. Where one of the jobs was
// begun, which its folder shows, the files are theirs. The error is otherwise an *OccupiedError.
func Free(folder string, jobs, files []string) error {
	for _, j := range jobs {
		if _, err := os.Stat(filepath.Join(folder, j)); err == nil {
			return nil
		}
	}
	for _, f := range files {
		path := filepath.Join(folder, f)
		if err := atomicfile.Free(path, nil); errors.As(err, new(*atomicfile.ExistsError)) {
			return &OccupiedError{Path: path}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// write puts a result into a file.
func write(path string, result any) error {
	raw, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	_, err = atomicfile.Save(path, func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
	return err
}
