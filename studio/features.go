package studio

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"moco/embed"
	"moco/encoder"
	"moco/evaluate"
	"moco/internal/event"
)

// features are the features of the pictures that have some, and their places.
type features struct {
	*evaluate.Embedded
	row  []int32 // of each picture; -1: it has none
	hash string  // of the rows and whose they are
}

// newFeatures takes embedded pictures of a set of n.
func newFeatures(e *evaluate.Embedded, n int) *features {
	f := &features{Embedded: e, row: make([]int32, n)}
	for i := range f.row {
		f.row[i] = -1
	}
	h := sha256.New()
	var word [4]byte
	for row, i := range e.Images {
		f.row[i] = int32(row)
		binary.LittleEndian.PutUint32(word[:], uint32(i))
		h.Write(word[:])
	}
	// The bytes as they lie in memory: the hash names files of this machine only.
	if len(e.Features) > 0 {
		h.Write(unsafe.Slice((*byte)(unsafe.Pointer(&e.Features[0])), 4*len(e.Features)))
	}
	f.hash = hex.EncodeToString(h.Sum(nil))
	return f
}

// load reads the features, and makes them before if need be. It returns nil without an error where
// there is nothing to make them of.
func (w *work) load(ctx context.Context) (*features, error) {
	path, o := w.s.o.Vectors, &w.s.o
	if path == "" {
		if o.Encoder == nil {
			return nil, nil
		}
		path = w.vectorsFile()
		if err := w.makeVectors(ctx, path); err != nil {
			return nil, err
		}
	}
	e, match, err := evaluate.FromVectorsByName(ctx, path, o.Data)
	if err != nil {
		return nil, err
	}
	if o.Vectors != "" && match.Missing+match.Foreign > 0 {
		w.s.log.Warn("the file of vectors does not fit all pictures", "pictures without a row", match.Missing,
			"rows without a picture", match.Foreign)
	}
	return newFeatures(e, len(w.s.names)), nil
}

// makeVectors makes the file of the features, if it is not there. Where another studio is making it,
// it waits.
func (w *work) makeVectors(ctx context.Context, path string) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		err := w.encode(ctx, path)
		var locked *embed.LockedError
		if !errors.As(err, &locked) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// layer is the layer of the encoder that is used.
func (s *Studio) layer() encoder.Layer {
	if s.o.Layer != "" {
		return s.o.Layer
	}
	return s.o.Encoder.Layer()
}

// vectorsFile is where the features are kept. Its name changes with the encoder, the layer, the
// precision, and the names and sizes of the pictures' files.
func (w *work) vectorsFile() string {
	e := w.s.o.Encoder
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s",
		e.SHA256, w.s.layer(), e.Recipe.Precision, w.s.o.Data.Fingerprint()))
	return filepath.Join(w.s.o.Folder, "vectors-"+hex.EncodeToString(sum[:8])+".npy")
}

// encode makes the features. What is done when it is stopped is kept for the next time.
func (w *work) encode(ctx context.Context, path string) error {
	o := embed.Options{
		Encoder: w.s.o.Encoder, Layer: w.s.layer(), Data: w.s.o.Data, Out: path, Resume: true, MaxBad: 1, Log: w.s.log,
		Events: func(e event.Event) {
			if p, ok := e.(embed.Progress); ok {
				w.progressed("encode", p.Done, p.Images)
			}
		},
	}
	_, err := embed.Run(ctx, o)
	var other *embed.OtherRunError
	if errors.As(err, &other) { // of another batch or engine: it is ours to throw away
		if err := os.Remove(other.Journal); err != nil {
			return err
		}
		_, err = embed.Run(ctx, o)
	}
	return err
}
