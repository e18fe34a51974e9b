package embed

import (
	"context"
	"fmt"

	"moco/internal/atomicfile"
	"moco/internal/lock"
)

// StoppedError is the error of a run whose context ended. errors.Is finds context.Canceled in it.
type StoppedError struct {
	Done, Images int
	// Kept tells where the rows are: in a journal, from which a run can resume, or else in a
	// database.
	Kept bool
	// Shard is true of a run on a shard, which goes on without Resume.
	Shard bool
}

func (e *StoppedError) Error() string {
	if e.Kept {
		return fmt.Sprintf("interrupted after %d of %d images; what is done is kept", e.Done, e.Images)
	}
	return fmt.Sprintf("interrupted after %d of %d images, which are in the database", e.Done, e.Images)
}

// Is makes errors.Is find context.Canceled.
func (*StoppedError) Is(target error) bool { return target == context.Canceled }

// LockedError is the error of a run whose journal another process is writing.
type LockedError = lock.LockedError

// UnfinishedError is the error of a new run that finds the journal of a stopped one.
type UnfinishedError struct{ Journal string }

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("%s is what a stopped run left", e.Journal)
}

// ExistsError is the error of a run one of whose output files exists already.
type ExistsError = atomicfile.ExistsError

// OtherRunError is the error of resuming a run with other settings than it began with.
type OtherRunError struct {
	Journal     string
	Differences string // "batch was 64 and is 32, ..."
}

func (e *OtherRunError) Error() string {
	return fmt.Sprintf("it is not the same run: %s; leave all as it was, or remove %s to begin anew", e.Differences, e.Journal)
}

// OtherShardsError is the error of a shard that would not be made as the others of its set are.
type OtherShardsError struct {
	Path        string // the file that tells how the others are made
	Differences string // "batch was 64 and is 32, ..."
}

func (e *OtherShardsError) Error() string {
	return fmt.Sprintf("the other shards are not made so, as %s tells: %s; make all of them alike, or in another folder",
		e.Path, e.Differences)
}

// BadImagesError is the error of more unreadable images than Options.MaxBad allows.
type BadImagesError struct {
	Bad, Images int
	Limit       float64 // Options.MaxBad
	Kept        bool    // the journal keeps what is done
	Last        error   // the error of the last image
}

func (e *BadImagesError) Error() string {
	return fmt.Sprintf("%d of %d images cannot be read, more than the share of %v that is allowed; the last one: %v",
		e.Bad, e.Images, e.Limit, e.Last)
}

// Unwrap returns the error of the last image.
func (e *BadImagesError) Unwrap() error { return e.Last }
