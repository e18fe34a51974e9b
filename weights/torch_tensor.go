package weights

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"moco/tensor"
	"moco/weights/internal/pickle"
)

// storage is a run of numbers that tensors share.
type storage struct {
	key   string
	kind  string // of its elements, a name in elements
	bytes int64
}

// elements is the number of its elements.
func (s *storage) elements() int64 { return s.bytes / elements[s.kind].size }

// storageKinds are the elements of PyTorch's types of storage.
var storageKinds = map[string]string{
	"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
	"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
	"ByteStorage": "U8", "BoolStorage": "BOOL", "UntypedStorage": "U8",
	"ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128",
	"QInt8Storage": "QI8", "QUInt8Storage": "QU8", "QInt32Storage": "QI32",
}

// storageOf returns the elements of a type of storage.
func storageOf(g *pickle.Global) (kind string, ok bool) {
	if g.Module == "torch" || g.Module == "torch.cuda" || g.Module == "torch.storage" {
		kind, ok = storageKinds[g.Name]
	}
	return kind, ok
}

// dtypes are PyTorch's names of elements, for tensors that have no type of storage of their own.
var dtypes = map[string]string{
	"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64",
	"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
	"uint16": "U16", "uint32": "U32", "uint64": "U64", "complex64": "C64", "complex128": "C128",
	"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
}

// shelf collects the storages that a pickle names.
type shelf map[string]*storage

var errNoStorage = errors.New("torch: the pickle refers to something that is no storage")

// load says what a persistent ID refers to: ("storage", class, key, location, number of elements),
// and since long None. The class of a whole module, which PyTorch wrote with its source until 1.6,
// is nil.
func (s shelf) load(id any) (any, error) {
	t, ok := id.(*pickle.Tuple)
	if !ok || len(t.Items) == 0 {
		return nil, errNoStorage
	}
	if t.Items[0] == any("module") {
		return nil, nil
	}
	if len(t.Items) < 5 || t.Items[0] != any("storage") {
		return nil, errNoStorage
	}
	class, ok1 := t.Items[1].(*pickle.Global)
	key, ok2 := t.Items[2].(string)
	n, ok3 := t.Items[4].(int64)
	if !ok1 || !ok2 || !ok3 || n < 0 {
		return nil, errNoStorage
	}
	kind, ok := storageOf(class)
	if !ok {
		return nil, fmt.Errorf("torch: storage %q is a %s, which is not read", brief(key), brief(class))
	}
	if n > math.MaxInt64/64 {
		return nil, fmt.Errorf("torch: storage %q of %d elements is not believable", brief(key), n)
	}
	if len(t.Items) > 5 && t.Items[5] != nil {
		return nil, errors.New("torch: a storage that is part of another, as PyTorch before 0.4 wrote them, is not read; " +
			"load the file in PyTorch and save it again")
	}
	found := &storage{key, kind, n * elements[kind].size}
	if old := s[key]; old != nil {
		if *old != *found {
			return nil, fmt.Errorf("torch: storage %q is said to be %d of %s and %d of %s",
				brief(key), old.elements(), old.kind, n, kind)
		}
		return old, nil
	}
	s[key] = found
	return found, nil
}

// loadAll says what all persistent values of a pickle are.
func (s shelf) loadAll(p *pickle.Pickle) (map[*pickle.Persistent]any, error) {
	refers := map[*pickle.Persistent]any{}
	for _, persistent := range p.Persistent {
		v, err := s.load(persistent.ID)
		if err != nil {
			return nil, err
		}
		refers[persistent] = v
	}
	return refers, nil
}

// view is a tensor as PyTorch keeps it: some elements of a storage.
type view struct {
	storage *storage
	kind    string // of the elements, a name in elements
	offset  int64  // in elements, as the strides
	size    []int64
	stride  []int64
	other   string // what kind of tensor it is, if it is not a view of a storage but sparse or such
}

// unread says why no tensor can be made of t, or nothing.
func (t *view) unread() string {
	if t.other != "" {
		return t.other
	}
	if elements[t.kind].unread {
		return "numbers of type " + t.kind
	}
	return ""
}

// same tells whether two views are of the same elements.
func (t *view) same(o *view) bool {
	return t.storage == o.storage && t.kind == o.kind && t.offset == o.offset && t.other == o.other &&
		slices.Equal(t.size, o.size) && slices.Equal(t.stride, o.stride)
}

// maxAxes is how many axes a tensor may have.
const maxAxes = 16

// Functions of PyTorch that make tensors: those of which a view can be made, and those of tensors
// of other kinds.
const (
	utils       = "torch._utils._rebuild_"
	fromType    = "torch._tensor._rebuild_from_type_v2" // of a tensor that carries attributes
	oldFromType = "torch.tensor._rebuild_from_type"
)

var otherTensors = map[string]string{
	"sparse_tensor": "a sparse layout", "sparse_csr_tensor": "a sparse layout", "qtensor": "quantised numbers",
	"nested_tensor": "a nested layout", "meta_tensor_no_storage": "no data at all (a meta tensor)",
	"wrapper_subclass": "a class of its own", "device_tensor_from_numpy": "another device",
	"device_tensor_from_cpu_tensor": "another device", "xla_tensor": "another device",
}

// rebuilds tells whether a function of PyTorch makes tensors.
func rebuilds(full string) bool {
	return strings.HasPrefix(full, utils) || full == fromType || full == oldFromType
}

