package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nlpodyssey/gopickle/types"

	"moco/tensor"
)

// Files of torch.save come in three formats. Each is a pickle of nested dictionaries, in which a tensor is a view (offset, size, strides) of a storage that
// lies elsewhere in the file. Their readers find the pickle and the storages; what is done with these is the same:
// the tensors of all dictionaries and lists are made, under the names of the keys on the way joined with dots ("state_dict.conv1.weight",
// "optimizer.state.0.momentum_buffer"). Text and numbers at the top (epoch, arch) become metadata.

// torchFile is what a format's reader found.
type torchFile struct {
	object any
	read   func(*storage) ([]byte, error) // its bytes, kinds[s.kind].size * s.elements of them
}

// shelf collects the storages that a pickle names.
type shelf map[string]*storage

// load is a pickle's persistent id: ("storage", class, key, location, number of elements), and since long None.
func (s shelf) load(id any) (any, error) {
	bad := errors.New("torch: the pickle refers to something that is no storage; is it a whole module rather than a state dict?")
	t, ok := id.(*types.Tuple)
	if !ok || t.Len() < 5 || t.Get(0) != any("storage") {
		return nil, bad
	}
	class, ok1 := t.Get(1).(storageClass)
	key, ok2 := t.Get(2).(string)
	elements, ok3 := integer(t.Get(4))
	if !ok1 || !ok2 || !ok3 || elements < 0 {
		return nil, bad
	}
	if t.Len() > 5 && t.Get(5) != nil {
		return nil, errors.New("torch: a storage that is part of another, as PyTorch before 0.4 wrote them, is not read; load the file in PyTorch and save it again")
	}
	if old := s[key]; old != nil {
		if old.kind != string(class) || old.elements != elements {
			return nil, fmt.Errorf("torch: storage %q is said to be %d of %s and %d of %s", brief(key), old.elements, old.kind, elements, string(class))
		}
		return old, nil
	}
	s[key] = &storage{key, string(class), elements}
	return s[key], nil
}

// maxExpansion is how much longer than the whole file its deflated parts may be together. PyTorch does not deflate, and weights do not shrink by much.
const maxExpansion = 20

// readZip reads the format of PyTorch 1.6 and later: NAME/data.pkl, and NAME/data/KEY for each storage.
func readZip(r io.ReaderAt, size int64) (*torchFile, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("torch: the zip archive is damaged or cut short (%s); copy it again", brief(err))
	}
	members, root := map[string]*zip.File{}, ""
	for _, m := range z.File {
		if members[m.Name] != nil {
			return nil, fmt.Errorf("torch: the zip archive holds %q twice", brief(m.Name))
		}
		members[m.Name] = m
		if path.Base(m.Name) == "data.pkl" {
			if root != "" {
				return nil, errors.New("torch: the zip archive holds more than one data.pkl")
			}
			root = path.Dir(m.Name)
		}
	}
	if root == "" {
		return nil, errors.New("torch: the zip archive holds no data.pkl, so torch.save has not written it")
	}
	if members[path.Join(root, "constants.pkl")] != nil {
		return nil, errors.New("torch: this is a TorchScript program, not a state dict; in PyTorch, save its state_dict() instead")
	}
	room := maxExpansion*size + 1<<20 // for everything that is unpacked
	unpack := func(name string, want int64) ([]byte, error) {
		m := members[path.Join(root, name)]
		if m == nil {
			return nil, fmt.Errorf("torch: the zip archive lacks %q", brief(name))
		}
		if want < 0 {
			want = int64(min(m.UncompressedSize64, 1<<62))
		}
		if m.UncompressedSize64 != uint64(want) {
			return nil, fmt.Errorf("torch: %q has %d bytes, where its tensors need %d", brief(name), m.UncompressedSize64, want)
		}
		if room -= want; room < 0 {
			return nil, fmt.Errorf("torch: the zip archive would unpack to more than %d times its size, which no checkpoint does", maxExpansion)
		}
		f, err := m.Open()
		if err != nil {
			return nil, fmt.Errorf("torch: unpack %q: %w", brief(name), err)
		}
		defer f.Close()
		raw := make([]byte, want)
		if _, err = io.ReadFull(f, raw); err == nil {
			_, err = io.ReadFull(f, make([]byte, 1)) // the archive's checksum is compared at the end
		}
		if err != io.EOF {
			return nil, fmt.Errorf("torch: unpack %q: %s", brief(name), brief(err))
		}
		return raw, nil
	}
	if members[path.Join(root, "byteorder")] != nil {
		if order, err := unpack("byteorder", -1); err != nil {
			return nil, err
		} else if string(bytes.TrimSpace(order)) != "little" {
			return nil, fmt.Errorf("torch: the tensors are %s-endian, which is not read", brief(string(order)))
		}
	}
	raw, err := unpack("data.pkl", -1)
	if err != nil {
		return nil, err
	}
	end, err := scan(raw)
	if err != nil {
		return nil, err
	}
	object, err := unpickle(raw[:end], shelf{}.load)
	return &torchFile{object, func(s *storage) ([]byte, error) {
		return unpack("data/"+s.key, kinds[s.kind].size*s.elements)
	}}, err
}

