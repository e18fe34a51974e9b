// Package weights reads and writes files of named tensors.
//
// The format that is written is safetensors: eight bytes with the length of a JSON header, the
// header (for each tensor its type, shape and place, and a map of strings under "__metadata__"),
// then the tensors. A reader has nothing to execute, and can check all of it before it uses any.
// A model in several such files, with an index beside them, is read as one.
//
// Files of PyTorch (torch.save) are read too. They hold pickles, which are programs; package
// weights/internal/pickle reads these as data, so that nothing that a file names is run. A file
// that holds something else is called by its name, in a KindError with a hint.
package weights

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"moco/internal/atomicfile"
	"moco/tensor"
)

// Named is a tensor with its name.
type Named struct {
	Name   string
	Tensor *tensor.Tensor
}

// File is named tensors in their order, and what else a file says. Write takes Tensors and
// Metadata; the other fields are for readers to fill.
type File struct {
	Tensors  []Named
	Metadata map[string]string

	// SHA256 is of the bytes of the file that was loaded, in hexadecimal. For a model in several
	// files it is of the lines "HASH  NAME\n" that sha256sum prints for the index and the shards,
	// in the order of their names. Empty if the tensors came from elsewhere.
	SHA256 string
	// Skipped are tensors of the file that no tensor.Tensor can hold, such as sparse or complex
	// ones.
	Skipped []Skipped
	// Globals are the classes and functions that a pickle names beside those that make tensors,
	// such as "argparse.Namespace", sorted. Python would look all of them up and call most; here
	// none was.
	Globals []string
	// Module is not nil if a whole module of PyTorch stands beside the tensors: its own tensors are
	// not among them.
	Module *KindError

	index map[string]int // places in Tensors by name, as they were when the file was read
}

// Skipped is a tensor that was not read.
type Skipped struct {
	Name string
	Why  string // such as "a sparse layout"
}

// Get returns the tensor with a name, or nil. In a file that was read, a tensor that is there is
// found without a search.
func (f *File) Get(name string) *tensor.Tensor {
	// The owner of f may have changed Tensors, so the index is a hint.
	if i, ok := f.index[name]; ok && i < len(f.Tensors) && f.Tensors[i].Name == name {
		return f.Tensors[i].Tensor
	}
	for _, n := range f.Tensors {
		if n.Name == name {
			return n.Tensor
		}
	}
	return nil
}

// indexed makes the index of f.
func (f *File) indexed() *File {
	f.index = make(map[string]int, len(f.Tensors))
	for i, n := range f.Tensors {
		f.index[n.Name] = i
	}
	return f
}

// Save writes f to path as Write does and returns the SHA-256 of the file. The file appears whole
// or not at all.
func Save(path string, f *File) (sha string, err error) {
	return atomicfile.Save(path, func(w io.Writer) error { return Write(w, f) })
}

// Load reads the file at path as Read does, and sets File.SHA256. An index of shards is read with
// the files that it names, which must lie beside it. Cancelling ctx ends the reading.
func Load(ctx context.Context, path string) (*File, error) {
	s, err := openSource(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("load weights: %w", err)
	}
	defer s.close()
	var f *File
	if isShardIndex(s.start) {
		f, err = s.loadShards(ctx)
	} else {
		f, err = s.readWithSum()
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return f, nil
}

// Read reads a file of the given size: safetensors, or one that torch.save has written, which is
// known by how it starts. Types of 16 bits and float64 become float32; small integers become int32.
// A file that breaks a rule of its format is refused, with the rule; one that is something else is
// refused with a *KindError. Nothing is guessed, and nothing that a pickle names is run.
func Read(r io.ReaderAt, size int64) (*File, error) {
	s, err := newSource(r, size, "FILE")
	if err != nil {
		return nil, err
	}
	return s.read()
}

// source is a file that is being read.
type source struct {
	r     io.ReaderAt
	size  int64
	name  string // for hints
	start []byte // the first bytes, which tell what the file is
	close func() error
}

// startSize is how many of the first bytes are looked at. A tar archive has its mark in byte 257,
// and an index of shards may begin with some metadata.
const startSize = 4 << 10

func newSource(r io.ReaderAt, size int64, name string) (*source, error) {
	s := &source{r: r, size: size, name: name, start: make([]byte, min(size, startSize))}
	if n, err := r.ReadAt(s.start, 0); n < len(s.start) {
		return nil, fmt.Errorf("read the file's start: %w", err)
	}
	return s, nil
}

// openSource opens a file that cannot be read any more once ctx has ended. The caller closes it.
func openSource(ctx context.Context, path string) (*source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	s, err := newSource(cancelled{ctx, file}, info.Size(), path)
	if err != nil {
		file.Close()
		return nil, err
	}
	s.close = file.Close
	return s, nil
}

// cancelled is a file that cannot be read any more once a context has ended.
type cancelled struct {
	ctx context.Context
	r   io.ReaderAt
}

func (c cancelled) ReadAt(b []byte, at int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.ReadAt(b, at)
}

// readWithSum reads a file and makes the sum of its bytes.
func (s *source) readWithSum() (*File, error) {
	f, err := s.read()
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(s.r, 0, s.size)); err != nil {
		return nil, err
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return f, nil
}

// read reads whatever the file is.
func (s *source) read() (*File, error) {
	switch {
	case isSafetensors(s.start):
		return readSafetensors(s.r, s.size)
	case isZip(s.start):
		return s.torch(readZip)
	case isPickle(s.start):
		return s.torch(readLegacy)
	case isTar(s.start):
		return s.torch(readTar)
	}
	if err := kindOf(s.start); err != nil {
		return nil, err
	}
	return readSafetensors(s.r, s.size) // which says what is wrong with it
}

// torch reads a file of torch.save with the reader of one of its formats.
func (s *source) torch(read func(*source) (*torchFile, error)) (*File, error) {
	t, err := read(s)
	if err != nil {
		return nil, err
	}
	return t.file(s.name)
}

// isZip tells a zip archive.
func isZip(start []byte) bool { return bytes.HasPrefix(start, []byte("PK\x03\x04")) }

// isPickle tells a pickle of protocol 1 to 5 from its first operation, PROTO.
func isPickle(start []byte) bool {
	return len(start) > 2 && start[0] == 0x80 && start[1] >= 1 && start[1] <= 5 && start[2] != 0
}

// isTar tells a tar archive; the oldest files of PyTorch are such without the mark of the format.
func isTar(start []byte) bool {
	return len(start) >= 512 && string(start[257:262]) == "ustar" || bytes.HasPrefix(start, []byte("storages\x00"))
}
