package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// What a pickle may take. Those of real checkpoints lie far below: ResNet-152 with a momentum encoder and its optimizer is 150,000 operations in 2 MB.
const (
	maxPickle     = 64 << 20
	maxOperations = 1 << 20
	maxMarks      = 256     // open at a time
	maxLine       = 1 << 10 // bytes of a number or name that ends with its line
)

// errShort is what scan returns where the bytes end before the pickle does.
var errShort = errors.New("torch: the file is cut short; copy it again")

// scan goes through the operations of the pickle at the start of raw without doing any, and returns where it ends. What it lets pass announces no more
// bytes than there are and no more work than the limits allow, so that the unpickler can be trusted with it.
func scan(raw []byte) (end int, err error) {
	marks := 0
	for operations := 1; ; operations++ {
		if operations > maxOperations || end > maxPickle {
			return 0, fmt.Errorf("torch: a pickle of more than %d operations or %d MiB is not believable; does the file hold more than a state dict?", maxOperations, maxPickle>>20)
		}
		if end >= len(raw) {
			return 0, errShort
		}
		op := raw[end]
		end++
		switch op {
		case '.':
			return end, nil
		case '(':
			if marks++; marks > maxMarks {
				return 0, fmt.Errorf("torch: the pickle is nested more than %d deep", maxMarks)
			}
		case '1', 'd', 'e', 'l', 'o', 't', 'u', 0x90, 0x91:
			marks = max(0, marks-1)
		case '0', '2', 'N', 'Q', 'R', 'a', 'b', '}', ']', 's', ')', 0x81, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8f, 0x92, 0x93, 0x94:
		case 'K', 'h', 'q', 0x80:
			end++
		case 'M':
			end += 2
		case 'J', 'j', 'r':
			end += 4
		case 'G':
			end += 8
		case 'F', 'I', 'L', 'P', 'S', 'V', 'g', 'p', 'c', 'i':
			lines := 1
			if op == 'c' || op == 'i' {
				lines = 2
			}
			for range lines {
				n := bytes.IndexByte(raw[end:min(len(raw), end+maxLine)], '\n')
				if n < 0 && len(raw)-end < maxLine {
					return 0, errShort
				} else if n < 0 {
					return 0, fmt.Errorf("torch: a line of the pickle is longer than %d bytes", maxLine)
				}
				end += n + 1
			}
			if op == 'i' {
				marks = max(0, marks-1)
			}
		case 'U', 'C', 0x8a, 0x8c:
			end, err = counted(raw, end, 1, maxPickle)
		case 'T', 'B', 'X':
			end, err = counted(raw, end, 4, maxPickle)
		case 0x8b: // a number
			end, err = counted(raw, end, 4, maxLine)
		case 0x8d, 0x8e, 0x96:
			end, err = counted(raw, end, 8, maxPickle)
		case 0x95: // a frame's length; its operations follow
			if _, err = counted(raw, end, 8, maxPickle); err == nil {
				end += 8
			}
		default:
			return 0, fmt.Errorf("torch: the pickle has the operation 0x%02x, which is not known or not read", op)
		}
		if err != nil {
			return 0, err
		}
	}
}

// counted skips a number of width bytes and as many bytes as it says.
func counted(raw []byte, at, width, limit int) (int, error) {
	if len(raw)-at < width {
		return 0, errShort
	}
	var le [8]byte
	copy(le[:], raw[at:at+width])
	n := binary.LittleEndian.Uint64(le[:])
	if n > uint64(limit) {
		return 0, fmt.Errorf("torch: the pickle announces a value of %d bytes, which is not believable", n)
	}
	if at += width; uint64(len(raw)-at) < n {
		return 0, errShort
	}
	return at + int(n), nil
}

// unpickle makes the value of a pickle that scan has gone through. Nothing that the pickle names is called: tensors become strided values, harmless records
// that stand beside them in checkpoints become record values, and every other class or function is refused by its name. load finds what persistent ids mean.
func unpickle(raw []byte, load func(id any) (any, error)) (value any, err error) {
	defer func() {
		if r := recover(); r != nil { // the library trusts its input here and there
			value, err = nil, fmt.Errorf("torch: the pickle is damaged: %s", brief(r))
		}
	}()
	var refused error // as we said it
	u := pickle.NewUnpickler(bytes.NewReader(raw))
	u.FindClass = func(module, name string) (any, error) {
		c, err := class(module, name)
		refused = err
		return c, err
	}
	u.PersistentLoad = func(id any) (any, error) {
		v, err := load(id)
		refused = err
		return v, err
	}
	if value, err = u.Load(); refused != nil {
		return nil, refused
	} else if err != nil {
		return nil, fmt.Errorf("torch: the pickle is damaged: %s", brief(err))
	}
	return value, nil
}

// brief is a foreign complaint on one short line.
func brief(v any) string {
	s := strings.ToValidUTF8(fmt.Sprint(v), "?")
	if s = strings.Join(strings.Fields(s), " "); len(s) > 160 {
		s = s[:160] + "..."
	}
	return strings.ToValidUTF8(s, "")
}

// record is a value that is none of ours, and its class: what it is made from is kept only to find tensors in it.
type record struct {
	name  string
	items []any
}

func (r *record) make(args []any) (any, error)   { return &record{r.name, slices.Clone(args)}, nil }
func (r *record) Call(args ...any) (any, error)  { return r.make(args) }
func (r *record) PyNew(args ...any) (any, error) { return r.make(args) }
func (r *record) PySetState(state any) error     { r.items = append(r.items, state); return nil }
func (r *record) Append(v any)                   { r.items = append(r.items, v) }
func (r *record) Add(v any)                      { r.items = append(r.items, v) }
func (r *record) Set(_, v any)                   { r.items = append(r.items, v) }
func (f function) Call(args ...any) (any, error) { return f(args) }

