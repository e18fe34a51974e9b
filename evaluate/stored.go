package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"moco/data"
	"moco/encoder"
	"moco/internal/half"
	"moco/vectors"
)

// MemoryError is the error of vectors that would take more memory than there may be, in a format
// that cannot be read in parts.
type MemoryError struct {
	Path         string
	Takes, Limit int64 // bytes
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the vectors of %s take %.1f GB of memory, and at most %.1f GB may be taken; "+
		"of NumPy arrays (.npy) parts are read as they are needed", e.Path, float64(e.Takes)/1e9, float64(e.Limit)/1e9)
}

// OpenVectors is FromVectors for features that are many. They take at most limit bytes of memory
// (0: any number): float16 numbers are kept as they are, and a NumPy array that takes more stays in
// its file, whose parts are read when they are needed. Features is nil then; Read gives the same
// numbers as FromVectors has there. The error of another file that takes more is a *MemoryError.
// Close the result after use.
func OpenVectors(ctx context.Context, path string, set *data.Set, limit int64) (*Embedded, Match, error) {
	r, err := vectors.Open(path)
	if err != nil {
		return nil, Match{}, err
	}
	head := r.Head()
	if err := r.Close(); err != nil {
		return nil, Match{}, err
	}
	keep, err := keeperFor(path, head, set.Len(), limit)
	if err != nil {
		return nil, Match{}, err
	}
	e, match, err := readInto(ctx, path, set, keep)
	if err != nil {
		return nil, match, errors.Join(err, keep.close())
	}
	return e, match, nil
}

// keeperFor chooses how the features of n images are kept.
func keeperFor(path string, head vectors.Head, n int, limit int64) (keeper, error) {
	takes := int64(n) * int64(head.Dim) * int64(head.Type.Bytes())
	switch {
	case limit > 0 && takes > limit:
		array, err := vectors.OpenArray(path)
		if errors.As(err, new(*vectors.NotArrayError)) {
			return nil, &MemoryError{Path: path, Takes: takes, Limit: limit}
		}
		if err != nil {
			return nil, err
		}
		return &inFile{array: array, at: make([]int32, n)}, nil
	case head.Type == vectors.Float16:
		return &halves{dim: head.Dim, features: make([]uint16, n*head.Dim)}, nil
	}
	return &floats{dim: head.Dim, features: make([]float32, n*head.Dim)}, nil
}

// keeper keeps features by image while they are read from a file.
type keeper interface {
	// put keeps an image's features, which stand in a row of the file.
	put(image, row int, vector []float32)
	// move puts the features of an image to the place of another one before it.
	move(to, from int)
	// finish gives e the first n features.
	finish(e *Embedded, n int)
	close() error
}

// stored is features that an Embedded does not have in its Features.
type stored interface {
	// read reads rows from first on, as many as dst has room for. They have length one.
	read(first int, dst []float32) error
	close() error
}

// floats keeps float32 numbers in memory.
type floats struct {
	dim      int
	features []float32
}

func (k *floats) put(image, _ int, vector []float32) {
	to := k.features[image*k.dim : (image+1)*k.dim]
	copy(to, vector)
	unit(to)
}

func (k *floats) move(to, from int) {
	copy(k.features[to*k.dim:(to+1)*k.dim], k.features[from*k.dim:(from+1)*k.dim])
}

func (k *floats) finish(e *Embedded, n int) { e.Features = k.features[:n*k.dim] }
func (k *floats) close() error              { return nil }

// halves keeps float16 numbers in memory.
type halves struct {
	dim      int
	features []uint16
}

func (k *halves) put(image, _ int, vector []float32) {
	for i, v := range vector {
		k.features[image*k.dim+i] = half.To(v)
	}
}

func (k *halves) move(to, from int) {
	copy(k.features[to*k.dim:(to+1)*k.dim], k.features[from*k.dim:(from+1)*k.dim])
}

func (k *halves) finish(e *Embedded, n int) {
	k.features = k.features[:n*k.dim]
	e.kept = k
}

func (k *halves) read(first int, dst []float32) error {
	for i, h := range k.features[first*k.dim : first*k.dim+len(dst)] {
		dst[i] = half.From(h)
	}
	return units(dst, k.dim)
}

func (k *halves) close() error { return nil }

// inFile leaves features in their file, and keeps the row of each image.
type inFile struct {
	array   *vectors.Array
	at      []int32
	buffers sync.Pool // *[]byte
}

func (k *inFile) put(image, row int, _ []float32) { k.at[image] = int32(row) }
func (k *inFile) move(to, from int)               { k.at[to] = k.at[from] }
func (k *inFile) close() error                    { return k.array.Close() }
func (k *inFile) finish(e *Embedded, n int)       { k.at, e.kept = k.at[:n], k }
func (k *inFile) read(first int, dst []float32) error {
	raw, ok := k.buffers.Get().(*[]byte)
	if !ok {
		raw = new([]byte)
	}
	defer k.buffers.Put(raw)
	dim := k.array.Head().Dim
	at := k.at[first : first+len(dst)/dim]
	for i := 0; i < len(at); {
		n := 1 // rows that follow each other in the file too
		for i+n < len(at) && at[i+n] == at[i]+int32(n) {
			n++
		}
		var err error
		if *raw, err = k.array.ReadRows(int(at[i]), dst[i*dim:(i+n)*dim], *raw); err != nil {
			return err
		}
		i += n
	}
	return units(dst, dim)
}

// unit scales a row to length one where it is not so already, but for rounding.
func unit(row []float32) {
	if square := dot(row, row); math.Abs(square-1) > 1e-5 {
		encoder.Normalise(row)
	}
}

// units scales rows to length one. A file that has changed since it was checked may hold anything.
func units(rows []float32, dim int) error {
	for lo := 0; lo < len(rows); lo += dim {
		unit(rows[lo : lo+dim])
	}
	if i := slices.IndexFunc(rows, func(v float32) bool { return v-v != 0 }); i >= 0 {
		return fmt.Errorf("the vectors hold %v, which is no number", rows[i])
	}
	return nil
}

// Read copies rows from first on into dst, as many as it has room for, wherever they are kept.
// Several goroutines may call it at once.
func (e *Embedded) Read(first int, dst []float32) error {
	if e.kept == nil {
		copy(dst, e.Features[first*e.Dim:first*e.Dim+len(dst)])
		return nil
	}
	return e.kept.read(e.first+first, dst)
}

// InMemory is the same rows with their Features, which it reads if they are kept otherwise.
func (e *Embedded) InMemory() (*Embedded, error) {
	if e.kept == nil {
		return e, nil
	}
	all := *e
	all.kept, all.first, all.Features = nil, 0, make([]float32, e.Len()*e.Dim)
	return &all, e.Read(0, all.Features)
}

// Memory is the number of bytes that the features take in memory.
func (e *Embedded) Memory() int64 {
	switch kept := e.kept.(type) {
	case *halves:
		return 2 * int64(len(kept.features))
	case *inFile:
		return 4 * int64(len(kept.at))
	}
	return 4 * int64(len(e.Features))
}

// Close closes the file in which the features are, if they are in one.
func (e *Embedded) Close() error {
	if e.kept == nil {
		return nil
	}
	return e.kept.close()
}
