package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Save writes f to path and returns the SHA-256 of the file. The file appears whole or not at all: it is written aside, synced and
// renamed, and whatever stood at path before stays if anything fails.
func Save(path string, f *File) (sha string, err error) {
	return SaveFunc(path, func(w io.Writer) error { return Write(w, f) })
}

// SaveFunc is Save for any content.
func SaveFunc(path string, write func(io.Writer) error) (sha string, err error) {
	defer func() {
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("save %s: the disk is full; free some space there and go on: %w", path, err)
		} else if err != nil {
			err = fmt.Errorf("save %s: %w", path, err)
		}
	}()
	dir := filepath.Dir(path)
	aside, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			aside.Close()
			os.Remove(aside.Name())
		}
	}()
	hash := sha256.New()
	if err := write(io.MultiWriter(aside, hash)); err != nil {
		return "", err
	}
	if err := aside.Chmod(0o644); err != nil {
		return "", err
	}
	if err := aside.Sync(); err != nil {
		return "", err
	}
	if err := aside.Close(); err != nil {
		return "", err
	}
	if err := os.Rename(aside.Name(), path); err != nil {
		return "", err
	}
	syncFolder(dir)
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// syncFolder makes a rename last over a power cut. Not every system can sync a folder, and the file itself is safe: an error means nothing.
func syncFolder(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}

// Read reads a file of the given size: safetensors, or one that torch.save has written, which is known by how it starts. Types of 16 bits and float64
// become float32; small integers become int32. A file that breaks a rule of its format is refused, with the rule: nothing is guessed, and nothing
// that a pickle names is run.
func Read(r io.ReaderAt, size int64) (*File, error) {
	start := make([]byte, min(size, 512))
	if n, err := r.ReadAt(start, 0); n < len(start) {
		return nil, fmt.Errorf("read the file's start: %w", err)
	}
	for _, format := range formats {
		if format.is(start) {
			f, err := format.read(r, size)
			if err != nil {
				return nil, err
			}
			return f.file()
		}
	}
	return readSafetensors(r, size)
}

// Load reads the file at path as Read does and returns it with its SHA-256.
func Load(path string) (f *File, sha string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("load weights: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("load weights: %w", err)
	}
	if f, err = Read(file, info.Size()); err != nil {
		return nil, "", fmt.Errorf("load %s: %w", path, err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return nil, "", fmt.Errorf("load %s: %w", path, err)
	}
	return f, hex.EncodeToString(hash.Sum(nil)), nil
}

// Sum is the SHA-256 of the file at path.
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
