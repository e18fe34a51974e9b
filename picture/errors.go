package picture

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// UnsupportedError is a file of a known format or kind that is not read.
type UnsupportedError struct {
	Format string // as Sniff names it: "tiff", "heic"
	Kind   string // what of the format it is, such as "CIELab colours"; empty: the format as a whole
}

// Error names format and kind, and what to do about it.
func (e *UnsupportedError) Error() string {
	if e.Kind != "" {
		return fmt.Sprintf("a %s with %s, which is not read; convert it to PNG or JPEG", e.Format, e.Kind)
	}
	name := e.Format
	if long, ok := longNames[e.Format]; ok {
		name = long
	}
	switch e.Format {
	case "heic", "avif":
		return fmt.Sprintf("it is %s, which this build does not read; convert it to JPEG or PNG, "+
			"or build with -tags heic,nodynamic", name)
	case "pdf", "svg", "ps", "mp4", "mov", "avi", "mkv", "mpeg", "flv", "wmv", "zip", "gzip", "html":
		return fmt.Sprintf("it is %s, not a picture", name)
	}
	return fmt.Sprintf("it is %s, which is not read; convert it to PNG or JPEG", name)
}

// DamagedError is a picture whose data make no sense or end too early.
type DamagedError struct {
	Format string
	Err    error // what is wrong; wraps io.ErrUnexpectedEOF for a file that is cut short
}

// Error says whether the file is cut short or damaged otherwise.
func (e *DamagedError) Error() string {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) {
		return fmt.Sprintf("the %s data end too early: the file is cut short", e.Format)
	}
	return fmt.Sprintf("the %s data are damaged (%v)", e.Format, e.Err)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// TooLargeError is a picture of more pixels than are allowed, told by its header before memory is
// taken.
type TooLargeError struct {
	Format        string // empty: not from a file
	Width, Height int
	MaxPixels     int
}

// Error gives the size and the limit.
func (e *TooLargeError) Error() string {
	what := strings.TrimSpace(e.Format + " image")
	return fmt.Sprintf("the %s has %dx%d pixels, more than the %d allowed", what, e.Width, e.Height, e.MaxPixels)
}

// NotPictureError is a file of no known format.
type NotPictureError struct {
	Head []byte // the first bytes, at most 64
}

// Error says what the file looks like instead.
func (e *NotPictureError) Error() string {
	if len(e.Head) == 0 {
		return "the file is empty (0 bytes)"
	}
	odd := func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) }
	if strings.IndexFunc(string(e.Head[:max(1, len(e.Head)-3)]), odd) < 0 {
		return fmt.Sprintf("it is text (%.20q), not an image", e.Head)
	}
	return fmt.Sprintf("its first bytes (% x) are those of no known image format", e.Head[:min(len(e.Head), 8)])
}

// notPicture returns the error of content that no format claims.
func notPicture(content []byte) error {
	return &NotPictureError{Head: append([]byte(nil), content[:min(len(content), 64)]...)}
}

// errShort is the cause of a file that ends before its data do.
var errShort = io.ErrUnexpectedEOF

// damaged words what a reader of a format failed with. Errors of this package that say more stay as
// they are.
func damaged(format string, err error) error {
	var unsupported *UnsupportedError
	var broken *DamagedError
	var large *TooLargeError
	if errors.As(err, &unsupported) || errors.As(err, &broken) || errors.As(err, &large) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = errShort
	}
	return &DamagedError{Format: format, Err: err}
}

// recovered turns a library's panic into an error: one hostile file must not end a run of days.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the decoder failed on it (%v)", p)
	}
}
