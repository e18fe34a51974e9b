// Package atomicfile writes files that appear whole or not at all.
//
// It is own code because no kept library does all of what runs, checkpoints and vectors need.
// github.com/google/renameio has no Windows and does not sync the folder, so a rename may be lost
// with the power; github.com/moby/sys/atomicwriter does not sync the folder either. Neither lets a
// test put a failing disk below it, and neither hashes what it writes.
package atomicfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is what Save needs of a file system. OS is the real one; package volatile has one for tests
// that loses what was not synced.
type FS interface {
	// CreateTemp makes a new file in dir, named as os.CreateTemp names it.
	CreateTemp(dir, pattern string) (File, error)
	// Rename puts a file in the place of another, in one step.
	Rename(from, to string) error
	// SyncDir makes the names in a folder last over a power cut.
	SyncDir(dir string) error
	// Remove deletes a file.
	Remove(name string) error
}

// File is a file that is being written; an *os.File is one.
type File interface {
	io.WriteCloser
	Name() string
	Chmod(mode fs.FileMode) error
	Sync() error
}

// OS is the operating system's file system.
type OS struct{}

// CreateTemp is os.CreateTemp.
func (OS) CreateTemp(dir, pattern string) (File, error) { return os.CreateTemp(dir, pattern) }

// Rename is os.Rename, which replaces an existing file on Windows too.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove is os.Remove.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir syncs a folder where the system can do that. An error is dropped: the file itself is safe
// by then, and some systems (Windows, some network shares) refuse to sync any folder.
func (OS) SyncDir(dir string) error {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
	return nil
}

// Append opens a file to write to its end, and makes it if it is not there.
func (OS) Append(name string) (File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
}

// MkdirAll is os.MkdirAll.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o755) }

// Save writes a file with the content that write produces and returns its SHA-256 in hexadecimal.
// The content is written aside in the same folder, synced and renamed to path. If anything fails,
// whatever stood at path before stays, and nothing is left aside. The error of a full disk says so
// and is syscall.ENOSPC, or its like on Windows, to errors.Is.
//
// A link at path stays, and the file that it leads to is written. A file that is replaced keeps its
// mode. A pipe, a device or an open file of a process (/dev/stdout) is written into.
func Save(path string, write func(io.Writer) error) (sha string, err error) {
	return SaveOn(OS{}, path, write)
}

// SaveOn is Save on another file system.
func SaveOn(system FS, path string, write func(io.Writer) error) (sha string, err error) {
	defer func() {
		if isFull(err) {
			err = fmt.Errorf("save %s: the disk is full; free some space there and go on: %w", path, err)
		} else if err != nil {
			err = fmt.Errorf("save %s: %w", path, err)
		}
	}()
	to, err := find(path)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	hashed := func(w io.Writer) error { return write(io.MultiWriter(w, hash)) }
	if to.stream {
		err = into(to.path, hashed)
	} else {
		err = replace(system, to, hashed)
	}
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// replace puts a new file in the place of another, or where none is.
func replace(system FS, to place, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(to.path)
	aside, err := system.CreateTemp(dir, "."+filepath.Base(to.path)+".*.tmp")
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if err != nil && !renamed {
			aside.Close()
			system.Remove(aside.Name())
		}
	}()
	if err := write(aside); err != nil {
		return err
	}
	if err := aside.Chmod(to.mode); err != nil {
		return err
	}
	if err := aside.Sync(); err != nil {
		return err
	}
	if err := aside.Close(); err != nil {
		return err
	}
	if err := system.Rename(aside.Name(), to.path); err != nil {
		return err
	}
	renamed = true
	return system.SyncDir(dir)
}

// Sum returns the SHA-256 of the file at path in hexadecimal, as Save does.
func Sum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