// file makes the tensors.
func (f *torchFile) file() (*File, error) {
	w := walk{metadata: map[string]string{}, seen: map[string]bool{}}
	if err := w.value("", f.object, 0); err != nil {
		return nil, err
	}
	if len(w.tensors) == 0 {
		return nil, errors.New("torch: the file holds no tensors")
	}
	out := &File{Tensors: make([]Named, len(w.tensors)), Metadata: w.metadata}
	views := map[*storage][]int{} // the tensors of each storage, so that one lies in memory at a time
	var order []*storage
	for i, t := range w.tensors {
		s := t.view.storage
		if views[s] == nil {
			order = append(order, s)
		}
		views[s] = append(views[s], i)
	}
	for _, s := range order {
		var total int64
		for _, i := range views[s] {
			n, err := w.tensors[i].view.check()
			if err != nil {
				return nil, fmt.Errorf("torch: tensor %q %w", brief(w.tensors[i].name), err)
			}
			if total += n; n > 8*s.elements+1<<12 || total > 8*s.elements+1<<12 {
				return nil, fmt.Errorf("torch: tensor %q and others repeat a storage of %d elements too often", brief(w.tensors[i].name), s.elements)
			}
		}
		if s.elements > (1<<62)/8 {
			return nil, fmt.Errorf("torch: storage %q of %d elements is not believable", brief(s.key), s.elements)
		}
		raw, err := f.read(s)
		if err != nil {
			return nil, err
		}
		for _, i := range views[s] {
			out.Tensors[i] = Named{w.tensors[i].name, w.tensors[i].view.gather(raw)}
		}
	}
	return out, nil
}

// gather makes a tensor that check has let pass from the bytes of its storage.
func (t *strided) gather(raw []byte) *tensor.Tensor {
	shape := make([]int, len(t.size))
	for i, n := range t.size {
		shape[i] = int(n)
	}
	kind := kinds[t.storage.kind]
	out := tensor.New(kind.as, shape...)
	elements := out.Shape.Elements()
	if elements == 0 {
		return out
	}
	if next := int64(1); same(t.storage.kind) {
		contiguous := true
		for i := len(t.size) - 1; i >= 0; i-- {
			contiguous = contiguous && (t.stride[i] == next || t.size[i] == 1)
			next *= t.size[i]
		}
		if contiguous {
			copy(out.Bytes(), raw[t.offset*kind.size:])
			return out
		}
	}
	index, at := make([]int64, len(t.size)), t.offset
	for i := range elements {
		put(out, i, t.storage.kind, raw[at*kind.size:(at+1)*kind.size])
		for axis := len(index) - 1; axis >= 0; axis-- {
			index[axis]++
			at += t.stride[axis]
			if index[axis] < t.size[axis] {
				break
			}
			at -= index[axis] * t.stride[axis]
			index[axis] = 0
		}
	}
	return out
}

