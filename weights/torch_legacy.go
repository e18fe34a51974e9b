package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"

	"moco/weights/internal/pickle"
)

// stream reads what the older formats are: pickles one after the other, with raw numbers between
// them.
type stream struct {
	r        io.ReaderAt
	at, size int64
}

// pickle reads the next pickle. Its length is not known before it is read, so more and more of the
// file is tried.
func (s *stream) pickle() (*pickle.Pickle, error) {
	for window := int64(4 << 10); ; window *= 8 {
		raw, err := s.peek(min(window, s.size-s.at))
		if err != nil {
			return nil, err
		}
		p, err := pickle.Decode(raw)
		if errors.Is(err, pickle.ErrShort) && int64(len(raw)) < s.size-s.at && window <= 2*pickle.MaxSize {
			continue
		}
		if err != nil {
			return nil, pickleError(err)
		}
		s.at += int64(p.Size)
		return p, nil
	}
}

// value reads a pickle that refers to nothing outside of it.
func (s *stream) value() (any, error) {
	p, err := s.pickle()
	if err != nil {
		return nil, err
	}
	if len(p.Persistent) > 0 {
		return nil, errors.New("torch: the file refers to a tensor where none can stand")
	}
	return p.Value, nil
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

// storage passes over a storage, the number of its elements and they themselves, and returns where
// these lie. want is the number that was announced; negative: none was.
func (s *stream) storage(kind string, want int64) (at, n int64, err error) {
	counts, err := s.int64s(1)
	if err != nil {
		return 0, 0, err
	}
	n = counts[0]
	if size := elements[kind].size; n < 0 || n > (s.size-s.at)/size {
		return 0, 0, errShort
	} else if want >= 0 && n != want {
		return 0, 0, fmt.Errorf("torch: a storage holds %d elements, where its tensors say %d", n, want)
	}
	at, err = s.skip(n * elements[kind].size)
	return at, n, err
}

// magic is the first pickle of the format, and version the second.
var magic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

const version = 1001

// readLegacy reads the format of PyTorch 0.1.10 to 1.5, which torch.save still writes with
// _use_new_zipfile_serialization=False: pickles of a magic number, a version, the system, the
// object and the list of storages; then each of these.
func readLegacy(src *source) (*torchFile, error) {
	s := &stream{src.r, 0, src.size}
	if err := s.legacyHead(src.name); err != nil {
		return nil, err
	}
	p, err := s.pickle()
	if err != nil {
		return nil, err
	}
	storages := shelf{}
	refers, err := storages.loadAll(p)
	if err != nil {
		return nil, err
	}
	places, err := s.legacyStorages(storages)
	if err != nil {
		return nil, err
	}
	if s.at != s.size {
		return nil, fmt.Errorf("torch: %d bytes follow the last tensor", s.size-s.at)
	}
	read := func(t *storage) ([]byte, error) {
		from := stream{s.r, places[t.key], s.size}
		return from.peek(t.bytes)
	}
	return &torchFile{object: p.Value, refers: refers, globals: p.Globals, read: read}, nil
}

// legacyHead reads what stands before the object.
func (s *stream) legacyHead(name string) error {
	v, err := s.value()
	if err != nil {
		return err
	}
	if n, ok := v.(*big.Int); !ok || n.Cmp(magic) != 0 {
		return &KindError{KindPickle, fmt.Sprintf("if you trust the file, in Python: import pickle, torch; "+
			"torch.save(pickle.load(open(%q, \"rb\")), \"weights.pth\")", name)}
	}
	if v, err = s.value(); err != nil {
		return err
	} else if v != any(int64(version)) {
		return fmt.Errorf("torch: the format has version %s, and %d is read", brief(v), version)
	}
	system, err := s.value()
	if err != nil {
		return err
	}
	if d, ok := system.(*pickle.Dict); ok && slices.Contains(d.Entries, pickle.Entry{Key: "little_endian", Value: false}) {
		return errors.New("torch: the tensors are big-endian, which is not read")
	}
	return nil
}

// legacyStorages reads the list of storages and passes over them; it returns where each lies.
func (s *stream) legacyStorages(storages shelf) (map[string]int64, error) {
	v, err := s.value()
	if err != nil {
		return nil, err
	}
	keys, ok := v.(*pickle.List)
	if !ok {
		return nil, errors.New("torch: the list of storages is damaged")
	}
	places := map[string]int64{}
	for _, v := range keys.Items {
		key, _ := v.(string)
		named := storages[key]
		if _, twice := places[key]; named == nil || twice {
			return nil, fmt.Errorf("torch: storage %q is listed, but no tensor uses it, or it is listed twice", brief(v))
		}
		if places[key], _, err = s.storage(named.kind, named.elements()); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(storages)) {
		if _, ok := places[key]; !ok {
			return nil, fmt.Errorf("torch: storage %q is used, but not in the file", brief(key))
		}
	}
	return places, nil
}
