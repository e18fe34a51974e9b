package pretrain

import (
	"errors"
	"fmt"

	"moco/internal/job"
	"moco/internal/lock"
)

// ErrInterrupted is what Run returns when its context ended: the step was finished, and a
// checkpoint written.
var ErrInterrupted = errors.New("interrupted; the run is saved, and resuming goes on with it")

// ErrNoCheckpoint says that a folder holds nothing to resume from.
var ErrNoCheckpoint = errors.New("it holds no checkpoint to resume from")

// DivergedError is the error of a run whose numbers are no longer finite.
type DivergedError struct{ Err error }

func (e *DivergedError) Error() string { return e.Err.Error() }

// Unwrap returns what happened, and at which step.
func (e *DivergedError) Unwrap() error { return e.Err }

// BatchError is the error of a batch larger than the set.
type BatchError struct{ Batch, Images int }

func (e *BatchError) Error() string {
	return fmt.Sprintf("batch: %d is more than the %d images there are", e.Batch, e.Images)
}

// MemoryError is the error of a run that would not fit into memory. Fits is the largest batch that
// would, 0 if none.
type MemoryError struct {
	Batch, Fits int
	Need, Limit int64 // bytes
}

func (e *MemoryError) Error() string {
	fits := fmt.Sprintf("a batch of %d would fit", e.Fits)
	if e.Fits == 0 {
		fits = "no batch fits; use a smaller encoder, queue or views.size"
	}
	return fmt.Sprintf("a batch of %d needs %d MB and %d MB are free; %s", e.Batch, e.Need>>20, e.Limit>>20, fits)
}

// NotEmptyError is the error of a new run in a folder that holds something.
type NotEmptyError struct{ Folder string }

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("%s is not empty; a new run needs a folder of its own", e.Folder)
}

// StartError is the error of a recipe that starts from an encoder which was not given.
type StartError struct{ SHA256 string }

func (e *StartError) Error() string {
	return fmt.Sprintf("start: the recipe starts from the encoder with the SHA-256 %s, which is not given", e.SHA256)
}

// OtherError is the error of a folder whose run began with other data or another recipe.
type OtherError = job.OtherError

// LockedError is the error of a folder in which another process is at work.
type LockedError = lock.LockedError

// SaveError is the error of a step that cannot be written. Kept is the step of the newest
// checkpoint, from which resuming goes on; 0 if there is none.
type SaveError struct {
	What string // "step 7", or "the encoder of step 7"
	Kept int
	Err  error
}

func (e *SaveError) Error() string {
	kept := "there is no checkpoint before it"
	if e.Kept > 0 {
		kept = fmt.Sprintf("the checkpoint of step %d is kept, and resuming goes on from there", e.Kept)
	}
	return fmt.Sprintf("%s cannot be saved; %s: %v", e.What, kept, e.Err)
}

// Unwrap returns why.
func (e *SaveError) Unwrap() error { return e.Err }
