package weights

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"

	"github.com/nlpodyssey/gopickle/types"
)

// stream reads what the older formats are: pickles one after the other, with raw numbers between them.
type stream struct {
	r        io.ReaderAt
	at, size int64
}

// pickle reads the next pickle.
func (s *stream) pickle(load func(any) (any, error)) (any, error) {
	for window := int64(4 << 10); ; window *= 8 {
		raw, err := s.peek(min(window, s.size-s.at))
		if err != nil {
			return nil, err
		}
		end, err := scan(raw)
		if err == errShort && int64(len(raw)) < s.size-s.at && window <= 2*maxPickle {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.at += int64(end)
		return unpickle(raw[:end], load)
	}
}

func (s *stream) peek(n int64) ([]byte, error) {
	raw := make([]byte, n)
	if got, err := s.r.ReadAt(raw, s.at); int64(got) < n {
		return nil, fmt.Errorf("torch: %w", err)
	}
	return raw, nil
}

// skip passes over n bytes and returns where they begin.
func (s *stream) skip(n int64) (at int64, err error) {
	if n < 0 || n > s.size-s.at {
		return 0, errShort
	}
	s.at += n
	return s.at - n, nil
}

// int64s reads n numbers.
func (s *stream) int64s(n int64) ([]int64, error) {
	if n < 0 || n > (s.size-s.at)/8 {
		return nil, errShort
	}
	raw, err := s.peek(8 * n)
	if err != nil {
		return nil, err
	}
	s.at += 8 * n
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return out, nil
}

// storage reads a storage, the number of its elements and they, and returns where these lie. elements is what was announced, or negative.
func (s *stream) storage(kind string, elements int64) (at, n int64, err error) {
	counts, err := s.int64s(1)
	if err != nil {
		return 0, 0, err
	}
	n = counts[0]
	if size := kinds[kind].size; n < 0 || n > (s.size-s.at)/size {
		return 0, 0, errShort
	} else if elements >= 0 && n != elements {
		return 0, 0, fmt.Errorf("torch: a storage holds %d elements, where its tensors say %d", n, elements)
	}
	at, err = s.skip(n * kinds[kind].size)
	return at, n, err
}

// nothing is the load of pickles without tensors.
func nothing(any) (any, error) {
	return nil, errors.New("torch: the file refers to a tensor where none can stand")
}

// magic is the first pickle of the format, and version the second.
var magic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

const version = 1001

// readLegacy reads the format of PyTorch 0.1.10 to 1.5, which torch.save still writes with _use_new_zipfile_serialization=False: pickles of a magic number,
// a version, the system, the object and the list of storages; then each of these.
func readLegacy(r io.ReaderAt, size int64) (*torchFile, error) {
	s := &stream{r, 0, size}
	if v, err := s.pickle(nothing); err != nil {
		return nil, err
	} else if n, ok := v.(*big.Int); !ok || n.Cmp(magic) != 0 {
		return nil, errors.New("torch: this is a pickle, but not one that torch.save has written")
	}
	if v, err := s.pickle(nothing); err != nil {
		return nil, err
	} else if v != any(version) {
		return nil, fmt.Errorf("torch: the format has version %s, and %d is read", brief(v), version)
	}
	system, err := s.pickle(nothing)
	if err != nil {
		return nil, err
	}
	if d, ok := system.(*types.Dict); ok {
		for _, e := range *d {
			if e.Key == any("little_endian") && e.Value == any(false) {
				return nil, errors.New("torch: the tensors are big-endian, which is not read")
			}
		}
	}
	storages := shelf{}
	object, err := s.pickle(storages.load)
	if err != nil {
		return nil, err
	}
	v, err := s.pickle(nothing)
	if err != nil {
		return nil, err
	}
	keys, ok := v.(*types.List)
	if !ok {
		return nil, errors.New("torch: the list of storages is damaged")
	}
	places := map[string]int64{}
	for _, v := range *keys {
		key, _ := v.(string)
		named := storages[key]
		if _, twice := places[key]; named == nil || twice {
			return nil, fmt.Errorf("torch: storage %q is listed, but no tensor uses it, or it is listed twice", brief(v))
		}
		if places[key], _, err = s.storage(named.kind, named.elements); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(storages)) {
		if _, ok := places[key]; !ok {
			return nil, fmt.Errorf("torch: storage %q is used, but not in the file", brief(key))
		}
	}
	if s.at != size {
		return nil, fmt.Errorf("torch: %d bytes follow the last tensor", size-s.at)
	}
	return &torchFile{object, func(t *storage) ([]byte, error) {
		from := stream{r, places[t.key], size}
		return from.peek(kinds[t.kind].size * t.elements)
	}}, nil
}

// readTar reads the format of the first releases, a tar archive: "storages" and "tensors" hold numbered ones, "pickle" the object, which names tensors by
// their numbers.
func readTar(r io.ReaderAt, size int64) (*torchFile, error) {
	members := map[string]*stream{}
	body := io.NewSectionReader(r, 0, size)
	for t := tar.NewReader(body); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("torch: the tar archive is damaged (%s); copy it again", brief(err))
		}
		if h.Typeflag == tar.TypeReg { // the reader reads no further than it must
			at, err := body.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, fmt.Errorf("torch: %w", err)
			}
			if h.Size > size-at {
				return nil, errShort
			}
			members[h.Name] = &stream{io.NewSectionReader(r, at, h.Size), 0, h.Size}
		}
	}
	if members["storages"] == nil || members["tensors"] == nil || members["pickle"] == nil {
		return nil, errors.New("torch: this tar archive was not written by PyTorch: it lacks storages, tensors or pickle; images go to --data, not to --model")
	}
	s := members["storages"]
	storages, places := map[string]*storage{}, map[*storage]int64{}
	err := s.numbered(func(t []any) error {
		class, ok := t[2].(storageClass)
		if !ok {
			return errors.New("torch: the list of storages is damaged")
		}
		at, n, err := s.storage(string(class), -1)
		if err != nil {
			return err
		}
		key := fmt.Sprint(t[0])
		storages[key] = &storage{key, string(class), n}
		places[storages[key]] = at
		return nil
	})
	if err != nil {
		return nil, err
	}
	if v, err := s.pickle(nothing); err != nil {
		return nil, err
	} else if l, ok := v.(*types.List); !ok || l.Len() > 0 {
		return nil, errors.New("torch: storages that are parts of others are not read; load the file in PyTorch and save it again")
	}
	tensors := map[string]*strided{}
	s2 := members["tensors"]
	err = s2.numbered(func(t []any) error {
		of := storages[fmt.Sprint(t[1])]
		axes, err := s2.int64s(1) // as 32 bits and 32 that mean nothing
		if err != nil {
			return err
		}
		n := int64(int32(axes[0]))
		if of == nil || n < 0 || n > maxAxes {
			return errors.New("torch: the list of tensors is damaged")
		}
		numbers, err := s2.int64s(2*n + 1)
		if err != nil {
			return err
		}
		tensors[fmt.Sprint(t[0])] = &strided{of, numbers[2*n], numbers[:n], numbers[n : 2*n]}
		return nil
	})
	if err != nil {
		return nil, err
	}
	object, err := members["pickle"].pickle(func(id any) (any, error) {
		key := ""
		switch id := id.(type) {
		case int:
			key = strconv.Itoa(id)
		case string:
			key = id
		}
		if t := tensors[key]; t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("torch: the pickle refers to %q, which is no tensor of the archive", brief(id))
	})
	return &torchFile{object, func(t *storage) ([]byte, error) {
		from := stream{s.r, places[t], s.size}
		return from.peek(kinds[t.kind].size * t.elements)
	}}, err
}

// numbered reads a count, and as many times a pickle of three values, after each of which f reads what belongs to it.
func (s *stream) numbered(f func([]any) error) error {
	v, err := s.pickle(nothing)
	if err != nil {
		return err
	}
	n, ok := v.(int)
	if !ok || n < 0 || int64(n) > s.size {
		return errors.New("torch: a count of storages or tensors is damaged")
	}
	for range n {
		v, err := s.pickle(nothing)
		if err != nil {
			return err
		}
		t, ok := v.(*types.Tuple)
		if !ok || t.Len() != 3 {
			return errors.New("torch: the list of storages or tensors is damaged")
		}
		if err := f(*t); err != nil {
			return err
		}
	}
	return nil
}
