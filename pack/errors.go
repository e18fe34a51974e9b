package pack

import (
	"context"
	"fmt"
)

// StoppedError is the error of a run whose context ended. errors.Is finds context.Canceled in it.
type StoppedError struct{ Done, Images int }

func (e *StoppedError) Error() string {
	return fmt.Sprintf("interrupted after %d of %d images; the shards that are whole are kept", e.Done, e.Images)
}

// Is tells that the run was stopped from outside.
func (*StoppedError) Is(target error) bool { return target == context.Canceled }

// NotEmptyError is the error of a new run in a folder that holds something.
type NotEmptyError struct {
	Folder string
	Packed bool // by another run, or a stopped one
}

func (e *NotEmptyError) Error() string {
	if e.Packed {
		return fmt.Sprintf("%s holds packed images", e.Folder)
	}
	return fmt.Sprintf("%s is not empty; packed images need a folder of their own", e.Folder)
}

// OtherRunError is the error of going on with other images or options than the run began with.
type OtherRunError struct{ Manifest, Differences string }

func (e *OtherRunError) Error() string {
	return fmt.Sprintf("it is not the same run: by %s, %s; leave all as it was, or pack into another folder", e.Manifest, e.Differences)
}

// BadImagesError is the error of more unreadable images than Options.MaxBad allows.
type BadImagesError struct {
	Bad, Images int
	Limit       float64
	Last        error // of the last image
}

func (e *BadImagesError) Error() string {
	return fmt.Sprintf("%d of %d images cannot be read, more than the share of %v that is allowed; the last one: %v",
		e.Bad, e.Images, e.Limit, e.Last)
}

// Unwrap returns the error of the last image.
func (e *BadImagesError) Unwrap() error { return e.Last }