// function stands for one of PyTorch's that rebuild a tensor.
type function func(args []any) (any, error)

// storageClass is one of PyTorch's types of storage: the kind of its elements.
type storageClass string

var storageClasses = map[string]storageClass{
	"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64", "LongStorage": "I64", "IntStorage": "I32",
	"ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL",
}

// storage is a run of elements that tensors share.
type storage struct {
	key      string
	kind     string
	elements int64
}

// strided is a tensor as PyTorch keeps it: a view of a storage.
type strided struct {
	storage *storage
	offset  int64
	size    []int64
	stride  []int64
}

// functions are those that pickles of state dicts call, reimplemented.
var functions = map[string]function{
	"torch._utils._rebuild_tensor":               rebuildTensor,
	"torch._utils._rebuild_tensor_v2":            rebuildTensor,
	"torch._utils._rebuild_parameter":            first,
	"torch._utils._rebuild_parameter_with_state": first,
	"torch._tensor._rebuild_from_type_v2": func(args []any) (any, error) { // of a tensor that carries attributes
		if len(args) == 4 {
			f, ok := args[0].(function)
			if inner, of := args[2].(*types.Tuple); ok && of {
				return f(*inner)
			}
		}
		return nil, errors.New("a tensor of a class of its own, which is not read")
	},
}

// records are classes and functions whose values stand beside tensors in real checkpoints and are data alone: a script's arguments, numbers of NumPy,
// dates, paths. They are not made either.
var records = []string{
	"argparse.Namespace", "collections.defaultdict", "collections.Counter", "collections.deque", "_codecs.encode", "copyreg._reconstructor", "typing.Any",
	"numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
	"torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.float32", "torch.float16", "torch.bfloat16", "torch.float64", "torch.int64",
}

// recordModules are modules of which any class is such a record: plain types, and the configurations that training frameworks keep.
var recordModules = map[string][]string{
	"builtins": plain, "__builtin__": plain,
	"pathlib": {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"}, "datetime": {"datetime", "date", "time", "timedelta", "timezone"},
	"omegaconf.": nil, "pytorch_lightning.": nil, "lightning.": nil, "lightning_fabric.": nil,
}

var plain = []string{"set", "frozenset", "int", "float", "complex", "str", "unicode", "bool", "bytes", "bytearray", "list", "dict", "tuple", "object"}

// class finds what a pickle may name.
func class(module, name string) (any, error) {
	full := module + "." + name
	if f, ok := functions[full]; ok {
		return f, nil
	}
	if c, ok := storageClasses[name]; ok && (module == "torch" || module == "torch.cuda") {
		return c, nil
	}
	if base, ok := strings.CutSuffix(name, "Tensor"); ok && storageClasses[base+"Storage"] != "" && (module == "torch" || module == "torch.cuda") {
		return &record{name: full}, nil // the oldest files name it beside each tensor
	}
	top, _, _ := strings.Cut(module, ".")
	_, framework := recordModules[top+"."]
	if framework || slices.Contains(recordModules[module], name) || slices.Contains(records, full) {
		return &record{name: full}, nil
	}
	if strings.HasPrefix(module, "torch.nn.") || top != "torch" && strings.Contains(strings.ToLower(full), "model") {
		return nil, fmt.Errorf("torch: the pickle holds a module of class %s, code and not data; in PyTorch, save its model.state_dict() instead", brief(full))
	}
	return nil, fmt.Errorf("torch: the pickle asks for %s, which is no part of a state dict; refused, and nothing was run", brief(full))
}

func first(args []any) (any, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*strided); ok {
			return t, nil
		}
	}
	return nil, errors.New("a parameter without a tensor")
}

// rebuildTensor takes storage, offset, size and stride; what follows them (gradients, hooks) is nothing that is read.
func rebuildTensor(args []any) (any, error) {
	if len(args) >= 4 {
		s, ok := args[0].(*storage)
		offset, ok1 := integer(args[1])
		size, ok2 := integers(args[2])
		stride, ok3 := integers(args[3])
		if ok && ok1 && ok2 && ok3 && len(size) == len(stride) {
			return &strided{s, offset, size, stride}, nil
		}
	}
	return nil, errors.New("a tensor needs a storage, an offset, its size and its strides")
}

func integer(v any) (int64, bool) {
	n, ok := v.(int)
	return int64(n), ok
}

func integers(v any) ([]int64, bool) {
	t, ok := v.(*types.Tuple)
	if !ok || t.Len() > maxAxes {
		return nil, false
	}
	out := make([]int64, t.Len())
	for i, v := range *t {
		if out[i], ok = integer(v); !ok {
			return nil, false
		}
	}
	return out, true
}

// maxAxes is how many a tensor may have.
const maxAxes = 16

// check holds a tensor to its storage, and returns the number of its elements.
func (t *strided) check() (elements int64, err error) {
	elements, last := int64(1), t.offset
	overflow := t.offset < 0
	empty := slices.Contains(t.size, 0)
	for i, n := range t.size {
		if n < 0 || t.stride[i] < 0 || elements > math.MaxInt64/16/max(n, 1) {
			overflow = true
			break
		}
		elements *= n
		if step := max(n-1, 0); !empty && t.stride[i] > 0 {
			if step > math.MaxInt64/4/t.stride[i] || last > math.MaxInt64/4 {
				overflow = true
				break
			}
			last += step * t.stride[i]
		}
	}
	if overflow || !empty && last >= t.storage.elements {
		return 0, fmt.Errorf("has size %v, strides %v and offset %d, which do not lie within its storage of %d elements", t.size, t.stride, t.offset, t.storage.elements)
	}
	return elements, nil
}