// walk goes through what a pickle holds.
type walk struct {
	tensors []struct {
		name string
		view *strided
	}
	metadata map[string]string
	seen     map[string]bool
	visited  int
}

// maxDepth is how deep tensors may lie.
const maxDepth = 32

// value takes the tensors from a value whose keys led to name.
func (w *walk) value(name string, v any, depth int) error {
	// A list that holds itself, or lists that hold each other twice, and so on, would never end.
	if w.visited++; depth > maxDepth || w.visited > maxOperations {
		return fmt.Errorf("torch: %q is nested too deep, or holds itself", brief(name))
	}
	below := func(key string, v any) error {
		if len(name)+len(key) > maxLine {
			return fmt.Errorf("torch: a name of more than %d bytes begins with %q", maxLine, brief(name+key[:min(len(key), maxLine)]))
		}
		if name != "" {
			key = name + "." + key
		}
		return w.value(key, v, depth+1)
	}
	items := func(list []any) error {
		for i, v := range list {
			if err := below(strconv.Itoa(i), v); err != nil {
				return err
			}
		}
		return nil
	}
	entry := func(key, v any) error {
		switch key := key.(type) {
		case string:
			return below(key, v)
		case int:
			return below(strconv.Itoa(key), v)
		case *record:
			return below(key.name, v)
		}
		return fmt.Errorf("torch: a key of %q is neither text nor a number", brief(name))
	}
	switch v := v.(type) {
	case *strided:
		return w.tensor(name, v)
	case *storage:
		return w.tensor(name, &strided{v, 0, []int64{v.elements}, []int64{1}})
	case *types.Dict:
		for _, e := range *v {
			if err := entry(e.Key, e.Value); err != nil {
				return err
			}
		}
	case *types.OrderedDict:
		for e := v.List.Front(); e != nil; e = e.Next() {
			pair := e.Value.(*types.OrderedDictEntry)
			if err := entry(pair.Key, pair.Value); err != nil {
				return err
			}
		}
	case *types.List:
		return items(*v)
	case *types.Tuple:
		return items(*v)
	case *record:
		return items(v.items)
	case string, int, float64, bool, *big.Int:
		if text := fmt.Sprint(v); depth == 1 && utf8.ValidString(name) && utf8.ValidString(text) && len(text) < 1<<10 {
			w.metadata[name] = text
		}
	}
	return nil
}

func (w *walk) tensor(name string, t *strided) error {
	switch {
	case name == "":
		name = "tensor" // the file is this one
	case !utf8.ValidString(name) || name == "__metadata__":
		return fmt.Errorf("torch: a tensor cannot be named %q", brief(name))
	case w.seen[name]:
		return fmt.Errorf("torch: two tensors are named %q", brief(name))
	}
	w.seen[name] = true
	w.tensors = append(w.tensors, struct {
		name string
		view *strided
	}{name, t})
	return nil
}

// isPickle tells a pickle of protocol 2 or later from the length at the start of a safetensors file, whose third byte would be 0 or behind it no header.
func isPickle(start []byte) bool {
	return len(start) > 2 && start[0] == 0x80 && start[1] >= 1 && start[1] <= 5 && start[2] != 0
}

// formats are the readers besides that of safetensors, by how a file of them starts.
var formats = []struct {
	is   func(start []byte) bool
	read func(r io.ReaderAt, size int64) (*torchFile, error)
}{
	{func(b []byte) bool { return bytes.HasPrefix(b, []byte("PK\x03\x04")) }, readZip},
	{isPickle, readLegacy},
	{func(b []byte) bool {
		return len(b) >= 512 && slices.Equal(b[257:262], []byte("ustar")) || strings.HasPrefix(string(b), "storages\x00")
	}, readTar},
}
