package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// place is where the content for a path goes.
type place struct {
	path   string      // of the file itself: links are followed
	stream bool        // it can only be written into: a pipe, a device, an open file of a process
	mode   fs.FileMode // of the file that is there
}

// find follows the links of a path. A link may lead to a file that is not there yet.
func find(path string) (place, error) {
	const mostLinks = 40 // as Linux has it
	at := path
	for range mostLinks {
		if descriptor(at) {
			return place{path: at, stream: true}, nil
		}
		info, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return place{path: at, mode: 0o644}, nil
		case err != nil:
			return place{}, err
		case info.IsDir():
			return place{}, &fs.PathError{Op: "write", Path: at, Err: syscall.EISDIR}
		case info.Mode()&fs.ModeSymlink == 0:
			return place{path: at, stream: !info.Mode().IsRegular(), mode: info.Mode().Perm()}, nil
		}
		if at, err = follow(at); err != nil {
			return place{}, err
		}
	}
	return place{}, &fs.PathError{Op: "follow", Path: path, Err: syscall.ELOOP}
}

// follow returns what a link leads to.
func follow(link string) (string, error) {
	to, err := os.Readlink(link)
	if err != nil || filepath.IsAbs(to) {
		return to, err
	}
	// The link's own folder may be a link too, and ".." then leads out of what that leads to.
	dir, err := filepath.EvalSymlinks(filepath.Dir(link))
	return filepath.Join(dir, to), err
}

// descriptor tells whether a path names an open file of a process, such as /dev/stdout or what a
// shell makes of >(command). Such a file is written into, even where it is one on a disk: whoever
// opened it goes on with it.
func descriptor(path string) bool {
	path = filepath.ToSlash(filepath.Clean(path))
	dir := path[:strings.LastIndexByte(path, '/')+1]
	return path == "/dev/stdout" || path == "/dev/stderr" || dir == "/dev/fd/" ||
		strings.HasPrefix(dir, "/proc/") && strings.HasSuffix(dir, "/fd/")
}

// into writes into a pipe, a device or an open file.
func into(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// ExistsError is the error of an output whose place is taken by a file that may not be replaced.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string { return fmt.Sprintf("%s is there already", e.Path) }

// Free tells whether Save may write to a path: nothing is there, or something that is written into,
// or a file that holds nothing, or one of which own says that it may be replaced. Otherwise the
// error is an *ExistsError. A nil own is true of no file.
func Free(path string, own func(path string) bool) error {
	p, err := find(path)
	if err != nil || p.stream {
		return err
	}
	info, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || info.Size() == 0 || own != nil && own(p.path) {
		return err
	}
	return &ExistsError{Path: path}
}
