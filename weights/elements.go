package weights

import (
	"encoding/binary"
	"math"

	"moco/tensor"
)

// kinds are the types of elements that are read, under safetensors' names: the bytes that one takes in a file, and the tensor's type that it becomes.
var kinds = map[string]struct {
	size int64
	as   tensor.Type
}{
	"F32": {4, tensor.Float32}, "I32": {4, tensor.Int32}, "I64": {8, tensor.Int64}, "U8": {1, tensor.Uint8}, // as they are
	"F16": {2, tensor.Float32}, "BF16": {2, tensor.Float32}, "F64": {8, tensor.Float32},
	"I16": {2, tensor.Int32}, "I8": {1, tensor.Int32}, "BOOL": {1, tensor.Uint8},
}

// put makes element i of t, whose type is the kind's, from the bytes of one element.
func put(t *tensor.Tensor, i int, kind string, b []byte) {
	switch kind {
	case "BF16":
		t.Float32s()[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
	case "F16":
		t.Float32s()[i] = half(binary.LittleEndian.Uint16(b))
	case "F64":
		t.Float32s()[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case "I16":
		t.Int32s()[i] = int32(int16(binary.LittleEndian.Uint16(b)))
	case "I8":
		t.Int32s()[i] = int32(int8(b[0]))
	default:
		size := t.Type.Size()
		copy(t.Bytes()[i*size:(i+1)*size], b)
	}
}

// same is true of the kinds whose bytes are those of the tensor that they become.
func same(kind string) bool {
	switch kind {
	case "F32", "I32", "I64", "U8", "BOOL":
		return true
	}
	return false
}

// half is the value of an IEEE 754 half-precision number.
func half(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, int(h>>10&31), float64(h&1023)
	var v float64
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -24)
	case 31:
		return math.Float32frombits(sign | 0x7F800000 | uint32(h&1023)<<13)
	default:
		v = math.Ldexp(1024+fraction, exponent-25)
	}
	return math.Float32frombits(sign | math.Float32bits(float32(v)))
}
