package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"moco/internal/atomicfile"
)

// Save writes f to path and returns the SHA-256 of the file. The file appears whole or not at all.
func Save(path string, f *File) (sha string, err error) {
	return atomicfile.Save(path, func(w io.Writer) error { return Write(w, f) })
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
