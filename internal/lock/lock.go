// Package lock keeps two processes from working in one place: in a run's folder, or on a journal.
//
// The lock is the kernel's (flock, or LockFileEx on Windows), on a file of its own. It ends with
// the process that holds it, however that ends, so it is never stale. Who holds it stands in the
// file, for messages only: nothing is decided by a process number, since numbers are used again.
//
// Only what writes takes the lock. Reading a run needs none.
package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// File is the name of the lock file in a folder. It is there while somebody holds the lock, and
// after a kill, when it means nothing.
const File = ".lock"

// grace is how long a lock that is held is tried again. A process that was killed holds its locks
// until the kernel has taken its memory back, and whoever killed it may be here before that.
const grace = time.Second

// retry is the pause between two tries.
const retry = 20 * time.Millisecond

// Holder is who holds a lock. The zero value is a process that did not come to say.
type Holder struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Command string    `json:"command"` // its arguments, cut to a line
	Since   time.Time `json:"since"`
}

func (h Holder) String() string {
	if h == (Holder{}) {
		return "another process"
	}
	return fmt.Sprintf("process %d on %s (%s), since %s", h.PID, h.Host, h.Command, h.Since.Format(time.DateTime))
}

// LockedError is the error of a place in which another process is at work.
type LockedError struct {
	Path   string // the folder or file
	Holder Holder
}

func (e *LockedError) Error() string { return fmt.Sprintf("%s is in use by %v", e.Path, e.Holder) }

// UnsupportedError is the error of a file system without locks, as some network shares are. Whoever
// goes on nevertheless must say that nothing keeps a second process away.
type UnsupportedError struct {
	Path string
	Err  error
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("the file system of %s has no locks (%v): nothing keeps a second process from writing there too",
		e.Path, e.Err)
}

// Unwrap returns what the system said.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// heldKey is the key of a lock in a context.
type heldKey string

// Folder locks a folder that is there. The lock is held until release is called. Who is called with
// the returned context may lock the same folder again: that is part of the same work.
// The error is a *LockedError, an *UnsupportedError, or one of the file system.
func Folder(ctx context.Context, folder string) (held context.Context, release func(), err error) {
	return hold(ctx, folder, filepath.Join(folder, File))
}

// Path locks a file, or the right to make one, by a file beside it. Otherwise it is as Folder.
func Path(ctx context.Context, path string) (held context.Context, release func(), err error) {
	return hold(ctx, path, path+File)
}

func hold(ctx context.Context, place, file string) (context.Context, func(), error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return ctx, nil, fmt.Errorf("lock %s: %w", place, err)
	}
	if ctx.Value(heldKey(file)) != nil {
		return ctx, func() {}, nil
	}
	f, err := take(ctx, file)
	switch {
	case unsupported(err):
		os.Remove(file) // which was made to be locked
		return ctx, nil, &UnsupportedError{Path: place, Err: err}
	case err != nil:
		return ctx, nil, fmt.Errorf("lock %s: %w", place, err)
	case f == nil:
		return ctx, nil, &LockedError{Path: place, Holder: holder(file)}
	}
	sign(file)
	return context.WithValue(ctx, heldKey(file), f), func() { give(f, file) }, nil
}

// take tries to lock a file until the grace is over. It returns nil if another process holds it.
func take(ctx context.Context, file string) (*flock.Flock, error) {
	until := time.Now().Add(grace)
	for {
		// Some network file systems lock only what is open for writing.
		f := flock.New(file, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o666))
		got, err := f.TryLock()
		if err != nil {
			return nil, err
		}
		if got && same(f, file) {
			return f, nil
		}
		f.Unlock()
		if !got && time.Now().After(until) {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retry):
		}
	}
}

// same tells whether the file that was locked is the one that has the name. Its last holder may
// have removed it after it was opened here.
func same(f *flock.Flock, file string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(file)
	return err == nil && os.SameFile(mine, now)
}

// give removes the lock file and lets the lock go. Where an open file cannot be removed it goes
// after that; if somebody has opened it by then, it stays, and is theirs.
func give(f *flock.Flock, file string) {
	if runtime.GOOS == "windows" {
		f.Unlock()
		os.Remove(file)
		return
	}
	if same(f, file) {
		os.Remove(file)
	}
	f.Unlock()
}

// holderAt is where the holder stands in the file: on Windows a lock keeps others from reading the
// first byte.
const holderAt = 1

// sign writes down who holds the lock. That it is not written, or not whole, harms only a message.
func sign(file string) {
	host, _ := os.Hostname()
	now := time.Now().Truncate(time.Second)
	line, err := json.Marshal(Holder{PID: os.Getpid(), Host: host, Command: command(), Since: now})
	if err != nil {
		return
	}
	w, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer w.Close()
	w.WriteAt(append(line, '\n'), holderAt) // over that of one who was killed; what is left of it is not read
}

// command is how this process was called.
func command() string {
	const most = 200
	args := append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
	text := strings.Join(strings.Fields(strings.Join(args, " ")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// holder reads who holds the lock.
func holder(file string) (h Holder) {
	r, err := os.Open(file)
	if err != nil {
		return h
	}
	defer r.Close()
	if err := json.NewDecoder(io.NewSectionReader(r, holderAt, 1<<16)).Decode(&h); err != nil {
		return Holder{}
	}
	return h
}

// unsupported tells whether an error says that there are no locks, rather than that one is held.
func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK)
}
