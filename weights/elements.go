package weights

import (
	"encoding/binary"
	"math"

	"moco/internal/half"
	"moco/tensor"
)

// element is a type of numbers in a file.
type element struct {
	size int64       // bytes of one in the file
	as   tensor.Type // what a tensor of them becomes
	// set makes element i of a tensor from the bytes of one; nil: the bytes are the same in both.
	set func(t *tensor.Tensor, i int, b []byte)
	// unread says that no tensor holds such numbers; the size alone is known.
	unread bool
}

// elements are the types of numbers under safetensors' names.
var elements = map[string]element{
	"F32":  {size: 4, as: tensor.Float32},
	"I32":  {size: 4, as: tensor.Int32},
	"I64":  {size: 8, as: tensor.Int64},
	"U8":   {size: 1, as: tensor.Uint8},
	"BOOL": {size: 1, as: tensor.Uint8},

	"F64": {size: 8, as: tensor.Float32, set: func(t *tensor.Tensor, i int, b []byte) {
		t.Float32s()[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	}},
	"F16": {size: 2, as: tensor.Float32, set: func(t *tensor.Tensor, i int, b []byte) {
		t.Float32s()[i] = half.From(binary.LittleEndian.Uint16(b))
	}},
	"BF16": {size: 2, as: tensor.Float32, set: func(t *tensor.Tensor, i int, b []byte) {
		t.Float32s()[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
	}},
	"I8": {size: 1, as: tensor.Int32, set: func(t *tensor.Tensor, i int, b []byte) {
		t.Int32s()[i] = int32(int8(b[0]))
	}},
	"I16": {size: 2, as: tensor.Int32, set: func(t *tensor.Tensor, i int, b []byte) {
		t.Int32s()[i] = int32(int16(binary.LittleEndian.Uint16(b)))
	}},
	"U16": {size: 2, as: tensor.Int32, set: func(t *tensor.Tensor, i int, b []byte) {
		t.Int32s()[i] = int32(binary.LittleEndian.Uint16(b))
	}},
	"U32": {size: 4, as: tensor.Int64, set: func(t *tensor.Tensor, i int, b []byte) {
		t.Int64s()[i] = int64(binary.LittleEndian.Uint32(b))
	}},

	"U64":     {size: 8, unread: true},
	"C64":     {size: 8, unread: true},
	"C128":    {size: 16, unread: true},
	"F8_E4M3": {size: 1, unread: true},
	"F8_E5M2": {size: 1, unread: true},
	"F8_E8M0": {size: 1, unread: true},
	"QI8":     {size: 1, unread: true}, // this and the next two are PyTorch's alone
	"QU8":     {size: 1, unread: true},
	"QI32":    {size: 4, unread: true},
}

// read makes a tensor of the type from the bytes of its elements.
func (e element) read(raw []byte, shape []int) *tensor.Tensor {
	out := tensor.New(e.as, shape...)
	if e.set == nil {
		copy(out.Bytes(), raw)
		return out
	}
	for i := range out.Shape.Elements() {
		e.set(out, i, raw[int64(i)*e.size:])
	}
	return out
}