// rebuilt returns the tensor that an object is, or nil if it is another object.
func (f *torchFile) rebuilt(o *pickle.Object) (*view, error) {
	for range maxAxes { // parameters and attributes are wrapped about a tensor, seldom more than once
		g := o.Global()
		if g == nil {
			return nil, nil
		}
		full := g.String()
		switch {
		case full == fromType || full == oldFromType: // (function, class, its arguments, attributes)
			function, ok := at(o.Args.Items, 0).(*pickle.Global)
			args, isTuple := at(o.Args.Items, 2).(*pickle.Tuple)
			if !ok || !isTuple {
				return nil, errors.New("a tensor of a class of its own, which is damaged")
			}
			o = &pickle.Object{Class: function, Args: args}
			continue
		case !strings.HasPrefix(full, utils):
			return nil, nil
		}
		switch name := strings.TrimPrefix(full, utils); name {
		case "tensor", "tensor_v2", "tensor_v3":
			return f.rebuiltView(o.Args.Items, name == "tensor_v3")
		case "parameter", "parameter_with_state":
			inner := at(o.Args.Items, 0)
			if p, ok := inner.(*pickle.Persistent); ok {
				if t, ok := f.refers[p].(*view); ok {
					return t, nil
				}
			}
			var ok bool
			if o, ok = inner.(*pickle.Object); !ok {
				return nil, errors.New("a parameter without a tensor")
			}
		default:
			if other := otherTensors[name]; other != "" {
				return &view{other: other}, nil
			}
			return &view{other: brief(full)}, nil
		}
	}
	return nil, errors.New("a tensor is wrapped too often")
}

// rebuiltView takes storage, offset, size and stride. What follows them (gradients, hooks) is not
// needed, but the seventh argument of the third version: the type of the elements.
func (f *torchFile) rebuiltView(args []any, typed bool) (*view, error) {
	if len(args) >= 4 {
		p, _ := args[0].(*pickle.Persistent)
		s, ok := f.refers[p].(*storage)
		offset, ok1 := args[1].(int64)
		size, ok2 := integers(args[2])
		stride, ok3 := integers(args[3])
		if ok && ok1 && ok2 && ok3 && len(size) == len(stride) {
			t := &view{storage: s, kind: s.kind, offset: offset, size: size, stride: stride}
			if !typed {
				return t, nil
			}
			if g, ok := at(args, 6).(*pickle.Global); ok && g.Module == "torch" {
				if t.kind = dtypes[g.Name]; t.kind == "" {
					return &view{other: brief(g)}, nil
				}
				return t, nil
			}
		}
	}
	return nil, errors.New("a tensor needs a storage, an offset, its size and its strides")
}

// at is an item of a list, or nil beyond its end.
func at(items []any, i int) any {
	if i < len(items) {
		return items[i]
	}
	return nil
}

// integers takes the whole numbers of a tuple, or of a torch.Size.
func integers(v any) ([]int64, bool) {
	if o, ok := v.(*pickle.Object); ok && len(o.Args.Items) == 1 && o.Global() != nil && o.Global().String() == "torch.Size" {
		v = o.Args.Items[0]
	}
	t, ok := v.(*pickle.Tuple)
	if !ok || len(t.Items) > maxAxes {
		return nil, false
	}
	out := make([]int64, len(t.Items))
	for i, v := range t.Items {
		if out[i], ok = v.(int64); !ok {
			return nil, false
		}
	}
	return out, true
}

// check holds a tensor to its storage, and returns the bytes that its elements take in memory.
func (t *view) check() (bytes int64, err error) {
	n, last := int64(1), t.offset
	overflow := t.offset < 0
	empty := slices.Contains(t.size, 0)
	for i, size := range t.size {
		if size < 0 || t.stride[i] < 0 || n > math.MaxInt64/64/max(size, 1) {
			overflow = true
			break
		}
		n *= size
		if step := max(size-1, 0); !empty && t.stride[i] > 0 {
			if step > math.MaxInt64/4/t.stride[i] || last > math.MaxInt64/4 {
				overflow = true
				break
			}
			last += step * t.stride[i]
		}
	}
	there := t.storage.bytes / elements[t.kind].size
	if overflow || !empty && last >= there {
		return 0, fmt.Errorf("has size %v, strides %v and offset %d, which do not lie within its storage of %d elements",
			t.size, t.stride, t.offset, there)
	}
	return n * elements[t.kind].size, nil
}

// gather makes a tensor that check has let pass from the bytes of its storage.
func (t *view) gather(raw []byte) *tensor.Tensor {
	shape := make([]int, len(t.size))
	for i, n := range t.size {
		shape[i] = int(n)
	}
	element := elements[t.kind]
	if slices.Contains(shape, 0) {
		return tensor.New(element.as, shape...)
	}
	if t.contiguous() {
		return element.read(raw[t.offset*element.size:], shape)
	}
	out := tensor.New(element.as, shape...)
	index, at := make([]int64, len(t.size)), t.offset
	for i := range out.Shape.Elements() {
		b := raw[at*element.size : (at+1)*element.size]
		if element.set != nil {
			element.set(out, i, b)
		} else {
			copy(out.Bytes()[int64(i)*element.size:], b)
		}
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

// contiguous tells whether the elements lie in their order, without gaps.
func (t *view) contiguous() bool {
	next := int64(1)
	for i := len(t.size) - 1; i >= 0; i-- {
		if t.stride[i] != next && t.size[i] != 1 {
			return false
		}
		next *= t.size[i]
	}
	return true
}
