package weights

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"moco/weights/internal/pickle"
)

// torchTar is a file of the first releases of PyTorch, a tar archive: "storages" and "tensors" hold
// numbered ones, "pickle" the object, which names tensors by their numbers.
type torchTar struct {
	members  map[string]*stream
	storages map[string]*storage
	places   map[*storage]int64 // in the member
	tensors  map[string]*view
}

// readTar reads the format.
func readTar(s *source) (*torchFile, error) {
	t := &torchTar{storages: map[string]*storage{}, places: map[*storage]int64{}, tensors: map[string]*view{}}
	var err error
	if t.members, err = tarMembers(s); err != nil {
		return nil, err
	}
	for _, name := range []string{"storages", "tensors", "pickle"} {
		if t.members[name] == nil {
			return nil, &KindError{KindTar, insideHint(slices.Sorted(maps.Keys(t.members)))}
		}
	}
	if err := t.readStorages(t.members["storages"]); err != nil {
		return nil, err
	}
	if err := t.readTensors(t.members["tensors"]); err != nil {
		return nil, err
	}
	p, err := t.members["pickle"].pickle()
	if err != nil {
		return nil, err
	}
	refers := map[*pickle.Persistent]any{}
	for _, persistent := range p.Persistent {
		v := t.tensors[tarKey(persistent.ID)]
		if v == nil {
			return nil, fmt.Errorf("torch: the pickle refers to %q, which is no tensor of the archive", brief(persistent.ID))
		}
		refers[persistent] = v
	}
	read := func(of *storage) ([]byte, error) {
		in := t.members["storages"]
		from := stream{in.r, t.places[of], in.size}
		return from.peek(of.bytes)
	}
	return &torchFile{object: p.Value, refers: refers, globals: p.Globals, read: read}, nil
}

// tarMembers finds the files of an archive.
func tarMembers(s *source) (map[string]*stream, error) {
	members := map[string]*stream{}
	body := io.NewSectionReader(s.r, 0, s.size)
	for t := tar.NewReader(body); ; {
		h, err := t.Next()
		if err == io.EOF {
			return members, nil
		}
		if err != nil {
			return nil, fmt.Errorf("torch: the tar archive is damaged (%w); copy it again", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		at, err := body.Seek(0, io.SeekCurrent) // the reader reads no further than it must
		if err != nil {
			return nil, fmt.Errorf("torch: %w", err)
		}
		if h.Size > s.size-at {
			return nil, errShort
		}
		members[h.Name] = &stream{io.NewSectionReader(s.r, at, h.Size), 0, h.Size}
	}
}

// readStorages passes over the storages: for each a pickle of (key, location, class), and its
// numbers.
func (t *torchTar) readStorages(s *stream) error {
	err := s.numbered(func(head []any) error {
		class, ok := head[2].(*pickle.Global)
		kind := ""
		if ok {
			kind, ok = storageOf(class)
		}
		if !ok {
			return errors.New("torch: the list of storages is damaged")
		}
		at, n, err := s.storage(kind, -1)
		if err != nil {
			return err
		}
		found := &storage{tarKey(head[0]), kind, n * elements[kind].size}
		t.storages[found.key], t.places[found] = found, at
		return nil
	})
	if err != nil {
		return err
	}
	v, err := s.value()
	if err != nil {
		return err
	}
	if l, ok := v.(*pickle.List); !ok || len(l.Items) > 0 {
		return errors.New("torch: storages that are parts of others are not read; load the file in PyTorch and save it again")
	}
	return nil
}

// readTensors reads for each tensor a pickle of (key, its storage's key, class), and numbers: the
// count of its axes, sizes, strides and offset.
func (t *torchTar) readTensors(s *stream) error {
	return s.numbered(func(head []any) error {
		of := t.storages[tarKey(head[1])]
		axes, err := s.int64s(1)
		if err != nil {
			return err
		}
		n := int64(int32(axes[0])) // the upper 32 bits are not part of the count
		if of == nil || n < 0 || n > maxAxes {
			return errors.New("torch: the list of tensors is damaged")
		}
		numbers, err := s.int64s(2*n + 1)
		if err != nil {
			return err
		}
		t.tensors[tarKey(head[0])] = &view{
			storage: of, kind: of.kind, offset: numbers[2*n], size: numbers[:n], stride: numbers[n : 2*n],
		}
		return nil
	})
}

// tarKey is a key as text: a number or text; anything else is the key of nothing.
func tarKey(v any) string {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case string:
		return v
	}
	return ""
}

// numbered reads a count, and as many times a pickle of three values, after each of which f reads
// what belongs to it.
func (s *stream) numbered(f func([]any) error) error {
	v, err := s.value()
	if err != nil {
		return err
	}
	n, ok := v.(int64)
	if !ok || n < 0 || n > s.size {
		return errors.New("torch: a count of storages or tensors is damaged")
	}
	for range n {
		v, err := s.value()
		if err != nil {
			return err
		}
		t, ok := v.(*pickle.Tuple)
		if !ok || len(t.Items) != 3 {
			return errors.New("torch: the list of storages or tensors is damaged")
		}
		if err := f(t.Items); err != nil {
			return err
		}
	}
	return nil
}
