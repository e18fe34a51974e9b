// Package volatile is a file system for tests that forgets what was not synced when its power goes.
//
// SIGKILL ends a process but loses no write: the kernel has them all. A power cut does, in the
// order it likes. FS works on a real folder, counts every place where a program asks for something
// to last, and at the one that the test names it undoes or damages whatever was not synced by then.
package volatile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"moco/internal/atomicfile"
)

// ErrPowerCut is returned by every call after the power went, and by the one at which it went.
var ErrPowerCut = errors.New("the power went (a test's file system)")

// Damage says what becomes of content that was written but not synced.
type Damage int

// The kinds of damage: the file ends where it was last synced; half of what followed is there; all
// of its length is there, but as zeros, which is what a file system leaves that logs sizes alone;
// or all of it has reached the disk after all.
const (
	Lost Damage = iota
	Cut
	Garbled
	Kept
)

func (d Damage) String() string { return [...]string{"lost", "cut", "garbled", "kept"}[d] }

// FS is an atomicfile.FS that can append and make folders besides. The zero value never loses
// anything and counts. It is safe for concurrent use; its fields are set before the first call.
type FS struct {
	// At is the place at which the power goes: the nth call, from 1, of Sync, Rename or SyncDir.
	// The call itself does nothing. 0: never.
	At int
	// Damage is what happens to unsynced content.
	Damage Damage
	// KeepRenames says that names (renames, new folders and files) have reached the disk although
	// their folder was not synced. Both happens: it must not matter to the program.
	KeepRenames bool

	mu      sync.Mutex
	places  []Place
	off     bool
	files   map[string]*file // by their present names
	renames []rename         // not synced, oldest first
}

// rename is what undoes one.
type rename struct {
	from, to string // from is empty for a name that is new: of a folder, or a file made to append to
	replaced []byte // content that stood at to
	there    bool   // whether anything did
}

// undo does what a power cut does to a name that was not synced.
func (r rename) undo() error {
	if r.from == "" {
		return os.RemoveAll(r.to)
	}
	if err := os.Rename(r.to, r.from); err != nil || !r.there {
		return err
	}
	return os.WriteFile(r.to, r.replaced, 0o644)
}

// Place is a call at which the power could go, and what would be at stake. Where nothing is, all
// kinds of damage leave the same.
type Place struct {
	Content bool // of files that were not synced and have their final names
	Names   bool // of which the folder was not synced
}

// Places are the calls so far at which the power could have gone.
func (s *FS) Places() []Place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.places)
}

// place counts a call that makes something last. The caller holds mu.
func (s *FS) place() error {
	if s.off {
		return ErrPowerCut
	}
	at := Place{Names: len(s.renames) > 0}
	for _, f := range s.files {
		at.Content = at.Content || !f.aside && f.written > f.synced
	}
	if s.places = append(s.places, at); len(s.places) != s.At {
		return nil
	}
	s.off = true
	if err := s.crash(); err != nil {
		return fmt.Errorf("%w; besides, the damage could not be done: %w", ErrPowerCut, err)
	}
	return ErrPowerCut
}

// crash damages what was not synced.
func (s *FS) crash() error {
	for name, f := range s.files {
		if err := f.damage(name, s.Damage); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if s.KeepRenames {
		return nil
	}
	for i := len(s.renames) - 1; i >= 0; i-- {
		if err := s.renames[i].undo(); err != nil {
			return err
		}
	}
	return nil
}

// CreateTemp makes a file that lasts only as far as it is synced.
func (s *FS) CreateTemp(dir, pattern string) (atomicfile.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return nil, ErrPowerCut
	}
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	if s.files == nil {
		s.files = map[string]*file{}
	}
	s.files[f.Name()] = &file{real: f, system: s, aside: true}
	return s.files[f.Name()], nil
}

// Append opens a file for appending. What it holds already was synced.
func (s *FS) Append(name string) (atomicfile.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return nil, ErrPowerCut
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		s.renames = append(s.renames, rename{to: name})
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if s.files == nil {
		s.files = map[string]*file{}
	}
	s.files[name] = &file{real: f, system: s, written: size, synced: size}
	return s.files[name], nil
}

// MkdirAll makes a folder, for the time being: until the one above it is synced, a power cut may
// take it away with all that it holds.
func (s *FS) MkdirAll(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return ErrPowerCut
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		s.renames = append(s.renames, rename{to: d})
	}
	return os.MkdirAll(dir, 0o755)
}

// Rename renames, for the time being: until the folder is synced, a power cut may undo it.
func (s *FS) Rename(from, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.place(); err != nil {
		return err
	}
	replaced, err := os.ReadFile(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := err == nil
	if err := os.Rename(from, to); err != nil {
		return err
	}
	s.renames = append(s.renames, rename{from: from, to: to, replaced: replaced, there: there})
	delete(s.files, to)
	if f := s.files[from]; f != nil {
		s.files[to], f.aside = f, false
		delete(s.files, from)
	}
	return nil
}

// SyncDir makes the renames in a folder last.
func (s *FS) SyncDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.place(); err != nil {
		return err
	}
	var open []rename
	for _, r := range s.renames {
		if filepath.Clean(filepath.Dir(r.to)) != filepath.Clean(dir) {
			open = append(open, r)
		}
	}
	s.renames = open
	return nil
}

// Remove deletes a file.
func (s *FS) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return ErrPowerCut
	}
	delete(s.files, name)
	return os.Remove(name)
}

// file is a file that counts what it was synced to. The os.File is not embedded: its WriteString
// and ReadFrom would go past the counting.
type file struct {
	real            *os.File
	system          *FS
	aside           bool // it has the name that CreateTemp gave it
	written, synced int64
}

func (f *file) Name() string                 { return f.real.Name() }
func (f *file) Chmod(mode fs.FileMode) error { return f.real.Chmod(mode) }
func (f *file) Close() error                 { return f.real.Close() }

// Write writes to the end.
func (f *file) Write(b []byte) (int, error) {
	f.system.mu.Lock()
	defer f.system.mu.Unlock()
	if f.system.off {
		return 0, ErrPowerCut
	}
	n, err := f.real.Write(b)
	f.written += int64(n)
	return n, err
}

// Sync makes what was written so far last.
func (f *file) Sync() error {
	f.system.mu.Lock()
	defer f.system.mu.Unlock()
	if err := f.system.place(); err != nil {
		return err
	}
	f.synced = f.written
	return nil
}

// damage does to a file what a power cut does.
func (f *file) damage(name string, d Damage) error {
	unsynced := f.written - f.synced
	switch d {
	case Kept:
		return nil
	case Cut:
		return os.Truncate(name, f.synced+unsynced/2)
	case Garbled:
		w, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer w.Close()
		_, err = w.WriteAt(make([]byte, unsynced), f.synced)
		return err
	}
	return os.Truncate(name, f.synced)
}
